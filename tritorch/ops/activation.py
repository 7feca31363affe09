"""Activation functions; `nn.functional` takes them from here."""

# The decorated functions are written in the scalar language, whose operands have no annotations.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tritorch.kernels import scalar as s
from tritorch.layout import normalize_dim
from tritorch.ops.declare import method, pointwise
from tritorch.tensor import Tensor

_erf = np.vectorize(math.erf, otypes=[np.float64])
_BIG = (1e4, -1e4, 88.0, -88.0)
#: the fixed point of SELU. Source: Klambauer et al., 2017
_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


@pointwise(
    numpy=lambda x: np.where(x < 0, 0.0, x), promote="numeric", inplace=True, samples=(0.0,),
    grad=lambda g, result: s.where(result <= 0, 0.0, g),
)  # fmt: skip
def relu(input):
    """max(input, 0); nan stays nan. The gradient at 0 is 0."""
    return s.where(input < 0, 0, input)


@pointwise(numpy=lambda x: np.clip(x, 0, 6), inplace=True, method=False, node="HardtanhBackward0")
def relu6(input):
    """min(max(input, 0), 6)."""
    return s.where(input <= 0, 0.0, s.where(input >= 6, 6.0, input))


@pointwise(
    promote="floating",
    numpy=lambda x, negative_slope: np.where(x > 0, x, negative_slope * x),
    inplace=True,
    method=False,
    calls=({}, {"negative_slope": 0.2}),
    grad=lambda g, input, negative_slope: g * s.where(input > 0, 1.0, negative_slope),
)
def leaky_relu(input, negative_slope: float = 0.01):
    """input where positive, else negative_slope * input."""
    return s.where(input > 0, input, input * negative_slope)


@pointwise(
    promote="floating",
    numpy=lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))), inplace=True,
    method=False, calls=({}, {"alpha": 0.5}), samples=_BIG,
)  # fmt: skip
def elu(input, alpha: float = 1.0):
    """input where positive, else alpha * (exp(input) - 1)."""
    return s.where(input > 0, input, alpha * s.expm1(s.where(input > 0, 0.0, input)))


@pointwise(
    promote="floating",
    numpy=lambda x: _SELU_SCALE * np.where(x > 0, x, _SELU_ALPHA * np.expm1(np.minimum(x, 0))),
    inplace=True, method=False, samples=_BIG, node="EluBackward0",
)  # fmt: skip
def selu(input):
    """The self-normalising ELU. Source: Klambauer et al., 2017."""
    bend = _SELU_ALPHA * s.expm1(s.where(input > 0, 0.0, input))
    return _SELU_SCALE * s.where(input > 0, input, bend)


@pointwise(
    promote="floating",
    numpy=lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha)),
    inplace=True, method=False, calls=({}, {"alpha": 0.5}), samples=_BIG,
)  # fmt: skip
def celu(input, alpha: float = 1.0):
    """max(0, input) + min(0, alpha * (exp(input / alpha) - 1))."""
    return s.where(input > 0, input, alpha * s.expm1(s.where(input > 0, 0.0, input) / alpha))


def _sigmoid(x):
    return 0.5 * (1 + np.tanh(x / 2))


@pointwise(
    promote="floating",
    numpy=lambda x: x * _sigmoid(x),
    inplace=True,
    method=False,
    samples=_BIG,
)
def silu(input):
    """input * sigmoid(input), also called swish."""
    return input * s.sigmoid(input)


def _mish_gradient(g, input):
    t = s.tanh(_soft(input))
    return g * (t + input * (1.0 - t * t) * s.sigmoid(input))


def _soft(x):
    return s.maximum(x, 0.0) + s.log1p(s.exp(-s.abs(x)))


@pointwise(
    promote="floating",
    numpy=lambda x: x * np.tanh(np.logaddexp(x, 0)), inplace=True, method=False, samples=_BIG,
    grad=_mish_gradient,
)  # fmt: skip
def mish(input):
    """input * tanh(softplus(input)). Source: Misra, 2019."""
    return input * s.tanh(_soft(input))


@pointwise(
    promote="floating",
    numpy=lambda x: x * 0.5 * (1 + _erf(x / math.sqrt(2))), method=False,
    samples=(1e4, -1e4, 9.0, -9.0), node="GeluBackward0",
)  # fmt: skip
def _gelu(input):
    """input times the normal distribution function of input."""
    return input * (0.5 * s.one_plus_erf(input * math.sqrt(0.5)))


