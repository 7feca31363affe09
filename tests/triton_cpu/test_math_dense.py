"""The functions that the speed rests on: 2 ulp in float32 over half a million arguments each.

Bit patterns of every exponent, both signs, denormals; random arguments where the function is
interesting, among them those with denormal results; the special values of C's Annex F by hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import special

from tests.triton_cpu.emitted import TARGETS
from tests.triton_cpu.test_math import emitted, ulps

BOUND = 2.0
#: every bit pattern of float32 that is a multiple of this: a prime, so all low bits occur
STRIDE = 8191

#: function -> (reference in float64, intervals of further arguments)
FUNCTIONS: dict[str, tuple[Callable[..., np.ndarray], list[tuple[float, float]]]] = {
    "exp": (np.exp, [(-104, -87), (-87, 89), (-1, 1)]),
    "exp2": (np.exp2, [(-150, -125), (-126, 128), (-1, 1)]),
    "log": (np.log, [(0, 2), (0.99, 1.01), (0, 1e-38)]),
    "log2": (np.log2, [(0, 2), (0.99, 1.01), (0, 1e-38)]),
    "log1p": (np.log1p, [(-1, 1), (-1e-3, 1e-3), (-1e-38, 1e-38)]),
    "expm1": (np.expm1, [(-1, 1), (-20, 89), (-1e-3, 1e-3), (-1e-38, 1e-38)]),
    "sin": (np.sin, [(-10, 10), (-1e5, 1e5), (-1e10, 1e10), (-1e30, 1e30), (-3e38, 3e38)]),
    "cos": (np.cos, [(-10, 10), (-1e5, 1e5), (-1e10, 1e10), (-1e30, 1e30), (-3e38, 3e38)]),
    "tan": (np.tan, [(-10, 10), (-1e5, 1e5), (-1e10, 1e10), (-1e30, 1e30), (-3e38, 3e38)]),
    "tanh": (np.tanh, [(-10, 10), (-1, 1), (-1e-3, 1e-3), (-1e-38, 1e-38)]),
    "erf": (special.erf, [(-4, 4), (-1, 1), (-1e-3, 1e-3), (-1e-38, 1e-38)]),
    "rsqrt": (lambda x: 1 / np.sqrt(x), [(0, 4), (0, 1e-38)]),
}


def _worst(name: str, result: np.ndarray, exact: np.ndarray, *x: np.ndarray) -> None:
    errors = ulps(result, exact.astype(np.longdouble))
    worst = int(errors.argmax())
    assert errors[worst] <= BOUND, (
        f"{name}({', '.join(repr(v[worst]) for v in x)}) = {result[worst]!r}, expected "
        f"{exact[worst]!r}: {errors[worst]:.3f} ulp"
    )
    zeros = (result == 0) & (exact == 0)
    wrong = zeros & (np.signbit(result) != np.signbit(exact))
    assert not wrong.any(), f"{name}: sign of zero at {[v[wrong][:3] for v in x]}"


@pytest.mark.parametrize("level", TARGETS)
@pytest.mark.parametrize("name", FUNCTIONS)
@np.errstate(all="ignore")
def test_within_two_ulp(name: str, level: str) -> None:
    reference, intervals = FUNCTIONS[name]
    rng = np.random.default_rng(31)
    patterns = np.arange(0, 2**32, STRIDE, dtype=np.uint64).astype(np.uint32).view(np.float32)
    inside = [rng.uniform(low, high, 20_000).astype(np.float32) for low, high in intervals]
    x = np.concatenate([patterns, *inside])
    _worst(name, emitted(name, ("f32",), level)(x), reference(x.astype(np.float64)), x)


@pytest.mark.parametrize("level", TARGETS)
@np.errstate(all="ignore")
def test_powers_within_two_ulp(level: str) -> None:
    rng = np.random.default_rng(32)
    patterns = rng.integers(0, 2**32, (2, 150_000), dtype=np.uint64).astype(np.uint32)
    x, y = patterns.view(np.float32)
    near = rng.uniform(0.9, 1.1, 50_000), rng.uniform(-1000, 1000, 50_000)
    wide = np.exp(rng.uniform(-80, 80, 100_000)), rng.uniform(-2, 2, 100_000)
    whole = rng.uniform(-50, 50, 50_000), rng.integers(-20, 20, 50_000)
    small = rng.uniform(0, 1, 50_000), rng.uniform(80, 150, 50_000)  # denormal results
    x = np.concatenate([x, near[0], wide[0], whole[0], small[0]]).astype(np.float32)
    y = np.concatenate([y, near[1], wide[1], whole[1], small[1]]).astype(np.float32)
    exact = np.power(x.astype(np.float64), y.astype(np.float64))
    _worst("pow", emitted("pow", ("f32", "f32"), level)(x, y), exact, x, y)


_INF, _NAN = math.inf, math.nan
#: C17, Annex F: function -> (arguments, value), signs of zeros included
SPECIAL: dict[str, list[tuple[float, float]]] = {
    "exp": [(0.0, 1), (-0.0, 1), (_INF, _INF), (-_INF, 0.0), (_NAN, _NAN), (1e-45, 1), (200, _INF),
            (-200, 0.0)],
    "exp2": [(0.0, 1), (-0.0, 1), (_INF, _INF), (-_INF, 0.0), (_NAN, _NAN), (128, _INF),
             (-149, 1.4e-45), (-151, 0.0), (-126, 2.0**-126)],
    "log": [(0.0, -_INF), (-0.0, -_INF), (1, 0.0), (_INF, _INF), (-1, _NAN), (-_INF, _NAN),
            (_NAN, _NAN), (-1e-45, _NAN)],
    "log2": [(0.0, -_INF), (-0.0, -_INF), (1, 0.0), (_INF, _INF), (-1, _NAN), (_NAN, _NAN),
             (2.0**-149, -149), (2.0**127, 127), (8, 3)],
    "log1p": [(0.0, 0.0), (-0.0, -0.0), (-1, -_INF), (-2, _NAN), (_INF, _INF), (-_INF, _NAN),
              (_NAN, _NAN), (1e-45, 1e-45), (-1e-45, -1e-45)],
    "expm1": [(0.0, 0.0), (-0.0, -0.0), (_INF, _INF), (-_INF, -1), (_NAN, _NAN), (1e-45, 1e-45),
              (-1e-45, -1e-45), (-200, -1)],
    "sin": [(0.0, 0.0), (-0.0, -0.0), (_INF, _NAN), (-_INF, _NAN), (_NAN, _NAN), (1e-45, 1e-45),
            (-1e-45, -1e-45)],
    "cos": [(0.0, 1), (-0.0, 1), (_INF, _NAN), (-_INF, _NAN), (_NAN, _NAN), (1e-45, 1)],
    "tan": [(0.0, 0.0), (-0.0, -0.0), (_INF, _NAN), (_NAN, _NAN), (1e-45, 1e-45),
            (-1e-45, -1e-45)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (_INF, 1), (-_INF, -1), (_NAN, _NAN), (1e-45, 1e-45),
             (-1e-45, -1e-45), (50, 1), (-50, -1)],
    "erf": [(0.0, 0.0), (-0.0, -0.0), (_INF, 1), (-_INF, -1), (_NAN, _NAN), (50, 1), (-50, -1)],
    "rsqrt": [(0.0, _INF), (-0.0, -_INF), (_INF, 0.0), (-1, _NAN), (-_INF, _NAN), (_NAN, _NAN),
              (4, 0.5), (2.0**-148, 2.0**74)],
}  # fmt: skip


@pytest.mark.parametrize("level", TARGETS)
@pytest.mark.parametrize("name", SPECIAL)
def test_special_values(name: str, level: str) -> None:
    x, want = np.array(SPECIAL[name]).T.astype(np.float32)
    result = emitted(name, ("f32",), level)(x)
    for argument, found, expected in zip(x, result, want):
        same = found == expected or (math.isnan(found) and math.isnan(expected))
        assert same and (math.isnan(found) or np.signbit(found) == np.signbit(expected)), (
            f"{name}({argument}) = {found}, expected {expected}"
        )


_POWERS = [
    (2, 0, 1), (_NAN, 0, 1), (_NAN, -0.0, 1), (1, _NAN, 1), (1, _INF, 1), (-1, _INF, 1),
    (-1, -_INF, 1), (0.0, 3, 0.0), (-0.0, 3, -0.0), (-0.0, 2, 0.0), (0.0, -1, _INF),
    (-0.0, -1, -_INF), (-0.0, -2, _INF), (0.5, _INF, 0.0), (0.5, -_INF, _INF), (2, _INF, _INF),
    (2, -_INF, 0.0), (_INF, 2, _INF), (_INF, -2, 0.0), (-_INF, 3, -_INF), (-_INF, 2, _INF),
    (-_INF, -3, -0.0), (-_INF, -2, 0.0), (-8, 1 / 3, _NAN), (-2, 3, -8), (-2, 2, 4),
    (_NAN, 1, _NAN),
    (2, _NAN, _NAN), (2, 200, _INF), (-2, 201, -_INF), (2, -200, 0.0), (-2, -201, -0.0),
    (2, -149, 2.0**-149), (1e-45, 1, 1e-45), (0.0, -_INF, _INF), (0.0, _INF, 0.0),
]  # fmt: skip


@pytest.mark.parametrize("level", TARGETS)
def test_special_powers(level: str) -> None:
    x, y, want = np.array(_POWERS).T.astype(np.float32)
    result = emitted("pow", ("f32", "f32"), level)(x, y)
    for a, b, found, expected in zip(x, y, result, want):
        same = found == expected or (math.isnan(found) and math.isnan(expected))
        assert same and (math.isnan(found) or np.signbit(found) == np.signbit(expected)), (
            f"pow({a}, {b}) = {found}, expected {expected}"
        )
