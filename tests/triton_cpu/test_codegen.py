"""Code generation: the kernel suite on every feature level, and what goes wrong only at the edges."""

# ruff: noqa: C408 - dict(name=...) reads like the kernel's parameters
from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import triton
import triton.language as tl

from tests.triton_cpu import suite
from tests.triton_cpu.cases import Case, triton_type
from tritorch import triton_api
from tritorch.errors import UnsupportedOperation
from tritorch.triton_cpu import target as targets
from tritorch.triton_cpu.codegen import generate
from tritorch.triton_cpu.compile import compile_kernel
from tritorch.triton_cpu.launch import Launcher
from tritorch.triton_cpu.parser import parse_module

HOST = targets.host()
#: feature levels below this machine's own, which native code covers
_LOWER = [
    name
    for name in ("x86-64", "avx2")
    if HOST.is_x86 and all(HOST.has(flag) for flag in targets.LEVELS[name][1])
]
LEVELS = ["native", *_LOWER]


def target_of(level: str) -> Any:
    return HOST if level == "native" else targets.level(level)


@pytest.fixture(params=LEVELS)
def target(request: pytest.FixtureRequest) -> Any:
    return target_of(request.param)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("case", suite.CASES, ids=lambda case: case.name)
def test_suite(case: Case, level: str) -> None:
    suite.check(case, target_of(level))


def run(kernel: Any, target: Any, grid: tuple[int, ...], *, types: Any = None, constants: Any = None,
        **arguments: Any) -> None:  # fmt: skip
    signature = {n: (types or {}).get(n) or triton_type(v) for n, v in arguments.items()}
    compiled = compile_kernel(kernel, signature, constants or {}, None, target)
    Launcher(compiled)(grid, *arguments.values())


# ---- memory that must not be touched


class GuardedPage:
    """A page that may be used between two that may not."""

    def __init__(self) -> None:
        self.size = mmap.PAGESIZE
        self._map = mmap.mmap(-1, 3 * self.size)
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(self._map)) + self.size
        libc = ctypes.CDLL(None, use_errno=True)
        for place in (self.start - self.size, self.start + self.size):
            assert libc.mprotect(ctypes.c_void_p(place), ctypes.c_size_t(self.size), 0) == 0

    def at_end(self, count: int, dtype: Any) -> np.ndarray:
        """An array whose last element is the last before the forbidden page."""
        size = count * np.dtype(dtype).itemsize
        return self._array(self.start + self.size - size, count, dtype)

    def at_start(self, count: int, dtype: Any) -> np.ndarray:
        return self._array(self.start, count, dtype)

    def _array(self, address: int, count: int, dtype: Any) -> np.ndarray:
        size = count * np.dtype(dtype).itemsize
        raw = (ctypes.c_char * size).from_address(address)
        return np.frombuffer(raw, np.uint8).view(dtype)[:count]


@triton.jit
def masked_copy(x_ptr, o_ptr, low, high, STEP: tl.constexpr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    mask = (offsets >= low) & (offsets < high)
    x = tl.load(x_ptr + (offsets - low) * STEP, mask=mask, other=7)
    tl.store(o_ptr + (offsets - low), x, mask=mask)


@pytest.mark.parametrize("step", [1, 2, -1])
@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", "int8", "int16", ml_dtypes.bfloat16]
)
def test_masked_lanes_never_touch_memory(target: Any, dtype: Any, step: int) -> None:
    for count in (1, 37, 130):
        pages = GuardedPage(), GuardedPage()
        extent = (count - 1) * abs(step) + 1
        source = pages[0].at_end(extent, dtype) if step > 0 else pages[0].at_start(extent, dtype)
        first = source if step > 0 else source[::-1]
        result = pages[1].at_end(count, dtype)
        source[:] = np.arange(extent).astype(dtype)
        for low in (0, 100):
            result[:] = 0
            start = (
                source.ctypes.data
                if step > 0
                else source.ctypes.data + source.nbytes - source.itemsize
            )
            run(
                masked_copy, target, (1,), types=dict(x_ptr=triton_type(source)),
                constants=dict(STEP=step, BLOCK=512),
                x_ptr=start, o_ptr=result, low=low, high=low + count,
            )  # fmt: skip
            np.testing.assert_array_equal(result, first[:: abs(step)][:count])


@triton.jit
def masked_tile(x_ptr, o_ptr, rows, columns, R: tl.constexpr, C: tl.constexpr):
    r, c = tl.arange(0, R)[:, None], tl.arange(0, C)[None, :]
    mask = (r < rows) & (c < columns)
    x = tl.load(x_ptr + r * columns + c, mask=mask, other=0.0)
    total = tl.sum(x, 1)
    tl.store(o_ptr + tl.arange(0, R), total, mask=tl.arange(0, R) < rows)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (7, 33), (16, 64), (13, 1)])
