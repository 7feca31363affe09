"""Arithmetic on shapes and strides that the generators share: output layouts, dimension order,
index width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tritorch.devices import device as Device
from tritorch.dtypes import dtype as Dtype
from tritorch.layout import Layout, Shape

INT32_MAX = 2**31 - 1


def dimension_order(shape: Shape, operands: Sequence[Shape]) -> list[int]:
    """Dimensions from the fastest-walked to the slowest, by PyTorch's rule (TensorIterator).

    An insertion sort by stride; a broadcast dimension (stride 0) says nothing, equal strides are
    broken by size, and the first operand that tells two dimensions apart decides.
    """
    order = list(range(len(shape) - 1, -1, -1))

    def compare(a: int, b: int) -> int:
        for strides in operands:
            x, y = strides[a], strides[b]
            if x == 0 or y == 0:
                continue
            if x != y:
                return -1 if x < y else 1
            if shape[a] > shape[b]:
                return 1
        return 0

    for i in range(1, len(order)):
        at = i
        for j in range(i - 1, -1, -1):
            sign = compare(order[j], order[at])
            if sign > 0:
                order[j], order[at] = order[at], order[j]
                at = j
            elif sign < 0:
                break
    return order


def dense_like(dtype: Dtype, shape: Shape, operands: Sequence[Shape], device: Device) -> Layout:
    """The layout of a new output: dense, its dimensions in the order in which the operands walk
    theirs.
    """
    strides = [0] * len(shape)
    step = 1
    for d in dimension_order(shape, operands):
        strides[d] = step
        step *= max(shape[d], 1)
    return Layout.of(dtype, shape, tuple(strides), device)


def stride_class(stride: int) -> str:
    """How a stride is known when the kernel is compiled: "0", "1", or "s" for a run-time
    argument.
    """
    return "0" if stride == 0 else "1" if stride == 1 else "s"


def needs_int64(extents: Iterable[int]) -> bool:
    """Whether offsets of these extents (elements) may pass 2**31 - 1, a last block's masked lanes
    included.
    """
    return any(extent > INT32_MAX - (1 << 16) for extent in extents)


def is_channels_last(x: Layout, spatial: int = 0) -> bool:
    """Whether channels are the fastest dimension of a batch of images or volumes.

    Args:
        spatial: how many dimensions come after the channels, where there may be no batch.
    """
    return (
        x.ndim in (4, 5)
        and spatial in (0, x.ndim - 2)
        and x.shape[1] > 1
        and x.strides[1] == 1
        and x.strides[-1] != 1
    )


def keeps_channels_last(x: Layout) -> bool:
    """Whether results made from this are channels_last: with one channel its stride says so."""
    if x.ndim in (4, 5) and x.shape[1] == 1:
        return x.strides[1] == 1 and x.numel > x.shape[0]
    return is_channels_last(x)


def dense_in_format(shape: Shape, dtype: Dtype, x: Layout, spatial: int = 0) -> Layout:
    """Another shape without gaps: channels_last if x is, else contiguous."""
    made = Layout.contiguous(dtype, shape, x.device)
    return channels_last_layout(made) if is_channels_last(x, spatial) else made


def channels_last_layout(x: Layout) -> Layout:
    """The same shape without gaps, channels side by side."""
    moved = Layout.contiguous(x.dtype, (x.shape[0], *x.shape[2:], x.shape[1]), x.device).strides
    return Layout.of(x.dtype, x.shape, (moved[0], moved[-1], *moved[1:-1]), x.device)
