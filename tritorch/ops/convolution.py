"""Convolutions: conv1d to conv3d, their transposes, unfold and fold.

A convolution, its transpose (the gradient of its input) and the gradient of its weights are linear
in both operands, and the gradients of each are the other two: so there are gradients of every
order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.config import watch
from tritorch.kernels.templates import convolution as kernels
from tritorch.kernels.templates import convolution_pixels as pixels
from tritorch.kernels.templates.convolution import Geometry
from tritorch.layout import Layout, channels_last, contiguous_strides
from tritorch.ops import convolution_integers as integers
from tritorch.ops.convolution_arguments import (
    Arguments,
    convolution_geometry,
    transposed_geometry,
)
from tritorch.ops.convolution_reference import (
    numpy_convolution,
    numpy_transposed,
)
from tritorch.ops.declare import operation, takes
from tritorch.ops.dispatch import NO_EDGE, Plans
from tritorch.ops.memory import contiguous, formatted
from tritorch.ops.reduction import sum
from tritorch.ops.views import squeeze, unsqueeze
from tritorch.tensor import Tensor, empty

Size = int | Sequence[int]

# ---- the three functions


def _planes(x: Tensor) -> Tensor:
    """The tensor itself if the positions of a channel lie side by side, else a copy that does."""
    layout = x._layout
    if layout.is_contiguous or layout.strides[2:] == contiguous_strides(layout.shape[2:]):
        return x
    return contiguous(x)


def _arranged(x: Tensor, weight: tuple[int, ...], geometry: Geometry) -> Tensor:
    """As the kernels read it: planes, or pixels where a GPU's do."""
    if x._layout.device.type != "cpu" and pixels.serves(x._layout, weight, geometry):
        return contiguous(x, channels_last)
    return _planes(x)


def _by_pixels(x: Layout, weight: tuple[int, ...], geometry: Geometry) -> Any:
    """The module that makes plans."""
    return pixels if pixels.serves(x, weight, geometry) else kernels


_convolutions = Plans(lambda key: _by_pixels(key[0], key[1].shape, key[3]).plan(*key))
_transposes = Plans(lambda key: _by_pixels(key[0], key[1].shape, key[3]).plan_input(*key))
_weights = Plans(
    lambda key: _by_pixels(key[1], (key[0].shape[1], key[1].shape[1]), key[2]).plan_weight(*key)
)
for _plans in (_convolutions, _transposes, _weights):
    watch("float32_matmul", _plans.clear)


class ConvolutionBackward0(Node):
    """The transpose with the same weights, the gradient of the weights, the sum of g."""

    __slots__ = ("geometry",)
    geometry: Geometry

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """Gradients of input, weight and bias."""
        x, weight = self.unpack()
        (g,) = grads
        return (
            _transpose(g, weight, None, self.geometry, x) if self.needs(0) else None,
            _weight_gradient(g, x, self.geometry) if self.needs(1) else None,
            _over_channels(g) if self.needs(2) else None,
        )


class TransposedBackward0(Node):
    """The convolution with the same weights, the gradient of the weights, the sum of g."""

    __slots__ = ("geometry",)
    geometry: Geometry

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """Gradients of input, weight and bias."""
        x, weight = self.unpack()
        (g,) = grads
        return (
            _convolve(g, weight, None, self.geometry, x) if self.needs(0) else None,
            _weight_gradient(x, g, self.geometry) if self.needs(1) else None,
            _over_channels(g) if self.needs(2) else None,
        )


TransposedBackward0.__name__ = TransposedBackward0.__qualname__ = "ConvolutionBackward0"


class ConvolutionBackwardBackward0(Node):
    """Of the gradient of the weights: convolution and transpose with the upstream as weights."""

    __slots__ = ("geometry",)
    geometry: Geometry

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """Gradients of g and x."""
        g, x = self.unpack()
        (v,) = grads
        return (
            _convolve(x, v, None, self.geometry) if self.needs(0) else None,
            _transpose(g, v, None, self.geometry) if self.needs(1) else None,
        )


def _over_channels(g: Tensor) -> Tensor:
    """Summed over all but the channels."""
    return sum(g, tuple(d for d in range(g._layout.ndim) if d != 1))


