"""Kernels of the gradients of scaled dot-product attention on GPUs with tensor cores.

What `attention_gradients` says of the mathematics holds; here blocks lie so that what is computed
in registers is multiplied from there. For the gradient of queries scores are (queries, keys), for
those of keys and values (keys, queries): weights and gradients of scores are left operands of the
next product, and nothing goes through shared memory to be turned. Blocks that are whole and behind
every query have a loop without masks; the scale is applied once, to the sums.

Two kernels make seven products where one with atomic additions would make five; results are the
same in every run.

Source: Dao, FlashAttention-2, 2023; Triton's tutorial of fused attention (blocks of the backward).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tritorch.kernels.templates.attention_gpu import gpu_blocks
from tritorch.kernels.templates.attention_kernels import kept, load_tile, masked_scores
from tritorch.kernels.templates.rows import row_offset
from tritorch.kernels.templates.template import helper, kernel

if TYPE_CHECKING:
    import triton.language as tl


@helper
def weights_and_slopes(
    scores, dp, sums, delta, mask_ptr, scale, seed, offset, dropout, factor, batch, queries, keys,
    n_queries, n_keys, mask_row_stride, mask_column_stride, MASK: tl.constexpr,
    CAUSAL: tl.constexpr, DROPOUT: tl.constexpr, WHOLE: tl.constexpr, AXIS: tl.constexpr,
):  # fmt: skip
    """The weights after dropout, and the gradient of the scores over the scale, of a block.

    scores and dp are the products of Q and K, and of dO and V; keys run along AXIS.
    """
    row, column = tl.expand_dims(queries, AXIS), tl.expand_dims(keys, 1 - AXIS)
    powers = masked_scores(
        scores * scale - tl.expand_dims(sums, AXIS), row, column, n_queries, n_keys, mask_ptr,
        mask_row_stride, mask_column_stride, MASK, CAUSAL, WHOLE,
    )  # fmt: skip
    p = tl.exp2(powers)
    dropped = p
    if DROPOUT:
        left = kept(batch, row, column, n_queries, n_keys, seed, offset, dropout)
        dropped = tl.where(left, p * factor, 0.0)
        dp = tl.where(left, dp * factor, 0.0)
    return dropped, p * (dp - tl.expand_dims(delta, AXIS))


@helper
def add_keys(
    total, q, do, sums, delta, k_ptr, v_ptr, mask_ptr, scale, seed, offset, dropout, factor, batch,
    queries, start, n_queries, n_keys, depth, v_depth, k_row_stride, k_column_stride, v_row_stride,
    v_column_stride, mask_row_stride, mask_column_stride, MASK: tl.constexpr, CAUSAL: tl.constexpr,
    DROPOUT: tl.constexpr, WHOLE: tl.constexpr, WHOLE_DEPTH: tl.constexpr, BLOCK_N: tl.constexpr,
    DEPTH: tl.constexpr, V_DEPTH: tl.constexpr,
):  # fmt: skip
    """The queries' gradient and what the keys from `start` on add to it."""
    keys = start + tl.arange(0, BLOCK_N)
    k = load_tile(
        k_ptr, keys, n_keys, tl.arange(0, DEPTH), depth, k_row_stride, k_column_stride,
        WHOLE, WHOLE_DEPTH,
    )  # fmt: skip
    v = load_tile(
        v_ptr, keys, n_keys, tl.arange(0, V_DEPTH), v_depth, v_row_stride, v_column_stride,
        WHOLE, WHOLE_DEPTH,
    )  # fmt: skip
    _, ds = weights_and_slopes(
        tl.dot(q, tl.trans(k), input_precision="ieee", out_dtype=total.dtype),
        tl.dot(do, tl.trans(v), input_precision="ieee", out_dtype=total.dtype),
        sums, delta, mask_ptr, scale, seed, offset, dropout, factor, batch, queries, keys,
        n_queries, n_keys, mask_row_stride, mask_column_stride, MASK, CAUSAL, DROPOUT, WHOLE, 1,
    )  # fmt: skip
    return tl.dot(ds.to(k.dtype), k, total, input_precision="ieee", out_dtype=total.dtype)


