"""`Capture`: the work of a stream recorded once, replayed at once.

While a stream captures, nothing runs: launches and copies become nodes of a graph. Memory that is
asked for meanwhile comes from the graph's own pool and is never given to anybody else, since a
replay writes to it again.

A kernel that draws random numbers has parameters named `seed` and `offset`. The graph ends before
it and another one begins behind it; a replay launches it in between with the numbers that one more
eager step would draw (the cost is one more launch of a graph).

What is made once for all later calls (plans, code, tables) is made *aside*, at once and on the
default stream. Numbers that the host gives meanwhile are kept in page-locked memory, which replays
read again.
"""

from __future__ import annotations

import ctypes
import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from tritorch.errors import AcceleratorError
from tritorch.runtime import recording
from tritorch.runtime.cuda.allocator import CachingAllocator, PoolPair
from tritorch.runtime.cuda.driver import (
    CAPTURE_GLOBAL,
    CAPTURE_RELAXED,
    CAPTURE_THREAD_LOCAL,
    STREAM_CAPTURE_UNJOINED,
    Driver,
    DriverError,
    relaxed,
)
from tritorch.runtime.cuda.pinned import PinnedBlock
from tritorch.runtime.storage import Storage

if TYPE_CHECKING:
    from tritorch.runtime.cuda.target import CUDATarget
    from tritorch.runtime.target import Launch

MODES = {
    "global": CAPTURE_GLOBAL,
    "thread_local": CAPTURE_THREAD_LOCAL,
    "relaxed": CAPTURE_RELAXED,
}


