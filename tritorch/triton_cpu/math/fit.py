"""Fits the polynomials of `coefficients.py`, which is what it prints (`python -m ...math.fit`).

Not part of the product's run: it needs mpmath. Each `Fit` asks for the polynomial P of a given
number of terms that minimises max |weight(x) (P(x) - function(x))| (Remez exchange, 60 digits),
which is the relative error of the whole function if `weight` is the share of P in it. The errors
given are those of the rounded coefficients.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import mpmath as mp
import numpy as np

mp.mp.dps = 60
Real = Callable[[mp.mpf], mp.mpf]


@dataclass(frozen=True)
class Fit:
    name: str
    #: what the polynomial stands for, in words
    meaning: str
    function: Real
    weight: Real
    low: float
    high: float
    #: terms for float32 and float64; None leaves the element out
    terms: tuple[int | None, int | None]


def _solve(
    points: list[mp.mpf], values: list[mp.mpf], weights: list[mp.mpf], terms: int
) -> list[mp.mpf]:
    """Remez exchange over a grid of points."""
    count = len(points)
    reference = sorted(
        {round((count - 1) * (1 - float(mp.cos(mp.pi * i / terms))) / 2) for i in range(terms + 1)}
    )
    coefficients: list[mp.mpf] = []
    powers = [[w * x**j for j in range(terms)] for x, w in zip(points, weights)]
    for _ in range(30):
        rows = [[*powers[i], mp.mpf((-1) ** n)] for n, i in enumerate(reference)]
        right = [weights[i] * values[i] for i in reference]
        solution = mp.lu_solve(mp.matrix(rows), mp.matrix(right))
        coefficients, level = list(solution)[:-1], abs(solution[terms])
        error = [mp.fdot(coefficients, row) - w * v for row, w, v in zip(powers, weights, values)]
        # One extremum from each run of errors of one sign.
        extrema: list[int] = []
        for i, e in enumerate(error):
            if extrema and (e > 0) == (error[extrema[-1]] > 0):
                if abs(e) > abs(error[extrema[-1]]):
                    extrema[-1] = i
            else:
                extrema.append(i)
        while len(extrema) > terms + 1:
            extrema.pop(0 if abs(error[extrema[0]]) < abs(error[extrema[-1]]) else -1)
        worst = max(abs(e) for e in error)
        if len(extrema) < terms + 1 or extrema == reference or worst < level * mp.mpf("1.0001"):
            return coefficients
        reference = extrema
    return coefficients


def polynomial(fit: Fit, terms: int, double: bool) -> tuple[list[float], float]:
    """Rounded coefficients, lowest power first, and log2 of the weighted error."""
    count = 24 * terms
    middle, half = mp.mpf(fit.low + fit.high) / 2, mp.mpf(fit.high - fit.low) / 2
    points = [middle - half * mp.cos(mp.pi * (i + mp.mpf("0.5")) / count) for i in range(count)]
    values = [fit.function(x) for x in points]
    weights = [fit.weight(x) for x in points]

    def rounding(c: mp.mpf) -> float:
        return float(c) if double else float(np.float32(float(c)))

    def error(coefficients: list[float]) -> mp.mpf:
        return max(
            abs(w * (mp.polyval(coefficients[::-1], x) - v))
            for x, v, w in zip(points, values, weights)
        )

    plain = [rounding(c) for c in _solve(points, values, weights, terms)]
    # Let the higher terms make up for the rounding of the first one; often better, never sure to
    # be.
    first = plain[0]
    rest = [(v - first) / x for x, v in zip(points, values)]
    rest_weights = [w * x for x, w in zip(points, weights)]
    refitted = [first, *map(rounding, _solve(points, rest, rest_weights, terms - 1))]
    best = min(plain, refitted, key=error)
    return best, float(mp.log(error(best), 2))


def _log1p_rest(f: mp.mpf) -> mp.mpf:
    return (mp.log1p(f) - f + f * f / 2) / f**3


def _atanh_rest(z: mp.mpf) -> mp.mpf:
    s = mp.sqrt(z)
    return (2 * mp.atanh(s) / s - 2) / z


def _erfcx(t: mp.mpf) -> mp.mpf:
    x = 4 * (1 + t) / (1 - t)
    if x > 60:  # asymptotic series: exp(x^2) would need too many digits
        terms = [mp.fac2(2 * n - 1) * (-1) ** n / (2 * x * x) ** n for n in range(12)]
        return (1 + 2 * x) * mp.fsum(terms) / (x * mp.sqrt(mp.pi))
    return (1 + 2 * x) * mp.exp(x * x) * mp.erfc(x)


def _erfinv_near(u: mp.mpf) -> mp.mpf:
    x = mp.sqrt(1 - mp.exp(-(u + 3)))
    return mp.erfinv(x) / x


def _erfinv_far(u: mp.mpf) -> mp.mpf:
    return _erfinv_near((u + mp.mpf("3.1")) ** 2 - 3)


def _inverse(function: Real, t: mp.mpf) -> mp.mpf:
    return 1 / function(t)


def _modified_near(order: int, z: mp.mpf) -> mp.mpf:
    x = 2 * mp.sqrt(z)
    return mp.besseli(order, x) / (x if order else 1)


def _modified_far(order: int, t: mp.mpf) -> mp.mpf:
    x = 16 / (t + 1) if t > -1 else mp.mpf(10) ** 30
    return mp.exp(-x) * mp.besseli(order, x) * mp.sqrt(x)


def _of_square(function: Real) -> Real:
    """What an odd function has beyond x: g(x^2) = (function(x) / x - 1) / x^2."""
    return lambda z: (function(mp.sqrt(z)) / mp.sqrt(z) - 1) / z


def _odd_weight(function: Real) -> Real:
    """The share of that in the function itself."""
    return lambda z: z * mp.sqrt(z) / function(mp.sqrt(z))


def _odd(
    name: str, meaning: str, function: Real, high: float, terms: tuple[int | None, int | None]
) -> Fit:
    return Fit(name, meaning, _of_square(function), _odd_weight(function), 0.0, high**2, terms)


HALF_LN2 = 0.34658
QUARTER_PI = 0.78541

FITS = [
    Fit(
        "EXP",
        "(exp r - 1 - r) / r^2",
        lambda r: (mp.exp(r) - 1 - r) / r**2,
        lambda r: r**2 / mp.exp(r),
        -HALF_LN2,
        HALF_LN2,
        (5, 10),
    ),
    Fit(
        "EXPM1",
        "(exp r - 1 - r) / r^2",
        lambda r: (mp.exp(r) - 1 - r) / r**2,
        lambda r: r**2 / mp.expm1(r),
        -HALF_LN2,
        HALF_LN2,
        (6, 12),
    ),
    Fit("EXP2", "(2^r - 1) / r", lambda r: (2**r - 1) / r, lambda r: r / 2**r, -0.5, 0.5, (6, 12)),
    Fit(
        "LOG1P",
        "(log1p f - f + f^2/2) / f^3, f = m - 1, m in [3/4, 3/2]",
        _log1p_rest,
        lambda f: f**3 / mp.log1p(f),
        -0.25001,
        0.50001,
        (9, None),
    ),
    Fit(
        "ATANH",
        "(2 atanh s - 2 s) / s^3 of s^2, s = f / (2 + f), m in [3/4, 3/2]",
        _atanh_rest,
        lambda z: z,
        0.0,
        0.04001,
        (None, 8),
    ),
    _odd("SIN", "(sin r / r - 1) / r^2 of r^2", mp.sin, QUARTER_PI, (3, 6)),
    Fit(
        "COS",
        "(cos r - 1 + r^2/2) / r^4 of r^2",
        lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2,
        lambda z: z**2 / mp.cos(mp.sqrt(z)),
        0.0,
        QUARTER_PI**2,
        (3, 6),
    ),
    _odd("TANH", "(tanh x / x - 1) / x^2 of x^2", mp.tanh, 0.6, (5, 11)),
    _odd("SINH", "(sinh x / x - 1) / x^2 of x^2", mp.sinh, 1.0, (4, 8)),
    _odd("ASIN", "(asin x / x - 1) / x^2 of x^2", mp.asin, 0.5, (5, 12)),
    _odd("ATAN", "(atan x / x - 1) / x^2 of x^2", mp.atan, 1.0, (9, 20)),
    Fit(
        "CBRT",
        "x^(1/3), a first approximation",
        lambda x: mp.cbrt(x),
        lambda x: 1 / mp.cbrt(x),
        0.37,
        3.01,
        (5, 6),
    ),
    Fit(
        "ERFCX_f64",
        "(1 + 2 x) exp(x^2) erfc x of (x - 4) / (x + 4)",
        _erfcx,
        lambda t: 1 / _erfcx(t),
        -1.0,
        0.99999,
        (None, 27),
    ),
    Fit(
        "ERFCX_f32",
        "the same, in float64 for a float32 result",
        _erfcx,
        lambda t: 1 / _erfcx(t),
        -1.0,
        0.99999,
        (None, 15),
    ),
    *(
        fit
        for order in (0, 1)
        for element, near, far in (("f32", 11, 7), ("f64", 18, 26))
        for fit in (
            Fit(
                f"I{order}_NEAR_{element}",
                f"I{order}(x) {'/ x' if order else ''} of x^2 / 4, for a result of {element}",
                partial(_modified_near, order),
                partial(_inverse, partial(_modified_near, order)),
                0.0,
                16.0,
                (None, near),
            ),
            Fit(
                f"I{order}_FAR_{element}",
                f"exp(-x) sqrt(x) I{order}(x) of 16 / x - 1, for a result of {element}",
                partial(_modified_far, order),
                partial(_inverse, partial(_modified_far, order)),
                -1.0,
                1.0,
                (None, far),
            ),
        )
    ),
    Fit(
        "ERFINV_NEAR",
        "erfinv(x) / x of w - 3, w = -log(1 - x^2); in float64 for a float32 result",
        _erfinv_near,
        partial(_inverse, _erfinv_near),
        -3.0,
        3.0,
        (None, 11),
    ),
    Fit(
        "ERFINV_FAR",
        "the same of sqrt(w) - 3.1",
        _erfinv_far,
        partial(_inverse, _erfinv_far),
        6**0.5 - 3.1,
        1.0,
        (None, 8),
    ),
    Fit(
        "ATANH_PAIR",
        "(ATANH - 2/3) / s^2: for a logarithm in two parts",
        lambda z: (_atanh_rest(z) - mp.mpf(2) / 3) / z,
        lambda z: z * z / 2,
        0.0,
        0.04001,
        (None, 8),
    ),
    Fit(
        "POW_ATANH",
        "like ATANH, in float64 for a float32 result",
        _atanh_rest,
        lambda z: z / 2,
        0.0,
        0.04001,
        (None, 5),
    ),
    Fit(
        "POW_EXP2",
        "like EXP2, in float64 for a float32 result",
        lambda r: (2**r - 1) / r,
        lambda r: r / 2**r,
        -0.5,
        0.5,
        (None, 6),
    ),
    Fit(
        "ERF",
        "erf x / x - 1 of x^2",
        lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1,
        lambda z: mp.sqrt(z) / mp.erf(mp.sqrt(z)),
        0.0,
        0.93**2,
        (7, 13),
    ),
    Fit(
        "ERF_SMALL",
        "erf x / x - 1 of x^2",
        lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1,
        lambda z: mp.sqrt(z) / mp.erf(mp.sqrt(z)),
        0.0,
        0.382**2,
        (5, None),
    ),
]


def _literal(value: float) -> str:
    """The shortest hexadecimal form: 0x1.8p-1."""
    mantissa, exponent = value.hex().split("p")
    return mantissa.rstrip("0").rstrip(".") + "p" + exponent


HEADER = '''"""Minimax polynomials, lowest power first; generated by `fit.py`, which says how."""

from __future__ import annotations


def _hexadecimal(text: str) -> tuple[float, ...]:
    return tuple(float.fromhex(word) for word in text.split())


#: name -> element -> coefficients
POLYNOMIALS: dict[str, dict[str, tuple[float, ...]]] = {'''


def main(names: list[str]) -> None:
    print(HEADER)
    for fit in FITS:
        if names and fit.name not in names:
            continue
        print(f"    # {fit.meaning}, on [{fit.low:.6g}, {fit.high:.6g}]")
        print(f'    "{fit.name}": {{')
        for element, terms in zip(("f32", "f64"), fit.terms):
            if terms is None:
                continue
            coefficients, error = polynomial(fit, terms, element == "f64")
            print(f'        "{element}": _hexadecimal(  # relative error 2^{error:.1f}')
            line = ""
            for word in map(_literal, coefficients):
                if len(line) + len(word) > 80:
                    print(f'            "{line}"')
                    line = ""
                line += word + " "
            print(f'            "{line.rstrip()}"\n        ),')
            print(fit.name, element, f"2^{error:.1f}", file=sys.stderr)
        print("    },")
    print("}")


if __name__ == "__main__":
    main(sys.argv[1:])
