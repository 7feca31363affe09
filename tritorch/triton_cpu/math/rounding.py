"""Rounding to integers, and the remainders that come from it."""

from __future__ import annotations

from tritorch.triton_cpu.math.lanes import INFINITY, MANTISSA, NAN, Lanes, Number
from tritorch.triton_cpu.math.libm import per_lane
from tritorch.triton_cpu.math.registry import function


def _has_instruction(m: Lanes) -> bool:
    """Whether the CPU rounds vectors itself: all with a fused multiply-add do."""
    return m.target.fma


@function("rint", "nearbyint", "roundeven", inline=True)
def rint(m: Lanes, x: Number) -> Number:
    """To the nearest integer, halves to even."""
    if _has_instruction(m):
        return m.intrinsic("roundeven", x)
    size, whole = abs(x), 2.0 ** MANTISSA[x.element]
    nearest = m.where(size < whole, (size + whole) - whole, size)
    return m.copy_sign(nearest, x)


@function("floor", inline=True)
def floor(m: Lanes, x: Number) -> Number:
    if _has_instruction(m):
        return m.intrinsic("floor", x)
    nearest = rint(m, x)
    return m.copy_sign(m.where(nearest > x, nearest - 1.0, nearest), x)


@function("ceil", inline=True)
def ceil(m: Lanes, x: Number) -> Number:
    if _has_instruction(m):
        return m.intrinsic("ceil", x)
    nearest = rint(m, x)
    return m.copy_sign(m.where(nearest < x, nearest + 1.0, nearest), x)


@function("trunc", inline=True)
def trunc(m: Lanes, x: Number) -> Number:
    if _has_instruction(m):
        return m.intrinsic("trunc", x)
    return m.copy_sign(floor(m, abs(x)), x)


@function("round", inline=True)
def round_away(m: Lanes, x: Number) -> Number:
    """To the nearest integer, halves away from zero."""
    size = abs(x)
    below_half = 0.5 - 2.0 ** -(MANTISSA[x.element] + 2)
    up = trunc(m, size + below_half)
    return m.copy_sign(m.where(size < 2.0 ** MANTISSA[x.element], up, size), x)


# ---- remainders

#: A quotient below this has an exact product with the divisor: 29 + 24 bits, or the fused 53.
_STEP = {"f32": 2.0**29, "f64": 2.0**52}


def _reduced_once(m: Lanes, x: Number, y: Number) -> Number:
    """x mod y for x, y >= 0 and x / y within `_STEP`, in float64."""
    quotient = trunc(m, x / y)
    rest = m.fma(-quotient, y, x)
    # The quotient's rounding may have reached the next integer.
    rest = m.where(rest < 0.0, rest + y, rest)
    return m.where(rest >= y, rest - y, rest)


def _modulo_f32(m: Lanes, x: Number, y: Number) -> Number:
    """x mod y for x, y >= 0 that are float32 numbers in float64: exact, in steps of 29 bits."""
    huge = (x >= y * _STEP["f32"]) & (x < INFINITY) & (y > 0.0)

    def rarely() -> list[Number]:
        rest = x
        for step in range(9, 0, -1):
            rest = _reduced_once(m, rest, y * _STEP["f32"] ** step)
        return [m.where(huge, rest, x)]

    (x,) = m.branch(m.any(huge), [x], rarely)
    return _reduced_once(m, x, y)


def _modulo_special(m: Lanes, x: Number, y: Number, rest: Number) -> Number:
    rest = m.where(abs(y).equals(INFINITY), x, rest)
    undefined = abs(x).equals(INFINITY) | y.equals(0.0) | x.is_nan() | y.is_nan()
    return m.where(undefined, NAN, rest)


@function("fmod", inner_bytes=8)
def fmod(m: Lanes, x: Number, y: Number) -> Number:
    """x - trunc(x / y) y, exact, with the sign of x."""
    a, b = abs(x), abs(y)
    if x.element == "f32":
        rest = m.convert(_modulo_f32(m, m.convert(a, "f64"), m.convert(b, "f64")), "f32")
    else:
        if not m.target.fma:
            return per_lane(m, "fmod", x, y)
        huge = a >= b * _STEP["f64"]
        rest = _reduced_once(m, a, b)
        (rest,) = m.branch(
            m.any(huge), [rest], lambda: [m.where(huge, per_lane(m, "fmod", a, b), rest)]
        )
    return _modulo_special(m, x, y, m.copy_sign(rest, x))


@function("remainder", inner_bytes=8)
def remainder(m: Lanes, x: Number, y: Number) -> Number:
    """x - rint(x / y) y, exact (IEEE 754)."""
    if x.element == "f64":
        return per_lane(m, "remainder", x, y)
    a, b = m.convert(abs(x), "f64"), m.convert(abs(y), "f64")
    rest = _modulo_f32(m, a, b + b)
    half = b * 0.5
    first = rest > half
    rest = m.where(first, rest - b, rest)
    rest = m.where(first & (rest >= half), rest - b, rest)
    signed = m.convert(rest, "f32")
    # A zero has the sign of x; otherwise x's sign flips what was computed for |x|.
    flipped = (signed.bits() ^ (x.bits() & m.literal(-0.0, "f32").bits())).as_float()
    return _modulo_special(m, x, y, flipped)
