"""BatchNorm folded into the layer before it, for evaluation."""

from __future__ import annotations

import copy
from typing import Any

import tritorch
from tritorch.nn.parameter import Parameter
from tritorch.tensor import Tensor


def _require_evaluation(layer: Any, bn: Any) -> None:
    if layer.training or bn.training:
        raise AssertionError("Fusion only for eval!")
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError("bn.running_mean and bn.running_var must not be None")


def _scale_and_shift(
    bias: Tensor | None, mean: Tensor, variance: Tensor, eps: float, weight: Tensor | None,
    offset: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """What the layer's outputs are multiplied by, and its new bias."""
    scale = (variance + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    shift = (-mean if bias is None else bias - mean) * scale
    return scale, shift if offset is None else shift + offset


@tritorch.no_grad()
def fuse_conv_bn_weights(
    conv_w: Tensor, conv_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float,
    bn_w: Tensor | None, bn_b: Tensor | None, transpose: bool = False,
) -> tuple[Parameter, Parameter]:  # fmt: skip
    """Weight and bias of a convolution that does what it and the BatchNorm after it did.

    Args:
        conv_w, conv_b: of the convolution.
        bn_rm, bn_rv, bn_eps, bn_w, bn_b: the BatchNorm's running statistics, eps, weight, bias.
        transpose: it is a transposed convolution.
    """
    scale, shift = _scale_and_shift(conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)
    shape = [1] * conv_w.dim()
    shape[1 if transpose else 0] = -1
    weight = (conv_w * scale.reshape(shape)).to(conv_w.dtype)
    bias = shift.to(conv_w.dtype if conv_b is None else conv_b.dtype)
    trained = conv_b.requires_grad if conv_b is not None else False
    return Parameter(weight, conv_w.requires_grad), Parameter(bias, trained)


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """A new convolution that does what `conv` and then `bn` do; both in evaluation mode."""
    _require_evaluation(conv, bn)
    fused = copy.deepcopy(conv)
    fused.weight, fused.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias,
        transpose,
    )  # fmt: skip
    return fused


@tritorch.no_grad()
def fuse_linear_bn_weights(
    linear_w: Tensor, linear_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float,
    bn_w: Tensor | None, bn_b: Tensor | None,
) -> tuple[Parameter, Parameter]:  # fmt: skip
    """Weight and bias of a linear layer that does what it and the BatchNorm after it did."""
    scale, shift = _scale_and_shift(linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)
    weight = linear_w * scale.unsqueeze(-1).to(linear_w.dtype)
    bias = shift.to(linear_w.dtype if linear_b is None else linear_b.dtype)
    trained = linear_b.requires_grad if linear_b is not None else False
    return Parameter(weight, linear_w.requires_grad), Parameter(bias, trained)


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """A new linear layer that does what `linear` and then `bn` do; both in evaluation mode."""
    _require_evaluation(linear, bn)
    if bn.num_features not in (1, linear.out_features):
        raise AssertionError(
            "To fuse, linear.out_features == bn.num_features or bn.num_features == 1, got "
            f"linear.out_features={linear.out_features} and bn.num_features={bn.num_features}"
        )
    fused = copy.deepcopy(linear)
    fused.weight, fused.bias = fuse_linear_bn_weights(
        linear.weight, linear.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )
    return fused
