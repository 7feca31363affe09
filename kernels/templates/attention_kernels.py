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

from tritorch.kernels.helpers import HELPERS, NEEDS
from tritorch.kernels.templates.attention_gpu import gpu_blocks
from tritorch.kernels.templates.rows import next_power_of_2, row_offset
from tritorch.kernels.templates.template import Helper, helper, kernel

if TYPE_CHECKING:
    import triton.language as tl


class _Library(Helper):
    """A helper whose text stands in `tritorch.kernels.helpers`."""

    def __init__(self, name: str) -> None:
        super().__init__(_Library.__call__)
        self.name = name

    @cached_property
    def text(self) -> str:
        return HELPERS[self.name].lstrip("\n")

    @cached_property
    def helpers(self) -> tuple[Helper, ...]:
        needed = [_Library(name) for name in NEEDS.get(self.name, ())]
        return tuple(found for one in needed for found in (*one.helpers, one))


philox_quarter = _Library("philox_quarter")


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
    """Scores with -inf where a query may not look; queries and keys are a column and a row.

    WHOLE: every key is there, and behind every query.
    """
    if MASK:
        there = (queries < n_queries) & (keys < n_keys)
        places = mask_ptr + queries * mask_row_stride + keys * mask_column_stride
        if MASK == 1:
            visible = tl.load(places, mask=there, other=0).to(tl.int1)
            scores = tl.where(visible, scores, -float("inf"))
        else:
            added = tl.load(places, mask=there, other=0.0).to(scores.dtype)
            scores += added * tl.full((), 1.4426950408889634, scores.dtype)
    if not WHOLE:
        visible = keys < n_keys
        if CAUSAL:
            visible = visible & (queries >= keys)
        scores = tl.where(visible, scores, -float("inf"))
    return scores


@helper
def kept(batch, queries, keys, n_queries, n_keys, seed, offset, dropout):
    """Which weights dropout leaves: drawn from their place in the matrix of all weights."""
    rows = batch.to(tl.int64) * n_queries + queries.to(tl.int64)
    drawn = philox_quarter(seed, offset, rows * n_keys + keys.to(tl.int64))
    return drawn >= dropout * 16777216.0


@helper
def attend(
    top, weight, total, q, k_ptr, v_ptr, mask_ptr, scale, seed, offset, dropout, batch, queries,
    start, n_queries, n_keys, depth, v_depth, k_row_stride, k_column_stride, v_row_stride,
    v_column_stride, mask_row_stride, mask_column_stride, MASK: tl.constexpr, CAUSAL: tl.constexpr,
    DROPOUT: tl.constexpr, WHOLE: tl.constexpr, WHOLE_DEPTH: tl.constexpr, TURNED: tl.constexpr,
    BLOCK_N: tl.constexpr, DEPTH: tl.constexpr, V_DEPTH: tl.constexpr,
):  # fmt: skip
    """Fold the keys from `start` on into (largest score, sum of weights, weighted values).

    FOLDED: scores are scaled, by no negative number, only where the largest one is subtracted.
    """
    COMPUTE: tl.constexpr = total.dtype
    AXIS: tl.constexpr = 0 if TURNED else 1
    FOLDED: tl.constexpr = not TURNED and MASK == 0 and q.dtype != COMPUTE
    keys = start + tl.arange(0, BLOCK_N)
    k = load_tile(
        k_ptr, keys, n_keys, tl.arange(0, DEPTH), depth, k_row_stride, k_column_stride,
        WHOLE, WHOLE_DEPTH,
    )  # fmt: skip
    if TURNED:
        scores = tl.dot(k, q, input_precision="ieee", out_dtype=COMPUTE)
    else:
        scores = tl.dot(q, tl.trans(k), input_precision="ieee", out_dtype=COMPUTE)
    if q.dtype != COMPUTE and not FOLDED:
        scores = scores * scale
    row = tl.expand_dims(queries, AXIS)
    column = tl.expand_dims(keys, 1 - AXIS)
    scores = masked_scores(
        scores, row, column, n_queries, n_keys, mask_ptr, mask_row_stride, mask_column_stride,
        MASK, CAUSAL, WHOLE,
    )  # fmt: skip
    highest = tl.max(scores, AXIS)
    if FOLDED:
        highest = highest * scale
    higher = tl.maximum(top, highest)
    if MASK:  # a query that has seen nothing keeps a sum of 0 rather than nan
        base = tl.where(higher == -float("inf"), 0.0, higher)
    else:
        base = higher
    decay = tl.exp2(top - base)
    if FOLDED:  # one multiply-add
        scores = scores * scale
    p = tl.exp2(scores - tl.expand_dims(base, AXIS))
    weight = weight * decay + tl.sum(p, AXIS)
    if DROPOUT:
        p = tl.where(kept(batch, row, column, n_queries, n_keys, seed, offset, dropout), p, 0.0)
    v = load_tile(
        v_ptr, keys, n_keys, tl.arange(0, V_DEPTH), v_depth, v_row_stride, v_column_stride,
        WHOLE, WHOLE_DEPTH,
    )  # fmt: skip
    total = total * tl.expand_dims(decay, AXIS)
    p = p.to(v.dtype)
    if TURNED:
        total = tl.dot(tl.trans(v), p, total, input_precision="ieee", out_dtype=COMPUTE)
    else:
        total = tl.dot(p, v, total, input_precision="ieee", out_dtype=COMPUTE)
    return higher, weight, total


