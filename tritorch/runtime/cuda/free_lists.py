"""The allocator's blocks as free lists by size, which is how `Storage` asks for memory."""

from __future__ import annotations

from collections.abc import Callable

from tritorch.runtime.storage import FreeList


class _Blocks:
    """The free list of one size: the allocator's, on the current stream."""

    __slots__ = ("_allocate", "_free", "_nbytes")

    def __init__(
        self, allocate: Callable[[int], int], free: Callable[[int], None], nbytes: int
    ) -> None:
        self._allocate = allocate
        self._free = free
        self._nbytes = nbytes

    def pop(self) -> int:
        return self._allocate(self._nbytes)

    def append(self, address: int, /) -> None:
        self._free(address)


class FreeLists(dict[int, FreeList]):
    """A free list for every size that is asked for.

    Args:
        short: gives a shorter way for some sizes, whose `pop` may raise IndexError.
    """

    def __init__(
        self,
        allocate: Callable[[int], int],
        free: Callable[[int], None],
        short: Callable[[int], FreeList | None] = lambda _: None,
    ) -> None:
        self._allocate = allocate
        self._free = free
        self._short = short

    def __missing__(self, nbytes: int) -> FreeList:
        found = self._short(nbytes) or _Blocks(self._allocate, self._free, nbytes)
        self[nbytes] = found
        return found
