"""exp and its relatives: exp2, exp10, expm1.

exp x = 2^k exp r with k = round(x / ln 2) and r = x - k ln 2, ln 2 in two parts so that k times
the first is exact; exp r is a polynomial. Inputs whose result is 0 are replaced by 0 before the
polynomial and the result by 0 after it: the lanes that a mask filled with -inf would otherwise
make denormals, at 150 cycles each.
"""

from __future__ import annotations

import math
from fractions import Fraction

from tritorch.triton_cpu.math.coefficients import POLYNOMIALS
from tritorch.triton_cpu.math.constants import LN2, LN10, parts
from tritorch.triton_cpu.math.lanes import MANTISSA, Lanes, Number
from tritorch.triton_cpu.math.registry import function

#: bits of the first part of ln 2: k has at most 8 (11) bits
_SPLIT = {"f32": 15, "f64": 41}
LN2_PARTS = {element: parts(LN2, element, bits) for element, bits in _SPLIT.items()}
LOG10_2_PARTS = {element: parts(LN2 / LN10, element, bits) for element, bits in _SPLIT.items()}
#: log2 of the smallest result that does not round to 0, and of the overflow
LOWEST = {"f32": -150.0, "f64": -1075.0}
HIGHEST = {"f32": 128.0, "f64": 1024.0}


def scale(m: Lanes, x: Number, k: Number, k_bits: Number, bounded: bool = False) -> Number:
    """x 2^k for 0.5 < x < 2 and k as `Lanes.nearest` gives it; gradual underflow is exact.

    `bounded`: 2^k is a normal number.
    """
    element = x.element
    if bounded:
        return x * m.power_of_two(k_bits, element)
    if m.target.avx512f:
        magic = m.literal(1.5 * 2.0 ** MANTISSA[element], element).bits()
        return m.load_exponent(x, m.convert(k_bits - magic, "i32"))
    _, half = m.nearest_product(k, 0.5)
    return x * m.power_of_two(half, element) * m.power_of_two(k_bits - half, element)


def reduced(m: Lanes, x: Number) -> tuple[Number, Number, Number]:
    """k (a float, and in the low bits of an integer) and r, |r| <= ln 2 / 2, of x = k ln 2 + r."""
    k, bits = m.nearest_product(x, float(1 / LN2))
    high, low = LN2_PARTS[x.element]
    r = m.fma(k, -low, m.fma(k, -high, x))
    return k, bits, r


def exponential(
    m: Lanes, x: Number, halvings: int = 0, tail: Number | None = None, bounded: bool = False
) -> Number:
    """exp(x + tail) / 2^halvings, without overflow in between; |tail| <= ulp(x).

    With a tail the result is good to 0.6 ulp, otherwise to 0.9. `bounded`: it is sure to be a
    normal number.
    """
    element = x.element
    vanishes = None
    if not bounded:
        vanishes = x < math.floor((LOWEST[element] + halvings) * math.log(2))
        x = m.where(vanishes, 0.0, x)
        x = m.at_most(x, math.ceil((HIGHEST[element] + halvings) * math.log(2)))
        if tail is not None:
            tail = m.where(vanishes, 0.0, tail)
    coefficients = POLYNOMIALS["EXP"][element]
    if tail is None:
        k, bits, r = reduced(m, x)
        y = m.polynomial(r, (1.0, 1.0, *coefficients))
    else:
        k, bits = m.nearest_product(x, float(1 / LN2))
        high, low = LN2_PARTS[element]
        r, rest = m.total(m.fma(k, -high, x), m.fma(k, -low, tail))
        one, lost = m.total_ordered(m.literal(1.0, element), r)
        y = one + (lost + m.fma(r * r, m.polynomial(r, coefficients), rest))
    if halvings:
        k, bits = k - halvings, bits - halvings
    result = scale(m, y, k, bits, bounded)
    return result if vanishes is None else m.where(vanishes, 0.0, result)


@function("exp", inline=True)
def exp(m: Lanes, x: Number) -> Number:
    return exponential(m, x)


@function("exp2", inline=True)
def exp2(m: Lanes, x: Number) -> Number:
    element = x.element
    vanishes = x < LOWEST[element]
    x = m.at_most(m.where(vanishes, 0.0, x), HIGHEST[element])
    k, bits = m.nearest(x)
    y = m.polynomial(x - k, (1.0, *POLYNOMIALS["EXP2"][element]))
    return m.where(vanishes, 0.0, scale(m, y, k, bits))


@function("exp10")
def exp10(m: Lanes, x: Number) -> Number:
    element = x.element
    vanishes = x < math.floor(LOWEST[element] * math.log10(2))
    x = m.at_most(m.where(vanishes, 0.0, x), math.ceil(HIGHEST[element] * math.log10(2)))
    k, bits = m.nearest_product(x, float(LN10 / LN2))
    high, low = LOG10_2_PARTS[element]
    # r = (x - k log10 2) ln 10; ln 10 in two parts keeps the product's error off the result.
    r = m.fma(k, -low, m.fma(k, -high, x))
    top, rest = parts(LN10, element)[0], float(LN10 - Fraction(parts(LN10, element)[0]))
    r = m.fma(r, top, r * rest)
    y = m.polynomial(r, (1.0, 1.0, *POLYNOMIALS["EXP"][element]))
    return m.where(vanishes, 0.0, scale(m, y, k, bits))


@function("expm1", inline=True)
def expm1(m: Lanes, x: Number) -> Number:
    """2^k (exp r - 1) + (2^k - 1), in halves: 2^k would overflow before the result does."""
    element = x.element
    # Below, the result is -1 to the last bit.
    lowest = -18.0 if element == "f32" else -38.0
    clamped = m.at_least(m.at_most(x, math.ceil(HIGHEST[element] * math.log(2))), lowest)
    _, bits, r = reduced(m, clamped)
    t = m.fma(r * r, m.polynomial(r, POLYNOMIALS["EXPM1"][element]), r)
    half = m.power_of_two(bits - 1, element)
    y = m.fma(half, t, half - 0.5)
    # x itself keeps -0.0, and denormals exact.
    return m.where(abs(x) < 2.0 ** -(MANTISSA[element] + 2), x, y + y)
