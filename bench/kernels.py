"""Plain Triton kernels, as the tutorials write them: what the CPU target itself is measured
with.
"""

from __future__ import annotations

import inspect

import triton
import triton.language as tl

from tritorch.kernel_source import KernelSource


@triton.jit
def add(x_ptr, y_ptr, o_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    y = tl.load(y_ptr + offsets, mask=mask)
    tl.store(o_ptr + offsets, x + y, mask=mask)


@triton.jit
def gelu(x_ptr, w_ptr, b_ptr, o_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask).to(tl.float32)
    w = tl.load(w_ptr + offsets, mask=mask).to(tl.float32)
    b = tl.load(b_ptr + offsets, mask=mask).to(tl.float32)
    z = x * w + b
    y = 0.5 * z * (1.0 + tl.erf(z * 0.7071067811865476))
    tl.store(o_ptr + offsets, y.to(o_ptr.dtype.element_ty), mask=mask)


@triton.jit
def tanh_gelu(x_ptr, w_ptr, b_ptr, o_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    w = tl.load(w_ptr + offsets, mask=mask)
    b = tl.load(b_ptr + offsets, mask=mask)
    z = x * w + b
    u = 0.7978845608028654 * (z + 0.044715 * z * z * z)
    tl.store(o_ptr + offsets, 0.5 * z * (1.0 + 2 * tl.sigmoid(2 * u) - 1), mask=mask)


@triton.jit
def softmax(x_ptr, o_ptr, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * n + columns, mask=columns < n, other=-float("inf"))
    e = tl.exp(x - tl.max(x, 0))
    tl.store(o_ptr + row * n + columns, e / tl.sum(e, 0), mask=columns < n)


@triton.jit
def layer_norm(x_ptr, y_ptr, w_ptr, b_ptr, n, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    mask = columns < n
    x = tl.load(x_ptr + row * n + columns, mask=mask, other=0.0)
    mean = tl.sum(x, axis=0) / n
    centred = tl.where(mask, x - mean, 0.0)
    rstd = tl.rsqrt(tl.sum(centred * centred, axis=0) / n + eps)
    w = tl.load(w_ptr + columns, mask=mask)
    b = tl.load(b_ptr + columns, mask=mask)
    tl.store(y_ptr + row * n + columns, centred * rstd * w + b, mask=mask)


@triton.jit
def transpose(x_ptr, o_ptr, m, n, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (rows[:, None] < m) & (columns[None, :] < n)
    x = tl.load(x_ptr + rows[:, None] * n + columns[None, :], mask=inside)
    turned = (columns[:, None] < n) & (rows[None, :] < m)
    tl.store(o_ptr + columns[:, None] * m + rows[None, :], tl.trans(x), mask=turned)


@triton.jit
def dropout(x_ptr, o_ptr, n, p, seed, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    keep = tl.rand(seed, offsets) > p
    tl.store(o_ptr + offsets, tl.where(keep, x / (1 - p), 0.0), mask=mask)


@triton.jit
def argmax(x_ptr, i_ptr, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * n + columns, mask=columns < n, other=-float("inf"))
    tl.store(i_ptr + row, tl.argmax(x, 0))


@triton.jit
def cumsum(x_ptr, o_ptr, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * n + columns, mask=columns < n, other=0.0)
    tl.store(o_ptr + row * n + columns, tl.cumsum(x, 0), mask=columns < n)


@triton.jit
def column_sum(x_ptr, o_ptr, m, n, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    rows = tl.arange(0, ROWS)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, m, ROWS):
        inside = ((start + rows)[:, None] < m) & (columns[None, :] < n)
        total += tl.load(
            x_ptr + (start + rows)[:, None] * n + columns[None, :], mask=inside, other=0.0
        )
    tl.store(o_ptr + columns, tl.sum(total, 0), mask=columns < n)


@triton.jit
def sort(x_ptr, o_ptr, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * n + columns, mask=columns < n, other=float("inf"))
    tl.store(o_ptr + row * n + columns, tl.sort(x), mask=columns < n)


@triton.jit
def scatter_add(index_ptr, x_ptr, o_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    index = tl.load(index_ptr + offsets, mask=mask, other=0)
    x = tl.load(x_ptr + offsets, mask=mask, other=0.0)
    tl.atomic_add(o_ptr + index, x, mask=mask)


@triton.jit
def matmul(
    a_ptr, b_ptr, c_ptr, M, N, K,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    columns = tl.program_id(1) * BN + tl.arange(0, BN)
    inner = tl.arange(0, BK)
    total = tl.zeros((BM, BN), tl.float32)
    for k in range(0, K, BK):
        at = k + inner
        a = tl.load(
            a_ptr + rows[:, None] * K + at[None, :],
            mask=(rows[:, None] < M) & (at[None, :] < K),
            other=0.0,
        )
        b = tl.load(
            b_ptr + at[:, None] * N + columns[None, :],
            mask=(at[:, None] < K) & (columns[None, :] < N),
            other=0.0,
        )
        total = tl.dot(a, b, total, input_precision="ieee")
    inside = (rows[:, None] < M) & (columns[None, :] < N)
    tl.store(c_ptr + rows[:, None] * N + columns[None, :], total, mask=inside)


@triton.jit
def flash_forward(
    q_ptr, k_ptr, v_ptr, o_ptr, scale, head_stride, row_stride, n_rows,
    BM: tl.constexpr, BN: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """Causal attention of one head and BM queries. Source: Dao, FlashAttention-2, 2023."""
    block = tl.program_id(0)
    head = tl.program_id(1) * head_stride
    queries = block * BM + tl.arange(0, BM)
    keys = tl.arange(0, BN)
    depth = tl.arange(0, D)
    q = tl.load(
        q_ptr + head + queries[:, None] * row_stride + depth[None, :],
        mask=queries[:, None] < n_rows,
        other=0.0,
    )
    top = tl.full([BM], -float("inf"), tl.float32)
    weight = tl.zeros([BM], tl.float32)
    total = tl.zeros([BM, D], tl.float32)
    for start in range(0, tl.minimum((block + 1) * BM, n_rows), BN):
        at = start + keys
        k = tl.load(
            k_ptr + head + at[:, None] * row_stride + depth[None, :],
            mask=at[:, None] < n_rows,
            other=0.0,
        )
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        visible = (at[None, :] < n_rows) & (queries[:, None] >= at[None, :])
        scores = tl.where(visible, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, 1))
        decay = tl.exp2(top - higher)
        p = tl.exp2(scores - higher[:, None])
        weight = weight * decay + tl.sum(p, 1)
        v = tl.load(
            v_ptr + head + at[:, None] * row_stride + depth[None, :],
            mask=at[:, None] < n_rows,
            other=0.0,
        )
        total = tl.dot(p.to(v.dtype), v, total * decay[:, None], input_precision="ieee")
        top = higher
    total = total / weight[:, None]
    tl.store(
        o_ptr + head + queries[:, None] * row_stride + depth[None, :],
        total.to(o_ptr.dtype.element_ty),
        mask=queries[:, None] < n_rows,
    )


def source(function: triton.JITFunction) -> KernelSource:
    """The kernel as text, the form in which the runtime takes it."""
    return KernelSource(function.__name__, inspect.getsource(function.fn))
