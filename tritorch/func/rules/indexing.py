"""Indexing: `x[...]`, gather and scatter, with the samples as one more index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tritorch import dtypes
from tritorch.func.batched import Level, batched
from tritorch.func.dispatch import at, expanded, front
from tritorch.func.rules.declaring import behind, rule
from tritorch.func.rules.pointwise import aligned, check_target, made_batched
from tritorch.indexing import as_tuple
from tritorch.layout import broadcast_shapes
from tritorch.ops import comparison, creation, memory, selection, subscript, views
from tritorch.ops.promotion import NUMBERS
from tritorch.tensor import Tensor

Indices = Sequence[Tensor | None]
_MASKS = (dtypes.bool, dtypes.uint8)


class _Placed:
    """Index tensors beside one another: where they are, and the shape that they give.

    Attributes:
        dims: of a sample, which are indexed. indices: with the samples in front where one has them.
        ndim: dimensions of the indices' common shape. place: where those are in the result.
        rest: how many dimensions are not indexed.
    """

    def __init__(self, level: Level, input: Tensor, indices: Indices) -> None:
        self.level = level
        self.dims = [d for d, entry in enumerate(indices) if entry is not None]
        chosen = [entry for entry in indices if entry is not None]
        shape = broadcast_shapes("index", *(entry._layout.shape for entry in chosen))
        self.ndim = len(shape)
        beside = self.dims == list(range(self.dims[0], self.dims[-1] + 1))
        self.place = self.dims[0] if beside else 0
        self.rest = input._layout.ndim - len(self.dims)
        several = any(at(entry, level) for entry in chosen)
        self.indices: list[Tensor | None] = [aligned(e, level, self.ndim) for e in chosen]
        if at(input, level):
            lead = None
            if several:
                device = input._layout.device
                lead = creation.arange(level.size, device=device).reshape(-1, *(1,) * self.ndim)
            self.indices.insert(0, lead)
        self.batched = several or at(input, level)

    def in_front(self, value: Tensor, offset: int) -> Tensor:
        """The indexed dimensions moved to the front, behind that of the samples if there is one."""
        where = [d + offset for d in self.dims]
        return views.movedim(value, where, range(offset, offset + len(where)))

    def back(self, value: Tensor, offset: int) -> Tensor:
        """Undo `in_front`."""
        where = [d + offset for d in self.dims]
        return views.movedim(value, range(offset, offset + len(where)), where)

    def result(self, value: Tensor) -> Tensor:
        """What was read, its dimensions in the order of a sample's result."""
        if self.place:
            value = views.movedim(
                value,
                range(1, 1 + self.ndim),
                range(1 + self.place, 1 + self.place + self.ndim),
            )
        return batched(value, 0, self.level)

    def values(self, values: Any) -> Any:
        """What is to be written, with the dimensions of the indices in front."""
        if not isinstance(values, Tensor):
            return values
        ndim = self.rest + self.ndim
        found = aligned(values, self.level, ndim) if ndim else front(values, self.level)
        offset = 1 if at(values, self.level) else 0
        missing = ndim + offset - found._layout.ndim
        if missing > 0:
            found = views.reshape(found, *(1,) * missing, *found._layout.shape)
        if not self.place:
            return found
        return views.movedim(
            found,
            range(offset + self.place, offset + self.place + self.ndim),
            range(offset, offset + self.ndim),
        )


@rule(selection.index)
def _index(level: Level, input: Tensor, indices: Indices, negative: bool = True) -> Any:
    placed = _Placed(level, input, indices)
    offset = 1 if at(input, level) else 0
    value = placed.in_front(front(input, level), offset)
    return placed.result(selection.index(value, placed.indices, negative))


@rule(selection._put)
def _put(
    level: Level, input: Tensor, indices: Indices, values: Any, how: str, negative: bool = True
) -> Any:
    if _has_mask(indices):
        return NotImplemented
    target = made_batched(input, level)
    placed = _Placed(level, target, indices)
    value = placed.in_front(front(target, level), 1)
    made = selection._put(value, placed.indices, placed.values(values), how, negative)
    return batched(placed.back(made, 1), 0, level)


@rule(selection._put_)
def _put_(
    level: Level, input: Tensor, indices: Indices, values: Any, how: str, negative: bool = True
) -> Any:
    check_target("index_put_", input, level)
    if _has_mask(indices):
        return NotImplemented
    placed = _Placed(level, input, indices)
    value = placed.in_front(front(input, level), 1)
    selection._put_(value, placed.indices, placed.values(values), how, negative)
    return input


