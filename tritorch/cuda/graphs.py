"""CUDA graphs: work recorded once and replayed with one call of the driver.

What is replayed reads and writes the addresses of the recording, so new inputs are copied into the
tensors that were used then. Whatever the host computes meanwhile (Python numbers, the elements of
`torch.tensor([...])`) is part of the recording; so are checks of indices, which are raised at the
next wait. Random numbers are new in each replay: those that one more eager step would draw.

Other streams take part once they wait for the recording one (`wait_stream`), and must be waited for
before its end. What the program would have to wait for (`item()`, `synchronize()`) is an error.
"""

from __future__ import annotations

import gc
from typing import Any, ClassVar, NoReturn

from tritorch.cuda.devices import synchronize, target
from tritorch.cuda.streams import Stream, StreamContext
from tritorch.errors import AcceleratorError
from tritorch.runtime.cuda.allocator import PoolPair


def graph_pool_handle() -> PoolPair:
    """Memory for graphs to share; they must be replayed in the order of their recording."""
    pool = PoolPair()
    pool.users = 0
    return pool


def is_current_stream_capturing() -> bool:
    """Whether this thread's stream records a graph now."""
    found = target()
    stream = found.current.thread.stream
    if not stream:
        return False
    with found.calling() as driver:
        return driver.is_capturing(stream)


class CUDAGraph:
    """A recording; see `graph`.

    Args:
        keep_graph: allows `instantiate()`, which does nothing: `capture_end` did.
    """

    def __init__(self, keep_graph: bool = False) -> None:
        self._graph = target().new_graph()
        self._keep_graph = keep_graph

    def capture_begin(
        self, pool: PoolPair | None = None, capture_error_mode: str = "global"
    ) -> None:
        """Record what this thread asks of its current stream, which must not be the default one.

        Raises:
            AcceleratorError: this thread records already, or the graph holds a recording.
        """
        self._graph.begin(pool, capture_error_mode)

    def capture_end(self) -> None:
        """The recording is complete."""
        self._graph.end()

    def instantiate(self) -> None:
        """Build what is replayed; here `capture_end` did."""
        if not self._keep_graph:
            raise AcceleratorError(
                "CUDAGraph: instantiate() is for graphs with keep_graph=True. Call replay()."
            )

    def replay(self) -> None:
        """Do it all again on the current stream."""
        self._graph.replay()

    def reset(self) -> None:
        """Forget the recording."""
        self._graph.reset()

    def pool(self) -> PoolPair | None:
        """Its memory, for another graph's `pool=`."""
        return self._graph.pool

    def register_generator_state(self, generator: Any) -> None:
        """Nothing to do: replays draw new numbers from every generator that was used."""

    def raw_cuda_graph(self) -> NoReturn:
        """Not supported: a recording with random numbers is several graphs of the driver."""
        raise NotImplementedError(
            "CUDAGraph: there is no one raw graph, a recording may be several. Use replay()."
        )

    raw_cuda_graph_exec = debug_dump = enable_debug_mode = get_graph_data = raw_cuda_graph


class graph:
    """Record the work of a block into a graph.

    What the block raises ends the recording, and leaves the graph empty.

    Args:
        cuda_graph: where to.
        pool: memory to share, from `graph_pool_handle` or another graph's `pool()`.
        stream: which stream records; None: one of the device that is the same for all recordings,
            so that graphs can share memory.

    Example:
        `with torch.cuda.graph(g): y = f(x)`, then `x.copy_(new); g.replay()`.
    """

    _streams: ClassVar[dict[int, Stream]] = {}

    def __init__(
        self,
        cuda_graph: CUDAGraph,
        pool: PoolPair | None = None,
        stream: Stream | None = None,
        capture_error_mode: str = "global",
    ) -> None:
        self._graph = cuda_graph
        self._pool = pool
        self._mode = capture_error_mode
        if stream is None:
            device = target().current.thread.device
            stream = self._streams.get(device)
            if stream is None:
                stream = self._streams.setdefault(device, Stream(device))
        self._context = StreamContext(stream)

    def __enter__(self) -> None:
        synchronize()
        gc.collect()
        self._context.__enter__()
        try:
            self._graph.capture_begin(self._pool, self._mode)
        except BaseException:
            self._context.__exit__()
            raise

    def __exit__(self, kind: Any, *exception: Any) -> None:
        try:
            if kind is None:
                self._graph.capture_end()
            else:
                self._graph._graph.abandon()
        finally:
            self._context.__exit__(kind, *exception)
