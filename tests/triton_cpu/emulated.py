"""AMX and AVX-512 BF16 for machines without: a call of each instruction goes to a function.

Emulated code is the generated code with other names in its calls: `@llvm.x86.tdpbf16ps` becomes
`@emulated_tdpbf16ps`, which is a function in Python here. It does what the operation section of the
instruction in Intel's manual says, bit for bit, and notes what would have been a fault. The state
of the tiles is the thread's own.
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from tests.triton_cpu.plain_launcher import Launcher
from tests.triton_cpu.running import HOST
from tritorch import triton_api
from tritorch.triton_cpu import llvm
from tritorch.triton_cpu.compile import CompiledKernel, generate_llvm
from tritorch.triton_cpu.target import CPUTarget

TILES = ("amx-tile", "amx-bf16", "amx-int8")
#: code with these instructions runs here, once they are emulated
WITH_PAIRS = replace(HOST, flags=HOST.flags | {"avx512bf16"})
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


def bfloats(words: np.ndarray) -> np.ndarray:
    """[even elements, odd elements] of words of two bfloat16, as float32, denormals flushed."""
    bits = words.view(np.uint32)
    return flushed(np.stack([bits << 16, bits & 0xFFFF0000]).view(np.float32))


class Tiles(threading.local):
    """The tile registers of a thread, as words."""

    #: of all threads: what would have faulted, products so far by name, threads that configured
    faults: ClassVar[list[str]] = []
    calls: ClassVar[Counter[str]] = Counter()
    threads: ClassVar[set[int]] = set()

    def __init__(self) -> None:
        self.configuration = bytes(64)
        self.registers = np.zeros((8, 16, 16), np.int32)

    def _shape(self, tile: int, instruction: str) -> tuple[int, int]:
        """Rows and words in a row."""
        rows = self.configuration[48 + tile]
        columns = int.from_bytes(self.configuration[16 + 2 * tile : 18 + 2 * tile], "little")
        if self.configuration[0] != 1 or not rows or not columns:
            self.faults.append(f"{instruction} of tile {tile}, which is not configured")
        return rows, columns // 4

    def ldtilecfg(self, place: int) -> None:
        self.threads.add(threading.get_ident())
        self.configuration = ctypes.string_at(place, 64)
        self.registers[:] = 0
        palette, start = self.configuration[0], self.configuration[1]
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
        self.calls[name] += 1
        used = self.registers
        return used[a, :rows, :inner], used[b, :inner, :columns], used[c, :rows, :columns]

    def tdpbf16ps(self, c: int, a: int, b: int) -> None:
        left, right, total = self._operands(c, a, b, "tdpbf16ps")
        a_parts, b_parts = bfloats(left.copy()), bfloats(right.copy())
        sums = np.zeros((2, *total.shape), np.float32)
        for k in range(left.shape[1]):
            sums = fused(a_parts[:, :, k, None], b_parts[:, None, k], sums)
        with np.errstate(all="ignore"):
            old = flushed(total.copy().view(np.float32))
            total[:] = flushed(old + flushed(sums[0] + sums[1])).view(np.int32)

    def tdpbssd(self, c: int, a: int, b: int) -> None:
        left, right, total = self._operands(c, a, b, "tdpbssd")
        for k in range(left.shape[1]):
            bytes_a = left[:, k].copy().view(np.int8).reshape(-1, 1, 4).astype(np.int32)
            bytes_b = right[k].copy().view(np.int8).reshape(1, -1, 4).astype(np.int32)
            total += (bytes_a * bytes_b).sum(-1, dtype=np.int32)


STATE = Tiles()

#: vdpbf16ps of N lanes: the odd elements' products are added first
_PAIRS = """
define internal <N x float> @emulated_dpbf16ps_N(<N x float> %c, <M x bfloat> %a, <M x bfloat> %b) {
  %words_a = bitcast <M x bfloat> %a to <N x i32>
  %words_b = bitcast <M x bfloat> %b to <N x i32>
  %odd_a = and <N x i32> %words_a, splat (i32 -65536)
  %odd_b = and <N x i32> %words_b, splat (i32 -65536)
  %even_a = shl <N x i32> %words_a, splat (i32 16)
  %even_b = shl <N x i32> %words_b, splat (i32 16)
  %first = call <N x float> @fused_N(<N x float> %c, <N x i32> %odd_a, <N x i32> %odd_b)
  %last = call <N x float> @fused_N(<N x float> %first, <N x i32> %even_a, <N x i32> %even_b)
  ret <N x float> %last
}
define internal <N x float> @fused_N(<N x float> %c, <N x i32> %a, <N x i32> %b) {
  %bits = bitcast <N x float> %c to <N x i32>
  %x = call <N x float> @flushed_N(<N x i32> %a)
  %y = call <N x float> @flushed_N(<N x i32> %b)
  %z = call <N x float> @flushed_N(<N x i32> %bits)
  %sum = call <N x float> @llvm.fma.vNf32(<N x float> %x, <N x float> %y, <N x float> %z)
  %sum_bits = bitcast <N x float> %sum to <N x i32>
  %result = call <N x float> @flushed_N(<N x i32> %sum_bits)
  ret <N x float> %result
}
define internal <N x float> @flushed_N(<N x i32> %bits) {
  %exponent = and <N x i32> %bits, splat (i32 2139095040)
  %sign = and <N x i32> %bits, splat (i32 -2147483648)
  %small = icmp eq <N x i32> %exponent, zeroinitializer
  %kept = select <N x i1> %small, <N x i32> %sign, <N x i32> %bits
  %result = bitcast <N x i32> %kept to <N x float>
  ret <N x float> %result
}
"""
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
    """LLVM text that calls the functions here where it has one of the instructions."""
    llvm.supply_symbols(
        {name: ctypes.cast(f, ctypes.c_void_p).value or 0 for name, f in _FUNCTIONS.items()}
    )
    text = re.sub(rf"@llvm\.x86\.({'|'.join(_KINDS)})\b", r"@emulated_\1", text)
    for lanes, bits in ((4, 128), (8, 256), (16, 512)):
        name = f"@llvm.x86.avx512bf16.dpbf16ps.{bits}"
        if name in text:
            text = re.sub(rf"declare .*{re.escape(name)}\b.*\n", "", text)
            text = text.replace(f"{name}(", f"@emulated_dpbf16ps_{lanes}(")
            text += _PAIRS.replace("N", str(lanes)).replace("M", str(2 * lanes))
            fma = f"declare <{lanes} x float> @llvm.fma.v{lanes}f32"
            if fma not in text:
                text += f"{fma}({', '.join([f'<{lanes} x float>'] * 3)})\n"
    return text


def launcher(
    kernel: Any,
    signature: Mapping[str, str],
    constants: Mapping[str, Any],
    target: CPUTarget,
    instruction: str,
) -> Callable[..., None]:
    """The kernel as generated for `target`, with emulated instructions, to run here; it must have
    this instruction.
    """
    triton_ir = triton_api.lower_to_triton_ir(kernel, signature, constants, {})
    text, types = generate_llvm(triton_ir.text, triton_ir.name, signature, target)
    assert f"@llvm.x86.{instruction}" in text
    code = llvm.compile_object(emulated(text), HOST, name=triton_ir.name)
    return Launcher(CompiledKernel(triton_ir.name, code, types, False, 0.0))
