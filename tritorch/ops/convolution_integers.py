"""Convolutions of integers: windows times weights as matrices. They have no gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritorch.ops.creation import zeros
from tritorch.ops.linalg import matmul
from tritorch.ops.padding import pad
from tritorch.ops.views import flatten, movedim, reshape, transpose
from tritorch.tensor import Tensor

if TYPE_CHECKING:
    from tritorch.kernels.templates.convolution import Geometry


def _windows(x: Tensor, kernel: tuple[int, ...], steps: tuple[int, ...], holes: tuple[int, ...],
             out: tuple[int, ...]) -> Tensor:  # fmt: skip
    """(N, C, *out, *kernel): what each output sees."""
    for axis, (size, step, hole, count) in enumerate(zip(kernel, steps, holes, out, strict=True)):
        x = x.unfold(2 + axis, hole * (size - 1) + 1, step).narrow(2 + axis, 0, count)
        x = x[..., ::hole]
    return x


def _products(windows: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    """Windows (N, C, *out, *kernel) and weights (M, C / groups, *kernel) -> (N, M, *out)."""
    rank = weight.ndim - 2
    batch = windows.shape[0]
    out = windows.shape[2 : 2 + rank]
    rows = movedim(windows, 1, 1 + rank)  # (N, *out, C, *kernel)
    rows = reshape(rows, batch * out.numel(), groups, -1)
    columns = reshape(weight, groups, weight.shape[0] // groups, -1)
    made = matmul(transpose(rows, 0, 1), transpose(columns, 1, 2))  # (groups, N * out, M / groups)
    result = reshape(transpose(made, 0, 1), batch, *out, -1)
    if bias is not None:
        result = result + bias
    return movedim(result, -1, 1).contiguous()


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """The convolution of integers."""
    frame: list[int] = []
    columns = zip(
        geometry.input, geometry.kernel, geometry.stride, geometry.padding, geometry.dilation,
        geometry.output, strict=True,
    )  # fmt: skip
    for size, kernel, stride, before, dilation, out in columns:
        reach = (out - 1) * stride + dilation * (kernel - 1) + 1
        frame = [before, max(reach - size - before, 0), *frame]
    windows = _windows(
        pad(x, frame), geometry.kernel, geometry.stride, geometry.dilation, geometry.output
    )
    return _products(windows, weight, bias, geometry.groups)


def transpose_of(g: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """The transpose: a convolution of what was spread by the stride with the weights turned."""
    rank = weight.ndim - 2
    groups = geometry.groups
    reach = [d * (k - 1) for d, k in zip(geometry.dilation, geometry.kernel, strict=True)]
    # Each number stands where its window begins, in a plane with room for every tap around.
    sizes = [i + p + r for i, p, r in zip(geometry.input, geometry.padding, reach, strict=True)]
    spread = zeros(
        *g.shape[:2], *[s + max((o - 1) * t + r + 1 - s, 0) for s, o, t, r in
                        zip(sizes, geometry.output, geometry.stride, reach, strict=True)],
        dtype=g.dtype, device=g.device,
    )  # fmt: skip
    places = tuple(
        slice(r, r + (o - 1) * t + 1, t)
        for r, o, t in zip(reach, geometry.output, geometry.stride, strict=True)
    )
    spread[(slice(None), slice(None), *places)] = g
    starts = tuple(slice(p, None) for p in geometry.padding)
    seen = spread[(slice(None), slice(None), *starts)]
    ones = (1,) * rank
    windows = _windows(seen, geometry.kernel, ones, geometry.dilation, geometry.input)
    turned = weight.flip(tuple(range(2, 2 + rank)))
    parts = reshape(turned, groups, weight.shape[0] // groups, *weight.shape[1:])
    turned = flatten(transpose(parts, 1, 2), 0, 1)
    return _products(windows, turned, bias, groups)
