"""Targets: where kernels run and tensors live. `get_target("cpu")` is the way in."""

from __future__ import annotations

import os
import threading

from tritorch.devices import device as Device
from tritorch.errors import DeviceError
from tritorch.runtime import statistics
from tritorch.runtime.storage import Storage
from tritorch.runtime.target import Kernel, Launch, Target

__all__ = [
    "Kernel",
    "Launch",
    "Storage",
    "Target",
    "get_num_threads",
    "get_target",
    "kernels",
    "set_num_threads",
    "started_target",
    "statistics",
]

_targets: dict[str, Target] = {}
_lock = threading.Lock()


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()  # a thread that is no more may have held it


os.register_at_fork(after_in_child=_after_fork_in_child)


def get_target(place: str | Device) -> Target:
    """The target for a device type (`"cpu"`, `"cuda"`), or for tensors on a device.

    Raises:
        DeviceError: there is no such device here.
    """
    if isinstance(place, str):
        return _targets.get(place) or _started(place)
    found = _targets.get(place.type) or _started(place.type)
    return found if place.index is None else found.of_device(place.index)


def _started(device_type: str) -> Target:
    if device_type == "cpu":
        from tritorch.runtime.cpu.target import CPUTarget

        with _lock:
            if "cpu" not in _targets:
                _targets["cpu"] = CPUTarget()
            return _targets["cpu"]
    if device_type == "cuda":
        from tritorch.runtime.cuda.bindings import load_driver
        from tritorch.runtime.cuda.target import CUDATarget

        with _lock:
            if "cuda" not in _targets:
                _targets["cuda"] = CUDATarget(load_driver())
            return _targets["cuda"]
    raise DeviceError(f"{device_type}: no such device type. Use 'cpu' or 'cuda'.")


def started_target(device_type: str) -> Target | None:
    """The target if anything was done with it yet; starts nothing."""
    return _targets.get(device_type)


def kernels() -> tuple[Kernel, ...]:
    """Every kernel that this process compiled or loaded so far, on all targets."""
    return tuple(kernel for target in _targets.values() for kernel in target.kernels())


def set_num_threads(count: int) -> None:
    """Run CPU kernels on `count` threads from now on, the launching one included."""
    from tritorch.runtime.cpu.pool import set_num_threads

    set_num_threads(count)


def get_num_threads() -> int:
    """How many threads run one CPU kernel, the launching one included."""
    from tritorch.runtime.cpu.pool import get_num_threads

    return get_num_threads()
