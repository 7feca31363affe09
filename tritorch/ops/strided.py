"""Views by strides: `as_strided`, `unfold`; their gradients add up where elements overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.autograd.views import as_view
from tritorch.layout import Layout, Shape, normalize_dim
from tritorch.ops.declare import operation
from tritorch.ops.view_nodes import place
from tritorch.tensor import Tensor, wrap


class AsStridedBackward0(Node):
    """Each element of the gradient goes where the view read it."""

    __slots__ = ("layout", "offset", "shape", "start", "strides")
    layout: Layout
    shape: Shape
    strides: Shape
    offset: int
    start: int

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient in the geometry of the input."""
        return (strided_gradient(grads[0], self.layout, self.shape, self.strides, self.offset),)


def as_strided(
    input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Tensor:
    """A view by sizes, strides (elements) and offset into the storage (elements).

    Raises:
        RuntimeError: it would reach beyond the storage.
    """
    layout = input._layout
    item = layout.dtype.itemsize
    own = input.storage_offset()
    offset = own if storage_offset is None else storage_offset
    if len(size) != len(stride):
        raise RuntimeError(
            f"as_strided: mismatch in length of strides and shape: {list(stride)}, {list(size)}."
        )
    new = Layout.of(layout.dtype, tuple(size), tuple(stride), layout.device)
    storage = input._storage
    if min(new.strides, default=0) < 0 or offset < 0:
        raise RuntimeError(
            f"as_strided: Negative strides are not supported at the moment, got strides: {stride}"
        )
    if (offset + new.extent) * item > storage.nbytes and new.numel:
        raise RuntimeError(
            f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset}, and "
            f"itemsize {item} requiring a storage size of {(offset + new.extent) * item} are out "
            "of "
            f"bounds for storage of size {storage.nbytes}"
        )
    view = wrap(storage, new, storage.address + offset * item)
    if input._requires_grad and mode.enabled:
        node = AsStridedBackward0((edge(input),), (new,))
        node.layout = layout
        node.shape, node.strides, node.offset = new.shape, new.strides, offset - own
        view._grad_fn = node
        view._requires_grad = True
    return as_view(view, input)


def _disjoint(shape: Shape, strides: Shape) -> bool:
    """Whether no two indices reach the same element (a sufficient condition)."""
    reach = 0
    for stride, size in sorted(zip(strides, shape)):
        if size == 1:
            continue
        if stride <= reach:
            return False
        reach += stride * (size - 1)
    return True


def strided_gradient(
    g: Tensor, layout: Layout, shape: Shape, strides: Shape, offset: int
) -> Tensor:
    """The gradient of the input of `as_strided`, differentiable.

    Args:
        layout: of the input. offset: of the view from the input, in elements.
    """
    if not layout.is_dense or offset < 0:
        raise NotImplementedError(
            "as_strided: no gradient for an input with gaps or a view in front of it. Use clone()."
        )
    # The input's memory as one run of elements, seen through the view, and back in its own order.
    flat = Layout.contiguous(g._layout.dtype, (layout.numel,), layout.device)
    if _disjoint(shape, strides):
        run = place(g, flat, lambda x: as_strided(x, shape, strides, x.storage_offset() + offset))
    else:
        run = _overlapping(g, flat, shape, strides, offset)
    return as_strided(run, layout.shape, layout.strides, run.storage_offset())


def _overlapping(g: Tensor, flat: Layout, shape: Shape, strides: Shape, offset: int) -> Tensor:
    from tritorch.ops.creation import arange, zeros
    from tritorch.ops.memory import contiguous
    from tritorch.ops.selection import index_add
    from tritorch.ops.views import reshape

    places = arange(flat.numel, device=flat.device)
    seen = contiguous(as_strided(places, shape, strides, offset))
    total = zeros(flat.numel, dtype=flat.dtype, device=flat.device)
    return index_add(total, 0, reshape(seen, -1), reshape(g, -1))


class UnfoldBackward0(Node):
    """Windows add up where they overlap."""

    __slots__ = ("dim", "layout", "size", "step")
    layout: Layout
    dim: int
    size: int
    step: int

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient in the shape of the input."""
        layout = self.layout
        if self.step >= self.size:
            return (place(grads[0], layout, lambda x: unfold(x, self.dim, self.size, self.step)),)
        return (_folded(grads[0], layout, self.dim, self.size, self.step),)


def _folded(g: Tensor, layout: Layout, dim: int, size: int, step: int) -> Tensor:
    from tritorch.ops.creation import arange, zeros
    from tritorch.ops.selection import index_add
    from tritorch.ops.views import expand, flatten, movedim, reshape, unsqueeze

    count = (layout.shape[dim] - size) // step + 1
    g = expand(g, *layout.shape[:dim], count, *layout.shape[dim + 1 :], size)
    starts = arange(0, count * step, step, device=layout.device)
    places = unsqueeze(starts, 1) + arange(size, device=layout.device)
    total = zeros(*layout.shape, dtype=g._layout.dtype, device=layout.device)
    return index_add(
        total, dim, reshape(places, -1), flatten(movedim(g, -1, dim + 1), dim, dim + 1)
    )


@operation("view", register=False)
def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """All windows of `size` elements of a dimension, `step` apart, as a new last dimension."""
    layout = input._layout
    dim = normalize_dim("unfold", dimension, layout.ndim)
    length = layout.shape[dim] if layout.ndim else 1
    if size > length or step <= 0 or size < 0:
        raise RuntimeError(
            f"unfold: maximum size for tensor at dimension {dim} is {length} but size "
            f"is {size}, step is {step}."
        )
    if not layout.ndim:
        return as_strided(input, (size,), (1,))  # its one window, without a dimension of windows
    count = (length - size) // step + 1
    shape = (*layout.shape[:dim], count, *layout.shape[dim + 1 :], size)
    strides = (
        *layout.strides[:dim], layout.strides[dim] * step, *layout.strides[dim + 1 :],
        layout.strides[dim],
    )  # fmt: skip
    new = Layout.of(layout.dtype, shape, strides, layout.device)
    view = wrap(input._storage, new, input._address)
    if input._requires_grad and mode.enabled:
        node = UnfoldBackward0((edge(input),), (new,))
        node.layout, node.dim, node.size, node.step = layout, dim, size, step
        view._grad_fn, view._requires_grad = node, True
    return as_view(view, input)


for _name in ("as_strided",):
    setattr(Tensor, _name, as_strided)
