"""Bessel functions: the modified ones by polynomials, the others by libm."""

from __future__ import annotations

from tritorch.triton_cpu.math.coefficients import POLYNOMIALS
from tritorch.triton_cpu.math.exponential import exponential
from tritorch.triton_cpu.math.lanes import Lanes, Number
from tritorch.triton_cpu.math.libm import per_lane
from tritorch.triton_cpu.math.registry import function


def _modified(m: Lanes, x: Number, order: int) -> Number:
    """I0(x) or I1(x) / x, for |x|, in float64.

    Up to 8 a polynomial of x^2, beyond exp(x) / sqrt(x) times one of 1 / x.
    """
    # The result overflows before 1000.
    size = m.at_most(abs(m.convert(x, "f64")), 1000.0)
    far = size > 8.0
    kind = f"I{order}_{{}}_{x.element}"
    near = m.polynomial(size * size * 0.25, POLYNOMIALS[kind.format("NEAR")]["f64"])
    beyond = m.polynomial(16.0 / size - 1.0, POLYNOMIALS[kind.format("FAR")]["f64"])
    root = m.square_root(size)
    beyond = beyond / (root * size if order == 1 else root)
    # exp(x) would overflow before the quotient does.
    growth = exponential(m, size, halvings=8)
    return m.where(far, beyond * growth * 256.0, near)


@function("cyl_bessel_i0", inner_bytes=8)
def i0(m: Lanes, x: Number) -> Number:
    return m.convert(_modified(m, x, 0), x.element)


@function("cyl_bessel_i1", inner_bytes=8)
def i1(m: Lanes, x: Number) -> Number:
    return m.convert(_modified(m, x, 1) * m.convert(x, "f64"), x.element)


def _by_libm(m: Lanes, name: str, *arguments: Number) -> Number:
    element = arguments[-1].element
    wide = [m.convert(x, "f64") if x.is_float else x for x in arguments]
    return m.convert(per_lane(m, name, *wide), element)


def _declare(name: str) -> None:
    function(name)(lambda m, *arguments: _by_libm(m, name, *arguments))


for _name in ("j0", "j1", "jn", "y0", "y1", "yn"):
    _declare(_name)
