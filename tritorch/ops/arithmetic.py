"""Arithmetic between tensors and numbers: add, mul, pow, remainder, lerp and their kin."""

# The decorated functions are written in the scalar language, whose operands have no annotations.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import numpy as np

from tritorch import dtypes
from tritorch.kernels import scalar as s
from tritorch.ops.declare import method, pointwise, takes
from tritorch.ops.promotion import result_type
from tritorch.tensor import Tensor

Operand = Tensor | bool | int | float


# ---- sums and products


@pointwise(numpy=np.add, method=False, operators=("__add__", "__radd__", "__iadd__"))
def _add(input, other):
    """input + other."""
    return input + other


@pointwise(
    numpy=np.subtract, promote="difference", method=False, integers=True,
    operators=("__sub__", "__rsub__", "__isub__"),
)  # fmt: skip
def _sub(input, other):
    """input - other; not defined for bool."""
    return input - other


@pointwise(numpy=lambda x, y, a: x + a * y, method=False, inplace=False, node="AddBackward0")
def _add_scaled(input, other, alpha):
    """input + alpha * other."""
    return input + alpha * other


@pointwise(
    numpy=np.multiply, inplace=True, aliases=("multiply",),
    operators=("__mul__", "__rmul__", "__imul__"),
)  # fmt: skip
def mul(input, other):
    """input * other."""
    return input * other


@pointwise(
    numpy=np.true_divide, promote="float", method=False, samples=(0.0,),
    operators=("__truediv__", "__rtruediv__", "__itruediv__"),
)  # fmt: skip
def _div(input, other):
    """input / other; integers give the default dtype."""
    return input / other


@pointwise(
    numpy=np.floor_divide,
    promote="numeric",
    inplace=True,
    divisor="other",
    operators=("__floordiv__", "__rfloordiv__", "__ifloordiv__"),
)
def floor_divide(input, other):
    """The largest whole number <= input / other.

    Raises:
        IntegerDivisionError: integers are divided by 0, on the CPU; on GPUs the result is
            arbitrary, as in PyTorch.
    """
    return input // other


@pointwise(numpy=lambda x, y: np.trunc(x / y), promote="numeric", method=False, divisor="other")
def _trunc_divide(input, other):
    """input / other without its fraction."""
    return s.trunc_div(input, other)


@pointwise(
    numpy=np.remainder,
    promote="numeric",
    inplace=True,
    divisor="other",
    operators=("__mod__", "__rmod__", "__imod__"),
)
def remainder(input, other):
    """The rest of floor division; it has the sign of `other`, as Python's %.

    Integers: 0 raises as `floor_divide` does.
    """
    return input % other


@pointwise(numpy=np.fmod, promote="numeric", inplace=True, divisor="other")
def fmod(input, other):
    """The rest of truncated division; it has the sign of `input`, as C's fmod.

    Integers: 0 raises as `floor_divide` does.
    """
    return s.fmod(input, other)


def _scales(name: str, alpha: Any, input: Any, other: Any) -> bool:
    """Check a factor; whether it is one of truth values, which are only taken or left out."""
    kind = result_type(input, other)
    if isinstance(alpha, float) and not kind.is_floating_point:
        raise RuntimeError(
            f"{name}: for integral input tensors, argument alpha must not be a floating point "
            f"number, got {alpha}. Convert an operand, or alpha."
        )
    return kind is dtypes.bool


def _add_alpha(name: str, plain: Any, sign: int) -> tuple[Any, Any]:
    """`name` and its in-place version, with `alpha`."""
    inplace_plain = plain.operation.inplace
    inplace_scaled = _add_scaled.operation.inplace

    def function(input: Tensor, other: Operand, *, alpha: Any = 1, out: Any = None) -> Tensor:
        if alpha == 1:
            return plain(input, other, out=out)
        if _scales(name, alpha, input, other):
            return plain(input, other if alpha else mul(other, False), out=out)
        return _add_scaled(input, other, sign * alpha, out=out)

    def inplace(input: Tensor, other: Operand, *, alpha: Any = 1) -> Tensor:
        if alpha == 1:
            return inplace_plain(input, other)
        if _scales(name, alpha, input, other):
            return inplace_plain(input, other if alpha else mul(other, False))
        return inplace_scaled(input, other, sign * alpha)

    operator = "+" if sign > 0 else "-"
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"input {operator} alpha * other."
    inplace.__name__ = inplace.__qualname__ = name + "_"
    inplace.__doc__ = f"In-place version of `{name}`."
    return function, inplace


