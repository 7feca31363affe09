"""Running sums, products and extrema along a dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tritorch import dtypes
from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.dtypes import dtype as Dtype
from tritorch.kernels import scalar as s
from tritorch.kernels.scan import ScanKernel
from tritorch.layout import normalize_dim
from tritorch.ops import return_types
from tritorch.ops.declare import in_place, method, operation, takes, writes
from tritorch.ops.dispatch import Plans
from tritorch.ops.output import finished
from tritorch.ops.placement import resolve_dtype
from tritorch.ops.return_types import ValuesIndices
from tritorch.tensor import Tensor, empty


class Scan:
    """Plans and launches of one ScanKernel."""

    def __init__(self, kernel: ScanKernel, indices: bool = False) -> None:
        self.kernel = kernel
        self.indices = indices
        self.plans = Plans(self._plan)

    def _plan(self, key: tuple[Any, ...]) -> Any:
        layout, dim, kind, reverse = key
        results = [kind, dtypes.int64] if self.indices else [kind]
        return self.kernel.plan([layout], dim, [kind], results, reverse=reverse)

    def run(self, input: Tensor, dim: int, kind: Dtype, reverse: bool = False) -> list[Tensor]:
        """The results, without history."""
        plan = self.plans[input._layout, dim, kind, reverse]
        results = [empty(layout) for layout in plan.outputs]
        plan.launch(*[r._address for r in results], input._address)
        return results


_sum = Scan(ScanKernel("cumsum", ["x"], lambda x: x, 0, lambda a, b: a + b))
_product = Scan(ScanKernel("cumprod", ["x"], lambda x: x, 1, lambda a, b: a * b))


def _kind(name: str, input: Tensor, dtype: Any) -> Dtype:
    own = input._layout.dtype
    return resolve_dtype(dtype, name, own if own.is_floating_point else dtypes.int64)


class ScanNode(Node):
    """What the nodes of scans keep."""

    __slots__ = ("dim", "reverse")
    dim: int
    reverse: bool


class CumsumBackward0(ScanNode):
    """A running sum the other way."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient summed from the other end."""
        return (_cumsum(grads[0], self.dim, grads[0]._layout.dtype, not self.reverse),)


def _cumsum(input: Tensor, dim: int, kind: Dtype, reverse: bool) -> Tensor:
    (result,) = _sum.run(input, dim, kind, reverse)
    if input._requires_grad and mode.enabled:
        node = CumsumBackward0((edge(input),), (result._layout,))
        node.dim, node.reverse = dim, reverse
        result._grad_fn, result._requires_grad = node, True
    return result


@operation("scan", numpy=np.cumsum)
@in_place
@takes("all")
def cumsum(input: Tensor, dim: int, *, dtype: Any = None, out: Tensor | None = None) -> Tensor:
    """The sums of the elements up to each one; integers and bool give int64."""
    dim = normalize_dim("cumsum", dim, input._layout.ndim)
    return finished(_cumsum(input, dim, _kind("cumsum", input, dtype), False), out, "cumsum")


class CumprodBackward0(ScanNode):
    """d y_k / d x_i is the product of the others up to k."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The reverse running sum of g * y, over x; element by element where x is 0."""
        x, y = self.unpack()
        (g,) = grads
        if bool((x != 0).all()):
            return (_cumsum(g * y, self.dim, g._layout.dtype, True) / x,)
        from tritorch.ops.joining import stack
        from tritorch.ops.reduction import sum
        from tritorch.ops.views import narrow, select

        size = x._layout.shape[self.dim]
        parts = []
        for i in range(size):
            ahead = narrow(g, self.dim, i, size - i)
            before = select(cumprod(x, self.dim), self.dim, i - 1).unsqueeze(self.dim) if i else 1.0
            behind = narrow(x, self.dim, i + 1, size - i - 1)
            total = select(ahead, self.dim, 0).unsqueeze(self.dim) * before
            if i + 1 < size:
                rest = narrow(ahead, self.dim, 1, size - i - 1) * cumprod(behind, self.dim)
                total = total + sum(rest * before, self.dim, True)
            parts.append(total.squeeze(self.dim))
        return (stack(parts, self.dim),)


@operation("scan", numpy=np.cumprod)
@in_place
@takes("all")
def cumprod(input: Tensor, dim: int, *, dtype: Any = None, out: Tensor | None = None) -> Tensor:
    """The products of the elements up to each one; integers and bool give int64."""
    dim = normalize_dim("cumprod", dim, input._layout.ndim)
    (result,) = _product.run(input, dim, _kind("cumprod", input, dtype))
    if input._requires_grad and mode.enabled:
        node = CumprodBackward0((edge(input),), (result._layout,))
        node.dim, node.reverse = dim, False
        node.save(input)
        result._grad_fn, result._requires_grad = node, True
        node.save_outputs(result)
    return finished(result, out, "cumprod")


