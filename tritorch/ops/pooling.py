"""Max, average and adaptive pooling.

Max pooling keeps the number of the tap that each window chose. Its gradient writes to the chosen
inputs, the gradient of that reads them: each is the other's, so all orders exist. The same holds
for the average and its gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tritorch import dtypes
from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.devices import device as Device
from tritorch.dtypes import dtype as Dtype
from tritorch.kernels.templates import pooling as kernels
from tritorch.kernels.templates.pooling import Window
from tritorch.layout import Layout
from tritorch.ops.declare import operation
from tritorch.ops.dispatch import Plans
from tritorch.ops.reduction import mean as mean_
from tritorch.ops.resample import Taps, resampled
from tritorch.ops.views import expand
from tritorch.tensor import Tensor, empty

_pools = Plans(lambda key: kernels.plan(key[0], key[1], pos=key[2], index=key[3]))
_gradients = Plans(lambda key: kernels.plan_backward(*key))
_takes = Plans(lambda key: kernels.plan_take(*key))


# ---- what runs kernels, each with its gradient


class PoolNode(Node):
    """A window and the layout of what was pooled."""

    __slots__ = ("layout", "window")
    window: Window
    layout: Layout


class _MaxBackward(PoolNode):
    """The gradient goes to the chosen inputs."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient of the input."""
        (pos,) = self.unpack()
        return (_to_chosen(grads[0], pos, self.window, self.layout),)


class _AverageBackward(PoolNode):
    """The gradient is spread over the window."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient of the input."""
        return (_spread(grads[0], self.window, self.layout),)


class MaxPool1DWithIndicesBackward0(_MaxBackward):
    """Of max_pool1d."""

    __slots__ = ()


class MaxPool2DWithIndicesBackward0(_MaxBackward):
    """Of max_pool2d."""

    __slots__ = ()


class MaxPool3DWithIndicesBackward0(_MaxBackward):
    """Of max_pool3d."""

    __slots__ = ()


class AdaptiveMaxPool1DBackward0(_MaxBackward):
    """Of adaptive_max_pool1d."""

    __slots__ = ()


class AdaptiveMaxPool2DBackward0(_MaxBackward):
    """Of adaptive_max_pool2d."""

    __slots__ = ()


class AdaptiveMaxPool3DBackward0(_MaxBackward):
    """Of adaptive_max_pool3d."""

    __slots__ = ()


class AvgPool1DBackward0(_AverageBackward):
    """Of avg_pool1d."""

    __slots__ = ()


class AvgPool2DBackward0(_AverageBackward):
    """Of avg_pool2d."""

    __slots__ = ()


class AvgPool3DBackward0(_AverageBackward):
    """Of avg_pool3d."""

    __slots__ = ()


class AdaptiveAvgPool1DBackward0(_AverageBackward):
    """Of adaptive_avg_pool1d."""

    __slots__ = ()


class AdaptiveAvgPool2DBackward0(_AverageBackward):
    """Of adaptive_avg_pool2d."""

    __slots__ = ()


class AdaptiveAvgPool3DBackward0(_AverageBackward):
    """Of adaptive_avg_pool3d."""

    __slots__ = ()


class MaxPoolWithIndicesBackwardBackward0(PoolNode):
    """The gradient of writing to the chosen inputs: reading them."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient of the gradient that was written."""
        (pos,) = self.unpack()
        return (_chosen(grads[0], pos, self.window),)


class AvgPoolBackwardBackward0(PoolNode):
    """The gradient of spreading: the average."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient of the gradient that was spread."""
        return (_average(grads[0], self.window, AvgPool2DBackward0),)


def _record(
    result: Tensor, node_type: type[PoolNode], source: Tensor, window: Window, layout: Layout,
    *saved: Tensor,
) -> None:  # fmt: skip
    if source._requires_grad and mode.enabled:
        node = node_type((edge(source),), (result._layout,))
        node.window, node.layout = window, layout
        if saved:
            node.save(*saved)
        result._grad_fn = node
        result._requires_grad = True


def _maximum(
    input: Tensor, window: Window, node_type: type[PoolNode], indices: bool
) -> tuple[Tensor, Tensor | None]:
    """(maxima, their places in the plane if wanted)."""
    recorded = bool(input._requires_grad) and mode.enabled
    plan = _pools[input._layout, window, recorded, indices]
    results = [empty(layout) for layout in plan.outputs]
    plan.launch(*[r._address for r in results], input._address)
    if recorded:
        _record(results[0], node_type, input, window, input._layout, results[1])
    return results[0], results[-1] if indices else None