add, _add_ = _add_alpha("add", _add, 1)
sub, _sub_ = _add_alpha("sub", _sub, -1)
subtract = sub
method("add")(add)
method("add_")(_add_)
method("sub", "subtract")(sub)
method("sub_", "subtract_")(_sub_)


@method("rsub")
def rsub(input: Tensor, other: Operand, *, alpha: Any = 1) -> Tensor:
    """other - alpha * input."""
    return sub(other, input, alpha=alpha)


_DIVISIONS = {None: _div, "floor": floor_divide, "trunc": _trunc_divide}


def _division(rounding_mode: str | None) -> Any:
    if rounding_mode not in _DIVISIONS:
        raise RuntimeError(
            "div expected rounding_mode to be one of None, 'trunc', or 'floor' but found "
            f"{rounding_mode!r}."
        )
    return _DIVISIONS[rounding_mode]


@method("div", "divide", "true_divide")
def div(
    input: Tensor, other: Operand, *, rounding_mode: str | None = None, out: Tensor | None = None
) -> Tensor:
    """input / other, rounded down with `rounding_mode="floor"`, towards zero with "trunc"."""
    return _division(rounding_mode)(input, other, out=out)


@method("div_", "divide_", "true_divide_")
def div_(input: Tensor, other: Operand, *, rounding_mode: str | None = None) -> Tensor:
    """In-place version of `div`."""
    return _division(rounding_mode).operation.inplace(input, other)


divide = true_divide = div
multiply = mul


# ---- powers


def _power_gradient(g, input, exponent, result):
    # exponent * input ** (exponent - 1), 0 where the exponent is 0; the logarithm only where it
    # counts.
    return (
        g * s.where(exponent == 0, 0.0, exponent * s.pow(input, exponent - 1)),
        g * s.where((input == 0) & (exponent >= 0), 0.0, result * s.log(input)),
    )


@pointwise(
    numpy=np.power, promote="numeric", method=False, grad=_power_gradient, low=0.1, high=3.0,
    integers=False, samples=(0.0, 1.0, 2.0), node="PowBackward0",
)  # fmt: skip
def _pow(input, exponent):
    """input ** exponent."""
    return s.pow(input, exponent)


@pointwise(promote="square", numpy=np.square, inplace=True, node="PowBackward0")
def square(input):
    """input ** 2."""
    return input * input


@pointwise(promote="square", method=False, numpy=lambda x: x * x * x, node="PowBackward0")
def _cube(input):
    """input ** 3."""
    return input * input * input


@pointwise(numpy=np.sqrt, promote="float", inplace=True, low=0.01, high=9.0, samples=(0.0, -1.0))
def sqrt(input):
    """The square root; nan below 0."""
    return s.sqrt(input)


@pointwise(promote="float", inplace=True, numpy=lambda x: 1 / np.sqrt(x), low=0.1, high=9.0)
def rsqrt(input):
    """1 / sqrt(input)."""
    return s.rsqrt(input)


@pointwise(
    promote="float", inplace=True, numpy=np.reciprocal, low=0.3, high=3.0, samples=(0.0,),
    grad=lambda g, result: -g * result * result,
)  # fmt: skip
def reciprocal(input):
    """1 / input."""
    return 1.0 / input


_POWERS: dict[Any, Any] = {2: square, 3: _cube, 0.5: sqrt, -1: reciprocal, -0.5: rsqrt}


def _check_exponent(input: Any, exponent: Any) -> None:
    negative = exponent.__class__ is int and exponent < 0
    if negative and isinstance(input, Tensor) and not input._layout.dtype.is_floating_point:
        raise RuntimeError(
            "pow: Integers to negative integer powers are not allowed. Convert with .float()."
        )


