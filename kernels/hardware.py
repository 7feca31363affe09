"""What kernels' rules ask of a device: facts that no tensor shows."""

from __future__ import annotations

from typing import Any, NamedTuple

from tritorch.devices import device as Device


class Hardware(NamedTuple):
    """Of a GPU: its capability (90 is sm_90), and how many programs it runs side by side at least.

    Both are 0 for a CPU.
    """

    capability: int
    multiprocessors: int


def hardware_of(device: Device) -> Hardware:
    """The facts of the current device of this type."""
    if device.type == "cpu":
        return Hardware(0, 0)
    from tritorch.runtime import get_target

    target: Any = get_target(device)  # one of GPUs
    return Hardware(target.capability, target.multiprocessors)
