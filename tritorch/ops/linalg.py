"""Matrix products: matmul and its kin, linear layers, einsum."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.config import watch
from tritorch.dtypes import int8, int32
from tritorch.errors import DtypeError, ShapeError
from tritorch.kernels.templates import matmul as kernels
from tritorch.layout import Layout, normalize_dim
from tritorch.ops.declare import in_place, method, operation, takes, writes
from tritorch.ops.dispatch import NO_EDGE, Plans
from tritorch.ops.output import finished
from tritorch.ops.promotion import common_device
from tritorch.ops.reduction import sum
from tritorch.ops.view_nodes import node_class
from tritorch.ops.views import expand, permute, reshape, t, transpose, unsqueeze
from tritorch.tensor import Tensor, empty

Shape = tuple[int, ...]


def _row(layout: Layout) -> Layout:
    """A vector as a matrix of one row."""
    return Layout.of(layout.dtype, (1, *layout.shape), (0, *layout.strides), layout.device)


def _column(layout: Layout) -> Layout:
    """A vector as a matrix of one column."""
    return Layout.of(layout.dtype, (*layout.shape, 1), (*layout.strides, 1), layout.device)


def _flipped(layout: Layout) -> Layout:
    """A matrix transposed."""
    return Layout.of(layout.dtype, layout.shape[::-1], layout.strides[::-1], layout.device)


def _check(name: str, a: Layout, b: Layout, *more: Layout) -> None:
    common_device(name, [a, b, *more])
    if a.dtype is not b.dtype:
        raise DtypeError(
            f"{name}: expected operands of the same dtype, but got {a.dtype} and {b.dtype}. Cast "
            "one with .to(dtype)."
        )


def _plan(key: tuple[Any, ...]) -> tuple[Any, Layout]:
    """The launch and the layout of the result of a product of one or more dimensions each."""
    a, b = key
    _check("matmul", a, b)
    if not a.ndim or not b.ndim:
        raise RuntimeError(
            f"matmul: both arguments to matmul need to be at least 1D, but they are {a.ndim}D and "
            f"{b.ndim}D. Multiply with *."
        )
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ShapeError(
            f"matmul: mat1 and mat2 shapes cannot be multiplied ({_text(a.shape)} and "
            f"{_text(b.shape)}): {a.shape[-1]} and {b.shape[-2 if b.ndim > 1 else 0]} differ. "
            "Transpose or reshape one of them."
        )
    left = _row(a) if a.ndim == 1 else a
    right = _column(b) if b.ndim == 1 else b
    plan = kernels.plan(left, right)
    shape = plan.outputs[0].shape
    if a.ndim == 1:
        shape = (*shape[:-2], shape[-1])
    if b.ndim == 1:
        shape = shape[:-1]
    layout = Layout.contiguous(a.dtype, shape, a.device)
    return plan.launch, layout


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))


_products = Plans(_plan)


class MatmulBackward(Node):
    """The gradients are products with the other operand, transposed."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """(g @ b^T, a^T @ g); the engine sums over broadcast batches."""
        a, b = self.unpack()
        (g,) = grads
        own = other = None
        na, nb = a._layout.ndim, b._layout.ndim
        if na == 1 and nb == 1:
            return (g * b if self.needs(0) else None, g * a if self.needs(1) else None)
        rows = unsqueeze(a, 0) if na == 1 else a
        columns = unsqueeze(b, 1) if nb == 1 else b
        full = g
        if nb == 1:
            full = unsqueeze(full, -1)
        if na == 1:
            full = unsqueeze(full, -2)
        if self.needs(0):
            own = matmul(full, transpose(columns, -2, -1))
            if na == 1:
                own = reshape(_summed(own, 2), -1)
        if self.needs(1):
            if nb <= 2 and na > 2:
                # One product over all rows instead of a batch that is then summed.
                rows, full = _as_rows(rows), _as_rows(full)
            other = matmul(transpose(rows, -2, -1), full)
            if nb == 1:
                other = reshape(_summed(other, 2), -1)
        return own, other


def _summed(x: Tensor, ndim: int) -> Tensor:
    """Summed over what is in front of the last dimensions."""
    extra = x._layout.ndim - ndim
    return sum(x, tuple(range(extra))) if extra > 0 else x


def _as_rows(x: Tensor) -> Tensor:
    return x if x._layout.ndim == 2 else reshape(x, -1, x._layout.shape[-1])


_Mm = node_class(MatmulBackward, "MmBackward0")
_Bmm = node_class(MatmulBackward, "BmmBackward0")
_Mv = node_class(MatmulBackward, "MvBackward0")
_Dot = node_class(MatmulBackward, "DotBackward0")
_Unsafe = node_class(MatmulBackward, "UnsafeViewBackward0")
_NODES = {(1, 1): _Dot, (2, 1): _Mv, (2, 2): _Mm, (3, 3): _Bmm}


def _product_cases() -> list[Any]:
    shapes = [
        ((4,), (4,)), ((3, 4), (4,)), ((4,), (4, 5)), ((3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)),
        ((2, 1, 3, 4), (5, 4, 2)), ((2, 3, 4), (4,)), ((2, 3, 4), (4, 5)), ((33, 65), (65, 17)),
        ((0, 4), (4, 5)), ((3, 0), (0, 2)),
    ]  # fmt: skip
    return [lambda make, x=x, y=y: ((make(*x), make(*y)), {}) for x, y in shapes]


@operation("product", operands=2, numpy=np.matmul, cases=_product_cases())
@takes("floating", "integers")
def matmul(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The matrix product; batches broadcast, vectors count as a row (left) or a column (right)."""
    try:
        launch, layout = _products[input._layout, other._layout]
    except AttributeError:
        wrong = input if not isinstance(input, Tensor) else other
        raise TypeError(
            f"matmul(): arguments must be Tensor, not {type(wrong).__name__}. Convert it with "
            "tritorch.tensor."
        ) from None
    result = empty(layout)
    launch(result._address, input._address, other._address)
    if (input._requires_grad or other._requires_grad) and mode.enabled:
        node_type = _NODES.get((input._layout.ndim, other._layout.ndim), _Unsafe)
        node = node_type((edge(input), edge(other)), (layout,))
        node.save(input, other)
        result._grad_fn = node
        result._requires_grad = True
    return result if out is None else finished(result, out, "matmul")


