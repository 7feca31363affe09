"""Whether what is written is also read: views of one storage that share elements.

Kernels read lazily and in any order, so an element that is written before another program (or lane)
has read it gives wrong results. An operation whose operands share elements with its result, other
than one by one, must refuse or copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tritorch.host import array_of_memory, memory_is_shared

if TYPE_CHECKING:
    from tritorch.tensor import Tensor


def is_same_view(a: Tensor, b: Tensor) -> bool:
    """Whether the two have the same elements at the same indices."""
    return a._address == b._address and a._layout is b._layout


def share_elements(a: Tensor, b: Tensor) -> bool:
    """Whether some byte belongs to both; True where that would take too long to find out."""
    if a._storage is not b._storage:
        return False
    begin, end = _range(a)
    other_begin, other_end = _range(b)
    if end <= other_begin or other_end <= begin:
        return False
    return memory_is_shared(_array(a), _array(b))


def meets(written: Tensor, read: Tensor) -> bool:
    """Whether elements are written that are read at other indices."""
    return (
        read._storage is written._storage
        and not is_same_view(written, read)
        and share_elements(written, read)
    )


def _range(x: Tensor) -> tuple[int, int]:
    layout = x._layout
    return x._address, x._address + layout.extent * layout.dtype.itemsize


def _array(x: Tensor) -> Any:
    layout = x._layout
    return array_of_memory(x, x._address, layout.shape, layout.strides, layout.dtype)


__all__ = ["is_same_view", "meets", "share_elements"]
