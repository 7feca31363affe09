"""Reductions, scans, rows and products against NumPy in float64, and their gradients."""

from __future__ import annotations

import inspect
import zlib
from typing import Any

import numpy as np
import pytest

import tritorch
from tests.ops.compare import check
from tritorch import Tensor
from tritorch.autograd.gradcheck import gradcheck, gradgradcheck
from tritorch.ops.declare import OPS, OpInfo

REDUCTIONS = [op for op in OPS if op.kind == "reduction" and op.numpy is not None]
SCANS = [op for op in OPS if op.kind == "scan"]
WITH_CASES = [op for op in OPS if op.cases]
#: one dimension only
SINGLE = ("prod", "argmax", "argmin")
INDICES = ("argmax", "argmin")
#: logsumexp has no default for dim
NEEDS_DIM = ("logsumexp",)
SHAPES = [
    ((4, 5, 6), None),
    ((4, 5, 6), 0),
    ((4, 5, 6), 1),
    ((4, 5, 6), -1),
    ((4, 5, 6), (0, 2)),
    ((3, 1), 1),
    ((7,), 0),
    ((), None),
    ((2, 1000), 1),
    ((1000, 3), 0),
    ((33, 70), (0, 1)),
]


def generator(op: OpInfo) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(op.name.encode()))


def dimensions(op: OpInfo, shape: tuple[int, ...], dim: Any) -> Any:
    if dim is None and op.name in NEEDS_DIM:
        return tuple(range(len(shape)))
    return dim


def expected_dtype(op: OpInfo, dtype: Any) -> Any:
    if op.name in INDICES:
        return tritorch.int64
    if op.name in ("any", "all"):
        return tritorch.bool
    if op.name in ("logsumexp",) and not dtype.is_floating_point:
        return tritorch.float32
    if op.name in ("sum", "prod", "nansum", "cumsum", "cumprod") and not dtype.is_floating_point:
        return tritorch.int64
    return dtype


def numpy_reference(op: OpInfo, array: np.ndarray, dim: Any, keepdim: bool) -> Any:
    wide = array.astype(np.float64) if array.dtype.kind not in "iub" else array
    if op.name == "logsumexp":
        shape = [1 if d in _normal(dim, array.ndim) else n for d, n in enumerate(array.shape)]
        total = np.log(np.sum(np.exp(wide.astype(np.float64)), axis=dim))
        return total.reshape(shape) if keepdim else total
    options: dict[str, Any] = {"axis": dim, "keepdims": keepdim}
    assert op.numpy is not None
    return op.numpy(wide, **options)


def _normal(dim: Any, ndim: int) -> set[int]:
    dims = range(ndim) if dim is None else dim if isinstance(dim, tuple) else (dim,)
    return {d % ndim for d in dims}


@pytest.mark.parametrize("keepdim", [False, True], ids=["drop", "keepdim"])
@pytest.mark.parametrize("op", REDUCTIONS, ids=str)
def test_values(op: OpInfo, keepdim: bool) -> None:
    """Shapes, dimensions, layouts, dtypes."""
    random = generator(op)
    for shape, dim in SHAPES:
        if op.name in SINGLE and (isinstance(dim, tuple) or (dim is None and keepdim)):
            continue
        dim = dimensions(op, shape, dim)
        if op.name in ("var", "std") and shape in ((), (3, 1)):
            continue
        for dtype in (tritorch.float32, tritorch.float64, tritorch.int32):
            if not dtype.is_floating_point and not op.integers:
                continue
            array = np.asarray(random.uniform(-2, 2, shape)).astype(dtype.numpy)
            for name, tensor in _layouts(array).items():
                options = {} if dim is None and op.name != "logsumexp" else {"dim": dim}
                if "keepdim" in inspect.signature(op.function).parameters:
                    options["keepdim"] = keepdim
                actual = op.function(tensor, **options)
                expected = numpy_reference(op, array, dim, keepdim)
                check(
                    actual, expected, expected_dtype(op, dtype), combined=array.size,
                    what=f"{op.name} {shape} dim={dim} {dtype} {name}",
                )  # fmt: skip


def _layouts(array: np.ndarray) -> dict[str, Tensor]:
    made = {"contiguous": tritorch.tensor(array)}
    if array.ndim >= 2:
        turned = np.ascontiguousarray(np.moveaxis(array, 0, -1))
        made["turned"] = tritorch.tensor(turned).movedim(-1, 0)
        wide = np.zeros((*array.shape[:-1], array.shape[-1] * 2), array.dtype)
        wide[..., ::2] = array
        made["strided"] = tritorch.tensor(wide)[..., ::2]
    return made