def _linear(
    plans: Plans, node_type: Any, x: Tensor, weight: Tensor, bias: Tensor | None,
    geometry: Geometry, like: Tensor | None = None,
) -> Tensor:  # fmt: skip
    own = _arranged(x, weight._layout.shape, geometry)
    if bias is None:
        plan = plans[own._layout, weight._layout, None, geometry]
        layout = plan.outputs[0]
        result = empty(layout)
        plan.launch(result._address, own._address, weight._address)
        wanted = x._requires_grad or weight._requires_grad
    else:
        added = contiguous(bias)
        plan = plans[own._layout, weight._layout, added._layout, geometry]
        layout = plan.outputs[0]
        result = empty(layout)
        plan.launch(result._address, own._address, weight._address, added._address)
        wanted = x._requires_grad or weight._requires_grad or bias._requires_grad
    written = layout.is_contiguous and weight._layout.is_contiguous
    if own is not x or like is not None or not written:
        result = formatted(result, x, weight, like)
        layout = result._layout
    if wanted and mode.enabled:
        edges = (edge(x), edge(weight), NO_EDGE if bias is None else edge(bias))
        node = node_type(edges, (layout,))
        node.geometry = geometry
        node.save(x, weight)
        result._grad_fn = node
        result._requires_grad = True
    return result


def _convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, like: Tensor | None = None
) -> Tensor:
    return _linear(_convolutions, ConvolutionBackward0, x, weight, bias, geometry, like)


def _transpose(
    g: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, like: Tensor | None = None
) -> Tensor:
    return _linear(_transposes, TransposedBackward0, g, weight, bias, geometry, like)


def _weight_gradient(g: Tensor, x: Tensor, geometry: Geometry) -> Tensor:
    """The gradient of the weights of the convolution of x whose result has the gradient g."""
    shape = g._layout.shape[1], x._layout.shape[1]
    own, image = (_arranged(t, shape, geometry) for t in (g, x))
    plan = _weights[own._layout, image._layout, geometry]
    result = empty(plan.outputs[0])
    plan.launch(result._address, own._address, image._address)
    if not result._layout.is_contiguous:
        result = formatted(result, g, x)
    if (g._requires_grad or x._requires_grad) and mode.enabled:
        node = ConvolutionBackwardBackward0((edge(g), edge(x)), (result._layout,))
        node.geometry = geometry
        node.save(g, x)
        result._grad_fn = node
        result._requires_grad = True
    return result


# ---- what users call

_geometries = Plans(lambda key: convolution_geometry(Arguments(*key)))
_transposed_geometries = Plans(lambda key: transposed_geometry(Arguments(*key[:-1]), key[-1]))


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _layouts(
    name: str, input: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Layout, Layout, Layout | None]:
    try:
        return input._layout, weight._layout, None if bias is None else bias._layout
    except AttributeError:
        wrong = next(x for x in (input, weight, bias) if not isinstance(x, Tensor))
        raise TypeError(
            f"{name}(): input, weight and bias must be Tensor, not {type(wrong).__name__}. Convert "
            "it with tritorch.tensor."
        ) from None


def _run(
    name: str,
    rank: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size,
    padding: Size | str,
    dilation: Size,
    groups: int,
) -> Tensor:
    x, w, b = _layouts(name, input, weight, bias)
    key = (
        name, rank, x, w, b, _hashable(stride), _hashable(padding), _hashable(dilation), groups,
    )  # fmt: skip
    geometry = _geometries[key]
    run = _convolve if x.dtype.is_floating_point else integers.convolve
    if x.ndim == rank + 1:
        return squeeze(run(unsqueeze(contiguous(input), 0), weight, bias, geometry), 0)
    return run(input, weight, bias, geometry)


def _run_transposed(
    name: str,
    rank: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size,
    padding: Size,
    output_padding: Size,
    groups: int,
    dilation: Size,
) -> Tensor:
    x, w, b = _layouts(name, input, weight, bias)
    key = (
        name, rank, x, w, b, _hashable(stride), _hashable(padding), _hashable(dilation), groups,
        _hashable(output_padding),
    )  # fmt: skip
    geometry = _transposed_geometries[key]
    run = _transpose if x.dtype.is_floating_point else integers.transpose_of
    if x.ndim == rank + 1:
        return squeeze(run(unsqueeze(contiguous(input), 0), weight, bias, geometry), 0)
    return run(input, weight, bias, geometry)


def _cases(*calls: tuple[Any, ...]) -> list[Callable[..., Any]]:
    """(shape of input, of weight, of bias or None, options) of the calls that tests make."""

    def case(make: Any, shapes: tuple[Any, ...], options: dict[str, Any]) -> Any:
        return tuple(None if s is None else make(*s) for s in shapes), options

    return [lambda make, c=c: case(make, c[:3], c[3]) for c in calls]


