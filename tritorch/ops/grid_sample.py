"""Sampling at given positions: `grid_sample`, and `affine_grid`, which makes positions.

Written in operations that have gradients: positions become whole indices and weights, values are
gathered and summed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tritorch import dtypes
from tritorch.layout import numel
from tritorch.ops.arithmetic import abs, clamp, fmod
from tritorch.ops.comparison import masked_fill, where
from tritorch.ops.creation import tensor
from tritorch.ops.declare import operation, takes
from tritorch.ops.elementary import floor, round, sign
from tritorch.ops.linalg import matmul
from tritorch.ops.memory import to_dtype
from tritorch.ops.selection import gather
from tritorch.ops.views import expand, reshape, select, transpose, unsqueeze
from tritorch.tensor import Tensor

# ---- positions


def _pixels(x: Any, size: int, align_corners: bool) -> Any:
    """-1 .. 1 as 0 .. size - 1: centres of the corner elements, or their outer edges."""
    if align_corners:
        return (x + 1) * ((size - 1) / 2)
    return ((x + 1) * size - 1) * 0.5


def _reflected(x: Tensor, size: int, align_corners: bool) -> Tensor:
    """Thrown back at the centres of the corner elements, or at their outer edges."""
    low = 0.0 if align_corners else -0.5
    span = float(size - 1 if align_corners else size)
    if not span:
        return x * 0
    distance = abs(x - low)
    rest = fmod(distance, span)
    odd = fmod(floor(distance.detach() / span), 2) == 1
    found: Tensor = where(odd, span - rest, rest) + low
    return found


def _placed(x: Tensor, size: int, padding_mode: str, align_corners: bool) -> Tensor:
    """Positions brought inside, if the padding asks for it."""
    if padding_mode == "reflection":
        x = _reflected(x, size, align_corners)
    if padding_mode != "zeros":
        x = clamp(x, 0, size - 1)
    return x


def _taps(
    x: Tensor, size: int, mode: str, padding_mode: str, align_corners: bool
) -> list[tuple[Tensor, Tensor | None]]:
    """(position of a tap as a whole number in floats, weight; None for 1) along one dimension."""
    x = _pixels(x, size, align_corners)
    if mode == "bicubic":  # taps are brought inside, not the position
        first = floor(x.detach())
        distance = x - first
        taps: list[tuple[Tensor, Tensor | None]] = []
        for step in range(-1, 3):
            place = _placed(first + step, size, padding_mode, align_corners)
            taps.append((place, _cubic(distance - step, step in (0, 1))))
        return taps
    x = _placed(x, size, padding_mode, align_corners)
    if mode == "nearest":
        # The grid has a gradient, which is zero.
        weight = 1 - sign(x) * 0 if x._requires_grad else None
        return [(round(x.detach()), weight)]
    first = floor(x.detach())
    upper = x - first
    return [(first, 1 - upper), (first + 1, upper)]


def _cubic(x: Tensor, near: bool, a: float = -0.75) -> Tensor:
    """Keys' kernel on [-1, 1], or beyond."""
    x = abs(x)
    if near:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return ((x - 5) * x + 8) * x * a - 4 * a


# ---- references of the tests


def _numpy_place(x: float, size: int, padding_mode: str, align_corners: bool) -> float:
    if padding_mode == "reflection":
        low, span = (0.0, size - 1.0) if align_corners else (-0.5, float(size))
        x = float(np.abs(x - low) % (2 * span)) if span else 0.0
        x = (2 * span - x if x > span else x) + low
    return x if padding_mode == "zeros" else min(max(x, 0.0), size - 1.0)


def _numpy_weights(x: float, size: int, mode: str, padding: str, align: bool) -> Any:
    """The weight of each element for one position."""
    weights = np.zeros(size)
    x = (x + 1) * (size - 1) / 2 if align else ((x + 1) * size - 1) / 2
    if mode != "bicubic":
        x = _numpy_place(x, size, padding, align)
    first = int(np.floor(x))
    if mode == "nearest":
        taps = [(float(np.round(x)), 1.0)]
    elif mode == "bilinear":
        taps = [(i, 1 - np.abs(x - i)) for i in (first, first + 1)]
    else:
        taps = []
        for i in range(first - 1, first + 3):
            d = float(np.abs(x - i))
            near = 1.25 * d**3 - 2.25 * d**2 + 1
            far = -0.75 * d**3 + 3.75 * d**2 - 6 * d + 3
            taps.append((_numpy_place(i, size, padding, align), near if d <= 1 else far))
    for place, weight in taps:
        if 0 <= place < size:
            weights[int(place)] += weight
    return weights


