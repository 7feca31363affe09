"""Generated code at the edges: masked lanes, integers that trap, floats that round."""

# ruff: noqa: C408 - dict(name=...) reads like the kernel's parameters
from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import triton
import triton.language as tl

from tests.triton_cpu.cases import triton_type
from tests.triton_cpu.running import GuardedPage, run

# ---- memory that must not be touched


@triton.jit
def masked_copy(x_ptr, o_ptr, low, high, STEP: tl.constexpr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    mask = (offsets >= low) & (offsets < high)
    x = tl.load(x_ptr + (offsets - low) * STEP, mask=mask, other=7)
    tl.store(o_ptr + (offsets - low), x, mask=mask)


@pytest.mark.parametrize("step", [1, 2, 3, -1])
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


@triton.jit
def partly_constant_mask(x_ptr, o_ptr, n, LIMIT: tl.constexpr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    mask = (offsets < LIMIT) & (n > 3)
    tl.store(o_ptr + offsets, tl.load(x_ptr + offsets, mask=mask, other=5), mask=offsets < BLOCK)
    x = tl.load(x_ptr + offsets, mask=(offsets < LIMIT) & (offsets * 3 < n), other=7)
    tl.store(o_ptr + BLOCK + offsets, x, mask=(offsets < LIMIT) & (offsets * 2 < n))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int8"])
@pytest.mark.parametrize("limit", [1, 17, 32, 33, 63])
def test_masks_with_constant_parts(target: Any, dtype: str, limit: int) -> None:
    """LLVM 22.1 reads the inactive lanes of such masks with AVX2."""
    page = GuardedPage()
    x = page.at_end(limit, dtype)
    x[:] = np.arange(limit) + 10
    o = np.zeros((2, 64), dtype)
    run(
        partly_constant_mask, target, (1,), constants=dict(LIMIT=limit, BLOCK=64),
        x_ptr=x, o_ptr=o, n=60,
    )  # fmt: skip
    i = np.arange(64)
    data = np.where(i < limit, i + 10, 5)
    np.testing.assert_array_equal(o[0], data)
    np.testing.assert_array_equal(
        o[1], np.where((i < limit) & (i < 30), np.where(i < 20, data, 7), 0)
    )


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
        (0, 1), (0, 3), (5, 7), (1000, 64), (1000, 63), (77, 100), (12345, 1000003), (-50, 7),
        (-3000, 11), (20, -3), (big // 3, 10), (big // 3, 2**30), (big // 3, big // 7),
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
def hashes(o_ptr, w_ptr, u_ptr, seed, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    hash = i * 0x1E3779B1 + seed
    tl.store(o_ptr + i, tl.where(hash < 1000000000, hash, -1))
    tl.store(w_ptr + i, hash.to(tl.int64) * 3)
    tl.store(u_ptr + i, (i.to(tl.uint32) * 0x9E3779B1 + seed.to(tl.uint32)).to(tl.uint64))


@pytest.mark.parametrize("seed", [0, 2**31 - 20, -5])
def test_integers_that_wrap(target: Any, seed: int) -> None:
    """32-bit arithmetic on ranges need not be an index: a hash overflows."""
    o, w, u = np.zeros(128, np.int32), np.zeros(128, np.int64), np.zeros(128, np.uint64)
    run(hashes, target, (1,), constants=dict(BLOCK=128), o_ptr=o, w_ptr=w, u_ptr=u, seed=seed)
    i = np.arange(128, dtype=np.int64)
    hash = (i * 0x1E3779B1 + seed).astype(np.int32)
    np.testing.assert_array_equal(o, np.where(hash < 1000000000, hash, -1))
    np.testing.assert_array_equal(w, hash.astype(np.int64) * 3)
    np.testing.assert_array_equal(u, (i * 0x9E3779B1 + seed) % 2**32)


@triton.jit
def to_integers(x_ptr, o_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets, mask=offsets < n)
    tl.store(o_ptr + offsets, x.to(o_ptr.dtype.element_ty), mask=offsets < n)


@pytest.mark.parametrize("source", ["float32", "float64", "float16"])
@pytest.mark.parametrize("dtype", ["int32", "int64", "int8", "uint8"])
def test_float_to_integer(target: Any, source: str, dtype: str) -> None:
    x = np.array([0.0, -0.0, 1.9, -1.9, 100.5, -100.5, np.nan, np.inf, -np.inf, 3e4, -3e4], source)
    o = np.zeros(len(x), dtype)
    run(to_integers, target, (1,), constants=dict(BLOCK=16), x_ptr=x, o_ptr=o, n=len(x))
    inside = np.abs(x.astype(np.float64)) < 101
    if dtype == "uint8":
        inside &= x > -1
    np.testing.assert_array_equal(o[inside], np.trunc(x[inside]).astype(dtype))
    if dtype in ("int32", "int64"):
        info = np.iinfo(dtype)
        assert o[6] == o[7] == o[8] == info.min  # as x86 has it


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