@operation(
    "product", operands=3, method=False, numpy=numpy_convolution,
    cases=_cases(
        ((2, 4, 9), (6, 4, 3), (6,), {}),
        ((4, 9), (6, 2, 3), None, {"stride": 2, "padding": 1, "groups": 2}),
        ((2, 3, 8), (3, 1, 4), (3,), {"padding": "same", "groups": 3}),
    ),
)  # fmt: skip
@takes("floating", "float8", "integers")
def conv1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Size = 1,
    padding: Size | str = 0, dilation: Size = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """The convolution over one dimension; as `conv2d`.

    Shape: input (batch, in_channels, length) or without batch, weight (out_channels, in_channels /
        groups, kernel), bias (out_channels,).
    """
    return _run("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


@operation(
    "product", operands=3, method=False, numpy=numpy_convolution,
    cases=_cases(
        ((2, 4, 6, 7), (8, 4, 3, 3), (8,), {"padding": 1}),
        ((2, 4, 9, 7), (6, 2, 3, 2), (6,), {"stride": (2, 3), "dilation": (1, 2), "groups": 2}),
        ((2, 4, 6, 5), (4, 1, 3, 3), (4,), {"padding": 1, "groups": 4}),
        ((4, 5, 6), (5, 4, 1, 1), None, {}),
    ),
)  # fmt: skip
@takes("floating", "float8", "integers")
def conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Size = 1,
    padding: Size | str = 0, dilation: Size = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """out[n, m, y, x] = bias[m] + sum over c, i, j of weight[m, c, i, j] *
    input[n, c, y * stride + i * dilation - padding, ...].

    Args:
        padding: zeros around the input; "valid" for none, "same" for as many as keep its size.
        groups: inputs and outputs are split into so many parts that do not meet.
    Shape: input (batch, in_channels, height, width) or without batch, weight (out_channels,
        in_channels / groups, height, width), bias (out_channels,).
    Raises:
        RuntimeError: the sizes do not fit.
    """
    return _run("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


@operation(
    "product", operands=3, method=False, numpy=numpy_convolution,
    cases=_cases(
        ((2, 3, 4, 5, 4), (4, 3, 2, 3, 3), (4,), {"padding": (0, 1, 1), "stride": (1, 2, 1)}),
    ),
)  # fmt: skip
@takes("floating", "float8", "integers")
def conv3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Size = 1,
    padding: Size | str = 0, dilation: Size = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """The convolution over three dimensions; as `conv2d`."""
    return _run("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


@operation(
    "product", operands=3, method=False, numpy=numpy_transposed,
    cases=_cases(
        ((2, 4, 5), (4, 3, 3), (3,), {"stride": 2, "padding": 1, "output_padding": 1}),
        ((4, 5), (4, 3, 4), None, {}),
    ),
)  # fmt: skip
@takes("floating", "float8", "integers")
def conv_transpose1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Size = 1, padding: Size = 0,
    output_padding: Size = 0, groups: int = 1, dilation: Size = 1,
) -> Tensor:  # fmt: skip
    """The transpose of `conv1d`; as `conv_transpose2d`."""
    return _run_transposed(
        "conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups,
        dilation,
    )  # fmt: skip


@operation(
    "product", operands=3, method=False, numpy=numpy_transposed,
    cases=_cases(
        ((2, 4, 5, 4), (4, 3, 3, 3), (3,), {"stride": 2, "padding": 1, "output_padding": (1, 0)}),
        ((2, 4, 3, 4), (4, 1, 3, 2), (2,), {"groups": 2, "dilation": (2, 1), "stride": (3, 1)}),
    ),
)  # fmt: skip
@takes("floating", "float8", "integers")
def conv_transpose2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Size = 1, padding: Size = 0,
    output_padding: Size = 0, groups: int = 1, dilation: Size = 1,
) -> Tensor:  # fmt: skip
    """The gradient of the input of the `conv2d` of these weights, plus a bias.

    Args:
        output_padding: further rows and columns of the result, where several sizes are possible.
    Shape: input (batch, in_channels, height, width) or without batch, weight (in_channels,
        out_channels / groups, height, width), bias (out_channels,).
    """
    return _run_transposed(
        "conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups,
        dilation,
    )  # fmt: skip


@operation(
    "product", operands=3, method=False, numpy=numpy_transposed,
    cases=_cases(((1, 2, 3, 3, 4), (2, 3, 2, 3, 2), (3,), {"stride": (1, 2, 2)})),
)  # fmt: skip
@takes("floating", "float8", "integers")
def conv_transpose3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Size = 1, padding: Size = 0,
    output_padding: Size = 0, groups: int = 1, dilation: Size = 1,
) -> Tensor:  # fmt: skip
    """The transpose of `conv3d`; as `conv_transpose2d`."""
    return _run_transposed(
        "conv_transpose3d", 3, input, weight, bias, stride, padding, output_padding, groups,
        dilation,
    )  # fmt: skip