class Capture:
    """A graph: empty, capturing, or ready to be replayed."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._pair: PoolPair | None = None
        self._allocator: CachingAllocator | None = None
        self._stream = 0
        self._mode = CAPTURE_GLOBAL
        self._parts: list[int | Callable[[], None]] = []
        self.nodes = 0

    @property
    def pool(self) -> PoolPair | None:
        """Its memory, for graphs that never run at the same time and may share it."""
        return self._pair

    def begin(
        self, allocator: CachingAllocator, stream: int, pool: PoolPair | None, mode: str
    ) -> None:
        """Record what is asked of `stream` from now on.

        Raises:
            ValueError: no such mode. AcceleratorError: it holds a graph already, or the stream is
                the default one.
        """
        if mode not in MODES:
            raise ValueError(
                f"CUDAGraph: capture_error_mode must be one of {', '.join(MODES)}, got {mode!r}."
            )
        if threading.get_ident() in recording.device_captures:
            raise AcceleratorError(
                "CUDAGraph: this thread records a graph already. End that recording first."
            )
        if self._parts or self._allocator is not None:
            raise AcceleratorError("CUDAGraph: it captured already. Call reset() first.")
        if not stream:
            raise AcceleratorError(
                "CUDAGraph: the default stream cannot capture. Use tritorch.cuda.graph(), or a "
                "stream of your own."
            )
        if pool is None:
            pool = PoolPair()
        else:
            pool.users += 1
        allocator.begin_capture(stream, pool)
        try:
            self._driver.begin_capture(stream, MODES[mode])
        except BaseException:
            allocator.end_capture(stream)
            pool.users -= 1
            raise
        self._pair, self._allocator, self._stream = pool, allocator, stream
        self._mode = MODES[mode]

    def between(self, work: Callable[[], None]) -> None:
        """The driver's graph ends here; a replay calls `work`, then goes on with another graph.

        Raises:
            AcceleratorError: another stream takes part, and has not been waited for.
        """
        try:
            self._close()
        except DriverError as error:
            if error.code != STREAM_CAPTURE_UNJOINED:
                raise
            raise AcceleratorError(
                "CUDAGraph: random numbers are drawn while another stream takes part in the "
                "recording. Let the recording stream wait for it first (wait_stream)."
            ) from error
        self._parts.append(work)
        self._driver.begin_capture(self._stream, self._mode)

    def _close(self) -> None:
        graph = self._driver.end_capture(self._stream)
        try:
            nodes = self._driver.graph_nodes(graph)
            if nodes or not self._parts:
                self._parts.append(self._driver.instantiate_graph(graph))
            self.nodes += nodes
        finally:
            self._driver.destroy_graph(graph)

    def end(self) -> None:
        """The recording is complete."""
        if self._allocator is None:
            raise AcceleratorError("CUDAGraph: no capture is under way. Call capture_begin().")
        allocator, self._allocator = self._allocator, None
        try:
            self._close()
        except BaseException:
            self.reset()
            raise
        finally:
            allocator.end_capture(self._stream)

    def replay(self, stream: int) -> None:
        """Do it all again, in the order of `stream`."""
        if not self._parts:
            raise AcceleratorError("CUDAGraph: nothing was captured. Capture before replay().")
        for part in self._parts:
            if callable(part):
                part()
            else:
                self._driver.launch_graph(part, stream)

    def reset(self) -> None:
        """Forget the graph; its memory may go back to the driver."""
        parts, self._parts = self._parts, []
        if parts:
            with relaxed(self._driver):
                for part in parts:
                    if not callable(part):
                        self._driver.destroy_executable(part)
        if self._pair is not None:
            self._pair.users -= 1
            self._pair = None
        self.nodes = 0


class StreamGraph:
    """What `CUDATarget.new_graph` gives: the work of the calling thread's current stream."""

    def __init__(self, target: CUDATarget) -> None:
        self._target = target
        self._capture = Capture(target.driver)
        self._thread = 0
        self._device = 0
        self._kept: list[Any] = []  # page-locked memory that replays read or write
        self._tables: list[Storage] = []
        self._draws: dict[tuple[int, int], tuple[Any, int]] = {}  # -> generator, place
        self._drawn: dict[Any, int] = {}  # generator -> how many numbers
        self._starts: dict[Any, tuple[int, int]] = {}  # of the replay under way

    @property
    def pool(self) -> PoolPair | None:
        """Its memory, for graphs that never run at the same time and may share it."""
        return self._capture.pool

    def begin(self, pool: PoolPair | None = None, mode: str = "global") -> None:
        """Record what this thread asks of its current stream, which must not be the default one."""
        target = self._target
        with target.calling():
            self._capture.begin(target.allocator(), target.current.thread.stream, pool, mode)
        self._draws, self._drawn, self._kept, self._tables = {}, {}, [], []
        self._device = target.current.thread.device
        self._thread = threading.get_ident()
        recording.device_captures.add(self._thread)
        recording.device_graphs[self._thread] = self

    def drawn(self, generator: Any, seed: int, offset: int, count: int) -> None:
        """A generator gave (seed, offset) for so many numbers to what is recorded now."""
        if count:
            place = self._drawn.get(generator, 0)
            self._draws[seed, offset] = generator, place
            self._drawn[generator] = place + count

    def launched(self, launch: Launch, values: tuple[Any, ...], places: tuple[int, int]) -> bool:
        """Take over a launch whose values at these places are a seed and an offset that were drawn
        in this recording: each replay makes it with numbers of its own, between two graphs.
        """
        found = self._draws.get((values[places[0]], values[places[1]]))
        if found is None:
            return False
        generator, place = found

        def again() -> None:
            seed, start = self._starts[generator]
            arguments = list(values)
            arguments[places[0]], arguments[places[1]] = seed, start + place
            launch(*arguments)

        with self._target.calling():
            self._capture.between(again)
        return True

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What is asked for in the block is no part of the recording, and done when it ends."""
        target, thread = self._target, self._thread
        recording.device_captures.discard(thread)
        recording.device_graphs.pop(thread, None)
        with target.calling() as driver, relaxed(driver):
            try:
                with target.current.on_stream(self._device, 0):
                    yield
                    with target.on(self._device):
                        driver.synchronize_stream(0)
            finally:
                recording.device_captures.add(thread)
                recording.device_graphs[thread] = self

    def table(self, values: array[int]) -> int:
        """The address of a copy of a table on the device, kept as it is now."""
        nbytes = len(values) * values.itemsize
        with self.aside():
            target = self._target.of_device(self._device)
            place = Storage(max(nbytes, 8), target)
            target.upload(place.address, values.buffer_info()[0], nbytes)
        self._tables.append(place)
        return place.address

    def upload(self, destination: int, source: int, nbytes: int) -> None:
        """Copy from the host in each replay: page-locked memory as it is then, other
        memory as it is now.
        """
        target = self._target
        held: Any
        if target.pinned.contains(source):
            held = target.pinned.hold(source)
        else:
            held = PinnedBlock(target.pinned, nbytes)
            ctypes.memmove(held.address, source, nbytes)
            source = held.address
        self._kept.append(held)
        target.driver.copy(destination, source, nbytes, target.current.thread.stream)

    def download(self, destination: int, source: int, nbytes: int, non_blocking: bool) -> None:
        """Copy to the host's page-locked memory in each replay.

        Raises:
            AcceleratorError: to other memory, or the host would wait.
        """
        target = self._target
        if not non_blocking or not target.pinned.contains(destination):
            self.refuse("the host cannot wait for elements")
        self._kept.append(target.pinned.hold(destination))
        target.driver.copy(destination, source, nbytes, target.current.thread.stream)

    @staticmethod
    def refuse(what: str) -> None:
        """AcceleratorError; the recording goes on if the program does."""
        raise AcceleratorError(
            f"cuda: operation not permitted when stream is capturing: {what} while a graph is "
            "recorded, since nothing runs yet. Do it before the recording, or after a replay."
        )

    def end(self) -> None:
        """The recording is complete."""
        if recording.device_graphs.get(self._thread) is self:
            recording.device_captures.discard(self._thread)
            del recording.device_graphs[self._thread]
        for generator, count in self._drawn.items():  # nothing ran: replays draw
            generator.take_back(count)
        with self._target.calling():
            self._capture.end()

    def abandon(self) -> None:
        """Forget a recording that is under way."""
        with suppress(AcceleratorError):  # what went wrong is raised by whoever calls this
            self.end()
        self.reset()

    def replay(self) -> None:
        """Do it all again on the current stream."""
        self._starts = {generator: generator.reserve(n) for generator, n in self._drawn.items()}
        with self._target.on(self._device), self._target.calling():
            stream = self._target.current.thread.stream
            self._capture.replay(stream)
            for held in self._kept:
                self._target.pinned.record_use(held.address, self._device, stream)
            for table in self._tables:
                self._target.record_stream(table.address, stream)

    def reset(self) -> None:
        """Forget the recording."""
        self._draws, self._drawn, self._kept, self._tables = {}, {}, [], []
        with self._target.on(self._device), self._target.calling():
            self._capture.reset()

    def __del__(self) -> None:
        capture = getattr(self, "_capture", None)
        if capture is not None:
            self._target.discard_graph(capture)
