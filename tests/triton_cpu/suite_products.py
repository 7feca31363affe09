"""Matrix products, sorting and counting of the suite."""

# ruff: noqa: C408 - dict(name=...) reads like the kernel's parameters
from __future__ import annotations

from functools import partial
from typing import Any

import ml_dtypes
import numpy as np
import triton
import triton.language as tl

from tests.triton_cpu.cases import Arguments, Case, case, floats, wide, zeros

CASES: list[Case] = []
case = partial(case, CASES)


@triton.jit
def matmul(a_ptr, b_ptr, c_ptr, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
           TRANSPOSED: tl.constexpr, ACCUMULATE: tl.constexpr):  # fmt: skip
    rm = tl.program_id(0) * BM + tl.arange(0, BM)
    rn = tl.program_id(1) * BN + tl.arange(0, BN)
    rk = tl.arange(0, BK)
    acc = tl.zeros((BM, BN), ACCUMULATE)
    for k in range(0, K, BK):
        a_mask = (rm[:, None] < M) & ((k + rk)[None, :] < K)
        a = tl.load(a_ptr + rm[:, None] * K + (k + rk)[None, :], mask=a_mask, other=0.0)
        if TRANSPOSED:
            b_mask = (rn[:, None] < N) & ((k + rk)[None, :] < K)
            b = tl.load(b_ptr + rn[:, None] * K + (k + rk)[None, :], mask=b_mask, other=0.0)
            acc = tl.dot(a, tl.trans(b), acc, out_dtype=ACCUMULATE)
        else:
            b_mask = ((k + rk)[:, None] < K) & (rn[None, :] < N)
            b = tl.load(b_ptr + (k + rk)[:, None] * N + rn[None, :], mask=b_mask, other=0.0)
            acc = tl.dot(a, b, acc, out_dtype=ACCUMULATE)
    mask = (rm[:, None] < M) & (rn[None, :] < N)
    tl.store(c_ptr + rm[:, None] * N + rn[None, :], acc.to(c_ptr.dtype.element_ty), mask=mask)


def _matmul_arguments(rng: np.random.Generator, dtype: Any, result: Any, m: int, n: int, k: int,
                      transposed: bool) -> Arguments:  # fmt: skip
    def matrix(*shape: int) -> np.ndarray:
        if np.dtype(dtype).kind == "i":
            return rng.integers(-128, 128, shape).astype(dtype)
        return floats(rng, *shape, dtype=dtype)

    b = matrix(n, k) if transposed else matrix(k, n)
    return dict(a_ptr=matrix(m, k), b_ptr=b, c_ptr=zeros(m, n, dtype=result), M=m, N=n, K=k)


def _matmul_reference(a_ptr, b_ptr, c_ptr, M, N, K, transposed):
    return dict(c_ptr=wide(a_ptr) @ (wide(b_ptr).T if transposed else wide(b_ptr)))


