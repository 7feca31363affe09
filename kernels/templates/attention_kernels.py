"""Kernels of scaled dot-product attention; `tritorch.kernels.templates.attention` plans them.

    S = Q Kᵀ · scale + mask      P = softmax(S)      O = dropout(P) V

No kernel writes S or P to memory: the forward keeps a running maximum and sum per query, the
backward computes P = 2^(S - L) again from the one number per query that the forward leaves, the
logarithm L of its sum. Exponentials are of base 2: `scale` comes multiplied by log₂ e.

Source: Dao, FlashAttention-2, 2023; Rabe and Staats, Self-attention Does Not Need O(n²) Memory,
    2021.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from tritorch.kernels.helpers import HELPERS
from tritorch.kernels.templates.rows import next_power_of_2, row_offset
from tritorch.kernels.templates.template import Helper, helper, kernel

if TYPE_CHECKING:
    import triton.language as tl


class _Library(Helper):
    """A helper whose text stands in `tritorch.kernels.helpers`."""

    def __init__(self, name: str, *needs: Helper) -> None:
        super().__init__(_Library.__call__)
        self.name = name
        self.needs = needs

    @cached_property
    def text(self) -> str:
        return HELPERS[self.name].lstrip("\n")

    @cached_property
    def helpers(self) -> tuple[Helper, ...]:
        return self.needs


philox_uniform = _Library("philox_uniform", _Library("philox"))


@helper
def load_tile(
    ptr, rows, n_rows, columns, n_columns, row_stride, column_stride,
    WHOLE_ROWS: tl.constexpr, WHOLE_COLUMNS: tl.constexpr,
):  # fmt: skip
    """A tile of a matrix, zero outside of it."""
    places = ptr + rows[:, None] * row_stride + columns[None, :] * column_stride
    if WHOLE_ROWS and WHOLE_COLUMNS:
        return tl.load(places)
    elif WHOLE_ROWS:
        return tl.load(places, mask=(columns < n_columns)[None, :], other=0.0)
    elif WHOLE_COLUMNS:
        return tl.load(places, mask=(rows < n_rows)[:, None], other=0.0)
    else:
        return tl.load(
            places, mask=(rows < n_rows)[:, None] & (columns < n_columns)[None, :], other=0.0
        )


@helper
def masked_scores(
    scores, queries, keys, n_queries, n_keys, mask_ptr, mask_row_stride, mask_column_stride,
    MASK: tl.constexpr, CAUSAL: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Scores with -inf where a query may not look. WHOLE: all keys are there and behind it."""
    if MASK:
        there = (queries < n_queries)[:, None] & (keys < n_keys)[None, :]
        places = mask_ptr + queries[:, None] * mask_row_stride + keys[None, :] * mask_column_stride
        if MASK == 1:
            visible = tl.load(places, mask=there, other=0).to(tl.int1)
            scores = tl.where(visible, scores, -float("inf"))
        else:
            added = tl.load(places, mask=there, other=0.0).to(scores.dtype)
            scores += added * tl.full((), 1.4426950408889634, scores.dtype)
    if not WHOLE:
        if CAUSAL:
            visible = (keys < n_keys)[None, :] & (queries[:, None] >= keys[None, :])
            scores = tl.where(visible, scores, -float("inf"))
        else:
            scores = tl.where((keys < n_keys)[None, :], scores, -float("inf"))
    return scores


@helper
def kept(batch, queries, keys, n_queries, n_keys, seed, offset, dropout):
    """Which weights dropout leaves: drawn from their place in the matrix of all weights."""
    rows = batch.to(tl.int64) * n_queries + queries.to(tl.int64)
    place = rows[:, None] * n_keys + keys.to(tl.int64)[None, :]
    return philox_uniform(seed, offset + place) >= dropout


@helper
def attend(
    top, weight, total, q, k_ptr, v_ptr, mask_ptr, scale, seed, offset, dropout, batch, queries,
    start, n_queries, n_keys, depth, v_depth, k_row_stride, k_column_stride, v_row_stride,
    v_column_stride, mask_row_stride, mask_column_stride, MASK: tl.constexpr, CAUSAL: tl.constexpr,
    DROPOUT: tl.constexpr, WHOLE: tl.constexpr, WHOLE_DEPTH: tl.constexpr, BLOCK_N: tl.constexpr,
    DEPTH: tl.constexpr, V_DEPTH: tl.constexpr,
):  # fmt: skip
    """Fold the keys from `start` on into (largest score, sum of weights, weighted values)."""
    COMPUTE: tl.constexpr = total.dtype
    keys = start + tl.arange(0, BLOCK_N)
    k = load_tile(
        k_ptr, keys, n_keys, tl.arange(0, DEPTH), depth, k_row_stride, k_column_stride,
        WHOLE, WHOLE_DEPTH,
    )  # fmt: skip
    scores = tl.dot(q, tl.trans(k), input_precision="ieee", out_dtype=COMPUTE)
    if q.dtype != COMPUTE:
        scores = scores * scale
    scores = masked_scores(
        scores, queries, keys, n_queries, n_keys, mask_ptr, mask_row_stride, mask_column_stride,
        MASK, CAUSAL, WHOLE,
    )  # fmt: skip
    higher = tl.maximum(top, tl.max(scores, 1))
    if MASK:  # a query that has seen nothing keeps a sum of 0 rather than nan
        base = tl.where(higher == -float("inf"), 0.0, higher)
    else:
        base = higher
    decay = tl.exp2(top - base)
    p = tl.exp2(scores - base[:, None])
    weight = weight * decay + tl.sum(p, 1)
    if DROPOUT:
        left = kept(batch, queries, keys, n_queries, n_keys, seed, offset, dropout)
        p = tl.where(left, p, 0.0)
    v = load_tile(
        v_ptr, keys, n_keys, tl.arange(0, V_DEPTH), v_depth, v_row_stride, v_column_stride,
        WHOLE, WHOLE_DEPTH,
    )  # fmt: skip
    total = tl.dot(
        p.to(v.dtype), v, total * decay[:, None], input_precision="ieee", out_dtype=COMPUTE
    )
    return higher, weight, total


