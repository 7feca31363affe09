"""The functions behind the layers, with torch.nn.functional's names and arguments.

Each is a declared operation of `tritorch.ops`; here is only what functional's signatures add,
`inplace`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tritorch.nn.grouped import grouped_mm
from tritorch.nn.linear_cross_entropy import linear_cross_entropy
from tritorch.nn.multi_head_attention import multi_head_attention_forward
from tritorch.ops import activation as _activation
from tritorch.ops.activation import (
    gelu,
    glu,
    hardshrink,
    logsigmoid,
    prelu,
    softplus,
    softshrink,
    softsign,
    tanhshrink,
)
from tritorch.ops.adaptive_pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
)
from tritorch.ops.attention import scaled_dot_product_attention
from tritorch.ops.batch_norm import batch_norm, group_norm, instance_norm
from tritorch.ops.convolution import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from tritorch.ops.declare import takes as _takes
from tritorch.ops.distance import pdist
from tritorch.ops.elementary import sigmoid, tanh
from tritorch.ops.embedding_bag import embedding_bag
from tritorch.ops.fractional_pooling import fractional_max_pool2d, fractional_max_pool3d
from tritorch.ops.grid_sample import affine_grid, grid_sample
from tritorch.ops.interpolate import interpolate
from tritorch.ops.joining import one_hot
from tritorch.ops.linalg import bilinear, linear
from tritorch.ops.loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cosine_similarity,
    cross_entropy,
    huber_loss,
    kl_div,
    l1_loss,
    nll_loss,
    reduction_of,
    smooth_l1_loss,
)
from tritorch.ops.loss import mse_loss as _mse_loss
from tritorch.ops.margin_loss import (
    cosine_embedding_loss,
    ctc_loss,
    gaussian_nll_loss,
    hinge_embedding_loss,
    margin_ranking_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    pairwise_distance,
    poisson_nll_loss,
    soft_margin_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from tritorch.ops.noise import (
    alpha_dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
    gumbel_softmax,
    rrelu,
)
from tritorch.ops.normalization import (
    embedding,
    layer_norm,
    log_softmax,
    rms_norm,
    softmax,
    softmin,
)
from tritorch.ops.padding import pad
from tritorch.ops.pooling import (
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    max_pool1d,
    max_pool1d_with_indices,
    max_pool2d,
    max_pool2d_with_indices,
    max_pool3d,
    max_pool3d_with_indices,
)
from tritorch.ops.power_pooling import local_response_norm, lp_pool1d, lp_pool2d, lp_pool3d
from tritorch.ops.random import dropout
from tritorch.ops.refusal import refuse as _refuse
from tritorch.ops.shuffle import channel_shuffle, pixel_shuffle, pixel_unshuffle
from tritorch.ops.unpooling import max_unpool1d, max_unpool2d, max_unpool3d
from tritorch.ops.windows import fold, unfold
from tritorch.tensor import Tensor

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool1d_with_indices",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d",
    "adaptive_max_pool3d_with_indices",
    "affine_grid",
    "alpha_dropout",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "bilinear",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "celu",
    "celu_",
    "channel_shuffle",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_tbc",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cosine_embedding_loss",
    "cosine_similarity",
    "cross_entropy",
    "ctc_loss",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "elu",
    "elu_",
    "embedding",
    "embedding_bag",
    "feature_alpha_dropout",
    "fold",
    "fractional_max_pool2d",
    "fractional_max_pool2d_with_indices",
    "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices",
    "gaussian_nll_loss",
    "gelu",
    "glu",
    "grid_sample",
    "group_norm",
    "grouped_mm",
    "gumbel_softmax",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hardtanh_",
    "hinge_embedding_loss",
    "huber_loss",
    "instance_norm",
    "interpolate",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "leaky_relu_",
    "linear",
    "linear_cross_entropy",
    "local_response_norm",
    "log_softmax",
    "logsigmoid",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "margin_ranking_loss",
    "max_pool1d",
    "max_pool1d_with_indices",
    "max_pool2d",
    "max_pool2d_with_indices",
    "max_pool3d",
    "max_pool3d_with_indices",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "mish",
    "mse_loss",
    "multi_head_attention_forward",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "native_channel_shuffle",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "pairwise_distance",
    "pdist",
    "pixel_shuffle",
    "pixel_unshuffle",
    "poisson_nll_loss",
    "prelu",
    "relu",
    "relu6",
    "relu_",
    "rms_norm",
    "rrelu",
    "rrelu_",
    "scaled_dot_product_attention",
    "selu",
    "selu_",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "soft_margin_loss",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
    "threshold_",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
    "unfold",
    "upsample",
    "upsample_bilinear",
    "upsample_nearest",
]


def _with_inplace(name: str) -> Callable[..., Tensor]:
    """The operation of that name with a last argument `inplace`, as functional's signatures have
    it.
    """
    fresh = getattr(_activation, name)
    operation = fresh.operation
    in_place = operation.inplace
    count = len(operation.parameters)

    def function(input: Tensor, *options: Any, inplace: bool = False, **named: Any) -> Tensor:
        if len(options) > count:  # `inplace` was given by position
            *options, inplace = options  # type: ignore[assignment]
        result: Tensor = (in_place if inplace else fresh)(input, *options, **named)
        return result

    function.__name__ = function.__qualname__ = name
    function.__doc__ = fresh.__doc__
    return function


relu = _with_inplace("relu")
relu6 = _with_inplace("relu6")
leaky_relu = _with_inplace("leaky_relu")
elu = _with_inplace("elu")
selu = _with_inplace("selu")
celu = _with_inplace("celu")
silu = _with_inplace("silu")
mish = _with_inplace("mish")
hardtanh = _with_inplace("hardtanh")
hardsigmoid = _with_inplace("hardsigmoid")
hardswish = _with_inplace("hardswish")
threshold = _with_inplace("threshold")


def _in_place(name: str) -> Callable[..., Tensor]:
    """The in-place variant under functional's name for it."""
    operation: Callable[..., Tensor] = getattr(_activation, name).operation.inplace
    return operation