for _name, _dtype, _result, _sizes, _transposed, _blocks, _limit in (
    ("float32", np.float32, np.float32, (64, 64, 64), False, (32, 32, 16), 1e-5),
    ("float32_odd", np.float32, np.float32, (70, 45, 51), False, (32, 64, 16), 1e-5),
    ("float32_transposed", np.float32, np.float32, (70, 45, 51), True, (32, 32, 32), 1e-5),
    ("float32_tiny", np.float32, np.float32, (5, 3, 9), False, (8, 4, 4), 1e-5),
    ("float64", np.float64, np.float64, (33, 40, 50), False, (16, 16, 16), 1e-13),
    ("float16", np.float16, np.float16, (64, 80, 48), False, (32, 32, 16), 4e-3),
    ("float16_to_float32", np.float16, np.float32, (64, 80, 48), False, (32, 32, 16), 1e-5),
    ("bfloat16", ml_dtypes.bfloat16, np.float32, (64, 80, 48), True, (32, 32, 16), 1e-5),
    ("int8", np.int8, np.int32, (64, 80, 96), False, (32, 32, 32), 0.0),
):
    case(
        f"matmul_{_name}", matmul, (-(-_sizes[0] // _blocks[0]), -(-_sizes[1] // _blocks[1])),
        partial(_matmul_arguments, dtype=_dtype, result=_result, m=_sizes[0], n=_sizes[1],
                k=_sizes[2], transposed=_transposed),
        partial(_matmul_reference, transposed=_transposed), tolerance=_limit,
        BM=_blocks[0], BN=_blocks[1], BK=_blocks[2], TRANSPOSED=_transposed,
        ACCUMULATE={np.int8: tl.int32, np.float64: tl.float64}.get(_dtype, tl.float32),
    )  # fmt: skip


@triton.jit
def sum_where_stored(a_ptr, b_ptr, c_ptr, s_ptr, m, M, N, K, STARTS: tl.constexpr,
                     CUT: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
                     BK: tl.constexpr):  # fmt: skip
    """Where C lies is known before the loop; A's rows from m on are zeros, and C's are stored."""
    rm = tl.program_id(0) * BM + tl.arange(0, BM)
    rn = tl.program_id(1) * BN + tl.arange(0, BN)
    places = c_ptr + rm[:, None] * N + rn[None, :]
    mask = (rm[:, None] < M) & (rn[None, :] < N)
    if STARTS:
        acc = tl.load(s_ptr + rm[:, None] * N + rn[None, :], mask=mask, other=0.0)
    else:
        acc = tl.zeros((BM, BN), tl.float32)
    for k in range(0, K, BK):
        rk = k + tl.arange(0, BK)
        a_mask = (rm[:, None] < m) & (rk[None, :] < K)
        a = tl.load(a_ptr + rm[:, None] * K + rk[None, :], mask=a_mask, other=0.0)
        b_mask = (rk[:, None] < K) & (rn[None, :] < N)
        b = tl.load(b_ptr + rk[:, None] * N + rn[None, :], mask=b_mask, other=0.0)
        acc = tl.dot(a, b, acc)
    if CUT:
        tl.store(places, acc)
    else:
        tl.store(places, acc, mask=mask)


def _sum_where_stored(a_ptr, b_ptr, c_ptr, s_ptr, m, M, N, K, starts):
    a = wide(a_ptr)
    a[m:] = 0
    return dict(c_ptr=a @ wide(b_ptr) + starts * wide(s_ptr))


for _name, _rows, _sizes, _blocks in (
    ("edges", 70, (70, 90, 51), (32, 32, 16)),
    ("columns_first", 64, (64, 256, 80), (32, 128, 64)),
    ("cut", 40, (64, 64, 51), (32, 32, 16)),
):
    for _starts in (False, True):
        case(
            f"sum_where_stored_{_name}{'_starts' if _starts else ''}", sum_where_stored,
            (-(-_sizes[0] // _blocks[0]), -(-_sizes[1] // _blocks[1])),
            lambda rng, sizes=_sizes, rows=_rows: dict(
                a_ptr=floats(rng, sizes[0], sizes[2]), b_ptr=floats(rng, sizes[2], sizes[1]),
                c_ptr=floats(rng, *sizes[:2]), s_ptr=floats(rng, *sizes[:2]), m=rows,
                M=sizes[0], N=sizes[1], K=sizes[2]),
            partial(_sum_where_stored, starts=_starts), tolerance=1e-5, STARTS=_starts,
            CUT=_name == "cut" and not _starts, BM=_blocks[0], BN=_blocks[1], BK=_blocks[2],
        )  # fmt: skip


@triton.jit
def batched_sum(a_ptr, b_ptr, o_ptr, m, TURNS: tl.constexpr, B: tl.constexpr, M: tl.constexpr,
                N: tl.constexpr, K: tl.constexpr):  # fmt: skip
    b, m_, n, k = tl.arange(0, B), tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    acc = tl.zeros((B, M, N), tl.float32)
    for turn in range(TURNS):
        x = tl.load(
            a_ptr + turn * (B * M * K) + b[:, None, None] * (M * K) + m_[None, :, None] * K
            + k[None, None, :], mask=m_[None, :, None] < m, other=0.0,
        )  # fmt: skip
        y = tl.load(
            b_ptr + turn * (B * K * N) + b[:, None, None] * (K * N) + k[None, :, None] * N
            + n[None, None, :]
        )  # fmt: skip
        acc = tl.dot(x, y, acc)
    tl.store(o_ptr + b[:, None, None] * (M * N) + m_[None, :, None] * N + n[None, None, :], acc)


def _batched_sum(a_ptr, b_ptr, o_ptr, m):
    a = wide(a_ptr)
    a[:, :, m:] = 0
    return dict(o_ptr=(a @ wide(b_ptr)).sum(0))


case(
    "batched_sum_cut", batched_sum, (1,),
    lambda rng: dict(a_ptr=floats(rng, 2, 4, 16, 32), b_ptr=floats(rng, 2, 4, 32, 16),
                     o_ptr=floats(rng, 4, 16, 16), m=10),
    _batched_sum, tolerance=1e-5, TURNS=2, B=4, M=16, N=16, K=32,
)  # fmt: skip


@triton.jit
def batched_dot(a_ptr, b_ptr, o_ptr, B: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
                K: tl.constexpr):  # fmt: skip
    b, m, n, k = tl.arange(0, B), tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    x = tl.load(a_ptr + b[:, None, None] * (M * K) + m[None, :, None] * K + k[None, None, :])
    y = tl.load(b_ptr + b[:, None, None] * (K * N) + k[None, :, None] * N + n[None, None, :])
    z = tl.dot(x, y)
    tl.store(o_ptr + b[:, None, None] * (M * N) + m[None, :, None] * N + n[None, None, :], z)


case(
    "batched_dot", batched_dot, (1,),
    lambda rng: dict(a_ptr=floats(rng, 4, 16, 32), b_ptr=floats(rng, 4, 32, 16),
                     o_ptr=zeros(4, 16, 16)),
    lambda a_ptr, b_ptr, o_ptr: dict(o_ptr=wide(a_ptr) @ wide(b_ptr)), tolerance=1e-5,
    B=4, M=16, N=16, K=32,
)  # fmt: skip


# ---- sorting, counting


@triton.jit
def sort(x_ptr, o_ptr, n, DESCENDING: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    filler = -float("inf") if DESCENDING else float("inf")
    x = tl.load(x_ptr + row * n + columns, mask=columns < n, other=filler)
    tl.store(o_ptr + row * n + columns, tl.sort(x, descending=DESCENDING), mask=columns < n)


_SORTS = ((256, 256, False), (100, 128, True), (1000, 1024, False), (8, 8, True))
for _n, _block, _descending in _SORTS:
    case(
        f"sort_{_n}{'_descending' if _descending else ''}", sort, (3,),
        lambda rng, n=_n: dict(x_ptr=floats(rng, 3, n), o_ptr=zeros(3, n), n=n),
        lambda x_ptr, o_ptr, n, down=_descending: dict(
            o_ptr=-np.sort(-x_ptr, 1) if down else np.sort(x_ptr, 1)),
        tolerance=0.0, DESCENDING=_descending, BLOCK=_block,
    )  # fmt: skip


@triton.jit
def sort_integers(x_ptr, o_ptr, R: tl.constexpr, C: tl.constexpr):
    offsets = tl.arange(0, R)[:, None] * C + tl.arange(0, C)[None, :]
    tl.store(o_ptr + offsets, tl.sort(tl.load(x_ptr + offsets), dim=1))


case(
    "sort_integers", sort_integers, (1,),
    lambda rng: dict(x_ptr=rng.integers(-1000, 1000, (4, 64)), o_ptr=zeros(4, 64, dtype=np.int64)),
    lambda x_ptr, o_ptr: dict(o_ptr=np.sort(x_ptr, 1)), R=4, C=64,
)  # fmt: skip


@triton.jit
def topk(x_ptr, o_ptr, K: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    x = tl.load(x_ptr + row * BLOCK + tl.arange(0, BLOCK))
    tl.store(o_ptr + row * K + tl.arange(0, K), tl.topk(x, K))


for _k, _block in ((8, 128), (16, 256)):
    case(
        f"topk_{_k}_{_block}", topk, (3,),
        lambda rng, k=_k, block=_block: dict(x_ptr=floats(rng, 3, block), o_ptr=zeros(3, k)),
        lambda x_ptr, o_ptr, k=_k: dict(o_ptr=-np.sort(-x_ptr, 1)[:, :k]), tolerance=0.0,
        K=_k, BLOCK=_block,
    )  # fmt: skip


@triton.jit
def histogram(x_ptr, o_ptr, n, BINS: tl.constexpr, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    counts = tl.histogram(tl.load(x_ptr + offsets, mask=mask, other=0), BINS, mask=mask)
    tl.atomic_add(o_ptr + tl.arange(0, BINS), counts)


case(
    "histogram", histogram, (3,),
    lambda rng: dict(x_ptr=rng.integers(0, 64, 2500).astype(np.int32),
                     o_ptr=zeros(64, dtype=np.int32), n=2500),
    lambda x_ptr, o_ptr, n: dict(o_ptr=np.bincount(x_ptr, minlength=64)), BINS=64, BLOCK=1024,
)  # fmt: skip


@triton.jit
def ranges(o_ptr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    grid = tl.arange(4, 4 + BLOCK)[:, None] * 10 + tl.arange(0, 8)[None, :]
    tl.store(o_ptr + offsets[:, None] * 8 + tl.arange(0, 8)[None, :], grid.to(tl.float32))


case(
    "ranges", ranges, (1,), lambda rng: dict(o_ptr=zeros(16, 8)),
    lambda o_ptr: dict(o_ptr=np.arange(4, 20)[:, None] * 10.0 + np.arange(8)), BLOCK=16,
)  # fmt: skip
