"""Tile instructions for machines without them: each call goes to a function of this process.

Emulated code is the generated code with other names in its calls: `@llvm.x86.tdpbf16ps` becomes
`@emulated_tdpbf16ps`, which is a function in Python here. It does what the operation section of the
instruction in Intel's manual says, bit for bit, and notes what would have been a fault. The state
of the tiles is the thread's own.
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tests.triton_cpu.plain_launcher import Launcher
from tests.triton_cpu.running import HOST
from tritorch import triton_api
from tritorch.triton_cpu import llvm
from tritorch.triton_cpu.compile import CompiledKernel, generate_llvm
from tritorch.triton_cpu.target import CPUTarget

TILES = ("amx-tile", "amx-bf16", "amx-int8")
#: code with tile instructions that runs here, once they are emulated
WITH_TILES = replace(HOST, flags=HOST.flags | set(TILES))

_SMALLEST = np.finfo(np.float32).smallest_normal


def flushed(x: np.ndarray) -> np.ndarray:
    """Denormals as zeros of their sign."""
    return np.where(np.abs(x) < _SMALLEST, np.copysign(np.float32(0), x), x).astype(np.float32)


def fused(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """a * b + c of float32, rounded once; a * b must be exact in float64, as of bfloat16 it is."""
    with np.errstate(all="ignore"):
        product, addend = a.astype(np.float64) * b, c.astype(np.float64)
        total = product + addend
        part = total - product
        error = (product - (total - part)) + (addend - part)
        # To odd, which makes the second rounding the only one.
        bits = total.view(np.int64)
        step = np.where((error > 0) == (total > 0), 1, -1)
        inexact = np.isfinite(total) & np.isfinite(error) & (error != 0) & (bits & 1 == 0)
        odd = np.where(inexact, bits + step, bits).view(np.float64)
        return flushed(odd.astype(np.float32))


def bfloats(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The even and the odd elements of words of two bfloat16, as float32, denormals flushed."""
    bits = words.view(np.uint32)
    return flushed((bits << 16).view(np.float32)), flushed((bits & 0xFFFF0000).view(np.float32))


