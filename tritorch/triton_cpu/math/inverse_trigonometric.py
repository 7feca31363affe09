"""asin, acos, atan, atan2."""

from __future__ import annotations

from tritorch.triton_cpu.math.coefficients import POLYNOMIALS
from tritorch.triton_cpu.math.constants import PI, parts
from tritorch.triton_cpu.math.lanes import INFINITY, Lanes, Number
from tritorch.triton_cpu.math.registry import function


def _halved(m: Lanes, x: Number) -> tuple[Number, Number, Number]:
    """The mask |x| > 1/2, where asin |x| = pi/2 - 2 asin sqrt((1 - |x|) / 2); s; asin s - s.

    Elsewhere s = |x|. The arc sine of s is s + s z P(z), z = s^2.
    """
    size = abs(x)
    far = size > 0.5
    half = m.fma(size, -0.5, 0.5)
    z = m.where(far, half, size * size)
    s = m.where(far, m.square_root(half), size)
    return far, s, s * z * m.polynomial(z, POLYNOMIALS["ASIN"][x.element])


@function("asin")
def asin(m: Lanes, x: Number) -> Number:
    far, s, rest = _halved(m, x)
    high, low = parts(PI / 2, x.element, _BITS[x.element])
    result = m.where(far, (high - 2.0 * s) - (2.0 * rest - low), s + rest)
    return m.copy_sign(result, x)


@function("acos")
def acos(m: Lanes, x: Number) -> Number:
    far, s, rest = _halved(m, x)
    high, low = parts(PI / 2, x.element, _BITS[x.element])
    negative = x < 0.0
    angle = s + rest  # asin of s
    # |x| <= 1/2: pi/2 -+ asin |x|; beyond: 2 asin s, or pi minus that.
    near = high - (m.where(negative, -s, s) - (low - m.where(negative, -rest, rest)))
    beyond = m.where(negative, 2.0 * high - (2.0 * angle - 2.0 * low), 2.0 * angle)
    return m.where(far, beyond, near)


#: of the first part of pi/2: all
_BITS = {"f32": 24, "f64": 53}


def _arc_tangent(m: Lanes, t: Number) -> Number:
    """atan t for 0 <= t <= 1."""
    z = t * t
    return m.fma(t * z, m.polynomial(z, POLYNOMIALS["ATAN"][t.element]), t)


@function("atan")
def atan(m: Lanes, x: Number) -> Number:
    size = abs(x)
    far = size > 1.0
    angle = _arc_tangent(m, m.where(far, 1.0 / size, size))
    high, low = parts(PI / 2, x.element, _BITS[x.element])
    return m.copy_sign(m.where(far, high - (angle - low), angle), x)


@function("atan2")
def atan2(m: Lanes, y: Number, x: Number) -> Number:
    """The angle of (x, y), with C99's signs of zeros and infinities."""
    height, width = abs(y), abs(x)
    steep = height > width
    large, small = m.where(steep, height, width), m.where(steep, width, height)
    ratio = small / large
    ratio = m.where(large.equals(0.0), 0.0, ratio)
    ratio = m.where(small.equals(INFINITY), 1.0, ratio)
    angle = _arc_tangent(m, ratio)
    high, low = parts(PI / 2, x.element, _BITS[x.element])
    angle = m.where(steep, high - (angle - low), angle)
    left = x.bits() < 0
    angle = m.where(left, 2.0 * high - (angle - 2.0 * low), angle)
    angle = m.where(x.is_nan() | y.is_nan(), x + y, angle)
    return m.copy_sign(angle, y)