@pytest.mark.parametrize("op", [op for op in REDUCTIONS if op.differentiable], ids=str)
def test_gradients(op: OpInfo) -> None:
    """First and second derivatives."""
    random = generator(op)
    for shape, dim in [((3, 4), None), ((3, 4), 0), ((2, 3, 2), (0, 2)), ((3, 4), -1)]:
        if op.name in SINGLE and isinstance(dim, tuple):
            continue
        dim = dimensions(op, shape, dim)
        x = tritorch.tensor(random.uniform(0.2, 2, shape), requires_grad=True)
        for keepdim in (False, True):
            options = {} if dim is None else {"dim": dim, "keepdim": keepdim}

            def function(x: Tensor, options: dict[str, Any] = options) -> Any:
                return op.function(x, **options)

            assert gradcheck(function, (x,))
            assert gradgradcheck(function, (x,), atol=1e-4)


@pytest.mark.parametrize("op", SCANS, ids=str)
def test_scans(op: OpInfo) -> None:
    """Along each dimension of several layouts."""
    random = generator(op)
    for shape, dim in [((4, 5), 0), ((4, 5), 1), ((3, 1000), 1), ((1000, 3), 0), ((2, 3, 4), 1)]:
        for dtype in (tritorch.float32, tritorch.float64, tritorch.int64):
            array = random.uniform(0.5, 1.5, shape).astype(dtype.numpy)
            assert op.numpy is not None
            wide = array.astype(np.float64) if dtype.is_floating_point else array
            for name, tensor in _layouts(array).items():
                check(
                    op.function(tensor, dim), op.numpy(wide, axis=dim), expected_dtype(op, dtype),
                    combined=shape[dim], what=f"{op.name} {shape} {dim} {dtype} {name}",
                )  # fmt: skip
    for dim in (0, 1):
        values = random.uniform(0.5, 1.5, (3, 4))
        if op.name == "cumprod":
            values[1, 2] = 0.0
        x = tritorch.tensor(values, requires_grad=True)
        assert gradcheck(lambda x, dim=dim: op.function(x, dim), (x,))
        assert gradgradcheck(lambda x, dim=dim: op.function(x, dim), (x,), atol=1e-4)


@pytest.mark.parametrize("op", WITH_CASES, ids=str)
def test_cases(op: OpInfo) -> None:
    """The cases of the declaration: values in three dtypes, first and second derivatives."""
    random = generator(op)
    for case in op.cases:
        arguments, options = case(_maker(random))
        arrays = [a for a in arguments if _is_float(a)]
        for dtype in (tritorch.float32, tritorch.float64, tritorch.float16):
            rounded = [_as(a, dtype) for a in arguments]
            reference = [a.astype(np.float64) if _is_float(a) else a for a in rounded]
            assert op.numpy is not None
            expected = op.numpy(*reference, **options)
            tensors = [tritorch.tensor(a) if isinstance(a, np.ndarray) else a for a in rounded]
            combined = max([a.shape[-1] for a in arrays if a.ndim] or [1])
            check(
                op.function(*tensors, **options), expected, dtype, combined=4 * combined,
                what=f"{op.name} {[a.shape for a in arrays]} {options}",
            )  # fmt: skip
        sizes = [a.size for a in arguments if isinstance(a, np.ndarray)]
        if max(sizes) > 200 or 0 in sizes:
            continue
        # The weights of classes have no gradient, as in PyTorch.
        inputs = [
            tritorch.tensor(a, requires_grad=_is_float(a) and (op.kind != "loss" or not position))
            if isinstance(a, np.ndarray)
            else a
            for position, a in enumerate(arguments)
        ]

        def function(*values: Any, options: dict[str, Any] = options) -> Any:
            return op.function(*values, **options)

        assert gradcheck(function, tuple(inputs))
        assert gradgradcheck(function, tuple(inputs), atol=1e-4)


def _maker(random: np.random.Generator) -> Any:
    """What cases make their floating-point operands with."""
    return lambda *shape, low=-2.0, high=2.0: random.uniform(low, high, shape)


def _is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind not in "iub"


def _as(value: Any, dtype: Any) -> Any:
    return value.astype(dtype.numpy) if _is_float(value) else value