def _forward_blocks(
    *, target: str, n_queries: int, n_keys: int, depth: int, v_depth: int, itemsize: int
) -> dict[str, Any]:
    """CPU: tiles whose operands and scores share a core's second-level cache. GPU: registers."""
    m, n = (64, 64) if target == "cpu" else (128, 64) if itemsize <= 2 else (64, 32)
    if target != "cpu" and max(depth, v_depth) > 128:
        m, n = m // 2, n // 2
    return {
        "BLOCK_M": max(16, min(m, next_power_of_2(n_queries))),
        "BLOCK_N": max(16, min(n, next_power_of_2(n_keys))),
    }


@kernel(
    space={
        "BLOCK_M": [16, 32, 64, 128, 256],
        "BLOCK_N": [16, 32, 64, 128, 256],
        "num_warps": [4, 8],
        "num_stages": [1, 2, 3],
    },
    default=_forward_blocks,
    key=("n_queries", "n_keys", "depth", "v_depth", "q.dtype"),
)
def attention_forward(
    o_ptr, sums_ptr, q_ptr, k_ptr, v_ptr, mask_ptr, scale, seed, offset, dropout, factor,
    n_blocks, n_queries, n_keys, depth, v_depth, size1, size2, size3,
    o_stride0, o_stride1, o_stride2, o_stride3, o_row_stride, o_column_stride,
    q_stride0, q_stride1, q_stride2, q_stride3, q_row_stride, q_column_stride,
    k_stride0, k_stride1, k_stride2, k_stride3, k_row_stride, k_column_stride,
    v_stride0, v_stride1, v_stride2, v_stride3, v_row_stride, v_column_stride,
    mask_stride0, mask_stride1, mask_stride2, mask_stride3, mask_row_stride, mask_column_stride,
    MASK: tl.constexpr, CAUSAL: tl.constexpr, DROPOUT: tl.constexpr, SUMS: tl.constexpr,
    WHOLE_DEPTH: tl.constexpr, DEPTH: tl.constexpr, V_DEPTH: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK_M queries of one head."""
    batch = tl.program_id(0) // n_blocks
    block = tl.program_id(0) % n_blocks
    o_ptr += row_offset(batch, size1, size2, size3, o_stride0, o_stride1, o_stride2, o_stride3)
    q_ptr += row_offset(batch, size1, size2, size3, q_stride0, q_stride1, q_stride2, q_stride3)
    k_ptr += row_offset(batch, size1, size2, size3, k_stride0, k_stride1, k_stride2, k_stride3)
    v_ptr += row_offset(batch, size1, size2, size3, v_stride0, v_stride1, v_stride2, v_stride3)
    if MASK:
        mask_ptr += row_offset(
            batch, size1, size2, size3, mask_stride0, mask_stride1, mask_stride2, mask_stride3
        )
    COMPUTE: tl.constexpr = tl.float64 if q_ptr.dtype.element_ty == tl.float64 else tl.float32
    queries = block * BLOCK_M + tl.arange(0, BLOCK_M)
    q = load_tile(
        q_ptr, queries, n_queries, tl.arange(0, DEPTH), depth, q_row_stride, q_column_stride,
        False, WHOLE_DEPTH,
    )  # fmt: skip
    if q.dtype == COMPUTE:  # cheaper than to scale the scores; narrow types would lose bits
        q = q * scale
    top = tl.full([BLOCK_M], -float("inf"), COMPUTE)
    weight = tl.zeros([BLOCK_M], COMPUTE)
    total = tl.zeros([BLOCK_M, V_DEPTH], COMPUTE)
    end = n_keys
    whole = n_keys // BLOCK_N * BLOCK_N
    if CAUSAL:
        end = tl.minimum(n_keys, (block + 1) * BLOCK_M)
        whole = tl.minimum(whole, block * BLOCK_M // BLOCK_N * BLOCK_N)
    for start in range(0, whole, BLOCK_N):
        top, weight, total = attend(
            top, weight, total, q, k_ptr, v_ptr, mask_ptr, scale, seed, offset, dropout, batch,
            queries, start, n_queries, n_keys, depth, v_depth, k_row_stride, k_column_stride,
            v_row_stride, v_column_stride, mask_row_stride, mask_column_stride,
            MASK, CAUSAL, DROPOUT, True, WHOLE_DEPTH, BLOCK_N, DEPTH, V_DEPTH,
        )  # fmt: skip
    for start in range(whole, end, BLOCK_N):
        top, weight, total = attend(
            top, weight, total, q, k_ptr, v_ptr, mask_ptr, scale, seed, offset, dropout, batch,
            queries, start, n_queries, n_keys, depth, v_depth, k_row_stride, k_column_stride,
            v_row_stride, v_column_stride, mask_row_stride, mask_column_stride,
            MASK, CAUSAL, DROPOUT, False, WHOLE_DEPTH, BLOCK_N, DEPTH, V_DEPTH,
        )  # fmt: skip
    share = 1.0 / tl.where(top == -float("inf"), 1.0, weight)  # who saw nothing gets zeros
    if DROPOUT:
        share = share * factor
    total = total * share[:, None]
    columns = tl.arange(0, V_DEPTH)
    tl.store(
        o_ptr + queries[:, None] * o_row_stride + columns[None, :] * o_column_stride,
        total.to(o_ptr.dtype.element_ty),
        mask=(queries < n_queries)[:, None] & (columns < v_depth)[None, :],
    )
    if SUMS:
        sums = top + tl.log2(weight)
        if MASK:  # makes the weights of such a query 0 in the backward
            sums = tl.where(top == -float("inf"), float("inf"), sums)
        tl.store(sums_ptr + batch * n_queries + queries, sums, mask=queries < n_queries)


@helper
def score_gradients(
    q, k, do, v, sums, delta, mask_ptr, scale, seed, offset, dropout, factor, batch, queries, keys,
    n_queries, n_keys, mask_row_stride, mask_column_stride,
    MASK: tl.constexpr, CAUSAL: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    """The weights after dropout, and the gradient of the scores, of a block of queries and keys."""
    COMPUTE: tl.constexpr = sums.dtype
    scores = tl.dot(q, tl.trans(k), input_precision="ieee", out_dtype=COMPUTE) * scale
    scores = masked_scores(
        scores, queries, keys, n_queries, n_keys, mask_ptr, mask_row_stride, mask_column_stride,
        MASK, CAUSAL, False,
    )  # fmt: skip
    p = tl.exp2(scores - sums[:, None])
    dp = tl.dot(do, tl.trans(v), input_precision="ieee", out_dtype=COMPUTE)
    dropped = p
    if DROPOUT:
        left = kept(batch, queries, keys, n_queries, n_keys, seed, offset, dropout)
        dropped = tl.where(left, p * factor, 0.0)
        dp = tl.where(left, dp * factor, 0.0)
    return dropped, p * (dp - delta[:, None])


def _backward_blocks(
    *, target: str, n_queries: int, n_keys: int, depth: int, v_depth: int, itemsize: int
) -> dict[str, Any]:
    m, n = (64, 64) if target == "cpu" or itemsize <= 2 else (32, 32)
    if target != "cpu" and max(depth, v_depth) > 128:
        m, n = m // 2, n // 2
    return {
        "BLOCK_M": max(16, min(m, next_power_of_2(n_queries))),
        "BLOCK_N": max(16, min(n, next_power_of_2(n_keys))),
    }


_BACKWARD: dict[str, Any] = {
    "space": {
        "BLOCK_M": [16, 32, 64, 128],
        "BLOCK_N": [16, 32, 64, 128],
        "num_warps": [4, 8],
        "num_stages": [1, 2],
    },
    "default": _backward_blocks,
    "key": ("n_queries", "n_keys", "depth", "v_depth", "q.dtype"),
}


@kernel(**_BACKWARD)
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
        _, ds = score_gradients(
            q, k, do, v, sums, delta, mask_ptr, scale, seed, offset, dropout, factor, batch,
            queries, keys, n_queries, n_keys, mask_row_stride, mask_column_stride,
            MASK, CAUSAL, DROPOUT,
        )  # fmt: skip
        total = tl.dot(ds.to(k.dtype), k, total, input_precision="ieee", out_dtype=COMPUTE)
    total = total * (scale * tl.full((), 0.6931471805599453, COMPUTE))
    tl.store(
        dq_ptr + queries[:, None] * dq_row_stride + columns[None, :] * dq_column_stride,
        total.to(dq_ptr.dtype.element_ty),
        mask=(queries < n_queries)[:, None] & (columns < depth)[None, :],
    )


@kernel(**_BACKWARD)
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
            q, k, do, v, sums, delta, mask_head, scale, seed, offset, dropout, factor, batch,
            queries, keys, n_queries, n_keys, mask_row_stride, mask_column_stride,
            MASK, CAUSAL, DROPOUT,
        )  # fmt: skip
        dv = tl.dot(tl.trans(p.to(do.dtype)), do, dv, input_precision="ieee", out_dtype=COMPUTE)
        dk = tl.dot(tl.trans(ds.to(q.dtype)), q, dk, input_precision="ieee", out_dtype=COMPUTE)
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
