"""libdevice's conversions, and its arithmetic with a rounding mode in the name.

Modes: rn to nearest, rd down, ru up, rz towards zero. A directed result is the nearest one, moved
by one place if the exact error of the rounding says so. Where a result overflows it stays
infinite.
"""

from __future__ import annotations

from collections.abc import Callable

from tritorch.triton_cpu.math.bits import nextafter
from tritorch.triton_cpu.math.lanes import INFINITY, Lanes, Number
from tritorch.triton_cpu.math.registry import function
from tritorch.triton_cpu.math.rounding import ceil, floor, rint, round_away, trunc

_FLOATS = {"float": "f32", "double": "f64"}
#: name in libdevice -> (element, signed)
_INTEGERS = {
    "int": ("i32", True),
    "uint": ("i32", False),
    "ll": ("i64", True),
    "ull": ("i64", False),
}
_ROUNDINGS = {"rn": rint, "rd": floor, "ru": ceil, "rz": trunc}


def _to_integer(
    m: Lanes, x: Number, element: str, signed: bool, rounding: Callable[[Lanes, Number], Number]
) -> Number:
    """Saturating; nan becomes 0."""
    rounded = rounding(m, x)
    kind = m.type(element)
    suffix = f"{m.builder.suffix(element, m.count)}.{m.builder.suffix(x.element, m.count)}"
    name = f"llvm.fpto{'si' if signed else 'ui'}.sat.{suffix}"
    argument = (m.type(x.element), rounded.register)
    return Number(m, m.builder.call(name, kind, argument), element)


# ---- directed rounding


def _directed(m: Lanes, nearest: Number, error: Number, mode: str) -> Number:
    """`nearest`, or its neighbour if error = exact - nearest says so for `mode`."""
    down, up = error < 0.0, error > 0.0
    if mode == "rz":
        positive = (nearest > 0.0) | (nearest.equals(0.0) & up)
        down, up = down & positive, up & ~positive
    move = {"rd": down, "ru": up, "rz": down | up}[mode]
    below = m.literal(-INFINITY, nearest.element)
    above = m.literal(INFINITY, nearest.element)
    target = {"rd": below, "ru": above, "rz": m.where(down, below, above)}[mode]
    return m.where(move & (abs(nearest) < INFINITY), nextafter(m, nearest, target), nearest)


def _narrowed(m: Lanes, x: Number, mode: str, rest: Number | None = None) -> Number:
    """x + rest in float64 as a float32."""
    nearest = m.convert(x, "f32")
    error = x - m.convert(nearest, "f64")
    if rest is not None:
        error = m.where(error.equals(0.0), rest, error)
    return _directed(m, nearest, error, mode)


def _sum(m: Lanes, a: Number, b: Number, mode: str) -> Number:
    return _directed(m, *m.total(a, b), mode)


def _difference(m: Lanes, a: Number, b: Number, mode: str) -> Number:
    return _sum(m, a, -b, mode)


def _product(m: Lanes, a: Number, b: Number, mode: str) -> Number:
    if a.element == "f32":
        return _narrowed(m, m.convert(a, "f64") * m.convert(b, "f64"), mode)
    return _directed(m, *m.product(a, b), mode)


def _quotient(m: Lanes, a: Number, b: Number, mode: str) -> Number:
    nearest = a / b
    high, low = m.product(nearest, b)
    residual = (a - high) - low
    return _directed(m, nearest, m.where(b < 0.0, -residual, residual), mode)


def _root(m: Lanes, a: Number, mode: str) -> Number:
    nearest = m.square_root(a)
    high, low = m.product(nearest, nearest)
    return _directed(m, nearest, (a - high) - low, mode)


def _reciprocal(m: Lanes, a: Number, mode: str) -> Number:
    return _quotient(m, m.literal(1.0, a.element), a, mode)


def _fused(m: Lanes, a: Number, b: Number, c: Number, mode: str) -> Number:
    """a b + c in one rounding; the error is exact in float64 for float32, and else found as by
    Boldo and Muller, "Exact and Approximated Error of the FMA", 2011.
    """
    if a.element == "f32":
        wide = [m.convert(x, "f64") for x in (a, b, c)]
        total, error = m.total(wide[0] * wide[1], wide[2])
        return _narrowed(m, total, mode, error)
    nearest = m.intrinsic("fma", a, b, c)
    high, low = m.product(a, b)
    lower, lowest = m.total(c, low)
    upper, middle = m.total(high, lower)
    rest = (upper - nearest) + middle
    return _directed(m, nearest, rest + lowest, mode)


