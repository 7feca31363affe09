"""Windows of images as columns, and back: unfold and fold, each the gradient of the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.errors import DtypeError, ShapeError
from tritorch.kernels.templates import convolution_windows as kernels
from tritorch.kernels.templates.convolution import Geometry
from tritorch.layout import Layout, Shape
from tritorch.ops.declare import operation, takes
from tritorch.ops.dispatch import Plans
from tritorch.ops.views import squeeze, unsqueeze
from tritorch.tensor import Tensor, empty

Size = int | Sequence[int]

_unfolds = Plans(lambda key: kernels.plan_unfold(*key))
_folds = Plans(lambda key: kernels.plan_fold(*key))


class Im2ColBackward0(Node):
    """The windows' gradients, added up where they overlap."""

    __slots__ = ("geometry",)
    geometry: Geometry

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient of the images."""
        return (_moved(_folds, Col2ImBackward0, grads[0], self.geometry),)


class Col2ImBackward0(Node):
    """The windows of the gradient."""

    __slots__ = ("geometry",)
    geometry: Geometry

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient of the windows."""
        return (_moved(_unfolds, Im2ColBackward0, grads[0], self.geometry),)


def _moved(plans: Plans, node_type: Any, x: Tensor, geometry: Geometry) -> Tensor:
    plan = plans[x._layout, geometry]
    result = empty(plan.outputs[0])
    plan.launch(result._address, x._address)
    if x._requires_grad and mode.enabled:
        node = node_type((edge(x),), plan.outputs)
        node.geometry = geometry
        result._grad_fn, result._requires_grad = node, True
    return result


def _pair(name: str, what: str, value: Any, least: int) -> Shape:
    given = (value, value) if isinstance(value, int) else tuple(value)
    given = given * 2 if len(given) == 1 else given
    if len(given) != 2 or min(given) < least:
        raise ShapeError(
            f"{name}: expected {what} to be one or two numbers of at least {least}, got {value}."
        )
    return given


def _geometry(
    name: str, kernel: Any, dilation: Any, padding: Any, stride: Any, sizes: Shape
) -> Geometry:
    kernel, dilation = _pair(name, "kernel_size", kernel, 1), _pair(name, "dilation", dilation, 1)
    padding, stride = _pair(name, "padding", padding, 0), _pair(name, "stride", stride, 1)
    output = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(sizes, padding, dilation, kernel, stride)
    )
    if min(output) < 1:
        raise ShapeError(
            f"{name}: Given input with spatial size {list(sizes)}, kernel_size={list(kernel)}, "
            f"dilation={list(dilation)}, padding={list(padding)}, stride={list(stride)}, "
            f"calculated shape of the array of sliding blocks as {list(output)}, but its "
            "components must be at least one. Pad more, or use a smaller kernel."
        )
    return Geometry(kernel, stride, padding, dilation, 1, tuple(sizes), output)


def _unfold_geometry(key: tuple[Any, ...]) -> Geometry:
    layout, *arguments = key
    _check_dtype("unfold", layout)
    if layout.ndim not in (3, 4):
        raise ShapeError(
            "unfold: Expected 3D or 4D (batch mode) tensor, but got input of size: "
            f"{list(layout.shape)}. Reshape it to (batch, channels, height, width)."
        )
    kernel, dilation, padding, stride = arguments
    return _geometry("unfold", kernel, dilation, padding, stride, layout.shape[-2:])


def _fold_geometry(key: tuple[Any, ...]) -> Geometry:
    layout, sizes, *arguments = key
    _check_dtype("fold", layout)
    sizes = _pair("fold", "output_size", sizes, 1)
    kernel, dilation, padding, stride = arguments
    geometry = _geometry("fold", kernel, dilation, padding, stride, sizes)
    taps = geometry.kernel[0] * geometry.kernel[1]
    count = geometry.output[0] * geometry.output[1]
    if layout.ndim not in (2, 3) or layout.shape[-2] % taps or layout.shape[-1] != count:
        raise ShapeError(
            f"fold: Given output_size={list(sizes)}, kernel_size={list(geometry.kernel)}, "
            f"expected (batch, channels * {taps}, {count}) or without batch, but got input of "
            f"size {list(layout.shape)}. Give what unfold with these arguments makes."
        )
    return geometry


