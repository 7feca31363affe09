"""Mathematical constants to 60 digits, and their splitting into a sum of short floats."""

from __future__ import annotations

import math
from fractions import Fraction

from tritorch.triton_cpu.math.lanes import MANTISSA

LN2 = Fraction("0.693147180559945309417232121458176568075500134360255254120680")
LN10 = Fraction("2.302585092994045684017991454684364207601101488628772976033328")
PI = Fraction("3.141592653589793238462643383279502884197169399375105820974945")


def parts(value: Fraction, element: str, *bits: int) -> tuple[float, ...]:
    """Floats of `element` whose sum is `value` > 0: one of each given width in bits, then the rest.

    A factor of few bits makes products with small integers exact, also without a fused
    multiply-add. All are truncated, thus positive: x - 0 * part keeps the sign of x = -0.0.
    """
    result = []
    for width in (*bits, MANTISSA[element] + 1):
        if value == 0:
            result.append(0.0)
            continue
        exponent = math.frexp(float(value))[1] - width
        unit = Fraction(2) ** exponent
        part = value // unit * unit
        result.append(float(part))
        value -= part
    return tuple(result)