@method("pow", "__pow__")
def pow(input: Operand, exponent: Operand, *, out: Tensor | None = None) -> Tensor:
    """input ** exponent, for tensors and numbers.

    Raises:
        RuntimeError: integers to a negative integer power.
    """
    if exponent.__class__ in (int, float) and isinstance(input, Tensor) and out is None:
        special = _POWERS.get(exponent)
        whole = exponent in (2, 3) and exponent.__class__ is int
        if special is not None and (whole or input._layout.dtype.is_floating_point):
            return special(input)
    _check_exponent(input, exponent)
    return _pow(input, exponent, out=out)


@method("pow_", "__ipow__")
def pow_(input: Tensor, exponent: Operand) -> Tensor:
    """In-place version of `pow`."""
    _check_exponent(input, exponent)
    return _pow.operation.inplace(input, exponent)


Tensor.__rpow__ = _pow.operation.operator("__rpow__", reflected=True)


# ---- sign, size, limits


@pointwise(
    numpy=np.negative, promote="numeric", inplace=True, operators=("__neg__",),
    aliases=("negative",),
)  # fmt: skip
def neg(input):
    """-input."""
    return -input


@pointwise(
    numpy=np.abs,
    promote="numeric",
    inplace=True,
    operators=("__abs__",),
    aliases=("absolute",),
    low=0.1,
    samples=(0.0,),
)
def abs(input):
    """The size of each element."""
    return s.abs(input)


negative, absolute = neg, abs


@method("positive", "__pos__")
@takes("floating", "float8", "integers")
def positive(input: Tensor) -> Tensor:
    """The tensor itself; not defined for bool."""
    if input._layout.dtype is dtypes.bool:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported. Use .int().")
    return input


@pointwise(numpy=np.maximum)
def maximum(input, other):
    """The greater one; nan where either is nan. Ties share the gradient."""
    return s.maximum(input, other)


@pointwise(numpy=np.minimum)
def minimum(input, other):
    """The smaller one; nan where either is nan. Ties share the gradient."""
    return s.minimum(input, other)


@pointwise(numpy=np.fmax)
def fmax(input, other):
    """The greater one; a number is preferred to nan."""
    return s.fmax(input, other)


@pointwise(numpy=np.fmin)
def fmin(input, other):
    """The smaller one; a number is preferred to nan."""
    return s.fmin(input, other)


@pointwise(numpy=lambda x, low, high: np.minimum(np.maximum(x, low), high), method=False)
def _clamp(input, min, max):
    """input limited to [min, max]."""
    return s.clamp(input, min, max)


@pointwise(numpy=np.maximum, inplace=True)
def clamp_min(input, min):
    """input, but at least `min`."""
    return s.where((input < min) | s.isnan(min), min, input)


@pointwise(numpy=np.minimum, inplace=True)
def clamp_max(input, max):
    """input, but at most `max`."""
    return s.where((input > max) | s.isnan(max), max, input)


def _clamping(input: Tensor, min: Any, max: Any) -> tuple[Any, tuple[Any, ...]]:
    if min is None and max is None:
        raise RuntimeError("clamp: At least one of 'min' or 'max' must not be None.")
    if max is None:
        return clamp_min, (input, min)
    if min is None:
        return clamp_max, (input, max)
    return _clamp, (input, min, max)


@method("clamp", "clip")
def clamp(
    input: Tensor,
    min: Operand | None = None,
    max: Operand | None = None,
    *,
    out: Tensor | None = None,
) -> Tensor:
    """input limited to [min, max]; nan stays nan. The gradient passes inside, limits included."""
    chosen, operands = _clamping(input, min, max)
    return chosen(*operands, out=out)


