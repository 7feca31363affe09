"""Distances of all pairs of points: `cdist`, `pdist`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.dtypes import float32, float64, int32
from tritorch.errors import DtypeError
from tritorch.kernels.templates import distance as kernels
from tritorch.layout import Layout, broadcast_shapes
from tritorch.ops.arithmetic import abs
from tritorch.ops.comparison import eq, masked_fill, where
from tritorch.ops.creation import ones
from tritorch.ops.declare import operation, takes
from tritorch.ops.dispatch import Plans
from tritorch.ops.elementary import sign
from tritorch.ops.extrema import vector_norm
from tritorch.ops.joining import triu, triu_indices
from tritorch.ops.linalg import matmul
from tritorch.ops.memory import contiguous, to_dtype, zeros_like
from tritorch.ops.places import nonzero
from tritorch.ops.promotion import result_type
from tritorch.ops.reduction import sum
from tritorch.ops.selection import index_select
from tritorch.ops.views import expand, reshape, squeeze, transpose, unsqueeze
from tritorch.tensor import Tensor, empty

_direct = Plans(lambda key: kernels.plan_direct(*key))
_gradients = Plans(lambda key: kernels.plan_gradient(*key))
_products = Plans(lambda key: kernels.plan_by_products(*key))

#: from so many points on a side on Euclidean distances are made by a product, as PyTorch's
_MANY = 26
#: coordinates of all pairs from which points are turned, so that neighbours are read together
_TURNED = 1 << 14
_PRODUCTS = {
    None: None, "use_mm_for_euclid_dist_if_necessary": None, "use_mm_for_euclid_dist": True,
    "donot_use_mm_for_euclid_dist": False,
}  # fmt: skip


def _batch(x: Tensor, shape: tuple[int, ...]) -> tuple[Layout, Tensor]:
    """The points as one batch (batch, n, d) of a shape that they broadcast to; where they lie."""
    layout = x._layout
    if len(shape) == 2:
        single = (0, *layout.strides)
        return Layout.of(layout.dtype, (1, *layout.shape), single, layout.device), x
    flat = reshape(expand(x, *shape), -1, *shape[-2:])
    return flat._layout, flat


def _distances(x: Tensor, y: Tensor, batch: tuple[int, ...], p: float, products: Any) -> Tensor:
    """Distances (*batch, n, m), without a graph."""
    n, m, size = x._layout.shape[-2], y._layout.shape[-2], x._layout.shape[-1]
    kind = x._layout.dtype
    result = empty(Layout.contiguous(kind, (*batch, n, m), x._layout.device))
    if not result._layout.numel:
        return result
    if products is None:
        products = n >= _MANY or m >= _MANY
    rows, x = _batch(x, (*batch, n, size))
    others, y = _batch(y, (*batch, m, size))
    if p == 2 and products and size and kind in (float32, float64):
        plan = _products[rows, others]
    else:
        if result._layout.numel * size > _TURNED and others.strides[1] != 1:
            y = contiguous(transpose(reshape(y, *others.shape), 1, 2))
            others = transpose(y, 1, 2)._layout
        plan = _direct[rows, others, p]
    plan.launch(result._address, x._address, y._address)
    return result


def _one_side(weights: Tensor, d: Tensor, x: Tensor, y: Tensor, p: float, first: bool) -> Tensor:
    """What the points of one side get; weights and distances are dense (batch, n, m)."""
    layout = d._layout if first else transpose(d, 1, 2)._layout
    if not first:
        x, y = y, x
    plan = _gradients[layout, x._layout, y._layout, p]
    own = empty(plan.outputs[0])
    if own._layout.numel:
        plan.launch(own._address, weights._address, d._address, x._address, y._address)
    return own


class CdistBackward0(Node):
    """The differences' signs times |x - y|^(p - 1) / distance^(p - 1); 0 where the distance is."""

    __slots__ = ("p",)
    p: float

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """Gradients of both sets of points."""
        x, y, distances = self.unpack()
        (g,) = grads
        p = self.p
        if p == 0:
            return zeros_like(x), zeros_like(y)
        if p not in (1, math.inf):
            scale = distances if p == 2 else distances ** (p - 1)
            g = masked_fill(g / scale, eq(distances, 0), 0)
        if p == 2:
            return self._euclidean(g, x, y)
        if mode.enabled:
            return _composed(g, distances, x, y, p)
        batch = g._layout.shape[:-2]
        weights, d, points, others = (
            contiguous(reshape(expand(t, *batch, *t._layout.shape[-2:]), -1, *t._layout.shape[-2:]))
            for t in (g, distances, x, y)
        )
        return tuple(
            reshape(
                _one_side(weights, d, points, others, p, side == 0), *batch, *t._layout.shape[-2:]
            )
            if self.needs(side)
            else None
            for side, t in enumerate((x, y))
        )

    def _euclidean(self, weights: Tensor, x: Tensor, y: Tensor) -> tuple[Any, Any]:
        """Sums of differences by products of matrices."""
        own = other = None
        if self.needs(0):
            own = sum(weights, -1, True) * x - matmul(weights, y)
        if self.needs(1):
            turned = transpose(weights, -2, -1)
            other = sum(turned, -1, True) * y - matmul(turned, x)
        return own, other


