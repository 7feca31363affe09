"""erf in float32 (erfc, and float64: see `special.py`)."""

from __future__ import annotations

from tritorch.triton_cpu.math.coefficients import POLYNOMIALS
from tritorch.triton_cpu.math.exponential import exponential
from tritorch.triton_cpu.math.lanes import Lanes, Number
from tritorch.triton_cpu.math.libm import per_lane
from tritorch.triton_cpu.math.registry import function

_SPLIT = 0.927734375


@function("erf", inline=True)
def erf(m: Lanes, x: Number) -> Number:
    if x.element == "f64":
        return per_lane(m, "erf", x)
    size = abs(x)
    square = x * x
    near = m.fma(m.polynomial(square, POLYNOMIALS["ERF"]["f32"]), x, x)
    # 1 - exp(-t - t p(t)); Juffa's split of p into even and odd powers.
    low = m.fma(-1.72853470e-5, size, 3.83197126e-4)
    high = m.fma(-3.88396438e-3, size, 2.42546219e-2)
    p = m.fma(low, square, high)
    for c in (-1.06777877e-1, -6.34846687e-1, -1.28717512e-1):
        p = m.fma(p, size, c)
    p = m.fma(p, size, -size)
    far = m.copy_sign(1.0 - exponential(m, p), x)
    return m.where(size > _SPLIT, far, near)
