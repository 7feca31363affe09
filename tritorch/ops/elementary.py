"""Functions of one number: exponentials, trigonometry, rounding, error function, classification."""

# The decorated functions are written in the scalar language, whose operands have no annotations.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math

import numpy as np

from tritorch.kernels import scalar as s
from tritorch.ops.declare import method, pointwise, writes
from tritorch.ops.special import trigamma
from tritorch.tensor import Tensor


def _vectorised(function):
    """A function of one float as one of float64 arrays."""
    return np.vectorize(function, otypes=[np.float64])


def _log_gamma(x: float) -> float:
    return math.inf if (x <= 0 and x % 1 == 0) or math.isinf(x) else math.lgamma(x)


# ---- exponentials and logarithms


@pointwise(promote="float", numpy=np.exp, inplace=True, samples=(88.0, -104.0, 100.0, -1000.0))
def exp(input):
    """e ** input."""
    return s.exp(input)


@pointwise(promote="float", numpy=np.exp2, inplace=True)
def exp2(input):
    """2 ** input."""
    return s.exp2(input)


@pointwise(promote="float", numpy=np.expm1, inplace=True, samples=(1e-8, 88.0, -50.0))
def expm1(input):
    """e ** input - 1, exact near 0."""
    return s.expm1(input)


@pointwise(promote="float", numpy=np.log, inplace=True, low=0.05, high=9.0, samples=(0.0, -1.0))
def log(input):
    """The natural logarithm; -inf at 0, nan below."""
    return s.log(input)


@pointwise(promote="float", numpy=np.log2, inplace=True, low=0.05, high=9.0, samples=(0.0, -1.0))
def log2(input):
    """The logarithm to base 2."""
    return s.log2(input)


@pointwise(promote="float", numpy=np.log10, inplace=True, low=0.05, high=9.0, samples=(0.0, -1.0))
def log10(input):
    """The logarithm to base 10."""
    return s.log10(input)


@pointwise(promote="float", numpy=np.log1p, inplace=True, low=-0.9, samples=(1e-8, -1.0, -2.0))
def log1p(input):
    """log(1 + input), exact near 0."""
    return s.log1p(input)


@pointwise(promote="floating", numpy=np.logaddexp, samples=(-1000.0, 1000.0), integers=False)
def logaddexp(input, other):
    """log(exp(input) + exp(other)); does not overflow."""
    big, small = s.maximum(input, other), s.minimum(input, other)
    return s.where(input == other, big + math.log(2), big + s.log1p(s.exp(small - big)))


# ---- trigonometric and hyperbolic


@pointwise(promote="float", numpy=np.sin, inplace=True, samples=(100.0, 1e4))
def sin(input):
    """The sine."""
    return s.sin(input)


@pointwise(promote="float", numpy=np.cos, inplace=True, samples=(100.0, 1e4))
def cos(input):
    """The cosine."""
    return s.cos(input)


@pointwise(promote="float", numpy=np.tan, inplace=True, low=-1.4, high=1.4)
def tan(input):
    """The tangent."""
    return s.tan(input)


@pointwise(
    promote="float", numpy=np.arcsin, inplace=True, low=-0.95, high=0.95, aliases=("arcsin",)
)
def asin(input):
    """The angle in [-pi/2, pi/2] with this sine."""
    return s.asin(input)


@pointwise(
    promote="float", numpy=np.arccos, inplace=True, low=-0.95, high=0.95, aliases=("arccos",)
)
def acos(input):
    """The angle in [0, pi] with this cosine."""
    return s.acos(input)


@pointwise(promote="float", numpy=np.arctan, inplace=True, aliases=("arctan",))
def atan(input):
    """The angle in (-pi/2, pi/2) with this tangent."""
    return s.atan(input)


@pointwise(promote="float", numpy=np.sinh, inplace=True)
def sinh(input):
    """The hyperbolic sine."""
    return s.sinh(input)


@pointwise(promote="float", numpy=np.cosh, inplace=True)
def cosh(input):
    """The hyperbolic cosine."""
    return s.cosh(input)


@pointwise(promote="float", numpy=np.tanh, inplace=True, samples=(1e4, -1e4, 20.0, 1e-8))
def tanh(input):
    """The hyperbolic tangent."""
    return s.tanh(input)


@pointwise(promote="float", numpy=np.arcsinh, inplace=True, aliases=("arcsinh",))
def asinh(input):
    """The inverse of sinh."""
    return s.asinh(input)


