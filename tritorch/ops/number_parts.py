"""Exponents and mantissas, neighbours, common divisors, powers in double precision."""

# The decorated functions are written in the scalar language, whose operands have no annotations.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tritorch import dtypes
from tritorch.errors import DtypeError
from tritorch.kernels import scalar as s
from tritorch.ops import return_types
from tritorch.ops.arithmetic import mul, pow, pow_
from tritorch.ops.comparison import where
from tritorch.ops.creation import full_like
from tritorch.ops.declare import method, pointwise, takes, without_gradient, writes
from tritorch.ops.memory import contiguous, to_dtype
from tritorch.ops.promotion import common_dtype, float_dtype
from tritorch.ops.views import broadcast_tensors
from tritorch.tensor import Tensor

# ---- common divisors


@pointwise(promote="integral", inplace=True, numpy=np.gcd, samples=(0.0, 12.0))
def gcd(input, other):
    """The greatest common divisor; 0 of two zeros."""
    return s.gcd(input, other)


@pointwise(promote="integral", inplace=True, numpy=np.lcm, samples=(0.0, 12.0))
def lcm(input, other):
    """The least common multiple; 0 where one is 0."""
    divisor = s.gcd(input, other)
    return s.where(divisor == 0, 0, s.abs(s.trunc_div(input, divisor)) * s.abs(other))


# ---- exponents


def _exponent(x: Any) -> Any:
    """The power of two above |x|; 0 for what is 0, infinite or nan."""
    return s.where(s.isfinite(x) & (x != 0), s.ilogb(s.where(x == 0, 1.0, x)) + 1, 0)


@pointwise(
    integers=False, method=False, numpy=lambda x: np.frexp(x)[0], samples=(0.0, 1024.0, 1e-30),
    grad=lambda g, input: g * s.ldexp(1.0, -_exponent(input)),
)  # fmt: skip
def _frexp_mantissa(input):
    """input / 2^exponent."""
    return s.ldexp(input, -_exponent(input))


@pointwise(
    promote="exponent", integers=False, method=False, numpy=None,
    differentiable=False, samples=(0.0, 1024.0, 1e-30),
)  # fmt: skip
def _frexp_exponent(input):
    """The power of two above |input|, as an int32."""
    return _exponent(input)


@method("frexp")
@writes
@takes("floating", "float8")
def frexp(input: Tensor) -> return_types.frexp:
    """(mantissa, exponent) with input = mantissa 2^exponent and 0.5 <= |mantissa| < 1."""
    if not input._layout.dtype.is_floating_point:
        raise DtypeError(
            f"frexp: only supports floating-point dtypes, got {input._layout.dtype}. Convert with "
            ".float()."
        )
    return return_types.frexp(_frexp_mantissa(input), _frexp_exponent(input.detach()))


@pointwise(
    promote="float", method=False, numpy=None, node="LdexpBackward0",
    grad=lambda g, input, other: (g * s.ldexp(1.0, _limited(other)), 0.0),
)  # fmt: skip
def _ldexp(input, other):
    """input times 2^other for whole `other`; rounded once, so what is in range is exact."""
    return s.ldexp(input, _limited(other))


def _limited(exponent: Any) -> Any:
    """Beyond all exponents, but an int32."""
    return s.clamp(exponent, -5000, 5000)


def _scaling(input: Tensor, other: Any) -> tuple[Any, Any]:
    """(the operation, its second operand)."""
    whole = (
        not other._layout.dtype.is_floating_point
        if isinstance(other, Tensor)
        else (other.__class__ is int)
    )
    return (_ldexp, other) if whole else (mul, pow(2.0, other))


@method("ldexp")
@writes
@takes("floating", "integers", "bool")
def ldexp(input: Tensor, other: Any) -> Tensor:
    """input times 2^other."""
    chosen, operand = _scaling(input, other)
    kinds = [x._layout if isinstance(x, Tensor) else x.__class__ for x in (input, other)]
    return to_dtype(chosen(input, operand), float_dtype(common_dtype(kinds)))


@method("ldexp_")
def ldexp_(input: Tensor, other: Any) -> Tensor:
    """In-place version of `ldexp`."""
    chosen, operand = _scaling(input, other)
    return chosen.operation.inplace(input, operand)


# ---- neighbours


@pointwise(
    method=False, integers=False, low=-2.0, high=2.0,
    numpy=None,
    grad=lambda g, input, other: (s.where(input == other, 0.0, g), 0.0),
)  # fmt: skip
def _nextafter(input, other):
    """The next number of the dtype after `input` towards `other`."""
    return s.nextafter(input, other)


@pointwise(
    method=False,
    numpy=None,
    grad=lambda g, input, other, bits: (s.where(input == other, 0.0, g), 0.0, 0.0),
)
def _chosen_neighbour(input, other, bits):
    """The neighbour that was found, nan where an operand is."""
    return s.where(s.isnan(input) | s.isnan(other), s.nan, bits)


@method("nextafter")
@writes
@without_gradient
def nextafter(input: Tensor, other: Tensor) -> Tensor:
    """The next number of the dtype after `input` towards `other`."""
    kind = common_dtype([input._layout, other._layout])
    if kind.itemsize != 2:
        return _nextafter(input, other)
    # Kernels compute with float32, so the steps are those of the bits.
    input, other = broadcast_tensors(to_dtype(input, kind), to_dtype(other, kind))
    x, y = contiguous(input.detach()), contiguous(other.detach())
    bits = x.view(dtypes.int16)
    moved = where(((x < y) ^ (x < 0)), bits + 1, bits - 1)
    least = where(y < 0, -0x7FFF, 1).to(dtypes.int16)
    moved = where(x == y, y.view(dtypes.int16), where(x == 0, least, moved))
    return _chosen_neighbour(input, other, moved.view(kind))


@method("nextafter_")
@without_gradient
def nextafter_(input: Tensor, other: Tensor) -> Tensor:
    """In-place version of `nextafter`."""
    if input._layout.dtype.itemsize == 2:
        return input.copy_(nextafter(input, other))
    return _nextafter.operation.inplace(input, other)


# ---- powers and logarithms


@pointwise(promote="floating", numpy=np.logaddexp2, samples=(-1000.0, 1000.0), integers=False)
def logaddexp2(input, other):
    """log2(2^input + 2^other); does not overflow."""
    big, small = s.maximum(input, other), s.minimum(input, other)
    return s.where(
        input == other, big + 1.0, big + s.log1p(s.exp2(small - big)) * (1 / math.log(2))
    )


def _double(value: Any) -> Any:
    return to_dtype(value, dtypes.float64) if isinstance(value, Tensor) else float(value)


@method("float_power")
@writes
@takes("all")
def float_power(input: Any, exponent: Any) -> Tensor:
    """input ** exponent, computed in float64."""
    return pow(_double(input), _double(exponent))


@method("float_power_")
def float_power_(input: Tensor, exponent: Any) -> Tensor:
    """In-place version of `float_power`; the tensor must be of float64."""
    if input._layout.dtype is not dtypes.float64:
        raise DtypeError(
            f"float_power_: the base given to float_power_ has dtype {input._layout.dtype} but the "
            "operation's result requires dtype Double. Use float_power."
        )
    return pow_(input, _double(exponent))


# ---- constants of a shape


@method("isreal")
def isreal(input: Tensor) -> Tensor:
    """Whether each element is real: always, for there are no complex dtypes."""
    return full_like(input.detach(), True, dtype=dtypes.bool)


def fill(input: Tensor, value: Any) -> Tensor:
    """A copy filled with a value, a number or a tensor of no dimensions."""
    return input.clone().fill_(value)
