"""Every declared pointwise operation: dtype, shape and values against NumPy in float64;
gradients.
"""

from __future__ import annotations

import ast
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tritorch
from tests.ops.compare import check
from tritorch import Tensor
from tritorch.autograd.gradcheck import gradcheck, gradgradcheck
from tritorch.ops.declare import EDGES, OPS, OpInfo
from tritorch.ops.promotion import common_dtype, float_dtype

POINTWISE = [op for op in OPS if op.kind == "pointwise" and op.numpy is not None]
DIFFERENTIABLE = [op for op in POINTWISE if op.differentiable]
FLOATS = (tritorch.float32, tritorch.float64, tritorch.float16, tritorch.bfloat16)
INTEGERS = (tritorch.int64, tritorch.int32, tritorch.uint8)

#: layouts of a (5, 7)-like operand, from an array of the wanted shape
LAYOUTS: dict[str, Callable[[np.ndarray], Tensor]] = {
    "contiguous": lambda a: tritorch.tensor(a),
    "transposed": lambda a: tritorch.tensor(np.ascontiguousarray(a.T)).t(),
    "strided": lambda a: _strided(a),
    "offset": lambda a: tritorch.tensor(np.pad(a, ((1, 0), (2, 0))))[1:, 2:],
}


def _strided(a: np.ndarray) -> Tensor:
    wide = np.zeros((a.shape[0] * 2, a.shape[1] * 3), a.dtype)
    wide[::2, ::3] = a
    return tritorch.tensor(wide)[::2, ::3]


def generator(op: OpInfo) -> np.random.Generator:
    """Seeded by the name, so that a failure repeats."""
    return np.random.default_rng(zlib.crc32(op.name.encode()))


def operands(
    op: OpInfo, random: np.random.Generator, shapes: list[tuple[int, ...]], dtype: Any
) -> list[np.ndarray]:
    """Values inside the domain."""
    made = []
    for position, shape in enumerate(shapes):
        if is_mask(op, position):
            made.append(random.random(shape) < 0.5)
        elif dtype.category == 2:
            made.append(random.uniform(op.low, op.high, shape).astype(dtype.numpy))
        elif dtype.category == 1:
            low = max(op.low, 0) if not dtype.is_signed else op.low
            low = max(low, 1) if position and op.name in DIVISIONS else low
            made.append(random.integers(int(low), int(op.high) + 1, shape).astype(dtype.numpy))
        else:
            made.append(random.random(shape) < 0.5)
    return made


DIVISIONS = ("floor_divide", "trunc_divide", "remainder", "fmod")


def is_mask(op: OpInfo, position: int) -> bool:
    """Whether an operand is a condition."""
    return (op.name, position) in (("where", 0), ("masked_fill", 1))


def kinds_of(op: OpInfo, tensors: list[Any]) -> list[Any]:
    return [t._layout if isinstance(t, Tensor) else type(t) for t in tensors]


def result_dtype(op: OpInfo, tensors: list[Any]) -> Any:
    """By PyTorch's rules, from the word in the declaration."""
    kinds = kinds_of(op, tensors)
    if op.promote in ("bool", "logical"):
        return tritorch.bool
    if op.promote == "select":
        return common_dtype(kinds[1:])
    if op.promote == "first":
        return common_dtype(kinds[:1])
    common = common_dtype(kinds)
    return float_dtype(common) if op.promote == "float" else common


def reference(op: OpInfo, arrays: list[Any], options: dict[str, Any], compute: Any) -> np.ndarray:
    """NumPy's answer; floats in float64, integers as they are promoted."""
    with np.errstate(all="ignore"):
        wide = []
        for position, a in enumerate(arrays):
            a = np.asarray(a)
            if is_mask(op, position) or a.dtype == np.bool_:
                wide.append(a)
            elif compute.category == 2:
                wide.append(a.astype(np.float64))
            else:
                wide.append(a.astype(compute.numpy))
        defaults = {n: ast.literal_eval(d) for n, (_, d) in op.operation.parameters.items() if d}
        assert op.numpy is not None
        return np.asarray(op.numpy(*wide, **(defaults | options)))


