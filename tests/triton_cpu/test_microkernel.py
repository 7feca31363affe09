"""Products of tiles against NumPy: elements, shapes, layouts, feature levels."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from tests.triton_cpu.emitted import TARGETS, load, target_named
from tritorch.errors import UnsupportedOperation
from tritorch.triton_cpu.codegen.builder import Builder
from tritorch.triton_cpu.codegen.operand import operand_in_memory
from tritorch.triton_cpu.codegen.product import (
    Product,
    plan_dot,
)
from tritorch.triton_cpu.codegen.transpose import transpose_helper
from tritorch.triton_cpu.codegen.whole_product import emit_dot
from tritorch.triton_cpu.target import CPUTarget

NUMPY = {
    "f64": np.float64,
    "f32": np.float32,
    "f16": np.float16,
    "bf16": ml_dtypes.bfloat16,
    "i8": np.int8,
    "i32": np.int32,
}
ELEMENTS = [("f32", "f32"), ("f16", "f32"), ("bf16", "f32"), ("f64", "f64"), ("i8", "i32")]
SHAPES = [
    (1, 1, 1),
    (1, 16, 2),
    (2, 4, 8),
    (4, 128, 16),
    (16, 16, 16),
    (32, 64, 64),
    (64, 8, 32),
    (8, 256, 4),
    (32, 128, 64),
    (64, 256, 64),
]


def values(shape: tuple[int, int], element: str, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    if element == "i8":
        return generator.integers(-128, 128, shape, dtype=np.int8)
    return generator.standard_normal(shape).astype(NUMPY[element])


def product(
    target: CPUTarget,
    sizes: tuple[int, int, int],
    element: str,
    accumulator: str,
    transposed: tuple[bool, bool] = (False, False),
    c_padding: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """C += A B by emitted code, and its reference in float64 (int64)."""
    m, n, k = sizes
    a, b = values((m, k), element, 1), values((k, n), element, 2)
    c = (values((m, n + c_padding), "f64", 3) * 8).astype(NUMPY[accumulator])
    wide = np.int64 if element == "i8" else np.float64
    expected = c.astype(wide)
    expected[:, :n] += a.astype(wide) @ b.astype(wide)
    # Stored with consecutive rows where `transposed`.
    a_memory, b_memory = (
        np.asfortranarray(x) if flip else np.ascontiguousarray(x)
        for x, flip in zip((a, b), transposed)
    )
    builder = Builder()
    operands = [
        operand_in_memory(builder, element, pointer, *((1, rows) if flip else (columns, 1)))
        for pointer, (rows, columns), flip in zip(("%a", "%b"), (a.shape, b.shape), transposed)
    ]
    plan = plan_dot(target, sizes, *operands, accumulator)
    scratch = [np.full(size + 64, 0xFF, np.uint8) for size in (plan.a_bytes, plan.b_bytes)]
    emit_dot(builder, target, sizes, *operands, accumulator, "%c", ("%sa", "%sb"), "%stride")
    parameters = [("ptr", f"%{name}") for name in ("a", "b", "c", "sa", "sb")]
    run = load(builder, [*parameters, ("i64", "%stride")], target)
    run(*(x.ctypes.data for x in (a_memory, b_memory, c, *scratch)), c.shape[1])
    for buffer in scratch:
        assert (buffer[-64:] == 0xFF).all(), "packing wrote past its scratch"
    return c, expected


def check(c: np.ndarray, expected: np.ndarray, k: int, accumulator: str) -> None:
    if accumulator == "i32":
        np.testing.assert_array_equal(c, expected)
        return
    # A sum of k products in any order: k roundings of terms of about 1, in units of the sum's size.
    tolerance = (k + 2) * np.finfo(NUMPY[accumulator]).eps
    np.testing.assert_allclose(c, expected, rtol=tolerance, atol=4 * tolerance)


@pytest.mark.parametrize("level", TARGETS)
@pytest.mark.parametrize("sizes", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_shapes(level: str, sizes: tuple[int, int, int]) -> None:
    c, expected = product(target_named(level), sizes, "f32", "f32")
    check(c, expected, sizes[2], "f32")


@pytest.mark.parametrize("level", TARGETS)
@pytest.mark.parametrize(("element", "accumulator"), ELEMENTS)
@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True)])
def test_elements_and_layouts(
    level: str, element: str, accumulator: str, transposed: tuple[bool, bool]
) -> None:
    sizes = (16, 64, 32)
    c, expected = product(target_named(level), sizes, element, accumulator, transposed)
    check(c, expected, sizes[2], accumulator)


# In (64, 128, 128) the register kernel copies the next panel of A, in (32, 128, 64) a panel of B's
# columns is packed at a time.
@pytest.mark.parametrize(
    "sizes", [(64, 32, 128), (4, 2, 64), (2, 16, 4), (32, 32, 2), (64, 128, 128), (32, 128, 64)]
)
@pytest.mark.parametrize("transposed", [(True, False), (False, True), (True, True)])
def test_transposed_shapes(sizes: tuple[int, int, int], transposed: tuple[bool, bool]) -> None:
    c, expected = product(target_named("x86-64"), sizes, "f32", "f32", transposed)
    check(c, expected, sizes[2], "f32")


def test_row_stride_of_c_leaves_the_rest_alone() -> None:
    c, expected = product(target_named("x86-64"), (8, 16, 8), "f32", "f32", c_padding=3)
    check(c, expected, 8, "f32")
    np.testing.assert_array_equal(c[:, 16:], expected[:, 16:])


def test_strides_without_a_unit() -> None:
    target, builder = target_named("x86-64"), Builder()
    a, b = values((16, 32), "f32", 1), values((16, 8), "f32", 2)
    c = np.zeros((8, 8), np.float32)
    operands = [
        operand_in_memory(builder, "f32", "%a", 64, 2),
        operand_in_memory(builder, "f32", "%b", 8, 1),
    ]
    plan = plan_dot(target, (8, 8, 16), *operands, "f32")
    scratch = [np.zeros(size, np.uint8) for size in (plan.a_bytes, plan.b_bytes)]
    emit_dot(builder, target, (8, 8, 16), *operands, "f32", "%c", ("%sa", "%sb"))
    run = load(builder, [("ptr", f"%{name}") for name in ("a", "b", "c", "sa", "sb")], target)
    run(*(x.ctypes.data for x in (a, b, c, *scratch)))
    check(c, a[::2, ::2].astype(np.float64) @ b, 16, "f32")


def test_int8_sums_beyond_float32_are_exact() -> None:
    target, sizes = target_named("x86-64"), (4, 4, 2048)
    builder = Builder()
    a, b = np.full((4, 2048), -128, np.int8), np.full((2048, 4), -128, np.int8)
    b[0] = 1
    c = np.zeros((4, 4), np.int32)
    operands = [
        operand_in_memory(builder, "i8", "%a", 2048, 1),
        operand_in_memory(builder, "i8", "%b", 4, 1),
    ]
    plan = plan_dot(target, sizes, *operands, "i32")
    assert plan.compute == "i32"
    scratch = [np.zeros(size, np.uint8) for size in (plan.a_bytes, plan.b_bytes)]
    emit_dot(builder, target, sizes, *operands, "i32", "%c", ("%sa", "%sb"))
    run = load(builder, [("ptr", f"%{name}") for name in ("a", "b", "c", "sa", "sb")], target)
    run(*(x.ctypes.data for x in (a, b, c, *scratch)))
    np.testing.assert_array_equal(c, a.astype(np.int32) @ b.astype(np.int32))


@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize(
    "sizes", [(16, 64, 64), (4, 4, 4), (32, 16, 8), (1, 32, 2048), (64, 8, 32)]
)
def test_int8_in_quads(sizes: tuple[int, int, int], transposed: tuple[bool, bool]) -> None:
    target = target_named("native")
    if not target.vnni:
        pytest.skip("this CPU has no AVX-512 VNNI")
    operands = [operand_in_memory(Builder(), "i8", "%x", 1, 1) for _ in range(2)]
    assert plan_dot(target, sizes, *operands, "i32").quads
    c, expected = product(target, sizes, "i8", "i32", transposed)
    check(c, expected, sizes[2], "i32")


@pytest.mark.parametrize("level", TARGETS)
@pytest.mark.parametrize(("element", "size"), [("f32", 16), ("f32", 4), ("f64", 8), ("i32", 8)])
def test_transpose_helper(level: str, element: str, size: int) -> None:
    builder = Builder()
    name = transpose_helper(builder, element, size)
    builder.emit(f"call void @{name}(ptr %from, i64 {size + 3}, ptr %to, i64 {size})")
    run = load(builder, [("ptr", "%from"), ("ptr", "%to")], target_named(level))
    source = np.arange(size * (size + 3)).reshape(size, size + 3).astype(NUMPY[element])
    result = np.zeros((size, size), source.dtype)
    run(source.ctypes.data, result.ctypes.data)
    np.testing.assert_array_equal(result, source[:, :size].T)


@pytest.mark.parametrize("n", [1, 8, 16, 64, 128, 256, 1024])
def test_register_tiles_cover_the_columns(n: int) -> None:
    plan = Product(target_named("x86-64"), 64, n, 64, "f32")
    covered = [
        vector
        for first, width, count in plan.chunks()
        for vector in range(first, first + width * count)
    ]
    assert covered == list(range(n // plan.lanes))
    assert all(width <= plan.vectors for _, width, _ in plan.chunks())


def test_unknown_element_is_refused() -> None:
    builder = Builder()
    operands = [operand_in_memory(builder, "f8E5M2", "%a", 16, 1) for _ in range(2)]
    with pytest.raises(UnsupportedOperation, match="cannot compute in f32 from f8E5M2"):
        emit_dot(
            builder, target_named("x86-64"), (16, 16, 16), *operands, "f32", "%c", ("%s", "%t")
        )


@pytest.mark.parametrize(("element", "accumulator"), [("f32", "f32"), ("i8", "i32")])
@pytest.mark.parametrize("columns", [0, 10, 40, 97, 128])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("m", "k"), [(8, 32), (32, 64)])
def test_columns_that_are_left_out_stay(
    element: str, accumulator: str, columns: int, transposed: bool, m: int, k: int
) -> None:
    target, sizes = target_named("native"), (m, 128, k)
    a, b = values((m, k), element, 1), values((k, 128), element, 2)
    b[:, columns:] = 0
    c = np.full((m, 128), 5, NUMPY[accumulator])
    builder = Builder()
    operands = [
        operand_in_memory(builder, element, "%a", k, 1),
        operand_in_memory(builder, element, "%b", *((1, k) if transposed else (128, 1))),
    ]
    extent = m, "%columns", k
    plan = plan_dot(target, sizes, *operands, accumulator, extent=extent)
    scratch = [np.full(size, 0xFF, np.uint8) for size in (plan.a_bytes, plan.b_bytes)]
    places = "%c", ("%sa", "%sb")
    emit_dot(builder, target, sizes, *operands, accumulator, *places, extent=extent)
    pointers = [("ptr", f"%{name}") for name in ("a", "b", "c", "sa", "sb")]
    run = load(builder, [*pointers, ("i64", "%columns")], target)
    b_memory = np.asfortranarray(b) if transposed else b
    run(*(x.ctypes.data for x in (a, b_memory, c, *scratch)), columns)
    wide = np.int64 if element == "i8" else np.float64
    check(c, 5 + a.astype(wide) @ b.astype(wide), k, accumulator)
    assert (c[:, columns:] == 5).all()
