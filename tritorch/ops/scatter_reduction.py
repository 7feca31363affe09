"""Reductions through an index: scatter_reduce, index_reduce.

The gradients are written in operations, so they have gradients themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.layout import normalize_dim
from tritorch.ops.comparison import eq, where
from tritorch.ops.creation import ones_like, zeros_like
from tritorch.ops.declare import in_place, method, takes, writes
from tritorch.ops.selection import corner, gather, scatter, scatter_add, scattered
from tritorch.ops.views import expand, reshape
from tritorch.tensor import Tensor

_MEET = {"sum": "add", "prod": "multiply", "amax": "amax", "amin": "amin"}


def _limit(x: Tensor, upper: bool) -> Any:
    kind = x._layout.dtype
    if kind.is_floating_point:
        return float("inf") if upper else float("-inf")
    if kind.name == "bool":
        return upper
    limits = np.iinfo(kind.numpy)
    return int(limits.max if upper else limits.min)


def _identity(x: Tensor, reduce: str) -> Any:
    """What meets anything without a trace."""
    if reduce in ("amax", "amin"):
        return _limit(x, reduce == "amin")
    return 1 if reduce == "prod" else 0


def _counts(x: Tensor, dim: int, index: Tensor, src: Tensor, include_self: bool) -> Tensor:
    """How many elements meet at each place, 1 where none do."""
    start = ones_like(x.detach()) if include_self else zeros_like(x.detach())
    return scatter_add(start, dim, index, ones_like(src.detach())).clamp(min=1)


def _reduced(
    x: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, include_self: bool
) -> Tensor:
    """The result, without history."""
    x, src = x.detach(), src.detach()
    start = x if include_self else scatter(x, dim, index, _identity(x, reduce))
    if reduce != "mean":
        return scattered(start, dim, index, src, _MEET[reduce])
    total = scatter_add(start, dim, index, src)
    count = _counts(x, dim, index, src, include_self)
    return total / count if x._layout.dtype.is_floating_point else total // count


class ScatterReduceBackward0(Node):
    """The gradient goes to what was met, by its share in the result."""

    __slots__ = ("dim", "include_self", "reduce")
    dim: int
    include_self: bool
    reduce: str

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """(gradient of what was written to, gradient of the source)."""
        (g,) = grads
        x, src, index = self.unpack()
        own, source = getattr(self, f"_{self.reduce}")(g, x, src, index)
        if not self.include_self:
            own = scatter(own, self.dim, index, 0)
        return own, source

    def _sum(self, g: Tensor, x: Tensor, src: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        return g, gather(g, self.dim, index)

    def _mean(self, g: Tensor, x: Tensor, src: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        share = g / _counts(x, self.dim, index, src, self.include_self)
        return share, gather(share, self.dim, index)

    def _prod(self, g: Tensor, x: Tensor, src: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """The product of the others: the result divided by the factor, or where the factor is the
        only 0 among the sources, the product without it.
        """
        dim, include_self = self.dim, self.include_self
        filled = x.masked_fill(eq(x, 0), 1)
        own = g * scatter_reduce(filled, dim, index, src, "prod", include_self=include_self)
        own = own / filled
        is_zero = eq(src, 0)
        zeros = scatter_add(zeros_like(x.detach()), dim, index, is_zero.to(x._layout.dtype))
        single = is_zero & eq(gather(zeros, dim, index), 1)
        result = scatter_reduce(x, dim, index, src, "prod", include_self=include_self)
        without = scatter_reduce(
            x, dim, index, src.masked_fill(single, 1), "prod", include_self=include_self
        )
        divided = gather(g * result, dim, index) / src.masked_fill(is_zero, 1)
        return own, where(single, gather(g * without, dim, index), divided)

    def _amax(self, g: Tensor, x: Tensor, src: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Equal ones share the gradient."""
        dim, kind = self.dim, g._layout.dtype
        result = _reduced(x, dim, index, src, self.reduce, self.include_self)
        own = eq(x.detach(), result).to(kind)
        source = eq(src.detach(), gather(result, dim, index)).to(kind)
        start = own if self.include_self else scatter(own, dim, index, 0)
        share = g / scatter_add(start, dim, index, source).clamp(min=1)
        return own * share, source * gather(share, dim, index)

    _amin = _amax


@method("scatter_reduce")
@in_place
@writes
@takes("all")
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """A copy of input in which src meets what stands at the index: sum, prod, mean, amax or
    amin.

    `include_self=False`: what stood there does not count where anything is written.
    """
    if reduce not in (*_MEET, "mean"):
        raise RuntimeError(
            f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}."
        )
    if src._layout.dtype is not input._layout.dtype:
        raise RuntimeError(
            f"scatter_reduce(): Expected self.dtype to be equal to src.dtype, got "
            f"{input._layout.dtype} and {src._layout.dtype}. Cast one of them."
        )
    dim = normalize_dim("scatter_reduce", dim, input._layout.ndim)
    if src._layout.shape != index._layout.shape and src._layout.ndim == index._layout.ndim:
        src = corner(src, index._layout.shape)
    result = _reduced(input, dim, index, src, reduce, include_self)
    if (input._requires_grad or src._requires_grad) and mode.enabled:
        node = ScatterReduceBackward0((edge(input), edge(src)), (result._layout,))
        node.dim, node.reduce, node.include_self = dim, reduce, include_self
        node.save(input, src, index)
        result._grad_fn, result._requires_grad = node, True
    return result


@method("index_reduce")
@in_place
@writes
def index_reduce(
    input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *,
    include_self: bool = True,
) -> Tensor:  # fmt: skip
    """A copy of input in which slices of source meet those at the indices: prod, mean, amax or
    amin.
    """
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(
            f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got "
            f"{reduce}."
        )
    dim = normalize_dim("index_reduce", dim, input._layout.ndim)
    if index._layout.ndim > 1:
        raise IndexError("index_reduce(): Index is supposed to be a vector")
    shape = [1] * max(source._layout.ndim, 1)
    shape[dim] = index._layout.numel
    spread = expand(reshape(index, *shape), *source._layout.shape)
    return scatter_reduce(input, dim, spread, source, reduce, include_self=include_self)
