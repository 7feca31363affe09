"""The incomplete gamma functions: a series below x = a + 1, a continued fraction above.

Source: Press et al., Numerical recipes, 6.2.
"""

# The decorated functions are written in the scalar language, whose operands have no annotations.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from typing import Any

from tritorch.kernels import scalar as s
from tritorch.ops.declare import pointwise


def _parts(a: Any, x: Any) -> tuple[Any, Any]:
    """(lower, upper), which add up to 1."""
    good = (a > 0) & (x > 0) & s.isfinite(a) & s.isfinite(x)
    # Where the other way is taken, and where neither is, harmless values that converge at once.
    near = good & (x < a + 1.0)
    far = good & (x >= a + 1.0)
    a_near, x_near = s.where(near, a, 1.0), s.where(near, x, 0.5)
    a_far, x_far = s.where(far, a, 1.0), s.where(far, x, 3.0)
    a_safe, x_safe = s.where(good, a, 1.0), s.where(good, x, 1.0)
    factor = s.exp(a_safe * s.log(x_safe) - x_safe - s.lgamma(a_safe))
    below = factor * s.gamma_series(a_near, x_near)
    above = factor * s.gamma_fraction(a_far, x_far)
    lower = s.where(near, below, 1.0 - above)
    upper = s.where(near, 1.0 - below, above)
    undefined = (a < 0) | (x < 0) | ((a == 0) & (x == 0)) | (s.isinf(a) & s.isinf(x))
    undefined = undefined | s.isnan(a) | s.isnan(x)
    everything = (a == 0) | s.isinf(x)
    nothing = (x == 0) | s.isinf(a)
    lower = s.where(everything, 1.0, s.where(nothing, 0.0, lower))
    upper = s.where(everything, 0.0, s.where(nothing, 1.0, upper))
    return s.where(undefined, math.nan, lower), s.where(undefined, math.nan, upper)


def _density(a: Any, x: Any) -> Any:
    """The derivative by x."""
    return s.exp((a - 1.0) * s.log(x) - x - s.lgamma(a))


def _by_shape(a: Any, x: Any) -> Any:
    """The derivative by a: what x must fall by where the value is to stay, times the density."""
    inside = (a > 0) & (x > 0) & s.isfinite(a) & s.isfinite(x)
    a, x = s.where(inside, a, 1.0), s.where(inside, x, 1.0)
    slope = s.gamma_slope(a, s.log(x), s.digamma(a + 1.0))
    return s.where(inside, -slope * x * _density(a, x), math.nan)


@pointwise(
    promote="float", method=False, numpy=None, low=0.2, high=6.0,
    grad=lambda g, input, other: (g * _by_shape(input, other), g * _density(input, other)),
)  # fmt: skip
def gammainc(input, other):
    """The regularized lower incomplete gamma function P(input, other).

    Gradients pass to both arguments; that by the first has itself no derivative.
    """
    return _parts(input, other)[0]


@pointwise(
    promote="float", method=False, numpy=None, low=0.2, high=6.0,
    grad=lambda g, input, other: (-g * _by_shape(input, other), -g * _density(input, other)),
)  # fmt: skip
def gammaincc(input, other):
    """The regularized upper incomplete gamma function, 1 - `gammainc`."""
    return _parts(input, other)[1]
