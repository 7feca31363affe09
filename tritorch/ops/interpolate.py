"""Interpolation to another size.

Along each dimension a result is a weighted sum of a few inputs: the modes differ only in a table of
indices and weights. The gradient is the transposed table, and its gradient the table again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.devices import device as Device
from tritorch.dtypes import dtype as Dtype
from tritorch.layout import Layout
from tritorch.ops.adaptive_pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
)
from tritorch.ops.declare import operation, takes
from tritorch.ops.dispatch import Plans
from tritorch.ops.resample import Taps, resampled
from tritorch.ops.views import expand
from tritorch.tensor import Tensor

# ---- tables of one dimension


@dataclass(frozen=True)
class Axis:
    """How one dimension is resampled.

    Attributes:
        kind: nearest, nearest-exact, linear, cubic, linear-aa, cubic-aa.
        scale: what the user gave, 0 for none.
    """

    kind: str
    size: int
    out: int
    align_corners: bool = False
    scale: float = 0.0


def _step(axis: Axis, number: Any) -> Any:
    """Input elements from one result to the next."""
    if axis.align_corners:
        return number(axis.size - 1) / number(axis.out - 1) if axis.out > 1 else number(0)
    return number(1 / axis.scale) if axis.scale > 0 else number(axis.size) / number(axis.out)


def _nearest(axis: Axis, number: Any) -> tuple[Any, Any]:
    o = np.arange(axis.out)
    if axis.kind == "nearest" and axis.out == axis.size:
        i = o
    elif axis.kind == "nearest" and axis.out == 2 * axis.size:
        i = o // 2
    else:
        # PyTorch computes these in float32 whatever the dtype, and rounding decides.
        half = np.float32(0.5 if axis.kind == "nearest-exact" else 0)
        i = np.floor((o.astype(np.float32) + half) * _step(axis, np.float32)).astype(np.int64)
    return np.minimum(i, axis.size - 1)[None], np.ones((1, axis.out))


def _sources(axis: Axis, number: Any, clip: bool) -> tuple[Any, Any]:
    """(input at or before each result's position, distance from there)."""
    o = np.arange(axis.out).astype(number)
    half = number(0.5)
    step = _step(axis, number)
    source = o * step if axis.align_corners else step * (o + half) - half
    if clip:
        source = np.maximum(source, number(0))
    i = np.floor(source).astype(np.int64)
    i = np.minimum(i, axis.size - 1)
    return i, np.clip(source - i.astype(number), 0, 1)


def _linear(axis: Axis, number: Any) -> tuple[Any, Any]:
    if axis.size == axis.out:
        i = np.arange(axis.out)
        return np.stack([i, i]), np.stack([np.ones(axis.out), np.zeros(axis.out)])
    i, distance = _sources(axis, number, clip=True)
    return np.stack([i, np.minimum(i + 1, axis.size - 1)]), np.stack([1 - distance, distance])


def _cubic_weight(x: Any, a: float) -> Any:
    """Keys' kernel: 1 at 0, 0 at the other whole numbers."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _cubic(axis: Axis, number: Any) -> tuple[Any, Any]:
    i, distance = _sources(axis, number, clip=False)
    steps = np.arange(-1, 3)[:, None]
    weights = _cubic_weight(distance - steps.astype(number), -0.75)
    return np.clip(i + steps, 0, axis.size - 1), weights


def _antialiased(axis: Axis, number: Any) -> tuple[Any, Any]:
    """The filter is widened by the factor of a reduction, and its weights sum to 1."""
    step = float(_step(axis, number))
    linear = axis.kind == "linear-aa"
    widening = max(step, 1.0)
    support = (1.0 if linear else 2.0) * widening
    centre = step * (np.arange(axis.out) + 0.5)
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    end = np.minimum((centre + support + 0.5).astype(np.int64), axis.size)
    count = int((end - first).max())
    i = first + np.arange(count)[:, None]
    x = (i - centre + 0.5) / widening
    weights = np.maximum(1 - np.abs(x), 0) if linear else _cubic_weight(x, -0.5)
    weights = np.where(i < end, weights, 0)
    total = weights.sum(0)
    return np.where(i < end, i, -1), weights / np.where(total == 0, 1, total)


_TABLES = {
    "nearest": _nearest, "nearest-exact": _nearest, "linear": _linear, "cubic": _cubic,
    "linear-aa": _antialiased, "cubic-aa": _antialiased,
}  # fmt: skip


def _taps(key: tuple[Axis, Dtype, Device]) -> Taps:
    axis, dtype, device = key
    index, weight = _TABLES[axis.kind](axis, dtype.numpy.type)
    return Taps.of(index, weight, axis.size, dtype, device)


_tables = Plans(_taps, 512)

# ---- the operation on tables


class ResampleNode(Node):
    """The transposed map of the gradient."""

    __slots__ = ("axes",)
    axes: tuple[Taps, ...]

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient of the input."""
        (g,) = grads
        shape = self.output_layouts[0].shape
        if g._layout.shape != shape:
            g = expand(g, *shape)
        turned = tuple([taps.turned() for taps in self.axes])
        return (_resample(g, turned, len(shape) - 2, type(self)),)


def _node(name: str) -> type[ResampleNode]:
    return type(name, (ResampleNode,), {"__slots__": (), "__doc__": "Of `interpolate`."})


_NODES = {
    (kind, spatial): _node(f"Upsample{word}{spatial}DBackward0")
    for kind, words in (
        ("nearest", ("Nearest",) * 3), ("nearest-exact", ("NearestExact",) * 3),
        ("linear", ("Linear", "Bilinear", "Trilinear")), ("cubic", ("Cubic", "Bicubic", "Cubic")),
    )
    for spatial, word in enumerate(words, 1)
}  # fmt: skip


def _resample(
    input: Tensor, axes: tuple[Taps, ...], spatial: int, node_type: type[ResampleNode]
) -> Tensor:
    result = resampled(input, axes, spatial)
    if input._requires_grad and mode.enabled:
        node = node_type((edge(input),), (result._layout,))
        node.axes = axes
        result._grad_fn = node
        result._requires_grad = True
    return result


# ---- arguments

_MODES = {
    "nearest": ("nearest", (3, 4, 5)), "nearest-exact": ("nearest-exact", (3, 4, 5)),
    "linear": ("linear", (3,)), "bilinear": ("linear", (4,)), "trilinear": ("linear", (5,)),
    "bicubic": ("cubic", (4,)), "area": ("area", (3, 4, 5)),
}  # fmt: skip
_AREAS = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}


