"""Kernels' arguments in bytes: every one has a slot of 8, whatever its type.

`slot` packs a value that is known, `parameter` describes one to the launcher's machine code
(`arguments_ir`).
"""

from __future__ import annotations

import ctypes
import math
import operator
import struct
from typing import Any

from tritorch.runtime import arguments_ir

#: Triton's type -> bits of the integer and whether it is signed.
_INTEGERS = {
    **{f"i{bits}": (bits, True) for bits in (8, 16, 32, 64)},
    **{f"u{bits}": (bits, False) for bits in (8, 16, 32, 64)},
}
_FLOATS = {
    "fp64": arguments_ir.FLOAT64,
    "fp32": arguments_ir.FLOAT32,
    "fp16": arguments_ir.FLOAT16,
    "bf16": arguments_ir.BFLOAT16,
}
_BOOLEANS = ("i1", "u1")


def parameter(kernel: str, type_name: str, offset: int) -> bytes:
    """How the launcher converts a dynamic argument of this type into its slot."""
    low = high = 0
    if type_name.startswith("*"):
        kind = arguments_ir.ADDRESS
    elif type_name == "u64":
        kind = arguments_ir.UNSIGNED64
    elif type_name in _INTEGERS:
        kind = arguments_ir.INTEGER
        low, high = _range(type_name)
    elif type_name in _BOOLEANS:
        kind = arguments_ir.BOOLEAN
    elif type_name in _FLOATS:
        kind = _FLOATS[type_name]
    else:
        raise _unknown(kernel, type_name)
    return bytes(arguments_ir.Parameter(kind=kind, offset=offset, low=low, high=high))


def _range(type_name: str) -> tuple[int, int]:
    bits, signed = _INTEGERS[type_name]
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def slot(kernel: str, type_name: str, value: Any) -> bytes:
    """A constant value as its 8 bytes."""
    if type_name.startswith("*") or type_name in _INTEGERS:
        number = operator.index(value)
        low, high = (0, (1 << 64) - 1) if type_name.startswith("*") else _range(type_name)
        if not low <= number <= high:
            raise OverflowError(
                f"bind: kernel {kernel}: {number} is not within {type_name} ({low}..{high})."
            )
        return (number & ((1 << 64) - 1)).to_bytes(8, "little")
    if type_name in _BOOLEANS:
        return int(bool(value)).to_bytes(8, "little")
    real = float(value)
    if type_name == "fp64":
        return struct.pack("<d", real)
    if type_name == "fp32":
        return struct.pack("<f4x", _to_float32(real))
    if type_name == "fp16":
        return struct.pack("<e6x", real)
    if type_name == "bf16":
        (bits,) = struct.unpack("<I", struct.pack("<f", _to_float32(real)))
        rounded = bits | 0x400000 if math.isnan(real) else bits + 0x7FFF + (bits >> 16 & 1)
        return struct.pack("<H6x", rounded >> 16)
    raise _unknown(kernel, type_name)


def _to_float32(number: float) -> float:
    """`number` as C converts it: beyond the range of float32 it is infinite, not an error."""
    return ctypes.c_float(number).value


def _unknown(kernel: str, type_name: str) -> TypeError:
    accepted = ("*type", *_BOOLEANS, *_INTEGERS, *_FLOATS)
    return TypeError(
        f"bind: kernel {kernel}: unknown parameter type {type_name!r}. "
        f"Use one of {', '.join(accepted)}."
    )
