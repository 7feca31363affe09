"""The error function's family: erf, erfc, erfcx, the normal distribution, and the inverses.

erf in float32 is Juffa's (two polynomials), or with AVX-512 a polynomial and a table. All others go
through float64 and erfcx x = exp(x^2) erfc x, a smooth function: a polynomial in (x - 4) / (x + 4)
for (1 + 2 x) erfcx x. The inverses are Wichura's rational functions for the normal quantile
(algorithm AS 241, 1988).
"""

from __future__ import annotations

import math
from fractions import Fraction

from tritorch.triton_cpu.math import avx512
from tritorch.triton_cpu.math.coefficients import POLYNOMIALS
from tritorch.triton_cpu.math.exponential import exponential
from tritorch.triton_cpu.math.lanes import INFINITY, NAN, Lanes, Number
from tritorch.triton_cpu.math.logarithm import log
from tritorch.triton_cpu.math.registry import function
from tritorch.triton_cpu.math.tables import TABLES

_NEAR = 0.927734375


@function("erf", inline=True)
def erf(m: Lanes, x: Number) -> Number:
    return _erf_f32(m, x) if x.element == "f32" else _erf_f64(m, x)


#: below, the polynomial; above, the table
_SMALL = 0.3808


def _erf_f32_table(m: Lanes, x: Number) -> Number:
    """f(c) + t p(t), t = |x| - c, for one of 16 middles c: tables in registers."""
    width, (middles, values, *coefficients) = TABLES["ERF"]
    square = x * x
    small = m.fma(m.polynomial(square, POLYNOMIALS["ERF_SMALL"]["f32"]), x, x)
    size = m.at_most(abs(x), 3.93)  # in the last interval; erf is 1 to the last bit
    _, index = m.nearest_product(size, 1 / width)
    t = size - avx512.lookup(m, index, middles)
    p = avx512.lookup(m, index, coefficients[-1])
    for row in (*reversed(coefficients[:-1]), values):
        p = m.fma(p, t, avx512.lookup(m, index, row))
    return m.where(abs(x) < _SMALL, small, m.copy_sign(p, x))


def _erf_f32(m: Lanes, x: Number) -> Number:
    if m.target.avx512f:
        return _erf_f32_table(m, x)
    size = abs(x)
    square = x * x
    near = m.fma(m.polynomial(square, POLYNOMIALS["ERF"]["f32"]), x, x)
    # 1 - exp(-t - t p(t)), p in even and odd powers; coefficients by N. Juffa
    # (stackoverflow.com/a/35150069).
    low = m.fma(-1.72853470e-5, size, 3.83197126e-4)
    high = m.fma(-3.88396438e-3, size, 2.42546219e-2)
    p = m.fma(low, square, high)
    for c in (-1.06777877e-1, -6.34846687e-1, -1.28717512e-1):
        p = m.fma(p, size, c)
    p = m.fma(p, size, -size)
    far = m.copy_sign(1.0 - exponential(m, p), x)
    return m.where(size > _NEAR, far, near)


def _erf_f64(m: Lanes, x: Number) -> Number:
    size = abs(x)
    square = x * x
    near = m.fma(m.polynomial(square, POLYNOMIALS["ERF"]["f64"]), x, x)
    far = 1.0 - _erfc_positive(m, m.at_most(size, 6.0), "f64")
    return m.where(size > _NEAR, m.copy_sign(far, x), near)


def _erfcx_positive(m: Lanes, x: Number, accuracy: str) -> Number:
    """erfcx for x >= 0 in float64, good enough for a result of element `accuracy`."""
    if accuracy == "f32":  # one division for both quotients
        near = m.at_most(x, 2.0**500)
        inverse = 1.0 / ((near + 4.0) * (near + 0.5))
        t = (near - 4.0) * (near + 0.5) * inverse
        p = m.polynomial(t, POLYNOMIALS["ERFCX_f32"]["f64"])
        return 0.5 * p * ((near + 4.0) * inverse)
    near = m.at_most(x, 2.0**60)
    t = (near - 4.0) / (near + 4.0)
    return 0.5 * m.polynomial(t, POLYNOMIALS[f"ERFCX_{accuracy}"]["f64"]) / (0.5 + x)


def _erfc_positive(m: Lanes, x: Number, accuracy: str, rest: Number | None = None) -> Number:
    """erfc(x + rest) for 0 <= x <= 30 in float64."""
    square, lost = m.product(x, x)
    if rest is not None:
        lost = m.fma(x + x, rest, lost)
    return exponential(m, -square, tail=-lost) * _erfcx_positive(m, x, accuracy)


def _erfc(m: Lanes, x: Number, accuracy: str, rest: Number | None = None) -> Number:
    """erfc(x + rest) in float64."""
    negative = x < 0.0
    size = m.at_most(abs(x), 30.0)
    if rest is not None:
        rest = m.where(negative, -rest, rest)
    value = _erfc_positive(m, size, accuracy, rest)
    value = m.where(negative, 2.0 - value, value)
    if accuracy == "f32" or rest is not None:
        return value
    # Near 0, where erfcx's polynomial has 4 ulp.
    near = m.fma(m.polynomial(x * x, POLYNOMIALS["ERF"]["f64"]), x, x)
    return m.where(size < 0.5, 1.0 - near, value)


