"""Kernels of the gradients of scaled dot-product attention.

    dV = dropout(P)ᵀ dO    dP = dropout(dO Vᵀ)    dS = P (dP - delta) · scale    delta = sum(dO O)
    dQ = dS K              dK = dSᵀ Q

Two ways, with the same order of additions and so the same bits: one program for a head computes
everything (five products per block of queries and keys, the gradient of Q being summed in memory),
or one kernel computes dQ and another dK and dV (seven products, as many programs as blocks). GPUs
have their own two, in `attention_gradients_gpu`.

Source: Dao, FlashAttention-2, 2023.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tritorch.kernels.templates.attention_kernels import kept, load_tile, masked_scores
from tritorch.kernels.templates.rows import next_power_of_2, row_offset
from tritorch.kernels.templates.template import helper, kernel

if TYPE_CHECKING:
    import triton.language as tl


@helper
def score_gradients(
    scores, dp, sums, delta, mask_ptr, scale, seed, offset, dropout, factor, batch, queries, keys,
    n_queries, n_keys, mask_row_stride, mask_column_stride,
    MASK: tl.constexpr, CAUSAL: tl.constexpr, DROPOUT: tl.constexpr, AXIS: tl.constexpr,
):  # fmt: skip
    """The weights after dropout, and the gradient of the scores, of a block of queries and keys.

    scores and dp are the products Q Kᵀ and dO Vᵀ; keys run along AXIS.
    """
    row, column = tl.expand_dims(queries, AXIS), tl.expand_dims(keys, 1 - AXIS)
    # One rounding, said so: left to the compiler it would depend on how blocks meet the diagonal.
    powers = tl.fma(scores, tl.full(scores.shape, scale, scores.dtype), -tl.expand_dims(sums, AXIS))
    powers = masked_scores(
        powers, row, column, n_queries, n_keys, mask_ptr, mask_row_stride, mask_column_stride,
        MASK, CAUSAL, False,
    )  # fmt: skip
    p = tl.exp2(powers)
    dropped = p
    if DROPOUT:
        left = kept(batch, row, column, n_queries, n_keys, seed, offset, dropout)
        dropped = tl.where(left, p * factor, 0.0)
        dp = tl.where(left, dp * factor, 0.0)
    natural = scale * tl.full((), 0.6931471805599453, scores.dtype)
    return dropped, p * (dp - tl.expand_dims(delta, AXIS)) * natural


def backward_blocks(
    *, target: str, n_queries: int, n_keys: int, causal: bool, **_: Any
) -> dict[str, Any]:
    """As in the forward; the same blocks for all kernels, so that they add in the same order."""
    size = 128 if n_keys >= 512 and not causal else 64 if n_keys > 256 or not causal else 32
    return {
        "BLOCK_M": max(16, min(size, next_power_of_2(n_queries))),
        "BLOCK_N": max(16, min(size, next_power_of_2(n_keys))),
    }


def _declared() -> dict[str, Any]:
    """What is common to the kernels of the backward."""
    return {
        "space": {
            "BLOCK_M": [16, 32, 64, 128],
            "BLOCK_N": [16, 32, 64, 128],
        },
        "default": backward_blocks,
        "key": ("n_queries", "n_keys", "depth", "v_depth", "causal", "dtype"),
    }


@kernel(**_declared())
def attention_backward_queries(
    dq_ptr, delta_ptr, do_ptr, q_ptr, k_ptr, v_ptr, o_ptr, sums_ptr, mask_ptr,
    scale, seed, offset, dropout, factor, n_blocks, n_queries, n_keys, depth, v_depth,
    size1, size2, size3,
    dq_stride0, dq_stride1, dq_stride2, dq_stride3, dq_row_stride, dq_column_stride,
    do_stride0, do_stride1, do_stride2, do_stride3, do_row_stride, do_column_stride,
    q_stride0, q_stride1, q_stride2, q_stride3, q_row_stride, q_column_stride,
    k_stride0, k_stride1, k_stride2, k_stride3, k_row_stride, k_column_stride,
    v_stride0, v_stride1, v_stride2, v_stride3, v_row_stride, v_column_stride,
    o_stride0, o_stride1, o_stride2, o_stride3, o_row_stride, o_column_stride,
    mask_stride0, mask_stride1, mask_stride2, mask_stride3, mask_row_stride, mask_column_stride,
    MASK: tl.constexpr, CAUSAL: tl.constexpr, DROPOUT: tl.constexpr,
    WHOLE_DEPTH: tl.constexpr, DEPTH: tl.constexpr, V_DEPTH: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """One program: the gradient of BLOCK_M queries; leaves delta = sum(dO O) for the keys."""
    batch = tl.program_id(0) // n_blocks
    block = tl.program_id(0) % n_blocks
    dq_ptr += row_offset(batch, size1, size2, size3, dq_stride0, dq_stride1, dq_stride2, dq_stride3)
    do_ptr += row_offset(batch, size1, size2, size3, do_stride0, do_stride1, do_stride2, do_stride3)
    q_ptr += row_offset(batch, size1, size2, size3, q_stride0, q_stride1, q_stride2, q_stride3)
    k_ptr += row_offset(batch, size1, size2, size3, k_stride0, k_stride1, k_stride2, k_stride3)
    v_ptr += row_offset(batch, size1, size2, size3, v_stride0, v_stride1, v_stride2, v_stride3)
    o_ptr += row_offset(batch, size1, size2, size3, o_stride0, o_stride1, o_stride2, o_stride3)
    if MASK:
        mask_ptr += row_offset(
            batch, size1, size2, size3, mask_stride0, mask_stride1, mask_stride2, mask_stride3
        )
    COMPUTE: tl.constexpr = sums_ptr.dtype.element_ty
    queries = block * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.arange(0, DEPTH)
    v_columns = tl.arange(0, V_DEPTH)
    q = load_tile(
        q_ptr, queries, n_queries, columns, depth, q_row_stride, q_column_stride,
        False, WHOLE_DEPTH,
    )  # fmt: skip
    do = load_tile(
        do_ptr, queries, n_queries, v_columns, v_depth, do_row_stride, do_column_stride,
        False, WHOLE_DEPTH,
    )  # fmt: skip
    o = load_tile(
        o_ptr, queries, n_queries, v_columns, v_depth, o_row_stride, o_column_stride,
        False, WHOLE_DEPTH,
    )  # fmt: skip
    delta = tl.sum(o.to(COMPUTE) * do.to(COMPUTE), 1)
    places = batch * n_queries + queries
    tl.store(delta_ptr + places, delta, mask=queries < n_queries)
    sums = tl.load(sums_ptr + places, mask=queries < n_queries, other=float("inf"))
    total = tl.zeros([BLOCK_M, DEPTH], COMPUTE)
    q, do = tl.trans(q), tl.trans(do)
    end = n_keys
    if CAUSAL:
        end = tl.minimum(n_keys, (block + 1) * BLOCK_M)
    for start in range(0, end, BLOCK_N):
        keys = start + tl.arange(0, BLOCK_N)
        k = load_tile(
            k_ptr, keys, n_keys, columns, depth, k_row_stride, k_column_stride, False, WHOLE_DEPTH
        )
        v = load_tile(
            v_ptr, keys, n_keys, v_columns, v_depth, v_row_stride, v_column_stride,
            False, WHOLE_DEPTH,
        )  # fmt: skip
        # Queries lie side by side, so that Q and dO are transposed once and K and V never.
        _, ds = score_gradients(
            tl.dot(k, q, input_precision="ieee", out_dtype=COMPUTE),
            tl.dot(v, do, input_precision="ieee", out_dtype=COMPUTE),
            sums, delta, mask_ptr, scale, seed, offset, dropout, factor, batch, queries, keys,
            n_queries, n_keys, mask_row_stride, mask_column_stride, MASK, CAUSAL, DROPOUT, 0,
        )  # fmt: skip
        ds = tl.trans(ds.to(k.dtype))
        total = tl.dot(ds, k, total, input_precision="ieee", out_dtype=COMPUTE)
    tl.store(
        dq_ptr + queries[:, None] * dq_row_stride + columns[None, :] * dq_column_stride,
        total.to(dq_ptr.dtype.element_ty),
        mask=(queries < n_queries)[:, None] & (columns < depth)[None, :],
    )


@kernel(**_declared())
def attention_backward_keys(
    dk_ptr, dv_ptr, delta_ptr, do_ptr, q_ptr, k_ptr, v_ptr, sums_ptr, mask_ptr,
    scale, seed, offset, dropout, factor, n_blocks, n_queries, n_keys, depth, v_depth,
    n_turns, n_heads, size1, size2, size3,
    dk_stride0, dk_stride1, dk_stride2, dk_stride3, dk_row_stride, dk_column_stride,
    dv_stride0, dv_stride1, dv_stride2, dv_stride3, dv_row_stride, dv_column_stride,
    do_stride0, do_stride1, do_stride2, do_stride3, do_row_stride, do_column_stride,
    do_head_stride,
    q_stride0, q_stride1, q_stride2, q_stride3, q_row_stride, q_column_stride, q_head_stride,
    k_stride0, k_stride1, k_stride2, k_stride3, k_row_stride, k_column_stride,
    v_stride0, v_stride1, v_stride2, v_stride3, v_row_stride, v_column_stride,
    mask_stride0, mask_stride1, mask_stride2, mask_stride3, mask_row_stride, mask_column_stride,
    mask_head_stride,
    MASK: tl.constexpr, CAUSAL: tl.constexpr, DROPOUT: tl.constexpr,
    WHOLE_DEPTH: tl.constexpr, DEPTH: tl.constexpr, V_DEPTH: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """One program: the gradients of BLOCK_N keys and values that n_heads heads of queries share."""
    group = tl.program_id(0) // n_blocks
    block = tl.program_id(0) % n_blocks
    dk_ptr += row_offset(group, size1, size2, size3, dk_stride0, dk_stride1, dk_stride2, dk_stride3)
    dv_ptr += row_offset(group, size1, size2, size3, dv_stride0, dv_stride1, dv_stride2, dv_stride3)
    do_ptr += row_offset(group, size1, size2, size3, do_stride0, do_stride1, do_stride2, do_stride3)
    q_ptr += row_offset(group, size1, size2, size3, q_stride0, q_stride1, q_stride2, q_stride3)
    k_ptr += row_offset(group, size1, size2, size3, k_stride0, k_stride1, k_stride2, k_stride3)
    v_ptr += row_offset(group, size1, size2, size3, v_stride0, v_stride1, v_stride2, v_stride3)
    if MASK:
        mask_ptr += row_offset(
            group, size1, size2, size3, mask_stride0, mask_stride1, mask_stride2, mask_stride3
        )
    COMPUTE: tl.constexpr = sums_ptr.dtype.element_ty
    keys = block * BLOCK_N + tl.arange(0, BLOCK_N)
    columns = tl.arange(0, DEPTH)
    v_columns = tl.arange(0, V_DEPTH)
    k = load_tile(
        k_ptr, keys, n_keys, columns, depth, k_row_stride, k_column_stride, False, WHOLE_DEPTH
    )
    v = load_tile(
        v_ptr, keys, n_keys, v_columns, v_depth, v_row_stride, v_column_stride, False, WHOLE_DEPTH
    )
    k, v = tl.trans(k), tl.trans(v)
    dk = tl.zeros([BLOCK_N, DEPTH], COMPUTE)
    dv = tl.zeros([BLOCK_N, V_DEPTH], COMPUTE)
    first = 0
    if CAUSAL:
        first = tl.minimum(block * BLOCK_N // BLOCK_M, n_turns)
    turns = n_turns - first
    for turn in range(turns * n_heads):
        head = turn // turns
        queries = (first + turn % turns) * BLOCK_M + tl.arange(0, BLOCK_M)
        q = load_tile(
            q_ptr + head * q_head_stride, queries, n_queries, columns, depth,
            q_row_stride, q_column_stride, False, WHOLE_DEPTH,
        )  # fmt: skip
        do = load_tile(
            do_ptr + head * do_head_stride, queries, n_queries, v_columns, v_depth,
            do_row_stride, do_column_stride, False, WHOLE_DEPTH,
        )  # fmt: skip
        batch = group * n_heads + head
        places = batch * n_queries + queries
        sums = tl.load(sums_ptr + places, mask=queries < n_queries, other=float("inf"))
        delta = tl.load(delta_ptr + places, mask=queries < n_queries, other=0.0)
        mask_head = mask_ptr
        if MASK:
            mask_head = mask_ptr + head * mask_head_stride
        p, ds = score_gradients(
            tl.dot(q, k, input_precision="ieee", out_dtype=COMPUTE),
            tl.dot(do, v, input_precision="ieee", out_dtype=COMPUTE),
            sums, delta, mask_head, scale, seed, offset, dropout, factor, batch, queries, keys,
            n_queries, n_keys, mask_row_stride, mask_column_stride, MASK, CAUSAL, DROPOUT, 1,
        )  # fmt: skip
        dv = tl.dot(tl.trans(p.to(do.dtype)), do, dv, input_precision="ieee", out_dtype=COMPUTE)
        dk = tl.dot(tl.trans(ds.to(q.dtype)), q, dk, input_precision="ieee", out_dtype=COMPUTE)
    tl.store(
        dk_ptr + keys[:, None] * dk_row_stride + columns[None, :] * dk_column_stride,
        dk.to(dk_ptr.dtype.element_ty),
        mask=(keys < n_keys)[:, None] & (columns < depth)[None, :],
    )
    tl.store(
        dv_ptr + keys[:, None] * dv_row_stride + v_columns[None, :] * dv_column_stride,
        dv.to(dv_ptr.dtype.element_ty),
        mask=(keys < n_keys)[:, None] & (v_columns < v_depth)[None, :],
    )


@kernel(**_declared())
def attention_backward_heads(
    dq_ptr, dk_ptr, dv_ptr, delta_ptr, total_ptr, do_ptr, q_ptr, k_ptr, v_ptr, o_ptr, sums_ptr,
    mask_ptr, scale, seed, offset, dropout, factor, n_queries, n_keys, depth, v_depth,
    n_turns, n_heads, size1, size2, size3,
    dq_stride0, dq_stride1, dq_stride2, dq_stride3, dq_row_stride, dq_column_stride,
    dq_head_stride,
    dk_stride0, dk_stride1, dk_stride2, dk_stride3, dk_row_stride, dk_column_stride,
    dv_stride0, dv_stride1, dv_stride2, dv_stride3, dv_row_stride, dv_column_stride,
    total_stride0, total_stride1, total_stride2, total_stride3, total_row_stride,
    total_column_stride, total_head_stride,
    do_stride0, do_stride1, do_stride2, do_stride3, do_row_stride, do_column_stride,
    do_head_stride,
    q_stride0, q_stride1, q_stride2, q_stride3, q_row_stride, q_column_stride, q_head_stride,
    k_stride0, k_stride1, k_stride2, k_stride3, k_row_stride, k_column_stride,
    v_stride0, v_stride1, v_stride2, v_stride3, v_row_stride, v_column_stride,
    o_stride0, o_stride1, o_stride2, o_stride3, o_row_stride, o_column_stride, o_head_stride,
    mask_stride0, mask_stride1, mask_stride2, mask_stride3, mask_row_stride, mask_column_stride,
    mask_head_stride,
    MASK: tl.constexpr, CAUSAL: tl.constexpr, DROPOUT: tl.constexpr, NARROW: tl.constexpr,
    WHOLE_DEPTH: tl.constexpr, DEPTH: tl.constexpr, V_DEPTH: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """One program: all gradients of n_heads heads of queries that share keys and values.

    The gradient of the queries is summed at `total`, which is dq itself unless that is NARROW.
    """
    group = tl.program_id(0)
    dq_ptr += row_offset(group, size1, size2, size3, dq_stride0, dq_stride1, dq_stride2, dq_stride3)
    dk_ptr += row_offset(group, size1, size2, size3, dk_stride0, dk_stride1, dk_stride2, dk_stride3)
    dv_ptr += row_offset(group, size1, size2, size3, dv_stride0, dv_stride1, dv_stride2, dv_stride3)
    total_ptr += row_offset(
        group, size1, size2, size3, total_stride0, total_stride1, total_stride2, total_stride3
    )
    do_ptr += row_offset(group, size1, size2, size3, do_stride0, do_stride1, do_stride2, do_stride3)
    q_ptr += row_offset(group, size1, size2, size3, q_stride0, q_stride1, q_stride2, q_stride3)
    k_ptr += row_offset(group, size1, size2, size3, k_stride0, k_stride1, k_stride2, k_stride3)
    v_ptr += row_offset(group, size1, size2, size3, v_stride0, v_stride1, v_stride2, v_stride3)
    o_ptr += row_offset(group, size1, size2, size3, o_stride0, o_stride1, o_stride2, o_stride3)
    if MASK:
        mask_ptr += row_offset(
            group, size1, size2, size3, mask_stride0, mask_stride1, mask_stride2, mask_stride3
        )
    COMPUTE: tl.constexpr = sums_ptr.dtype.element_ty
    columns = tl.arange(0, DEPTH)
    v_columns = tl.arange(0, V_DEPTH)
    total_columns = columns[None, :] * total_column_stride
    for turn in range(n_turns * n_heads):
        head = turn // n_turns
        queries = (turn % n_turns) * BLOCK_M + tl.arange(0, BLOCK_M)
        do = load_tile(
            do_ptr + head * do_head_stride, queries, n_queries, v_columns, v_depth,
            do_row_stride, do_column_stride, False, WHOLE_DEPTH,
        )  # fmt: skip
        o = load_tile(
            o_ptr + head * o_head_stride, queries, n_queries, v_columns, v_depth,
            o_row_stride, o_column_stride, False, WHOLE_DEPTH,
        )  # fmt: skip
        delta = tl.sum(o.to(COMPUTE) * do.to(COMPUTE), 1)
        place = (group * n_heads + head) * n_queries + queries
        tl.store(delta_ptr + place, delta, mask=queries < n_queries)
        rows = total_ptr + head * total_head_stride + queries[:, None] * total_row_stride
        tl.store(
            rows + total_columns,
            tl.zeros([BLOCK_M, DEPTH], COMPUTE),
            mask=(queries < n_queries)[:, None] & (columns < depth)[None, :],
        )
    tl.debug_barrier()
    for start in range(0, n_keys, BLOCK_N):
        keys = start + tl.arange(0, BLOCK_N)
        k = load_tile(
            k_ptr, keys, n_keys, columns, depth, k_row_stride, k_column_stride, False, WHOLE_DEPTH
        )
        v = load_tile(
            v_ptr, keys, n_keys, v_columns, v_depth, v_row_stride, v_column_stride,
            False, WHOLE_DEPTH,
        )  # fmt: skip
        turned_k, turned_v = tl.trans(k), tl.trans(v)
        dk = tl.zeros([BLOCK_N, DEPTH], COMPUTE)
        dv = tl.zeros([BLOCK_N, V_DEPTH], COMPUTE)
        first = 0
        if CAUSAL:
            first = tl.minimum(start // BLOCK_M, n_turns)
        turns = n_turns - first
        for turn in range(turns * n_heads):
            head = turn // turns
            queries = (first + turn % turns) * BLOCK_M + tl.arange(0, BLOCK_M)
            q = load_tile(
                q_ptr + head * q_head_stride, queries, n_queries, columns, depth,
                q_row_stride, q_column_stride, False, WHOLE_DEPTH,
            )  # fmt: skip
            do = load_tile(
                do_ptr + head * do_head_stride, queries, n_queries, v_columns, v_depth,
                do_row_stride, do_column_stride, False, WHOLE_DEPTH,
            )  # fmt: skip
            batch = group * n_heads + head
            place = batch * n_queries + queries
            sums = tl.load(sums_ptr + place, mask=queries < n_queries, other=float("inf"))
            delta = tl.load(delta_ptr + place, mask=queries < n_queries, other=0.0)
            mask_head = mask_ptr
            if MASK:
                mask_head = mask_ptr + head * mask_head_stride
            p, ds = score_gradients(
                tl.dot(q, turned_k, input_precision="ieee", out_dtype=COMPUTE),
                tl.dot(do, turned_v, input_precision="ieee", out_dtype=COMPUTE),
                sums, delta, mask_head, scale, seed, offset, dropout, factor, batch, queries, keys,
                n_queries, n_keys, mask_row_stride, mask_column_stride, MASK, CAUSAL, DROPOUT, 1,
            )  # fmt: skip
            ds = ds.to(q.dtype)
            p = tl.trans(p.to(do.dtype))
            dv = tl.dot(p, do, dv, input_precision="ieee", out_dtype=COMPUTE)
            dk = tl.dot(tl.trans(ds), q, dk, input_precision="ieee", out_dtype=COMPUTE)
            rows = total_ptr + head * total_head_stride + queries[:, None] * total_row_stride
            inside = (queries < n_queries)[:, None] & (columns < depth)[None, :]
            total = tl.load(rows + total_columns, mask=inside, other=0.0)
            total = tl.dot(ds, k, total, input_precision="ieee", out_dtype=COMPUTE)
            tl.store(rows + total_columns, total, mask=inside)
            tl.debug_barrier()
        tl.store(
            dk_ptr + keys[:, None] * dk_row_stride + columns[None, :] * dk_column_stride,
            dk.to(dk_ptr.dtype.element_ty),
            mask=(keys < n_keys)[:, None] & (columns < depth)[None, :],
        )
        tl.store(
            dv_ptr + keys[:, None] * dv_row_stride + v_columns[None, :] * dv_column_stride,
            dv.to(dv_ptr.dtype.element_ty),
            mask=(keys < n_keys)[:, None] & (v_columns < v_depth)[None, :],
        )
    if NARROW:
        for turn in range(n_turns * n_heads):
            head = turn // n_turns
            queries = (turn % n_turns) * BLOCK_M + tl.arange(0, BLOCK_M)
            inside = (queries < n_queries)[:, None] & (columns < depth)[None, :]
            rows = total_ptr + head * total_head_stride + queries[:, None] * total_row_stride
            total = tl.load(rows + total_columns, mask=inside)
            rows = dq_ptr + head * dq_head_stride + queries[:, None] * dq_row_stride
            tl.store(
                rows + columns[None, :] * dq_column_stride,
                total.to(dq_ptr.dtype.element_ty),
                mask=inside,
            )