def _has_mask(indices: Indices) -> bool:
    return any(entry is not None and entry._layout.dtype in _MASKS for entry in indices)


# ---- x[...]


def _selected(level: Level, input: Tensor, where: Any) -> Any:
    """The basic part of an index expression as a view, and the index tensors of its dimensions."""
    parts: list[Any] = []
    for part in as_tuple(where, lambda value: isinstance(value, Tensor)):
        if isinstance(part, bool | np.bool_) or part is NotImplemented:
            return NotImplemented
        if isinstance(part, list | range | np.ndarray):
            part = creation.tensor(part, device=input._layout.device)
        if isinstance(part, Tensor) and part._layout.dtype in _MASKS:
            if at(part, level) or not part._layout.ndim:
                return NotImplemented
            parts += selection.nonzero(part, as_tuple=True)
        else:
            parts.append(part)
    consumed = sum(part is not None and part is not Ellipsis for part in parts)
    basic: list[Any] = []
    indices: list[Tensor | None] = []
    seen = False
    for part in parts:
        if part is Ellipsis:
            count = 0 if seen else max(input._layout.ndim - consumed, 0)
            seen = True
            basic += [slice(None)] * count
            indices += [None] * count
        elif isinstance(part, Tensor) and (part._layout.ndim or at(part, level)):
            basic.append(slice(None))
            indices.append(part)
        else:
            basic.append(part)
            if part is None or isinstance(part, slice):
                indices.append(None)
    while indices and indices[-1] is None:
        indices.pop()
    if not at(input, level):
        return subscript.getitem(input, tuple(basic)), indices
    view = subscript.getitem(front(input, level), (slice(None), *basic))
    return batched(view, 0, level), indices


@rule(subscript.getitem)
def _getitem(level: Level, input: Tensor, where: Any) -> Any:
    found = _selected(level, input, where)
    if found is NotImplemented:
        return NotImplemented
    view, indices = found
    return selection.index(view, indices) if indices else view


@rule(subscript._view)
def _view(level: Level, input: Tensor, found: Any) -> Any:
    return batched(subscript.getitem(front(input, level), (slice(None), *found.basic)), 0, level)


@rule(subscript.setitem)
def _setitem(level: Level, input: Tensor, where: Any, value: Any) -> Any:
    check_target("x[...] = value", input, level)
    single = value.__class__ in NUMBERS or (isinstance(value, Tensor) and not value._layout.ndim)
    if isinstance(where, Tensor) and where._layout.dtype is dtypes.bool and single:
        for _ in range(input._layout.ndim - where._layout.ndim):
            where = views.unsqueeze(where, -1)
        comparison.masked_fill_(input, where, value)
        return None
    found = _selected(level, input, where)
    if found is NotImplemented:
        return NotImplemented
    view, indices = found
    if value.__class__ not in NUMBERS:
        if not isinstance(value, Tensor):
            value = creation.tensor(value, device=input._layout.device)
        value = memory.to_dtype(value, input._layout.dtype)
    if indices:
        selection.index_put_(view, indices, value)
    elif value.__class__ in NUMBERS:
        memory.fill_(view, value)
    else:
        while value._layout.ndim > view._layout.ndim and value._layout.shape[0] == 1:
            value = views.squeeze(value, 0)
        memory.copy_(view, value)
    return None


# ---- along a dimension


@rule(selection.gather)
def _gather(
    level: Level, input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False
) -> Any:
    if not input._layout.ndim or not index._layout.ndim:
        return NotImplemented
    value = selection.gather(expanded(input, level), behind(dim, input), expanded(index, level))
    return batched(value, 0, level)


def _scatter_operands(
    level: Level, input: Tensor, dim: int, index: Tensor, src: Any
) -> tuple[Any, ...]:
    source = expanded(src, level) if isinstance(src, Tensor) else src
    return behind(dim, input), expanded(index, level), source


@rule(selection.scattered)
def _scattered(level: Level, input: Tensor, dim: int, index: Tensor, src: Any, how: str) -> Any:
    if not input._layout.ndim or not index._layout.ndim:
        return NotImplemented
    place, positions, source = _scatter_operands(level, input, dim, index, src)
    made = selection.scattered(expanded(input, level), place, positions, source, how)
    return batched(made, 0, level)


@rule(selection._scattered_)
def _scattered_(level: Level, input: Tensor, dim: int, index: Tensor, src: Any, how: str) -> Any:
    check_target("scatter_", input, level)
    if not input._layout.ndim or not index._layout.ndim:
        return NotImplemented
    place, positions, source = _scatter_operands(level, input, dim, index, src)
    selection._scattered_(front(input, level), place, positions, source, how)
    return input
