"""Tensor memory that forked processes share: pages that a fork does not copy.

Blocks of whole pages become shared where they are: other pages with the same contents take their
place at once, so no address changes, whoever holds one. Smaller blocks lie between others of the
same page; `SharedPages` is where their owner moves them.

No file and no descriptor is behind the pages; they are gone with the last process that maps them.
"""

from __future__ import annotations

import ctypes

from tritorch.errors import OutOfMemoryError
from tritorch.runtime.cpu.allocator import size_class
from tritorch.runtime.cpu.system_memory import (
    PAGE,
    make_private,
    map_shared_pages,
    replace_pages,
    round_up,
    unmap_pages,
)
from tritorch.runtime.storage import FreeList, Storage


class SharedPages:
    """Shared pages of their own, given back when they are collected."""

    __slots__ = ("_size", "_unmap", "address")

    #: what `is_shared` asks the owner of a storage
    shared = True

    def __init__(self, nbytes: int) -> None:
        self._unmap = unmap_pages  # at the end of the interpreter modules may be gone
        self._size = round_up(max(nbytes, 1), PAGE)
        self.address = _mapped(self._size)

    def __del__(self) -> None:
        try:
            address = self.address
        except AttributeError:  # it was not mapped
            return
        self._unmap(address, self._size)


class _SharedBlock:
    """The free list of a block that was shared in place: it becomes private again first."""

    __slots__ = ("_home", "_make_private", "_size")

    def __init__(self, home: FreeList, size: int) -> None:
        self._home = home
        self._make_private = make_private
        self._size = size

    def pop(self) -> int:
        raise IndexError

    def append(self, address: int, /) -> None:
        if self._make_private(address, self._size):
            self._home.append(address)


def is_shared(storage: Storage) -> bool:
    """Whether forked processes see each other's writes to it."""
    while isinstance(storage.owner, Storage):
        storage = storage.owner
    return isinstance(storage._free, _SharedBlock) or getattr(storage.owner, "shared", False)


def share_in_place(storage: Storage) -> bool:
    """Share a block of whole pages; False where it is none.

    Raises:
        OutOfMemoryError: the system has not so much memory.
    """
    size = size_class(storage.nbytes)
    if storage.owner is not None or storage.address % PAGE or size % PAGE:
        return False
    pages = _mapped(size)
    ctypes.memmove(pages, storage.address, storage.nbytes)
    if not replace_pages(storage.address, pages, size):
        unmap_pages(pages, size)
        raise OutOfMemoryError(_no_memory(size))
    storage._free = _SharedBlock(storage._free, size)
    return True


def _mapped(size: int) -> int:
    address = map_shared_pages(size)
    if address is None:
        raise OutOfMemoryError(_no_memory(size))
    return address


def _no_memory(size: int) -> str:
    return f"share_memory_: no shared memory for {size} bytes. Free tensors, or share fewer."
