# ruff: noqa: E501 - the table below has a row per line
"""The scalar language: what the body of a declared operation may use. One row per primitive.

A row has the spelling in Triton, in NumPy (for the reference in tests) and the derivative, so that nothing about
a function is written twice. All names are functions from expressions (or Python numbers) to an expression;
Python's operators work too (`/` is true division, `//` floors, `%` has the divisor's sign).

    def softplus(x):
        return maximum(x, 0.0) + log1p(exp(-abs(x)))
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from math import e, inf, nan, pi
from typing import Any

from tritorch.kernels.expression import (
    PRIMITIVES,
    Expr,
    Number,
    Primitive,
    apply,
    cast,
    constant,
    diagonal,
    index,
)

Operand = Expr | Number
Scalar = Callable[..., Expr]


def primitive(name: str, arity: int, **fields: Any) -> Scalar:
    """Add a row to the language and return its function."""
    PRIMITIVES[name] = Primitive(name, arity, **fields)

    def function(*operands: Operand) -> Expr:
        return apply(name, *operands)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"`{PRIMITIVES[name].numpy}` of expressions."
    return function


def _unary(
    name: str, spelling: str, partial: Callable[..., Any] | _over | None, numpy: str, **more: Any
) -> Scalar:
    more.setdefault("kind", "float")
    if isinstance(partial, _over):
        denominator = partial.denominator
        more["tangent"] = lambda y, args, ts: (
            None if ts[0] is None else ts[0] / denominator(args[0])
        )
        partial = None
    return primitive(name, 1, floating=spelling, partials=(partial,), numpy=numpy, **more)


class _over:
    """A derivative of the form 1 / denominator(x): the tangent is divided once, not multiplied by a quotient."""

    def __init__(self, denominator: Callable[[Expr], Expr]) -> None:
        self.denominator = denominator


# ---- arithmetic

add = primitive(
    "add", 2, floating="{0} + {1}", integer="{0} + {1}", boolean="{0} | {1}", numpy="{0} + {1}", fold=operator.add,
    tangent=lambda y, args, ts: _sum(ts[0], ts[1]),
)  # fmt: skip
sub = primitive(
    "sub", 2, floating="{0} - {1}", integer="{0} - {1}", boolean="{0} ^ {1}", numpy="{0} - {1}", fold=operator.sub,
    tangent=lambda y, args, ts: _sum(ts[0], None if ts[1] is None else -ts[1]),
)  # fmt: skip
mul = primitive(
    "mul", 2, floating="{0} * {1}", integer="{0} * {1}", boolean="{0} & {1}", numpy="{0} * {1}", fold=operator.mul,
    partials=(lambda y, a, b: b, lambda y, a, b: a),
)  # fmt: skip
div = primitive(
    "div", 2, kind="float", floating="tl.div_rn({0}, {1})", double="{0} / {1}", numpy="{0} / {1}", fold=operator.truediv,
    tangent=lambda y, args, ts: _sum(
        None if ts[0] is None else ts[0] / args[1], None if ts[1] is None else -(y / args[1]) * ts[1]
    ),
)  # fmt: skip
# Triton's unary minus is 0 - x, which loses the sign of zero.
neg = primitive(
    "neg", 1, floating="{0} * -1.0", integer="-{0}", numpy="-{0}", fold=operator.neg, partials=(lambda y, x: -1,)
)  # fmt: skip
fma = primitive(
    "fma", 3, kind="float", floating="tl.fma({0}, {1}, {2})", numpy="{0} * {1} + {2}",
    tangent=lambda y, args, ts: _sum(
        _sum(None if ts[0] is None else ts[0] * args[1], None if ts[1] is None else args[0] * ts[1]), ts[2]
    ),
)  # fmt: skip
fmod = primitive(
    "fmod", 2, floating="libdevice.fmod({0}, {1})", integer="truncate_remainder({0}, {1}, {signed})", numpy="np.fmod({0}, {1})",
    partials=(lambda y, a, b: 1, lambda y, a, b: -trunc(a / b)),
)  # fmt: skip
remainder = primitive(
    "remainder", 2, floating="float_remainder({0}, {1})", integer="floor_remainder({0}, {1}, {signed})", numpy="np.remainder({0}, {1})", fold=operator.mod,
    partials=(lambda y, a, b: 1, lambda y, a, b: -floor_div(a, b)),
)  # fmt: skip
floor_div: Scalar = primitive(
    "floor_div", 2, floating="float_floor_divide({0}, {1})", integer="floor_divide({0}, {1}, {signed})", numpy="np.floor_divide({0}, {1})", fold=operator.floordiv,
)  # fmt: skip
trunc_div = primitive(
    "trunc_div", 2, floating="libdevice.trunc(tl.div_rn({0}, {1}))", double="libdevice.trunc({0} / {1})",
    integer="truncate_divide({0}, {1}, {signed})", numpy="np.trunc({0} / {1})",
)  # fmt: skip
pow: Scalar = primitive(
    "pow", 2, floating="libdevice.pow({0}, {1})", integer="integer_power({0}, {1}, {signed})", numpy="np.power({0}, {1})",
    partials=(
        # PyTorch's conventions: the slope of x ** 0 is 0, that of 0 ** y along y is 0.
        lambda y, a, b: where(b == 0, 0.0, b * pow(a, b - 1)),
        lambda y, a, b: where((a == 0) & (b >= 0), 0.0, y * log(a)),
    ),
)  # fmt: skip

# ---- comparison and choice

eq = primitive("eq", 2, kind="bool", floating="{0} == {1}", integer="{0} == {1}", boolean="{0} == {1}", numpy="{0} == {1}", fold=operator.eq)  # fmt: skip
ne = primitive("ne", 2, kind="bool", floating="{0} != {1}", integer="{0} != {1}", boolean="{0} != {1}", numpy="{0} != {1}", fold=operator.ne)  # fmt: skip
lt = primitive("lt", 2, kind="bool", floating="{0} < {1}", integer="{0} < {1}", numpy="{0} < {1}", fold=operator.lt)  # fmt: skip
le = primitive("le", 2, kind="bool", floating="{0} <= {1}", integer="{0} <= {1}", numpy="{0} <= {1}", fold=operator.le)  # fmt: skip
gt = primitive("gt", 2, kind="bool", floating="{0} > {1}", integer="{0} > {1}", numpy="{0} > {1}", fold=operator.gt)  # fmt: skip
ge = primitive("ge", 2, kind="bool", floating="{0} >= {1}", integer="{0} >= {1}", numpy="{0} >= {1}", fold=operator.ge)  # fmt: skip


def _where_tangent(y: Expr, args: tuple[Expr, ...], ts: tuple[Expr | None, ...]) -> Expr | None:
    # The choice is made after the derivative, so a branch that is not taken leaks no nan.
    if ts[1] is None and ts[2] is None:
        return None
    return where(args[0], *(0.0 if t is None else t for t in ts[1:]))


def _extremum_tangent(
    wins: Callable[[Expr, Expr], Expr],
) -> Callable[[Expr, tuple[Expr, ...], tuple[Expr | None, ...]], Expr | None]:
    def tangent(y: Expr, args: tuple[Expr, ...], ts: tuple[Expr | None, ...]) -> Expr | None:
        a, b = args

        def part(t: Expr | None, mine: Expr, other: Expr) -> Expr | None:
            # As in PyTorch: ties share the gradient, nan gives it to both.
            if t is None:
                return None
            return where(wins(other, mine), 0.0, where(mine == other, t * 0.5, t))

        return _sum(part(ts[0], a, b), part(ts[1], b, a))

    return tangent


where: Scalar = primitive(
    "where", 3, kind="select", floating="tl.where({0}, {1}, {2})", integer="tl.where({0}, {1}, {2})",
    boolean="tl.where({0}, {1}, {2})", numpy="np.where({0}, {1}, {2})", tangent=_where_tangent,
)  # fmt: skip
maximum = primitive(
    "maximum", 2, floating="tl.maximum({0}, {1}, propagate_nan=tl.PropagateNan.ALL)", integer="tl.maximum({0}, {1})",
    boolean="{0} | {1}", numpy="np.maximum({0}, {1})", tangent=_extremum_tangent(lambda a, b: a > b),
)  # fmt: skip
minimum = primitive(
    "minimum", 2, floating="tl.minimum({0}, {1}, propagate_nan=tl.PropagateNan.ALL)", integer="tl.minimum({0}, {1})",
    boolean="{0} & {1}", numpy="np.minimum({0}, {1})", tangent=_extremum_tangent(lambda a, b: a < b),
)  # fmt: skip
fmax = primitive(
    "fmax", 2, floating="tl.maximum({0}, {1})", integer="tl.maximum({0}, {1})", boolean="{0} | {1}",
    numpy="np.fmax({0}, {1})",
    partials=(lambda y, a, b: where((a >= b) | isnan(b), 1.0, 0.0), lambda y, a, b: where((a >= b) | isnan(b), 0.0, 1.0)),
)  # fmt: skip
fmin = primitive(
    "fmin", 2, floating="tl.minimum({0}, {1})", integer="tl.minimum({0}, {1})", boolean="{0} & {1}",
    numpy="np.fmin({0}, {1})",
    partials=(lambda y, a, b: where((a <= b) | isnan(b), 1.0, 0.0), lambda y, a, b: where((a <= b) | isnan(b), 0.0, 1.0)),
)  # fmt: skip
isnan: Scalar = _unary(
    "isnan", "{0} != {0}", None, "np.isnan({0})", kind="bool", integer="{0} != {0}"
)
isinf = _unary(
    "isinf", "tl.abs({0}) == float('inf')", None, "np.isinf({0})", kind="bool", integer="{0} != {0}"
)
isfinite = _unary(
    "isfinite", "tl.abs({0}) < float('inf')", None, "np.isfinite({0})", kind="bool", integer="{0} == {0}"
)  # fmt: skip

# ---- logic and bits

logical_and = primitive("logical_and", 2, kind="bool", boolean="{0} & {1}", numpy="np.logical_and({0}, {1})", logical=True)  # fmt: skip
logical_or = primitive("logical_or", 2, kind="bool", boolean="{0} | {1}", numpy="np.logical_or({0}, {1})", logical=True)  # fmt: skip
logical_xor = primitive("logical_xor", 2, kind="bool", boolean="{0} ^ {1}", numpy="np.logical_xor({0}, {1})", logical=True)  # fmt: skip
logical_not = primitive("logical_not", 1, kind="bool", boolean="~{0}", numpy="np.logical_not({0})", logical=True, fold=operator.not_)  # fmt: skip
bitwise_and = primitive("bitwise_and", 2, integer="{0} & {1}", boolean="{0} & {1}", numpy="{0} & {1}", fold=operator.and_)  # fmt: skip
bitwise_or = primitive("bitwise_or", 2, integer="{0} | {1}", boolean="{0} | {1}", numpy="{0} | {1}", fold=operator.or_)  # fmt: skip
bitwise_xor = primitive("bitwise_xor", 2, integer="{0} ^ {1}", boolean="{0} ^ {1}", numpy="{0} ^ {1}", fold=operator.xor)  # fmt: skip
bitwise_not = primitive("bitwise_not", 1, integer="~{0}", boolean="~{0}", numpy="~{0}")
# Shifts by the width or more are undefined in machine code; here they shift everything out.
shift_left = primitive("shift_left", 2, integer="wide_shift_left({0}, {1}, {bits})", numpy="np.left_shift({0}, {1})")  # fmt: skip
shift_right = primitive("shift_right", 2, integer="wide_shift_right({0}, {1}, {bits}, {signed})", numpy="np.right_shift({0}, {1})")  # fmt: skip

gcd = primitive("gcd", 2, integer="common_divisor({0}, {1}, {signed})", numpy="np.gcd({0}, {1})")

# ---- parts of numbers

#: the whole part of log2 |x|, as an int32; only for finite numbers other than 0
ilogb = _unary("ilogb", "libdevice.ilogb({0})", None, "(np.frexp({0})[1] - 1)", kind="int32")
#: x 2^n, n a whole number; without a derivative of its own
ldexp: Scalar = primitive(
    "ldexp", 2, kind="float", floating="libdevice.ldexp({0}, ({1}).to(tl.int32))", numpy="np.ldexp({0}, np.int32({1}))",
)  # fmt: skip
#: the neighbour of x towards y
nextafter = primitive(
    "nextafter", 2, kind="float", floating="libdevice.nextafter({0}, {1})", numpy="np.nextafter({0}, {1})"
)  # fmt: skip

# ---- rounding and sign: flat almost everywhere

floor = _unary("floor", "tl.floor({0})", None, "np.floor({0})", kind="same", integer="{0}")
ceil = _unary("ceil", "tl.ceil({0})", None, "np.ceil({0})", kind="same", integer="{0}")
trunc: Scalar = _unary(
    "trunc", "libdevice.trunc({0})", None, "np.trunc({0})", kind="same", integer="{0}"
)
#: half to even
round = _unary("round", "libdevice.rint({0})", None, "np.rint({0})", kind="same", integer="{0}")
sign = _unary(
    "sign", "({0} > 0).to({t}) - ({0} < 0).to({t})", None, "np.nan_to_num(np.sign({0}))", kind="same",
    integer="({0} > 0).to({t}) - ({0} < 0).to({t})", boolean="{0}",
)  # fmt: skip
abs = _unary(
    "abs", "tl.abs({0})", lambda y, x: sign(x), "np.abs({0})", kind="same", integer="tl.abs({0})", boolean="{0}",
    fold=operator.abs,
)  # fmt: skip
copysign = primitive(
    "copysign", 2, kind="float", floating="libdevice.copysign({0}, {1})", numpy="np.copysign({0}, {1})",
    fold=math.copysign, partials=(lambda y, a, b: where(a == 0, 0.0, y / a), None),
)  # fmt: skip

# ---- exponentials and logarithms

exp = _unary("exp", "tl.exp({0})", lambda y, x: y, "np.exp({0})", fold=math.exp)
exp2 = _unary("exp2", "tl.exp2({0})", lambda y, x: y * math.log(2), "np.exp2({0})", fold=math.exp2)
expm1 = _unary(
    "expm1", "libdevice.expm1({0})", lambda y, x: y + 1, "np.expm1({0})", fold=math.expm1
)
log: Scalar = _unary("log", "tl.log({0})", _over(lambda x: x), "np.log({0})", fold=math.log)
log2 = _unary("log2", "tl.log2({0})", _over(lambda x: x * math.log(2)), "np.log2({0})", fold=math.log2)  # fmt: skip
log10 = _unary("log10", "libdevice.log10({0})", _over(lambda x: x * math.log(10)), "np.log10({0})", fold=math.log10)  # fmt: skip
log1p = _unary("log1p", "libdevice.log1p({0})", _over(lambda x: x + 1), "np.log1p({0})", fold=math.log1p)  # fmt: skip
sqrt = _unary("sqrt", "tl.sqrt_rn({0})", lambda y, x: 0.5 / y, "np.sqrt({0})", double="tl.sqrt({0})", fold=math.sqrt)  # fmt: skip
rsqrt = _unary("rsqrt", "tl.rsqrt({0})", lambda y, x: -0.5 * y * y * y, "1 / np.sqrt({0})")

# ---- trigonometric and hyperbolic

sin = _unary("sin", "tl.sin({0})", lambda y, x: cos(x), "np.sin({0})", fold=math.sin)
cos: Scalar = _unary("cos", "tl.cos({0})", lambda y, x: -sin(x), "np.cos({0})", fold=math.cos)
tan = _unary("tan", "libdevice.tan({0})", lambda y, x: 1 + y * y, "np.tan({0})", fold=math.tan)
asin = _unary("asin", "libdevice.asin({0})", lambda y, x: rsqrt(1 - x * x), "np.arcsin({0})", fold=math.asin)  # fmt: skip
acos = _unary("acos", "libdevice.acos({0})", lambda y, x: -rsqrt(1 - x * x), "np.arccos({0})", fold=math.acos)  # fmt: skip
atan = _unary("atan", "libdevice.atan({0})", _over(lambda x: x * x + 1), "np.arctan({0})", fold=math.atan)  # fmt: skip
atan2 = primitive(
    "atan2", 2, kind="float", floating="libdevice.atan2({0}, {1})", numpy="np.arctan2({0}, {1})", fold=math.atan2,
    partials=(lambda y, a, b: b / (a * a + b * b), lambda y, a, b: -a / (a * a + b * b)),
)  # fmt: skip
sinh = _unary("sinh", "libdevice.sinh({0})", lambda y, x: cosh(x), "np.sinh({0})")
cosh: Scalar = _unary("cosh", "libdevice.cosh({0})", lambda y, x: sinh(x), "np.cosh({0})")
tanh = _unary("tanh", "libdevice.tanh({0})", lambda y, x: 1 - y * y, "np.tanh({0})", fold=math.tanh, gpu="tanh_in_parts({0})")  # fmt: skip
#: with a small absolute error, which is all that counts beside the 1
one_plus_tanh = _unary("one_plus_tanh", "1.0 + libdevice.tanh({0})", lambda y, x: y * (2 - y), "1 + np.tanh({0})", gpu="one_plus_tanh({0})")  # fmt: skip
# exp overflows to inf harmlessly; the slope by the result stays finite where exp(-x) does not.
sigmoid = _unary(
    "sigmoid", "tl.div_rn(1.0, 1.0 + tl.exp({0} * -1.0))", lambda y, x: y * (1 - y), "1 / (1 + np.exp(-{0}))",
    double="1.0 / (1.0 + tl.exp({0} * -1.0))",
    gpu="libdevice.fast_dividef(1.0, 1.0 + tl.exp2({0} * -1.4426950408889634))",
)  # fmt: skip
asinh = _unary("asinh", "libdevice.asinh({0})", lambda y, x: rsqrt(x * x + 1), "np.arcsinh({0})")
acosh = _unary("acosh", "libdevice.acosh({0})", lambda y, x: rsqrt(x * x - 1), "np.arccosh({0})")
atanh = _unary("atanh", "libdevice.atanh({0})", _over(lambda x: 1 - x * x), "np.arctanh({0})")

# ---- error function and gamma

erf = _unary("erf", "tl.erf({0})", lambda y, x: 2 / math.sqrt(pi) * exp(-(x * x)), "special.erf({0})", fold=math.erf)  # fmt: skip
#: as `one_plus_tanh`
one_plus_erf = _unary("one_plus_erf", "1.0 + tl.erf({0})", lambda y, x: 2 / math.sqrt(pi) * exp(-(x * x)), "1 + special.erf({0})", gpu="one_plus_erf({0})")  # fmt: skip
erfc = _unary("erfc", "libdevice.erfc({0})", lambda y, x: -2 / math.sqrt(pi) * exp(-(x * x)), "special.erfc({0})", fold=math.erfc)  # fmt: skip
erfinv = _unary("erfinv", "libdevice.erfinv({0})", lambda y, x: math.sqrt(pi) / 2 * exp(y * y), "special.erfinv({0})")  # fmt: skip
lgamma = _unary(
    "lgamma",
    "libdevice.lgamma({0})",
    lambda y, x: digamma(x),
    "np.where(np.isinf({0}), np.inf, special.gammaln({0}))",
)
#: what a power and an exponential turn into the incomplete gamma functions, below and above x = a + 1
gamma_series = primitive("gamma_series", 2, kind="float", floating="gamma_series({0}, {1}, {bits})", numpy="special.gammainc({0}, {1}) * np.exp({1} - {0} * np.log({1}) + special.gammaln({0}))")  # fmt: skip
gamma_fraction = primitive("gamma_fraction", 2, kind="float", floating="gamma_fraction({0}, {1}, {bits})", numpy="special.gammaincc({0}, {1}) * np.exp({1} - {0} * np.log({1}) + special.gammaln({0}))")  # fmt: skip
#: the derivative of a gamma variable's logarithm y by its shape a, given psi = digamma(a + 1); by a
#: again it is not known
gamma_slope = primitive(
    "gamma_slope", 3, kind="float", floating="gamma_slope({0}, {1}, {2})", numpy="reference.gamma_slope({0}, {1}, {2})",
    partials=(lambda v, a, y, psi: nan, lambda v, a, y, psi: psi - 1 / a - y - v * (a - exp(y)), None),
)  # fmt: skip


# ---- functions made of the rows above


def _sum(a: Expr | None, b: Expr | None) -> Expr | None:
    if a is None:
        return b
    return a if b is None else a + b


def clamp(x: Operand, low: Operand, high: Operand) -> Expr:
    """x limited to [low, high]; nan stays nan. The gradient passes where low <= x <= high."""
    return apply("clamp", x, low, high)


def _clamp_tangent(y: Expr, args: tuple[Expr, ...], ts: tuple[Expr | None, ...]) -> Expr | None:
    x, low, high = args
    conditions = ((x >= low) & (x <= high), (x < low) & (low < high), (x > high) | (low > high))
    total = None
    for condition, t in zip(conditions, ts):
        total = _sum(total, None if t is None else where(condition, t, 0.0))
    return total


_CLAMP_INT = "tl.minimum(tl.maximum({0}, {1}), {2})"
primitive(
    "clamp", 3, tangent=_clamp_tangent, integer=_CLAMP_INT, numpy="np.minimum(np.maximum({0}, {1}), {2})",
    floating="tl.minimum(tl.maximum({0}, {1}, propagate_nan=tl.PropagateNan.ALL), {2}, "
    "propagate_nan=tl.PropagateNan.ALL)",
)  # fmt: skip


def reciprocal(x: Operand) -> Expr:
    """1 / x."""
    return 1 / _expr(x)


def square(x: Operand) -> Expr:
    """x * x."""
    return _expr(x) * x


def digamma(x: Operand) -> Expr:
    """The derivative of lgamma: recurrence up to x >= 8, then the asymptotic series; reflection below 0.

    Source: Abramowitz and Stegun, 6.3.5, 6.3.7, 6.3.18.
    """
    x = _expr(x)
    reflected = where(x < 0, 1 - x, x)
    shifted, total = reflected, None
    for _ in range(8):
        small = shifted < 8.0
        total = _sum(total, where(small, -1.0 / shifted, 0.0))
        shifted = where(small, shifted + 1, shifted)
    z = 1.0 / (shifted * shifted)
    series: Expr | float = 0.0
    for coefficient in (1 / 12, -691 / 32760, 1 / 132, -1 / 240, 1 / 252, -1 / 120, 1 / 12):
        series = series * z + coefficient
    assert total is not None
    value = total + log(shifted) - 0.5 / shifted - z * series
    # pi / tan(pi x), on what x is beside the nearest whole number
    turn = pi * (x - round(x))
    value = where(x < 0, value - pi / tan(turn), value)
    pole = where((x < 0) & (x == floor(x)), nan, value)
    return where(x == 0, -copysign(inf, x), pole)


def _expr(x: Operand) -> Expr:
    return x if isinstance(x, Expr) else constant(x)


__all__ = [
    "Expr",
    "abs",
    "acos",
    "acosh",
    "add",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "cast",
    "ceil",
    "clamp",
    "constant",
    "copysign",
    "cos",
    "cosh",
    "diagonal",
    "digamma",
    "div",
    "e",
    "eq",
    "erf",
    "erfc",
    "erfinv",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "floor_div",
    "fma",
    "fmax",
    "fmin",
    "fmod",
    "gamma_fraction",
    "gamma_series",
    "gamma_slope",
    "gcd",
    "ge",
    "gt",
    "ilogb",
    "index",
    "inf",
    "isfinite",
    "isinf",
    "isnan",
    "ldexp",
    "le",
    "lgamma",
    "log",
    "log1p",
    "log2",
    "log10",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "lt",
    "maximum",
    "minimum",
    "mul",
    "nan",
    "ne",
    "neg",
    "nextafter",
    "one_plus_erf",
    "one_plus_tanh",
    "pi",
    "pow",
    "primitive",
    "reciprocal",
    "remainder",
    "round",
    "rsqrt",
    "shift_left",
    "shift_right",
    "sigmoid",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "sub",
    "tan",
    "tanh",
    "trunc",
    "trunc_div",
    "where",
]  # fmt: skip
