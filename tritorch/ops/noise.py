"""Noise of layers: dropout of whole channels, dropout for self-normalising nets, random slopes."""

from __future__ import annotations

import math
from typing import Any

from tritorch.dtypes import finfo
from tritorch.ops.activation import leaky_relu
from tritorch.ops.comparison import where
from tritorch.ops.creation import full, zeros_like
from tritorch.ops.declare import takes
from tritorch.ops.normalization import softmax
from tritorch.ops.random import bernoulli_, dropout, rand_like
from tritorch.ops.views import squeeze, unsqueeze
from tritorch.tensor import Tensor

#: minus the limit of SELU on the left
_ALPHA = 1.7580993408473766


def _check(name: str, p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{name}: dropout probability has to be between 0 and 1, but got {p}.")


def _kept(input: Tensor, p: float, channels: bool) -> Tensor:
    """1 with probability 1 - p, else 0: per element, or per channel of each sample."""
    layout = input._layout
    shape = layout.shape
    if channels:
        if layout.ndim < 2:
            raise RuntimeError(
                "Feature dropout requires at least 2 dimensions in the input, got "
                f"{layout.ndim}. Use dropout."
            )
        shape = (*shape[:2], *[1] * (layout.ndim - 2))
    return bernoulli_(full(shape, 0.0, dtype=layout.dtype, device=layout.device), 1.0 - p)


def _finish(input: Tensor, result: Tensor, inplace: bool) -> Tensor:
    return input.copy_(result) if inplace else result


@takes("floating", "integers", "bool")
def feature_dropout(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Channels (dimension 1) dropped with probability p, the others divided by 1 - p.

    Source: Tompson et al., Efficient object localization using convolutional networks, 2015.
    """
    _check("feature_dropout", p)
    if not training or p == 0 or not input._layout.numel:
        return input
    mask = _kept(input, p, True)
    return _finish(input, input * (mask if p == 1 else mask / (1.0 - p)), inplace)


def _batched(
    name: str, dims: int, input: Tensor, p: float, training: bool, inplace: bool
) -> Tensor:
    ndim = input._layout.ndim
    if ndim not in (dims + 1, dims + 2):
        raise RuntimeError(
            f"{name}: expected {dims + 1}D or {dims + 2}D input, but received a {ndim}D input."
        )
    if ndim == dims + 2:
        return feature_dropout(input, p, training, inplace)
    return squeeze(feature_dropout(unsqueeze(input, 0), p, training, inplace), 0)


def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Whole channels of (N, C, L) or (C, L) dropped, see `feature_dropout`."""
    return _batched("dropout1d", 1, input, p, training, inplace)


@takes("all")
def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Whole channels of (N, C, H, W) dropped; (N, C, L) is taken for a batch, as by PyTorch."""
    return feature_dropout(input, p, training, inplace)


def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Whole channels of (N, C, D, H, W) or (C, D, H, W) dropped, see `feature_dropout`."""
    return _batched("dropout3d", 3, input, p, training, inplace)


def _alpha_dropout(input: Tensor, p: float, training: bool, inplace: bool, channels: bool) -> Any:
    _check("alpha_dropout", p)
    if not input._layout.numel or not training or p == 0:
        return input
    if p == 1:
        return _finish(input, input * 0, inplace)
    scale = 1.0 / math.sqrt((_ALPHA * _ALPHA * p + 1.0) * (1.0 - p))
    kept = _kept(input, p, channels)
    shift = (kept - 1.0) * (_ALPHA * scale) + _ALPHA * scale * p
    return _finish(input, input * (kept * scale) + shift, inplace)


@takes("floating", "integers")
def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Elements set to SELU's lower limit, all then moved so that mean and variance stay.

    Source: Klambauer et al., Self-normalizing neural networks, 2017.
    """
    return _alpha_dropout(input, p, training, inplace, False)


@takes("floating", "integers")
def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """`alpha_dropout` of whole channels."""
    return _alpha_dropout(input, p, training, inplace, True)


def rrelu(
    input: Tensor,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """Leaky ReLU of a random slope in [lower, upper] per element; of the middle one in evaluation.

    Source: Xu et al., Empirical evaluation of rectified activations, 2015.
    """
    if lower > upper:
        raise RuntimeError(
            f"rrelu: Lower bound should be less than or equal to the upper bound, got {lower} and "
            f"{upper}."
        )
    if not training:
        middle = (lower + upper) / 2
        return leaky_relu.operation.inplace(input, middle) if inplace else leaky_relu(input, middle)
    slopes = rand_like(input.detach()) * (upper - lower) + lower
    return _finish(input, input * where(input.detach() > 0, 1.0, slopes), inplace)


def gumbel_softmax(
    logits: Tensor, tau: float = 1.0, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """Random weights that approach a choice by the probabilities softmax(logits) as tau falls.

    Args:
        hard: the result is the choice itself (0 and 1), with the gradient of the soft weights.

    Source: Jang et al., Categorical reparameterization with Gumbel-softmax, 2017.
    """
    tiny = finfo(logits._layout.dtype).tiny  # the logarithm of 0 is infinite
    noise = -zeros_like(logits.detach()).exponential_().clamp_min(tiny).log()
    soft = softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    chosen = soft.detach().argmax(dim, keepdim=True)
    return zeros_like(soft.detach()).scatter(dim, chosen, 1.0) - soft.detach() + soft


__all__ = [
    "alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout",
    "feature_dropout", "gumbel_softmax", "rrelu",
]  # fmt: skip