def _parts(m: Lanes, x: Number, signed: bool) -> tuple[Number, Number]:
    """A 64-bit integer as the unevaluated sum of two float64."""
    upper = x >> 32 if signed else x.shift_right_logical(32)
    high = m.cast("sitofp" if signed else "uitofp", upper, "f64") * 2.0**32
    return m.total(high, m.cast("uitofp", x & 0xFFFFFFFF, "f64"))


def _from_wide(m: Lanes, x: Number, signed: bool, floating: str, mode: str) -> Number:
    nearest, error = _parts(m, x, signed)
    if floating == "f32":
        return _narrowed(m, nearest, mode, error)
    return _directed(m, nearest, error, mode)


_ARITHMETIC: dict[str, Callable[..., Number]] = {
    "add": _sum,
    "sub": _difference,
    "mul": _product,
    "div": _quotient,
    "sqrt": _root,
    "rcp": _reciprocal,
    "fma": _fused,
}


def _declare_arithmetic() -> None:
    nearest: dict[str, Callable[..., Number]] = {
        "add": lambda m, a, b: a + b,
        "sub": lambda m, a, b: a - b,
        "mul": lambda m, a, b: a * b,
        "div": lambda m, a, b: a / b,
        "rcp": lambda m, a: 1.0 / a,
    }
    for name, body in nearest.items():
        function(f"{name}_rn", inline=True)(body)
    for name, directed in _ARITHMETIC.items():
        for mode in ("rd", "ru", "rz"):
            function(f"{name}_{mode}")(
                lambda m, *numbers, directed=directed, mode=mode: directed(m, *numbers, mode)
            )


def _declare_conversions() -> None:
    for source, floating in _FLOATS.items():
        for target, (element, signed) in _INTEGERS.items():
            for mode, rounding in _ROUNDINGS.items():
                function(f"{source}2{target}_{mode}", result=element)(
                    lambda m, x, element=element, signed=signed, rounding=rounding: _to_integer(
                        m, x, element, signed, rounding
                    )
                )
        for origin, (element, signed) in _INTEGERS.items():
            opcode = "sitofp" if signed else "uitofp"
            function(f"{origin}2{source}_rn", inline=True, result=floating)(
                lambda m, x, opcode=opcode, floating=floating: m.cast(opcode, x, floating)
            )
            if element == "i32" and source == "float":
                for mode in ("rd", "ru", "rz"):
                    function(f"{origin}2{source}_{mode}", result=floating)(
                        lambda m, x, opcode=opcode, mode=mode: _narrowed(
                            m, m.cast(opcode, x, "f64"), mode
                        )
                    )
            if element == "i64":
                for mode in ("rd", "ru", "rz"):
                    function(f"{origin}2{source}_{mode}", result=floating)(
                        lambda m, x, signed=signed, floating=floating, mode=mode: _from_wide(
                            m, x, signed, floating, mode
                        )
                    )
    for mode in ("rd", "ru", "rz"):
        function(f"double2float_{mode}", result="f32")(
            lambda m, x, mode=mode: _narrowed(m, x, mode)
        )


_declare_arithmetic()
_declare_conversions()


@function("double2float_rn", inline=True, result="f32")
def double_to_float(m: Lanes, x: Number) -> Number:
    return m.convert(x, "f32")


@function("llrint", "llrintf", result="i64")
def llrint(m: Lanes, x: Number) -> Number:
    return _to_integer(m, x, "i64", True, rint)


@function("llround", "llroundf", result="i64")
def llround(m: Lanes, x: Number) -> Number:
    return _to_integer(m, x, "i64", True, round_away)


# ---- bits


@function("float_as_int", "float_as_uint", inline=True, result="i32")
def float_as_int(m: Lanes, x: Number) -> Number:
    return x.bits()


@function("double_as_longlong", inline=True, result="i64")
def double_as_longlong(m: Lanes, x: Number) -> Number:
    return x.bits()


@function("int_as_float", "uint_as_float", inline=True, result="f32")
def int_as_float(m: Lanes, x: Number) -> Number:
    return x.as_float()


@function("longlong_as_double", inline=True, result="f64")
def longlong_as_double(m: Lanes, x: Number) -> Number:
    return x.as_float()


@function("double2hiint", inline=True, result="i32")
def high_word(m: Lanes, x: Number) -> Number:
    return m.convert(x.bits().shift_right_logical(32), "i32")


@function("double2loint", inline=True, result="i32")
def low_word(m: Lanes, x: Number) -> Number:
    return m.convert(x.bits(), "i32")


@function("hiloint2double", inline=True, result="f64")
def from_words(m: Lanes, high: Number, low: Number) -> Number:
    return ((m.extend_unsigned(high, "i64") << 32) | m.extend_unsigned(low, "i64")).as_float()