def _numpy_grid_sample(
    x: Any, grid: Any, mode: str = "bilinear", padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Any:  # fmt: skip
    spatial = x.shape[2:]
    result = np.zeros((*x.shape[:2], *grid.shape[1:-1]))
    for n, *at in np.ndindex(grid.shape[:-1]):
        value = x[n]
        for axis in range(len(spatial)):
            position = grid[(n, *at)][len(spatial) - 1 - axis]
            weights = _numpy_weights(
                position, spatial[axis], mode, padding_mode, bool(align_corners)
            )
            value = np.tensordot(value, weights, (1, 0))
        result[(n, slice(None), *at)] = value
    return result


def _grid_cases() -> list[Any]:
    def case(ndim: int, mode: str, padding: str, align: bool) -> Any:
        def make_case(make: Any) -> Any:
            x = make(1, 2, *(4, 5, 3)[5 - ndim :])
            # away from whole pixels and borders, where the derivative jumps
            grid = np.array([-1.37, -0.93, -0.31, 0.13, 0.57, 1.21])
            grid = grid[np.arange(4 * (ndim - 2)) * 5 % 6]
            return (x, grid.reshape(1, *(2,) * 2, *(1,) * (ndim - 4), ndim - 2)), {
                "mode": mode, "padding_mode": padding, "align_corners": align,
            }  # fmt: skip

        return make_case

    paddings = ("zeros", "border", "reflection")
    calls = list(itertools.product((4,), ("bilinear", "nearest", "bicubic"), paddings, (True,)))
    calls += [(4, "bilinear", p, False) for p in paddings]
    calls += [(5, "bilinear", "zeros", False), (5, "bilinear", "reflection", True)]
    return [case(*call) for call in [*calls, (5, "nearest", "border", False)]]


# ---- operations


def _check(input: Tensor, grid: Tensor, mode: str, padding_mode: str) -> None:
    shape, places = input._layout.shape, grid._layout.shape
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(
            "nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', "
            f"but got: '{mode}'"
        )
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or "
            f"'reflection', but got: '{padding_mode}'"
        )
    if len(shape) not in (4, 5) or len(places) != len(shape):
        raise RuntimeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but "
            f"got input with sizes {list(shape)} and grid with sizes {list(places)}"
        )
    if shape[0] != places[0]:
        raise RuntimeError(
            "grid_sampler(): expected grid and input to have same batch size, but got input with "
            f"sizes {list(shape)} and grid with sizes {list(places)}"
        )
    if places[-1] != len(shape) - 2:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {len(shape) - 2} in last dimension, but "
            f"got grid with sizes {list(places)}"
        )
    if 0 in shape[2:]:
        raise RuntimeError(
            "grid_sampler(): expected input to have non-empty spatial dimensions, but input has "
            f"sizes {list(shape)}"
        )
    if mode == "bicubic" and len(shape) != 4:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    if input._layout.dtype is not grid._layout.dtype:
        raise RuntimeError(
            "grid_sampler(): expected input and grid to have same dtype, but input has "
            f"{input._layout.dtype} and grid has {grid._layout.dtype}"
        )


