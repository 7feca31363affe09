"""Bounds of index operands: a kernel that meets a wrong index leaves it in a cell, the host raises
IndexError. Divisors of integers that are 0 take the same way.

The cell is one 64-bit integer that every plan owns. On the CPU reading it after a launch costs 50
ns and the error is raised at once. On a GPU it is in memory that the host sees, and is read
wherever the host waits for the device. Kernels never read or write through a wrong index.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tritorch.devices import device as Device
from tritorch.errors import BoundsError, IntegerDivisionError
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
        message: of the IndexError; `{index}` stands for the wrong index.
        name: of the operation, where the message does not name it as PyTorch's does not. A device
            is heard of it later, when nothing else tells which operation it was.
    """

    def __init__(self, message: str, device: Device, name: str = "") -> None:
        self.message = message
        self.on_host = device.type == "cpu"
        self.values = array("q", [_NO_ERROR])
        self.address = self.values.buffer_info()[0]
        from tritorch.runtime import get_target

        target: Any = get_target(device)
        if self.on_host:
            target.error_cells[self.address] = self  # for replays, which find it by its address
        else:
            self.address = target.error_cell(f"{name}: {message}" if name else message)

    def checked(self, launch: Callable[..., None]) -> Callable[..., None]:
        if not self.on_host:
            return launch  # whoever waits for the device reads all cells
        values = self.values

        def checked(*arguments: Any) -> None:
            launch(*arguments)
            if values[0] != _NO_ERROR:
                self.fail()

        return checked

    def fail(self) -> None:
        index = self.values[0]
        self.values[0] = _NO_ERROR
        raise BoundsError(self.message.format(index=index))


class ZeroCell(IndexCell):
    """Where the kernels that divide integers leave a 0 by which they were to divide."""

    def __init__(self, name: str, device: Device) -> None:
        super().__init__(
            f"ZeroDivisionError: {name}: integers are divided by 0. Leave zeros out of the "
            "divisor, or convert it with .float().",
            device,
        )

    def refusing(self, launch: Callable[..., None], place: int) -> Callable[..., None]:
        """The launch, which raises where the number at this place of its arguments is 0."""

        def refusing(*arguments: Any) -> None:
            if not arguments[place]:
                raise IntegerDivisionError(self.message)
            launch(*arguments)

        return refusing

    def fail(self) -> None:
        self.values[0] = _NO_ERROR
        raise IntegerDivisionError(self.message)


def out_of_bounds(name: str, dim: int, size: int) -> str:
    """The message of PyTorch, for `IndexCell`."""
    return f"{name}: index {{index}} is out of bounds for dimension {dim} with size {size}"
