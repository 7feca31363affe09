"""Element-wise functions: the operations of `tritorch` with the standard's names and promotion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tritorch.array_api.data_types import operands, result_type
from tritorch.ops import arithmetic, comparison, elementary, number_parts
from tritorch.ops.memory import to
from tritorch.tensor import Tensor


def _unary(name: str, operation: Any, text: str) -> Callable[[Tensor], Tensor]:
    def function(x: Tensor, /) -> Tensor:
        result: Tensor = operation(x)
        return result

    function.__name__ = function.__qualname__ = name
    function.__doc__ = text
    return function


def _binary(name: str, operation: Any, text: str) -> Callable[[Any, Any], Tensor]:
    def function(x1: Any, x2: Any, /) -> Tensor:
        if isinstance(x1, Tensor) and isinstance(x2, Tensor) and x1.dtype is x2.dtype:
            result: Tensor = operation(x1, x2)
        else:
            result = operation(*operands(name, x1, x2))
        return result

    function.__name__ = function.__qualname__ = name
    function.__doc__ = text
    return function


abs = _unary("abs", arithmetic.abs, "The distance from zero.")
acos = _unary("acos", elementary.acos, "The inverse cosine.")
acosh = _unary("acosh", elementary.acosh, "The inverse hyperbolic cosine.")
asin = _unary("asin", elementary.asin, "The inverse sine.")
asinh = _unary("asinh", elementary.asinh, "The inverse hyperbolic sine.")
atan = _unary("atan", elementary.atan, "The inverse tangent.")
atanh = _unary("atanh", elementary.atanh, "The inverse hyperbolic tangent.")
bitwise_invert = _unary("bitwise_invert", comparison.bitwise_not, "All bits turned.")
ceil = _unary("ceil", elementary.ceil, "The next integer above.")
cos = _unary("cos", elementary.cos, "The cosine.")
cosh = _unary("cosh", elementary.cosh, "The hyperbolic cosine.")
exp = _unary("exp", elementary.exp, "e to the power of x.")
expm1 = _unary("expm1", elementary.expm1, "exp(x) - 1, exact for small x.")
floor = _unary("floor", elementary.floor, "The next integer below.")
isfinite = _unary("isfinite", elementary.isfinite, "Whether it is neither infinite nor nan.")
isinf = _unary("isinf", elementary.isinf, "Whether it is infinite.")
isnan = _unary("isnan", elementary.isnan, "Whether it is nan.")
log = _unary("log", elementary.log, "The natural logarithm.")
log1p = _unary("log1p", elementary.log1p, "log(1 + x), exact for small x.")
log2 = _unary("log2", elementary.log2, "The logarithm to base 2.")
log10 = _unary("log10", elementary.log10, "The logarithm to base 10.")
logical_not = _unary("logical_not", comparison.logical_not, "Whether it is false.")
negative = _unary("negative", arithmetic.neg, "-x.")
positive = _unary("positive", arithmetic.positive, "+x.")
reciprocal = _unary("reciprocal", arithmetic.reciprocal, "1 / x.")
round = _unary("round", elementary.round, "The nearest integer, of two the even one.")
signbit = _unary("signbit", elementary.signbit, "Whether the sign bit is set: negative, or -0.0.")
sin = _unary("sin", elementary.sin, "The sine.")
sinh = _unary("sinh", elementary.sinh, "The hyperbolic sine.")
sqrt = _unary("sqrt", arithmetic.sqrt, "The square root.")
square = _unary("square", arithmetic.square, "x * x.")
tan = _unary("tan", elementary.tan, "The tangent.")
tanh = _unary("tanh", elementary.tanh, "The hyperbolic tangent.")
trunc = _unary("trunc", elementary.trunc, "The next integer towards zero.")

add = _binary("add", arithmetic.add, "x1 + x2.")
atan2 = _binary("atan2", arithmetic.atan2, "The angle of the point (x2, x1).")
bitwise_and = _binary("bitwise_and", comparison.bitwise_and, "x1 & x2.")
bitwise_left_shift = _binary("bitwise_left_shift", comparison.bitwise_left_shift, "x1 << x2.")
bitwise_or = _binary("bitwise_or", comparison.bitwise_or, "x1 | x2.")
bitwise_right_shift = _binary("bitwise_right_shift", comparison.bitwise_right_shift, "x1 >> x2.")
bitwise_xor = _binary("bitwise_xor", comparison.bitwise_xor, "x1 ^ x2.")
copysign = _binary("copysign", arithmetic.copysign, "The size of x1 with the sign of x2.")
divide = _binary("divide", arithmetic.div, "x1 / x2, never an integer division.")
equal = _binary("equal", comparison.eq, "x1 == x2.")
floor_divide = _binary("floor_divide", arithmetic.floor_divide, "x1 / x2 rounded down.")
greater = _binary("greater", comparison.gt, "x1 > x2.")
greater_equal = _binary("greater_equal", comparison.ge, "x1 >= x2.")
hypot = _binary("hypot", arithmetic.hypot, "sqrt(x1**2 + x2**2) without overflow.")
less = _binary("less", comparison.lt, "x1 < x2.")
less_equal = _binary("less_equal", comparison.le, "x1 <= x2.")
logaddexp = _binary("logaddexp", elementary.logaddexp, "log(exp(x1) + exp(x2)) without overflow.")
logical_and = _binary("logical_and", comparison.logical_and, "Whether both are true.")
logical_or = _binary("logical_or", comparison.logical_or, "Whether one is true.")
logical_xor = _binary("logical_xor", comparison.logical_xor, "Whether just one is true.")
maximum = _binary("maximum", arithmetic.maximum, "The greater one; nan if one is nan.")
minimum = _binary("minimum", arithmetic.minimum, "The lesser one; nan if one is nan.")
multiply = _binary("multiply", arithmetic.mul, "x1 * x2.")
nextafter = _binary("nextafter", number_parts.nextafter, "The number next to x1 towards x2.")
not_equal = _binary("not_equal", comparison.ne, "x1 != x2.")
pow = _binary("pow", arithmetic.pow, "x1 to the power of x2.")
subtract = _binary("subtract", arithmetic.sub, "x1 - x2.")


def clip(x: Tensor, /, min: Any = None, max: Any = None) -> Tensor:
    """x kept between two limits (numbers, tensors that broadcast, or None); the dtype is x's."""
    result = x
    if min is not None:
        result = maximum(result, _limit(x, min))
    if max is not None:
        result = minimum(result, _limit(x, max))
    return x.clone() if result is x else to(result, None, x.dtype)


