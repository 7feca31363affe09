"""What a GPU does to careless kernels, done on purpose where they run on a CPU.

A CPU runs the programs of a launch one after the other, its fresh memory is zero, and it reads any
address. So that kernels which rely on that are noticed here, the simulated GPU runs programs in a
shuffled order, fills memory that nobody has written with `POISON`, and looks at every promise of a
kernel's signature. `races` looks at single accesses.
"""

from __future__ import annotations

import ctypes
import math
import random
from array import array
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from tritorch.runtime.arguments import slot
from tritorch.runtime.cpu.native import symbols
from tritorch.runtime.target import Kernel

#: a byte of memory that nobody has written: nan in every floating-point dtype, -1 in integers
POISON = 0xFF
#: a launch is cut into so many pieces at most, which run in a shuffled order
_PIECES = 256
_ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


class HazardError(AssertionError):
    """A kernel relies on what only the simulation gives."""


def broken_promises(kernel: Kernel, values: Sequence[Any]) -> list[str]:
    """Which arguments are no multiples of what the signature says ("*fp32:16", "i32:8")."""
    found = []
    for (name, kind), value in zip(kernel.signature.items(), values):
        _, _, divisor = kind.partition(":")
        if divisor and value % int(divisor):
            found.append(f"{name} = {value} is promised to be a multiple of {divisor}")
    return found


def run(kernel: Kernel, grid: Sequence[int], values: Sequence[Any]) -> None:
    """Run all programs of a launch, in an order that is shuffled, the same one every time.

    Raises:
        HazardError: a promise is broken, or an assertion of the kernel.
    """
    if broken := broken_promises(kernel, values):
        raise HazardError(f"{kernel.name}: {'; '.join(broken)}.")
    arguments = packed_arguments(kernel, grid, values)
    programs = math.prod(grid)
    count = min(programs, _PIECES)
    bounds = [programs * piece // count for piece in range(count + 1)]
    pieces = list(pairwise(bounds))
    random.Random(programs).shuffle(pieces)
    entry = _ENTRY(kernel.entry)
    for begin, end in pieces:
        entry(arguments.address, begin, end)
    _raise_assertion(kernel)


class Packed:
    """Bytes at an address that is a multiple of 16."""

    def __init__(self, packed: bytes) -> None:
        self._memory = ctypes.create_string_buffer(len(packed) + 16)
        start = ctypes.addressof(self._memory)
        self.address = start + -start % 16
        ctypes.memmove(self.address, packed, len(packed))


def packed_arguments(
    kernel: Kernel, grid: Sequence[int], values: Sequence[Any], table: int | None = None
) -> Packed:
    """What the machine code of a kernel takes (see "Machine-code ABI" in docs/architecture.md).

    Args:
        table: the address of the table, for a kernel that checks its accesses.
    """
    packed = array("I", [*[*grid, 1, 1][:3], 0]).tobytes()
    for kind, value in zip(kernel.parameter_types, values, strict=True):
        packed += slot(kernel.name, kind, value)
    return Packed(packed if table is None else packed + table.to_bytes(8, "little"))


def _raise_assertion(kernel: Kernel) -> None:
    """`tl.device_assert` leaves its message in the support library."""
    message = ctypes.c_void_p.from_address(symbols()["tritorch_assert_message"])
    if message.value:
        text = ctypes.string_at(message.value).decode()
        message.value = None
        raise HazardError(f"{kernel.name}: device_assert failed: {text}.")