def _check_mode(name: str, ndim: int) -> str:
    known = _MODES.get(name)
    if known is None or ndim not in (3, 4, 5):
        raise NotImplementedError(
            f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {ndim}D) for the modes: "
            f"nearest | linear | bilinear | bicubic | trilinear | area | nearest-exact (got {name})"
        )
    kind, dims = known
    if ndim not in dims:
        raise NotImplementedError(f"Got {ndim}D input, but {name} mode needs {dims[0]}D input")
    return kind


def _each(label: str, given: Any, spatial: Sequence[int], letters: str) -> list[Any]:
    """A number for every dimension."""
    if isinstance(given, list | tuple):
        if len(given) != len(spatial):
            described = f"scale_factor of shape {given}" if letters == "s" else (
                f"output size of {given}"
            )  # fmt: skip
            kind = "scale_factor" if letters == "s" else "output size"
            raise ValueError(
                f"Input and {label} must have the same number of spatial dimensions, but got input "
                f"with spatial dimensions of {list(spatial)} and {described}. Please provide input "
                f"tensor in (N, C, d1, d2, ...,dK) format and {kind} in ({letters}1, {letters}2, "
                f"...,{letters}K) format."
            )
        return list(given)
    return [given] * len(spatial)


def _sizes(
    spatial: Sequence[int], size: Any, scale_factor: Any, recompute: bool
) -> tuple[list[int], list[float]]:
    """(sizes of the result, scales that are used for the positions: 0 for none)."""
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is not None:
        out = [int(s) for s in _each("output", size, spatial, "o")]
        return out, [0.0] * len(spatial)
    if scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    scales = [float(s) for s in _each("scale_factor", scale_factor, spatial, "s")]
    out = [math.floor(n * s) for n, s in zip(spatial, scales)]
    return out, [0.0] * len(spatial) if recompute else scales


# ---- references of the tests: matrices from the definitions


def _hat(x: Any) -> Any:
    return np.maximum(1 - np.abs(x), 0)


def _matrix(kind: str, size: int, out: int, align: bool, scale: float | None) -> Any:
    """out x size weights, by evaluating the kernel at every distance."""
    step = 1 / scale if scale else size / out
    if align:
        step = (size - 1) / (out - 1) if out > 1 else 0
    o, i = np.arange(out)[:, None], np.arange(size)
    if kind in ("nearest", "nearest-exact"):
        chosen = np.floor((o + (0.5 if kind == "nearest-exact" else 0)) * step)
        return (np.minimum(chosen, size - 1) == i) * 1.0
    position = o * step if align else (o + 0.5) * step - 0.5
    if kind == "linear":
        return _hat(np.clip(position, 0, size - 1) - i)
    far = np.arange(-2, size + 2)
    weights = _cubic_weight(position - far, -0.75)
    result = np.zeros((out, size))
    places: Any = (slice(None), np.clip(far, 0, size - 1))
    np.add.at(result, places, weights)
    return result


