"""Operands on the CPU without dimensions, in kernels of another device: they count as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tritorch.devices import device as Device
from tritorch.kernels.plan import Plan
from tritorch.layout import Layout


def with_numbers_of_the_host(plan: Plan, inputs: Sequence[Layout], device: Device) -> Plan:
    """A plan that copies the elements of inputs on other devices to this one at each launch.

    Args:
        plan: for inputs that are all on the device.
        inputs: layouts of the tensors that the launch gets behind its outputs.
    """
    from tritorch.runtime import get_target

    target = get_target(device)
    first = len(plan.outputs)
    copied = [
        (first + place, layout.dtype.itemsize)
        for place, layout in enumerate(inputs)
        if layout.device is not device
    ]
    run = plan.launch

    def launch(*values: Any) -> None:
        arguments = list(values)
        held = []
        try:
            for place, nbytes in copied:
                address = target.allocate(nbytes)
                held.append((address, nbytes))
                target.upload(address, values[place], nbytes)
                arguments[place] = address
            run(*arguments)
        finally:
            for address, nbytes in held:
                target.free(address, nbytes)

    return Plan(plan.outputs, launch, plan.kernels)
