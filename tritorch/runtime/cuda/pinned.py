"""`PinnedMemory`: page-locked host memory, which devices reach without the processor's help.

Locking pages takes long, so blocks (of a power of two bytes) are kept for reuse. A block that a
stream still reads or writes is given away again only when an event on that stream has passed, and
one that a recorded graph reads or writes when the graph is gone.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import Counter, deque
from contextlib import nullcontext

from tritorch.runtime import recording
from tritorch.runtime.cuda.driver import (
    EVENT_DISABLE_TIMING,
    OUT_OF_MEMORY,
    Driver,
    DriverError,
    relaxed,
)

_SMALLEST = 512
#: blocks up to here are cut from bigger pieces: programs that run ahead of the device have many
_SMALL, _SLAB = 64 << 10, 1 << 20
#: a device and its stream: default streams have the same handle everywhere
Place = tuple[int, int]


class PinnedMemory:
    """Blocks by size."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._lock = threading.Lock()
        self._sizes: dict[int, int] = {}  # of every block, by address
        self._starts: list[int] = []
        self._free: dict[int, list[int]] = {}
        self._events: dict[int, dict[Place, int]] = {}  # address -> used by -> event
        self._spare: dict[int, list[int]] = {}  # events of each device
        self._freed: deque[int] = deque()  # not looked at yet
        self._waiting: dict[tuple[Place, ...], deque[int]] = {}  # used by -> blocks, in order
        self._held: Counter[int] = Counter()  # by graphs
        self._released: deque[int] = deque()

    def allocate(self, nbytes: int) -> int:
        """The address of a block of at least `nbytes`."""
        size = max(_SMALLEST, 1 << (nbytes - 1).bit_length())
        with self._lock:
            self._collect()
            free = self._free.get(size)
            if free:
                return free.pop()
            slab = max(size, _SLAB) if size <= _SMALL else size
            address = self._locked(slab)
            blocks = range(address, address + slab, size)
            self._sizes.update(dict.fromkeys(blocks, size))
            self._starts += blocks
            self._starts.sort()
            self._free.setdefault(size, []).extend(blocks[:0:-1])
            return address

    def _locked(self, nbytes: int) -> int:
        with relaxed(self._driver):
            try:
                return self._driver.allocate_pinned(nbytes)
            except DriverError as error:
                if error.code != OUT_OF_MEMORY:
                    raise
                self._release()
                return self._driver.allocate_pinned(nbytes)

    def free(self, address: int) -> None:
        """Take a block back; Python may call this in the middle of anything."""
        self._freed.append(address)

    def contains(self, address: int) -> bool:
        """Whether an address is in one of the blocks."""
        with self._lock:
            return self._block(address) is not None

    def _block(self, address: int) -> int | None:
        place = bisect_right(self._starts, address) - 1
        if place < 0:
            return None
        start = self._starts[place]
        return start if address < start + self._sizes[start] else None

    def record_use(self, address: int, device: int, stream: int) -> None:
        """What was asked of a stream of this device so far uses the block at this address; the
        device is the current one.
        """
        with self._lock:
            block = self._block(address)
            if block is None:
                return
            events = self._events.setdefault(block, {})
            place = device, stream
            if place not in events:
                spare = self._spare.get(device)
                events[place] = (
                    spare.pop() if spare else self._driver.create_event(EVENT_DISABLE_TIMING)
                )
            self._driver.record_event(events[place], stream)

    def hold(self, address: int) -> Held:
        """Keep the block at this address from being given away."""
        with self._lock:
            block = self._block(address)
            assert block is not None
            self._held[block] += 1
        return Held(self._released, block)

    def _collect(self) -> None:
        while self._released:
            block = self._released.popleft()
            self._held[block] -= 1
        for _ in range(len(self._freed)):
            block = self._freed.popleft()
            if self._held[block] > 0:
                self._freed.append(block)
                continue
            del self._held[block]
            used_by = tuple(self._events.get(block, ()))
            self._waiting.setdefault(used_by, deque()).append(block)
        with relaxed(self._driver) if recording.device_captures else nullcontext():
            for used_by in list(self._waiting):
                self._collect_from(used_by)

    def _collect_from(self, used_by: tuple[Place, ...]) -> None:
        queue = self._waiting[used_by]
        while queue:
            block = queue[0]
            events = self._events.get(block, {})
            if not all(map(self._driver.event_is_done, events.values())):
                return
            queue.popleft()
            self._events.pop(block, None)
            for (device, _), event in events.items():
                self._spare.setdefault(device, []).append(event)
            self._free.setdefault(self._sizes[block], []).append(block)
        del self._waiting[used_by]

    def empty_cache(self) -> None:
        """Unlock the free blocks but small ones, which share their pages."""
        with self._lock:
            self._collect()
            with relaxed(self._driver):
                self._release()

    def _release(self) -> None:
        for size, blocks in self._free.items():
            while blocks and size > _SMALL:
                address = blocks.pop()
                self._driver.free_pinned(address)
                self._starts.remove(address)
                del self._sizes[address]


class Held:
    """A block is not given away as long as this lives."""

    def __init__(self, released: deque[int], block: int) -> None:
        self._released = released
        self.address = block

    def __del__(self) -> None:
        self._released.append(self.address)


class PinnedBlock:
    """Owns a block; gives it back at the end."""

    def __init__(self, memory: PinnedMemory, nbytes: int) -> None:
        self._memory = memory
        self.nbytes = nbytes
        self.address = memory.allocate(nbytes)

    def __del__(self) -> None:
        if hasattr(self, "address"):
            self._memory.free(self.address)
