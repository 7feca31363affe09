"""Max and average pooling. Their kernels and gradients: `tritorch.ops.pooling_nodes`."""

from __future__ import annotations

from typing import Any

from tritorch import dtypes
from tritorch.ops.declare import operation, takes
from tritorch.ops.memory import contiguous
from tritorch.ops.pooling_arguments import (
    check_dtype,
    window_of,
)
from tritorch.ops.pooling_nodes import (
    AvgPool1DBackward0,
    AvgPool2DBackward0,
    AvgPool3DBackward0,
    MaxPool1DWithIndicesBackward0,
    MaxPool2DWithIndicesBackward0,
    MaxPool3DWithIndicesBackward0,
    PoolNode,
    average,
    maximum,
)
from tritorch.ops.pooling_reference import (
    AVERAGE_CALLS,
    DIVISOR_CALLS,
    MAX_CALLS,
    SHAPES,
    numpy_average,
    numpy_max,
    pooling_cases,
)
from tritorch.tensor import Tensor

# ---- max


def _max_pool(
    name: str, count: int, node_type: type[PoolNode], input: Tensor, kernel_size: Any, stride: Any,
    padding: Any, dilation: Any, ceil_mode: bool, return_indices: bool,
) -> Any:  # fmt: skip
    check_dtype(name, input._layout, integers=count > 1 or return_indices)
    window = window_of(
        name, input._layout, count, kernel_size, stride, padding, dilation, ceil_mode, True
    )
    result, indices = maximum(input, window, node_type, return_indices)
    return (result, indices) if return_indices else result


@operation("pooling", method=False, numpy=numpy_max(1), cases=pooling_cases(SHAPES[1], MAX_CALLS))
@takes("floating", "float8")
def max_pool1d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The maximum over windows of the last dimension; with `return_indices` also where it is.

    Args:
        kernel_size, stride, padding, dilation: elements; the stride is the kernel size unless
            given.
        ceil_mode: windows may reach beyond the end.
    Shape: (N, C, L) or (C, L).
    """
    return _max_pool(
        "max_pool1d", 1, MaxPool1DWithIndicesBackward0, input, kernel_size, stride, padding,
        dilation, ceil_mode, return_indices,
    )  # fmt: skip


@operation("pooling", method=False, numpy=numpy_max(2), cases=pooling_cases(SHAPES[2], MAX_CALLS))
@takes("floating", "float8", "integers")
def max_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The maximum over windows of the last two dimensions; see `max_pool1d`.

    Shape: (N, C, H, W) or (C, H, W).
    """
    return _max_pool(
        "max_pool2d", 2, MaxPool2DWithIndicesBackward0, input, kernel_size, stride, padding,
        dilation, ceil_mode, return_indices,
    )  # fmt: skip


@operation("pooling", method=False, numpy=numpy_max(3), cases=pooling_cases(SHAPES[3], MAX_CALLS))
@takes("floating", "float8", "integers")
def max_pool3d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The maximum over windows of the last three dimensions; see `max_pool1d`.

    Shape: (N, C, D, H, W) or (C, D, H, W).
    """
    return _max_pool(
        "max_pool3d", 3, MaxPool3DWithIndicesBackward0, input, kernel_size, stride, padding,
        dilation, ceil_mode, return_indices,
    )  # fmt: skip


@takes("floating", "float8", "integers")
def max_pool1d_with_indices(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = True,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`max_pool1d` with `return_indices=True`."""
    found: tuple[Tensor, Tensor] = max_pool1d(
        input, kernel_size, stride, padding, dilation, ceil_mode, True
    )
    return found


def max_pool2d_with_indices(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = True,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`max_pool2d` with `return_indices=True`."""
    found: tuple[Tensor, Tensor] = max_pool2d(
        input, kernel_size, stride, padding, dilation, ceil_mode, True
    )
    return found


def max_pool3d_with_indices(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = True,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`max_pool3d` with `return_indices=True`."""
    found: tuple[Tensor, Tensor] = max_pool3d(
        input, kernel_size, stride, padding, dilation, ceil_mode, True
    )
    return found


# ---- average


def _avg_pool(
    name: str, count: int, node_type: type[PoolNode], input: Tensor, kernel_size: Any, stride: Any,
    padding: Any, ceil_mode: bool, include_pad: bool, divisor: int | None,
) -> Tensor:  # fmt: skip
    kind = input._layout.dtype
    if not kind.is_floating_point and kind is not dtypes.int64:
        raise RuntimeError(f'"{name}" not implemented for {kind}. Convert with .float().')
    if divisor == 0:
        raise RuntimeError("divisor must be not zero")
    window = window_of(
        name, input._layout, count, kernel_size, stride, padding, 1, ceil_mode, False,
        bool(include_pad), divisor or 0,
    )  # fmt: skip
    return average(input, window, node_type)


@operation(
    "pooling", method=False, numpy=numpy_average(1), cases=pooling_cases(SHAPES[1], AVERAGE_CALLS)
)
@takes("floating", "float8", "int64")
def avg_pool1d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """The average over windows of the last dimension.

    Args:
        kernel_size, stride, padding: elements; the stride is the kernel size unless given.
        ceil_mode: windows may reach beyond the end.
        count_include_pad: zeros of the padding count.
    Shape: (N, C, L) or (C, L).
    """
    if input._layout.ndim not in (2, 3):
        raise RuntimeError(
            f"Expected 2 to 3 dimensions, but got {input._layout.ndim}-dimensional tensor for "
            "argument #1 'self' (while checking arguments for avg_pool1d)"
        )
    return _avg_pool(
        "avg_pool1d", 1, AvgPool1DBackward0, input, kernel_size, stride, padding, ceil_mode,
        count_include_pad, None,
    )  # fmt: skip


@operation(
    "pooling", method=False, numpy=numpy_average(2), cases=pooling_cases(SHAPES[2], DIVISOR_CALLS)
)
@takes("floating", "float8", "int64")
def avg_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The average over windows of the last two dimensions; see `avg_pool1d`.

    Args:
        divisor_override: divides the sums instead of the count.
    Shape: (N, C, H, W) or (C, H, W).
    """
    return _avg_pool(
        "avg_pool2d", 2, AvgPool2DBackward0, input, kernel_size, stride, padding, ceil_mode,
        count_include_pad, divisor_override,
    )  # fmt: skip


@operation(
    "pooling", method=False, numpy=numpy_average(3), cases=pooling_cases(SHAPES[3], DIVISOR_CALLS)
)
@takes("floating", "float8", "int64")
def avg_pool3d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The average over windows of the last three dimensions; see `avg_pool2d`.

    Shape: (N, C, D, H, W) or (C, D, H, W).
    """
    input = contiguous(input)  # as PyTorch's, which keeps no other format
    return _avg_pool(
        "avg_pool3d", 3, AvgPool3DBackward0, input, kernel_size, stride, padding, ceil_mode,
        count_include_pad, divisor_override,
    )  # fmt: skip
