"""`PrivatePool`: the memory of recorded graphs, which a replay writes to again.

While a thread records, its allocations come from the pool: blocks that the recording freed are
used again by it, in the order of the recording, which is that of every replay. Nobody else gets
them, whoever frees them and when, until the last graph of the pool is reset: then free blocks go
back to the allocator, and used ones follow when they are freed.

Storages find free blocks by `allocator.free_lists`, without a call. While a recording is under way
that table is empty, so every thread asks the allocator, which knows who records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritorch.runtime.cpu.allocator import size_class
from tritorch.runtime.storage import FreeList

if TYPE_CHECKING:
    from tritorch.runtime.cpu.allocator import CachingAllocator


class PrivateFreeList:
    """Free blocks of one size class of a pool; after its release, a way to the common list."""

    __slots__ = ("_home", "_lock", "_released", "blocks")

    def __init__(self, home: FreeList, lock: object) -> None:
        self._home = home
        self._lock = lock
        self._released = False
        self.blocks: list[int] = []

    def pop(self) -> int:
        return self.blocks.pop()

    def append(self, address: int, /) -> None:
        with self._lock:  # type: ignore[attr-defined]
            (self._home if self._released else self.blocks).append(address)

    def release(self) -> None:
        """Give the blocks back, now and in the future."""
        with self._lock:  # type: ignore[attr-defined]
            self._released = True
            while self.blocks:
                self._home.append(self.blocks.pop())


class PrivatePool:
    """Memory of one graph, or of several that are never replayed at the same time.

    Attributes:
        users: graphs that hold it.
    """

    def __init__(self, allocator: CachingAllocator) -> None:
        self._allocator = allocator
        self._lists: dict[int, PrivateFreeList] = {}  # by size class
        self._owned: dict[int, int] = {}  # address -> bytes of the block
        self.users = 0

    def allocate(self, nbytes: int) -> int:
        """A block that the pool has free, else one from the allocator, which is the pool's then."""
        try:
            return self.free_list(nbytes).pop()
        except IndexError:
            address = self._allocator.allocate_common(nbytes)
            self._owned[address] = size_class(nbytes)
            return address

    def free_list(self, nbytes: int) -> PrivateFreeList:
        """Where its blocks for `nbytes` go when they are free."""
        size = size_class(nbytes)
        found = self._lists.get(size)
        if found is None:
            home = self._allocator.common_free_list(nbytes)
            found = self._lists[size] = PrivateFreeList(home, self._allocator.lock)
        return found

    def owns(self, address: int) -> bool:
        """Whether a block is the pool's."""
        return address in self._owned

    @property
    def nbytes(self) -> int:
        """Bytes of its blocks, used and free."""
        return sum(self._owned.values())

    def leave(self) -> None:
        """One graph less; the last one gives the memory back."""
        self.users -= 1
        if self.users > 0:
            return
        lists, self._lists, self._owned = self._lists, {}, {}
        for found in lists.values():
            found.release()
