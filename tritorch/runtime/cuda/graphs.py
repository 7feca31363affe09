"""`Capture`: the work of a stream recorded once, replayed at once.

While a stream captures, nothing runs: launches and copies become nodes of a graph. Memory that is
asked for meanwhile comes from the graph's own pool and is never given to anybody else, since a
replay writes to it again.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from tritorch.errors import AcceleratorError
from tritorch.runtime import recording
from tritorch.runtime.cuda.allocator import CachingAllocator, PoolPair
from tritorch.runtime.cuda.driver import (
    CAPTURE_GLOBAL,
    CAPTURE_RELAXED,
    CAPTURE_THREAD_LOCAL,
    Driver,
)

if TYPE_CHECKING:
    from tritorch.runtime.cuda.target import CUDATarget

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
        self._executable = 0
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
        if self._executable or self._allocator is not None:
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

    def end(self) -> None:
        """The recording is complete."""
        if self._allocator is None:
            raise AcceleratorError("CUDAGraph: no capture is under way. Call capture_begin().")
        allocator, self._allocator = self._allocator, None
        try:
            graph = self._driver.end_capture(self._stream)
        finally:
            allocator.end_capture(self._stream)
        try:
            self.nodes = self._driver.graph_nodes(graph)
            self._executable = self._driver.instantiate_graph(graph)
        finally:
            self._driver.destroy_graph(graph)

    def replay(self, stream: int) -> None:
        """Do it all again, in the order of `stream`."""
        if not self._executable:
            raise AcceleratorError("CUDAGraph: nothing was captured. Capture before replay().")
        self._driver.launch_graph(self._executable, stream)

    def reset(self) -> None:
        """Forget the graph; its memory may go back to the driver."""
        if self._executable:
            self._driver.destroy_executable(self._executable)
            self._executable = 0
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

    @property
    def pool(self) -> PoolPair | None:
        """Its memory, for graphs that never run at the same time and may share it."""
        return self._capture.pool

    def begin(self, pool: PoolPair | None = None, mode: str = "global") -> None:
        """Record what this thread asks of its current stream, which must not be the default one."""
        target = self._target
        with target.calling():
            self._capture.begin(target.allocator(), target.current.thread.stream, pool, mode)
        self._thread = threading.get_ident()
        recording.device_captures.add(self._thread)

    def end(self) -> None:
        """The recording is complete."""
        recording.device_captures.discard(self._thread)
        with self._target.calling():
            self._capture.end()

    def abandon(self) -> None:
        """Forget a recording that is under way."""
        with suppress(AcceleratorError):  # what went wrong is raised by whoever calls this
            self.end()
        self.reset()

    def replay(self) -> None:
        """Do it all again on the current stream."""
        with self._target.calling():
            self._capture.replay(self._target.current.thread.stream)

    def reset(self) -> None:
        """Forget the recording."""
        with self._target.calling():
            self._capture.reset()

    def __del__(self) -> None:
        capture = getattr(self, "_capture", None)
        if capture is not None:
            self._target.discard_graph(capture)
