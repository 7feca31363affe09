"""Shapes: joining, repeating, turning, with the standard's arguments."""

from __future__ import annotations

from typing import Any

from tritorch.array_api.data_types import operands
from tritorch.ops import joining, views
from tritorch.tensor import Tensor

Axes = int | tuple[int, ...]


def concat(arrays: Any, /, *, axis: int | None = 0) -> Tensor:
    """Tensors one behind the other along an axis; axis=None flattens them first."""
    parts = operands("concat", *arrays)
    if axis is None:
        return joining.cat([views.flatten(part) for part in parts], 0)
    return joining.cat(parts, axis)


def expand_dims(x: Tensor, /, axis: Axes = 0) -> Tensor:
    """New dimensions of size 1, at these places of the result."""
    places = (axis,) if isinstance(axis, int) else tuple(axis)
    ndim = x.ndim + len(places)
    if any(not -ndim <= place < ndim for place in places):
        raise IndexError(
            f"expand_dims: axis {axis} is out of range for a result of {ndim} dimensions. Use "
            f"{-ndim} to {ndim - 1}."
        )
    found = sorted(place % ndim for place in places)
    if len(set(found)) < len(found):
        raise ValueError(f"expand_dims: axis {axis} names a place twice.")
    for place in found:
        x = views.unsqueeze(x, place)
    return x


def flip(x: Tensor, /, *, axis: Axes | None = None) -> Tensor:
    """The order of the elements turned round along axes, all of them for None."""
    return joining.flip(x, tuple(range(x.ndim)) if axis is None else axis)


def moveaxis(x: Tensor, source: Axes, destination: Axes, /) -> Tensor:
    """Dimensions moved to other places; the rest keeps its order."""
    return views.movedim(x, source, destination)


def permute_dims(x: Tensor, /, axes: tuple[int, ...]) -> Tensor:
    """The dimensions in another order."""
    return views.permute(x, axes)


def repeat(x: Tensor, repeats: Any, /, *, axis: int | None = None) -> Tensor:
    """Each element, or slice along an axis, so many times."""
    return joining.repeat_interleave(x, repeats, axis)


def reshape(x: Tensor, /, shape: tuple[int, ...], *, copy: bool | None = None) -> Tensor:
    """The same elements in another shape.

    Raises:
        ValueError: `copy=False`, and no view has this shape.
    """
    if copy:
        return views.reshape(x.clone(), shape)
    result = views.reshape(x, shape)
    if copy is False and result._storage is not x._storage:
        raise ValueError(
            f"reshape: no view of a tensor with shape {tuple(x.shape)} and strides {x.stride()} "
            f"has shape {tuple(shape)}, and copy=False forbids a copy. Pass copy=None."
        )
    return result


def roll(x: Tensor, /, shift: Axes, *, axis: Axes | None = None) -> Tensor:
    """Elements moved along axes; what leaves at one end comes back at the other."""
    if isinstance(shift, int) and isinstance(axis, tuple):
        shift = (shift,) * len(axis)
    return joining.roll(x, shift, axis)


def squeeze(x: Tensor, /, axis: Axes) -> Tensor:
    """Without these dimensions, which must have size 1."""
    places = (axis,) if isinstance(axis, int) else tuple(axis)
    for place in places:
        if x.shape[place] != 1:
            raise ValueError(
                f"squeeze: dimension {place} has size {x.shape[place]} in shape {tuple(x.shape)}; "
                "only dimensions of size 1 can go."
            )
    return views.squeeze(x, places)


def stack(arrays: Any, /, *, axis: int = 0) -> Tensor:
    """Tensors of one shape along a new dimension."""
    return joining.stack(operands("stack", *arrays), axis)


def tile(x: Tensor, repetitions: tuple[int, ...], /) -> Tensor:
    """The whole tensor so many times along each dimension."""
    return joining.tile(x, repetitions)


def unstack(x: Tensor, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices along a dimension."""
    return tuple(views.unbind(x, axis))
