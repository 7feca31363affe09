"""Arithmetic, comparisons, bits and shifts among all dtypes; unary operations; selection."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tests.triton_cpu.language.dtypes import (
    FLOATS,
    INTEGERS,
    NUMBERS,
    SIGNED,
    TRITON,
    N,
    cast,
    is_integer,
    numpy_dtype,
    promoted,
    values,
)
from tests.triton_cpu.language.harness import Case, group

Function = Callable[..., np.ndarray]

_BINARY = """
i = tl.arange(0, {n})
result = {expression}
tl.static_assert(result.dtype == {dtype})
tl.store(o + i, result)
"""
_LOADED = "x", "tl.load(x + i)", "y", "tl.load(y + i)"


def _binary(
    name: str,
    left: str,
    right: str,
    result: str,
    want: np.ndarray,
    arguments: dict[str, np.ndarray] | None = None,
    ulp: float = 0,
) -> Case:
    expression = name.replace("{x}", "tl.load(x + i)").replace("{y}", "tl.load(y + i)")
    return Case(
        f"{name.replace('{x}', left).replace('{y}', right)}",
        _BINARY.format(n=N, expression=expression, dtype=TRITON[result]),
        arguments or {"x": values(left), "y": values(right, 1)},
        {"o": want},
        ulp,
    )


_ARITHMETIC: dict[str, Function] = {
    "{x} + {y}": np.add,
    "{x} - {y}": np.subtract,
    "{x} * {y}": np.multiply,
    "tl.maximum({x}, {y})": lambda x, y: _extreme(x, y, np.fmax, np.maximum),
    "tl.minimum({x}, {y})": lambda x, y: _extreme(x, y, np.fmin, np.minimum),
}


def _extreme(x: np.ndarray, y: np.ndarray, floats: Function, integers: Function) -> np.ndarray:
    if x.dtype.kind in "iu":
        return integers(x, y)
    return floats(x.astype(np.float64), y.astype(np.float64)).astype(x.dtype)


@group("arithmetic", *NUMBERS)
def arithmetic(left: str) -> Iterator[Case]:
    for right in NUMBERS:
        result = promoted(left, right)
        assert result is not None
        x, y = cast(values(left), result), cast(values(right, 1), result)
        for name, function in _ARITHMETIC.items():
            if name.startswith("tl.m"):  # where zeros of both signs meet either may be the larger
                x, y = np.where(x == 0, abs(x), x), np.where(y == 0, abs(y), y)
                if not is_integer(left) or not is_integer(right):
                    yield _extreme_case(name, function, left, right, result)
                    continue
            with np.errstate(all="ignore"):
                yield _binary(name, left, right, result, function(x, y).astype(x.dtype))


def _extreme_case(name: str, function: Function, left: str, right: str, result: str) -> Case:
    arguments = {}
    for key, kind, seed in (("x", left, 0), ("y", right, 1)):
        raw = values(kind, seed)
        arguments[key] = raw if is_integer(kind) else np.where(raw == 0, abs(raw), raw)
    x, y = (cast(v, result) for v in arguments.values())
    return _binary(name, left, right, result, function(x, y), arguments)


@group("division", *NUMBERS)
def division(left: str) -> Iterator[Case]:
    for right in NUMBERS:
        arguments = {"x": values(left), "y": values(right, 1)}
        if is_integer(right):  # division by zero has no defined value
            arguments["y"] = np.where(arguments["y"] == 0, np.array(3, right), arguments["y"])
        both = is_integer(left) and is_integer(right)
        result = promoted(left, right, divides=True)
        if both and result is not None:
            yield from _integer_division(left, right, result, arguments)
        if not both:
            assert result is not None
            with np.errstate(all="ignore"):
                x, y = (cast(v, result) for v in arguments.values())
                yield _binary("{x} / {y}", left, right, result, x / y, arguments)
                yield _binary("{x} % {y}", left, right, result, np.fmod(x, y), arguments)
                if left == right and result == left:
                    if result == "float32":
                        yield _binary("tl.div_rn({x}, {y})", left, right, result, x / y, arguments)
                    yield _binary("tl.fdiv({x}, {y})", left, right, result, x / y, arguments)
        elif result is not None:
            x, y = (v.astype(np.float32) for v in arguments.values())
            yield _binary("{x} / {y}", left, right, "float32", x / y, arguments)


def _integer_division(
    left: str, right: str, result: str, arguments: dict[str, np.ndarray]
) -> Iterator[Case]:
    """C's rule: the quotient is truncated, the remainder has the dividend's sign."""
    x, y = (v.astype(result) for v in arguments.values())
    lowest = (y.astype(object) == -1) & (x == np.iinfo(result).min) & (np.iinfo(result).min < 0)
    arguments["y"] = np.where(lowest, np.array(3, right), arguments["y"])  # overflow is undefined
    y = arguments["y"].astype(result)
    pairs = list(zip(x.tolist(), y.tolist()))
    quotient = [abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1) for a, b in pairs]
    remainder = [a - q * b for (a, b), q in zip(pairs, quotient)]
    yield _binary("{x} // {y}", left, right, result, np.array(quotient, result), arguments)
    yield _binary("{x} % {y}", left, right, result, np.array(remainder, result), arguments)
    if min(x.tolist()) >= 0 and min(y.tolist()) >= 0 and result[0] == "u":
        up = [-(-a // b) for a, b in pairs]
        small = {"x": arguments["x"] >> 1, "y": np.minimum(arguments["y"], 16)}
        pairs = list(zip(*(v.astype(result).tolist() for v in small.values())))
        up = [-(-a // b) for a, b in pairs]
        yield _binary("tl.cdiv({x}, {y})", left, right, result, np.array(up, result), small)


_COMPARISONS: dict[str, Function] = {
    "{x} == {y}": np.equal,
    "{x} != {y}": np.not_equal,
    "{x} < {y}": np.less,
    "{x} <= {y}": np.less_equal,
    "{x} > {y}": np.greater,
    "{x} >= {y}": np.greater_equal,
}


@group("comparisons", *NUMBERS)
def comparisons(left: str) -> Iterator[Case]:
    """Both sides are promoted first: -1 of int32 is above every uint32."""
    for right in NUMBERS:
        result = promoted(left, right)
        assert result is not None
        x, y = values(left), values(right, 1).copy()
        y[::4] = cast(x[::4], right)  # so that equality happens
        for name, function in _COMPARISONS.items():
            with np.errstate(invalid="ignore"):
                want = function(cast(x, result), cast(y, result))
            yield _binary(name, left, right, "bool", want, {"x": x, "y": y})


@group("bits", *INTEGERS, "bool")
def bits(left: str) -> Iterator[Case]:
    for right in (*INTEGERS, "bool"):
        result = "bool" if left == right == "bool" else promoted(left, right)
        assert result is not None
        x, y = (v.astype(result) for v in (values(left), values(right, 1)))
        if left == right or "bool" not in (left, right):
            yield _binary("{x} & {y}", left, right, result, x & y)
            yield _binary("{x} | {y}", left, right, result, x | y)
            yield _binary("{x} ^ {y}", left, right, result, x ^ y)
        if "bool" not in (left, right):
            yield from _shifts(left, right, result)


def _shifts(left: str, right: str, result: str) -> Iterator[Case]:
    """By less than the width; `>>` is arithmetic if what is shifted was signed."""
    width = np.dtype(result).itemsize * 8
    by = (np.arange(N) % min(width, 8 * np.dtype(left).itemsize)).astype(right)
    arguments = {"x": values(left), "y": by}
    x, y = values(left).astype(result), by.astype(result)
    yield _binary("{x} << {y}", left, right, result, x << y, arguments)
    signed = result.lstrip("u") if left in SIGNED else result
    want = (x.view(signed) >> y.view(signed)).view(result)
    yield _binary("{x} >> {y}", left, right, result, want, arguments)


_WIDE_UNARY: dict[str, tuple[Function, float]] = {
    "tl.exp(x)": (np.exp, 2),
    "tl.exp2(x)": (np.exp2, 2),
    "tl.log(x)": (np.log, 2),
    "tl.log2(x)": (np.log2, 2),
    "tl.sin(x)": (np.sin, 2),
    "tl.cos(x)": (np.cos, 2),
    "tl.sqrt(x)": (np.sqrt, 0.5),
    "tl.sqrt_rn(x)": (np.sqrt, 0.5),
    "tl.rsqrt(x)": (lambda x: 1 / np.sqrt(x), 2),
    "tl.math.exp(x)": (np.exp, 2),
    "tl.sigmoid(x)": (lambda x: 1 / (1 + np.exp(-x)), 4),
    "x.exp()": (np.exp, 2),
    "x.log2()": (np.log2, 2),
    "x.sigmoid()": (lambda x: 1 / (1 + np.exp(-x)), 4),
}
_FLOAT_UNARY: dict[str, tuple[Function, float]] = {
    "-x": (np.negative, 0),
    "tl.abs(x)": (np.abs, 0),
    "x.abs()": (np.abs, 0),
}
_ROUNDED: dict[str, tuple[Function, float]] = {
    "tl.floor(x)": (np.floor, 0),
    "tl.ceil(x)": (np.ceil, 0),
}
_UNARY = """
i = tl.arange(0, {n})
x = tl.load(x + i)
result = {expression}
tl.static_assert(result.dtype == {dtype})
tl.store(o + i, result)
"""


@group("unary", *FLOATS)
def unary_floats(name: str) -> Iterator[Case]:
    wide = name in ("float32", "float64")
    table: dict[str, tuple[Function, float]] = (
        _FLOAT_UNARY | (_ROUNDED if wide else {}) | (_WIDE_UNARY if wide else {})
    )
    if name == "float64":  # the GPU's instruction is for float32
        del table["tl.sqrt_rn(x)"]
    x = values(name)
    for expression, (function, ulp) in table.items():
        with np.errstate(all="ignore"):
            exact = function(x.astype(np.longdouble))
            want = np.asarray(exact).astype(numpy_dtype(name))
        yield Case(
            f"{expression} {name}",
            _UNARY.format(n=N, expression=expression, dtype=TRITON[name]),
            {"x": x},
            {"o": want},
            ulp,
        )
    if wide:
        yield from _erf(name, x)


def _erf(name: str, x: np.ndarray) -> Iterator[Case]:
    import math

    want = np.array([math.erf(v) for v in x.astype(np.float64)]).astype(name)
    yield Case(
        f"tl.erf(x) {name}",
        _UNARY.format(n=N, expression="tl.erf(x)", dtype=TRITON[name]),
        {"x": x},
        {"o": want},
        2,
    )


@group("unary")
def unary_integers() -> Iterator[Case]:
    for name in (*INTEGERS, "bool"):
        x = values(name)
        table: dict[str, tuple[Function, str]] = {"~x": (np.invert, name)}
        if name != "bool":
            table |= {"-x": (np.negative, name), "tl.abs(x)": (np.abs, name)}
        for expression, (function, result) in table.items():
            yield Case(
                f"{expression} {name}",
                _UNARY.format(n=N, expression=expression, dtype=TRITON[result]),
                {"x": x},
                {"o": np.asarray(function(x))},
            )


@group("selection")
def where() -> Iterator[Case]:
    for left, right in (
        ("int8", "int64"),
        ("float16", "float32"),
        ("int32", "float32"),
        ("uint8", "int8"),
        ("bfloat16", "bfloat16"),
        ("float64", "int32"),
    ):
        result = promoted(left, right)
        assert result is not None
        x, y, c = values(left), values(right, 1), values("bool")
        want = np.where(c, cast(x, result), cast(y, result))
        yield _binary(
            "tl.where(tl.load(c + i), {x}, {y})",
            left,
            right,
            result,
            want,
            {"x": x, "y": y, "c": c},
        )
    x, y = values("float32"), values("float32", 1)
    yield _binary(
        "tl.where({x} > 0, {y}, 2.5)",
        "float32",
        "float32",
        "float32",
        np.where(x > 0, y, np.float32(2.5)),
    )
    yield _binary("({x} > 0).logical_and({y} > 0)", "float32", "float32", "bool", (x > 0) & (y > 0))
    yield _binary("({x} > 0).logical_or({y} > 0)", "float32", "float32", "bool", (x > 0) | (y > 0))


@group("selection", *FLOATS)
def clamp(name: str) -> Iterator[Case]:
    kind = numpy_dtype(name)
    x = values(name)
    low, high = kind.type(-1.5), kind.type(2.0)
    inside = np.clip(np.where(np.isnan(x), low, x), low, high)
    text = "tl.clamp({x}, tl.full([1], -1.5, DT), tl.full([1], 2.0, DT){mode})"
    text = text.replace("DT", TRITON[name])
    for mode, want in (
        ("", inside),
        (", propagate_nan=tl.PropagateNan.NONE", inside),
        (", propagate_nan=tl.PropagateNan.ALL", np.where(np.isnan(x), x, inside)),
    ):
        yield _binary(text.replace("{mode}", mode), name, name, name, want, {"x": x})
    y = values(name, 1)
    for function, numpy in (("maximum", np.maximum), ("minimum", np.minimum)):
        x0, y0 = (np.where(v == 0, abs(v), v) for v in (x, y))
        want = numpy(x0.astype(np.float64), y0.astype(np.float64)).astype(kind)
        yield _binary(
            f"tl.{function}({{x}}, {{y}}, propagate_nan=tl.PropagateNan.ALL)",
            name,
            name,
            name,
            want,
            {"x": x0, "y": y0},
        )


@group("scalars")
def mixed_with_python_numbers() -> Iterator[Case]:
    """A Python number takes part in the promotion only if its kind is the higher one."""
    for name in (*NUMBERS,):
        x = values(name)
        kind = numpy_dtype(name)
        with np.errstate(all="ignore"):
            if is_integer(name):
                yield _binary("{x} + 1", name, name, name, x + kind.type(1))
                yield _binary("3 - {x}", name, name, name, kind.type(3) - x)
                yield _binary(
                    "{x} * 0.5", name, name, "float32", x.astype(np.float32) * np.float32(0.5)
                )
                yield _binary("{x} > 2", name, name, "bool", x > 2)
            else:
                yield _binary("{x} * 3", name, name, name, x * kind.type(3))
                yield _binary("1.5 - {x}", name, name, name, kind.type(1.5) - x)
                yield _binary("{x} <= 0", name, name, "bool", x <= 0)


@group("special")
def wide_products() -> Iterator[Case]:
    for name, bits_ in (("int32", 32), ("uint32", 32), ("int64", 64), ("uint64", 64)):
        unsigned = f"uint{bits_}"
        x, y = values(name), values(name, 1)
        pairs = zip(x.view(unsigned).tolist(), y.view(unsigned).tolist())
        want = np.array([a * b >> bits_ for a, b in pairs], unsigned).view(name)
        yield _binary("tl.umulhi({x}, {y})", name, name, name, want)


@group("special")
def fused() -> Iterator[Case]:
    """One rounding: in float32 the product is exact in float64."""
    rng = np.random.default_rng(3)
    for name in ("float32", "float64", "float16", "bfloat16"):
        kind = numpy_dtype(name)
        x, y = (rng.standard_normal(N).astype(kind) for _ in range(2))
        z = (-(x.astype(np.longdouble) * y) * (1 + 1e-3)).astype(kind)
        exact = x.astype(np.longdouble) * y.astype(np.longdouble) + z.astype(np.longdouble)
        yield _binary(
            "tl.fma({x}, {y}, tl.load(z + i))",
            name,
            name,
            name,
            exact.astype(kind),
            {"x": x, "y": y, "z": z},
            ulp=0.51 if name != "float64" else 1.0,
        )
