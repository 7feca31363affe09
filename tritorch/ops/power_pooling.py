"""Power-average pooling, and the normalisation that divides by a power of a local average."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tritorch.layout import Layout
from tritorch.ops.activation import relu
from tritorch.ops.arithmetic import abs, div, mul, pow
from tritorch.ops.declare import operation, takes
from tritorch.ops.elementary import sign
from tritorch.ops.padding import pad
from tritorch.ops.pooling import (
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)
from tritorch.ops.pooling_arguments import numbers
from tritorch.ops.views import reshape, squeeze
from tritorch.tensor import Tensor

_AVERAGES = {1: avg_pool1d, 2: avg_pool2d, 3: avg_pool3d}
_MAXIMA = {1: max_pool1d, 2: max_pool2d, 3: max_pool3d}


def _lp_pool(
    count: int, input: Tensor, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool
) -> Tensor:
    kernel = numbers(f"lp_pool{count}d", "kernel_size", kernel_size, count)
    if norm_type in (math.inf, -math.inf):
        sign_of = 1 if norm_type > 0 else -1
        largest = _MAXIMA[count](abs(input) * sign_of, kernel, stride, 0, 1, ceil_mode)
        return mul(largest, sign_of)
    mean = _AVERAGES[count](pow(input, norm_type), kernel, stride, 0, ceil_mode)
    elements = 1
    for size in kernel:
        elements *= size
    positive = mul(sign(mean), relu(abs(mean)))
    result: Tensor = pow(mul(positive, elements), 1.0 / norm_type)
    return result


def _numpy_lp(count: int) -> Any:
    average = next(
        op.numpy for op in _registered() if op.name == f"avg_pool{count}d" and op.numpy is not None
    )

    def reference(
        x: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
    ) -> Any:
        mean = average(x**norm_type, kernel_size, stride, 0, ceil_mode)
        size = kernel_size**count if isinstance(kernel_size, int) else np.prod(kernel_size)
        return (np.sign(mean) * np.abs(mean) * size) ** (1 / norm_type)

    return reference


def _registered() -> Any:
    from tritorch.ops.declare import OPS

    return OPS


def _lp_cases(count: int) -> list[Any]:
    shapes = {1: (2, 3, 9), 2: (2, 2, 6, 5), 3: (1, 2, 4, 4, 3)}
    calls = [(2.0, 2, None, False), (3.0, 3, 2, False), (2.0, 2, 3, True), (1.0, 2, None, False)]
    return [lambda make, c=c: ((make(*shapes[count], low=0.2, high=2.0), *c), {}) for c in calls]


@operation("pooling", method=False, numpy=_numpy_lp(1), cases=_lp_cases(1))
@takes("floating", "float8", "bool")
def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of x ** p) ** (1 / p) over windows of the last dimension."""
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


@operation("pooling", method=False, numpy=_numpy_lp(2), cases=_lp_cases(2))
@takes("floating", "float8", "bool")
def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of x ** p) ** (1 / p) over windows of the last two dimensions."""
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


@operation("pooling", method=False, numpy=_numpy_lp(3), cases=_lp_cases(3))
@takes("floating", "float8", "bool")
def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of x ** p) ** (1 / p) over windows of the last three dimensions."""
    return _lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode)


def _numpy_lrn(x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Any:
    squares = x * x
    total = np.zeros_like(squares)
    for channel in range(x.shape[1]):
        first = max(channel - size // 2, 0)
        total[:, channel] = squares[:, first : channel + (size - 1) // 2 + 1].sum(1) / size
    return x / (k + alpha * total) ** beta


def _lrn_cases() -> list[Any]:
    shapes: list[Any] = [((2, 5, 3), 3), ((2, 4, 2, 3), 2), ((1, 3, 2, 2, 3), 5), ((2, 3, 0), 2)]
    return [
        lambda make, n=n, size=size: ((make(*n), size), {"alpha": 0.5, "beta": 0.7, "k": 1.5})
        for n, size in shapes
    ]


@operation("pooling", method=False, numpy=_numpy_lrn, cases=_lrn_cases())
def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """x / (k + alpha * mean of x² over `size` neighbouring channels) ** beta.

    Source: Krizhevsky, Sutskever and Hinton, ImageNet Classification with Deep Convolutional
    Neural Networks, 2012.
    """
    layout: Layout = input._layout
    if layout.ndim < 3:
        raise ValueError(
            f"Expected 3D or higher dimensionality input (got {layout.ndim} dimensions)"
        )
    if not layout.numel:
        return input
    squares = reshape(mul(input, input), layout.shape[0], 1, layout.shape[1], -1)
    padded = pad(squares, (0, 0, size // 2, (size - 1) // 2))
    mean = reshape(squeeze(avg_pool2d(padded, (size, 1), stride=1), 1), *layout.shape)
    result: Tensor = div(input, pow(mul(mean, alpha) + k, beta))
    return result