@pointwise(
    promote="floating",
    numpy=lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    method=False, samples=(100.0, -100.0, 9.0, -9.0), node="GeluBackward0",
)  # fmt: skip
def _gelu_tanh(input):
    """An approximation of gelu by tanh."""
    inner = math.sqrt(2 / math.pi) * (input + 0.044715 * (input * input * input))
    return 0.5 * input * s.one_plus_tanh(inner)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x times the normal distribution function of x; `approximate="tanh"` for a faster formula.

    Source: Hendrycks and Gimpel, Gaussian Error Linear Units, 2016.
    """
    if approximate == "none":
        return _gelu(input)
    if approximate == "tanh":
        return _gelu_tanh(input)
    raise RuntimeError(f"approximate argument must be either none or tanh, got {approximate!r}.")


def _softplus_gradient(g, input, beta, threshold):
    return s.where(input * beta > threshold, g, g * s.sigmoid(input * beta))


@pointwise(
    promote="floating", method=False, samples=_BIG, grad=_softplus_gradient,
    numpy=lambda x, beta, threshold: np.where(
        x * beta > threshold, x, np.logaddexp(x * beta, 0) / beta
    ),
    calls=({}, {"beta": 2.0}, {"threshold": 1.0}),
)  # fmt: skip
def softplus(input, beta: float = 1.0, threshold: float = 20.0):
    """log(1 + exp(beta * input)) / beta; linear above the threshold. Source: Dugas et al., 2001."""
    return s.where(input * beta > threshold, input, _soft(input * beta) / beta)


@pointwise(
    promote="floating", method=False, samples=_BIG, numpy=lambda x: -np.logaddexp(-x, 0),
    grad=lambda g, input: g * s.sigmoid(-input), node="LogSigmoidBackward0",
    row_major=True,
)  # fmt: skip
def logsigmoid(input):
    """log(sigmoid(input)); does not underflow."""
    return s.minimum(input, 0.0) - s.log1p(s.exp(-s.abs(input)))


@pointwise(
    numpy=lambda x, min_val, max_val: np.clip(x, min_val, max_val), inplace=True, method=False,
    calls=({}, {"min_val": -0.5, "max_val": 2.0}), integers=False,
)  # fmt: skip
def hardtanh(input, min_val: float = -1.0, max_val: float = 1.0):
    """input limited to [min_val, max_val]; no gradient at the limits."""
    return s.where(input <= min_val, min_val, s.where(input >= max_val, max_val, input))


@pointwise(
    promote="floating",
    numpy=lambda x: np.clip(x / 6 + 0.5, 0, 1),
    inplace=True,
    method=False,
)
def hardsigmoid(input):
    """A piecewise linear sigmoid: input / 6 + 1/2 between -3 and 3."""
    return s.where(input <= -3, 0.0, s.where(input >= 3, 1.0, input * (1 / 6) + 0.5))


@pointwise(
    promote="floating",
    numpy=lambda x: x * np.clip(x / 6 + 0.5, 0, 1), inplace=True, method=False,
    grad=lambda g, input: s.where(
        input <= -3, 0.0, s.where(input < 3, g * (input * (1 / 3) + 0.5), g)
    ),
)  # fmt: skip
def hardswish(input):
    """input * hardsigmoid(input). Source: Howard et al., MobileNetV3, 2019."""
    gate = s.where(input <= -3, 0.0, s.where(input >= 3, 1.0, input * (1 / 6) + 0.5))
    return input * gate


@pointwise(
    promote="floating",
    numpy=lambda x, lambd: np.where(np.abs(x) <= lambd, 0, x),
    method=False,
    calls=({}, {"lambd": 1.0}),
)
def hardshrink(input, lambd: float = 0.5):
    """input where it is larger than lambd in size, else 0."""
    return s.where((input <= lambd) & (input >= -lambd), 0.0, input)


@pointwise(
    promote="floating",
    numpy=lambda x, lambd: np.where(
        x > lambd, x - lambd, np.where(x < -lambd, x + lambd, np.where(np.isnan(x), x, 0))
    ),
    method=False, calls=({}, {"lambd": 1.0}),
)  # fmt: skip
def softshrink(input, lambd: float = 0.5):
    """input, moved towards 0 by lambd."""
    inside = s.where(s.isnan(input), input, 0.0)
    return s.where(input > lambd, input - lambd, s.where(input < -lambd, input + lambd, inside))


@pointwise(promote="float", numpy=lambda x: x - np.tanh(x), method=False, integers=False)
def tanhshrink(input):
    """input - tanh(input)."""
    return input - s.tanh(input)


@pointwise(
    promote="float", numpy=lambda x: x / (1 + np.abs(x)), method=False, integers=False, low=0.1
)
def softsign(input):
    """input / (1 + |input|)."""
    return input / (1.0 + s.abs(input))


@pointwise(
    numpy=lambda x, threshold, value: np.where(x <= threshold, value, x),
    promote="numeric",
    inplace=True,
    method=False,
    calls=({"threshold": 0.5, "value": 9.0},),
    integers=False,
)
def threshold(input, threshold: float, value: float):
    """input where it exceeds the threshold, else value."""
    return s.where(input <= threshold, value, input)


@pointwise(promote="floating", numpy=lambda x, w: np.where(x > 0, x, w * x), method=False)
def _prelu(input, weight):
    """input where positive, else weight * input."""
    return s.where(input > 0, input, weight * input)


@method("prelu")
def prelu(input: Tensor, weight: Any) -> Tensor:
    """input where positive, else weight * input; a weight per channel (dimension 1) or one for
    all.
    """
    if weight.numel() != 1:
        channels = input._layout.shape[1] if input._layout.ndim > 1 else 1
        if weight.numel() != channels:
            raise RuntimeError(
                f"prelu: Mismatch of parameter numbers and input channel size. Found parameter "
                f"numbers = {weight.numel()} and channel size = {channels}."
            )
        weight = weight.reshape(1, -1, *[1] * (input._layout.ndim - 2))
    return _prelu(input, weight)


@pointwise(
    promote="floating",
    numpy=lambda a, b: a / (1 + np.exp(-b)),
    method=False,
    node="GluBackward0",
)
def _glu(input, gate):
    """input * sigmoid(gate)."""
    return input * s.sigmoid(gate)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half of `dim` times sigmoid of the second. Source: Dauphin et al., 2017."""
    normalize_dim("glu", dim, input._layout.ndim)
    size = input._layout.shape[dim] if input._layout.ndim else 1
    if size % 2:
        raise RuntimeError(
            f"glu: Halving dimension must be even, but dimension {dim} is size {size}. Pad or cut "
            "it."
        )
    return _glu(*input.chunk(2, dim))


relu_ = relu.operation.inplace
