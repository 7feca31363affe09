"""`torch.accelerator`: the device to prefer over the CPU, if there is one; recorded work."""

from __future__ import annotations

from typing import Any

from tritorch import cuda
from tritorch.devices import device
from tritorch.errors import AcceleratorError
from tritorch.runtime import get_target
from tritorch.runtime.target import Graph as RecordedWork

_MODES = ("default", "global", "thread_local", "relaxed")


def is_available() -> bool:
    """Whether there is a device other than the CPU."""
    return cuda.is_available()


def device_count() -> int:
    """The number of such devices."""
    return cuda.device_count()


def current_accelerator(check_available: bool = False) -> device | None:
    """The device to use, None where there is only the CPU."""
    return device("cuda") if cuda.is_available() else None


def synchronize() -> None:
    """Wait for all work of the device; on the CPU there is never any left."""
    if cuda.is_available():
        cuda.synchronize()


class Graph:
    """Work that is recorded once and replayed at once: no Python runs for a launch.

    The recording runs as well on the CPU (on a GPU it does not). A replay reads and writes the
    memory of the recording, so new inputs are copied into the tensors that were used then, and
    results are overwritten by the next replay. Python's part is not repeated: numbers, `if`s and
    `torch.tensor([...])` stay as they were; what has to look at elements (`.item()`, `nonzero`) is
    an error while recording. Random numbers are new in each replay, those that one more eager step
    would draw (CPU).

    Args:
        keep_graph: build what is replayed at `instantiate()` or at the first replay.
        pool: memory to share with graphs that are never replayed at the same time, from `pool()`.
        capture_error_mode: "default", "global", "thread_local" or "relaxed"; GPUs only.
        device: where the work is; None for the accelerator, or the CPU where there is none.

    Example:
        `graph = torch.accelerator.Graph()`, `with graph: y = f(x)`, then `x.copy_(new)` and
        `graph.replay()`.
    """

    def __init__(
        self,
        keep_graph: bool = False,
        *,
        pool: Any = None,
        capture_error_mode: str = "default",
        device: Any = None,
    ) -> None:
        if capture_error_mode not in _MODES:
            raise ValueError(
                f"Graph: capture_error_mode must be one of {', '.join(_MODES)}; "
                f"got {capture_error_mode!r}."
            )
        self.graph_pool = pool
        self.capture_error_mode = capture_error_mode
        self._keep_graph = keep_graph
        self._graph: RecordedWork = get_target(_device_type(device)).new_graph()

    def capture_begin(self) -> None:
        """Record what this thread asks of the device from now on.

        Raises:
            AcceleratorError: it holds a recording already, or another one is under way.
        """
        mode = self.capture_error_mode
        self._graph.begin(self.graph_pool, "global" if mode == "default" else mode)

    def capture_end(self) -> None:
        """The recording is complete."""
        self._graph.end()

    def instantiate(self) -> None:
        """Build what is replayed; here `capture_end` did."""
        if not self._keep_graph:
            raise AcceleratorError(
                "Graph: instantiate() is for graphs with keep_graph=True. Call replay()."
            )

    def replay(self) -> None:
        """Do it all again."""
        self._graph.replay()

    def reset(self) -> None:
        """Forget the recording and give its memory back; the graph can record again."""
        self._graph.reset()

    def pool(self) -> Any:
        """Its memory, for another graph's `pool=`."""
        return self._graph.pool

    def __enter__(self) -> None:
        synchronize()
        self.capture_begin()

    def __exit__(self, kind: Any, *_exception: Any) -> None:
        if kind is None:
            self.capture_end()
        else:
            self._graph.abandon()


def _device_type(given: Any) -> str:
    if given is not None:
        return device(given).type
    return "cuda" if cuda.is_available() else "cpu"
