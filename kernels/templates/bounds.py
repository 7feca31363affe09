"""Bounds of index operands: a kernel that meets a wrong index leaves it in a cell, the host raises
IndexError.

The cell is one 64-bit integer that every plan owns. On the CPU reading it after a launch costs 50
ns and the error is raised at once. Kernels never read or write through a wrong index.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING

from tritorch.devices import device as Device
from tritorch.kernels.templates.template import helper

if TYPE_CHECKING:
    import triton.language as tl

_NO_ERROR = -(2**63)


@helper
def report_index(cell_ptr, index, valid):
    """Leave one of the wrong indices of a block in the cell, if there are any."""
    wrong = tl.max(tl.where(valid, -(2**63), index), 0)
    if wrong != -(2**63):
        tl.store(cell_ptr, wrong)


class IndexCell:
    """Where a plan's kernels leave a wrong index; `checked` makes a launch raise for it.

    Args:
        name: the operation, for the message.
        size: indices run from 0 to size - 1 (also from -size, where the operation wraps them).
        dim: the indexed dimension, for the message.
    """

    def __init__(self, name: str, size: int, device: Device, dim: int = 0) -> None:
        self.name, self.size, self.dim, self.device = name, size, dim, device
        self.values = array("q", [_NO_ERROR])
        self.address = self.values.buffer_info()[0]
        if device.type != "cpu":
            from tritorch.runtime import get_target

            self.address = get_target(device.type).allocate(8)

    def checked(self, launch: Callable[..., None]) -> Callable[..., None]:
        if self.device.type != "cpu":
            return launch  # to read the cell would synchronise: an index is checked on the CPU only
        values = self.values

        def checked(*arguments: int) -> None:
            launch(*arguments)
            if values[0] != _NO_ERROR:
                self.fail()

        return checked

    def fail(self) -> None:
        index = self.values[0]
        self.values[0] = _NO_ERROR
        raise IndexError(
            f"{self.name}: index {index} is out of bounds for dimension {self.dim} with size "
            f"{self.size}"
        )