def forward_blocks(
    *,
    target: str,
    n_queries: int,
    n_keys: int,
    depth: int,
    v_depth: int,
    dtype: str,
    causal: bool,
    **hardware: Any,
) -> dict[str, Any]:
    """CPU: the larger the block, the less is packed per operation; with a causal mask, the more is
    computed in vain. GPU: what fits the registers."""
    if target != "cpu":
        found = gpu_blocks("forward", n_queries, n_keys, depth, v_depth, dtype, **hardware)
        return {**found, "TURNED": False}
    size = 32 if causal else 64 if n_keys < 512 else 128
    return {
        "BLOCK_M": max(16, min(size, next_power_of_2(n_queries))),
        "BLOCK_N": max(16, min(size, next_power_of_2(n_keys))),
        "TURNED": True,
    }


@kernel(
    space={
        "BLOCK_M": [16, 32, 64, 128, 256],
        "BLOCK_N": [16, 32, 64, 128, 256],
        "num_warps": [4, 8],
        "num_stages": [1, 2, 3],
    },
    default=forward_blocks,
    key=("n_queries", "n_keys", "depth", "v_depth", "causal", "dtype"),
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
    TURNED: tl.constexpr, WHOLE_DEPTH: tl.constexpr, DEPTH: tl.constexpr, V_DEPTH: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK_M queries of one head.

    TURNED: scores are computed transposed, so that queries lie side by side in vectors: maxima and
    sums need no exchange of lanes, and Q alone is transposed, once, instead of every block of K.
    """
    batch = tl.program_id(0) // n_blocks
    block = tl.program_id(0) % n_blocks
    if CAUSAL and not TURNED:  # the longest ones first
        block = n_blocks - 1 - block
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
    elif not TURNED and MASK == 0:  # -inf times 0 would be nan
        scale = tl.maximum(scale, 1e-30)
    if TURNED:
        q = tl.trans(q)
    top = tl.full([BLOCK_M], -float("inf"), COMPUTE)
    weight = tl.zeros([BLOCK_M], COMPUTE)
    if TURNED:
        total = tl.zeros([V_DEPTH, BLOCK_M], COMPUTE)
    else:
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
            MASK, CAUSAL, DROPOUT, True, WHOLE_DEPTH, TURNED, BLOCK_N, DEPTH, V_DEPTH,
        )  # fmt: skip
    for start in range(whole, end, BLOCK_N):
        top, weight, total = attend(
            top, weight, total, q, k_ptr, v_ptr, mask_ptr, scale, seed, offset, dropout, batch,
            queries, start, n_queries, n_keys, depth, v_depth, k_row_stride, k_column_stride,
            v_row_stride, v_column_stride, mask_row_stride, mask_column_stride,
            MASK, CAUSAL, DROPOUT, False, WHOLE_DEPTH, TURNED, BLOCK_N, DEPTH, V_DEPTH,
        )  # fmt: skip
    share = 1.0 / tl.where(top == -float("inf"), 1.0, weight)  # who saw nothing gets zeros
    if DROPOUT:
        share = share * factor
    if TURNED:
        total = tl.trans(total)
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