def run(op: OpInfo, arrays: list[Any], tensors: list[Any], what: str, combined: int = 1) -> None:
    for options in op.calls:
        actual = op.function(*tensors, **options)
        dtype = result_dtype(op, tensors)
        kinds = kinds_of(op, tensors)
        compute = common_dtype(kinds[1:] if op.promote == "select" else kinds)
        if op.promote == "float":
            compute = float_dtype(compute)
        expected = reference(op, arrays, options, compute)
        check(actual, expected, dtype, combined=combined, what=f"{op.name} {what} {options}")


@pytest.mark.parametrize("op", POINTWISE, ids=str)
def test_dtypes(op: OpInfo) -> None:
    """Every dtype that the operation accepts."""
    random = generator(op)
    dtypes: tuple[Any, ...] = () if op.promote == "integral" else FLOATS
    if op.integers:
        dtypes += INTEGERS
    for dtype in dtypes:
        arrays = operands(op, random, [(4, 9)] * op.operands, dtype)
        tensors = [tritorch.tensor(a) for a in arrays]
        run(op, arrays, tensors, str(dtype), combined=4 if dtype.itemsize < 4 else 1)
    if op.promote == "floating":
        integers = tritorch.ones((2,), dtype=tritorch.int64)
        with pytest.raises(
            RuntimeError, match=r"only for floating-point tensors, got torch\.int64"
        ):
            op.function(*[integers] * op.operands, **op.calls[0])


@pytest.mark.parametrize("op", POINTWISE, ids=str)
def test_layouts(op: OpInfo) -> None:
    """Strides, broadcasts, no dimensions, no elements, odd sizes."""
    random = generator(op)
    dtype = tritorch.int64 if op.promote == "integral" else tritorch.float32
    for name, layout in LAYOUTS.items():
        arrays = operands(op, random, [(5, 7)] * op.operands, dtype)
        run(op, arrays, [layout(a) for a in arrays], name)
    shapes = [(3, 1, 4), (5, 1), (4,), (3, 5, 4)][: op.operands]
    arrays = operands(op, random, shapes, dtype)
    run(op, arrays, [tritorch.tensor(a) for a in arrays], "broadcast")
    for shape in ((), (0,), (2, 0, 3), (1,), (1237,), (67, 131)):
        arrays = operands(op, random, [shape] * op.operands, dtype)
        run(op, arrays, [tritorch.tensor(a) for a in arrays], str(shape))
    arrays = operands(op, random, [(1000,)] * op.operands, dtype)
    expanded = [tritorch.tensor(a[:1]).expand(1000) for a in arrays]
    run(op, [np.broadcast_to(a[:1], (1000,)) for a in arrays], expanded, "expanded")


@pytest.mark.parametrize("op", [op for op in POINTWISE if op.promote != "integral"], ids=str)
def test_edges(op: OpInfo) -> None:
    """Zeros, ones, tiny, huge, inf, nan, and what the declaration adds."""
    values = np.array([*EDGES, *op.samples], np.float32)
    if op.operands == 1:
        arrays: list[Any] = [values]
    else:
        columns = np.meshgrid(*[values] * min(op.operands, 2), indexing="ij")
        arrays = [c.reshape(-1) for c in columns]
        arrays += [np.full_like(arrays[0], 0.5)] * (op.operands - 2)
    arrays = [a > 0 if is_mask(op, i) else a for i, a in enumerate(arrays)]
    if op.name in EDGE_LIMITS:
        keep = np.all([np.abs(a) <= EDGE_LIMITS[op.name] for a in arrays], axis=0)
        arrays = [a[keep] for a in arrays]
    run(op, arrays, [tritorch.tensor(a) for a in arrays], "edges", combined=4)


#: where float32 itself, or NumPy's formula in float64, cannot give the answer beyond
EDGE_LIMITS: dict[str, float] = {
    "binary_cross_entropy": 1.0,
    "binary_cross_entropy_with_logits": 1e4,
}


@pytest.mark.parametrize("op", [op for op in POINTWISE if op.operands == 2], ids=str)
def test_numbers(op: OpInfo) -> None:
    """A Python number as one operand does not change the dtype within its category."""
    random = generator(op)
    dtype = tritorch.int32 if op.promote == "integral" else tritorch.float32
    (array,) = operands(op, random, [(3, 5)], dtype)
    tensor = tritorch.tensor(array)
    for number in (2, 0.5) if dtype is tritorch.float32 else (2,):
        if is_mask(op, 0) or is_mask(op, 1):
            continue
        run(op, [array, number], [tensor, number], f"second {number}")
        run(op, [number, array], [number, tensor], f"first {number}")