def _numpy_interpolate(
    x: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Any:  # fmt: skip
    kind = _MODES[mode][0]
    out, scales = _sizes(x.shape[2:], size, scale_factor, bool(recompute_scale_factor))
    for axis, (n, s) in enumerate(zip(out, scales), 2):
        if kind == "area":
            bounds = [(o * x.shape[axis] // n, -(-(o + 1) * x.shape[axis] // n)) for o in range(n)]
            parts = [x.take(range(*b), axis).mean(axis, keepdims=True) for b in bounds]
            x = np.concatenate(parts, axis)
        else:
            matrix = _matrix(kind, x.shape[axis], n, bool(align_corners), s)
            x = np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)
    return x


def _interpolate_cases() -> list[Any]:
    shapes = {3: (2, 2, 7), 4: (1, 2, 5, 6), 5: (1, 2, 3, 4, 3)}
    names = {3: "linear", 4: "bilinear", 5: "trilinear"}
    calls: list[tuple[int, dict[str, Any]]] = []
    for ndim in shapes:
        for name in ("nearest", "nearest-exact", "area", names[ndim]):
            calls += [(ndim, {"scale_factor": 2, "mode": name}), (ndim, {"size": 4, "mode": name})]
        for align in (True, False):
            calls.append((ndim, {"size": 9, "mode": names[ndim], "align_corners": align}))
    for align in (True, False):
        calls.append((4, {"size": (11, 3), "mode": "bicubic", "align_corners": align}))
        scaled = {"scale_factor": (1.7, 0.6), "align_corners": align}
        calls.append((4, {"mode": "bilinear", **scaled}))
        calls.append((4, {"mode": "bilinear", **scaled, "recompute_scale_factor": True}))
        calls.append((4, {"mode": "bicubic", **scaled}))
    return [lambda make, d=d, o=o: ((make(*shapes[d]),), o) for d, o in calls]


@operation("pooling", method=False, numpy=_numpy_interpolate, cases=_interpolate_cases())
@takes("floating", "integers", "bool")
def interpolate(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:  # fmt: skip
    """The input resampled to `size`, or by `scale_factor`.

    Args:
        mode: nearest, nearest-exact, linear (3-D), bilinear (4-D), bicubic (4-D), trilinear (5-D),
            area.
        align_corners: the corner elements' centres stay where they are, instead of the corners of
            the corner elements.
        recompute_scale_factor: positions follow from the sizes instead of the given scale.
        antialias: bilinear and bicubic: filter before reducing.
    Shape: (N, C, ...) with one to three dimensions to resample.
    Source: Keys, Cubic Convolution Interpolation for Digital Image Processing, 1981.
    """
    layout = input._layout
    interpolates = mode not in ("nearest", "area", "nearest-exact")
    if align_corners is not None and not interpolates:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear "
            "| bicubic | trilinear"
        )
    if recompute_scale_factor and size is not None:
        raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
    spatial = layout.shape[2:]
    recompute = bool(recompute_scale_factor) or mode == "area"
    out, scales = _sizes(spatial, size, scale_factor, recompute)
    kind = _check_mode(mode, layout.ndim)
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(
            "Anti-alias option is restricted to bilinear and bicubic modes and requires a 4-D "
            "tensor as input"
        )
    if kind == "area":
        return _AREAS[len(spatial)](input, out)
    if min(*spatial, *out) <= 0 or not layout.shape[1]:
        raise RuntimeError(
            f"Input and output sizes should be greater than 0, but got input {list(spatial)} "
            f"output {out}"
        )
    if not layout.dtype.is_floating_point and interpolates:
        raise NotImplementedError(
            f'"interpolate" not implemented for {layout.dtype}. Convert with .float().'
        )
    return _resample(
        input, _axes(layout, kind + ("-aa" if antialias else ""), out, align_corners, scales),
        len(spatial), _NODES[kind, len(spatial)],
    )  # fmt: skip


def _axes(
    layout: Layout, kind: str, out: Sequence[int], align: bool | None, scales: Sequence[float]
) -> tuple[Taps, ...]:
    missing = [Axis("nearest", 1, 1)] * (3 - len(out))
    own = [
        Axis(kind, size, n, bool(align), scale)
        for size, n, scale in zip(layout.shape[2:], out, scales)
    ]
    return tuple([_tables[axis, layout.dtype.compute, layout.device] for axis in missing + own])
