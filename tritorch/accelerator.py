"""`torch.accelerator`: the device to prefer over the CPU, if there is one."""

from __future__ import annotations

from tritorch import cuda
from tritorch.devices import device


def is_available() -> bool:
    """Whether there is a device other than the CPU."""
    return cuda.is_available()


def device_count() -> int:
    """The number of such devices."""
    return cuda.device_count()


def current_accelerator(check_available: bool = False) -> device | None:
    """The device to use, None where there is only the CPU."""
    return device("cuda") if cuda.is_available() else None