def exclusive_product(x: Tensor, dim: int) -> Tensor:
    """At each place the product of all other elements along `dim`; exact where some are 0."""
    from tritorch.ops.creation import ones
    from tritorch.ops.joining import cat, flip
    from tritorch.ops.views import narrow

    size = x._layout.shape[dim] if x._layout.ndim else 1
    if not x._layout.ndim or not size:
        return ones(*x._layout.shape, dtype=x._layout.dtype, device=x._layout.device)
    shape = list(x._layout.shape)
    shape[dim] = 1
    one = ones(*shape, dtype=x._layout.dtype, device=x._layout.device)

    def before(t: Tensor) -> Tensor:
        if size == 1:
            return one
        return cat([one, cumprod(narrow(t, dim, 0, size - 1), dim)], dim)

    return before(x) * flip(before(flip(x, [dim])), [dim])


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


_logarithm = Scan(
    ScanKernel(
        "logcumsumexp",
        ["x"],
        lambda x: (x, 0.0 * s.where(s.isfinite(x), x, 0.0) + 1.0),
        ("lowest", 0.0),
        _log_sum,
        lambda top, total, n: top + s.log(total),
    )
)


class LogcumsumexpBackward0(ScanNode):
    """exp(x) times the sums from each place on of g * exp(-y)."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """Positive and negative gradients apart, as logarithms, so that nothing overflows."""
        from tritorch.ops.comparison import where

        x, y = self.unpack()
        (g,) = grads
        logs, parts = where(g != 0, g, 1).abs().log(), []
        least = dtypes.finfo(g._layout.dtype).min  # with -inf a second derivative would be nan
        for chosen in (g > 0, g < 0):
            part = where(chosen, logs, least) - y
            parts.append((_logcumsumexp(part, self.dim, not self.reverse) + x).exp())
        return (parts[0] - parts[1],)


def _logcumsumexp(input: Tensor, dim: int, reverse: bool) -> Tensor:
    (result,) = _logarithm.run(input, dim, input._layout.dtype, reverse)
    if input._requires_grad and mode.enabled:
        node = LogcumsumexpBackward0((edge(input),), (result._layout,))
        node.dim, node.reverse = dim, reverse
        node.save(input)
        result._grad_fn, result._requires_grad = node, True
        node.save_outputs(result)
    return result


@method("logcumsumexp")
@writes
@takes("all")
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """log of the running sums of exp(input); does not overflow."""
    dim = normalize_dim("logcumsumexp", dim, input._layout.ndim)
    return _logcumsumexp(input, dim, False)


# ---- extrema


def _running(greater: bool) -> Any:
    """The later of equal ones, and of nans: blocks may be combined in any order."""

    def combine(a: Any, b: Any) -> Any:
        x, i = a
        y, j = b
        same = (y == x) | (s.isnan(y) & s.isnan(x))
        wins = ((y > x) if greater else (y < x)) | (s.isnan(y) & ~s.isnan(x))
        take = wins | (same & (j > i))
        return s.where(take, y, x), s.where(take, j, i)

    return combine


_extrema = {
    greater: Scan(
        ScanKernel(
            "cummax" if greater else "cummin", ["x"],
            lambda x: (x, s.cast(s.index(), dtypes.int64)),
            ("lowest" if greater else "highest", -1), _running(greater),
        ),
        indices=True,
    )
    for greater in (True, False)
}  # fmt: skip


class CumulativeBackward(ScanNode):
    """The gradient goes to the elements that were the extreme."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """Sums of the gradients by index."""
        from tritorch.ops.memory import zeros_like
        from tritorch.ops.selection import scatter_add

        (index,) = self.unpack()
        return (scatter_add(zeros_like(grads[0]), self.dim, index, grads[0]),)


def _cumulative(input: Tensor, dim: int, greater: bool, name: str) -> ValuesIndices:
    dim = normalize_dim(name, dim, input._layout.ndim)
    values, indices = _extrema[greater].run(input, dim, input._layout.dtype)
    if input._requires_grad and mode.enabled:
        node = CumulativeBackward((edge(input),), (values._layout,))
        node.dim, node.reverse = dim, False
        node.save(indices)
        values._grad_fn, values._requires_grad = node, True
    made: ValuesIndices = getattr(return_types, name)(values, indices)
    return made


@method("cummax")
@writes
@takes("all")
def cummax(input: Tensor, dim: int) -> ValuesIndices:
    """The greatest element up to each one, and where it is."""
    return _cumulative(input, dim, True, "cummax")


@method("cummin")
@writes
@takes("all")
def cummin(input: Tensor, dim: int) -> ValuesIndices:
    """The smallest element up to each one, and where it is."""
    return _cumulative(input, dim, False, "cummin")