def test_masked_tile_stays_inside(target: Any, shape: tuple[int, int]) -> None:
    pages = GuardedPage(), GuardedPage()
    x = pages[0].at_end(shape[0] * shape[1], np.float32)
    o = pages[1].at_end(shape[0], np.float32)
    x[:] = np.arange(x.size)
    for rows in {16, max(16, triton.next_power_of_2(shape[0]))}:
        run(
            masked_tile, target, (1,), constants=dict(R=rows, C=64),
            x_ptr=x, o_ptr=o, rows=shape[0], columns=shape[1],
        )  # fmt: skip
        np.testing.assert_array_equal(o, x.reshape(shape).sum(1))


@triton.jit
def guarded_gather(x_ptr, i_ptr, o_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    mask = offsets < n
    index = tl.load(i_ptr + offsets, mask=mask, other=1 << 40)
    x = tl.load(x_ptr + index, mask=mask, other=-1)
    tl.store(o_ptr + index, x + 1, mask=mask & (x > 3))


@pytest.mark.parametrize("dtype", ["float32", "int8", "float16", "float64", "int64"])
def test_masked_gather_and_scatter(target: Any, dtype: str) -> None:
    rng = np.random.default_rng(0)
    n = 77
    page = GuardedPage()
    index = page.at_end(n, np.int64)
    index[:] = rng.permutation(n)
    x, o = np.arange(n).astype(dtype), np.zeros(n, dtype)
    run(guarded_gather, target, (1,), constants=dict(BLOCK=256), x_ptr=x, i_ptr=index, o_ptr=o, n=n)
    np.testing.assert_array_equal(o, np.where(x > 3, x + 1, 0))


# ---- integers that trap or overflow


@triton.jit
def integer_edges(a_ptr, b_ptr, o_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    mask = offsets < n
    a = tl.load(a_ptr + offsets, mask=mask)
    b = tl.load(b_ptr + offsets, mask=mask)
    tl.store(o_ptr + offsets, a // b, mask=mask & (b != 0))
    tl.store(o_ptr + n + offsets, a % b, mask=mask & (b != 0))
    tl.store(o_ptr + 2 * n + offsets, a << (b & 63), mask=mask)
    tl.store(o_ptr + 3 * n + offsets, a >> (b & 63), mask=mask)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint32", "uint64"])
def test_integer_division_and_shifts(target: Any, dtype: str) -> None:
    rng = np.random.default_rng(1)
    info = np.iinfo(dtype)
    edges = [info.min, info.max, 0, 1, 2, 3, info.max - 1, info.min + 1]
    a = np.array([x for x in edges for _ in edges], dtype)
    b = np.array([y for _ in edges for y in edges], dtype)
    extra = rng.integers(info.min, info.max, (2, 500), dtype=dtype, endpoint=True)
    a, b = (
        np.concatenate([a, extra[0]]),
        np.concatenate([b, extra[1] >> rng.integers(0, 8, 500).astype(dtype)]),
    )
    n = len(a)
    o = np.zeros((4, n), dtype)
    run(integer_edges, target, (1,), constants=dict(BLOCK=1024), a_ptr=a, b_ptr=b, o_ptr=o, n=n)
    fine = b != 0
    if info.min < 0:
        fine &= ~((b == -1) & (a == info.min))
    wide_a, wide_b = a.astype(object), b.astype(object)
    for at in np.nonzero(fine)[0]:
        x, y = int(wide_a[at]), int(wide_b[at])
        quotient = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
        assert (o[0, at], o[1, at]) == (quotient, x - quotient * y), (x, y)
    bits = info.bits
    for at in range(n):
        x, shift = int(wide_a[at]), int(wide_b[at]) & 63
        left = (x << shift) & ((1 << bits) - 1) if shift < bits else 0
        right = x >> min(shift, bits - 1) if shift < bits or x < 0 else 0
        assert int(o[2, at]) & ((1 << bits) - 1) == left, (x, shift)
        assert int(o[3, at]) == right, (x, shift)


@triton.jit
def flat_index(o_ptr, first, divisor, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK) + first
    mask = tl.arange(0, BLOCK) < n
    o_ptr += tl.arange(0, BLOCK)
    tl.store(o_ptr, i // divisor, mask=mask)
    tl.store(o_ptr + BLOCK, i % divisor, mask=mask)
    tl.store(o_ptr + 2 * BLOCK, (i * 3) // divisor, mask=mask)
    tl.store(o_ptr + 3 * BLOCK, i % (divisor + i), mask=mask)


@pytest.mark.parametrize("bits", [32, 64])
def test_division_of_consecutive_numbers(target: Any, bits: int) -> None:
    dtype = f"int{bits}"
    big = 2**31 - 4000 if bits == 32 else 2**60 + 12345
    for first, divisor in [
        (0, 1), (0, 3), (5, 7), (1000, 64), (1000, 63), (77, 100), (12345, 1000003), (-50, 7), (-3000, 11),
        (20, -3), (big // 3, 10), (big // 3, 2**30), (big // 3, big // 7),
    ]:  # fmt: skip
        o = np.zeros((4, 512), dtype)
        run(
            flat_index, target, (1,), types=dict(first=f"i{bits}", divisor=f"i{bits}"),
            constants=dict(BLOCK=512), o_ptr=o, first=first, divisor=divisor, n=500,
        )  # fmt: skip
        for row, (a, b) in enumerate([(1, 0), (1, 0), (3, 0), (1, 1)]):
            for at in range(0, 500, 7 if bits == 64 else 3):
                i = first + at
                x, y = i * a, divisor + i * b
                if y == 0:
                    continue
                quotient = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
                want = quotient if row in (0, 2) else x - quotient * y
                assert o[row, at] == want, (row, x, y)


@triton.jit
def wrapped_copy(x_ptr, o_ptr, first, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + (i + first) % n)
    tl.store(o_ptr + (i * 3 + first) // 3 % n, x, mask=i < n)


@pytest.mark.parametrize("n", [3, 64, 100, 256, 1000])
def test_indices_that_wrap_around(target: Any, n: int) -> None:
    for first in (0, 60, 3 * n - 5):
        x, o = np.random.default_rng(13).standard_normal(n).astype("f4"), np.zeros(n, "f4")
        run(
            wrapped_copy,
            target,
            (1,),
            constants=dict(BLOCK=1024),
            x_ptr=x,
            o_ptr=o,
            first=first,
            n=n,
        )
        i = np.arange(n)
        want = np.zeros(n, "f4")
        want[(i * 3 + first) // 3 % n] = x[(i + first) % n]
        np.testing.assert_array_equal(o, want)


@triton.jit
def far_offsets(x_ptr, o_ptr, far, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + far + offsets)
    y = tl.load(x_ptr + (offsets * 2).to(tl.int64) + (tl.zeros([BLOCK], tl.int64) + far))
    tl.store(o_ptr + offsets, x + 10 * y)


def test_offsets_beyond_32_bits(target: Any) -> None:
    x, o = np.arange(256, dtype=np.int32), np.zeros(64, np.int32)
    far = 3 * 2**31
    run(
        far_offsets, target, (1,), types=dict(x_ptr="*i32", far="i64"), constants=dict(BLOCK=64),
        x_ptr=(x.ctypes.data - 4 * far) % 2**64, o_ptr=o, far=far,
    )  # fmt: skip
    np.testing.assert_array_equal(o, np.arange(64) + 20 * np.arange(64))


@triton.jit
def to_integers(x_ptr, o_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets, mask=offsets < n)
    tl.store(o_ptr + offsets, x.to(o_ptr.dtype.element_ty), mask=offsets < n)


@pytest.mark.parametrize("source", ["float32", "float64", "float16"])
@pytest.mark.parametrize("dtype", ["int32", "int64", "int8", "uint8"])
def test_float_to_integer_saturates(target: Any, source: str, dtype: str) -> None:
    x = np.array([0.0, -0.0, 1.9, -1.9, 100.5, -100.5, np.nan, np.inf, -np.inf, 3e4, -3e4], source)
    o = np.zeros(len(x), dtype)
    run(to_integers, target, (1,), constants=dict(BLOCK=16), x_ptr=x, o_ptr=o, n=len(x))
    inside = np.abs(x.astype(np.float64)) < 101
    if dtype == "uint8":
        inside &= x > -1
    np.testing.assert_array_equal(o[inside], np.trunc(x[inside]).astype(dtype))
    if dtype in ("int32", "int64"):
        info = np.iinfo(dtype)
        assert o[6] == 0 and o[7] == info.max and o[8] == info.min


# ---- floats


@triton.jit
def nan_reductions(x_ptr, o_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + tl.program_id(0) * n + offsets, mask=offsets < n, other=float("nan"))
    o_ptr += tl.program_id(0) * 4
    tl.store(o_ptr, tl.max(x, 0))
    tl.store(o_ptr + 1, tl.min(x, 0))
    y = tl.where(offsets < n, x, 0.0)
    tl.store(o_ptr + 2, tl.reduce(y, 0, _maximum_with_nan))
    tl.store(o_ptr + 3, tl.reduce(y, 0, _minimum_with_nan))


@triton.jit
def _maximum_with_nan(a, b):
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _minimum_with_nan(a, b):
    return tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_in_extremes(target: Any, dtype: str) -> None:
    x = np.tile(np.linspace(-3, 2, 70), (3, 1)).astype(dtype)
    x[1, 33] = np.nan
    x[2] = np.nan
    o = np.zeros((3, 4), dtype)
    run(nan_reductions, target, (3,), constants=dict(BLOCK=128), x_ptr=x, o_ptr=o, n=70)
    np.testing.assert_array_equal(o[0], [2, -3, 2, -3])
    np.testing.assert_array_equal(o[1, :2], [2, -3])
    assert np.isnan(o[1, 2:]).all() and np.isnan(o[2]).all()


@triton.jit
def narrow_arithmetic(x_ptr, y_ptr, o_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    mask = offsets < n
    x, y = tl.load(x_ptr + offsets, mask=mask), tl.load(y_ptr + offsets, mask=mask)
    tl.store(o_ptr + offsets, x + y, mask=mask)
    tl.store(o_ptr + n + offsets, x * y, mask=mask)
    tl.store(o_ptr + 2 * n + offsets, -x, mask=mask)
    tl.store(o_ptr + 3 * n + offsets, tl.where(x < y, x, y), mask=mask)
    tl.store(o_ptr + 4 * n + offsets, x.to(tl.float32).to(x.dtype), mask=mask)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_16_bit_floats_round_once(target: Any, dtype: Any) -> None:
    rng = np.random.default_rng(2)
    n = 4000
    bits = rng.integers(0, 1 << 16, (2, n), dtype=np.uint16)  # denormals, inf and nan among them
    x, y = bits.view(dtype)
    o = np.zeros((5, n), dtype)
    run(narrow_arithmetic, target, (1,), constants=dict(BLOCK=4096), x_ptr=x, y_ptr=y, o_ptr=o, n=n)
    with np.errstate(all="ignore"):
        a, b = x.astype(np.float32), y.astype(np.float32)
        expected = [(a + b).astype(dtype), (a * b).astype(dtype), -x, np.where(a < b, x, y), x]
    for row, want in zip(o, expected):
        np.testing.assert_array_equal(row.astype(np.float32), want.astype(np.float32))
    np.testing.assert_array_equal(np.signbit(o[4].astype(np.float32)), np.signbit(a))


@triton.jit
def convert(x_ptr, o_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets, mask=offsets < n)
    tl.store(o_ptr + offsets, x.to(o_ptr.dtype.element_ty), mask=offsets < n)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("source", ["float32", "float64"])
def test_narrowing_rounds_to_nearest_even(target: Any, source: str, dtype: Any) -> None:
    with np.errstate(all="ignore"):
        every = np.arange(1 << 16, dtype=np.uint16).view(dtype).astype(source)
        halfway = every + (np.roll(every, -1) - every) / 2
        x = np.concatenate([every, halfway, np.nextafter(halfway, 0).astype(source)])
        x = np.concatenate([x, np.nextafter(halfway, np.inf).astype(source)])
        want = x.astype(dtype)
    o = np.zeros(len(x), dtype)
    run(
        convert,
        target,
        (-(-len(x) // 4096),),
        constants=dict(BLOCK=4096),
        x_ptr=x,
        o_ptr=o,
        n=len(x),
    )
    same = (o.view(np.uint16) == want.view(np.uint16)) | (np.isnan(x))
    # ml_dtypes goes to bfloat16 through float32; the exact result is the one nearest to x
    for at in np.nonzero(~same)[0]:
        with np.errstate(all="ignore"):
            mine, theirs = float(o[at]), float(want[at])
            assert source == "float64" and abs(mine - x[at]) <= abs(theirs - x[at]), x[at]
    assert np.isnan(o[np.isnan(x)].astype(np.float32)).all()


@pytest.mark.parametrize("dtype", [ml_dtypes.float8_e5m2, ml_dtypes.float8_e4m3fn])
@pytest.mark.parametrize("wide", ["float32", "float16"])
def test_every_8_bit_float(target: Any, dtype: Any, wide: str) -> None:
    x = np.arange(256, dtype=np.uint8).view(dtype)
    o = np.zeros(256, wide)
    run(convert, target, (1,), constants=dict(BLOCK=256), x_ptr=x, o_ptr=o, n=256)
    np.testing.assert_array_equal(o, x.astype(wide))
    finite = np.isfinite(o)
    back = np.zeros(256, dtype)
    run(convert, target, (1,), constants=dict(BLOCK=256), x_ptr=o, o_ptr=back, n=256)
    np.testing.assert_array_equal(back.view(np.uint8)[finite], x.view(np.uint8)[finite])


@pytest.mark.parametrize("dtype", [ml_dtypes.float8_e5m2, ml_dtypes.float8_e4m3fn])
def test_8_bit_floats_round_and_saturate(target: Any, dtype: Any) -> None:
    largest = float(ml_dtypes.finfo(dtype).max)
    rng = np.random.default_rng(3)
    x = np.concatenate([
        rng.standard_normal(2000) * np.exp2(rng.integers(-20, 12, 2000)),
        [largest, -largest, largest * 1.01, 1e30, -1e30, np.inf, 0.0, -0.0, 1e-30],
    ]).astype(np.float32)  # fmt: skip
    o = np.zeros(len(x), dtype)
    run(convert, target, (1,), constants=dict(BLOCK=4096), x_ptr=x, o_ptr=o, n=len(x))
    want = np.clip(x, -largest, largest).astype(dtype)
    np.testing.assert_array_equal(o.view(np.uint8), want.view(np.uint8))


# ---- masks and order


@triton.jit
def band(x_ptr, o_ptr, s_ptr, low, high, N: tl.constexpr):
    r, c = tl.arange(0, N)[:, None], tl.arange(0, N)[None, :]
    mask = (c >= r - low) & (c <= r + high)
    x = tl.load(x_ptr + r * N + c, mask=mask, other=-1.0)
    tl.store(o_ptr + r * N + c, x * 2.0, mask=mask)
    tl.store(s_ptr + tl.arange(0, N), tl.sum(tl.where(mask, x, 0.0), 1))


@pytest.mark.parametrize("size", [16, 64, 256])
@pytest.mark.parametrize(
    "limits", [(0, 0), (2, 5), (1000, 0), (0, 1000), (-3, 9), (-5, -5), (200, 70)]
)
def test_banded_masks(target: Any, size: int, limits: tuple[int, int]) -> None:
    x = np.random.default_rng(4).standard_normal((size, size)).astype("f4")
    o, s = np.zeros_like(x), np.zeros(size, "f4")
    run(
        band,
        target,
        (1,),
        constants=dict(N=size),
        x_ptr=x,
        o_ptr=o,
        s_ptr=s,
        low=limits[0],
        high=limits[1],
    )
    r, c = np.indices(x.shape)
    mask = (c >= r - limits[0]) & (c <= r + limits[1])
    np.testing.assert_array_equal(o, np.where(mask, x * 2, 0))
    np.testing.assert_allclose(s, np.where(mask, x, 0).sum(1, dtype="f8"), atol=2e-5)


@triton.jit
def several_outputs(x_ptr, y_ptr, a_ptr, b_ptr, n, m, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets, mask=offsets < n, other=3.0)
    y = tl.load(y_ptr + offsets, mask=offsets < n, other=5.0)
    tl.store(a_ptr + offsets, x + y, mask=offsets < m)
    tl.store(b_ptr + offsets, x * y, mask=offsets < n)
    z = tl.load(a_ptr + offsets, mask=offsets < m, other=0.0)
    tl.store(y_ptr + offsets, z - x, mask=offsets < n)


@pytest.mark.parametrize("sizes", [(100, 100), (100, 40), (40, 100), (1, 300), (300, 0)])
@pytest.mark.parametrize("alias", ["", "ax", "by", "bx"])
def test_stores_in_program_order(target: Any, sizes: tuple[int, int], alias: str) -> None:
    """Several stores share a loop, and outputs may be inputs."""
    n, m = sizes
    rng = np.random.default_rng(5)
    array = {name: rng.standard_normal(512).astype("f4") for name in "xyab"}
    if alias:
        array[alias[0]] = array[alias[1]]
    want = {name: value.copy() for name, value in array.items()}
    if alias:
        want[alias[0]] = want[alias[1]]
    for program in range(2):
        i = np.arange(program * 256, program * 256 + 256)
        x, y = np.where(i < n, want["x"][i], 3), np.where(i < n, want["y"][i], 5)
        want["a"][i] = np.where(i < m, x + y, want["a"][i])
        want["b"][i] = np.where(i < n, x * y, want["b"][i])
        z = np.where(i < m, want["a"][i], 0)
        want["y"][i] = np.where(i < n, z - x, want["y"][i])
    run(
        several_outputs, target, (2,), constants=dict(BLOCK=256), x_ptr=array["x"], y_ptr=array["y"],
        a_ptr=array["a"], b_ptr=array["b"], n=n, m=m,
    )  # fmt: skip
    for name, value in want.items():
        np.testing.assert_allclose(array[name], value, atol=1e-6, err_msg=name)


@triton.jit
def mixed_sinks(x_ptr, o_ptr, s_ptr, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * n + offsets, mask=offsets < n, other=0.0)
    e = tl.exp(x)
    mean = tl.sum(x, 0) / n
    square = tl.sum(x * x, 0) / n
    tl.store(o_ptr + row * n + offsets, e, mask=offsets < n)
    largest = tl.max(tl.where(offsets < n, e, 0.0), 0)
    tl.store(s_ptr + row * 3, mean)
    tl.store(s_ptr + row * 3 + 1, square)
    tl.store(s_ptr + row * 3 + 2, largest)


@pytest.mark.parametrize("n", [1, 50, 64, 200, 1000])
def test_sinks_that_share_a_loop(target: Any, n: int) -> None:
    x = np.random.default_rng(6).standard_normal((4, n)).astype("f4")
    o, s = np.zeros_like(x), np.zeros((4, 3), "f4")
    block = triton.next_power_of_2(n) * 2
    run(mixed_sinks, target, (4,), constants=dict(BLOCK=block), x_ptr=x, o_ptr=o, s_ptr=s, n=n)
    wide = x.astype("f8")
    np.testing.assert_allclose(o, np.exp(wide), rtol=3e-7)
    want = np.stack([wide.mean(1), (wide**2).mean(1), np.exp(wide).max(1)], 1)
    np.testing.assert_allclose(s, want, rtol=1e-5, atol=1e-6)


# ---- loops and pointers


@triton.jit
def carried_pointers(x_ptr, o_ptr, n, stride, R: tl.constexpr, C: tl.constexpr):
    r, c = tl.arange(0, R), tl.arange(0, C)
    pointers = x_ptr + r[:, None] * stride + c[None, :]
    columns = c
    total = tl.zeros([R], tl.float32)
    rows = tl.zeros([R, C], tl.float32)
    for _ in range(0, n, C):
        x = tl.load(pointers, mask=columns[None, :] < n, other=0.0)
        total += tl.sum(x, 1)
        rows = rows * 0.5 + x
        pointers += C
        columns += C
    tl.store(o_ptr + r, total)
    tl.store(o_ptr + R + r, tl.sum(rows, 1))


@pytest.mark.parametrize("n", [0, 5, 32, 100])
def test_carried_address_tensors(target: Any, n: int) -> None:
    x = np.random.default_rng(7).standard_normal((16, 128)).astype("f4")
    o = np.zeros(32, "f4")
    run(
        carried_pointers,
        target,
        (1,),
        constants=dict(R=16, C=32),
        x_ptr=x,
        o_ptr=o,
        n=n,
        stride=128,
    )
    rows = np.zeros((16, 32))
    for start in range(0, n, 32):
        part = np.where(np.arange(start, start + 32) < n, x[:, start : start + 32].astype("f8"), 0)
        rows = rows * 0.5 + part
    want = np.concatenate([x[:, :n].sum(1, dtype="f8"), rows.sum(1)])
    np.testing.assert_allclose(o, want, atol=1e-5)


@triton.jit
def rotating(x_ptr, o_ptr, steps, N: tl.constexpr):
    i = tl.arange(0, N)
    a = tl.load(x_ptr + i)
    b = tl.load(x_ptr + N + i)
    c = tl.sum(a, 0)
    m = a[:, None] * b[None, :]
    for _ in range(steps):
        a, b = b, a + b * 0.5
        m = tl.trans(m) + a[:, None]
        c = c + tl.sum(a, 0)
    tl.store(o_ptr + i, a)
    tl.store(o_ptr + N + i, b)
    tl.store(o_ptr + 2 * N + i[:, None] * N + i[None, :], m + c)


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_loop_that_swaps_and_transposes(target: Any, steps: int) -> None:
    x = np.random.default_rng(8).standard_normal((2, 32)).astype("f4")
    o = np.zeros((34, 32), "f4")
    run(rotating, target, (1,), constants=dict(N=32), x_ptr=x, o_ptr=o, steps=steps)
    a, b = x.astype("f8")
    c, m = a.sum(), np.outer(a, b)
    for _ in range(steps):
        a, b = b, a + b * 0.5
        m, c = m.T + a[:, None], c + a.sum()
    np.testing.assert_allclose(o, np.concatenate([[a, b], m + c]), atol=1e-4)


@triton.jit
def pointer_table(table_ptr, sizes_ptr, scale, BLOCK: tl.constexpr):
    which = tl.program_id(0)
    x_ptr = tl.load(table_ptr + which).to(tl.pointer_type(tl.float32))
    n = tl.load(sizes_ptr + which)
    for start in range(0, n, BLOCK):
        offsets = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + offsets, mask=offsets < n)
        tl.store(x_ptr + offsets, x * scale, mask=offsets < n)


def test_pointers_from_memory(target: Any) -> None:
    arrays = [np.arange(n, dtype="f4") for n in (5, 0, 1000, 64)]
    table = np.array([a.ctypes.data for a in arrays], np.uint64)
    sizes = np.array([len(a) for a in arrays], np.int32)
    run(
        pointer_table,
        target,
        (4,),
        constants=dict(BLOCK=256),
        table_ptr=table,
        sizes_ptr=sizes,
        scale=3.0,
    )
    for array in arrays:
        np.testing.assert_array_equal(array, np.arange(len(array)) * 3)


@triton.jit
def big_tile(x_ptr, o_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i[:, None] * N + i[None, :])
    y = tl.dot(x, x)
    tl.store(o_ptr + i[:, None] * N + i[None, :], tl.trans(y) + tl.sum(y, 0)[None, :])


def test_scratch_beyond_the_stack(target: Any) -> None:
    x = np.random.default_rng(9).standard_normal((128, 128)).astype("f4")
    o = np.zeros_like(x)
    run(big_tile, target, (1,), constants=dict(N=128), x_ptr=x, o_ptr=o)
    y = x.astype("f8") @ x
    np.testing.assert_allclose(o, y.T + y.sum(0), atol=2e-3)


@triton.jit
def reduce_axis(
    x_ptr, o_ptr, A: tl.constexpr, B: tl.constexpr, C: tl.constexpr, AXIS: tl.constexpr
):
    a, b, c = tl.arange(0, A), tl.arange(0, B), tl.arange(0, C)
    x = tl.load(x_ptr + (a[:, None, None] * B + b[None, :, None]) * C + c[None, None, :])
    total = tl.sum(x, AXIS)
    best = tl.argmax(x, AXIS)
    if AXIS == 0:
        place = b[:, None] * C + c[None, :]
    elif AXIS == 1:
        place = a[:, None] * C + c[None, :]
    else:
        place = a[:, None] * B + b[None, :]
    tl.store(o_ptr + place, total)
    tl.store(o_ptr + A * B * C + place, best.to(tl.float32))
    scan = tl.cumsum(x, AXIS, reverse=AXIS == 1)
    place3 = (a[:, None, None] * B + b[None, :, None]) * C + c[None, None, :]
    tl.store(o_ptr + 2 * A * B * C + place3, scan)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(
    "shape", [(2, 4, 8), (1, 16, 2), (64, 2, 1), (4, 1, 128), (8, 32, 16), (2, 2, 512)]
)
def test_every_axis_of_three(target: Any, shape: tuple[int, int, int], axis: int) -> None:
    x = np.random.default_rng(10).integers(-9, 9, shape).astype("f4")
    n = x.size
    o = np.zeros(3 * n, "f4")
    a, b, c = shape
    run(reduce_axis, target, (1,), constants=dict(A=a, B=b, C=c, AXIS=axis), x_ptr=x, o_ptr=o)
    total = x.sum(axis).ravel()
    np.testing.assert_array_equal(o[: total.size], total)
    np.testing.assert_array_equal(o[n : n + total.size], x.argmax(axis).ravel())
    scan = np.flip(np.cumsum(np.flip(x, 1), 1), 1) if axis == 1 else np.cumsum(x, axis)
    np.testing.assert_array_equal(o[2 * n :], scan.ravel())


@triton.jit
def nothing_to_do(x_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    tl.store(x_ptr + offsets, tl.load(x_ptr + offsets, mask=offsets < n), mask=offsets < n)


def test_empty_ranges(target: Any) -> None:
    page = GuardedPage()
    x = page.at_end(1, np.float32)
    run(nothing_to_do, target, (1,), types=dict(x_ptr="*fp32"), constants=dict(BLOCK=128),
        x_ptr=x.ctypes.data + 4, n=0)  # fmt: skip
    run(nothing_to_do, target, (0, 1, 1), types=dict(x_ptr="*fp32"), constants=dict(BLOCK=128),
        x_ptr=8, n=99)  # fmt: skip


@triton.jit
def two_scatters(i_ptr, x_ptr, a_ptr, b_ptr, n, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    mask = offsets < n
    row = tl.load(i_ptr + offsets // WIDTH, mask=mask, other=0)
    place = row * WIDTH + offsets % WIDTH
    x = tl.load(x_ptr + place, mask=mask)
    tl.store(a_ptr + place, x + 1, mask=mask)
    tl.store(b_ptr + place, x * 2, mask=mask)
    tl.store(i_ptr + offsets // WIDTH, -1 - row, mask=mask)
    tl.store(x_ptr + place, row.to(tl.float32), mask=mask)


def test_scattered_stores_share_addresses(target: Any) -> None:
    rng = np.random.default_rng(11)
    rows, width = 9, 10
    i = rng.permutation(rows).astype(np.int64)
    x = rng.standard_normal((rows, width)).astype("f4")
    a, b, before, first = np.zeros_like(x), np.zeros_like(x), x.copy(), i.copy()
    run(
        two_scatters, target, (1,), constants=dict(WIDTH=width, BLOCK=128), i_ptr=i, x_ptr=x, a_ptr=a,
        b_ptr=b, n=rows * width,
    )  # fmt: skip
    np.testing.assert_array_equal(a, before + 1)
    np.testing.assert_array_equal(b, before * 2)
    np.testing.assert_array_equal(i, -1 - first)
    np.testing.assert_array_equal(x, np.repeat(np.arange(rows), width).reshape(rows, width))


# ---- the text


def _text(case: Case) -> str:
    arguments = case.arguments(np.random.default_rng(7))
    return _generated(case.kernel, case.signature(arguments), case.constants)


def _generated(kernel: Any, signature: Any, constants: Any, level: str = "avx2") -> str:
    lowered = triton_api.lower_to_triton_ir(kernel, signature, constants, {})
    return generate(parse_module(lowered.text, lowered.name), targets.level(level), lowered.name)


_PRINTED = [
    "layer_norm_256",
    "matmul_float32_odd",
    "sort_256",
    "atomics",
    "flash_forward_float32_100",
]
_PRINT = """
import hashlib
from tests.triton_cpu import suite
from tests.triton_cpu.test_codegen import _PRINTED, _text
for case in suite.CASES:
    if case.name in _PRINTED:
        print(case.name, hashlib.sha256(_text(case).encode()).hexdigest())
"""


def test_text_does_not_depend_on_hashes() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", _PRINT], env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(found) == 1 and all(name in next(iter(found)) for name in _PRINTED)


def test_advancing_pointers_stay_vector_loads() -> None:
    signature = dict(x_ptr="*fp32", o_ptr="*fp32", n="i32", stride="i32")
    text = _generated(carried_pointers, signature, dict(R=16, C=32))
    assert "gather" not in text and "<32 x ptr>" not in text


def test_outputs_of_one_shape_share_a_loop() -> None:
    signature = dict.fromkeys(["x_ptr", "y_ptr", "a_ptr", "b_ptr"], "*fp32")
    text = _generated(three_outputs, signature, dict(BLOCK=1024))
    assert text.count("= load <32 x float>") == 2 and text.count("store <32 x float>") == 3
    assert "scratch" not in text


@triton.jit
def three_outputs(x_ptr, y_ptr, a_ptr, b_ptr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    x, y = tl.load(x_ptr + offsets), tl.load(y_ptr + offsets)
    tl.store(a_ptr + offsets, x + y)
    tl.store(b_ptr + offsets, x * y)
    tl.store(x_ptr + offsets, x - y)


def test_wide_rows_are_read_again_rather_than_kept() -> None:
    """Softmax keeps exp(x), once, and reads x twice."""
    case = next(case for case in suite.CASES if case.name == "softmax_1000")
    text = _text(case)
    assert (
        text.count("fadd contract <32 x float>")
        and text.count("= getelementptr i8, ptr %scratch") == 1
    )


def test_accumulator_is_updated_in_place() -> None:
    """Nothing the size of the accumulator is copied in the loop of a matrix product."""
    case = next(case for case in suite.CASES if case.name == "matmul_float32")
    text = _text(case)
    loop = text[text.index("\nfor") : text.index("\ndone")]
    stores = [line for line in loop.splitlines() if "store <" in line and "%buffer0" in line]
    assert not stores and "call void @dot_" in loop


def test_unknown_operation_is_named() -> None:
    text = (
        '"builtin.module"() ({\n'
        '  "tt.func"() <{function_type = (i32) -> (), sym_name = "strange"}> ({\n'
        "  ^bb0(%arg0: i32):\n"
        '    %0 = "tt.teleport"(%arg0) : (i32) -> i32\n'
        '    "tt.return"() : () -> ()\n'
        "  }) : () -> ()\n"
        "}) : () -> ()\n"
    )
    with pytest.raises(
        UnsupportedOperation, match=r"strange: .* does not know tt\.teleport \(line"
    ):
        generate(parse_module(text, "strange"), HOST, "strange")