@pointwise(promote="float", numpy=np.arccosh, inplace=True, low=1.1, high=5.0, aliases=("arccosh",))
def acosh(input):
    """The inverse of cosh; nan below 1."""
    return s.acosh(input)


@pointwise(
    promote="float", numpy=np.arctanh, inplace=True, low=-0.95, high=0.95, aliases=("arctanh",)
)
def atanh(input):
    """The inverse of tanh."""
    return s.atanh(input)


arcsin, arccos, arctan = asin, acos, atan
arcsinh, arccosh, arctanh = asinh, acosh, atanh


@pointwise(promote="float", numpy=np.deg2rad, inplace=True)
def deg2rad(input):
    """Degrees to radians."""
    return input * (math.pi / 180)


@pointwise(promote="float", numpy=np.rad2deg, inplace=True)
def rad2deg(input):
    """Radians to degrees."""
    return input * (180 / math.pi)


@pointwise(promote="float", numpy=np.sinc, inplace=True, low=0.2)
def sinc(input):
    """sin(pi x) / (pi x), 1 at 0."""
    return s.where(input == 0, 1.0, s.sin(math.pi * input) / (math.pi * input))


# ---- error function, gamma, logistic


@pointwise(promote="float", numpy=_vectorised(math.erf), inplace=True)
def erf(input):
    """The error function."""
    return s.erf(input)


@pointwise(promote="float", numpy=_vectorised(math.erfc), inplace=True)
def erfc(input):
    """1 - erf(input), exact where that is small."""
    return s.erfc(input)


@pointwise(promote="float", inplace=True, low=-0.95, high=0.95, numpy=None)
def erfinv(input):
    """The inverse of erf."""
    return s.erfinv(input)


@pointwise(
    promote="float", inplace=True, low=0.2, high=8.0,
    numpy=_vectorised(_log_gamma),
)  # fmt: skip
def lgamma(input):
    """The logarithm of the absolute value of the gamma function."""
    return s.lgamma(input)


@pointwise(
    promote="float", inplace=True, low=0.2, high=8.0, numpy=None,
    grad=lambda g, input: g * trigamma(input),
)  # fmt: skip
def digamma(input):
    """The derivative of lgamma."""
    return s.digamma(input)


@pointwise(
    promote="float",
    inplace=True,
    samples=(100.0, -100.0, 1000.0, -1000.0),
    numpy=lambda x: np.where(
        x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x)))
    ),
    grad=lambda g, result: g * (result * (1.0 - result)),
)
def sigmoid(input):
    """1 / (1 + exp(-input))."""
    return s.sigmoid(input)


@pointwise(
    promote="float",
    inplace=True,
    low=0.05,
    high=0.95,
    numpy=lambda p: np.log(p / (1 - p)),
    grad=lambda g, input: s.where((input < 0) | (input > 1), math.nan, g / (input * (1.0 - input))),
)
def _logit(input):
    """log(p / (1 - p))."""
    return s.log(input / (1.0 - input))


@pointwise(
    promote="float", method=False, low=0.05, high=0.95, node="LogitBackward0",
    numpy=lambda p, eps: np.log(np.clip(p, eps, 1 - eps) / (1 - np.clip(p, eps, 1 - eps))),
    calls=({"eps": 0.1},),
    grad=lambda g, input, eps: (
        s.where((input < eps) | (input > 1.0 - eps), 0.0, g / (input * (1.0 - input)))
    ),
)  # fmt: skip
def _logit_within(input, eps: float):
    """log(p / (1 - p)) of the input limited to [eps, 1 - eps]."""
    p = s.where(input < eps, eps, s.where(input > 1.0 - eps, 1.0 - eps, input))
    return s.log(p / (1.0 - p))


@method("logit")
@writes
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """log(p / (1 - p)) of p = input, limited to [eps, 1 - eps] where that is given."""
    return _logit(input) if eps is None or eps < 0 else _logit_within(input, eps)


@method("logit_")
def logit_(input: Tensor, eps: float | None = None) -> Tensor:
    """In-place version of `logit`."""
    if eps is None or eps < 0:
        return _logit.operation.inplace(input)
    return _logit_within.operation.inplace(input, eps)


# ---- rounding and sign; their gradients are zero


@pointwise(numpy=np.floor, promote="numeric", inplace=True)
def floor(input):
    """The largest whole number that is not greater."""
    return s.floor(input)


@pointwise(numpy=np.ceil, promote="numeric", inplace=True)
def ceil(input):
    """The smallest whole number that is not smaller."""
    return s.ceil(input)


