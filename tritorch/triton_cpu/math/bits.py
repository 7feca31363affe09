"""Functions of a float's sign, exponent and class; minimum, maximum and the like."""

from __future__ import annotations

from tritorch.triton_cpu.math.lanes import (
    BIAS,
    INFINITY,
    MANTISSA,
    NAN,
    TINY,
    Lanes,
    Number,
)
from tritorch.triton_cpu.math.registry import function


@function("fabs", inline=True)
def fabs(m: Lanes, x: Number) -> Number:
    return abs(x)


@function("copysign", inline=True)
def copysign(m: Lanes, x: Number, sign: Number) -> Number:
    return m.copy_sign(x, sign)


@function("fma", "fma_rn", "fmaf", inline=True)
def fma(m: Lanes, a: Number, b: Number, c: Number) -> Number:
    """Rounded once on every target (without the instruction: libm, lane by lane)."""
    return m.intrinsic("fma", a, b, c)


@function("fmin", inline=True)
def fmin(m: Lanes, a: Number, b: Number) -> Number:
    return m.intrinsic("minnum", a, b)


@function("fmax", inline=True)
def fmax(m: Lanes, a: Number, b: Number) -> Number:
    return m.intrinsic("maxnum", a, b)


@function("fdim", inline=True)
def fdim(m: Lanes, a: Number, b: Number) -> Number:
    """max(a - b, 0); nan for a nan."""
    return m.where(a <= b, 0.0, a - b)


@function("saturate", inline=True)
def saturate(m: Lanes, x: Number) -> Number:
    """x clamped to [0, 1]; nan becomes 0."""
    return m.where(x > 0.0, m.at_most(x, 1.0), 0.0)


# ---- classes: i1 masks


@function("isnan", "isnand", inline=True, result="i1")
def isnan(m: Lanes, x: Number) -> Number:
    return x.is_nan()


@function("isinf", "isinfd", inline=True, result="i1")
def isinf(m: Lanes, x: Number) -> Number:
    return abs(x).equals(INFINITY)


@function("finite", "isfinited", inline=True, result="i1")
def finite(m: Lanes, x: Number) -> Number:
    return abs(x) < INFINITY


@function("signbit", "signbitd", inline=True, result="i1")
def signbit(m: Lanes, x: Number) -> Number:
    return x.bits() < 0


# ---- exponents


@function("ldexp", "scalbn", inline=True)
def ldexp(m: Lanes, x: Number, n: Number) -> Number:
    """x 2^n, n an i32; rounded once."""
    element = x.element
    if m.target.avx512f:
        return m.load_exponent(x, n)
    # Two factors of 2^127 (2^1023), or of a power that leaves a denormal result to the last one.
    most, least = BIAS[element], 1 - BIAS[element]
    keep = least + MANTISSA[element] + 1
    for _ in range(2):
        large, small = n > most, n < least
        x = m.where(large, x * 2.0**most, m.where(small, x * 2.0**keep, x))
        n = m.where(large, n - most, m.where(small, n - keep, n))
    n = m.where(n > most, most, n)
    n = m.where(n < least, least, n)
    return x * m.power_of_two(m.convert(n, x.bits().element), element)


def _exponent(m: Lanes, x: Number) -> Number:
    """floor(log2 |x|) as an integer of x's width, for finite x != 0."""
    element = x.element
    lift = MANTISSA[element] + 1
    small = abs(x) < TINY[element]
    size = abs(m.where(small, x * 2.0**lift, x))
    biased = size.bits().shift_right_logical(MANTISSA[element])
    return m.where(small, biased - (BIAS[element] + lift), biased - BIAS[element])


@function("logb")
def logb(m: Lanes, x: Number) -> Number:
    """floor(log2 |x|); -inf for 0, inf for inf."""
    k = m.convert(_exponent(m, x), x.element)
    k = m.where(x.equals(0.0), -INFINITY, k)
    return m.where(abs(x) < INFINITY, k, x * x)


@function("ilogb", result="i32")
def ilogb(m: Lanes, x: Number) -> Number:
    """The same as an i32; -2^31 for 0 and nan, 2^31 - 1 for inf."""
    k = m.convert(_exponent(m, x), "i32")
    k = m.where(x.equals(0.0) | x.is_nan(), -(2**31), k)
    return m.where(abs(x).equals(INFINITY), 2**31 - 1, k)


@function("nextafter")
def nextafter(m: Lanes, x: Number, y: Number) -> Number:
    """The neighbour of x towards y."""
    bits = x.bits()
    away = (x < y) ^ (x < 0.0)
    moved = m.where(away, bits + 1, bits - 1).as_float()
    least = m.copy_sign(m.literal(1, bits.element).as_float(), y)
    moved = m.where(x.equals(0.0), least, moved)
    moved = m.where(x.equals(y), y, moved)
    return m.where(x.is_nan() | y.is_nan(), NAN, moved)
