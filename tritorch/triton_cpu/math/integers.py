"""libdevice's functions of integers."""

from __future__ import annotations

from tritorch.triton_cpu.codegen.builder import BITS
from tritorch.triton_cpu.math.lanes import Lanes, Number
from tritorch.triton_cpu.math.registry import function


@function("abs", "llabs", inline=True)
def absolute(m: Lanes, x: Number) -> Number:
    return abs(x)


@function("popc", "popcll", inline=True, result="i32")
def popc(m: Lanes, x: Number) -> Number:
    """How many bits are set."""
    return m.convert(m.intrinsic("ctpop", x), "i32")


def _zeros(m: Lanes, x: Number, name: str) -> Number:
    kind = m.type(x.element)
    register = m.builder.call(
        f"llvm.{name}.{m.builder.suffix(x.element, m.count)}",
        kind,
        (kind, x.register),
        ("i1", "false"),
    )
    return m.convert(Number(m, register, x.element), "i32")


@function("clz", "clzll", inline=True, result="i32")
def clz(m: Lanes, x: Number) -> Number:
    """Leading zeros; the width for 0."""
    return _zeros(m, x, "ctlz")


@function("ffs", "ffsll", inline=True, result="i32")
def ffs(m: Lanes, x: Number) -> Number:
    """The place of the lowest set bit from 1 on; 0 for 0."""
    return m.where(x.equals(0), 0, _zeros(m, x, "cttz") + 1)


@function("brev", "brevll", inline=True)
def brev(m: Lanes, x: Number) -> Number:
    return m.intrinsic("bitreverse", x)


# ---- products


def _wide(m: Lanes, x: Number, signed: bool) -> Number:
    return m.convert(x, "i64") if signed else m.extend_unsigned(x, "i64")


def _high_product(m: Lanes, x: Number, y: Number, signed: bool) -> Number:
    """The upper half of the double-width product."""
    if x.element == "i32":
        product = _wide(m, x, signed) * _wide(m, y, signed)
        return m.convert(product.shift_right_logical(32), "i32")
    low_mask = 0xFFFFFFFF
    x0, y0 = x & low_mask, y & low_mask
    x1, y1 = x.shift_right_logical(32), y.shift_right_logical(32)
    middle = x1 * y0 + (x0 * y0).shift_right_logical(32)
    other = x0 * y1 + (middle & low_mask)
    high = x1 * y1 + middle.shift_right_logical(32) + other.shift_right_logical(32)
    if not signed:
        return high
    return high - ((x >> 63) & y) - ((y >> 63) & x)


@function("mulhi", "mul64hi", inline=True)
def mulhi(m: Lanes, x: Number, y: Number) -> Number:
    return _high_product(m, x, y, signed=True)


@function("umulhi", "umul64hi", inline=True)
def umulhi(m: Lanes, x: Number, y: Number) -> Number:
    return _high_product(m, x, y, signed=False)


@function("mul24", inline=True)
def mul24(m: Lanes, x: Number, y: Number) -> Number:
    """The low 32 bits of the product of the low 24 bits."""
    return ((x << 8) >> 8) * ((y << 8) >> 8)


@function("umul24", inline=True)
def umul24(m: Lanes, x: Number, y: Number) -> Number:
    return (x & 0xFFFFFF) * (y & 0xFFFFFF)


# ---- averages and differences


def _average(m: Lanes, x: Number, y: Number, signed: bool, up: int) -> Number:
    total = _wide(m, x, signed) + _wide(m, y, signed) + up
    return m.convert(total >> 1, x.element)


@function("hadd", inline=True)
def hadd(m: Lanes, x: Number, y: Number) -> Number:
    """(x + y) >> 1 without overflow."""
    return _average(m, x, y, True, 0)


@function("rhadd", inline=True)
def rhadd(m: Lanes, x: Number, y: Number) -> Number:
    """(x + y + 1) >> 1 without overflow."""
    return _average(m, x, y, True, 1)


@function("uhadd", inline=True)
def uhadd(m: Lanes, x: Number, y: Number) -> Number:
    return _average(m, x, y, False, 0)


@function("urhadd", inline=True)
def urhadd(m: Lanes, x: Number, y: Number) -> Number:
    return _average(m, x, y, False, 1)


@function("sad", inline=True)
def sad(m: Lanes, x: Number, y: Number, z: Number) -> Number:
    """|x - y| + z."""
    return m.where(x < y, y - x, x - y) + z


@function("usad", inline=True)
def usad(m: Lanes, x: Number, y: Number, z: Number) -> Number:
    return m.where(x.below_unsigned(y), y - x, x - y) + z


@function("byte_perm")
def byte_perm(m: Lanes, x: Number, y: Number, selector: Number) -> Number:
    """Four bytes of the eight (y, x), chosen by the selector's digits (their low three bits)."""
    both = (m.extend_unsigned(y, "i64") << 32) | m.extend_unsigned(x, "i64")
    result = None
    for place in range(4):
        digit = m.extend_unsigned((selector >> (4 * place)) & 7, "i64")
        byte = (both.shift_right_logical(digit << 3) & 0xFF) << (8 * place)
        result = byte if result is None else result | byte
    assert result is not None and BITS[x.element] == 32
    return m.convert(result, "i32")
