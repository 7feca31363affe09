"""Real kernels of the suite: normalisation, losses, embedding, dropout, attention."""

# ruff: noqa: C408 - dict(name=...) reads like the kernel's parameters
from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import triton
import triton.language as tl

from tests.triton_cpu.cases import Arguments, Case, case, floats, wide, zeros

CASES: list[Case] = []
case = partial(case, CASES)


def _softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@triton.jit
def layer_norm_loop(x_ptr, y_ptr, w_ptr, b_ptr, mean_ptr, rstd_ptr, n, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    y_ptr += row * n
    x_ptr += row * n
    total = tl.zeros([BLOCK], dtype=tl.float32)
    for start in range(0, n, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        total += tl.load(x_ptr + columns, mask=columns < n, other=0.0).to(tl.float32)
    mean = tl.sum(total, axis=0) / n
    squares = tl.zeros([BLOCK], dtype=tl.float32)
    for start in range(0, n, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + columns, mask=columns < n, other=0.0).to(tl.float32)
        x = tl.where(columns < n, x - mean, 0.0)
        squares += x * x
    rstd = 1 / tl.sqrt(tl.sum(squares, axis=0) / n + eps)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)
    for start in range(0, n, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        mask = columns < n
        w = tl.load(w_ptr + columns, mask=mask)
        b = tl.load(b_ptr + columns, mask=mask)
        x = tl.load(x_ptr + columns, mask=mask, other=0.0).to(tl.float32)
        tl.store(y_ptr + columns, (x - mean) * rstd * w + b, mask=mask)


@triton.jit
def layer_norm(x_ptr, y_ptr, w_ptr, b_ptr, mean_ptr, rstd_ptr, n, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    mask = columns < n
    x = tl.load(x_ptr + row * n + columns, mask=mask, other=0.0).to(tl.float32)
    mean = tl.sum(x, axis=0) / n
    centred = tl.where(mask, x - mean, 0.0)
    rstd = tl.rsqrt(tl.sum(centred * centred, axis=0) / n + eps)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)
    w = tl.load(w_ptr + columns, mask=mask)
    b = tl.load(b_ptr + columns, mask=mask)
    tl.store(y_ptr + row * n + columns, centred * rstd * w + b, mask=mask)


def _layer_norm_reference(x_ptr, y_ptr, w_ptr, b_ptr, mean_ptr, rstd_ptr, n, eps):
    x = wide(x_ptr)
    mean, rstd = x.mean(1), 1 / np.sqrt(x.var(1) + eps)
    y = (x - mean[:, None]) * rstd[:, None] * w_ptr + b_ptr
    return dict(y_ptr=y, mean_ptr=mean, rstd_ptr=rstd)


for _kernel, _n, _block in ((layer_norm_loop, 3000, 1024), (layer_norm_loop, 100, 256),
                            (layer_norm, 3000, 4096), (layer_norm, 256, 256)):  # fmt: skip
    case(
        f"{_kernel.__name__}_{_n}", _kernel, (5,),
        lambda rng, n=_n: dict(
            x_ptr=floats(rng, 5, n), y_ptr=zeros(5, n), w_ptr=floats(rng, n), b_ptr=floats(rng, n),
            mean_ptr=zeros(5), rstd_ptr=zeros(5), n=n, eps=1e-5),
        _layer_norm_reference, tolerance=1e-5, BLOCK=_block,
    )  # fmt: skip


@triton.jit
def cross_entropy(x_ptr, target_ptr, loss_ptr, dx_ptr, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(target_ptr + row)
    if target == -100:
        tl.store(loss_ptr + row, 0.0)
        return
    largest = -float("inf")
    total = 0.0
    for i in range(0, n, BLOCK):
        columns = i + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * n + columns, mask=columns < n, other=-float("inf"))
        new = tl.maximum(largest, tl.max(x, 0))
        total = total * tl.exp(largest - new) + tl.sum(tl.exp(x - new), 0)
        largest = new
    tl.store(loss_ptr + row, largest + tl.log(total) - tl.load(x_ptr + row * n + target))
    for i in range(0, n, BLOCK):
        columns = i + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * n + columns, mask=columns < n, other=-float("inf"))
        g = tl.exp(x - largest) / total
        g = tl.where(columns == target, g - 1.0, g)
        tl.store(dx_ptr + row * n + columns, g, mask=columns < n)


def _cross_entropy_reference(x_ptr, target_ptr, loss_ptr, dx_ptr, n):
    x, rows, ignored = wide(x_ptr), np.arange(len(x_ptr)), target_ptr == -100
    lse = np.log(np.exp(x).sum(1))
    dx = np.exp(x - lse[:, None])
    dx[rows, target_ptr] -= np.where(ignored, 0, 1)
    dx[ignored] = 0
    return dict(loss_ptr=np.where(ignored, 0, lse - x[rows, target_ptr]), dx_ptr=dx)


case(
    "cross_entropy", cross_entropy, (5,),
    lambda rng: dict(x_ptr=floats(rng, 5, 3000), target_ptr=np.array([3, -100, 7, 2999, 0]),
                     loss_ptr=zeros(5), dx_ptr=zeros(5, 3000), n=3000),
    _cross_entropy_reference, tolerance=1e-5, BLOCK=1024,
)  # fmt: skip


@triton.jit
def embedding(i_ptr, w_ptr, o_ptr, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    i = tl.load(i_ptr + rows)
    columns = tl.arange(0, BLOCK)
    v = tl.load(w_ptr + i[:, None] * D + columns[None, :], mask=columns[None, :] < D)
    tl.store(o_ptr + rows[:, None] * D + columns[None, :], v, mask=columns[None, :] < D)


case(
    "embedding", embedding, (4,),
    lambda rng: dict(i_ptr=rng.integers(0, 50, 64), w_ptr=floats(rng, 50, 100),
                     o_ptr=zeros(64, 100), D=100),
    lambda i_ptr, w_ptr, o_ptr, D: dict(o_ptr=w_ptr[i_ptr]), tolerance=0.0, ROWS=16, BLOCK=128,
)  # fmt: skip


@triton.jit
def dropout(x_ptr, o_ptr, n, p, seed, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    keep = tl.rand(seed, offsets) > p
    tl.store(o_ptr + offsets, tl.where(keep, x / (1 - p), 0.0), mask=mask)


def philox(seed: int, offsets: np.ndarray) -> np.ndarray:
    """The first 32-bit word of Philox-4x32-10 for each offset."""
    c = [offsets.astype(np.uint64), *(np.zeros(len(offsets), np.uint64) for _ in range(3))]
    low, word = np.uint64(0xFFFFFFFF), np.uint64(32)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        a, b = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [
            (b >> word) ^ c[1] ^ np.uint64(k0),
            b & low,
            (a >> word) ^ c[3] ^ np.uint64(k1),
            a & low,
        ]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c[0].astype(np.uint32)


def _dropout_reference(x_ptr, o_ptr, n, p, seed):
    bits = philox(seed, np.arange(n)).view(np.int32).astype(np.int64)
    uniform = np.where(bits < 0, -bits - 1, bits) * 4.6566127342e-10
    return dict(o_ptr=np.where(uniform > p, wide(x_ptr) / (1 - p), 0))


case(
    "dropout", dropout, (5,),
    lambda rng: dict(x_ptr=floats(rng, 5000), o_ptr=zeros(5000), n=5000, p=0.3, seed=1234),
    _dropout_reference, BLOCK=1024,
)  # fmt: skip


@triton.jit
def flash_forward(q_ptr, k_ptr, v_ptr, o_ptr, l_ptr, scale, head, row, n,
                  BM: tl.constexpr, BN: tl.constexpr, D: tl.constexpr,
                  CAUSAL: tl.constexpr):  # fmt: skip
    start = tl.program_id(0)
    offset = tl.program_id(1) * head
    rows = start * BM + tl.arange(0, BM)
    columns = tl.arange(0, BN)
    depth = tl.arange(0, D)
    q = tl.load(
        q_ptr + offset + rows[:, None] * row + depth[None, :], mask=rows[:, None] < n, other=0.0
    )
    m = tl.full([BM], -float("inf"), tl.float32)
    l = tl.zeros([BM], tl.float32)  # noqa: E741
    acc = tl.zeros([BM, D], tl.float32)
    end = tl.minimum((start + 1) * BM, n) if CAUSAL else n
    for j in range(0, end, BN):
        j = tl.multiple_of(j, BN)
        inside = (j + columns)[:, None] < n
        places = offset + (j + columns)[:, None] * row + depth[None, :]
        k = tl.load(k_ptr + places, mask=inside, other=0.0)
        s = tl.dot(q, tl.trans(k)) * scale
        keep = (j + columns)[None, :] < n
        if CAUSAL:
            keep = keep & (rows[:, None] >= (j + columns)[None, :])
        s = tl.where(keep, s, -float("inf"))
        new = tl.maximum(m, tl.max(s, 1))
        alpha = tl.exp2(m - new)
        p = tl.exp2(s - new[:, None])
        l = l * alpha + tl.sum(p, 1)  # noqa: E741
        v = tl.load(v_ptr + places, mask=inside, other=0.0)
        acc = acc * alpha[:, None] + tl.dot(p.to(v.dtype), v)
        m = new
    acc = acc / l[:, None]
    tl.store(l_ptr + tl.program_id(1) * n + rows, m + tl.log2(l), mask=rows < n)
    places = offset + rows[:, None] * row + depth[None, :]
    tl.store(o_ptr + places, acc.to(o_ptr.dtype.element_ty), mask=rows[:, None] < n)


LOG2E = 1.4426950408889634


def _flash_forward_reference(q_ptr, k_ptr, v_ptr, o_ptr, l_ptr, scale, head, row, n, causal):
    s = wide(q_ptr) @ wide(k_ptr).transpose(0, 2, 1) * (scale / LOG2E)
    if causal:
        s = np.where(np.tri(n, dtype=bool), s, -np.inf)
    lse = np.log2(np.exp(s).sum(-1))
    return dict(o_ptr=_softmax(s) @ wide(v_ptr), l_ptr=lse)


_FLASH = ((np.float32, 100, True), (np.float32, 128, False), (np.float16, 96, True))
for _dtype, _n, _causal in _FLASH:
    case(
        f"flash_forward_{np.dtype(_dtype).name}_{_n}", flash_forward, (-(-_n // 32), 2),
        lambda rng, dtype=_dtype, n=_n: dict(
            q_ptr=floats(rng, 2, n, 32, dtype=dtype), k_ptr=floats(rng, 2, n, 32, dtype=dtype),
            v_ptr=floats(rng, 2, n, 32, dtype=dtype), o_ptr=zeros(2, n, 32, dtype=dtype),
            l_ptr=zeros(2, n), scale=32**-0.5 * LOG2E, head=n * 32, row=32, n=n),
        partial(_flash_forward_reference, causal=_causal),
        tolerance=2e-3 if _dtype is np.float16 else 1e-5, BM=32, BN=32, D=32, CAUSAL=_causal,
    )  # fmt: skip


@triton.jit
def flash_backward(q_ptr, k_ptr, v_ptr, do_ptr, dk_ptr, dv_ptr, l_ptr, delta_ptr,
                   scale, head, row, n,
                   BM: tl.constexpr, BN: tl.constexpr, D: tl.constexpr):  # fmt: skip
    start = tl.program_id(0)
    offset = tl.program_id(1) * head
    columns = start * BN + tl.arange(0, BN)
    depth = tl.arange(0, D)
    places = offset + columns[:, None] * row + depth[None, :]
    k = tl.load(k_ptr + places)
    v = tl.load(v_ptr + places)
    dk = tl.zeros([BN, D], tl.float32)
    dv = tl.zeros([BN, D], tl.float32)
    for i in range(start * BN, n, BM):
        rows = i + tl.arange(0, BM)
        q_t = tl.load(q_ptr + offset + rows[None, :] * row + depth[:, None])
        l = tl.load(l_ptr + tl.program_id(1) * n + rows)  # noqa: E741
        p_t = tl.exp2(tl.dot(k, q_t) * scale - l[None, :])
        p_t = tl.where(rows[None, :] >= columns[:, None], p_t, 0.0)
        do = tl.load(do_ptr + offset + rows[:, None] * row + depth[None, :])
        dv += tl.dot(p_t.to(do.dtype), do)
        delta = tl.load(delta_ptr + tl.program_id(1) * n + rows)
        dp_t = tl.dot(v, tl.trans(do)).to(tl.float32)
        ds_t = (p_t * (dp_t - delta[None, :])).to(do.dtype)
        dk += tl.dot(ds_t, tl.trans(q_t))
    tl.store(dv_ptr + places, dv.to(dv_ptr.dtype.element_ty))
    tl.store(dk_ptr + places, (dk * (scale / 1.4426950408889634)).to(dk_ptr.dtype.element_ty))


def _flash_probabilities(q, k, scale):
    s = wide(q) @ wide(k).transpose(0, 2, 1) * (scale / LOG2E)
    s = np.where(np.tri(s.shape[-1], dtype=bool), s, -np.inf)
    return _softmax(s), np.log2(np.exp(s).sum(-1))


def _flash_backward_arguments(rng: np.random.Generator, dtype: Any) -> Arguments:
    n, scale = 64, 32**-0.5 * LOG2E
    q, k, v, do = (floats(rng, 2, n, 32, dtype=dtype) for _ in range(4))
    p, lse = _flash_probabilities(q, k, scale)
    delta = ((p @ wide(v)) * wide(do)).sum(-1)
    return dict(q_ptr=q, k_ptr=k, v_ptr=v, do_ptr=do, dk_ptr=np.zeros_like(q),
                dv_ptr=np.zeros_like(q), l_ptr=lse.astype("f4"), delta_ptr=delta.astype("f4"),
                scale=scale, head=n * 32, row=32, n=n)  # fmt: skip


def _flash_backward_reference(q_ptr, k_ptr, v_ptr, do_ptr, dk_ptr, dv_ptr, l_ptr, delta_ptr, scale,
                              head, row, n):  # fmt: skip
    p, _ = _flash_probabilities(q_ptr, k_ptr, scale)
    dp = wide(do_ptr) @ wide(v_ptr).transpose(0, 2, 1)
    ds = p * (dp - wide(delta_ptr)[:, :, None])
    return dict(
        dv_ptr=p.transpose(0, 2, 1) @ wide(do_ptr),
        dk_ptr=ds.transpose(0, 2, 1) @ wide(q_ptr) * (scale / LOG2E),
    )


for _dtype in (np.float32, np.float16):
    case(
        f"flash_backward_{np.dtype(_dtype).name}", flash_backward, (2, 2),
        partial(_flash_backward_arguments, dtype=_dtype), _flash_backward_reference,
        tolerance=6e-3 if _dtype is np.float16 else 1e-5, BM=32, BN=32, D=32,
    )  # fmt: skip
