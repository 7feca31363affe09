"""`Storage`: a piece of a target's memory that tensors share."""

from __future__ import annotations

from typing import Any, Protocol

from tritorch.runtime import recording


class FreeList(Protocol):
    """Where free blocks of one size are; `pop()` raises IndexError when there is none."""

    def pop(self) -> int: ...

    def append(self, address: int, /) -> None: ...


class Memory(Protocol):
    """Whoever memory comes from; a Target is one."""

    free_lists: dict[int, FreeList]

    def allocate(self, nbytes: int) -> int: ...

    def free_list(self, nbytes: int) -> FreeList: ...


class _Nowhere:
    """The free list of memory that is not ours."""

    def pop(self) -> int:
        raise IndexError

    def append(self, address: int, /) -> None:
        pass


_NOWHERE = _Nowhere()


class Storage:
    """Memory with an owner: `nbytes` at `address`, given back when nobody refers to it any more.

    `version` counts the in-place changes of its contents. `owner` is None for our own memory, else
    the object (an array, a shared block) whose memory this borrows and keeps alive.
    """

    __slots__ = ("__weakref__", "_free", "address", "nbytes", "owner", "version")

    address: int
    nbytes: int
    version: int
    owner: Any
    _free: FreeList  # where the block goes at the end; nothing else is needed then, even at exit

    def __init__(self, nbytes: int, target: Memory) -> None:
        self.nbytes = nbytes
        self.version = 0
        self.owner = None
        try:  # what target.allocate does, without a call: this runs for every result of every op
            free = target.free_lists[nbytes]
            self.address = free.pop()
        except (KeyError, IndexError):
            self.address = target.allocate(nbytes)
            free = target.free_list(nbytes)
        self._free = free

    def __del__(self) -> None:
        try:
            free = self._free
        except AttributeError:  # the allocation failed
            return
        free.append(self.address)

    @classmethod
    def borrow(cls, address: int, nbytes: int, owner: Any) -> Storage:
        """Memory that belongs to `owner`, which lives at least as long as the result."""
        storage = cls.__new__(cls)
        storage.address = address
        storage.nbytes = nbytes
        storage.version = 0
        storage.owner = owner
        storage._free = _NOWHERE
        if recording.current is not None and (found := recording.here()) is not None:
            found.keep(storage)
        return storage

    def __repr__(self) -> str:
        borrowed = "" if self.owner is None else f" of a {type(self.owner).__name__}"
        return f"<Storage {self.nbytes} bytes at {self.address:#x}{borrowed}>"
