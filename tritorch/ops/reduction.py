"""Sums, means, extrema and their kin over any dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tritorch import dtypes
from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.dtypes import dtype as Dtype
from tritorch.kernels import scalar as s
from tritorch.kernels.reduction import ReductionKernel
from tritorch.layout import Layout, normalize_dim
from tritorch.ops.declare import method, operation
from tritorch.ops.dispatch import Plans
from tritorch.ops.placement import resolve_dtype
from tritorch.ops.view_nodes import node_class
from tritorch.ops.views import expand, unsqueeze
from tritorch.tensor import Tensor, empty

Dims = tuple[int, ...]


def normalize_dims(name: str, dim: Any, ndim: int) -> Dims:
    """The reduced dimensions, sorted; an empty tuple means all of them."""
    if dim is None:
        return ()
    if isinstance(dim, int):
        return (normalize_dim(name, dim, ndim),) if ndim else ()
    dims = tuple(sorted(normalize_dim(name, d, ndim) for d in dim))
    if len(set(dims)) != len(dims):
        raise RuntimeError(f"{name}: dim {list(dim)} appears multiple times in the list of dims")
    return dims


def restored(g: Tensor, shape: tuple[int, ...], dims: Dims, keepdim: bool) -> Tensor:
    """A reduced tensor with its reduced dimensions as size 1 again; it broadcasts to `shape`."""
    if keepdim or not dims:
        return g
    for d in dims:
        g = unsqueeze(g, d)
    return g


class Reduction:
    """Plans and launches of one ReductionKernel.

    Args:
        kernel: the kernel.
        compute: from the input's dtype and `dtype=` to (dtype on load, dtypes of the results).
    """

    def __init__(
        self, kernel: ReductionKernel, rule: Callable[[Dtype, Dtype | None], tuple[Dtype, list[Dtype]]]
    ) -> None:
        self.kernel = kernel
        self.rule = rule
        self.plans = Plans(self._plan)

    def _plan(self, key: tuple[Any, ...]) -> Any:
        layout, dims, keepdim, dtype, *scalars = key
        compute, results = self.rule(layout.dtype, dtype)
        return self.kernel.plan(
            [layout], dims, keepdim, [compute], results, **dict(scalars)
        )

    def run(
        self, input: Tensor, dims: Dims, keepdim: bool, dtype: Dtype | None = None, **scalars: float
    ) -> list[Tensor]:
        """The results, without history."""
        plan = self.plans[(input._layout, dims, keepdim, dtype, *scalars.items())]
        results = [empty(layout) for layout in plan.outputs]
        plan.launch(*[r._address for r in results], input._address)
        return results


def _sum_rule(dtype: Dtype, wanted: Dtype | None) -> tuple[Dtype, list[Dtype]]:
    kind = wanted or (dtype if dtype.is_floating_point else dtypes.int64)
    return kind, [kind]


_sum = Reduction(
    ReductionKernel("sum", ["x"], lambda x: x, 0, lambda a, b: a + b), _sum_rule
)


class ReduceNode(Node):
    """What the gradients of reductions have in common."""

    __slots__ = ("dims", "keepdim", "layout")
    dims: Dims
    keepdim: bool
    layout: Layout

    def spread(self, g: Tensor) -> Tensor:
        """A reduced tensor in a shape that broadcasts to the input's."""
        return restored(g, self.layout.shape, self.dims, self.keepdim)


class SumBackward(ReduceNode):
    """The gradient goes to every element."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient, expanded."""
        return (expand(self.spread(grads[0]), *self.layout.shape),)


_Sum0 = node_class(SumBackward, "SumBackward0")
_Sum1 = node_class(SumBackward, "SumBackward1")


def record_reduction(
    result: Tensor, node_type: type[ReduceNode], input: Tensor, dims: Dims, keepdim: bool
) -> Any:
    """The node of a result, None where no gradient is wanted."""
    if not (input._requires_grad and mode.enabled):
        return None
    node = node_type((edge(input),), (result._layout,))
    node.dims, node.keepdim, node.layout = dims, keepdim, input._layout
    result._grad_fn = node
    result._requires_grad = True
    return node


@operation("reduction", numpy=np.sum)
def sum(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The sum over `dim` (all dimensions); integers and bool give int64."""
    kind = None if dtype is None else resolve_dtype(dtype, "sum")
    dims = normalize_dims("sum", dim, input._layout.ndim)
    (result,) = _sum.run(input, dims, keepdim, kind)
    record_reduction(result, _Sum0 if dim is None else _Sum1, input, dims, keepdim)
    return result if out is None else out.resize_(*result.shape).copy_(result)  # type: ignore[attr-defined, no-any-return]


@method("sum_to_size")
def sum_to_size(input: Tensor, *size: Any) -> Tensor:
    """Summed over the dimensions in which `size` is 1 or missing."""
    shape = tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else tuple(size)
    own = input._layout.shape
    if own == shape:
        return input
    pad = len(own) - len(shape)
    lead = tuple(range(pad))
    ones = tuple(
        d for d in range(pad, len(own)) if shape[d - pad] == 1 and own[d] != 1
    )
    result = sum(input, lead + ones, True) if lead or ones else input
    from tritorch.ops.views import reshape

    if result._layout.numel != Layout.contiguous(dtypes.bool, shape).numel:
        raise RuntimeError(
            f"sum_to_size: size {list(shape)} is not expandable to size {list(own)}."
        )
    return reshape(result, *shape) if pad else result  # type: ignore[no-any-return]
