"""What runs the kernels of pooling, each with its gradient.

Max pooling keeps the number of the tap that each window chose. Its gradient writes to the chosen
inputs, the gradient of that reads them: each is the other's, so all orders exist. The same holds
for the average and its gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.devices import device as Device
from tritorch.dtypes import dtype as Dtype
from tritorch.kernels.strides import is_channels_last
from tritorch.kernels.templates import pooling as kernels
from tritorch.kernels.templates.pooling import Window
from tritorch.layout import Layout
from tritorch.ops.dispatch import Plans
from tritorch.ops.resample import Taps, resampled
from tritorch.ops.views import expand
from tritorch.tensor import Tensor, empty

_pools = Plans(lambda key: kernels.plan(key[0], key[1], pos=key[2], index=key[3]))
_gradients = Plans(lambda key: kernels.plan_backward(*key))
_takes = Plans(lambda key: kernels.plan_take(*key))


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
        return (average(grads[0], self.window, AvgPool2DBackward0),)


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


def maximum(
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
        and not is_channels_last(layout, window.spatial)
        and layout.numel
    )


def average(input: Tensor, window: Window, node_type: type[PoolNode]) -> Tensor:
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
