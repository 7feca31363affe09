"""Greatest and smallest elements and where they are; norms and log-sum-exp."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tritorch import dtypes
from tritorch.dtypes import dtype as Dtype
from tritorch.kernels import scalar as s
from tritorch.kernels.reduction import ReductionKernel
from tritorch.ops import return_types
from tritorch.ops.arithmetic import maximum, minimum
from tritorch.ops.comparison import eq, masked_fill
from tritorch.ops.declare import method, operation, takes, writes
from tritorch.ops.elementary import exp
from tritorch.ops.output import finished
from tritorch.ops.reduction import (
    Dims,
    ReduceNode,
    Reduction,
    normalize_dims,
    record_reduction,
    sum,
)
from tritorch.ops.return_types import ValuesIndices
from tritorch.ops.view_nodes import node_class
from tritorch.ops.views import expand, unsqueeze
from tritorch.tensor import Tensor

#: behind every position that exists
_NOWHERE = 1 << 62


def _same_rule(dtype: Dtype, wanted: Dtype | None) -> tuple[Dtype, list[Dtype]]:
    return dtype, [dtype]


def _pair_rule(dtype: Dtype, wanted: Dtype | None) -> tuple[Dtype, list[Dtype]]:
    return dtype, [dtype, dtypes.int64]


def _first_of(greater: bool) -> Any:
    """Combine (value, position) pairs: the extreme value, nan before all, the first among
    equals.
    """

    def combine(a: Any, b: Any) -> Any:
        x, i = a
        y, j = b
        wins = (y > x) if greater else (y < x)
        tie = (x == y) | (s.isnan(x) & s.isnan(y))
        take = (wins & ~s.isnan(x)) | (s.isnan(y) & ~s.isnan(x)) | (tie & (j < i))
        return s.where(take, y, x), s.where(take, j, i)

    return combine


def _index_rule(dtype: Dtype, wanted: Dtype | None) -> tuple[Dtype, list[Dtype]]:
    return dtype, [dtypes.int64]


def _pair_kernel(name: str, greater: bool, place_only: bool = False) -> Reduction:
    kernel = ReductionKernel(
        name, ["x"], lambda x: (x, s.cast(s.index(), dtypes.int64)),
        ("lowest" if greater else "highest", _NOWHERE), _first_of(greater),
        (lambda value, place: place) if place_only else None,
    )  # fmt: skip
    return Reduction(kernel, _index_rule if place_only else _pair_rule)


_pairs = {True: _pair_kernel("max", True), False: _pair_kernel("min", False)}
_places = {True: _pair_kernel("argmax", True, True), False: _pair_kernel("argmin", False, True)}
_values = {
    True: Reduction(ReductionKernel("amax", ["x"], lambda x: x, "lowest", s.maximum), _same_rule),
    False: Reduction(ReductionKernel("amin", ["x"], lambda x: x, "highest", s.minimum), _same_rule),
}


def _check_nonempty(name: str, input: Tensor, dims: Dims) -> None:
    layout = input._layout
    if layout.numel:
        return
    if not dims:
        kind = IndexError if name in ("argmax", "argmin") else RuntimeError
        raise kind(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the "
            "reduction dim with the 'dim' argument."
        )
    for d in dims:
        if not layout.shape[d]:
            raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")


class SharedBackward(ReduceNode):
    """The elements that equal the result share the gradient."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """g / (number of extreme elements) at each of them."""
        x, result = self.unpack()
        mask = eq(x, self.spread(result))
        count = sum(mask, self.dims or None, True)
        share = self.spread(grads[0]) / count
        return (masked_fill(expand(share, *self.layout.shape), ~mask, 0),)


class SelectedBackward(ReduceNode):
    """The element at the index gets the gradient."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """Zeros, with the gradient where the index says."""
        from tritorch.ops.selection import scatter_zeros

        (index,) = self.unpack()
        g = grads[0]
        if g is None:
            return (None,)
        if not self.layout.ndim:
            return (g,)
        if not self.keepdim:
            g, index = unsqueeze(g, self.dims[0]), unsqueeze(index, self.dims[0])
        return (scatter_zeros(g, self.layout, self.dims[0], index),)


def _extreme(name: str, input: Tensor, dim: Any, keepdim: bool, greater: bool, node: Any) -> Tensor:
    dims = normalize_dims(name, dim, input._layout.ndim)
    _check_nonempty(name, input, dims)
    (result,) = _values[greater].run(input, dims, keepdim)
    recorded = record_reduction(result, node, input, dims, keepdim)
    if recorded is not None:
        recorded.save(input)
        recorded.save_outputs(result)
    return result


def _located(
    name: str, input: Tensor, dim: int, keepdim: bool, greater: bool, node_type: Any
) -> ValuesIndices:
    dims = normalize_dims(name, dim, input._layout.ndim)
    _check_nonempty(name, input, dims)
    values, indices = _pairs[greater].run(input, dims, keepdim)
    node = record_reduction(values, node_type, input, dims, keepdim)
    if node is not None:
        node.save(indices)
    made: ValuesIndices = getattr(return_types, name)(values, indices)
    return made


_NODES = {
    ("max", 0): node_class(SharedBackward, "MaxBackward1"),
    ("max", 1): node_class(SelectedBackward, "MaxBackward0"),
    ("min", 0): node_class(SharedBackward, "MinBackward1"),
    ("min", 1): node_class(SelectedBackward, "MinBackward0"),
}
_AMAX = node_class(SharedBackward, "AmaxBackward0")
_AMIN = node_class(SharedBackward, "AminBackward0")


def _max_or_min(name: str, greater: bool, input: Tensor, dim: Any, keepdim: bool) -> Any:
    if dim is None:
        return _extreme(name, input, None, False, greater, _NODES[name, 0])
    if isinstance(dim, Tensor):
        return maximum(input, dim) if greater else minimum(input, dim)
    return _located(name, input, dim, keepdim, greater, _NODES[name, 1])


@method("max")
@writes
def max(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The greatest element; with `dim` (values, indices) along it; with a tensor, `maximum`."""
    return _max_or_min("max", True, input, other if dim is None else dim, keepdim)


