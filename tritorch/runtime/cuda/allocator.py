"""`CachingAllocator`: the memory of one device, kept for reuse, by stream.

*Segments* come from the driver, which takes long; they are cut into *blocks* of a multiple of 512
bytes. Small requests (up to 1 MiB) share segments of 2 MiB, requests below 10 MiB segments of 20,
bigger ones have their own, rounded to 2 MiB. A free block serves the smallest request that leaves
little over, on the stream that it was made for: work of one stream is in order, so a block may be
used again there before the device has done what its last owner asked for. Neighbours that are free
grow together.

Whoever uses a block on another stream records that; when the block is freed, an event on each such
stream must pass before it can be given away again.

Short way: a small block that is freed is kept under its size and stream, without growing together
with its neighbours, and the next request of that size takes it; on the default stream that is
machine code (`quick`). Before the driver is asked for memory, all of these are returned to the
pools.

Where the driver has no memory left, everything that is free is given back to it and the request is
repeated; after that the error carries the figures, and nothing has changed.

The design is that of PyTorch's c10/cuda/CUDACachingAllocator.cpp.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections import deque
from contextlib import nullcontext, suppress
from typing import Any

from tritorch.errors import OutOfMemoryError
from tritorch.runtime import recording
from tritorch.runtime.cuda.driver import (
    EVENT_DISABLE_TIMING,
    OUT_OF_MEMORY,
    STICKY,
    Driver,
    DriverError,
    relaxed,
)
from tritorch.runtime.cuda.memory_statistics import Figures
from tritorch.runtime.cuda.quick import QuickLists

_ROUND = 512
SMALL_MAX = 1 << 20
_SMALL_SEGMENT = 2 << 20
_LARGE_MIN = 10 << 20
_LARGE_SEGMENT = 20 << 20
_SEGMENT_ROUND = 2 << 20
#: numbers of the pools of large and of small blocks among the figures
_POOLS = (2, 1)


class Block:
    """A piece of a segment; `previous` and `next` are its neighbours there."""

    __slots__ = (
        "address", "allocator", "next", "pool", "previous", "requested", "size", "stream",
        "used_on", "waiting",
    )  # fmt: skip

    def __init__(
        self, address: int, size: int, stream: int, pool: Pool, allocator: CachingAllocator
    ) -> None:
        self.allocator = allocator
        self.address = address
        self.size = size
        self.stream = stream
        self.pool = pool
        self.previous: Block | None = None
        self.next: Block | None = None
        self.requested = 0
        self.used_on: set[int] | None = None  # other streams
        self.waiting = 0  # events that must pass before it is free

    @property
    def is_split(self) -> bool:
        return self.previous is not None or self.next is not None

    def __repr__(self) -> str:
        return f"<Block {self.size} bytes at {self.address:#x}, stream {self.stream:#x}>"


class Pool:
    """Free blocks of small or of large segments, sorted by stream, size and address."""

    def __init__(self, small: bool) -> None:
        self.small = small
        self.free: list[tuple[int, int, int, Block]] = []

    def insert(self, block: Block) -> None:
        insort(self.free, (block.stream, block.size, block.address, block))

    def remove(self, block: Block) -> None:
        del self.free[bisect_left(self.free, (block.stream, block.size, block.address))]

    def __contains__(self, block: Block) -> bool:
        place = bisect_left(self.free, (block.stream, block.size, block.address))
        return place < len(self.free) and self.free[place][3] is block

    def take(self, stream: int, size: int) -> Block | None:
        """The smallest free block of at least this size."""
        place = bisect_left(self.free, (stream, size))
        if place == len(self.free) or self.free[place][0] != stream:
            return None
        return self.free.pop(place)[3]


class PoolPair:
    """Small and large blocks that may serve each other's requests: a graph's, or all others'."""

    def __init__(self) -> None:
        self.small = Pool(True)
        self.large = Pool(False)
        self.users = 1  # graphs; without any its free segments may go back to the driver


