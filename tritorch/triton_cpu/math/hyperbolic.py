"""tanh, sinh, cosh and their inverses."""

from __future__ import annotations

from tritorch.triton_cpu.math.coefficients import POLYNOMIALS
from tritorch.triton_cpu.math.exponential import exponential
from tritorch.triton_cpu.math.lanes import Lanes, Number
from tritorch.triton_cpu.math.registry import function


@function("tanh", inline=True)
def tanh(m: Lanes, x: Number) -> Number:
    size = abs(x)
    square = x * x
    near = m.fma(m.polynomial(square, POLYNOMIALS["TANH"][x.element]) * square, size, size)
    far = 1.0 - 2.0 / (exponential(m, size + size) + 1.0)
    # The sign last: near x = -0.0 the polynomial alone would give +0.0.
    return m.copy_sign(m.where(size > 0.6, far, near), x)
