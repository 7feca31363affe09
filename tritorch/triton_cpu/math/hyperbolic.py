"""tanh, sinh, cosh and their inverses."""

from __future__ import annotations

import math

from tritorch.triton_cpu.math import avx512
from tritorch.triton_cpu.math.coefficients import POLYNOMIALS
from tritorch.triton_cpu.math.exponential import exponential
from tritorch.triton_cpu.math.lanes import NAN, Lanes, Number
from tritorch.triton_cpu.math.logarithm import log1p
from tritorch.triton_cpu.math.registry import function


@function("tanh", inline=True)
def tanh(m: Lanes, x: Number) -> Number:
    size = abs(x)
    square = x * x
    near = m.fma(m.polynomial(square, POLYNOMIALS["TANH"][x.element]) * square, size, size)
    # Beyond 20 the result is 1 to the last bit.
    near_size = m.at_most(size, 20.0)
    grown = exponential(m, near_size + near_size, bounded=True) + 1.0
    if m.target.avx512f and x.element == "f32":
        far = m.fma(-2.0, avx512.reciprocal(m, grown), 1.0)  # a division takes three times as long
    else:
        far = 1.0 - 2.0 / grown
    # The sign last: near x = -0.0 the polynomial alone would give +0.0.
    return m.copy_sign(m.where(size > 0.6, far, near), x)


@function("sinh")
def sinh(m: Lanes, x: Number) -> Number:
    size = abs(x)
    square = x * x
    near = m.fma(m.polynomial(square, POLYNOMIALS["SINH"][x.element]) * square, size, size)
    half = exponential(m, size, halvings=1)
    return m.copy_sign(m.where(size > 1.0, half - 0.25 / half, near), x)


@function("cosh")
def cosh(m: Lanes, x: Number) -> Number:
    half = exponential(m, abs(x), halvings=1)
    return half + 0.25 / half


#: Above, x^2 + 1 = x^2 to the last bit, and x^2 could overflow further on.
_LARGE = {"f32": 2.0**30, "f64": 2.0**60}


@function("asinh")
def asinh(m: Lanes, x: Number) -> Number:
    """log(x + sqrt(x^2 + 1)), the argument less 1 for log1p."""
    size = abs(x)
    large = size > _LARGE[x.element]
    square = size * size
    argument = size + square / (1.0 + m.square_root(square + 1.0))
    return m.copy_sign(_log1p_or_double(m, large, size, argument), x)


@function("acosh")
def acosh(m: Lanes, x: Number) -> Number:
    """log(x + sqrt(x^2 - 1)), with t = x - 1."""
    t = x - 1.0
    argument = t + m.square_root(t * (t + 2.0))
    result = _log1p_or_double(m, x > _LARGE[x.element], x, argument)
    return m.where(x.not_at_least(1.0), NAN, result)


def _log1p_or_double(m: Lanes, large: Number, x: Number, argument: Number) -> Number:
    """log1p(argument), but log(2 x) for large x."""
    result = log1p(m, m.where(large, x, argument))
    return m.where(large, result + math.log(2), result)


@function("atanh")
def atanh(m: Lanes, x: Number) -> Number:
    """log1p(2 x / (1 - x)) / 2."""
    size = abs(x)
    return m.copy_sign(log1p(m, (size + size) / (1.0 - size)) * 0.5, x)