@method("clamp_", "clip_")
def clamp_(input: Tensor, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """In-place version of `clamp`."""
    chosen, operands = _clamping(input, min, max)
    return chosen.operation.inplace(*operands)


clip = clamp


# ---- of several operands


@pointwise(
    numpy=lambda x, y, w: np.where(np.abs(w) < 0.5, x + w * (y - x), y - (y - x) * (1 - w)),
    promote="floating",
    inplace=True,
    samples=(0.5,),
)
def lerp(input, end, weight):
    """input + weight * (end - input); exact at both ends."""
    return s.where(
        s.abs(weight) < 0.5, input + weight * (end - input), end - (end - input) * (1 - weight)
    )


@pointwise(numpy=lambda x, y, z, v: x + v * y * z, method=False)
def _addcmul(input, tensor1, tensor2, value):
    """input + value * tensor1 * tensor2."""
    return input + value * tensor1 * tensor2


@pointwise(
    numpy=lambda x, y, z, v: x + v * (y / z), method=False, low=0.3, high=3.0, integers=False
)
def _addcdiv(input, tensor1, tensor2, value):
    """input + value * tensor1 / tensor2."""
    return input + value * (tensor1 / tensor2)


def _whole(value: Any, *operands: Any) -> Any:
    """The factor of integers is an integer, as in PyTorch."""
    floating = any(isinstance(x, Tensor) and x._layout.dtype.is_floating_point for x in operands)
    return value if floating or value.__class__ is not float else int(value)


@method("addcmul")
def addcmul(
    input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1, out: Tensor | None = None
) -> Tensor:
    """input + value * tensor1 * tensor2."""
    value = _whole(value, input, tensor1, tensor2)
    return _addcmul(input, tensor1, tensor2, value, out=out)


@method("addcmul_")
def addcmul_(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """In-place version of `addcmul`."""
    value = _whole(value, input, tensor1, tensor2)
    return _addcmul.operation.inplace(input, tensor1, tensor2, value)


def _check_quotient(tensor1: Tensor, tensor2: Tensor) -> None:
    if not (tensor1.is_floating_point() or tensor2.is_floating_point()):
        raise RuntimeError(
            "addcdiv: Integer division with addcdiv is no longer supported. Use "
            "input + value * tritorch.trunc(tensor1 / tensor2), or convert with .float()."
        )


@method("addcdiv")
@takes("floating", "float8")
def addcdiv(
    input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1, out: Tensor | None = None
) -> Tensor:
    """input + value * tensor1 / tensor2."""
    _check_quotient(tensor1, tensor2)
    return _addcdiv(input, tensor1, tensor2, value, out=out)


@method("addcdiv_")
def addcdiv_(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """In-place version of `addcdiv`."""
    _check_quotient(tensor1, tensor2)
    return _addcdiv.operation.inplace(input, tensor1, tensor2, value)


@pointwise(numpy=np.arctan2, promote="float", inplace=True, aliases=("arctan2",))
def atan2(input, other):
    """The angle of the point (other, input), in (-pi, pi]."""
    return s.atan2(input, other)


arctan2 = atan2


@pointwise(numpy=np.hypot, promote="floating", inplace=True, low=0.2)
def hypot(input, other):
    """sqrt(input ** 2 + other ** 2), without overflow in between."""
    big = s.maximum(s.abs(input), s.abs(other))
    small = s.minimum(s.abs(input), s.abs(other))
    ratio = s.where(big == 0.0, 0.0, small / big)
    infinite = s.isinf(input) | s.isinf(other)
    return s.where(infinite, s.inf, big * s.sqrt(1.0 + ratio * ratio))


@pointwise(numpy=np.copysign, promote="float", inplace=True, low=0.2)
def copysign(input, other):
    """The size of `input` with the sign of `other`."""
    return s.copysign(input, other)


@pointwise(
    promote="float", low=0.1, samples=(0.0,), inplace=True,
    numpy=lambda x, y: np.where(x == 0, np.where(np.isnan(y), np.nan, 0.0), x * np.log(y)),
    # The slope at input = 0 is log(other) all the same.
    grad=lambda g, input, other: (
        g * s.where((input == 0) & (other <= 0), 0.0, s.log(other)),
        g * s.where((input == 0) & (other == 0), 0.0, input / other),
    ),
)  # fmt: skip
def xlogy(input, other):
    """input * log(other); 0 where input is 0."""
    return s.where((input == 0) & ~s.isnan(other), 0.0, input * s.log(other))