relu_ = _in_place("relu")
leaky_relu_ = _in_place("leaky_relu")
elu_ = _in_place("elu")
selu_ = _in_place("selu")
celu_ = _in_place("celu")
hardtanh_ = _in_place("hardtanh")
threshold_ = _in_place("threshold")


def rrelu_(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False
) -> Tensor:
    """`rrelu` in place."""
    return rrelu(input, lower, upper, training, True)


@_takes("floating", "float8")
def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """(input - target)², reduced by mean, sum or not at all."""
    chosen = reduction_of(size_average, reduce, reduction)
    return _mse_loss(input, target, reduction=chosen, weight=weight)


@_takes("floating", "float8")
def normalize(
    input: Tensor, p: float = 2.0, dim: int | Sequence[int] = 1, eps: float = 1e-12
) -> Tensor:
    """input / max(‖input‖_p, eps) along `dim`."""
    return input / input.norm(p, dim, keepdim=True).clamp_min(eps)


def _with_indices(pool: Callable[..., Any]) -> Callable[..., tuple[Tensor, Tensor]]:
    """An adaptive maximum that always gives (values, indices)."""

    @_takes("floating")
    def function(
        input: Tensor, output_size: Any, return_indices: bool = False
    ) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = pool(input, output_size, True)
        return found

    function.__name__ = function.__qualname__ = f"{pool.__name__}_with_indices"
    function.__doc__ = f"`{pool.__name__}` with the indices of the maxima."
    return function


adaptive_max_pool1d_with_indices = _with_indices(adaptive_max_pool1d)
adaptive_max_pool2d_with_indices = _with_indices(adaptive_max_pool2d)
adaptive_max_pool3d_with_indices = _with_indices(adaptive_max_pool3d)


@_takes("floating", "float8")
def fractional_max_pool2d_with_indices(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
    return_indices: bool = False, _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`fractional_max_pool2d` with the indices of the maxima."""
    return fractional_max_pool2d(
        input, kernel_size, output_size, output_ratio, True, _random_samples
    )


@_takes("floating", "float8")
def fractional_max_pool3d_with_indices(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
    return_indices: bool = False, _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`fractional_max_pool3d` with the indices of the maxima."""
    return fractional_max_pool3d(
        input, kernel_size, output_size, output_ratio, True, _random_samples
    )


@_takes("floating", "float8", "integers")
def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """`conv1d` of (time, batch, channels) with a weight (size, in_channels, out_channels)."""
    found = conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad)
    return found.permute(2, 0, 1)


native_channel_shuffle = channel_shuffle


@_takes("floating", "integers", "bool")
def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:  # fmt: skip
    """The older name of `interpolate`."""
    return interpolate(input, size, scale_factor, mode, align_corners)


@_takes("floating", "integers", "bool")
def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode="nearest"."""
    return interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode="bilinear" and align_corners=True."""
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)


_refuse(globals())