@pytest.mark.parametrize("op", [op for op in POINTWISE if op.inplace], ids=str)
def test_inplace(op: OpInfo) -> None:
    """The in-place version writes the same values, into strided memory too, and counts versions."""
    random = generator(op)
    dtype = tritorch.int64 if op.promote == "integral" else tritorch.float32
    for layout in LAYOUTS.values():
        arrays = operands(op, random, [(5, 7)] * op.operands, dtype)
        tensors = [layout(a) for a in arrays]
        for options in op.calls:
            target = layout(arrays[0])
            expected = op.function(*tensors, **options).to(dtype)
            version = target._version
            method = op.operation.inplace
            assert method(target, *tensors[1:], **options) is target
            assert target._version == version + 1
            check(target, expected.numpy(), dtype, what=op.name)


def _smooth(op: OpInfo, position: int) -> bool:
    """Jumps have no gradient along that operand."""
    return (op.name, position) not in JUMPS


#: operands in which the operation is a step function
JUMPS = {("remainder", 1), ("fmod", 1), ("copysign", 1), ("floor_divide", 0), ("floor_divide", 1)}


@pytest.mark.parametrize("op", [op for op in DIFFERENTIABLE if _smooth(op, 0)], ids=str)
def test_gradients(op: OpInfo) -> None:
    """First and second derivatives against central differences, with broadcasting."""
    random = generator(op)
    shapes = [(2, 3), (3,), (2, 1), (1, 3)][: op.operands]
    arrays = operands(op, random, shapes, tritorch.float64)
    tensors = [
        tritorch.tensor(a, requires_grad=a.dtype == np.float64 and _smooth(op, i))
        for i, a in enumerate(arrays)
    ]
    for options in op.calls:

        def function(*values: Tensor, options: dict[str, Any] = options) -> Any:
            return op.function(*values, **options)

        assert gradcheck(function, tensors, fast_mode=False)
        assert gradgradcheck(function, tensors, atol=1e-4)


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=str)
def test_gradient_dtype_and_nodes(op: OpInfo) -> None:
    """float16 gradients are float16; nothing is recorded under no_grad; the node has its name."""
    random = generator(op)
    arrays = operands(op, random, [(3,)] * op.operands, tritorch.float16)
    tensors = [tritorch.tensor(a, requires_grad=a.dtype == np.float16) for a in arrays]
    options = op.calls[0]
    result = op.function(*tensors, **options)
    assert result.requires_grad
    assert type(result.grad_fn).__name__.endswith("Backward0")
    result.sum().backward()
    for tensor in tensors:
        if tensor.requires_grad:
            assert tensor.grad.dtype is tritorch.float16
            assert tensor.grad.shape == tensor.shape
    with tritorch.no_grad():
        assert not op.function(*tensors, **options).requires_grad


@pytest.mark.parametrize(
    ("name", "points", "expected"),
    [
        ("silu", [-1e4, -200.0, -100.0, -20.0, 100.0], [0.0, 0.0, 0.0, -3.916e-08, 1.0]),
        ("sigmoid", [-1e4, -100.0, 0.0, 100.0], [0.0, 0.0, 0.25, 0.0]),
        ("mish", [-1e4, -100.0, 100.0], [0.0, 0.0, 1.0]),
        ("gelu", [-1e4, -100.0, 100.0], [0.0, 0.0, 1.0]),
        ("softplus", [-1e4, -100.0, 0.0, 100.0], [0.0, 0.0, 0.5, 1.0]),
        ("hardswish", [-np.inf, -3.0, 0.0, 3.0, np.inf], [0.0, 0.0, 0.5, 1.0, 1.0]),
        ("logit", [-1.0, 0.5, 2.0], [np.nan, 4.0, np.nan]),
    ],
)
def test_gradients_far_out(name: str, points: list[float], expected: list[float]) -> None:
    """Where an intermediate overflows the gradient must not; PyTorch's values."""
    function = getattr(tritorch.nn.functional, name, None) or getattr(tritorch, name)
    x = tritorch.tensor(points, requires_grad=True)
    function(x).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-3, atol=1e-30)