@helper
def add_queries(
    dk, dv, k, v, q_ptr, do_ptr, sums_ptr, delta_ptr, mask_ptr, scale, seed, offset, dropout,
    factor, batch, start, keys, n_queries, n_keys, depth, v_depth, q_row_stride, q_column_stride,
    do_row_stride, do_column_stride, mask_row_stride, mask_column_stride, MASK: tl.constexpr,
    CAUSAL: tl.constexpr, DROPOUT: tl.constexpr, WHOLE: tl.constexpr, WHOLE_ROWS: tl.constexpr,
    WHOLE_DEPTH: tl.constexpr, BLOCK_M: tl.constexpr, DEPTH: tl.constexpr, V_DEPTH: tl.constexpr,
):  # fmt: skip
    """The gradients of keys and values and what the queries from `start` on add to them.

    Queries that are not there add nothing: their sums are infinite. Keys that are not there are not
    stored.
    """
    queries = start + tl.arange(0, BLOCK_M)
    q = load_tile(
        q_ptr, queries, n_queries, tl.arange(0, DEPTH), depth, q_row_stride, q_column_stride,
        WHOLE_ROWS, WHOLE_DEPTH,
    )  # fmt: skip
    do = load_tile(
        do_ptr, queries, n_queries, tl.arange(0, V_DEPTH), v_depth, do_row_stride,
        do_column_stride, WHOLE_ROWS, WHOLE_DEPTH,
    )  # fmt: skip
    places = batch * n_queries + queries
    if WHOLE_ROWS:
        sums = tl.load(sums_ptr + places)
        delta = tl.load(delta_ptr + places)
    else:
        sums = tl.load(sums_ptr + places, mask=queries < n_queries, other=float("inf"))
        delta = tl.load(delta_ptr + places, mask=queries < n_queries, other=0.0)
    p, ds = weights_and_slopes(
        tl.dot(k, tl.trans(q), input_precision="ieee", out_dtype=dk.dtype),
        tl.dot(v, tl.trans(do), input_precision="ieee", out_dtype=dk.dtype),
        sums, delta, mask_ptr, scale, seed, offset, dropout, factor, batch, queries, keys,
        n_queries, n_keys, mask_row_stride, mask_column_stride, MASK, CAUSAL, DROPOUT, WHOLE, 0,
    )  # fmt: skip
    dv = tl.dot(p.to(do.dtype), do, dv, input_precision="ieee", out_dtype=dk.dtype)
    dk = tl.dot(ds.to(q.dtype), q, dk, input_precision="ieee", out_dtype=dk.dtype)
    return dk, dv


def _declared(part: str) -> dict[str, Any]:
    """What is common to both kernels."""
    return {
        "space": {
            "BLOCK_M": [16, 32, 64, 128],
            "BLOCK_N": [16, 32, 64, 128],
            "num_warps": [4, 8],
            "num_stages": [1, 2, 3],
        },
        "default": lambda *, target, causal, **facts: gpu_blocks(part, **facts),
        "key": ("n_queries", "n_keys", "depth", "v_depth", "causal", "dtype"),
    }


