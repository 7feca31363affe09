"""Pooling into as many windows as the result is to have elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from tritorch.ops.declare import operation, takes
from tritorch.ops.memory import contiguous
from tritorch.ops.pooling_arguments import (
    adaptive_window,
    check_dtype,
)
from tritorch.ops.pooling_nodes import (
    AdaptiveAvgPool1DBackward0,
    AdaptiveAvgPool2DBackward0,
    AdaptiveAvgPool3DBackward0,
    AdaptiveMaxPool1DBackward0,
    AdaptiveMaxPool2DBackward0,
    AdaptiveMaxPool3DBackward0,
    PoolNode,
    average,
    maximum,
)
from tritorch.ops.pooling_reference import (
    adaptive_cases,
    numpy_adaptive,
)
from tritorch.ops.reduction import mean as mean_
from tritorch.tensor import Tensor


def _adaptive_average(
    count: int, node_type: type[PoolNode], input: Tensor, output_size: Any
) -> Tensor:
    name = f"adaptive_avg_pool{count}d"
    input = contiguous(input) if count == 3 else input  # as PyTorch's, which keep no other format
    check_dtype(name, input._layout, integers=False)
    window = adaptive_window(name, input._layout, count, output_size, False)
    if window.out == (1, 1, 1):
        whole: Tensor = mean_(input, tuple(range(-count, 0)), True)
        return whole
    return average(input, window, node_type)


@operation("pooling", method=False, numpy=numpy_adaptive(1, np.mean), cases=adaptive_cases(1))
@takes("floating", "float8")
def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """The average over as many windows as the output is to have elements.

    Output o averages inputs floor(o * size / out) .. ceil((o + 1) * size / out) - 1.

    Shape: (N, C, L) or (C, L).
    """
    if input._layout.ndim not in (2, 3):
        raise RuntimeError(
            f"Expected 2 to 3 dimensions, but got {input._layout.ndim}-dimensional tensor for "
            "argument #1 'self' (while checking arguments for adaptive_avg_pool1d)"
        )
    return _adaptive_average(1, AdaptiveAvgPool1DBackward0, input, output_size)


@operation("pooling", method=False, numpy=numpy_adaptive(2, np.mean), cases=adaptive_cases(2))
@takes("floating", "float8")
def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """See `adaptive_avg_pool1d`; a size of None stays. Shape: (N, C, H, W) or (C, H, W)."""
    return _adaptive_average(2, AdaptiveAvgPool2DBackward0, input, output_size)


@operation("pooling", method=False, numpy=numpy_adaptive(3, np.mean), cases=adaptive_cases(3))
@takes("floating")
def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """See `adaptive_avg_pool1d`; a size of None stays. Shape: (N, C, D, H, W) or (C, D, H, W)."""
    return _adaptive_average(3, AdaptiveAvgPool3DBackward0, input, output_size)


def _adaptive_maximum(
    count: int, node_type: type[PoolNode], input: Tensor, output_size: Any, return_indices: bool
) -> Any:
    name = f"adaptive_max_pool{count}d"
    input = contiguous(input) if count == 3 else input
    check_dtype(name, input._layout, integers=False)
    window = adaptive_window(name, input._layout, count, output_size, True)
    result, indices = maximum(input, window, node_type, return_indices)
    return (result, indices) if return_indices else result


@operation("pooling", method=False, numpy=numpy_adaptive(1, np.max), cases=adaptive_cases(1))
@takes("floating", "float8")
def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The maximum over the windows of `adaptive_avg_pool1d`."""
    return _adaptive_maximum(1, AdaptiveMaxPool1DBackward0, input, output_size, return_indices)


@operation("pooling", method=False, numpy=numpy_adaptive(2, np.max), cases=adaptive_cases(2))
@takes("floating", "float8")
def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The maximum over the windows of `adaptive_avg_pool2d`."""
    return _adaptive_maximum(2, AdaptiveMaxPool2DBackward0, input, output_size, return_indices)


@operation("pooling", method=False, numpy=numpy_adaptive(3, np.max), cases=adaptive_cases(3))
@takes("floating")
def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The maximum over the windows of `adaptive_avg_pool3d`."""
    return _adaptive_maximum(3, AdaptiveMaxPool3DBackward0, input, output_size, return_indices)
