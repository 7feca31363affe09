"""`PinnedMemory`: page-locked host memory, which devices reach without the processor's help.

Locking pages takes long, so blocks (of a power of two bytes) are kept for reuse. A block that a
stream still reads or writes is given away again only when an event on that stream has passed.
"""

from __future__ import annotations

import threading
from bisect import bisect_right, insort

from tritorch.runtime.cuda.driver import EVENT_DISABLE_TIMING, Driver

_SMALLEST = 512


class PinnedMemory:
    """Blocks by size."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._lock = threading.Lock()
        self._sizes: dict[int, int] = {}  # of every block, by address
        self._starts: list[int] = []
        self._free: dict[int, list[int]] = {}
        self._events: dict[int, dict[int, int]] = {}  # address -> stream -> event
        self._waiting: list[int] = []  # freed, but perhaps in use by a stream

    def allocate(self, nbytes: int) -> int:
        """The address of a block of at least `nbytes`."""
        size = max(_SMALLEST, 1 << (nbytes - 1).bit_length())
        with self._lock:
            self._collect()
            free = self._free.get(size)
            if free:
                return free.pop()
            address = self._driver.allocate_pinned(size)
            self._sizes[address] = size
            insort(self._starts, address)
            return address

    def free(self, address: int) -> None:
        """Take a block back; Python may call this in the middle of anything."""
        self._waiting.append(address)

    def contains(self, address: int) -> bool:
        """Whether an address is in one of the blocks."""
        return self._block(address) is not None

    def _block(self, address: int) -> int | None:
        place = bisect_right(self._starts, address) - 1
        if place < 0:
            return None
        start = self._starts[place]
        return start if address < start + self._sizes[start] else None

    def record_use(self, address: int, stream: int) -> None:
        """What was asked of `stream` so far uses the block at this address."""
        block = self._block(address)
        if block is None:
            return
        with self._lock:
            events = self._events.setdefault(block, {})
            if stream not in events:
                events[stream] = self._driver.create_event(EVENT_DISABLE_TIMING)
            self._driver.record_event(events[stream], stream)

    def _collect(self) -> None:
        still = []
        while self._waiting:
            address = self._waiting.pop()
            events = self._events.get(address, {})
            if all(self._driver.event_is_done(event) for event in events.values()):
                for event in self._events.pop(address, {}).values():
                    self._driver.destroy_event(event)
                self._free.setdefault(self._sizes[address], []).append(address)
            else:
                still.append(address)
        self._waiting += still

    def empty_cache(self) -> None:
        """Unlock the free blocks."""
        with self._lock:
            self._collect()
            for blocks in self._free.values():
                for address in blocks:
                    self._driver.free_pinned(address)
                    del self._sizes[address]
                    self._starts.remove(address)
            self._free.clear()


class PinnedBlock:
    """Owns a block; gives it back at the end."""

    def __init__(self, memory: PinnedMemory, nbytes: int) -> None:
        self._memory = memory
        self.nbytes = nbytes
        self.address = memory.allocate(nbytes)

    def __del__(self) -> None:
        if hasattr(self, "address"):
            self._memory.free(self.address)
