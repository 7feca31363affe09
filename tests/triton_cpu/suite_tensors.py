"""Tensor operations of the suite: reductions, scans, layouts, products, sorting."""

# ruff: noqa: C408 - dict(name=...) reads like the kernel's parameters
from __future__ import annotations

import inspect
from functools import partial

import numpy as np
import triton
import triton.language as tl

from tests.triton_cpu.cases import Arguments, Case, case, floats, wide, zeros

CASES: list[Case] = []
case = partial(case, CASES)


# ---- reductions


@triton.jit
def softmax(x_ptr, o_ptr, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * n + columns, mask=columns < n, other=-float("inf"))
    e = tl.exp(x - tl.max(x, 0))
    tl.store(o_ptr + row * n + columns, e / tl.sum(e, 0), mask=columns < n)


def _softmax_reference(x_ptr, o_ptr, n):
    e = np.exp(wide(x_ptr) - wide(x_ptr).max(1, keepdims=True))
    return dict(o_ptr=e / e.sum(1, keepdims=True))


for _n, _block in ((1000, 1024), (1024, 1024), (37, 64), (5000, 8192), (1, 16), (70, 512)):
    case(
        f"softmax_{_n}", softmax, (7,),
        lambda rng, n=_n: dict(x_ptr=floats(rng, 7, n), o_ptr=zeros(7, n), n=n),
        _softmax_reference, BLOCK=_block,
    )  # fmt: skip


