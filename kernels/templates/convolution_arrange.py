"""Inputs of convolutions laid out so that positions follow each other, where they do not already.

With a stride s, the taps of one remainder modulo s see every s-th input: the input is split into
these *phases*, and within a phase the positions step by one. Where rows of the input and of the
output differ in length, rows get the longer of both lengths (`Axis.kept`). This is one pass over
the input; tl.dot then packs vectors of neighbours instead of gathering lane by lane for every tap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import gcd, prod
from typing import TYPE_CHECKING, Any, NamedTuple

from tritorch.kernels.templates.convolution_tables import Axis, agree, padded
from tritorch.kernels.templates.rows import ceil_divide, next_power_of_2
from tritorch.kernels.templates.template import kernel
from tritorch.layout import Layout, Shape, contiguous_strides

if TYPE_CHECKING:
    import triton.language as tl

#: no more positions than this many times those of the output
_MOST = 2.0


def _line(*, target: str, width: int) -> dict[str, Any]:
    return {"BLOCK": min(next_power_of_2(width), 1024)}


@kernel(default=_line, space={"BLOCK": [16, 32, 64, 128, 256, 512, 1024]}, key=("width", "dtype"))
def convolution_arrange(
    out_ptr, x_ptr, channels, phases1, phases2, n_phases, height, depth, width,
    size0, size1, size2, step0, step1, tap0, tap1, tap2, first0, first1, first2,
    x_image_stride, x_channel_stride, x_stride0, x_stride1, x_stride2,
    out_image_stride, out_channel_stride, out_phase_stride,
    STEP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """out[z, y, x] = x[z * step0 + remainder0, ...] of one channel and phase; zeros beyond it.

    One program: the depth * height lines of `width` elements of one channel and phase.
    """
    phase = tl.program_id(0) % n_phases
    rest = tl.program_id(0) // n_phases
    channel = rest % channels
    image = rest // channels
    r2 = ((phase % phases2) * tap2 + first2) % STEP
    r1 = (((phase // phases2) % phases1) * tap1 + first1) % step1
    r0 = ((phase // (phases2 * phases1)) * tap0 + first0) % step0
    x_ptr += image * x_image_stride + channel * x_channel_stride + r2 * x_stride2
    out_ptr += image * out_image_stride + channel * out_channel_stride + phase * out_phase_stride
    count = (size2 - r2 + STEP - 1) // STEP
    for line in range(depth * height):
        z = (line // height) * step0 + r0
        y = (line % height) * step1 + r1
        there = tl.where((z < size0) & (y < size1), count, 0)
        row_ptr = x_ptr + z * x_stride0 + y * x_stride1
        for start in range(0, width, BLOCK):
            columns = start + tl.arange(0, BLOCK)
            x = tl.load(row_ptr + columns * STEP * x_stride2, mask=columns < there, other=0.0)
            tl.store(out_ptr + line * width + columns, x, mask=columns < width)


class Operand(NamedTuple):
    """(images, channels, positions) of an argument of a launch, by strides in elements."""

    argument: int
    operand: Layout | str
    image_stride: int
    channel_stride: int


def plain(x: Layout, argument: int) -> Operand:
    """An argument as it is."""
    return Operand(argument, x, x.strides[0], x.strides[1])


def _remainders(axis: Axis) -> list[int]:
    """Of the phases that taps see, in the order of the taps."""
    period = axis.step // gcd(axis.tap, axis.step) if axis.step > 1 else 1
    count = max(min(period, axis.taps), 1)
    return [(t * axis.tap + axis.first) % max(axis.step, 1) for t in range(count)]


def follow(
    steps: Any, axes: Sequence[Axis], x: Layout, argument: int, together: bool
) -> tuple[list[Axis], Operand]:
    """The axes, and the input, with positions that follow each other; as they are if that would
    take too many.

    Args:
        steps: where a launch that copies the input is added.
        together: positions of all images follow each other.
    """
    axes = padded(axes)
    if all(axis.positions == 0 or axis.taps == 0 for axis in axes):
        return axes, plain(x, argument)
    remainders = [_remainders(axis) for axis in axes]
    widths = [
        max(ceil_divide(max(a.size - r, 0), max(a.step, 1)) for r in found)
        for a, found in zip(axes, remainders)
    ]
    counted = False
    positions, stored = [], []
    for axis, width in zip(axes, widths):
        inner = together or counted
        counted = counted or axis.positions > 1
        positions.append(max(axis.positions, width) if inner else axis.positions)
        stored.append(positions[-1] if inner else max(width, 1))
    if prod(positions) > _MOST * prod(axis.positions for axis in axes):
        return axes, plain(x, argument)
    spread = [replace(axis, positions=n) for axis, n in zip(axes, positions)]
    tight = contiguous_strides(tuple(positions))
    unit = not together and all(axis.step <= 1 for axis in axes)
    if unit and agree(positions, [axis.place_stride for axis in axes], tight):
        return spread, plain(x, argument)
    block = prod(stored)
    images = x.shape[0] if together else 1
    strides = contiguous_strides(tuple(stored))
    phase_strides = [
        s * block * images for s in contiguous_strides(tuple(len(found) for found in remainders))
    ]
    arranged = []
    for axis, found, stride, phase_stride in zip(spread, remainders, strides, phase_strides):
        places = tuple(
            (t * axis.tap + axis.first) // max(axis.step, 1) * stride
            + t % len(found) * phase_stride
            for t in range(axis.taps)
        )
        arranged.append(replace(axis, place_stride=stride, tap_places=places))
    source = copied(steps, axes, x, argument, stored, [len(f) for f in remainders], together)
    return arranged, source


def copied(
    steps: Any,
    axes: Sequence[Axis],
    x: Layout,
    argument: int,
    stored: Sequence[int],
    phases: Sequence[int],
    together: bool = False,
) -> Operand:
    """A copy with `stored` elements per axis and phase: (image, channel, phase, ...), or with the
    images inside of the phases.
    """
    n_phases, block = prod(phases), prod(stored)
    images, channels = x.shape[:2]
    image_stride = block if together else channels * n_phases * block
    channel_stride = n_phases * block * (images if together else 1)
    strides: Shape = (0,) * (len(axes) - len(x.shape) + 2) + x.strides[2:]
    values: dict[str, Any] = {
        "channels": channels, "n_phases": n_phases, "depth": stored[0], "height": stored[1],
        "width": stored[2], "x_image_stride": x.strides[0], "x_channel_stride": x.strides[1],
        "out_image_stride": image_stride, "out_channel_stride": channel_stride,
        "out_phase_stride": block * (images if together else 1),
        "phases1": phases[1], "phases2": phases[2], "STEP": max(axes[2].step, 1),
        "step0": max(axes[0].step, 1), "step1": max(axes[1].step, 1),
    }  # fmt: skip
    for d, axis in enumerate(axes):
        step = max(axis.step, 1)
        values |= {
            f"size{d}": axis.size, f"tap{d}": axis.tap % step, f"first{d}": axis.first % step,
            f"x_stride{d}": strides[d],
        }  # fmt: skip
    device = x.device
    values |= convolution_arrange.choose(device.type, dtype=x.dtype.name, width=stored[2])
    kind = f"*{x.dtype.triton}"
    grid = (images * channels * n_phases,)
    bound = convolution_arrange.bind(device, grid, {"out_ptr": kind, "x_ptr": x}, values)
    place = steps.workspace(images * channels * n_phases * block * x.dtype.itemsize)
    steps.add(bound, (place, argument))
    return Operand(place, kind, image_stride, channel_stride)
