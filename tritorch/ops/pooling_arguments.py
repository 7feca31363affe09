"""From the arguments of pooling to a window, with PyTorch's errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tritorch import dtypes
from tritorch.kernels.templates.pooling import Window
from tritorch.layout import Layout

_WORDS = {1: "one int", 2: "two ints", 3: "three ints"}


def numbers(name: str, label: str, value: Any, count: int) -> tuple[int, ...]:
    """An int for every dimension, from one or as many."""
    if isinstance(value, int):
        return (value,) * count
    values = tuple([int(v) for v in value])
    if len(values) == 1:
        return values * count
    if len(values) != count:
        raise RuntimeError(
            f"{name}: {label} must either be a single int, or a tuple of {_WORDS[count]}"
        )
    return values


def _three(values: Sequence[int], fill: int) -> tuple[int, int, int]:
    return (*(fill,) * (3 - len(values)), *values)  # type: ignore[return-value]


def _check_shape(name: str, layout: Layout, count: int) -> tuple[int, ...]:
    """The spatial sizes."""
    lead = layout.ndim - count
    if lead not in (1, 2) or 0 in layout.shape[lead - 1 :]:
        raise RuntimeError(
            f"{name}: Expected {count + 1}D or {count + 2}D (batch mode) tensor with optional 0 "
            f"dim batch size for input, but got:{list(layout.shape)}"
        )
    return layout.shape[lead:]


def _output_size(
    size: int, kernel: int, stride: int, pad: int, dilation: int, ceil_mode: bool
) -> int:
    reach = size + 2 * pad - dilation * (kernel - 1) - 1
    out = (reach + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (out - 1) * stride >= size + pad:
        out -= 1  # the last window would start in the padding
    return out


def window_of(
    name: str, layout: Layout, count: int, kernel_size: Any, stride: Any, padding: Any,
    dilation: Any, ceil_mode: bool, maximum: bool, include_pad: bool = True, divisor: int = 0,
) -> Window:  # fmt: skip
    kernel = numbers(name, "kernel_size", kernel_size, count)
    empty_stride = stride is None or (not isinstance(stride, int) and not len(stride))
    steps = kernel if empty_stride else numbers(name, "stride", stride, count)
    pads = numbers(name, "padding", padding, count)
    dilations = numbers(name, "dilation", dilation, count)
    if 0 in steps:
        raise RuntimeError("stride should not be zero")
    for label, values in (("kernel size", kernel), ("stride", steps), ("dilation", dilations)):
        if min(values) <= 0:
            raise RuntimeError(f"{name}: {label} should be greater than zero, but got {values}")
    for pad, size, step in zip(pads, kernel, dilations):
        if pad < 0:
            raise RuntimeError(f"pad must be non-negative, but got pad: {pad}")
        if pad > ((size - 1) * step + 1) // 2:
            raise RuntimeError(
                "pad should be at most half of effective kernel size, but got "
                f"pad={pad}, kernel_size={size} and dilation={step}"
            )
    sizes = _check_shape(name, layout, count)
    out = [_output_size(*entry, ceil_mode) for entry in zip(sizes, kernel, steps, pads, dilations)]
    if min(out) < 1:
        channels = layout.shape[layout.ndim - count - 1]
        given, made = (
            "x".join(map(str, (channels, *entry))) for entry in (sizes, [max(o, 0) for o in out])
        )
        raise RuntimeError(
            f"Given input size: ({given}). Calculated output size: ({made}). Output size is too "
            "small"
        )
    return Window(
        count, maximum, _three(kernel, 1), _three(steps, 1), _three(pads, 0), _three(dilations, 1),
        _three(out, 1), include_pad=include_pad, divisor=divisor,
    )  # fmt: skip


def adaptive_window(
    name: str, layout: Layout, count: int, output_size: Any, maximum: bool
) -> Window:
    lead = layout.ndim - count
    if lead not in (1, 2):
        raise RuntimeError(
            f"{name}(): Expected {count + 1}D or {count + 2}D tensor, but got {list(layout.shape)}"
        )
    given = (output_size,) * count if output_size is None else output_size
    given = (given,) * count if isinstance(given, int) else tuple(given)
    if len(given) != count:
        raise RuntimeError(f"{name}: output_size must be {count}")
    sizes = layout.shape[lead:]
    out = tuple([size if o is None else int(o) for o, size in zip(given, sizes)])
    if min(out) < 0:
        raise RuntimeError(
            f"{name}: elements of output_size must be greater than or equal to 0 but received "
            f"{{{', '.join(map(str, out))}}}"
        )
    if 0 in layout.shape[lead - 1 :]:
        raise RuntimeError(
            f"{name}(): Expected input to have non-zero size for non-batch dimensions, but input "
            f"has sizes {list(layout.shape)} with dimension {list(layout.shape).index(0)} being "
            "empty"
        )
    if 0 in out or all(size % o == 0 for size, o in zip(sizes, out)):
        kernel = _three([size // max(o, 1) for size, o in zip(sizes, out)], 1)
        return Window(count, maximum, kernel, kernel, (0,) * 3, (1,) * 3, _three(out, 1))
    longest = [
        max(-(-(i + 1) * size // o) - i * size // o for i in range(o))
        for size, o in zip(sizes, out)
    ]
    return Window(
        count, maximum, _three(longest, 1), (1,) * 3, (0,) * 3, (1,) * 3, _three(out, 1),
        adaptive=True, include_pad=False,
    )  # fmt: skip


def check_dtype(name: str, layout: Layout, integers: bool) -> None:
    kind = layout.dtype
    if kind.is_floating_point or (integers and kind is not dtypes.bool):
        return
    raise RuntimeError(f'"{name}" not implemented for {kind}. Convert with .float().')
