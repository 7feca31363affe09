"""Making views, and the nodes behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.autograd.views import as_view
from tritorch.layout import Layout
from tritorch.ops.memory import copy_into, fill
from tritorch.tensor import Tensor, empty, wrap

#: a view operation with everything but the tensor fixed
View = Callable[[Tensor], Tensor]
AnyNode = TypeVar("AnyNode", bound=Node)


class InverseNode(Node):
    """Backward of a view that keeps all elements: the inverse view of the gradient."""

    __slots__ = ("inverse",)
    inverse: View

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient seen as the input was."""
        return (self.inverse(grads[0]),)


class PartNode(Node):
    """Backward of a view of some elements: the gradient there, zeros elsewhere."""

    __slots__ = ("layout", "view")
    view: View
    layout: Layout

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """Zeros of the input's shape, the gradient where the view is."""
        return (place(grads[0], self.layout, self.view),)


class PartsNode(Node):
    """Backward of views that are all parts of their input along a dimension: they are joined."""

    __slots__ = ("dim", "stacked")
    dim: int
    stacked: bool

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradients side by side, zeros where none arrived."""
        from tritorch.ops.joining import cat, stack
        from tritorch.ops.side_by_side import joined

        if all(g is not None for g in grads):
            whole = joined(grads, self.dim, self.stacked)
            if whole is not None:
                return (whole,)
        absent = {layout for g, layout in zip(grads, self.output_layouts) if g is None}
        missing = {layout: zeros(layout) for layout in absent}
        parts = [
            missing[layout] if g is None else g for g, layout in zip(grads, self.output_layouts)
        ]
        return (stack(parts, self.dim) if self.stacked else cat(parts, self.dim),)


class PlaceBackward0(Node):
    """Backward of `place`: the view of the gradient."""

    __slots__ = ("view",)
    view: View

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """What the view shows of the gradient."""
        return (self.view(grads[0]),)


def zeros(layout: Layout) -> Tensor:
    """Dense zeros."""
    made = empty(Layout.contiguous(layout.dtype, layout.shape, layout.device))
    fill(made, 0)
    return made


def place(
    part: Tensor, layout: Layout, view: View, around: float = 0, exactly: bool = False
) -> Tensor:
    """Zeros of a layout's shape, with `part` where `view` shows; differentiable in `part`.

    Args:
        view: shows each element at most once.
        around: stands elsewhere instead of zero.
        exactly: the result has this layout, which is dense, instead of a contiguous one.
    """
    kind = part._layout.dtype
    whole = empty(layout if exactly else Layout.contiguous(kind, layout.shape, layout.device))
    fill(whole, around)
    enabled, mode.enabled = mode.enabled, False
    try:
        copy_into(view(whole), part)
    finally:
        mode.enabled = enabled
    if part._requires_grad and mode.enabled:
        node = PlaceBackward0((edge(part),), (whole._layout,))
        node.view = view
        whole._grad_fn = node
        whole._requires_grad = True
    return whole


_classes: dict[tuple[type[Node], str], type[Node]] = {}


def node_class(base: type[AnyNode], name: str) -> type[AnyNode]:
    """A node class of this name, such as TransposeBackward0."""
    found = cast("type[AnyNode] | None", _classes.get((base, name)))
    if found is None:
        found = type(name, (base,), {"__slots__": (), "__module__": "tritorch.autograd"})
        _classes[base, name] = found
    return found


def inverse_view(
    source: Tensor, layout: Layout, node_type: type[InverseNode], inverse: View, offset: int = 0
) -> Tensor:
    """A view of all elements of `source`; offset in bytes."""
    view = wrap(source._storage, layout, source._address + offset)
    if source._requires_grad and mode.enabled:
        node = node_type((edge(source),), (layout,))
        node.inverse = inverse
        view._grad_fn = node
        view._requires_grad = True
    return as_view(view, source)


def part_view(
    source: Tensor,
    layout: Layout,
    offset: int,
    node_type: type[PartNode],
    again: View,
    creation: int = 0,
) -> Tensor:
    """A view of some elements of `source`; offset in bytes, `again` makes it of another tensor."""
    view = wrap(source._storage, layout, source._address + offset)
    if source._requires_grad and mode.enabled:
        node = node_type((edge(source),), (layout,))
        node.view = again
        node.layout = source._layout
        view._grad_fn = node
        view._requires_grad = True
    return as_view(view, source, creation)


def parts_views(
    source: Tensor,
    parts: Sequence[tuple[Layout, int]],
    node_type: type[PartsNode],
    dim: int,
    creation: int,
) -> tuple[Tensor, ...]:
    """Views (layout, offset in bytes) that together are `source`, with one node for all.

    `creation` says what the error of an in-place operation on one of them tells.
    """
    node = None
    if source._requires_grad and mode.enabled:
        node = node_type((edge(source),), tuple(layout for layout, _ in parts))
        node.dim = dim
        node.stacked = bool(parts) and parts[0][0].ndim < source._layout.ndim
    views = []
    for number, (layout, offset) in enumerate(parts):
        view = wrap(source._storage, layout, source._address + offset)
        if node is not None:
            view._grad_fn, view._requires_grad, view._output_nr = node, True, number
        views.append(as_view(view, source, creation))
    return tuple(views)
