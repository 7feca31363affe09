"""The caching allocator of the CPU target: 64-byte aligned blocks, reused by size class.

Free blocks of a size class are in a *free list*, and `free_lists` finds it by the bytes requested.
Small blocks (below 1 MiB) are cut from slabs of one class each; their free list is a plain `list`,
whose `pop` and `append` are safe between threads, and also when the garbage collector frees a block
in the middle of either.

Large blocks are mappings of their own, in a `LargeFreeList`. Reusing them matters most: a fresh
mapping costs a page fault for each page at its first touch, several times the cost of streaming
through it. Free ones are kept up to `config.cpu_cached_bytes`; the oldest go first.
"""

from __future__ import annotations

import gc
import math
import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from tritorch.config import config
from tritorch.errors import OutOfMemoryError
from tritorch.runtime import recording
from tritorch.runtime.cpu.system_memory import PAGE, map_pages, round_up, unmap_pages
from tritorch.runtime.storage import FreeList

if TYPE_CHECKING:
    from tritorch.runtime.cpu.private_memory import PrivatePool

ALIGNMENT = 64
LARGE = 1 << 20
_SLAB = 256 << 10
#: So many different sizes are remembered; more are looked up the slow way.
_MAX_KNOWN_SIZES = 1 << 14


def size_class(nbytes: int) -> int:
    """Bytes of the block that serves a request: up to 1 KiB a multiple of 64, then one of 4 sizes
    for each doubling (8 from 1 MiB on), so at most a fifth (a ninth) of a block is unused."""
    if nbytes <= 1024:
        return max(round_up(nbytes, ALIGNMENT), ALIGNMENT)
    steps = 2 if nbytes < LARGE else 3
    step = 1 << ((nbytes - 1).bit_length() - 1 - steps)
    return round_up(nbytes, step if nbytes < LARGE else max(step, PAGE))


class MemoryStatistics(NamedTuple):
    """Bytes, counted in whole blocks: `allocated + cached == reserved`."""

    allocated: int  # in use
    cached: int  # free, kept for reuse
    reserved: int  # taken from the system
    peak_reserved: int  # the most ever reserved, or since `reset_peak`
    mappings: int  # times that memory was taken from the system


class LargeFreeList:
    """The free blocks of one large class; used like a list, and known to the allocator by age.

    The lock keeps other threads out, but the garbage collector may run a `pop` or an `append` of
    its own between any two lines. So `blocks` alone says which are free, who takes one out of there
    counts it, and the allocator's `cached_by_age` may name some that are in use.
    """

    __slots__ = ("_allocator", "blocks", "size")

    def __init__(self, allocator: CachingAllocator, size: int) -> None:
        self._allocator = allocator
        self.blocks: list[int] = []
        self.size = size

    def pop(self) -> int:
        allocator = self._allocator
        with allocator.lock:
            address = self.blocks.pop()
            allocator.large_cached -= self.size
            allocator.cached_by_age.pop(address, None)
            return address

    def append(self, address: int, /) -> None:
        allocator = self._allocator
        with allocator.lock:
            self.blocks.append(address)
            allocator.large_cached += self.size
            allocator.cached_by_age[address] = self
            settings = allocator.settings  # this module's names are gone where tensors outlive it
            if allocator.large_cached > settings.cpu_cached_bytes:
                allocator.release_large(settings.cpu_cached_bytes)


