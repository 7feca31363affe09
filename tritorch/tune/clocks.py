"""Seconds of a call: by the host's clock for a CPU, by events in the stream for a GPU.

A GPU's calls are recorded into a graph where they can be, so that what the host needs to launch
them is not measured, and they take several sets of inputs in turn, so that none is found in the
second-level cache because the call before had read it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import tritorch as torch
from tritorch.errors import OutOfMemoryError, TritorchError
from tritorch.tensor import Tensor

Call = Callable[..., Any]
#: a sample lasts at least so long, for the clocks' sake
SAMPLE_SECONDS = {"cpu": 0.004, "cuda": 0.01}
#: calls that one recording has at most
_RECORDED = 64
_MOST_SETS = 16


def sample(call: Call, arguments: Sequence[Any]) -> float:
    """Seconds of a call on the CPU: of as many calls as last long enough, after one that does not
    count."""
    call(*arguments)
    count = 1
    least = SAMPLE_SECONDS["cpu"]
    while True:
        start = time.perf_counter()
        for _ in range(count):
            call(*arguments)
        took = time.perf_counter() - start
        if took >= least or count > 1 << 20:
            return took / count
        count = max(count + 1, int(count * least * 1.2 / max(took, 1e-7)))


def sets_of(inputs: Sequence[Tensor], cache_bytes: int, free_bytes: int) -> int:
    """How many sets of inputs do not fit into a cache of this size, half of them left out."""
    one = sum(x.nbytes for x in inputs) or 1
    wanted = 1 + -(-2 * cache_bytes // one)
    return max(1, min(wanted, _MOST_SETS, free_bytes // 4 // one))


class DeviceClock:
    """Times calls on a GPU.

    Attributes:
        recorded: whether calls are measured as a recorded graph; False once one could not be.
    """

    def __init__(self) -> None:
        self.recorded = True

    def sample(self, call: Call, sets: Sequence[Sequence[Any]]) -> float:
        """Seconds of a call, over the sets of arguments in turn."""
        for arguments in sets:
            call(*arguments)
        torch.cuda.synchronize()
        once = self._between(lambda: _all(call, sets, len(sets))) / len(sets)
        wanted = SAMPLE_SECONDS["cuda"] / max(once, 1e-7)
        if self.recorded:
            try:
                return self._replayed(call, sets, wanted)
            except OutOfMemoryError:
                raise
            except (TritorchError, RuntimeError):  # it waits for the device, or asks it something
                self.recorded = False
        count = _whole(wanted, len(sets), 2000)
        return self._between(lambda: _all(call, sets, count)) / count

    def _replayed(self, call: Call, sets: Sequence[Sequence[Any]], wanted: float) -> float:
        count = _whole(wanted, len(sets), _RECORDED)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            _all(call, sets, count)
        try:
            graph.replay()
            torch.cuda.synchronize()
            times = max(1, min(round(wanted / count), 1000))

            def replay() -> None:
                for _ in range(times):
                    graph.replay()

            return self._between(replay) / (count * times)
        finally:
            graph.reset()

    def _between(self, run: Callable[[], None]) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) * 1e-3


def _all(call: Call, sets: Sequence[Sequence[Any]], count: int) -> None:
    for turn in range(count):
        call(*sets[turn % len(sets)])


def _whole(wanted: float, sets: int, most: int) -> int:
    """A count of calls in which each set comes equally often."""
    return max(1, min(round(wanted / sets), most // sets)) * sets
