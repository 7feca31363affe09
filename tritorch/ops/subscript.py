"""`x[index]` and `x[index] = value`."""

from __future__ import annotations

from typing import Any

from tritorch import dtypes
from tritorch.indexing import WHOLE, Selection, parse_index
from tritorch.layout import Layout
from tritorch.ops.comparison import masked_fill_
from tritorch.ops.creation import tensor
from tritorch.ops.declare import method
from tritorch.ops.dispatch import Plans
from tritorch.ops.memory import copy_, fill_, to_dtype
from tritorch.ops.promotion import NUMBERS
from tritorch.ops.selection import converted_indices, index, index_put_
from tritorch.ops.transfer import moved
from tritorch.ops.view_nodes import PartNode, node_class, part_view
from tritorch.ops.views import alias, select, slice_dim, unsqueeze
from tritorch.tensor import Tensor

_Slice = node_class(PartNode, "SliceBackward0")
_Select = node_class(PartNode, "SelectBackward0")
#: PyTorch applies the parts one after another and keeps the node of the last
_nodes: dict[type, type[PartNode]] = {
    slice: _Slice,
    type(None): node_class(PartNode, "UnsqueezeBackward0"),
}


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _parsed(input: Tensor, where: Any) -> Selection:
    layout = input._layout

    def as_tensor(value: Any) -> Tensor:
        made = tensor(value, device=layout.device)
        typed = made.numel() or hasattr(value, "dtype")
        return made if typed else to_dtype(made, dtypes.int64)

    return parse_index(where, layout.shape, layout.strides, _is_tensor, as_tensor)


def _view(input: Tensor, found: Selection) -> Tensor:
    """The basic part of a selection as a view."""
    layout = input._layout
    new = Layout.of(layout.dtype, tuple(found.shape), tuple(found.strides), layout.device)
    where = tuple(found.basic)
    last = next((part for part in reversed(where) if part != WHOLE), WHOLE)
    if last is WHOLE:
        return alias(input)
    offset = found.offset * layout.dtype.itemsize

    def again(x: Tensor) -> Tensor:
        return _view(x, _parsed(x, where))

    return part_view(input, new, offset if new.numel else 0, _nodes.get(type(last), _Select), again)


def _indices(view: Tensor, found: Selection) -> list[Tensor | None]:
    result: list[Tensor | None] = [None] * len(found.shape)
    for dim, entry in found.indices:
        parts = converted_indices(view, [entry])
        result[dim : dim + len(parts)] = parts
    while result and result[-1] is None:
        result.pop()
    return result


def _place_plan(key: tuple[Layout, tuple[int, ...]]) -> tuple[Layout, int]:
    """What remains of a layout behind some leading indices, and the offset in bytes."""
    layout, where = key
    found = parse_index(where, layout.shape, layout.strides, _is_tensor, tensor)
    new = Layout.of(layout.dtype, tuple(found.shape), tuple(found.strides), layout.device)
    return new, found.offset * layout.dtype.itemsize if new.numel else 0


_places = Plans(_place_plan)
_INTEGERS = {int}


@method("__getitem__")
def getitem(input: Tensor, where: Any) -> Tensor:
    """x[...]: a view for integers, slices, None and Ellipsis; a copy for tensors, lists, masks."""
    kind = where.__class__
    if kind is int:
        return select(input, 0, where) if input._layout.ndim else _scalar_index(input)
    if kind is tuple and {*map(type, where)} == _INTEGERS:
        layout, offset = _places[input._layout, where]
        return part_view(input, layout, offset, _Select, lambda x: getitem(x, where))
    if kind is slice:
        if not input._layout.ndim:
            _scalar_index(input)
        start, stop, step = _bounds(where, input._layout.shape[0])
        return slice_dim(input, 0, start, stop, step)
    found = _parsed(input, where)
    basic = not found.indices
    view = _view(input, found) if basic or not found.is_whole() else input
    return view if basic else index(view, _indices(view, found))


def _scalar_index(input: Tensor) -> Tensor:
    raise IndexError(
        "invalid index of a 0-dim tensor. Use `tensor.item()` in Python to convert a 0-dim tensor "
        "to a number."
    )


def _bounds(part: slice, size: int) -> tuple[int, int, int]:
    """(start, length, step) of a slice of a dimension."""
    step = 1 if part.step is None else part.step
    if step <= 0:
        raise ValueError("step must be greater than zero. Use flip to reverse.")
    start, stop, step = slice(part.start, part.stop, step).indices(size)
    return start if start < size else size, max(0, (stop - start + step - 1) // step), step


@method("__setitem__")
def setitem(input: Tensor, where: Any, value: Any) -> None:
    """x[...] = value: writes into the tensor; the value is converted and broadcast."""
    found = _parsed(input, where)
    view = input if found.is_whole() else _view(input, found)
    if value.__class__ not in NUMBERS and not isinstance(value, Tensor):
        value = tensor(value, device=input._layout.device)
    if not found.indices:
        if value.__class__ in NUMBERS:
            fill_(view, value)
        else:
            copy_(view, _fitted(value, view._layout.shape))
        return
    if len(found.indices) == 1 and _is_number(value):
        dim, entry = found.indices[0]
        if (
            entry._layout.dtype is dtypes.bool
            and dim == 0
            and entry._layout.ndim <= view._layout.ndim
        ):
            for _ in range(view._layout.ndim - entry._layout.ndim):
                entry = unsqueeze(entry, -1)
            masked_fill_(view, entry, value)
            return
    if isinstance(value, Tensor):
        if not value._layout.ndim and value._layout.device is not input._layout.device:
            value = moved(value, input._layout.device, False)
        value = to_dtype(_fitted(value, ()), input._layout.dtype)
    index_put_(view, _indices(view, found), value)


def _is_number(value: Any) -> bool:
    return value.__class__ in NUMBERS or (isinstance(value, Tensor) and not value._layout.ndim)


def _fitted(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Without leading dimensions of size 1 that the target lacks, as PyTorch allows."""
    from tritorch.ops.views import reshape

    own = value._layout.shape
    while len(own) > len(shape) and own[0] == 1:
        own = own[1:]
    return value if own is value._layout.shape else reshape(value, *own)


@method("__delitem__")
def delitem(input: Tensor, where: Any) -> None:
    """del x[...] is an error: a tensor keeps its shape."""
    raise TypeError("Tensor does not support deleting items. Index what is to stay.")


@method("__iter__")
def iterate(input: Tensor) -> Any:
    """The slices of the first dimension."""
    if not input._layout.ndim:
        raise TypeError("iteration over a 0-d tensor. Use item().")
    return iter(input.unbind(0))


@method("__reversed__")
def reversed_(input: Tensor) -> Tensor:
    """A copy with the order of the first dimension reversed."""
    return input.flip(0) if input._layout.ndim else input


@method("__contains__")
def contains(input: Tensor, element: Any) -> bool:
    """Whether an element equals this number or tensor."""
    if not isinstance(element, Tensor) and element.__class__ not in NUMBERS:
        raise RuntimeError(
            "Tensor.__contains__ only supports Tensor or scalar, but you passed in a "
            f"{type(element)}."
        )
    return bool((input == element).any())