def _check_dtype(name: str, layout: Layout) -> None:
    if not layout.dtype.is_floating_point:
        raise DtypeError(f"{name}: not implemented for {layout.dtype}. Convert with .float().")


_unfold_geometries = Plans(_unfold_geometry)
_fold_geometries = Plans(_fold_geometry)


def _hashable(*values: Any) -> tuple[Any, ...]:
    return tuple(tuple(v) if isinstance(v, list) else v for v in values)


def _numpy_unfold(
    x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Any:
    geometry = _geometry("unfold", kernel_size, dilation, padding, stride, x.shape[-2:])
    (h, w), (p, q) = geometry.kernel, geometry.padding
    padded = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(p, p), (q, q)])
    parts = [
        padded[
            ...,
            slice(i * geometry.dilation[0], None, geometry.stride[0]),
            slice(j * geometry.dilation[1], None, geometry.stride[1]),
        ][..., : geometry.output[0], : geometry.output[1]]
        for i in range(h)
        for j in range(w)
    ]
    stacked = np.stack(parts, -3)
    return stacked.reshape(*x.shape[:-3], -1, geometry.output[0] * geometry.output[1])


@operation(
    "index", method=False, numpy=_numpy_unfold,
    cases=[
        lambda make: ((make(2, 3, 5, 4), 2), {}),
        lambda make: ((make(2, 6, 7), (3, 2)), {"padding": (1, 0), "stride": 2, "dilation": 2}),
    ],
)  # fmt: skip
@takes("floating", "float8")
def unfold(
    input: Tensor, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1
) -> Tensor:
    """The windows that a convolution with these arguments sees, one per column.

    Shape: (batch, channels, height, width), or without batch, gives (batch, channels * elements of
        the kernel, number of windows).
    """
    key = (input._layout, *_hashable(kernel_size, dilation, padding, stride))
    geometry = _unfold_geometries[key]
    if input._layout.ndim == 3:
        return squeeze(_moved(_unfolds, Im2ColBackward0, unsqueeze(input, 0), geometry), 0)
    return _moved(_unfolds, Im2ColBackward0, input, geometry)


def _numpy_fold(
    x: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
    stride: Any = 1,
) -> Any:  # fmt: skip
    sizes = _pair("fold", "output_size", output_size, 1)
    geometry = _geometry("fold", kernel_size, dilation, padding, stride, sizes)
    (h, w), (p, q), (a, b) = geometry.kernel, geometry.padding, geometry.input
    channels = x.shape[-2] // (h * w)
    parts = x.reshape(*x.shape[:-2], channels, h * w, *geometry.output)
    reach = [s * n + d * k for s, n, d, k in zip(
        geometry.stride, geometry.output, geometry.dilation, geometry.kernel
    )]  # fmt: skip
    out = np.zeros((*x.shape[:-2], channels, a + 2 * p + reach[0], b + 2 * q + reach[1]), x.dtype)
    for tap in range(h * w):
        i, j = tap // w * geometry.dilation[0], tap % w * geometry.dilation[1]
        rows = slice(i, i + geometry.stride[0] * geometry.output[0], geometry.stride[0])
        columns = slice(j, j + geometry.stride[1] * geometry.output[1], geometry.stride[1])
        out[..., rows, columns] += parts[..., tap, :, :]
    return out[..., p : p + a, q : q + b]


@operation(
    "index", method=False, numpy=_numpy_fold,
    cases=[
        lambda make: ((make(2, 12, 12), (5, 4), 2), {}),
        lambda make: (
            (make(12, 9), (6, 7), (3, 2)), {"padding": (1, 0), "stride": 2, "dilation": (1, 2)},
        ),
    ],
)  # fmt: skip
@takes("floating", "float8")
def fold(
    input: Tensor, output_size: Size, kernel_size: Size, dilation: Size = 1, padding: Size = 0,
    stride: Size = 1,
) -> Tensor:  # fmt: skip
    """The sum of windows where they overlap: the gradient of `unfold`.

    Shape: (batch, channels * elements of the kernel, number of windows), or without batch, gives
        (batch, channels, *output_size).
    """
    key = (input._layout, *_hashable(output_size, kernel_size, dilation, padding, stride))
    geometry = _fold_geometries[key]
    if input._layout.ndim == 2:
        return squeeze(_moved(_folds, Col2ImBackward0, unsqueeze(input, 0), geometry), 0)
    return _moved(_folds, Col2ImBackward0, input, geometry)