def _to_chosen(g: Tensor, pos: Tensor, window: Window, layout: Layout) -> Tensor:
    if g._layout.shape != pos._layout.shape:
        g = expand(g, *pos._layout.shape)
    plan = _gradients[g._layout, layout, window]
    result = empty(plan.outputs[0])
    plan.launch(result._address, g._address, pos._address)
    _record(result, MaxPoolWithIndicesBackwardBackward0, g, window, layout, pos)
    return result


def _chosen(x: Tensor, pos: Tensor, window: Window) -> Tensor:
    plan = _takes[x._layout, pos._layout, window]
    result = empty(plan.outputs[0])
    plan.launch(result._address, x._address, pos._address)
    _record(result, _MaxBackward, x, window, x._layout, pos)
    return result


# Averages are also weighted sums along one dimension after the other. Tables of them serve where
# windows differ, or are long: every gradient then reads what it needs, without looking for it.


def _box(key: tuple[int, int, int, int, int, bool, bool, float, Dtype, Device]) -> Taps:
    size, out, kernel, stride, pad, adaptive, include_pad, scale, dtype, device = key
    o = np.arange(out)
    if adaptive:
        start, end = o * size // out, -(-(o + 1) * size // out)
    else:
        start, end = o * stride - pad, np.minimum(o * stride - pad + kernel, size + pad)
    first, last = np.maximum(start, 0), np.minimum(end, size)
    counts = end - start if include_pad else last - first
    i = first + np.arange(kernel)[:, None]
    index = np.where(i < last, i, -1)
    weight = np.broadcast_to(scale if scale else 1 / counts, index.shape)
    return Taps.of(index, np.where(index >= 0, weight, 0), size, dtype, device)


_boxes_of = Plans(_box, 512)


def _tables(layout: Layout, window: Window) -> tuple[Taps, ...]:
    sizes = (*(1,) * (3 - window.spatial), *layout.shape[layout.ndim - window.spatial :])
    scales = (0.0,) * 3
    if window.divisor:
        scales = (1.0 / window.divisor, 1.0, 1.0)
    columns = zip(sizes, window.out, window.kernel, window.stride, window.pad, scales, strict=True)
    return tuple(
        [
            _boxes_of[
                size, out, kernel, stride, pad, window.adaptive, window.include_pad, scale,
                layout.dtype.compute, layout.device,
            ]
            for size, out, kernel, stride, pad, scale in columns
        ]
    )  # fmt: skip


def _by_tables(layout: Layout, window: Window) -> bool:
    """Whether tables do it better than the kernels of windows."""
    return bool(
        layout.device.type == "cpu"
        and layout.dtype.is_floating_point
        and not window.is_short
        and not kernels.is_channels_last(layout, window.spatial)
        and layout.numel
    )


def _average(input: Tensor, window: Window, node_type: type[PoolNode]) -> Tensor:
    layout = input._layout
    if window.adaptive and _by_tables(layout, window):
        result = resampled(input, _tables(layout, window), window.spatial)
    else:
        plan = _pools[layout, window, False, False]
        result = empty(plan.outputs[0])
        plan.launch(result._address, input._address)
    _record(result, node_type, input, window, input._layout)
    return result


def _spread(g: Tensor, window: Window, layout: Layout) -> Tensor:
    shape = window.result(layout, layout.dtype).shape
    if g._layout.shape != shape:
        g = expand(g, *shape)
    if 0 not in window.out and _by_tables(layout, window):
        turned = tuple([taps.turned() for taps in _tables(layout, window)])
        result = resampled(g, turned, window.spatial)
    else:
        plan = _gradients[g._layout, layout, window]
        result = empty(plan.outputs[0])
        plan.launch(result._address, g._address)
    _record(result, AvgPoolBackwardBackward0, g, window, layout)
    return result


# ---- arguments

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