def rounded(nbytes: int) -> int:
    """Bytes of the block that serves a request."""
    return max(-(-nbytes // _ROUND), 1) * _ROUND


def segment_bytes(size: int) -> int:
    """What the driver is asked for where no block of `size` is free."""
    if size <= SMALL_MAX:
        return _SMALL_SEGMENT
    if size < _LARGE_MIN:
        return _LARGE_SEGMENT
    return -(-size // _SEGMENT_ROUND) * _SEGMENT_ROUND


class CachingAllocator:
    """Memory of device number `device`, whose context must be current in the calling thread."""

    def __init__(self, driver: Driver, device: int, blocks: dict[int, Block]) -> None:
        self._driver = driver
        self.device = device
        self._blocks = blocks  # in use, by address; one dictionary for all devices
        self._lock = threading.RLock()
        self._busy = False
        self._default = PoolPair()
        self._pairs = [self._default]
        #: stream that captures -> its graph's memory, and the thread that records
        self._captures: dict[int, tuple[PoolPair, int]] = {}
        self._quick: dict[tuple[int, int], list[Block]] = {}
        #: the same for the default stream, where there is only one device
        self.lists: QuickLists | None = None
        self._deferred: deque[Block] = deque()  # freed while the lock was held
        self._events: dict[int, deque[tuple[int, Block]]] = {}  # stream -> recorded, in order
        self._spare_events: list[int] = []
        self._after_capture: list[Block] = []
        self._segments: dict[int, int] = {}  # address -> bytes
        self.limit: int | None = None  # bytes that may be reserved
        self.figures = Figures()

    # ---- requests
    def allocate(self, nbytes: int, stream: int) -> int:
        """The address of a block, for use on `stream`.

        Raises:
            OutOfMemoryError: there is no room, even after the cache was released.
        """
        size = rounded(nbytes)
        with self._lock:
            if self._busy:  # a finalizer of Python's, in the middle of a request: a way of its own
                block = self._new_segment(size, stream, PoolPair().large)
                block.pool = self._default.large
                return self._hand_out(block, nbytes)
            self._busy = True
            try:
                if self._deferred:
                    self._free_deferred()
                quick = self._quick.get((size, stream))
                if quick and not self._captures:
                    block = quick.pop()
                elif not stream and self.lists and (kept := self.lists.blocks(size).take()):
                    block = self._blocks[kept]
                else:
                    block = self._find(size, stream)
                return self._hand_out(block, nbytes)
            finally:
                self._busy = False

    def _hand_out(self, block: Block, nbytes: int) -> int:
        block.requested = nbytes
        self.figures.count_out(_POOLS[block.pool.small], block.size, nbytes)
        self._blocks[block.address] = block
        return block.address

    def free(self, block: Block) -> None:
        """Take back a block that is no longer among those in use.

        Python may call this in the middle of anything, so it never waits for the lock.
        """
        if not self._lock.acquire(blocking=False):
            self._defer(block)
            return
        try:
            if self._busy:
                self._defer(block)
                return
            self._busy = True
            try:
                self._free(block)
            finally:
                self._busy = False
        finally:
            self._lock.release()

    def _defer(self, block: Block) -> None:
        self._deferred.append(block)
        if self.lists is not None:
            self.lists.state.waiting = 1

    def record_stream(self, block: Block, stream: int) -> None:
        """The block is used on another stream too."""
        if stream == block.stream:
            return
        with self._lock:
            if block.used_on is None:
                block.used_on = set()
                if self.lists is not None:
                    self.lists.state.recorded += 1
            block.used_on.add(stream)

    # ---- finding a block
    def _find(self, size: int, stream: int) -> Block:
        pair = self._pair_for(stream) if self._captures else self._default
        pool = pair.small if size <= SMALL_MAX else pair.large
        if self._events and not self._captures:
            self._collect(wait=False)
        block = pool.take(stream, size)
        if block is None and pair is self._default:
            self._return_quick()
            block = pool.take(stream, size)
        if block is None:
            block = self._new_segment(size, stream, pool)
        elif block.is_split:
            self.figures.count_no_piece(_POOLS[pool.small], block.size)
        rest = block.size - size
        if rest >= _ROUND if pool.small else rest > SMALL_MAX:
            self._split(block, size)
        return block

    def _pair_for(self, stream: int) -> PoolPair:
        """Of the graph that the stream captures, or that it joined by waiting for an event."""
        found = self._captures.get(stream)
        if found is not None:
            return found[0]
        if not stream or not self._driver.is_capturing(stream):
            return self._default
        here = threading.get_ident()
        ours = [pair for pair, thread in self._captures.values() if thread == here]
        return ours[0] if ours else next(iter(self._captures.values()))[0]

    def _split(self, block: Block, size: int) -> None:
        rest = Block(block.address + size, block.size - size, block.stream, block.pool, self)
        block.size = size
        rest.previous, rest.next = block, block.next
        if rest.next is not None:
            rest.next.previous = rest
        block.next = rest
        self._insert(rest)

    def _insert(self, block: Block) -> None:
        block.pool.insert(block)
        if block.is_split:
            self.figures.count_piece(_POOLS[block.pool.small], block.size)

    def _new_segment(self, size: int, stream: int, pool: Pool) -> Block:
        nbytes = segment_bytes(size)
        try:
            address = self._ask(nbytes)
        except DriverError as error:
            if error.code != OUT_OF_MEMORY:
                raise
            self.figures.num_alloc_retries += 1
            self._release_cached()
            try:
                address = self._ask(nbytes)
            except DriverError as again:
                if again.code != OUT_OF_MEMORY:
                    raise
                self.figures.num_ooms += 1
                raise self._out_of_memory(size) from None
        self._segments[address] = nbytes
        self.figures.num_device_alloc += 1
        self.figures.segment.add(pool.small, 1)
        self.figures.reserved_bytes.add(pool.small, nbytes)
        return Block(address, nbytes, stream, pool, self)

    def _ask(self, nbytes: int) -> int:
        if self.limit is not None and self.reserved + nbytes > self.limit:
            raise DriverError(OUT_OF_MEMORY, "limit", "the limit set for this process", "allocate")
        with relaxed(self._driver):
            return self._driver.allocate(nbytes)

    @property
    def reserved(self) -> int:
        """Bytes taken from the driver."""
        return self.figures.reserved_bytes.all.current

    # ---- freeing
    def _free_deferred(self) -> None:
        if self.lists is not None:
            self.lists.state.waiting = 0
        while self._deferred:
            self._free(self._deferred.popleft())

    def _free(self, block: Block) -> None:
        self.figures.count_back(_POOLS[block.pool.small], block.size, block.requested)
        if block.used_on:
            if self._captures:
                self._after_capture.append(block)
            else:
                self._record_events(block)
        else:
            self._release(block)

    def _record_events(self, block: Block) -> None:
        streams, block.used_on = block.used_on or set(), None
        if self.lists is not None:
            self.lists.state.recorded -= 1
        for stream in sorted(streams):
            try:
                if not self._spare_events:
                    self._spare_events.append(self._driver.create_event(EVENT_DISABLE_TIMING))
                self._driver.record_event(self._spare_events[-1], stream)
            except DriverError as error:  # whoever drops a tensor hears of no error
                if error.code not in STICKY:  # a stream of another library that is no more
                    with suppress(DriverError):
                        self._driver.synchronize()
                    self.figures.num_sync_all_streams += 1
                continue
            event = self._spare_events.pop()
            self._events.setdefault(stream, deque()).append((event, block))
            block.waiting += 1
        if not block.waiting:
            self._release(block)

    def _collect(self, wait: bool) -> None:
        """Release the blocks whose events have passed."""
        with relaxed(self._driver) if recording.device_captures else nullcontext():
            for stream in list(self._events):
                self._collect_from(stream, wait)

    def _collect_from(self, stream: int, wait: bool) -> None:
        queue = self._events[stream]
        while queue:
            event, block = queue[0]
            if wait:
                self._driver.synchronize_event(event)
            elif not self._driver.event_is_done(event):
                break
            queue.popleft()
            self._spare_events.append(event)
            block.waiting -= 1
            if not block.waiting:
                self._release(block)
        if not queue:
            del self._events[stream]

    def _release(self, block: Block) -> None:
        pool = block.pool
        self.figures.count_free(_POOLS[pool.small], block.size)
        if pool is not self._default.small:
            self._merge(block)
        elif block.stream or self.lists is None:
            self._quick.setdefault((block.size, block.stream), []).append(block)
        elif self.lists.blocks(block.size).park(block.address):
            self._blocks[block.address] = block
        else:
            self._merge(block)

    def _return_quick(self) -> None:
        quick, self._quick = self._quick, {}
        for blocks in quick.values():
            for block in blocks:
                self._merge(block)
        if self.lists is not None:
            for address in self.lists.drain():
                self._merge(self._blocks.pop(address))

    def _merge(self, block: Block) -> None:
        """Put a free block into its pool, grown together with free neighbours."""
        before, after = block.previous, block.next
        if before is not None and before in before.pool:
            self._take_out(before)
            block.address, block.size = before.address, before.size + block.size
            block.previous = before.previous
            if block.previous is not None:
                block.previous.next = block
        if after is not None and after in after.pool:
            self._take_out(after)
            block.size += after.size
            block.next = after.next
            if block.next is not None:
                block.next.previous = block
        self._insert(block)

    def _take_out(self, block: Block) -> None:
        block.pool.remove(block)
        self.figures.count_no_piece(_POOLS[block.pool.small], block.size)

    # ---- giving back
    def empty_cache(self) -> None:
        """Give free segments back to the driver."""
        with self._lock:
            if self._busy or self._captures:
                return
            self._busy = True
            try:
                self._release_cached()
            finally:
                self._busy = False

    def _release_cached(self) -> None:
        self._free_deferred()
        if self._captures:
            return  # the device must not be waited for now
        with relaxed(self._driver):
            self._collect(wait=True)
            self._return_quick()
            for pair in self._pairs:
                if pair is self._default or not pair.users:
                    for pool in (pair.small, pair.large):
                        self._release_segments(pool)
        held = {block.pool for block in list(self._blocks.values())}
        self._pairs = [
            pair for pair in self._pairs
            if pair is self._default or pair.users or not held.isdisjoint((pair.small, pair.large))
        ]  # fmt: skip

    def _release_segments(self, pool: Pool) -> None:
        for _, _, _, block in list(pool.free):
            if block.is_split or block.allocator is not self:  # graphs share across devices
                continue
            pool.remove(block)
            self._driver.free(block.address)
            del self._segments[block.address]
            self.figures.num_device_free += 1
            self.figures.segment.subtract(pool.small, 1)
            self.figures.reserved_bytes.subtract(pool.small, block.size)

    def _out_of_memory(self, size: int) -> OutOfMemoryError:
        free, total = self._driver.memory_info()
        allocated = self.figures.allocated_bytes.all.current
        limit = "" if self.limit is None else f" This process may use {_amount(self.limit)}."
        return OutOfMemoryError(
            f"CUDA out of memory. Tried to allocate {_amount(size)}. GPU {self.device} has a "
            f"total capacity of {_amount(total)} of which {_amount(free)} is free.{limit} Of the "
            f"memory that this process holds, {_amount(allocated)} is allocated by tensors, and "
            f"{_amount(self.reserved - allocated)} is reserved but unallocated. Use smaller "
            "batches, or free tensors that are not needed."
        )

    # ---- graphs
    def begin_capture(self, stream: int, pair: PoolPair) -> None:
        """Requests on `stream` are served from a graph's own memory until `end_capture`."""
        with self._lock:
            if pair not in self._pairs:
                self._pairs.append(pair)
            self._captures[stream] = pair, threading.get_ident()

    def end_capture(self, stream: int) -> None:
        with self._lock:
            del self._captures[stream]
            if not self._captures:
                waiting, self._after_capture = self._after_capture, []
                for block in waiting:
                    self._record_events(block)

    # ---- reports
    def snapshot(self) -> list[dict[str, Any]]:
        """The segments with the state of their blocks, by address (for summaries and tests)."""
        with self._lock:
            self._free_deferred()
            blocks: dict[int, tuple[int, str]] = {}
            for address, block in self._blocks.items():
                blocks[address] = (block.size, "active_allocated")
            for queue in self._events.values():
                for _, block in queue:
                    blocks[block.address] = (block.size, "active_awaiting_free")
            for block in self._after_capture:
                blocks[block.address] = (block.size, "active_awaiting_free")
            for pair in self._pairs:
                for pool in (pair.small, pair.large):
                    for _, size, address, _ in pool.free:
                        blocks[address] = (size, "inactive")
            for kept in self._quick.values():
                for block in kept:
                    blocks[block.address] = (block.size, "inactive")
            for address in self.lists.kept() if self.lists is not None else ():
                blocks[address] = (self._blocks[address].size, "inactive")
            return [
                {
                    "address": start,
                    "total_size": nbytes,
                    "blocks": [
                        {"address": at, "size": size, "state": state}
                        for at, (size, state) in sorted(blocks.items())
                        if start <= at < start + nbytes
                    ],
                }
                for start, nbytes in sorted(self._segments.items())
            ]


def _amount(nbytes: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if nbytes >= unit:
            return f"{nbytes / unit:.2f} {name}"
    return f"{nbytes} bytes"
