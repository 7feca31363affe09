"""The plain way to run a compiled kernel: pack the arguments, call the machine code on this thread.

What users launch with is the runtime's launcher in machine code, or the plug-in; here the code
that was
generated is to be tested alone.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from typing import Any

from tritorch.errors import DeviceAssertError
from tritorch.triton_cpu import llvm, support
from tritorch.triton_cpu.compile import CompiledKernel
from tritorch.triton_cpu.plugin.descriptors import flatten_descriptors

_PROTOTYPE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
_FLOAT_FORMATS = {"fp64": "d", "fp32": "f4x", "fp16": "e6x"}


def slot_format(kind: str) -> str:
    """The struct format of one 8-byte argument slot; a bf16 is packed as its bits."""
    if kind.startswith("*") or kind[0] == "u" or kind == "bf16":
        return "Q"
    return _FLOAT_FORMATS.get(kind, "q")


def address_of(value: Any) -> int:
    """The address that an argument for a pointer parameter stands for."""
    if isinstance(value, int):
        return value
    if value is None:
        return 0
    data_pointer = getattr(value, "data_ptr", None)
    if data_pointer is not None:
        return int(data_pointer())
    return int(value.__array_interface__["data"][0])


class Launcher:
    """`launcher(grid, *values)` runs the kernel on all programs of the grid."""

    def __init__(self, kernel: CompiledKernel) -> None:
        self.name = kernel.name
        self._types = kernel.parameter_types
        self._format = struct.Struct("<4i" + "".join(map(slot_format, self._types)))
        # Its own support functions, though the runtime may have supplied others: it asks them
        # for failed assertions.
        loaded = llvm.load_object(kernel.object_code, [kernel.name], support.support_symbols())
        self._function = _PROTOTYPE(loaded[kernel.name])

    def __call__(self, grid: Sequence[int], *values: Any) -> None:
        x, y, z = (*grid, 1, 1)[:3]
        flat = flatten_descriptors(self._types, values)
        slots = [_slot(kind, value) for kind, value in zip(self._types, flat, strict=True)]
        self._function(self._format.pack(x, y, z, 0, *slots), 0, x * y * z)
        message = support.take_assert_message()
        if message is not None:
            raise DeviceAssertError(f"{self.name}: device_assert failed: {message}")


def _slot(kind: str, value: Any) -> Any:
    if kind.startswith("*"):
        return address_of(value)
    if kind == "bf16":
        bits = struct.unpack("<I", struct.pack("<f", value))[0]
        return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 if value == value else 0x7FC0
    if kind in _FLOAT_FORMATS:
        return float(value)
    return int(value)