class Tiles(threading.local):
    """The tile registers of a thread, as words; and which instructions would have faulted."""

    def __init__(self) -> None:
        self.configuration = bytes(64)
        self.registers = np.zeros((8, 16, 16), np.int32)
        self.faults: list[str] = []
        self.calls: dict[str, int] = {}

    def _shape(self, tile: int, instruction: str) -> tuple[int, int]:
        """Rows and words in a row."""
        rows = self.configuration[48 + tile]
        columns = int.from_bytes(self.configuration[16 + 2 * tile : 18 + 2 * tile], "little")
        if self.configuration[0] != 1 or not rows or not columns:
            self.faults.append(f"{instruction} of tile {tile}, which is not configured")
        return rows, columns // 4

    def ldtilecfg(self, place: int) -> None:
        self.configuration = ctypes.string_at(place, 64)
        self.registers[:] = 0
        palette, start, reserved = self.configuration[0], self.configuration[1], None
        reserved = any(self.configuration[2:16]) or any(self.configuration[32:48])
        rows = max(self.configuration[48:56])
        columns = max(np.frombuffer(self.configuration[16:32], np.uint16))
        if palette != 1 or start or reserved or any(self.configuration[56:]):
            self.faults.append("ldtilecfg of something else than palette 1")
        if rows > 16 or columns > 64:
            self.faults.append("ldtilecfg of tiles that are too large")

    def tilerelease(self) -> None:
        self.configuration = bytes(64)
        self.registers[:] = 0

    def tilezero(self, tile: int) -> None:
        self._shape(tile, "tilezero")
        self.registers[tile] = 0

    def tileloadd64(self, tile: int, place: int, stride: int) -> None:
        rows, words = self._shape(tile, "tileloadd")
        self.registers[tile] = 0
        for row in range(rows):
            text = ctypes.string_at(place + row * stride, 4 * words)
            self.registers[tile, row, :words] = np.frombuffer(text, np.int32)

    def tilestored64(self, tile: int, place: int, stride: int) -> None:
        rows, words = self._shape(tile, "tilestored")
        for row in range(rows):
            text = self.registers[tile, row, :words].tobytes()
            ctypes.memmove(place + row * stride, text, len(text))

    def _operands(self, c: int, a: int, b: int, name: str) -> tuple[np.ndarray, ...]:
        rows, columns = self._shape(c, name)
        rows_a, inner = self._shape(a, name)
        rows_b, columns_b = self._shape(b, name)
        if (rows_a, rows_b, columns_b) != (rows, inner, columns) or len({a, b, c}) < 3:
            self.faults.append(f"{name} of tiles {c}, {a}, {b}: shapes or numbers do not fit")
        self.calls[name] = self.calls.get(name, 0) + 1
        used = self.registers
        return used[a, :rows, :inner], used[b, :inner, :columns], used[c, :rows, :columns]

    def tdpbf16ps(self, c: int, a: int, b: int) -> None:
        left, right, total = self._operands(c, a, b, "tdpbf16ps")
        even, odd = (np.zeros(total.shape, np.float32) for _ in range(2))
        for k in range(left.shape[1]):
            parts = zip(bfloats(left[:, k, None].copy()), bfloats(right[None, k].copy()))
            (even_a, even_b), (odd_a, odd_b) = parts
            even, odd = fused(even_a, even_b, even), fused(odd_a, odd_b, odd)
        with np.errstate(all="ignore"):
            old = flushed(total.copy().view(np.float32))
            total[:] = flushed(old + flushed(even + odd)).view(np.int32)

    def tdpbssd(self, c: int, a: int, b: int) -> None:
        left, right, total = self._operands(c, a, b, "tdpbssd")
        for k in range(left.shape[1]):
            bytes_a = left[:, k].copy().view(np.int8).reshape(-1, 1, 4).astype(np.int32)
            bytes_b = right[k].copy().view(np.int8).reshape(1, -1, 4).astype(np.int32)
            total += (bytes_a * bytes_b).sum(-1, dtype=np.int32)


STATE = Tiles()
_KINDS: Mapping[str, tuple[Any, ...]] = {
    "ldtilecfg": (ctypes.c_void_p,),
    "tilerelease": (),
    "tilezero": (ctypes.c_uint8,),
    "tileloadd64": (ctypes.c_uint8, ctypes.c_void_p, ctypes.c_int64),
    "tilestored64": (ctypes.c_uint8, ctypes.c_void_p, ctypes.c_int64),
    "tdpbf16ps": (ctypes.c_uint8, ctypes.c_uint8, ctypes.c_uint8),
    "tdpbssd": (ctypes.c_uint8, ctypes.c_uint8, ctypes.c_uint8),
}


def _forwarded(name: str) -> Callable[..., None]:
    return lambda *arguments: getattr(STATE, name)(*arguments)  # also what a test has put there


_FUNCTIONS = {
    f"emulated_{name}": ctypes.CFUNCTYPE(None, *kinds)(_forwarded(name))
    for name, kinds in _KINDS.items()
}


def emulated(text: str) -> str:
    """LLVM text that calls the functions here where it has a tile instruction."""
    llvm.supply_symbols(
        {name: ctypes.cast(f, ctypes.c_void_p).value or 0 for name, f in _FUNCTIONS.items()}
    )
    return re.sub(rf"@llvm\.x86\.({'|'.join(_KINDS)})\b", r"@emulated_\1", text)


def launcher(
    kernel: Any, signature: Mapping[str, str], constants: Mapping[str, Any], target: CPUTarget
) -> Callable[..., None]:
    """The kernel as generated for `target`, with emulated instructions, to run here."""
    triton_ir = triton_api.lower_to_triton_ir(kernel, signature, constants, {})
    text, types = generate_llvm(triton_ir.text, triton_ir.name, signature, target)
    code = llvm.compile_object(emulated(text), HOST, name=triton_ir.name)
    return Launcher(CompiledKernel(triton_ir.name, code, types, False, 0.0))
