"""sin, cos, tan and their multiples-of-pi kin.

x = k pi/2 + r with |r| <= pi/4; the quadrant k mod 4 chooses and signs the polynomial.
Moderate arguments: Cody and Waite's reduction, pi/2 as a sum of short floats. Huge ones take a
branch that a vector without any never enters: in float32 Payne and Hanek's reduction with 96 bits
of 2/pi for each exponent; in float64, where it would need 1200 bits, libm for each lane.
"""

from __future__ import annotations

from collections.abc import Callable

from tritorch.triton_cpu.math.coefficients import POLYNOMIALS
from tritorch.triton_cpu.math.constants import PI, parts
from tritorch.triton_cpu.math.lanes import INFINITY, MANTISSA, NAN, Lanes, Number
from tritorch.triton_cpu.math.libm import per_lane
from tritorch.triton_cpu.math.registry import function
from tritorch.triton_cpu.math.rounding import floor, rint

#: largest |x| that the Cody-Waite reduction takes
_MODERATE = {"f32": 100000.0, "f64": 2.0**20}

#: 32 bits of 2/pi from each multiple of 8 bits on
_TWO_OVER_PI = [int(2 / PI * 2 ** (8 * (j + 1))) & 0xFFFFFFFF for j in range(24)]

#: r, its tail (what r leaves of the argument; float64 only), and k in the low bits
Reduced = tuple[Number, Number | None, Number]


def _reduce_moderate(m: Lanes, x: Number) -> Reduced:
    element = x.element
    if element == "f32" and not m.target.fma:
        # x - k * part is not exact in float32: reduce in float64, where k * part is.
        wide = m.convert(x, "f64")
        k, quadrant = m.nearest_product(wide, float(2 / PI))
        first, second = parts(PI / 2, "f64", 33)
        r = (wide - k * first) - k * second
        return m.convert(r, "f32"), None, m.convert(quadrant, "i32")
    k, quadrant = m.nearest_product(x, float(2 / PI))
    if element == "f32":
        r = x
        for part in parts(PI / 2, element, 24, 24):
            r = m.fma(k, -part, r)
        return r, None, quadrant
    if m.target.fma:
        # x - k * first is exact: a multiple of 2^-52 below 1.
        first, second, third = parts(PI / 2, element, 53, 53)
        r = m.fma(k, -first, x)
        high = m.fma(k, -second, r)
        low = m.fma(k, -third, m.fma(k, -second, r - high))
        return m.where(k.equals(0.0), x, high), low, quadrant
    # k has 20 bits: every product is exact.
    first, second, third, fourth = parts(PI / 2, element, 33, 33, 33)
    high, lost = m.total(x - k * first, k * -second)
    high, low = m.total(high, k * -third)
    low = m.fma(k, -fourth, low + lost)
    r, tail = m.total_ordered(high, low)
    # The sums lose the sign of x = -0.0.
    return m.where(k.equals(0.0), x, r), tail, quadrant


def _reduce_huge(m: Lanes, x: Number) -> Reduced:
    """Payne and Hanek for float32: the bits of x * 2/pi around the point, in 64-bit integers."""
    bits = x.bits()
    index = bits.shift_right_logical(26) & 15
    mantissa = m.extend_unsigned(
        ((bits & 0x7FFFFF) | 0x800000) << (bits.shift_right_logical(23) & 7), "i64"
    )
    words = [
        m.extend_unsigned(m.table("two_over_pi", "i32", _TWO_OVER_PI, index + 4 * i), "i64")
        for i in range(3)
    ]
    top, middle, bottom = (mantissa * word for word in words)
    fraction = (top << 32) + middle + bottom.shift_right_logical(32)
    quadrant = (fraction + (1 << 61)).shift_right_logical(62)
    rest = m.convert(fraction - (quadrant << 62), "f64")
    r = m.convert(rest * float(PI / 2 / 2**62), "f32")
    quadrant = m.convert(quadrant, "i32")
    negative = x < 0.0
    r = m.where(abs(x) < INFINITY, m.where(negative, -r, r), NAN)
    return r, None, m.where(negative, -quadrant, quadrant)


def _reduce(m: Lanes, x: Number) -> Reduced:
    r, tail, quadrant = _reduce_moderate(m, x)
    if x.element == "f64":
        return r, tail, quadrant
    huge = abs(x) > _MODERATE["f32"]

    def rarely() -> list[Number]:
        r2, _, quadrant2 = _reduce_huge(m, x)
        return [m.where(huge, r2, r), m.where(huge, quadrant2, quadrant)]

    r, quadrant = m.branch(m.any(huge), [r, quadrant], rarely)
    return r, None, quadrant