def _limit(x: Tensor, limit: Any) -> Any:
    """A limit in x's dtype where it is of the same kind."""
    if isinstance(limit, Tensor) and result_type(limit, x) is x.dtype:
        return to(limit, None, x.dtype)
    return limit


def conj(x: Tensor, /) -> Tensor:
    """x itself: there are no complex dtypes."""
    return x


def real(x: Tensor, /) -> Tensor:
    """x itself: there are no complex dtypes."""
    return x


def imag(x: Tensor, /) -> Tensor:
    """An error: only complex numbers have an imaginary part, and there are no complex dtypes."""
    raise TypeError(
        f"imag: expected a complex dtype, got {x.dtype}; there are no complex dtypes here. The "
        "imaginary part of real numbers is zeros_like(x)."
    )


def sign(x: Tensor, /) -> Tensor:
    """-1, 0 or 1; nan of nan."""
    result: Tensor = elementary.sign(x)
    if x.dtype.is_floating_point:
        return comparison.where(elementary.isnan(x), x, result)
    return result


def remainder(x1: Any, x2: Any, /) -> Tensor:
    """The rest of x1 / x2, with x2's sign, of a zero too."""
    dividend, divisor = operands("remainder", x1, x2)
    rest: Tensor = arithmetic.remainder(dividend, divisor)
    if rest.dtype.is_floating_point:
        return comparison.where(comparison.eq(rest, 0), arithmetic.copysign(rest, divisor), rest)
    return rest
