"""log, log2, log10, log1p.

x = 2^k m with m in [3/4, 3/2), f = m - 1, log x = k ln 2 + log1p f. In float32 log1p f is a
polynomial; in float64 a division shortens it: log1p f = 2 atanh s, s = f / (2 + f).
"""

from __future__ import annotations

from fractions import Fraction

from tritorch.triton_cpu.math import avx512
from tritorch.triton_cpu.math.coefficients import POLYNOMIALS
from tritorch.triton_cpu.math.constants import LN2, LN10, parts
from tritorch.triton_cpu.math.exponential import LN2_PARTS, LOG10_2_PARTS
from tritorch.triton_cpu.math.lanes import BIAS, INFINITY, MANTISSA, NAN, TINY, Lanes, Number
from tritorch.triton_cpu.math.registry import function

#: bits of 3/4, the least mantissa
_THREE_QUARTERS = {"f32": 0x3F400000, "f64": 0x3FE8000000000000}


def exponent_bits(m: Lanes, x: Number) -> Number:
    """The exponent k, still at its place in the word, with x / 2^k in [3/4, 3/2)."""
    element = x.element
    return (x.bits() - _THREE_QUARTERS[element]) & -(1 << MANTISSA[element])


def exponent_as_float(m: Lanes, exponent: Number, element: str) -> Number:
    """The exponent that `exponent_bits` gave, as a float."""
    if element == "f32":
        return m.convert(exponent >> MANTISSA[element], element)
    # int64 has neither arithmetic shift nor conversion before AVX-512: go through 2^52 + (k +
    # bias).
    base = 2.0 ** MANTISSA[element]
    biased = (exponent + (BIAS[element] << 52)).shift_right_logical(52)
    shifted = (biased | m.literal(base, element).bits()).as_float()
    return shifted - (base + BIAS[element])


def log1p_rest(m: Lanes, f: Number) -> Number:
    """log1p(f) - f for f in [-1/4, 1/2]."""
    element = f.element
    if element == "f32":
        p = m.polynomial(f, POLYNOMIALS["LOG1P"][element])
        return f * f * m.fma(p, f, -0.5)
    half_square = f * f * 0.5
    s = f / (f + 2.0)
    z = s * s
    rest = z * m.polynomial(z, POLYNOMIALS["ATANH"][element])
    return s * (half_square + rest) - half_square


def normalised(m: Lanes, x: Number) -> tuple[Number, Number]:
    """k as a float and f for x > 0, denormals included.

    With AVX-512 also for the rest: k is -inf for 0 and inf for inf, with f = 0; f is nan below 0.
    """
    if m.target.avx512f:
        mantissa = avx512.mantissa(m, x)
        return avx512.exponent(m, x) - avx512.exponent(m, mantissa), mantissa - 1.0
    element = x.element
    lift = 2.0 ** (MANTISSA[element] + 1)
    small = x < TINY[element]
    lifted = m.where(small, x * lift, x)
    exponent = exponent_bits(m, lifted)
    mantissa = (lifted.bits() - exponent).as_float()
    k = exponent_as_float(m, exponent, element)
    return m.where(small, k - (MANTISSA[element] + 1.0), k), mantissa - 1.0


def special_cases(m: Lanes, x: Number, result: Number) -> Number:
    """inf for inf, -inf for 0, nan below 0 and for nan."""
    if m.target.avx512f:
        return result  # `normalised` gave what leads there
    result = m.where(x.equals(INFINITY), INFINITY, result)
    result = m.where(x.equals(0.0), -INFINITY, result)
    return m.where(x.not_at_least(0.0), NAN, result)


@function("log", inline=True)
def log(m: Lanes, x: Number) -> Number:
    k, f = normalised(m, x)
    high, low = LN2_PARTS[x.element]
    rest = m.fma(k, low, log1p_rest(m, f))
    return special_cases(m, x, m.fma(k, high, rest + f))


def _scaled(
    m: Lanes, x: Number, factor: Fraction, exponent_parts: tuple[float, ...] | None
) -> Number:
    """log(x) factor; `exponent_parts` are those of ln(2) factor, None for 1."""
    k, f = normalised(m, x)
    rest = log1p_rest(m, f)
    # The product f factor is the large part: keep what its rounding loses.
    high, low = parts(factor, x.element, 12 if x.element == "f32" else 26)
    if m.target.fma:
        high, low = (
            parts(factor, x.element)[0],
            float(factor - Fraction(parts(factor, x.element)[0])),
        )
    product, error = m.product(f, high)
    small = m.fma(rest, float(factor), m.fma(f, low, error))
    if exponent_parts is None:
        return special_cases(m, x, k + (product + small))
    small = m.fma(k, exponent_parts[1], small)
    return special_cases(m, x, m.fma(k, exponent_parts[0], product + small))


@function("log2", inline=True)
def log2(m: Lanes, x: Number) -> Number:
    return _scaled(m, x, 1 / LN2, None)


@function("log10")
def log10(m: Lanes, x: Number) -> Number:
    return _scaled(m, x, 1 / LN10, LOG10_2_PARTS[x.element])


@function("log1p", inline=True)
def log1p(m: Lanes, x: Number) -> Number:
    """With 1 + x = 2^k m, f = m - 1 = x 2^-k + (2^-k - 1) does without the error of 1 + x."""
    element = x.element
    exponent = exponent_bits(m, x + 1.0)
    four = (m.literal(4.0, element).bits() - exponent).as_float()  # 4 2^-k: normal for every k
    f = (x.bits() - exponent).as_float() + m.fma(four, 0.25, -1.0)
    k = exponent_as_float(m, exponent, element)
    high, low = LN2_PARTS[element]
    rest = m.fma(k, low, log1p_rest(m, f))
    result = m.fma(k, high, rest + f)
    result = m.where(x.equals(INFINITY), INFINITY, result)
    result = m.where(x.equals(-1.0), -INFINITY, result)
    result = m.where(x.not_at_least(-1.0), NAN, result)
    return m.where(abs(x) < 2.0 ** -(MANTISSA[element] + 2), x, result)