class CachingAllocator:
    """`allocate` and `free`; `nbytes` given to `free` is what was asked of `allocate`."""

    def __init__(self) -> None:
        #: bytes requested -> the free list of their class; other requests are served all the same
        self.free_lists: dict[int, FreeList] = {}
        self.settings = config
        # Reentrant: the garbage collector may free a block wherever the thread holds the lock.
        self.lock = threading.RLock()
        self._small: dict[int, list[int]] = {}  # by class
        self._large: dict[int, LargeFreeList] = {}  # by class
        self._slabs: dict[int, list[tuple[int, int]]] = {}  # small class -> (address, bytes)
        self.cached_by_age: OrderedDict[int, LargeFreeList] = OrderedDict()  # the oldest first
        self.large_cached = 0
        self._reserved = 0
        self._peak_reserved = 0
        self._mappings = 0
        self._private: PrivatePool | None = None  # of the recording that is under way
        os.register_at_fork(after_in_child=self._after_fork_in_child)

    def allocate(self, nbytes: int) -> int:
        """The address of a block of at least `nbytes`, a multiple of 64, contents arbitrary.

        Raises:
            OutOfMemoryError: the system has no memory left, even after the cache was released.
        """
        try:
            return self.free_lists[nbytes].pop()
        except (KeyError, IndexError):
            return self._allocate_new(nbytes)

    def free(self, address: int, nbytes: int) -> None:
        """Take back a block that `allocate(nbytes)` gave."""
        free = self.free_lists.get(nbytes)
        if free is None:
            private = self._private
            if private is not None and private.owns(address):
                free = private.free_list(nbytes)
            else:
                free = self.common_free_list(nbytes)
        free.append(address)

    def free_list(self, nbytes: int) -> FreeList:
        """Where blocks for a request of `nbytes` go when they are free."""
        known = self.free_lists.get(nbytes)
        if known is not None:
            return known
        private = self._private
        if private is not None and recording.here() is not None:
            return private.free_list(nbytes)
        return self.common_free_list(nbytes)

    def common_free_list(self, nbytes: int) -> FreeList:
        """The one of everybody, whoever asks."""
        if nbytes < 0:
            raise ValueError(f"allocate: {nbytes} bytes is negative.")
        size = size_class(nbytes)
        with self.lock:
            found: FreeList
            if size < LARGE:
                found = self._small.setdefault(size, [])
            else:
                found = self._large.get(size) or LargeFreeList(self, size)
                self._large[size] = found
            if len(self.free_lists) < _MAX_KNOWN_SIZES and self._private is None:
                self.free_lists[nbytes] = found
            return found

    def _allocate_new(self, nbytes: int) -> int:
        private = self._private
        if private is not None and recording.here() is not None:
            return private.allocate(nbytes)
        return self.allocate_common(nbytes)

    def allocate_common(self, nbytes: int) -> int:
        """A block from the memory of everybody, whoever asks."""
        free = self.common_free_list(nbytes)
        with self.lock:
            try:  # another request may have filled the list, or it is one that is not remembered
                return free.pop()
            except IndexError:
                size = size_class(nbytes)
                return self._map(size) if size >= LARGE else self._cut_slab(size)

    def begin_recording(self, pool: PrivatePool) -> None:
        """The thread that records gets memory from `pool` only, see `private_memory`."""
        with self.lock:
            self._private = pool
            self.free_lists.clear()

    def end_recording(self) -> None:
        """All threads get common memory again."""
        with self.lock:
            self._private = None

    def empty_cache(self) -> None:
        """Give the free memory back to the system: large blocks, and slabs without a used block."""
        with self.lock:
            self.release_large(0)
            for size, free in list(self._small.items()):
                self._release_slabs(size, free)

    def statistics(self) -> MemoryStatistics:
        with self.lock:
            cached = self.large_cached + sum(
                size * len(free) for size, free in list(self._small.items())
            )
            return MemoryStatistics(
                self._reserved - cached, cached, self._reserved, self._peak_reserved, self._mappings
            )

    def reset_peak(self) -> None:
        """Let `peak_reserved` start again from what is reserved now."""
        with self.lock:
            self._peak_reserved = self._reserved

    # Small blocks

    def _cut_slab(self, size: int) -> int:
        """Fill the class's free list from a new slab, and give one block of it."""
        unit = PAGE // math.gcd(size, PAGE)  # so many blocks fill whole pages
        count = round_up(max(_SLAB // size, 2), unit)
        address = self._map(count * size)
        self._slabs.setdefault(size, []).append((address, count * size))
        # The lowest addresses are used first: a slab's untouched end costs no memory.
        self._small[size].extend(range(address + (count - 1) * size, address, -size))
        return address

    def _release_slabs(self, size: int, free: list[int]) -> None:
        blocks = []
        try:
            while True:
                blocks.append(free.pop())
        except IndexError:
            pass
        available = set(blocks)
        kept_slabs: list[tuple[int, int]] = []
        gone: set[int] = set()
        for address, nbytes in self._slabs.get(size, ()):
            inside = range(address, address + nbytes, size)
            if all(block in available for block in inside):
                gone.update(inside)
                unmap_pages(address, nbytes)
                self._reserved -= nbytes
            else:
                kept_slabs.append((address, nbytes))
        self._slabs[size] = kept_slabs
        free.extend(block for block in blocks if block not in gone)

    # Large blocks

    def release_large(self, keep: int) -> None:
        """Unmap the least recently freed blocks until at most `keep` bytes are cached; the caller
        holds the lock."""
        while self.large_cached > keep and self.cached_by_age:
            address, free = self.cached_by_age.popitem(last=False)
            try:
                free.blocks.remove(address)
            except ValueError:
                continue
            self.large_cached -= free.size
            self._reserved -= free.size
            unmap_pages(address, free.size)

    # The system

    def _map(self, nbytes: int) -> int:
        """A new mapping; the caller holds the lock."""
        address = map_pages(nbytes)
        if address is None:
            gc.collect()
            self.empty_cache()
            address = map_pages(nbytes)
        if address is None:
            now = self.statistics()
            raise OutOfMemoryError(
                f"allocate: no memory for a block of {_readable(nbytes)}; "
                f"{_readable(now.allocated)} are in use, {_readable(now.cached)} cached. "
                "Free tensors, or work on smaller batches."
            )
        self._reserved += nbytes
        self._peak_reserved = max(self._peak_reserved, self._reserved)
        self._mappings += 1
        return address

    def _after_fork_in_child(self) -> None:
        self.lock = threading.RLock()


def _readable(nbytes: int) -> str:
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if nbytes >= scale:
            return f"{nbytes / scale:.2f} {unit}"
    return f"{nbytes} bytes"