@operation("pooling", method=False, operands=2, numpy=_numpy_grid_sample, cases=_grid_cases())
@takes("all")
def grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:  # fmt: skip
    """The input at the positions of `grid`, of which -1 and 1 are the two ends of a dimension.

    Args:
        mode: bilinear (of 5-D inputs: trilinear), nearest, bicubic (4-D only).
        padding_mode: outside are zeros, the border elements, or reflections.
        align_corners: -1 and 1 are the centres of the corner elements, instead of their edges.
    Shape: (N, C, H, W) and (N, Ho, Wo, 2) give (N, C, Ho, Wo); the last dimension is (x, y). With
        a depth: (N, C, D, H, W) and (N, Do, Ho, Wo, 3), of (x, y, z).
    Source: Jaderberg et al., Spatial Transformer Networks, 2015.
    """
    _check(input, grid, mode, padding_mode)
    kind = input._layout.dtype
    input, grid = to_dtype(input, kind.compute), to_dtype(grid, kind.compute)
    n, c, *spatial = input._layout.shape
    out = grid._layout.shape[1:-1]
    flat = reshape(input, n, c, numel(spatial))
    positions = reshape(grid, n, numel(out), len(spatial))
    along = [
        _taps(
            select(positions, 2, len(spatial) - 1 - axis), size, mode, padding_mode,
            bool(align_corners),
        )
        for axis, size in enumerate(spatial)
    ]  # fmt: skip
    total: Tensor | None = None
    for taps in itertools.product(*along):
        index, inside, weight = _combined(taps, spatial)
        places = expand(unsqueeze(index, 1), n, c, index._layout.shape[1])
        value = gather(flat, 2, places)
        if padding_mode == "zeros":
            value = masked_fill(value, unsqueeze(inside == 0, 1), 0)
        if weight is not None:
            value = value * unsqueeze(weight, 1)
        total = value if total is None else total + value
    result: Tensor = to_dtype(reshape(total, n, c, *out), kind)
    return result


def _combined(
    taps: Sequence[tuple[Tensor, Tensor | None]], spatial: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor | None]:
    """(index in a plane, whether inside, weight) of one tap of every dimension."""
    index: Any = None
    inside: Any = None
    weight: Any = None
    for (place, own), size in zip(taps, spatial):
        here = (place >= 0) & (place <= size - 1)  # nan is nowhere
        whole = to_dtype(masked_fill(place, here == 0, 0).detach(), dtypes.int64)
        index = whole if index is None else index * size + whole
        inside = here if inside is None else inside & here
        if own is not None:
            weight = own if weight is None else weight * own
    return index, inside, weight


def _centres(size: int, align_corners: bool) -> Any:
    """The elements' positions between -1 and 1."""
    if size == 1:
        return np.zeros(1)
    positions = np.linspace(-1, 1, size)
    return positions if align_corners else positions * (size - 1) / size


def _base(sizes: Sequence[int], align_corners: bool) -> Any:
    """Homogeneous coordinates (x, y[, z], 1) of all elements."""
    axes = np.meshgrid(*[_centres(size, align_corners) for size in sizes], indexing="ij")
    columns = [axis.ravel() for axis in reversed(axes)]
    return np.stack([*columns, np.ones(numel(sizes))], 1)


def _numpy_affine_grid(theta: Any, size: Any, align_corners: bool | None = None) -> Any:
    base = _base(size[2:], bool(align_corners))
    found = np.einsum("pk,njk->npj", base, theta)
    return found.reshape(theta.shape[0], *size[2:], len(size) - 2)


@operation(
    "pooling",
    method=False,
    numpy=_numpy_affine_grid,
    cases=[
        lambda make: ((make(2, 2, 3), (2, 1, 3, 4)), {"align_corners": True}),
        lambda make: ((make(1, 2, 3), (1, 3, 1, 2)), {}),
        lambda make: ((make(1, 3, 4), (1, 1, 2, 3, 2)), {"align_corners": False}),
    ],
)
@takes("floating")
def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """Positions for `grid_sample`: of every element of an output of this size, transformed.

    Args:
        theta: matrices (N, 2, 3), or (N, 3, 4) with a depth.
        size: of the output, (N, C, H, W) or (N, C, D, H, W).
    """
    layout = theta._layout
    if not layout.dtype.is_floating_point:
        raise ValueError(f"Expected theta to have floating point type, but got {layout.dtype}")
    dims = len(size) - 2
    if dims not in (2, 3):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, "
            f"respectively. Got size {tuple(size)}."
        )
    if layout.ndim != 3 or layout.shape[1:] != (dims, dims + 1):
        raise ValueError(
            f"Expected a batch of {dims}D affine matrices of shape Nx{dims}x{dims + 1} for size "
            f"{tuple(size)}. Got {theta.shape}."
        )
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {tuple(size)}")
    base = tensor(_base(size[2:], bool(align_corners)), dtype=layout.dtype, device=layout.device)
    positions = matmul(unsqueeze(base, 0), transpose(theta, 1, 2))
    result: Tensor = reshape(positions, layout.shape[0], *size[2:], dims)
    return result
