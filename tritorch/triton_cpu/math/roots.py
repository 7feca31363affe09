"""Square and cube roots and their reciprocals, lengths of short vectors."""

from __future__ import annotations

from tritorch.triton_cpu.math.coefficients import POLYNOMIALS
from tritorch.triton_cpu.math.lanes import INFINITY, Lanes, Number
from tritorch.triton_cpu.math.logarithm import normalised
from tritorch.triton_cpu.math.registry import function


@function("sqrt", "sqrt_rn", inline=True)
def sqrt(m: Lanes, x: Number) -> Number:
    return m.square_root(x)


@function("rsqrt", inline=True)
def rsqrt(m: Lanes, x: Number) -> Number:
    return 1.0 / m.square_root(x)


@function("rsqrt_rn", inline=True)
def rsqrt_rn(m: Lanes, x: Number) -> Number:
    """Rounded once, for float32: two roundings in float64 are far below its last place."""
    return m.convert(1.0 / m.square_root(m.convert(x, "f64")), x.element)


def _cube_root(m: Lanes, x: Number) -> tuple[Number, Number]:
    """|x|^(1/3) as r 2^q for finite x != 0: q as a power of two, r close to 1.

    With x = m 2^k and k = 3 q + e: a polynomial for (m 2^e)^(1/3), then Halley's and Newton's
    steps.
    """
    element = x.element
    k, f = normalised(m, abs(x))
    q, q_bits = m.nearest_product(k, 1.0 / 3.0)
    e = m.fma(q, -3.0, k)
    mantissa = f + 1.0
    mantissa = m.where(e > 0.0, mantissa * 2.0, m.where(e < 0.0, mantissa * 0.5, mantissa))
    r = m.polynomial(mantissa, POLYNOMIALS["CBRT"][element])
    if element == "f64":
        cube = r * r * r
        r = r * (cube + 2.0 * mantissa) / (2.0 * cube + mantissa)
    square, lost = m.product(r, r)
    cube, lost2 = m.product(square, r)
    residual = (cube - mantissa) + m.fma(lost, r, lost2)
    r = r - residual / (3.0 * square)
    if element == "f32":  # the polynomial has 13 bits: once more
        square, lost = m.product(r, r)
        cube, lost2 = m.product(square, r)
        residual = (cube - mantissa) + m.fma(lost, r, lost2)
        r = r - residual / (3.0 * square)
    return r, m.power_of_two(q_bits, element)


@function("cbrt")
def cbrt(m: Lanes, x: Number) -> Number:
    r, power = _cube_root(m, x)
    regular = (abs(x) < INFINITY) & x.differs(0.0)
    return m.where(regular, m.copy_sign(r * power, x), x + x)


@function("rcbrt")
def rcbrt(m: Lanes, x: Number) -> Number:
    r, power = _cube_root(m, x)
    regular = (abs(x) < INFINITY) & x.differs(0.0)
    return m.where(regular, m.copy_sign(1.0 / (r * power), x), 1.0 / x)


def _length(m: Lanes, numbers: tuple[Number, ...]) -> Number:
    """The root of the sum of squares without overflow in between, in float64."""
    element = numbers[0].element
    sizes = [abs(x) for x in numbers]
    infinite = sizes[0].equals(INFINITY)
    for x in sizes[1:]:
        infinite = infinite | x.equals(INFINITY)
    if element == "f32":
        wide = [m.convert(x, "f64") for x in sizes]
        total = wide[0] * wide[0]
        for x in wide[1:]:
            total = m.fma(x, x, total)
        result = m.square_root(total)
    else:
        largest = sizes[0]
        for x in sizes[1:]:
            largest = m.where(x > largest, x, largest)
        down, up = largest > 2.0**500, largest < 2.0**-450
        scale = m.where(down, 2.0**-600, m.where(up, 2.0**600, m.literal(1.0, element)))
        back = m.where(down, 2.0**600, m.where(up, 2.0**-600, m.literal(1.0, element)))
        total, lost = m.product(sizes[0] * scale, sizes[0] * scale)
        for x in sizes[1:]:
            square, lost2 = m.product(x * scale, x * scale)
            total, lost3 = m.total(total, square)
            lost = lost + lost2 + lost3
        result = m.square_root(total + lost) * back
    return m.where(infinite, INFINITY, result)


@function("hypot", "norm3d", "norm4d", inner_bytes=8)
def hypot(m: Lanes, *numbers: Number) -> Number:
    """sqrt(x^2 + y^2 + ...); inf if one is, also beside a nan."""
    return m.convert(_length(m, numbers), numbers[0].element)


@function("rhypot", "rnorm3d", "rnorm4d", inner_bytes=8)
def rhypot(m: Lanes, *numbers: Number) -> Number:
    return m.convert(1.0 / _length(m, numbers), numbers[0].element)
