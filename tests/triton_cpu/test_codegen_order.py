"""Generated code over several operations: masks as bounds, the order of stores, loops."""

# ruff: noqa: C408 - dict(name=...) reads like the kernel's parameters
from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import triton
import triton.language as tl

from tests.triton_cpu.running import GuardedPage, run

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
        several_outputs, target, (2,), constants=dict(BLOCK=256), x_ptr=array["x"],
        y_ptr=array["y"], a_ptr=array["a"], b_ptr=array["b"], n=n, m=m,
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
        two_scatters, target, (1,), constants=dict(WIDTH=width, BLOCK=128), i_ptr=i, x_ptr=x,
        a_ptr=a, b_ptr=b, n=rows * width,
    )  # fmt: skip
    np.testing.assert_array_equal(a, before + 1)
    np.testing.assert_array_equal(b, before * 2)
    np.testing.assert_array_equal(i, -1 - first)
    np.testing.assert_array_equal(x, np.repeat(np.arange(rows), width).reshape(rows, width))


@triton.jit
def _scalar_steps(a, b):
    steps = 0
    while a > 1.0:
        a = a * 0.5
        steps += 1
    if b > 0:
        result = a + steps
    else:
        result = b
    return result, steps


@triton.jit
def mapped(x_ptr, o_ptr, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i, mask=i < n, other=0.0)
    y, steps = tl.map_elementwise(_scalar_steps, x, x - 3.0)
    tl.store(o_ptr + i, y, mask=i < n)
    tl.store(o_ptr + n + i, steps.to(tl.float32), mask=i < n)


def test_scalar_function_on_every_element(target: Any) -> None:
    n = 50
    x = np.random.default_rng(14).uniform(0, 100, n).astype("f4")
    o = np.zeros((2, n), "f4")
    run(mapped, target, (1,), constants=dict(BLOCK=64), x_ptr=x, o_ptr=o, n=n)
    steps = np.where(x > 1, np.ceil(np.log2(np.maximum(x, 1))), 0)
    np.testing.assert_array_equal(o[1], steps)
    np.testing.assert_allclose(o[0], np.where(x > 3, x / 2**steps + steps, x - 3), rtol=1e-6)


@triton.jit
def product_of_type(a_ptr, b_ptr, o_ptr, N: tl.constexpr, OUT: tl.constexpr):
    i = tl.arange(0, N)
    place = i[:, None] * N + i[None, :]
    product = tl.dot(tl.load(a_ptr + place), tl.load(b_ptr + place), out_dtype=OUT)
    tl.store(o_ptr + place, product)


@pytest.mark.parametrize(
    "source, result, tolerance",
    [
        (np.float16, np.float16, 2e-2),
        (ml_dtypes.float8_e4m3fn, np.float32, 1e-4),
        (ml_dtypes.float8_e5m2, np.float32, 1e-4),
        (ml_dtypes.bfloat16, np.float32, 1e-4),
    ],
)
def test_products_of_narrow_types(target: Any, source: Any, result: Any, tolerance: float) -> None:
    rng = np.random.default_rng(15)
    a, b = (rng.standard_normal((32, 32)).astype(source) for _ in "ab")
    o = np.zeros((32, 32), result)
    out = tl.float16 if result is np.float16 else tl.float32
    run(product_of_type, target, (1,), constants=dict(N=32, OUT=out), a_ptr=a, b_ptr=b, o_ptr=o)
    np.testing.assert_allclose(
        o.astype("f8"), a.astype("f8") @ b.astype("f8"), atol=tolerance, rtol=tolerance
    )