@function("erfc", inner_bytes=8)
def erfc(m: Lanes, x: Number) -> Number:
    return m.convert(_erfc(m, m.convert(x, "f64"), x.element), x.element)


@function("erfcx", inner_bytes=8)
def erfcx(m: Lanes, x: Number) -> Number:
    """exp(x^2) erfc(x)."""
    wide = m.convert(x, "f64")
    negative = wide < 0.0
    value = _erfcx_positive(m, abs(wide), x.element)
    # Below 0: 2 exp(x^2) - erfcx(-x).
    bounded = m.at_least(wide, -27.0)
    square, lost = m.product(bounded, bounded)
    mirrored = 2.0 * exponential(m, square, tail=lost) - value
    return m.convert(m.where(negative, mirrored, value), x.element)


@function("normcdf", inner_bytes=8)
def normcdf(m: Lanes, x: Number) -> Number:
    """The normal distribution: erfc(-x / sqrt 2) / 2."""
    wide = m.at_least(m.at_most(m.convert(x, "f64"), 40.0), -40.0)
    root = Fraction(math.isqrt(2 * 10**60), 10**30) / 2
    high = float(root)
    y, lost = m.product(wide, -high)
    rest = m.fma(wide, -float(root - Fraction(high)), lost)
    return m.convert(_erfc(m, y, x.element, rest) * 0.5, x.element)


# ---- inverses

#: Numerators and denominators, lowest power first: centre, tail, far tail.
_QUANTILE = (
    (
        (
            3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3,
            1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4,
            3.3430575583588128105e4, 2.5090809287301226727e3,
        ),
        (
            1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
            2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4,
            5.2264952788528545610e3,
        ),
    ),
    (
        (
            1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0,
            3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1,
            2.27238449892691845833e-2, 7.74545014278341407640e-4,
        ),
        (
            1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
            1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
            1.05075007164441684324e-9,
        ),
    ),
    (
        (
            6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0,
            2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
            2.71155556874348757815e-5, 2.01033439929228813265e-7,
        ),
        (
            1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
            7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
            2.04426310338993978564e-15,
        ),
    ),
)  # fmt: skip


def _quantile(m: Lanes, centred: Number, tail: Number) -> Number:
    """The normal quantile of p for centred = p - 1/2 and tail = min(p, 1 - p), in float64."""
    central = abs(centred) <= 0.425
    root = m.square_root(-log(m, m.where(central, 0.25, tail)))
    far = root > 5.0
    arguments = (0.180625 - centred * centred, root - 1.6, root - 5.0)
    values = [
        m.polynomial(r, numerator) / m.polynomial(r, denominator)
        for r, (numerator, denominator) in zip(arguments, _QUANTILE)
    ]
    outer = m.where(far, values[2], values[1])
    # At the very end of the range root is inf, and the quotient of the polynomials nan.
    outer = m.where(root.equals(INFINITY), INFINITY, outer)
    return m.where(central, centred * values[0], m.copy_sign(outer, centred))


@function("normcdfinv", inner_bytes=8)
def normcdfinv(m: Lanes, p: Number) -> Number:
    wide = m.convert(p, "f64")
    tail = m.where(wide < 0.5, wide, 1.0 - wide)
    value = _quantile(m, wide - 0.5, tail)
    value = m.where((wide < 0.0) | (wide > 1.0) | wide.is_nan(), NAN, value)
    return m.convert(value, p.element)


@function("erfinv", inner_bytes=8)
def erfinv(m: Lanes, x: Number) -> Number:
    return _erfinv_f32(m, x) if x.element == "f32" else _erfinv_f64(m, x)


def _erfinv_f32(m: Lanes, x: Number) -> Number:
    """x times a polynomial of w = -log(1 - x^2), or of its root; after Giles, 2010."""
    size = abs(x)
    w = -log(m, (1.0 - size) * (1.0 + size))
    far = w > 6.0
    near = m.polynomial(m.convert(w, "f64") - 3.0, POLYNOMIALS["ERFINV_NEAR"]["f64"])
    root = m.convert(m.square_root(w), "f64")
    beyond = m.polynomial(root - 3.1, POLYNOMIALS["ERFINV_FAR"]["f64"])
    value = m.convert(m.where(far, beyond, near), "f32") * x
    return m.where(size.equals(1.0), m.copy_sign(m.literal(INFINITY, "f32"), x), value)


def _erfinv_f64(m: Lanes, x: Number) -> Number:
    value = _quantile(m, x * 0.5, (1.0 - abs(x)) * 0.5) * math.sqrt(0.5)
    return m.copy_sign(m.where(abs(x) > 1.0, NAN, value), x)


@function("erfcinv", inner_bytes=8)
def erfcinv(m: Lanes, x: Number) -> Number:
    wide = m.convert(x, "f64")
    half = wide * 0.5
    tail = m.where(half < 0.5, half, 1.0 - half)
    value = _quantile(m, 0.5 - half, tail) * math.sqrt(0.5)
    value = m.where((wide < 0.0) | (wide > 2.0) | wide.is_nan(), NAN, value)
    return m.convert(value, x.element)
