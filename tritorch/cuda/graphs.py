"""CUDA graphs: work recorded once and replayed with one call of the driver.

What is replayed reads and writes the addresses of the recording, so new inputs are copied into the
tensors that were used then. Whatever the host computes meanwhile (Python numbers) is part of the
recording; so are checks of indices, which are raised at the next wait. Random numbers are new in
each replay: those that one more eager step would draw.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from tritorch.cuda.devices import synchronize, target
from tritorch.cuda.streams import Stream, StreamContext
from tritorch.runtime.cuda.allocator import PoolPair
from tritorch.tensor import Tensor


def graph_pool_handle() -> PoolPair:
    """Memory for graphs to share; they must be replayed in the order of their recording."""
    pool = PoolPair()
    pool.users = 0
    return pool


def is_current_stream_capturing() -> bool:
    """Whether this thread's stream records a graph now."""
    found = target()
    with found.calling() as driver:
        stream = found.current.thread.stream
        return bool(stream) and driver.is_capturing(stream)


class CUDAGraph:
    """A recording; see `graph`."""

    def __init__(self, keep_graph: bool = False) -> None:
        self._graph = target().new_graph()

    def capture_begin(
        self, pool: PoolPair | None = None, capture_error_mode: str = "global"
    ) -> None:
        """Record what this thread asks of its current stream, which must not be the default one."""
        self._graph.begin(pool, capture_error_mode)

    def capture_end(self) -> None:
        """The recording is complete."""
        self._graph.end()

    def replay(self) -> None:
        """Do it all again on the current stream."""
        self._graph.replay()

    def reset(self) -> None:
        """Forget the recording."""
        self._graph.reset()

    def pool(self) -> PoolPair | None:
        """Its memory, for another graph's `pool=`."""
        return self._graph.pool


class graph:
    """Record the work of a block into a graph.

    Args:
        cuda_graph: where to.
        pool: memory to share, from `graph_pool_handle` or another graph's `pool()`.
        stream: which stream records; None makes one.

    Example:
        `with torch.cuda.graph(g): y = f(x)`, then `x.copy_(new); g.replay()`.
    """

    _default: Stream | None = None

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
        self._context = StreamContext(stream or Stream())

    def __enter__(self) -> None:
        synchronize()
        gc.collect()
        self._context.__enter__()
        try:
            self._graph.capture_begin(self._pool, self._mode)
        except BaseException:
            self._context.__exit__()
            raise

    def __exit__(self, *exception: Any) -> None:
        try:
            self._graph.capture_end()
        finally:
            self._context.__exit__(*exception)


def make_graphed_callables(
    callables: Callable[..., Any],
    sample_args: tuple[Tensor, ...],
    num_warmup_iters: int = 3,
) -> Callable[..., Any]:
    """A function that replays a recording of another one's forward pass.

    Its results are overwritten by the next call. Gradients are not recorded.

    Args:
        callables: one function or module of tensors.
        sample_args: tensors of the shapes, dtypes and device that it will be called with.
    Raises:
        RuntimeError: an argument requires a gradient.
    """
    if any(value.requires_grad for value in sample_args):
        raise RuntimeError(
            "make_graphed_callables: arguments that require gradients are not supported. Detach "
            "them, or record forward and backward with tritorch.cuda.graph."
        )
    kept = tuple(value.detach().clone() for value in sample_args)
    for _ in range(num_warmup_iters):
        callables(*kept)
    recorded = CUDAGraph()
    with graph(recorded):
        results = callables(*kept)

    def replayed(*values: Tensor) -> Any:
        for place, value in zip(kept, values, strict=True):
            place.copy_(value)
        recorded.replay()
        return results

    return replayed