def _composed(
    weights: Tensor, distances: Tensor, x: Tensor, y: Tensor, p: float
) -> tuple[Tensor, Tensor]:
    """The gradients in operations that have gradients themselves."""
    difference = unsqueeze(x, -2) - unsqueeze(y, -3)
    terms = sign(difference.detach())
    size = abs(difference)
    if p == math.inf:
        terms = masked_fill(terms, size.detach() != unsqueeze(distances.detach(), -1), 0)
    elif p != 1:
        terms = terms * where(eq(terms, 0), 1.0, size) ** (p - 1)
    terms = terms * unsqueeze(weights, -1)
    return sum(terms, -2), -sum(terms, -3)


def _cdist_cases() -> list[Any]:
    shapes = [((3, 4), (5, 4)), ((2, 3, 2), (2, 4, 2)), ((1, 3, 2), (2, 4, 2))]
    cases: list[Any] = [lambda make, x=x, y=y: ((make(*x), make(*y)), {}) for x, y in shapes]
    cases += [
        lambda make, p=p: ((make(2, 3, 6), make(4, 6)), {"p": p}) for p in (1.0, 3.5, math.inf)
    ]
    return [*cases, lambda make: ((make(30, 5), make(3, 5)), {})]


def _numpy_cdist(x: Any, y: Any, p: float = 2.0) -> Any:
    difference = np.abs(x[..., :, None, :] - y[..., None, :, :])
    return difference.max(-1) if p == math.inf else (difference**p).sum(-1) ** (1 / p)


@operation("product", method=False, operands=2, numpy=_numpy_cdist, cases=_cdist_cases())
@takes("floating")
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = None) -> Tensor:
    """The p-norm distance of every pair of rows.

    Args:
        compute_mode: whether Euclidean distances are made by a product of matrices, which is many
            times as fast and loses digits where points are close beside their lengths:
            `use_mm_for_euclid_dist_if_necessary` (None; from 26 rows on a side on),
            `use_mm_for_euclid_dist`, `donot_use_mm_for_euclid_dist`.

    Shape: x1 (*, n, d), x2 (*, m, d) to (*, n, m); the batches broadcast.
    """
    for side, x in enumerate((x1, x2), 1):
        if x._layout.ndim < 2:
            raise RuntimeError(
                f"cdist only supports at least 2D tensors, X{side} got: {x._layout.ndim}D."
            )
        if not x._layout.dtype.is_floating_point:
            raise DtypeError(
                f"cdist only supports floating-point dtypes, X{side} got: {x._layout.dtype}. "
                "Convert it with .float()."
            )
    if x1._layout.shape[-1] != x2._layout.shape[-1]:
        raise RuntimeError(
            "cdist: X1 and X2 must have the same number of columns. X1: "
            f"{x1._layout.shape[-1]} X2: {x2._layout.shape[-1]}"
        )
    if not p >= 0:
        raise RuntimeError(f"cdist only supports non-negative p values, got {p}.")
    if compute_mode not in _PRODUCTS:
        raise ValueError(
            f"{compute_mode} is not a valid value for compute_mode. Use one of "
            f"{', '.join(map(str, _PRODUCTS))}."
        )
    if x1._layout.dtype is not x2._layout.dtype:
        kind = result_type(x1, x2)
        x1, x2 = to_dtype(x1, kind), to_dtype(x2, kind)
    batch = x1._layout.shape[:-2]
    if batch != x2._layout.shape[:-2]:
        batch = broadcast_shapes("cdist", batch, x2._layout.shape[:-2])
    p = float(p)
    result = _distances(x1, x2, batch, p, _PRODUCTS[compute_mode])
    if (x1._requires_grad or x2._requires_grad) and mode.enabled:
        node = CdistBackward0((edge(x1), edge(x2)), (result._layout,))
        node.p = p
        node.save(x1, x2)
        result._grad_fn, result._requires_grad = node, True
        node.save_outputs(result)
    return result


@takes("floating")
def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The distances of all pairs of rows of a matrix (n, d), n * (n - 1) / 2 of them."""
    if input._layout.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input._layout.ndim}D.")
    n = input._layout.shape[0]
    if p == math.inf:  # what is no number counts here, in cdist it does not, as in PyTorch
        first, second = triu_indices(n, n, 1, device=input._layout.device)
        return vector_norm(input[first] - input[second], p, -1)
    whole = cdist(input, input, p, "donot_use_mm_for_euclid_dist")
    pairs = triu(ones(n, n, dtype=int32, device=input._layout.device), 1)
    return index_select(reshape(whole, -1), 0, squeeze(nonzero(reshape(pairs, -1)), 1))
