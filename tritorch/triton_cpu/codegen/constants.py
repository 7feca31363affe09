"""Attributes of `arith.constant` as LLVM literals."""

from __future__ import annotations

from typing import Any

from tritorch.triton_cpu.codegen.builder import float_literal

FLOATS = frozenset({"f64", "f32", "f16", "bf16"})


def literal(value: Any, element: str) -> str:
    """One element as an LLVM literal; 8-bit floats are their bits."""
    if element in FLOATS:
        return float_literal(float(value), element)
    if element.startswith("f8"):
        return str(fp8_bits(float(value), element))
    return str(int(value))


def fp8_bits(value: float, element: str) -> int:
    """The bits of a number that 8-bit float represents exactly (constants are of that kind)."""
    mantissa_bits, bias = (2, 15) if element == "f8E5M2" else (3, 7)
    sign = 0x80 if str(value).startswith("-") else 0
    magnitude = abs(value)
    if magnitude != magnitude:
        return sign | 0x7F
    if magnitude == float("inf"):
        return sign | (0x7C if element == "f8E5M2" else 0x7F)
    for code in range(0x7F):
        exponent, mantissa = code >> mantissa_bits, code & ((1 << mantissa_bits) - 1)
        scale = 2.0 ** (max(exponent, 1) - bias - mantissa_bits)
        if (mantissa + (1 << mantissa_bits if exponent else 0)) * scale >= magnitude:
            return sign | code
    return sign | 0x7E