@pointwise(numpy=np.trunc, promote="numeric", inplace=True, aliases=("fix",))
def trunc(input):
    """The whole number towards zero."""
    return s.trunc(input)


fix = trunc


@pointwise(numpy=np.rint, promote="numeric", method=False, samples=(0.5, 1.5, 2.5, -0.5))
def _round(input):
    """The nearest whole number, halves to even."""
    return s.round(input)


@pointwise(numpy=None, promote="floating", method=False)
def _round_decimals(input, scale: float):
    """The nearest multiple of 1 / scale."""
    return s.round(input * scale) / scale


@method("round", "__round__")
def round(input: Tensor, *, decimals: int = 0, out: Tensor | None = None) -> Tensor:
    """The nearest number with so many decimals, halves to even."""
    if decimals == 0:
        return _round(input, out=out)
    return _round_decimals(input, 10.0**decimals, out=out)


@method("round_")
def round_(input: Tensor, *, decimals: int = 0) -> Tensor:
    """In-place version of `round`."""
    if decimals == 0:
        return _round.operation.inplace(input)
    return _round_decimals.operation.inplace(input, 10.0**decimals)


@pointwise(numpy=lambda x: x - np.trunc(x), promote="floating", inplace=True, integers=False)
def frac(input):
    """input without its whole part; it keeps the sign."""
    return input - s.trunc(input)


@pointwise(numpy=lambda x: np.nan_to_num(np.sign(x)), inplace=True, aliases=("sgn",))
def sign(input):
    """-1, 0 or 1."""
    return s.sign(input)


sgn = sign


@pointwise(promote="bool", numpy=np.signbit)
def signbit(input):
    """Whether the sign is negative, -0.0 included."""
    return s.copysign(1.0, input) < 0


@pointwise(numpy=lambda x, v: np.where(x == 0, v, x > 0), inplace=True)
def heaviside(input, values):
    """0 below 0 and for nan, 1 above, `values` at 0."""
    return s.where(input == 0, values, s.where(input > 0, 1, 0))


# ---- what kind of number


@pointwise(promote="bool", numpy=np.isnan)
def isnan(input):
    """Whether each element is not a number."""
    return s.isnan(input)


@pointwise(promote="bool", numpy=np.isinf)
def isinf(input):
    """Whether each element is infinite."""
    return s.isinf(input)


@pointwise(promote="bool", numpy=np.isfinite)
def isfinite(input):
    """Whether each element is neither infinite nor nan."""
    return s.isfinite(input)


@pointwise(promote="bool", numpy=np.isposinf)
def isposinf(input):
    """Whether each element is +inf."""
    return s.isinf(input) & (input > 0)


@pointwise(promote="bool", numpy=np.isneginf)
def isneginf(input):
    """Whether each element is -inf."""
    return s.isinf(input) & (input < 0)


@pointwise(
    method=False,
    numpy=lambda x, nan, posinf, neginf: np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf),
    integers=False,
    calls=({"nan": 0.5, "posinf": 9.0, "neginf": -9.0},),
)
def _nan_to_num(input, nan: float, posinf: float, neginf: float):
    """input with nan and infinities replaced."""
    finite = s.where(s.isinf(input), s.where(input > 0, posinf, neginf), input)
    return s.where(s.isnan(input), nan, finite)


def _replacements(input: Tensor, nan, posinf, neginf):
    limits = _limits(input._layout.dtype)
    return (
        float(0.0 if nan is None else nan),
        float(limits[1] if posinf is None else posinf),
        float(limits[0] if neginf is None else neginf),
    )


@method("nan_to_num")
@writes
def nan_to_num(
    input: Tensor,
    nan: float | None = None,
    posinf: float | None = None,
    neginf: float | None = None,
) -> Tensor:
    """nan (by 0), inf and -inf replaced; the infinities by the dtype's limits unless given."""
    if not input._layout.dtype.is_floating_point:
        return input.clone()
    return _nan_to_num(input, *_replacements(input, nan, posinf, neginf))


@method("nan_to_num_")
def nan_to_num_(
    input: Tensor,
    nan: float | None = None,
    posinf: float | None = None,
    neginf: float | None = None,
) -> Tensor:
    """In-place version of `nan_to_num`."""
    if not input._layout.dtype.is_floating_point:
        return input
    return _nan_to_num.operation.inplace(input, *_replacements(input, nan, posinf, neginf))


def _limits(kind):
    from tritorch.dtypes import finfo

    found = finfo(kind)
    return found.min, found.max