def sine_cosine(m: Lanes, r: Number, tail: Number | None) -> tuple[Number, Number]:
    """sin and cos of r + tail, |r| <= pi/4."""
    element = r.element
    z = r * r
    if tail is None:
        cosine = m.fma(z, m.polynomial(z, (-0.5, *POLYNOMIALS["COS"][element])), 1.0)
        sine = m.fma(r * z, m.polynomial(z, POLYNOMIALS["SIN"][element]), r)
    else:
        half = z * 0.5
        one = 1.0 - half
        lost = (1.0 - one) - half
        rest = z * z * m.polynomial(z, POLYNOMIALS["COS"][element])
        cosine = one + ((lost + rest) - r * tail)
        sine = r + m.fma(tail, one, r * z * m.polynomial(z, POLYNOMIALS["SIN"][element]))
    # sin(-0.0) is -0.0, which the sum above loses.
    return m.copy_sign(sine, r), cosine


def _is_odd(quadrant: Number) -> Number:
    return (quadrant & 1).differs(0)


def _signed(m: Lanes, y: Number, quadrant: Number) -> Number:
    """-y in quadrants 2 and 3."""
    top = 30 if y.element == "f32" else 62
    return (y.bits() ^ ((quadrant & 2) << top)).as_float()


def _of_quadrant(m: Lanes, r: Number, tail: Number | None, quadrant: Number) -> Number:
    sine, cosine = sine_cosine(m, r, tail)
    return _signed(m, m.where(_is_odd(quadrant), cosine, sine), quadrant)


def _with_libm(m: Lanes, name: str, x: Number, body: Callable[[], Number]) -> Number:
    """The body's result, but libm's for huge float64 arguments."""
    y = body()
    if x.element == "f32":
        return y
    huge = abs(x) > _MODERATE["f64"]
    rare = lambda: [m.where(huge, per_lane(m, name, x), y)]  # noqa: E731
    return m.branch(m.any(huge), [y], rare)[0]


@function("sin")
def sin(m: Lanes, x: Number) -> Number:
    return _with_libm(m, "sin", x, lambda: _of_quadrant(m, *_reduce(m, x)))


@function("cos")
def cos(m: Lanes, x: Number) -> Number:
    def body() -> Number:
        r, tail, quadrant = _reduce(m, x)
        return _of_quadrant(m, r, tail, quadrant + 1)

    return _with_libm(m, "cos", x, body)


@function("tan", inner_bytes=8)
def tan(m: Lanes, x: Number) -> Number:
    def body() -> Number:
        r, tail, quadrant = _reduce(m, x)
        if x.element == "f32":
            # The quotient in float64: three roundings in float32 would add up to 3 ulp.
            r, tail = m.convert(r, "f64"), None
            z = r * r
            cosine = m.fma(z, m.polynomial(z, (-0.5, *POLYNOMIALS["COS"]["f32"])), 1.0)
            sine = m.copy_sign(m.fma(r * z, m.polynomial(z, POLYNOMIALS["SIN"]["f32"]), r), r)
        else:
            sine, cosine = sine_cosine(m, r, tail)
        odd = _is_odd(quadrant)
        quotient = m.where(odd, -cosine, sine) / m.where(odd, sine, cosine)
        return m.convert(quotient, x.element)

    return _with_libm(m, "tan", x, body)


# ---- of multiples of pi


def _reduce_half_turns(m: Lanes, x: Number) -> Reduced:
    """pi x = k pi/2 + r, exact up to the product with pi."""
    k = rint(m, x + x)
    part = x - k * 0.5
    quarter = floor(m, k * 0.25)
    _, quadrant = m.nearest(k - quarter * 4.0)
    high, low = parts(PI, x.element, MANTISSA[x.element] + 1)
    r, lost = m.product(part, high)
    tail = m.fma(part, low, lost)
    if x.element == "f32":
        return r + tail, None, quadrant
    return r, tail, quadrant


@function("sinpi")
def sinpi(m: Lanes, x: Number) -> Number:
    """sin(pi x); 0 with the sign of x for integers."""
    y = _of_quadrant(m, *_reduce_half_turns(m, x))
    return m.where(y.equals(0.0), m.copy_sign(y, x), y)


@function("cospi")
def cospi(m: Lanes, x: Number) -> Number:
    """cos(pi x); +0 halfway between integers."""
    r, tail, quadrant = _reduce_half_turns(m, abs(x))
    y = _of_quadrant(m, r, tail, quadrant + 1)
    return m.where(y.equals(0.0), 0.0, y)
