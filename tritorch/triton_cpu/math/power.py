"""pow, with C99's special cases.

|x|^y = 2^(y log2 |x|). The product needs 11 (float64) or 8 (float32) more bits than the result:
float32 is computed in float64, float64 with a logarithm in two parts.
"""

from __future__ import annotations

from fractions import Fraction

from tritorch.triton_cpu.math.coefficients import POLYNOMIALS
from tritorch.triton_cpu.math.constants import LN2
from tritorch.triton_cpu.math.exponential import LN2_PARTS, exponential
from tritorch.triton_cpu.math.lanes import INFINITY, NAN, Lanes, Number
from tritorch.triton_cpu.math.logarithm import normalised, special_cases
from tritorch.triton_cpu.math.registry import function

Pair = tuple[Number, Number]


def parity(m: Lanes, y: Number) -> Pair:
    """Whether y is an integer, and an odd one (masks); inf is an even one."""
    if y.element == "f32":
        # `nearest` would end at 2^21, where float32 still has odd integers.
        return parity(m, m.convert(y, "f64"))
    size = abs(y)
    # Adding 2^52 leaves the integer's last bit as the last bit of the sum; above, it already is
    # there.
    shifted = m.where(size < 2.0**52, size + 2.0**52, size)
    below = m.where(size < 2.0**52, shifted - 2.0**52, size)
    integer = below.equals(size)
    odd = integer & (size < 2.0**53) & (shifted.bits() & 1).differs(0)
    return integer, odd


def _finish(m: Lanes, x: Number, y: Number, magnitude: Number) -> Number:
    """Sign and special cases for |x|^y = magnitude, which is right for |x| = 0, inf.

    y may be wider than x.
    """
    integer, odd = parity(m, y)
    size = abs(x)
    magnitude = m.where(size.equals(1.0), 1.0, magnitude)
    magnitude = m.where(x.is_nan() | y.is_nan(), NAN, magnitude)
    signed = m.where(odd, m.copy_sign(magnitude, x), magnitude)
    undefined = (x < 0.0) & (size < INFINITY) & ~integer
    result = m.where(undefined, NAN, signed)
    return m.where(x.equals(1.0) | y.equals(0.0), 1.0, result)


def _power_f32(m: Lanes, x: Number, y: Number) -> Number:
    size, exponent = m.convert(abs(x), "f64"), m.convert(y, "f64")
    k, f = normalised(m, size)
    s = f / (f + 2.0)
    z = s * s
    log = m.fma(s * z, m.polynomial(z, POLYNOMIALS["POW_ATANH"]["f64"]), s + s)
    log2 = m.fma(log, float(1 / LN2), k)
    log2 = special_cases(m, size, log2)
    # Beyond +-200 float32 overflows or vanishes, also for infinite products.
    product = m.at_least(m.at_most(log2 * exponent, 200.0), -200.0)
    whole, bits = m.nearest(product)
    p = m.polynomial(product - whole, (1.0, *POLYNOMIALS["POW_EXP2"]["f64"]))
    magnitude = m.convert(p * m.power_of_two(bits, "f64"), "f32")
    return _finish(m, x, y, magnitude)


def logarithm_pair(m: Lanes, x: Number) -> Pair:
    """log(x) for finite x > 0 as an unevaluated sum with 66 good bits."""
    k, f = normalised(m, x)
    # s = f / (2 + f) in two parts.
    below, below_rest = m.total_ordered(m.literal(2.0, "f64"), f)
    s = f / below
    product, error = m.product(s, below)
    s_rest = (((f - product) - error) - s * below_rest) / below
    # z = s^2 in two parts.
    z, z_rest = m.product(s, s)
    z_rest = m.fma(s + s, s_rest, z_rest)
    # 2 atanh s = 2 s + s z (2/3 + z q(z)).
    third = Fraction(2, 3)
    q = z * m.polynomial(z, POLYNOMIALS["ATANH_PAIR"]["f64"])
    head, head_rest = m.total_ordered(m.literal(float(third), "f64"), q)
    head_rest = head_rest + float(third - Fraction(float(third)))
    # (z + z_rest) (head + head_rest) (s + s_rest)
    a, a_rest = m.product(z, head)
    a_rest = m.fma(z, head_rest, m.fma(z_rest, head, a_rest))
    b, b_rest = m.product(s, a)
    b_rest = m.fma(s, a_rest, m.fma(s_rest, a, b_rest))
    # k ln 2 + 2 s + b; k times the first part is exact.
    high, low = LN2_PARTS["f64"]
    top, lost = m.total(k * high, s + s)
    top, lost2 = m.total(top, b)
    rest = lost + lost2 + m.fma(k, low, s_rest + s_rest + b_rest)
    return m.total_ordered(top, rest)


def _power_f64(m: Lanes, x: Number, y: Number) -> Number:
    size = abs(x)
    log, log_rest = logarithm_pair(m, size)
    # |log x| >= 2^-53 unless x = 1: beyond 2^64 every y has the same result.
    y_near = m.at_least(m.at_most(y, 2.0**64), -(2.0**64))
    product, error = m.product(log, y_near)
    error = m.fma(log_rest, y_near, error)
    product, error = m.total_ordered(product, error)
    error = m.where(abs(product) < 800.0, error, 0.0)
    magnitude = exponential(m, product, tail=error)
    grows = (size > 1.0) & (y > 0.0) | (size < 1.0) & (y < 0.0)
    extreme = size.equals(0.0) | size.equals(INFINITY) | abs(y).equals(INFINITY)
    magnitude = m.where(extreme, m.where(grows, INFINITY, m.literal(0.0, "f64")), magnitude)
    return _finish(m, x, y, magnitude)


@function("pow", "powf", inner_bytes=8)
def power(m: Lanes, x: Number, y: Number) -> Number:
    return _power_f32(m, x, y) if x.element == "f32" else _power_f64(m, x, y)


@function("powi", inner_bytes=8)
def power_of_integer(m: Lanes, x: Number, n: Number) -> Number:
    """x^n for an i32 n."""
    y = m.convert(n, "f64")
    return _power_f32(m, x, y) if x.element == "f32" else _power_f64(m, x, y)