@method("min")
@writes
def min(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The smallest element; with `dim` (values, indices) along it; with a tensor, `minimum`."""
    return _max_or_min("min", False, input, other if dim is None else dim, keepdim)


@operation("reduction", numpy=np.max)
@writes
def amax(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The greatest element over `dim`; equal ones share the gradient."""
    return _extreme("amax", input, dim if dim != () else None, keepdim, True, _AMAX)


@operation("reduction", numpy=np.min)
@writes
def amin(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The smallest element over `dim`; equal ones share the gradient."""
    return _extreme("amin", input, dim if dim != () else None, keepdim, False, _AMIN)


@method("aminmax")
@writes
def aminmax(input: Tensor, *, dim: Any = None, keepdim: bool = False) -> return_types.aminmax:
    """Smallest and greatest."""
    return return_types.aminmax(amin(input, dim, keepdim), amax(input, dim, keepdim))


def _argument(name: str, input: Tensor, dim: Any, keepdim: bool, greater: bool) -> Tensor:
    dims = normalize_dims(name, dim, input._layout.ndim)
    _check_nonempty(name, input, dims)
    return _places[greater].run(input, dims, keepdim)[0]


@operation("reduction", numpy=np.argmax, differentiable=False)
@writes
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the greatest element is, the first of equal ones; of all elements, row-major."""
    return _argument("argmax", input, dim, keepdim, True)


@operation("reduction", numpy=np.argmin, differentiable=False)
@writes
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the smallest element is, the first of equal ones; of all elements, row-major."""
    return _argument("argmin", input, dim, keepdim, False)


# ---- log-sum-exp


def _log_sum(a: Any, b: Any) -> Any:
    x, sum_x = a
    y, sum_y = b
    top = s.maximum(x, y)
    # Equal to the top first: inf - inf is nan.
    return top, (
        s.where(x == top, sum_x, sum_x * s.exp(x - top))
        + s.where(y == top, sum_y, sum_y * s.exp(y - top))
    )


def _float_only(dtype: Dtype, wanted: Dtype | None) -> tuple[Dtype, list[Dtype]]:
    kind = dtype if dtype.is_floating_point else dtypes.get_default_dtype()
    return kind, [kind]


_logsumexp = Reduction(
    ReductionKernel(
        "logsumexp", ["x"], lambda x: (x, 0.0 * s.where(s.isfinite(x), x, 0.0) + 1.0),
        ("lowest", 0.0), _log_sum, lambda top, total, n: top + s.log(total),
    ),
    _float_only,
)  # fmt: skip


class LogsumexpBackward0(ReduceNode):
    """g * exp(x - result), the softmax."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """g * softmax(x)."""
        x, result = self.unpack()
        return (self.spread(grads[0]) * exp(x - self.spread(result)),)


def _numpy_logsumexp(x: Any, **options: Any) -> Any:
    return np.logaddexp.reduce(x, **options)


@operation("reduction", numpy=_numpy_logsumexp)
@writes
def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """log(sum(exp(input))) over `dim`; does not overflow."""
    dims = normalize_dims("logsumexp", dim, input._layout.ndim)
    (result,) = _logsumexp.run(input, dims, keepdim)
    node = record_reduction(result, LogsumexpBackward0, input, dims, keepdim)
    if node is not None:
        node.save(input)
        node.save_outputs(result)
    return result


# ---- norms


_norm2 = Reduction(
    ReductionKernel(
        "norm", ["x"], lambda x: x * x, 0.0, lambda a, b: a + b, lambda total, n: s.sqrt(total)
    ),
    _float_only,
)


class LinalgVectorNormBackward0(ReduceNode):
    """x * g / norm; 0 where the norm is 0."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """x * (g / norm)."""
        x, result = self.unpack()
        scale = masked_fill(grads[0] / result, eq(result, 0), 0)
        return (x * self.spread(scale),)


@writes
@takes("floating", "float8")
def vector_norm(
    x: Tensor, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """(sum |x| ** ord) ** (1 / ord) over `dim`; the greatest size for inf."""
    if dtype is not None:
        x = x.to(dtype)
    if not x._layout.dtype.is_floating_point:
        raise RuntimeError(
            "linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
            f"{x._layout.dtype}. Convert with .float() or pass dtype=."
        )
    ord = float(ord)
    dims = normalize_dims("norm", dim, x._layout.ndim)
    if ord == 2:
        (result,) = _norm2.run(x, dims, keepdim)
        node = record_reduction(result, LinalgVectorNormBackward0, x, dims, keepdim)
        if node is not None:
            node.save(x)
            node.save_outputs(result)
        return result
    chosen = dims or None
    if ord < 0 and not x._layout.numel:
        raise RuntimeError(
            f"linalg.vector_norm: cannot compute the {ord:g} norm on an empty tensor because the "
            "operation does not have an identity. Ask for numel() first."
        )
    size = x.abs()
    if ord == math.inf:
        return amax(size, chosen, keepdim)
    if ord == -math.inf:
        return amin(size, chosen, keepdim)
    if ord == 1:
        return sum(size, chosen, keepdim)
    if ord == 0:
        return sum(x.ne(0).to(x.dtype), chosen, keepdim)
    return sum(size**ord, chosen, keepdim) ** (1.0 / ord)


@operation("reduction", numpy=lambda x, **o: np.sqrt(np.sum(x * x, **o)), integers=False)
@takes("floating", "float8")
def norm(
    input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, *,
    dtype: Any = None, out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The vector norm over `dim` (all elements); `p`: a number or "fro" (2).

    With p="nuc" the sum of the singular values of the matrices in two dimensions.
    """
    if p is None or p == "fro":
        p = 2
    if p == "nuc":
        from tritorch.ops.matrix import matrix_norm

        plane = (-2, -1) if dim is None else dim
        return finished(matrix_norm(input, "nuc", plane, keepdim, dtype=dtype), out, "norm")
    if isinstance(p, str):
        raise RuntimeError(f"norm: p must be a number, 'fro' or 'nuc', got {p!r}.")
    return finished(vector_norm(input, p, dim, keepdim, dtype=dtype), out, "norm")


@takes("floating", "float8")
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The norm of the difference."""
    return norm(input - other, p)


method("dist")(dist)
