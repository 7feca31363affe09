"""What is kept between the steps of optimizers that look at rows: tables and plans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tritorch.kernels.templates import optimizer_rows as kernels
from tritorch.layout import Layout
from tritorch.tensor import Tensor

#: sets of layouts whose tables are remembered
_LIMIT = 64


class RowUpdates:
    """Tables and plans of one optimizer, by what they were made for."""

    def __init__(self) -> None:
        self._kept: dict[Any, Any] = {}

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` gave for this key."""
        found = self._kept.get(key)
        if found is None:
            if len(self._kept) >= _LIMIT:
                self._kept.clear()
            found = self._kept[key] = make()
        return found


def shape_of(layout: Layout) -> tuple[int, int, int, int]:
    """Rows, height and width of the matrices, elements; a vector has height 0."""
    shape = layout.shape
    if len(shape) < 2:
        return 0, 0, layout.numel, layout.numel
    height, width = shape[-2:]
    return (layout.numel // width if width else 0), height, width, layout.numel


def kinds_of(columns: Sequence[Sequence[Tensor]]) -> tuple[Any, ...]:
    """The dtype of each column."""
    return tuple(column[0]._layout.dtype for column in columns)


def in_rows(tensor: Tensor) -> Tensor:
    """The tensor, or a contiguous copy of it."""
    return tensor if tensor._layout.is_contiguous else tensor.contiguous()


def written(tensors: Sequence[Tensor], changed: Sequence[Tensor]) -> None:
    """Note that tensors were changed; those that were worked on as copies get their values."""
    for tensor, new in zip(tensors, changed, strict=True):
        if new is tensor:
            tensor._storage.version += 1
        else:
            tensor.copy_(new)


__all__ = ["RowUpdates", "in_rows", "kernels", "kinds_of", "shape_of", "written"]
