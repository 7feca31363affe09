"""Differences, integrals, covariances."""

from __future__ import annotations

from typing import Any

from tritorch.layout import normalize_dim
from tritorch.ops.declare import method, writes
from tritorch.ops.joining import cat
from tritorch.ops.linalg import matmul
from tritorch.ops.reduction import sum
from tritorch.ops.scan import cumsum
from tritorch.ops.views import narrow, reshape, select, squeeze, transpose
from tritorch.tensor import Tensor

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