@kernel(**_declared("queries"))
def attention_gpu_queries(
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
    if CAUSAL:  # the longest ones first
        block = n_blocks - 1 - block
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
    end = n_keys
    whole = n_keys // BLOCK_N * BLOCK_N
    if CAUSAL:
        end = tl.minimum(n_keys, (block + 1) * BLOCK_M)
        whole = tl.minimum(whole, block * BLOCK_M // BLOCK_N * BLOCK_N)
    for start in range(0, whole, BLOCK_N):
        total = add_keys(
            total, q, do, sums, delta, k_ptr, v_ptr, mask_ptr, scale, seed, offset, dropout,
            factor, batch, queries, start, n_queries, n_keys, depth, v_depth, k_row_stride,
            k_column_stride, v_row_stride, v_column_stride, mask_row_stride, mask_column_stride,
            MASK, CAUSAL, DROPOUT, True, WHOLE_DEPTH, BLOCK_N, DEPTH, V_DEPTH,
        )  # fmt: skip
    for start in range(whole, end, BLOCK_N):
        total = add_keys(
            total, q, do, sums, delta, k_ptr, v_ptr, mask_ptr, scale, seed, offset, dropout,
            factor, batch, queries, start, n_queries, n_keys, depth, v_depth, k_row_stride,
            k_column_stride, v_row_stride, v_column_stride, mask_row_stride, mask_column_stride,
            MASK, CAUSAL, DROPOUT, False, WHOLE_DEPTH, BLOCK_N, DEPTH, V_DEPTH,
        )  # fmt: skip
    total = total * (scale * tl.full((), 0.6931471805599453, COMPUTE))
    tl.store(
        dq_ptr + queries[:, None] * dq_row_stride + columns[None, :] * dq_column_stride,
        total.to(dq_ptr.dtype.element_ty),
        mask=(queries < n_queries)[:, None] & (columns < depth)[None, :],
    )


@kernel(**_declared("keys"))
def attention_gpu_keys(
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
    MASK: tl.constexpr, CAUSAL: tl.constexpr, DROPOUT: tl.constexpr, WHOLE_ROWS: tl.constexpr,
    WHOLE_DEPTH: tl.constexpr, DEPTH: tl.constexpr, V_DEPTH: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """One program: the gradients of BLOCK_N keys and values that n_heads heads of queries share;
    with a causal mask the first keys, which most queries look at, come first.

    WHOLE_ROWS: the blocks of queries are full.
    """
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
    dk = tl.zeros([BLOCK_N, DEPTH], COMPUTE)
    dv = tl.zeros([BLOCK_N, V_DEPTH], COMPUTE)
    first = 0
    whole = 0
    if CAUSAL:  # blocks on the diagonal, then those behind it
        first = tl.minimum(block * BLOCK_N // BLOCK_M, n_turns)
        whole = tl.minimum(tl.cdiv((block + 1) * BLOCK_N - 1, BLOCK_M), n_turns)
        turns = whole - first
        for turn in range(turns * n_heads):
            head = turn // turns
            dk, dv = add_queries(
                dk, dv, k, v, q_ptr + head * q_head_stride, do_ptr + head * do_head_stride,
                sums_ptr, delta_ptr, mask_ptr + head * mask_head_stride if MASK else mask_ptr,
                scale, seed, offset, dropout, factor, group * n_heads + head,
                (first + turn % turns) * BLOCK_M, keys, n_queries, n_keys, depth, v_depth,
                q_row_stride, q_column_stride, do_row_stride, do_column_stride, mask_row_stride,
                mask_column_stride, MASK, CAUSAL, DROPOUT, False, WHOLE_ROWS, WHOLE_DEPTH,
                BLOCK_M, DEPTH, V_DEPTH,
            )  # fmt: skip
    turns = n_turns - whole
    for turn in range(turns * n_heads):
        head = turn // turns
        dk, dv = add_queries(
            dk, dv, k, v, q_ptr + head * q_head_stride, do_ptr + head * do_head_stride,
            sums_ptr, delta_ptr, mask_ptr + head * mask_head_stride if MASK else mask_ptr,
            scale, seed, offset, dropout, factor, group * n_heads + head,
            (whole + turn % turns) * BLOCK_M, keys, n_queries, n_keys, depth, v_depth,
            q_row_stride, q_column_stride, do_row_stride, do_column_stride, mask_row_stride,
            mask_column_stride, MASK, CAUSAL, DROPOUT, True, WHOLE_ROWS, WHOLE_DEPTH,
            BLOCK_M, DEPTH, V_DEPTH,
        )  # fmt: skip
    dk = dk * (scale * tl.full((), 0.6931471805599453, COMPUTE))
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