@triton.jit
def reductions(x_ptr, i_ptr, o_ptr, p_ptr, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    mask = columns < n
    x = tl.load(x_ptr + row * n + columns, mask=mask, other=0.0)
    i = tl.load(i_ptr + row * n + columns, mask=mask, other=0)
    tl.store(o_ptr + row * 4, tl.sum(x, 0))
    tl.store(o_ptr + row * 4 + 1, tl.min(tl.where(mask, x, float("inf")), 0))
    tl.store(o_ptr + row * 4 + 2, tl.max(tl.abs(x), 0))
    tl.store(o_ptr + row * 4 + 3, tl.sum(x * x, 0))
    tl.store(p_ptr + row * 4, tl.sum(i, 0))
    tl.store(p_ptr + row * 4 + 1, tl.xor_sum(i, 0))
    tl.store(p_ptr + row * 4 + 2, tl.min(i, 0))
    tl.store(p_ptr + row * 4 + 3, tl.max(i, 0))


def _reductions_reference(x_ptr, i_ptr, o_ptr, p_ptr, n):
    x = wide(x_ptr)
    return dict(
        o_ptr=np.stack([x.sum(1), x.min(1), abs(x).max(1), (x * x).sum(1)], 1),
        p_ptr=np.stack(
            [i_ptr.sum(1), np.bitwise_xor.reduce(i_ptr, 1), i_ptr.min(1), i_ptr.max(1)], 1
        ),
    )


def _reductions_arguments(rng: np.random.Generator, n: int) -> Arguments:
    i = rng.integers(-99, 99, (3, n)).astype(np.int32)
    i[:, 0], i[:, -1] = -100, 100  # so that the zeros of masked lanes are never the extreme
    return dict(x_ptr=floats(rng, 3, n), i_ptr=i, o_ptr=zeros(3, 4),
                p_ptr=zeros(3, 4, dtype=np.int32), n=n)  # fmt: skip


for _n, _block in ((100, 128), (512, 512), (3000, 4096)):
    case(
        f"reductions_{_n}", reductions, (3,), partial(_reductions_arguments, n=_n),
        _reductions_reference, tolerance=2e-5, BLOCK=_block,
    )  # fmt: skip


@triton.jit
def argextremes(x_ptr, v_ptr, i_ptr, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * n + columns, mask=columns < n, other=-float("inf"))
    y = tl.load(x_ptr + row * n + columns, mask=columns < n, other=float("inf"))
    value, index = tl.max(x, 0, return_indices=True)
    tl.store(v_ptr + row * 2, value)
    tl.store(i_ptr + row * 2, index)
    value, index = tl.min(y, 0, return_indices=True)
    tl.store(v_ptr + row * 2 + 1, value)
    tl.store(i_ptr + row * 2 + 1, index)


def _argextremes_reference(x_ptr, v_ptr, i_ptr, n):
    return dict(
        v_ptr=np.stack([x_ptr.max(1), x_ptr.min(1)], 1),
        i_ptr=np.stack([x_ptr.argmax(1), x_ptr.argmin(1)], 1),
    )


for _n, _block in ((3000, 4096), (64, 64), (5, 16)):
    case(
        f"argextremes_{_n}", argextremes, (5,),
        lambda rng, n=_n: dict(  # rounding makes ties: the first one counts
            x_ptr=np.round(floats(rng, 5, n) * 4), v_ptr=zeros(5, 2),
            i_ptr=zeros(5, 2, dtype=np.int32), n=n),
        _argextremes_reference, tolerance=0.0, BLOCK=_block,
    )  # fmt: skip


@triton.jit
def column_sum(x_ptr, o_ptr, M, N, BM: tl.constexpr, BN: tl.constexpr):
    rn = tl.program_id(0) * BN + tl.arange(0, BN)
    rm = tl.arange(0, BM)
    total = tl.zeros((BM, BN), tl.float32)
    for i in range(0, M, BM):
        mask = ((i + rm)[:, None] < M) & (rn[None, :] < N)
        total += tl.load(x_ptr + (i + rm)[:, None] * N + rn[None, :], mask=mask, other=0.0)
    tl.store(o_ptr + rn, tl.sum(total, 0), mask=rn < N)


case(
    "column_sum", column_sum, (4,),
    lambda rng: dict(x_ptr=floats(rng, 100, 200), o_ptr=zeros(200), M=100, N=200),
    lambda x_ptr, o_ptr, M, N: dict(o_ptr=wide(x_ptr).sum(0)), tolerance=1e-5, BM=16, BN=64,
)  # fmt: skip


@triton.jit
def reduce_3d(x_ptr, o0_ptr, o1_ptr, o2_ptr, all_ptr,
              A: tl.constexpr, B: tl.constexpr, C: tl.constexpr):  # fmt: skip
    a, b, c = tl.arange(0, A), tl.arange(0, B), tl.arange(0, C)
    x = tl.load(x_ptr + a[:, None, None] * (B * C) + b[None, :, None] * C + c[None, None, :])
    tl.store(o0_ptr + b[:, None] * C + c[None, :], tl.sum(x, 0))
    tl.store(o1_ptr + a[:, None] * C + c[None, :], tl.max(x, 1))
    tl.store(o2_ptr + a[:, None] * B + b[None, :], tl.sum(x, 2))
    tl.store(all_ptr, tl.sum(x))


def _reduce_3d_reference(x_ptr, o0_ptr, o1_ptr, o2_ptr, all_ptr):
    x = wide(x_ptr)
    return dict(o0_ptr=x.sum(0), o1_ptr=x.max(1), o2_ptr=x.sum(2), all_ptr=x.sum().reshape(1))


case(
    "reduce_3d", reduce_3d, (1,),
    lambda rng: dict(x_ptr=floats(rng, 4, 8, 32), o0_ptr=zeros(8, 32), o1_ptr=zeros(4, 32),
                     o2_ptr=zeros(4, 8), all_ptr=zeros(1)),
    _reduce_3d_reference, tolerance=1e-5, A=4, B=8, C=32,
)  # fmt: skip


@triton.jit
def _welford(mean_a, m2_a, count_a, mean_b, m2_b, count_b):
    count = count_a + count_b
    ratio = tl.where(count == 0.0, 0.0, count_b / count)
    delta = mean_b - mean_a
    return mean_a + delta * ratio, m2_a + m2_b + delta * delta * count_a * ratio, count


@triton.jit
def welford(x_ptr, o_ptr, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    mask = columns < n
    x = tl.load(x_ptr + row * n + columns, mask=mask, other=0.0)
    count = tl.where(mask, 1.0, 0.0)
    mean, m2, total = tl.reduce((x, tl.zeros_like(x), count), 0, _welford)
    tl.store(o_ptr + row * 2, mean)
    tl.store(o_ptr + row * 2 + 1, m2 / total)


case(
    "welford", welford, (5,),
    lambda rng: dict(x_ptr=floats(rng, 5, 300) + 3, o_ptr=zeros(5, 2), n=300),
    lambda x_ptr, o_ptr, n: dict(o_ptr=np.stack([wide(x_ptr).mean(1), wide(x_ptr).var(1)], 1)),
    tolerance=1e-5, BLOCK=512,
)  # fmt: skip


# ---- scans


@triton.jit
def cumulative(x_ptr, o_ptr, n, REVERSE: tl.constexpr, PRODUCT: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * n + columns, mask=columns < n, other=0.0)
    y = tl.cumprod(x, 0, reverse=REVERSE) if PRODUCT else tl.cumsum(x, 0, reverse=REVERSE)
    tl.store(o_ptr + row * n + columns, y, mask=columns < n)


def _cumulative_reference(x_ptr, o_ptr, n, reverse, product):
    x = wide(x_ptr)[:, ::-1] if reverse else wide(x_ptr)
    y = np.cumprod(x, 1) if product else np.cumsum(x, 1)
    return dict(o_ptr=y[:, ::-1] if reverse else y)


for _reverse in (False, True):
    for _product in (False, True):
        _n, _block = (64, 64) if _product else (3000, 4096)
        case(
            f"cum{'prod' if _product else 'sum'}{'_reverse' if _reverse else ''}", cumulative, (5,),
            lambda rng, n=_n, product=_product: dict(
                x_ptr=(rng.uniform(0.7, 1.3, (5, n)).astype("f4") if product
                       else floats(rng, 5, n)), o_ptr=zeros(5, n), n=n),
            partial(_cumulative_reference, reverse=_reverse, product=_product), tolerance=1e-4,
            REVERSE=_reverse, PRODUCT=_product, BLOCK=_block,
        )  # fmt: skip


@triton.jit
def _recurrence(a_left, x_left, a_right, x_right):
    return a_left * a_right, x_left * a_right + x_right


@triton.jit
def linear_recurrence(a_ptr, x_ptr, o_ptr, AXIS: tl.constexpr, REVERSE: tl.constexpr,
                      R: tl.constexpr, C: tl.constexpr):  # fmt: skip
    offsets = tl.arange(0, R)[:, None] * C + tl.arange(0, C)[None, :]
    a = tl.load(a_ptr + offsets)
    x = tl.load(x_ptr + offsets)
    _, h = tl.associative_scan((a, x), AXIS, _recurrence, reverse=REVERSE)
    tl.store(o_ptr + offsets, h)


def _linear_recurrence_reference(a_ptr, x_ptr, o_ptr, axis, reverse):
    a, x = (np.moveaxis(wide(v), axis, 0) for v in (a_ptr, x_ptr))
    if reverse:
        a, x = a[::-1], x[::-1]
    h = np.zeros_like(x)
    h[0] = x[0]
    for i in range(1, len(x)):
        h[i] = a[i] * h[i - 1] + x[i]
    return dict(o_ptr=np.moveaxis(h[::-1] if reverse else h, 0, axis))


for _axis in (0, 1):
    for _reverse in (False, True):
        case(
            f"linear_recurrence_{_axis}{'_reverse' if _reverse else ''}", linear_recurrence, (1,),
            lambda rng: dict(a_ptr=floats(rng, 32, 64) * 0.5, x_ptr=floats(rng, 32, 64),
                             o_ptr=zeros(32, 64)),
            partial(_linear_recurrence_reference, axis=_axis, reverse=_reverse), tolerance=1e-5,
            AXIS=_axis, REVERSE=_reverse, R=32, C=64,
        )  # fmt: skip


# ---- layouts


@triton.jit
def transpose(x_ptr, o_ptr, M, N, BM: tl.constexpr, BN: tl.constexpr):
    rm = tl.program_id(0) * BM + tl.arange(0, BM)
    rn = tl.program_id(1) * BN + tl.arange(0, BN)
    x = tl.load(x_ptr + rm[:, None] * N + rn[None, :], mask=(rm[:, None] < M) & (rn[None, :] < N))
    mask = (rn[:, None] < N) & (rm[None, :] < M)
    tl.store(o_ptr + rn[:, None] * M + rm[None, :], tl.trans(x), mask=mask)


for _dtype in (np.float32, np.float16, np.float64):
    case(
        f"transpose_{np.dtype(_dtype).name}", transpose, (4, 3),
        lambda rng, dtype=_dtype: dict(x_ptr=floats(rng, 100, 70, dtype=dtype),
                                       o_ptr=zeros(70, 100, dtype=dtype), M=100, N=70),
        lambda x_ptr, o_ptr, M, N: dict(o_ptr=x_ptr.T), tolerance=0.0, BM=32, BN=32,
    )  # fmt: skip


@triton.jit
def permute(x_ptr, o_ptr, P: tl.constexpr, A: tl.constexpr, B: tl.constexpr, C: tl.constexpr):
    a, b, c = tl.arange(0, A), tl.arange(0, B), tl.arange(0, C)
    x = tl.load(x_ptr + a[:, None, None] * (B * C) + b[None, :, None] * C + c[None, None, :])
    y = tl.exp(tl.permute(x, P[0], P[1], P[2]))
    tl.store(o_ptr + tl.arange(0, A * B * C), tl.reshape(y, [A * B * C]))


for _order in ((2, 0, 1), (1, 0, 2), (0, 2, 1), (2, 1, 0)):
    case(
        f"permute_{''.join(map(str, _order))}", permute, (1,),
        lambda rng: dict(x_ptr=floats(rng, 4, 8, 16), o_ptr=zeros(512)),
        lambda x_ptr, o_ptr, order=_order: dict(
            o_ptr=np.exp(wide(x_ptr)).transpose(order).ravel()),
        P=_order, A=4, B=8, C=16,
    )  # fmt: skip


@triton.jit
def reshape(x_ptr, o_ptr, A: tl.constexpr, B: tl.constexpr, C: tl.constexpr, D: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, A)[:, None] * B + tl.arange(0, B)[None, :])
    y = tl.reshape(x, [C, D])
    s = tl.sum(y * y, 1)
    tl.store(o_ptr + tl.arange(0, C)[:, None] * D + tl.arange(0, D)[None, :], y / s[:, None])


def _reshape_reference(x_ptr, o_ptr):
    y = wide(x_ptr).reshape(o_ptr.shape)
    return dict(o_ptr=y / (y * y).sum(1, keepdims=True))


for _a, _b, _c, _d in ((8, 16, 4, 32), (4, 32, 64, 2), (16, 8, 1, 128)):
    case(
        f"reshape_{_a}x{_b}_{_c}x{_d}", reshape, (1,),
        lambda rng, a=_a, b=_b, c=_c, d=_d: dict(x_ptr=floats(rng, a, b) + 3, o_ptr=zeros(c, d)),
        _reshape_reference, A=_a, B=_b, C=_c, D=_d,
    )  # fmt: skip


@triton.jit
def join_split(x_ptr, y_ptr, o_ptr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets)
    y = tl.load(y_ptr + offsets)
    a, b = tl.split(tl.join(x, y) * 2.0)
    tl.store(o_ptr + offsets, a - b)
    even, odd = tl.split(tl.reshape(x, [BLOCK // 2, 2]))
    half = tl.arange(0, BLOCK // 2)
    tl.store(o_ptr + BLOCK + half, even * 3.0)
    tl.store(o_ptr + BLOCK + BLOCK // 2 + half, odd)
    tl.store(o_ptr + 2 * BLOCK + tl.arange(0, 2 * BLOCK), tl.interleave(x, y))


def _join_split_reference(x_ptr, y_ptr, o_ptr):
    x, y = wide(x_ptr), wide(y_ptr)
    interleaved = np.stack([x, y], 1).ravel()
    return dict(o_ptr=np.concatenate([2 * (x - y), x[::2] * 3, x[1::2], interleaved]))


case(
    "join_split", join_split, (1,),
    lambda rng: dict(x_ptr=floats(rng, 128), y_ptr=floats(rng, 128), o_ptr=zeros(4 * 128)),
    _join_split_reference, BLOCK=128,
)  # fmt: skip


@triton.jit
def concatenate(x_ptr, y_ptr, o_ptr, ORDERED: tl.constexpr, BLOCK: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, BLOCK))
    y = tl.load(y_ptr + tl.arange(0, BLOCK))
    if ORDERED:
        z = tl.cat(x, y, dim=0)
    else:  # the order of the elements is not specified
        z = tl.sort(tl.cat(x, y, can_reorder=True))
    tl.store(o_ptr + tl.arange(0, 2 * BLOCK), z)


# Triton 3.6 only has the form without order, which 3.9 deprecates.
_ORDERED = "dim" in inspect.signature(tl.cat).parameters
case(
    "concatenate", concatenate, (1,),
    lambda rng: dict(x_ptr=floats(rng, 128), y_ptr=floats(rng, 128), o_ptr=zeros(256)),
    lambda x_ptr, y_ptr, o_ptr: dict(
        o_ptr=np.concatenate([x_ptr, y_ptr]) if _ORDERED
        else np.sort(np.concatenate([x_ptr, y_ptr]))),
    tolerance=0.0, ORDERED=_ORDERED, BLOCK=128,
)  # fmt: skip


@triton.jit
def pointers(x_ptr, o_ptr, BLOCK: tl.constexpr):
    """Addresses as integers: a table of pointers is loaded and followed."""
    offsets = tl.arange(0, BLOCK)
    base = x_ptr.to(tl.int64)
    far = (base + 4 * offsets.to(tl.int64)).to(tl.pointer_type(tl.float32))
    tl.store(o_ptr + offsets, tl.load(far) * 2.0)


case(
    "pointers", pointers, (1,), lambda rng: dict(x_ptr=floats(rng, 64), o_ptr=zeros(64)),
    lambda x_ptr, o_ptr: dict(o_ptr=wide(x_ptr) * 2), BLOCK=64,
)  # fmt: skip


@triton.jit
def gather(x_ptr, i_ptr, o_ptr, R: tl.constexpr, C: tl.constexpr, K: tl.constexpr,
           AXIS: tl.constexpr):  # fmt: skip
    x = tl.load(x_ptr + tl.arange(0, R)[:, None] * C + tl.arange(0, C)[None, :])
    if AXIS == 1:
        offsets = tl.arange(0, R)[:, None] * K + tl.arange(0, K)[None, :]
    else:
        offsets = tl.arange(0, K)[:, None] * C + tl.arange(0, C)[None, :]
    tl.store(o_ptr + offsets, tl.gather(x * 2.0, tl.load(i_ptr + offsets), AXIS))


for _axis, _shape in ((1, (8, 64)), (0, (64, 16))):
    case(
        f"gather_{_axis}", gather, (1,),
        lambda rng, axis=_axis, shape=_shape: dict(
            x_ptr=floats(rng, 8, 16),
            i_ptr=rng.integers(0, (8, 16)[axis], shape).astype(np.int32), o_ptr=zeros(*shape)),
        lambda x_ptr, i_ptr, o_ptr, axis=_axis: dict(
            o_ptr=np.take_along_axis(wide(x_ptr) * 2, i_ptr, axis)),
        R=8, C=16, K=64, AXIS=_axis,
    )  # fmt: skip


@triton.jit
def flip(x_ptr, o_ptr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    tl.store(o_ptr + offsets, tl.flip(tl.load(x_ptr + offsets), 0) + 1.0)


case(
    "flip", flip, (1,), lambda rng: dict(x_ptr=floats(rng, 256), o_ptr=zeros(256)),
    lambda x_ptr, o_ptr: dict(o_ptr=wide(x_ptr)[::-1] + 1), BLOCK=256,
)  # fmt: skip


@triton.jit
def strided(x_ptr, o_ptr, n, x_stride, o_stride, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets * x_stride, mask=offsets < n)
    tl.store(o_ptr + offsets * o_stride, x * 2.0, mask=offsets < n)


def _strided_reference(x_ptr, o_ptr, n, x_stride, o_stride):
    want = wide(o_ptr)
    want[: n * o_stride : o_stride] = 2 * wide(x_ptr)[: n * x_stride : x_stride]
    return dict(o_ptr=want)


for _x_stride, _o_stride in ((1, 1), (3, 1), (1, 2)):
    case(
        f"strided_{_x_stride}_{_o_stride}", strided, (3,),
        lambda rng, x=_x_stride, o=_o_stride: dict(
            x_ptr=floats(rng, 300 * x), o_ptr=zeros(300 * o), n=300, x_stride=x, o_stride=o),
        _strided_reference, BLOCK=128,
    )  # fmt: skip

case(
    "strided_broadcast", strided, (3,),
    lambda rng: dict(x_ptr=floats(rng, 1), o_ptr=zeros(300), n=300, x_stride=0, o_stride=1),
    lambda x_ptr, o_ptr, n, x_stride, o_stride: dict(o_ptr=np.full(300, 2 * x_ptr[0])), BLOCK=128,
)  # fmt: skip