@method("__matmul__")
def _matmul_operator(input: Tensor, other: Any) -> Any:
    return matmul(input, other) if isinstance(other, Tensor) else NotImplemented


@method("__rmatmul__")
def _matmul_reflected(input: Tensor, other: Any) -> Any:
    return matmul(other, input) if isinstance(other, Tensor) else NotImplemented


def _exactly(name: str, x: Tensor, ndim: int) -> None:
    if x._layout.ndim != ndim:
        kind = {1: "vector", 2: "matrix", 3: "batch of matrices"}[ndim]
        raise RuntimeError(
            f"{name}: expected a {kind}, got a tensor of shape {list(x._layout.shape)}. Use matmul "
            "for other shapes."
        )


@method("mm")
def mm(input: Tensor, mat2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The product of two matrices."""
    _exactly("mm", input, 2)
    _exactly("mm", mat2, 2)
    return matmul(input, mat2, out=out)


def _int_mm(input: Tensor, mat2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The product of two int8 matrices, in int32."""
    _exactly("_int_mm", input, 2)
    _exactly("_int_mm", mat2, 2)
    for x in (input, mat2):
        if x._layout.dtype is not int8:
            raise DtypeError(
                f"_int_mm: expected int8 matrices, got {x._layout.dtype}. Use matmul, or cast."
            )
    launch, layout = _int8_products[input._layout, mat2._layout]
    result = empty(layout)
    launch(result._address, input._address, mat2._address)
    return result if out is None else out.copy_(result)


def _int8_plan(key: tuple[Any, ...]) -> tuple[Any, Layout]:
    plan = kernels.plan(*key, out=int32)
    return plan.launch, plan.outputs[0]


_int8_products = Plans(_int8_plan)


@method("bmm")
def bmm(input: Tensor, mat2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The products of two batches of matrices of equal size."""
    _exactly("bmm", input, 3)
    _exactly("bmm", mat2, 3)
    if input._layout.shape[0] != mat2._layout.shape[0]:
        raise RuntimeError(
            f"bmm: batch sizes differ: {list(input._layout.shape)} and {list(mat2._layout.shape)}."
        )
    return matmul(input, mat2, out=out)


@method("mv")
@writes
@takes("floating", "float8", "integers")
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """The product of a matrix and a vector."""
    _exactly("mv", input, 2)
    _exactly("mv", vec, 1)
    return matmul(input, vec)


@method("dot", "inner_1d")
@writes
@takes("floating", "float8", "integers")
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The sum of the products of two vectors."""
    _exactly("dot", input, 1)
    _exactly("dot", tensor, 1)
    return matmul(input, tensor)


vdot = dot


@method("inner")
@writes
@takes("floating", "float8", "integers")
def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sums of products over the last dimensions."""
    if not input._layout.ndim or not other._layout.ndim:
        return input * other
    if input._layout.ndim == other._layout.ndim == 1:
        return dot(input, other)
    shape = input._layout.shape[:-1] + other._layout.shape[:-1]
    size = input._layout.shape[-1]
    left, right = reshape(input, -1, size), reshape(other, -1, size)
    return reshape(matmul(left, t(right)), *shape)


@method("outer", "ger")
@writes
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """All products of the elements of two vectors."""
    _exactly("outer", input, 1)
    _exactly("outer", vec2, 1)
    return unsqueeze(input, 1) * vec2


ger = outer


# ---- with something added


def _sum_plan(key: tuple[Any, ...]) -> tuple[Any, Layout]:
    name, a, b, bias, scaled = key
    _check(name, a, b, bias)
    if bias.dtype is not a.dtype:
        raise DtypeError(
            f"{name}: expected operands of the same dtype, but got {bias.dtype} and {a.dtype}. "
            "Cast "
            "one with .to(dtype)."
        )
    plan = kernels.plan(a, b, bias, scaled=scaled)
    return plan.launch, plan.outputs[0]


_sums = Plans(_sum_plan)


class AddmmBackward0(Node):
    """beta * g, alpha * g @ b^T, alpha * a^T @ g."""

    __slots__ = ("alpha", "beta")
    alpha: float
    beta: float

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """Gradients of the addend and of both factors."""
        a, b = self.unpack()
        (g,) = grads
        scaled = g if self.alpha == 1 else g * self.alpha
        return (
            (g if self.beta == 1 else g * self.beta) if self.needs(0) else None,
            matmul(scaled, transpose(b, -2, -1)) if self.needs(1) else None,
            matmul(transpose(a, -2, -1), scaled) if self.needs(2) else None,
        )


_Baddbmm = node_class(AddmmBackward0, "BaddbmmBackward0")


def _add_product(
    name: str, input: Tensor, a: Tensor, b: Tensor, beta: float, alpha: float, node_type: Any
) -> Tensor:
    if not a._layout.dtype.is_floating_point:
        alpha, beta = int(alpha), int(beta)
    scaled = alpha != 1 or beta != 1
    # What is multiplied by 0 may be nan.
    addend = input if beta else expand(_nothing(input), *input._layout.shape)
    launch, layout = _sums[name, a._layout, b._layout, addend._layout, scaled]
    result = empty(layout)
    numbers = (alpha, beta) if scaled else ()
    launch(result._address, a._address, b._address, addend._address, *numbers)
    if (input._requires_grad or a._requires_grad or b._requires_grad) and mode.enabled:
        node = node_type((edge(input), edge(a), edge(b)), (layout,))
        node.alpha, node.beta = alpha, beta
        node.save(a, b)
        result._grad_fn, result._requires_grad = node, True
    return result


def _nothing(like: Tensor) -> Tensor:
    from tritorch.ops.creation import zeros

    return zeros((), dtype=like._layout.dtype, device=like._layout.device)


@method("addmm")
@in_place
@takes("floating", "integers")
def addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """beta * input + alpha * mat1 @ mat2."""
    _exactly("addmm", mat1, 2)
    _exactly("addmm", mat2, 2)
    return finished(
        _add_product("addmm", input, mat1, mat2, beta, alpha, AddmmBackward0), out, "addmm"
    )


@method("baddbmm")
@in_place
@writes
@takes("floating", "integers")
def baddbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """beta * input + alpha * batch1 @ batch2."""
    _exactly("baddbmm", batch1, 3)
    _exactly("baddbmm", batch2, 3)
    return _add_product("baddbmm", input, batch1, batch2, beta, alpha, _Baddbmm)


@method("addmv")
@in_place
@writes
@takes("floating", "float8", "integers")
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * mat @ vec."""
    return input * beta + mv(mat, vec) * alpha


@method("addr")
@in_place
@writes
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2)."""
    return input * beta + outer(vec1, vec2) * alpha


# ---- linear layers


def _linear_plan(key: tuple[Any, ...]) -> tuple[Any, Layout]:
    x, weight, bias = key
    _check("linear", x, weight, *([bias] if bias else []))
    if weight.ndim != 2 or not x.ndim or x.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"linear: mat1 and mat2 shapes cannot be multiplied ({_text(x.shape)} and "
            f"{_text(weight.shape[::-1])}): the input needs {weight.shape[-1]} features, it has "
            f"{x.shape[-1] if x.ndim else 0}."
        )
    left = _row(x) if x.ndim == 1 else x
    plan = kernels.plan(left, _flipped(weight), bias)
    shape = plan.outputs[0].shape[1:] if x.ndim == 1 else plan.outputs[0].shape
    return plan.launch, Layout.contiguous(x.dtype, shape, x.device)


_linears = Plans(_linear_plan)
for _plans in (_products, _sums, _linears):  # what GPUs may round
    watch("float32_matmul", _plans.clear)


class LinearBackward0(Node):
    """g @ weight, g^T @ x, and the sum of g."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """Gradients of input, weight and bias."""
        x, weight = self.unpack()
        (g,) = grads
        own = gradient = bias = None
        if self.needs(0):
            own = matmul(g, weight)
        if self.needs(1):
            rows = unsqueeze(g, 0) if g._layout.ndim == 1 else _as_rows(g)
            inputs = unsqueeze(x, 0) if x._layout.ndim == 1 else _as_rows(x)
            gradient = matmul(t(rows), inputs)
        if self.needs(2):
            bias = _summed(g, 1)
        return own, gradient, bias


_LINEAR_NODES = {
    (True, 2): node_class(LinearBackward0, "AddmmBackward0"),
    (False, 2): node_class(LinearBackward0, "MmBackward0"),
}


@takes("floating", "integers")
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight^T + bias, in one kernel.

    Shape: input (*, in_features), weight (out_features, in_features), bias (out_features,).
    """
    if bias is None:
        launch, layout = _linears[input._layout, weight._layout, None]
        result = empty(layout)
        launch(result._address, input._address, weight._address)
        wanted = input._requires_grad or weight._requires_grad
    else:
        launch, layout = _linears[input._layout, weight._layout, bias._layout]
        result = empty(layout)
        launch(result._address, input._address, weight._address, bias._address)
        wanted = input._requires_grad or weight._requires_grad or bias._requires_grad
    if wanted and mode.enabled:
        node_type = _LINEAR_NODES.get((bias is not None, input._layout.ndim), LinearBackward0)
        edges = (edge(input), edge(weight), NO_EDGE if bias is None else edge(bias))
        node = node_type(edges, (layout,))
        node.save(input, weight)
        result._grad_fn = node
        result._requires_grad = True
    return result


def bilinear(x1: Tensor, x2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x1^T W x2 + bias for each output feature."""
    from tritorch.ops.einsum import einsum

    made = einsum("...i,oij,...j->...o", x1, weight, x2)
    return made if bias is None else made + bias


# ---- einsum


@writes
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Sums of products over some dimensions of both: a count, or a list for each."""
    left, right = _contracted(a._layout, b._layout, dims)
    for i, j in zip(left, right):  # a size of 1 broadcasts
        if a._layout.shape[i] != b._layout.shape[j]:
            a, b = (a, sum(b, j, True)) if a._layout.shape[i] == 1 else (sum(a, i, True), b)
    shape_a, shape_b = a._layout.shape, b._layout.shape
    free_a = [d for d in range(len(shape_a)) if d not in left]
    free_b = [d for d in range(len(shape_b)) if d not in right]
    size = prod([shape_a[d] for d in left])
    if not free_a and not free_b:
        return dot(reshape(permute(a, *left), size), reshape(permute(b, *right), size))
    kept_a, kept_b = [shape_a[d] for d in free_a], [shape_b[d] for d in free_b]
    rows = reshape(permute(a, *free_a, *left), prod(kept_a), size)
    columns = reshape(permute(b, *right, *free_b), size, prod(kept_b))
    return reshape(matmul(rows, columns), *kept_a, *kept_b)


def _contracted(a: Layout, b: Layout, dims: Any) -> tuple[list[int], list[int]]:
    """The dimensions of both operands over which tensordot sums."""
    if isinstance(dims, int):
        if not 0 <= dims <= min(a.ndim, b.ndim):
            raise RuntimeError(
                f"tensordot: expects dims between 0 and {min(a.ndim, b.ndim)} for operands of "
                f"{a.ndim} and {b.ndim} dimensions, got {dims}."
            )
        pair: Any = range(a.ndim - dims, a.ndim), range(dims)
    else:
        pair = [[d] if isinstance(d, int) else d for d in dims]
        if len(pair) != 2 or len(pair[0]) != len(pair[1]):
            raise RuntimeError(
                "tensordot: both dimension lists should have same length, got "
                f"{[list(d) for d in pair]}."
            )
    left = [normalize_dim("tensordot", d, a.ndim) for d in pair[0]]
    right = [normalize_dim("tensordot", d, b.ndim) for d in pair[1]]
    for places in (left, right):
        if len(set(places)) < len(places):
            raise RuntimeError(f"tensordot: dim {places} appears multiple times in the list.")
    for i, j in zip(left, right):
        if a.shape[i] != b.shape[j] and 1 not in (a.shape[i], b.shape[j]):
            raise RuntimeError(
                "tensordot: contracted dimensions need to match, but first has size "
                f"{a.shape[i]} in dim {i} and second has size {b.shape[j]} in dim {j}."
            )
    return left, right
