"""Distances, differences, integrals, covariances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.kernels import scalar as s
from tritorch.kernels.reduction import ReductionKernel
from tritorch.layout import Layout, broadcast_shapes, normalize_dim
from tritorch.ops.comparison import eq, masked_fill
from tritorch.ops.declare import method, operation, takes, writes
from tritorch.ops.dispatch import Plans
from tritorch.ops.elementary import isnan
from tritorch.ops.extrema import vector_norm
from tritorch.ops.joining import cat
from tritorch.ops.linalg import matmul
from tritorch.ops.reduction import sum
from tritorch.ops.scan import cumsum
from tritorch.ops.views import expand, narrow, reshape, select, squeeze, transpose, unsqueeze
from tritorch.tensor import Tensor, empty

# ---- distances

_distance = ReductionKernel(
    "cdist",
    ["x", "y"],
    lambda x, y: (x - y) * (x - y),
    0.0,
    lambda a, b: a + b,
    lambda total, n: s.sqrt(total),
)


def _distance_plan(key: tuple[Layout, Layout]) -> Any:
    kind = key[0].dtype
    return _distance.plan(key, (len(key[0].shape) - 1,), False, [kind, kind], [kind])


_distances = Plans(_distance_plan)


class CdistBackward0(Node):
    """g / distance times (x - y), summed by products of matrices; 0 where the distance is 0."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """Gradients of both sets of points."""
        x, y, distances = self.unpack()
        weights = masked_fill(grads[0] / distances, eq(distances, 0), 0)
        own = other = None
        if self.needs(0):
            own = sum(weights, -1, True) * x - matmul(weights, y)
        if self.needs(1):
            turned = transpose(weights, -2, -1)
            other = sum(turned, -1, True) * y - matmul(turned, x)
        return own, other


def _cdist_cases() -> list[Any]:
    shapes = [((3, 4), (5, 4)), ((2, 3, 2), (2, 4, 2)), ((1, 3, 2), (2, 4, 2))]
    return [lambda make, x=x, y=y: ((make(*x), make(*y)), {}) for x, y in shapes]


def _numpy_cdist(x: Any, y: Any) -> Any:
    difference = x[..., :, None, :] - y[..., None, :, :]
    return (difference * difference).sum(-1) ** 0.5


@operation("product", method=False, operands=2, numpy=_numpy_cdist, cases=_cdist_cases())
@takes("all")
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = None) -> Tensor:
    """The p-norm distance of every pair of rows.

    Shape: x1 (*, n, d), x2 (*, m, d) to (*, n, m).
    """
    if x1._layout.ndim < 2 or x2._layout.ndim < 2:
        raise RuntimeError(
            "cdist only supports at least 2D tensors, got a tensor of fewer dimensions."
        )
    if x1._layout.shape[-1] != x2._layout.shape[-1]:
        raise RuntimeError(
            f"cdist: X1 and X2 must have the same number of columns. X1: {x1._layout.shape[-1]} "
            "X2: "
            f"{x2._layout.shape[-1]}"
        )
    rows, columns = unsqueeze(x1.detach(), -2), unsqueeze(x2.detach(), -3)
    if p != 2 or x1._layout.dtype is not x2._layout.dtype:
        difference = unsqueeze(x1, -2) - unsqueeze(x2, -3)
        if p == math.inf:  # infinities that cancel do not count, as in PyTorch
            difference = masked_fill(difference, isnan(difference.detach()), 0)
        return vector_norm(difference, p, -1)
    shape = broadcast_shapes("cdist", rows._layout.shape, columns._layout.shape)
    rows, columns = expand(rows, *shape), expand(columns, *shape)
    plan = _distances[rows._layout, columns._layout]
    result = empty(plan.outputs[0])
    plan.launch(result._address, rows._address, columns._address)
    if (x1._requires_grad or x2._requires_grad) and mode.enabled:
        node = CdistBackward0((edge(x1), edge(x2)), (result._layout,))
        node.save(x1, x2)
        result._grad_fn, result._requires_grad = node, True
        node.save_outputs(result)
    return result


# ---- differences and integrals


@method("diff")
@writes
def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None
) -> Tensor:
    """Differences of neighbours along `dim`, n times."""
    if not input._layout.ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional. Use reshape(1).")
    if n < 0:
        raise RuntimeError(f"diff: order must be non-negative but got {n}.")
    dim = normalize_dim("diff", dim, input._layout.ndim)
    parts = [part for part in (prepend, input, append) if part is not None]
    if len(parts) > 1:
        input = cat(parts, dim)
    for _ in range(n):
        size = input._layout.shape[dim]
        if not size:
            break
        later, earlier = narrow(input, dim, 1, size - 1), narrow(input, dim, 0, size - 1)
        input = later ^ earlier if input._layout.dtype.category == 0 else later - earlier
    return input


def _areas(y: Tensor, x: Any, dx: Any, dim: int) -> Tensor:
    size = y._layout.shape[dim]
    heights = narrow(y, dim, 1, size - 1) + narrow(y, dim, 0, size - 1)
    if x is None:
        return heights * (0.5 if dx is None else 0.5 * dx)
    if x._layout.ndim == 1 and y._layout.ndim > 1:
        shape = [1] * y._layout.ndim
        shape[dim] = -1
        x = x.reshape(shape)
    return heights * diff(x, 1, dim) * 0.5


def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """The integral along `dim` by the trapezoidal rule, at points x or at distance dx."""
    dim = normalize_dim("trapezoid", dim, y._layout.ndim)
    size = y._layout.shape[dim]
    if not size:
        return sum(y, dim) * 1.0
    if x is None:
        total: Tensor = sum(y, dim) - (select(y, dim, 0) + select(y, dim, size - 1)) * 0.5
        return total if dx is None else total * dx
    result: Tensor = sum(_areas(y, x, dx, dim), dim)
    return result


trapz = trapezoid


def cumulative_trapezoid(
    y: Tensor, x: Tensor | None = None, *, dx: Any = None, dim: int = -1
) -> Tensor:
    """The integrals up to each point by the trapezoidal rule."""
    dim = normalize_dim("cumulative_trapezoid", dim, y._layout.ndim)
    result: Tensor = cumsum(_areas(y, x, dx, dim), dim)
    return result


# ---- covariance


@method("cov")
def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None,
    aweights: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The covariance matrix of variables in rows, observations in columns.

    Args:
        correction: what is taken from the number of observations.
        fweights: how often each observation counts (whole numbers). aweights: how much.
    """
    if input._layout.ndim > 2:
        raise RuntimeError(
            f"cov(): expected input to have two or fewer dimensions, got {input._layout.ndim}."
        )
    rows = reshape(input, 1, -1) if input._layout.ndim < 2 else input
    observations = rows._layout.shape[1]
    weights = _observation_weights(observations, fweights, aweights)
    total: Any = observations if weights is None else sum(weights, 0)
    weighted = rows if weights is None else rows * weights
    centred = rows - (sum(weighted, 1) / total).unsqueeze(1)
    count = total - correction
    if aweights is not None and correction:
        count = total - correction * sum(weights * aweights, 0) / total
    count = count.clamp(min=0) if isinstance(count, Tensor) else max(count, 0)
    other = centred if weights is None else centred * weights
    result = matmul(centred, transpose(other, 0, 1)) / count
    return squeeze(result)


def _observation_weights(count: int, fweights: Any, aweights: Any) -> Any:
    """The product of both, or None. Raises where they do not fit."""
    product = None
    for name, weights, floating in (
        ("fweights", fweights, False), ("aweights", aweights, True),
    ):  # fmt: skip
        if weights is None:
            continue
        if weights._layout.shape != (count,):
            raise RuntimeError(
                f"cov(): expected {name} to have one dimension of {count} observations, got shape "
                f"{list(weights._layout.shape)}."
            )
        if weights._layout.dtype.is_floating_point is not floating:
            raise RuntimeError(
                f"cov(): expected {name} to have {'floating point' if floating else 'integral'} "
                f"dtype but got {weights._layout.dtype}."
            )
        if weights._layout.numel and bool((weights < 0).any()):
            raise RuntimeError(f"cov(): {name} cannot be negative.")
        product = weights if product is None else product * weights
    return product


@method("corrcoef")
def corrcoef(input: Tensor) -> Tensor:
    """The correlation coefficients of variables in rows."""
    covariance = cov(input)
    if not covariance._layout.ndim:
        return covariance / covariance
    scale = covariance.diagonal().sqrt()
    return (covariance / scale.unsqueeze(1) / scale).clamp(-1, 1)