def _window(
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


def _adaptive_window(
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


def _check_dtype(name: str, layout: Layout, integers: bool) -> None:
    kind = layout.dtype
    if kind.is_floating_point or (integers and kind is not dtypes.bool):
        return
    raise RuntimeError(f'"{name}" not implemented for {kind}. Convert with .float().')


# ---- references and cases of the tests


def _boxes(x: Any, out: Sequence[int], bounds: Any) -> Any:
    """Index of each output and the slices of its window in x."""
    for index in np.ndindex(*out):
        yield index, tuple(slice(*bounds(axis, o)) for axis, o in enumerate(index))


def _numpy_max(count: int) -> Any:
    def reference(
        x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> Any:  # fmt: skip
        layout = Layout.contiguous(dtypes.float64, x.shape)
        w = _window(
            "max_pool", layout, count, kernel_size, stride, padding, dilation, ceil_mode, True
        )
        k, s, p, d = (v[3 - count :] for v in (w.kernel, w.stride, w.pad, w.dilation))
        padded = np.pad(
            x, [(0, 0)] * (x.ndim - count) + [(a, a + b * c) for a, b, c in zip(p, k, d)],
            constant_values=-np.inf,
        )  # fmt: skip
        out = w.out[3 - count :]
        result = np.empty((*x.shape[: x.ndim - count], *out))
        boxes = _boxes(x, out, lambda a, o: (o * s[a], o * s[a] + k[a] * d[a], d[a]))
        for index, box in boxes:
            axes = tuple(range(-count, 0))
            result[(..., *index)] = padded[(..., *box)].max(axes)
        return result

    return reference


def _numpy_average(count: int) -> Any:
    def reference(
        x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> Any:  # fmt: skip
        layout = Layout.contiguous(dtypes.float64, x.shape)
        w = _window("avg_pool", layout, count, kernel_size, stride, padding, 1, ceil_mode, False)
        k, s, p = (v[3 - count :] for v in (w.kernel, w.stride, w.pad))
        lead = [(0, 0)] * (x.ndim - count)
        padded = np.pad(x, lead + [(a, a) for a in p])
        inside = np.pad(np.ones(x.shape[-count:]), [(a, a) for a in p])
        if count_include_pad:
            inside[...] = 1
        out = w.out[3 - count :]
        result = np.empty((*x.shape[: x.ndim - count], *out))
        for index, box in _boxes(x, out, lambda a, o: (o * s[a], o * s[a] + k[a])):
            total = padded[(..., *box)].sum(tuple(range(-count, 0)))
            result[(..., *index)] = total / (divisor_override or inside[box].sum())
        return result

    return reference


def _numpy_adaptive(count: int, reduce: Any) -> Any:
    def reference(x: Any, output_size: Any) -> Any:
        sizes = x.shape[-count:]
        given = (output_size,) * count if isinstance(output_size, int) else output_size
        out = [size if o is None else o for o, size in zip(given, sizes)]
        result = np.empty((*x.shape[: x.ndim - count], *out))

        def bounds(axis: int, o: int) -> tuple[int, int]:
            size, n = sizes[axis], out[axis]
            return o * size // n, -(-(o + 1) * size // n)

        for index, box in _boxes(x, out, bounds):
            result[(..., *index)] = reduce(x[(..., *box)], axis=tuple(range(-count, 0)))
        return result

    return reference


def _distinct(make: Any, shape: tuple[int, ...]) -> Any:
    """Values far enough apart that a small step changes no maximum."""
    x = make(*shape)
    return (np.argsort(np.argsort(x.ravel())) / 4 - x.size / 8).reshape(shape)


def _cases(shapes: Sequence[tuple[int, ...]], calls: Sequence[dict[str, Any]]) -> list[Any]:
    return [
        lambda make, n=n, o=o: ((_distinct(make, n),), o)
        for n, o in zip(
            [shapes[i % len(shapes)] for i in range(max(len(calls), len(shapes)))],
            [calls[i % len(calls)] for i in range(max(len(calls), len(shapes)))],
        )
    ]


_SHAPES = {
    1: [(2, 3, 9), (3, 8), (1, 2, 17)],
    2: [(2, 2, 6, 7), (2, 5, 6), (1, 1, 9, 8)],
    3: [(1, 2, 4, 5, 4), (2, 4, 3, 5)],
}
_CALLS: list[dict[str, Any]] = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 1, "padding": 1},
    {"kernel_size": 2, "stride": 3, "ceil_mode": True},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    {"kernel_size": 1, "stride": 2},
]
_MAX_CALLS = [*_CALLS, {"kernel_size": 2, "stride": 1, "dilation": 2, "padding": 1}]
_AVERAGE_CALLS = [
    *_CALLS,
    {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False},
    {"kernel_size": 3, "padding": 1, "ceil_mode": True, "count_include_pad": False},
]
_DIVISOR_CALLS = [*_AVERAGE_CALLS, {"kernel_size": 2, "stride": 1, "divisor_override": 3}]


def _adaptive_cases(count: int) -> list[Any]:
    calls = [{"output_size": o} for o in (1, 2, 3, (4, 3, 2)[:count], (2, None, 1)[:count])]
    return _cases(_SHAPES[count], calls)


# ---- max


def _max_pool(
    name: str, count: int, node_type: type[PoolNode], input: Tensor, kernel_size: Any, stride: Any,
    padding: Any, dilation: Any, ceil_mode: bool, return_indices: bool,
) -> Any:  # fmt: skip
    _check_dtype(name, input._layout, integers=count > 1)
    window = _window(
        name, input._layout, count, kernel_size, stride, padding, dilation, ceil_mode, True
    )
    result, indices = _maximum(input, window, node_type, return_indices)
    return (result, indices) if return_indices else result


@operation("pooling", method=False, numpy=_numpy_max(1), cases=_cases(_SHAPES[1], _MAX_CALLS))
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


@operation("pooling", method=False, numpy=_numpy_max(2), cases=_cases(_SHAPES[2], _MAX_CALLS))
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


@operation("pooling", method=False, numpy=_numpy_max(3), cases=_cases(_SHAPES[3], _MAX_CALLS))
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
    window = _window(
        name, input._layout, count, kernel_size, stride, padding, 1, ceil_mode, False,
        bool(include_pad), divisor or 0,
    )  # fmt: skip
    return _average(input, window, node_type)


@operation(
    "pooling", method=False, numpy=_numpy_average(1), cases=_cases(_SHAPES[1], _AVERAGE_CALLS)
)
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
    "pooling", method=False, numpy=_numpy_average(2), cases=_cases(_SHAPES[2], _DIVISOR_CALLS)
)
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
    "pooling", method=False, numpy=_numpy_average(3), cases=_cases(_SHAPES[3], _DIVISOR_CALLS)
)
def avg_pool3d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The average over windows of the last three dimensions; see `avg_pool2d`.

    Shape: (N, C, D, H, W) or (C, D, H, W).
    """
    return _avg_pool(
        "avg_pool3d", 3, AvgPool3DBackward0, input, kernel_size, stride, padding, ceil_mode,
        count_include_pad, divisor_override,
    )  # fmt: skip


# ---- adaptive


def _adaptive_average(
    count: int, node_type: type[PoolNode], input: Tensor, output_size: Any
) -> Tensor:
    name = f"adaptive_avg_pool{count}d"
    _check_dtype(name, input._layout, integers=False)
    window = _adaptive_window(name, input._layout, count, output_size, False)
    if window.out == (1, 1, 1):
        whole: Tensor = mean_(input, tuple(range(-count, 0)), True)
        return whole
    return _average(input, window, node_type)


@operation("pooling", method=False, numpy=_numpy_adaptive(1, np.mean), cases=_adaptive_cases(1))
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


@operation("pooling", method=False, numpy=_numpy_adaptive(2, np.mean), cases=_adaptive_cases(2))
def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """See `adaptive_avg_pool1d`; a size of None stays. Shape: (N, C, H, W) or (C, H, W)."""
    return _adaptive_average(2, AdaptiveAvgPool2DBackward0, input, output_size)


@operation("pooling", method=False, numpy=_numpy_adaptive(3, np.mean), cases=_adaptive_cases(3))
def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """See `adaptive_avg_pool1d`; a size of None stays. Shape: (N, C, D, H, W) or (C, D, H, W)."""
    return _adaptive_average(3, AdaptiveAvgPool3DBackward0, input, output_size)


def _adaptive_maximum(
    count: int, node_type: type[PoolNode], input: Tensor, output_size: Any, return_indices: bool
) -> Any:
    name = f"adaptive_max_pool{count}d"
    _check_dtype(name, input._layout, integers=False)
    window = _adaptive_window(name, input._layout, count, output_size, True)
    result, indices = _maximum(input, window, node_type, return_indices)
    return (result, indices) if return_indices else result


@operation("pooling", method=False, numpy=_numpy_adaptive(1, np.max), cases=_adaptive_cases(1))
def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The maximum over the windows of `adaptive_avg_pool1d`."""
    return _adaptive_maximum(1, AdaptiveMaxPool1DBackward0, input, output_size, return_indices)


@operation("pooling", method=False, numpy=_numpy_adaptive(2, np.max), cases=_adaptive_cases(2))
def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The maximum over the windows of `adaptive_avg_pool2d`."""
    return _adaptive_maximum(2, AdaptiveMaxPool2DBackward0, input, output_size, return_indices)


@operation("pooling", method=False, numpy=_numpy_adaptive(3, np.max), cases=_adaptive_cases(3))
def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The maximum over the windows of `adaptive_avg_pool3d`."""
    return _adaptive_maximum(3, AdaptiveMaxPool3DBackward0, input, output_size, return_indices)
