"""lgamma and tgamma: float32 by Lanczos' and Stirling's formulas in float64, float64 by libm."""

from __future__ import annotations

import math

from tritorch.triton_cpu.math.exponential import exponential
from tritorch.triton_cpu.math.lanes import INFINITY, NAN, Lanes, Number
from tritorch.triton_cpu.math.libm import per_lane
from tritorch.triton_cpu.math.logarithm import log
from tritorch.triton_cpu.math.registry import function
from tritorch.triton_cpu.math.rounding import floor
from tritorch.triton_cpu.math.trigonometric import sinpi

#: Gamma(x) = (x + G - 1/2)^(x - 1/2) exp(-(x + G - 1/2)) L(x), L = numerator / denominator;
#: Lanczos' approximation with 13 terms as in Boost.Math (lanczos13m53) and CPython.
_G = 6.024680040776729583740234375
_NUMERATOR = (
    23531376880.410759688572007674451636754734846804940,
    42919803642.649098768957899047001988850926355848959,
    35711959237.355668049440185451547166705960488635843,
    17921034426.037209699919755754458931112671403265390,
    6039542586.3520280050642916443072979210699388420708,
    1439720407.3117216736632230727949123939715485786372,
    248874557.86205415651146038641322942321632125127801,
    31426415.585400194380614231628318205362874684987640,
    2876370.6289353724412254090516208496135991145378768,
    186056.26539522349504029498971604569928220784236328,
    8071.6720023658162106380029022722506138218516325024,
    210.82427775157934587250973392071336271166969580291,
    2.5066282746310002701649081771338373386264310793408,
)
_DENOMINATOR = (
    0.0, 39916800.0, 120543840.0, 150917976.0, 105258076.0, 45995730.0, 13339535.0, 2637558.0,
    357423.0, 32670.0, 1925.0, 66.0, 1.0,
)  # fmt: skip
#: From here on lgamma uses Stirling's series (Bernoulli numbers); Lanczos' powers would overflow.
_STIRLING = 20.0
_SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680)


def _lanczos(m: Lanes, x: Number) -> Number:
    return m.polynomial(x, _NUMERATOR) / m.polynomial(x, _DENOMINATOR)


def _log_gamma(m: Lanes, x: Number) -> Number:
    """log Gamma(x) for x >= 1/2."""
    large = x > _STIRLING
    near = m.at_most(x, _STIRLING)
    shifted = near + (_G - 0.5)
    logarithm = log(m, m.where(large, x, shifted))
    inverse = 1.0 / x
    series = inverse * m.polynomial(inverse * inverse, _SERIES)
    stirling = m.fma(x - 0.5, logarithm, series + 0.5 * math.log(2 * math.pi)) - x
    lanczos = m.fma(near - 0.5, logarithm - 1.0, log(m, _lanczos(m, near))) - _G
    value = m.where(large, stirling, lanczos)
    # The zeros are exact.
    return m.where(x.equals(1.0) | x.equals(2.0), 0.0, value)


@function("lgamma", inner_bytes=8)
def lgamma(m: Lanes, x: Number) -> Number:
    """log |Gamma(x)|; inf at 0, -1, -2, ..."""
    if x.element == "f64":
        return per_lane(m, "lgamma", x)
    wide = m.convert(x, "f64")
    reflected = wide < 0.5
    value = _log_gamma(m, m.where(reflected, 1.0 - wide, wide))

    def rarely() -> list[Number]:
        # |Gamma(x)| = pi / |sin(pi x)| / Gamma(1 - x)
        sine = abs(sinpi(m, m.at_least(wide, -(2.0**50))))
        mirrored = log(m, math.pi / sine) - value
        mirrored = m.where(sine.equals(0.0), INFINITY, mirrored)
        return [m.where(reflected, mirrored, value)]

    (value,) = m.branch(m.any(reflected), [value], rarely)
    value = m.where(abs(wide).equals(INFINITY), INFINITY, value)
    return m.convert(m.where(x.is_nan(), NAN, value), "f32")


@function("tgamma", inner_bytes=8)
def tgamma(m: Lanes, x: Number) -> Number:
    """Gamma(x); nan at -1, -2, ..., inf with the sign of x at 0."""
    if x.element == "f64":
        return per_lane(m, "tgamma", x)
    wide = m.convert(x, "f64")
    reflected = wide < 0.5
    # float32 overflows beyond 36, and vanishes below -60.
    size = m.at_most(m.where(reflected, 1.0 - wide, wide), 100.0)
    shifted = size + (_G - 0.5)
    power = m.fma(size - 0.5, log(m, shifted), -shifted)
    value = _lanczos(m, size) * exponential(m, power)
    sine = sinpi(m, m.at_least(wide, -(2.0**50)))
    mirrored = math.pi / (sine * value)
    tiny = wide < -60.0
    mirrored = m.where(tiny, m.copy_sign(m.literal(0.0, "f64"), sine), mirrored)
    value = m.where(reflected, mirrored, value)
    pole = (wide < 0.0) & floor(m, wide).equals(wide)
    value = m.where(pole | x.is_nan(), NAN, value)
    value = m.where(wide.equals(0.0), m.copy_sign(m.literal(INFINITY, "f64"), wide), value)
    return m.convert(m.where(wide.equals(INFINITY), INFINITY, value), "f32")
