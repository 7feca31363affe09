"""`torch.accelerator`: the device to prefer over the CPU, if there is one; recorded work."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from tritorch import cuda, dtypes
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


def synchronize(device: Any = None, /) -> None:
    """Wait for all work of the device; on the CPU there is never any left."""
    if cuda.is_available():
        cuda.synchronize(device)


# ---- the current device and its stream


def _needed(name: str) -> None:
    if not cuda.is_available():
        raise RuntimeError(
            f"accelerator.{name}: there is no accelerator here. Ask is_available() first."
        )


def current_device_index() -> int:
    """The number of the current device."""
    _needed("current_device_index")
    return cuda.current_device()


def set_device_index(device: Any, /) -> None:
    """Make another device the current one; a negative number changes nothing."""
    _needed("set_device_index")
    cuda.set_device(device)


class device_index(cuda.device):
    """A block in which another device is the current one; None changes nothing."""

    def __init__(self, device: int | None, /) -> None:
        _needed("device_index")
        super().__init__(-1 if device is None else device)


def current_stream(device: Any = None, /) -> cuda.Stream:
    """The stream that work of this device goes to."""
    _needed("current_stream")
    return cuda.current_stream(device)


def set_stream(stream: cuda.Stream) -> None:
    """Send work to this stream from now on."""
    _needed("set_stream")
    cuda.set_stream(stream)


def get_device_capability(device: Any = None, /) -> dict[str, Any]:
    """What the device can do: `supported_dtypes`."""
    _needed("get_device_capability")
    cuda.get_device_properties(device)  # refuses a device that is not there
    return {"supported_dtypes": set(dtypes.BY_NAME.values())}


def get_device_module(device: Any = None) -> ModuleType:
    """`torch.cuda` or `torch.cpu`: the module of a kind of device, None for the one to use.

    Raises:
        RuntimeError: there is no module for it.
    """
    kind = _device_type(device)
    if kind not in ("cpu", "cuda"):
        raise RuntimeError(f"get_device_module: there is no module for {kind!r} devices.")
    return import_module(f"tritorch.{kind}")


# ---- its memory, in bytes; without a device none is used


def empty_cache() -> None:
    """Give memory back that no tensor uses."""
    if cuda.is_available():
        cuda.empty_cache()


def memory_stats(device: Any = None, /) -> Mapping[str, Any]:
    """Counters of the allocator, see `torch.cuda.memory_stats`."""
    return cuda.memory_stats(device) if cuda.is_available() else {}


def memory_allocated(device: Any = None, /) -> int:
    """In use by tensors."""
    return cuda.memory_allocated(device) if cuda.is_available() else 0


def max_memory_allocated(device: Any = None, /) -> int:
    """The most that was."""
    return cuda.max_memory_allocated(device) if cuda.is_available() else 0


def memory_reserved(device: Any = None, /) -> int:
    """Held by the allocator."""
    return cuda.memory_reserved(device) if cuda.is_available() else 0


def max_memory_reserved(device: Any = None, /) -> int:
    """The most that was."""
    return cuda.max_memory_reserved(device) if cuda.is_available() else 0


def reset_accumulated_memory_stats(device: Any = None, /) -> None:
    """Sums of the counters start from zero."""
    if cuda.is_available():
        cuda.reset_accumulated_memory_stats(device)


def reset_peak_memory_stats(device: Any = None, /) -> None:
    """Peaks start from what is in use now."""
    if cuda.is_available():
        cuda.reset_peak_memory_stats(device)


def get_memory_info(device: Any = None, /) -> tuple[int, int]:
    """Bytes of the device that are free, and all of them."""
    _needed("get_memory_info")
    return cuda.mem_get_info(device)


#: names of older versions
current_device_idx = current_device_index
set_device_idx = set_device_index


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
