"""Frames of a tensor's own elements (`pad` by reflection, replication, wrapping), and the gradient.

    y[o] = x[inside(o - before)]

along up to three dimensions; no index is read. The gradient gathers: an input collects from the
places `outside` of its own and of its images, in a fixed order.

Two forms: rows of a plane, whose inner elements are copied by vectors and whose ends are picked one
by one (CPU), and tiles of pixels x channels (GPUs, channels_last).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tritorch.kernels.plan import Plan, nothing
from tritorch.kernels.strides import (
    channels_last_layout,
    dense_in_format,
    is_channels_last,
    keeps_channels_last,
)
from tritorch.kernels.templates.pooling import Five, Triple, flat_values
from tritorch.kernels.templates.pooling_kernels import pixels, place
from tritorch.kernels.templates.rows import ceil_divide, next_power_of_2, to_compute
from tritorch.kernels.templates.template import helper, kernel
from tritorch.layout import Layout, Shape

if TYPE_CHECKING:
    import triton.language as tl

#: elements of a program; lanes of a row, and of its ends
_PROGRAM = 4096
_LANES, _ENDS = 64, 64

Pairs = tuple[tuple[int, int], ...]


@helper
def inside(i, size, MODE: tl.constexpr):
    """The element that stands at place i, which may be outside of 0 .. size - 1."""
    if MODE == "reflect":
        return size - 1 - tl.abs(size - 1 - tl.abs(i))
    elif MODE == "replicate":
        return tl.minimum(tl.maximum(i, 0), size - 1)
    else:
        return tl.where(i < 0, i + size, tl.where(i >= size, i - size, i))


@helper
def times(i, size, before, after, taps, MODE: tl.constexpr):
    """How many taps of `outside` may be places of element i."""
    if MODE == "replicate":
        first = tl.where(i == 0, tl.maximum(before, 0), 0)
        return 1 + first + tl.where(i == size - 1, tl.maximum(after, 0), 0)
    else:
        return taps


@helper
def outside(i, tap, size, out, before, after, MODE: tl.constexpr):
    """Where element i stands for the tap-th time, or -1. Tap 0 is its own place."""
    own = i + before
    own = tl.where((own >= 0) & (own < out), own, -1)
    if MODE == "reflect":
        left = tl.where((i >= 1) & (i <= before), before - i, -1)
        right = tl.where((i <= size - 2) & (i >= size - 1 - after), before + 2 * size - 2 - i, -1)
        return tl.where(tap == 0, own, tl.where(tap == 1, left, right))
    elif MODE == "replicate":
        place = tap + tl.where((i == 0) & (before > 0), 0, i + before)
        own = tap < times(i, size, before, after, tap + 1, MODE)
        return tl.where(own & (place >= 0) & (place < out), place, -1)
    else:
        left = tl.where(i >= size - before, i + before - size, -1)
        right = tl.where(i < after, i + before + size, -1)
        return tl.where(tap == 0, own, tl.where(tap == 1, left, right))


@kernel()
def frame_planes(
    y_ptr, x_ptr, size_c, rows_per_program, depth, height, width, out_depth, out_height, out_width,
    before_d, before_h, before_w, front, middle, ends,
    x_n_stride, x_c_stride, x_d_stride, x_h_stride, x_w_stride,
    MODE: tl.constexpr, BLOCK: tl.constexpr, ENDS: tl.constexpr,
):  # fmt: skip
    """One program: some rows of one plane. A row: `front` elements, `middle` ones, the rest."""
    row_blocks = (out_height + rows_per_program - 1) // rows_per_program
    plane = tl.program_id(0) // row_blocks
    first = (tl.program_id(0) % row_blocks) * rows_per_program
    sheet = plane // out_depth
    x_ptr += tl.cast(sheet // size_c, tl.int64) * x_n_stride
    x_ptr += tl.cast(sheet % size_c, tl.int64) * x_c_stride
    x_ptr += tl.cast(inside(plane % out_depth - before_d, depth, MODE), tl.int64) * x_d_stride
    y_ptr += tl.cast(plane, tl.int64) * out_height * out_width
    for row in range(first, tl.minimum(first + rows_per_program, out_height)):
        h = inside(row - before_h, height, MODE)
        source = x_ptr + tl.cast(h, tl.int64) * x_h_stride
        target = y_ptr + tl.cast(row, tl.int64) * out_width
        for start in range(0, middle, BLOCK):
            columns = start + tl.arange(0, BLOCK)
            x = tl.load(source + (columns + front - before_w) * x_w_stride, mask=columns < middle)
            tl.store(target + front + columns, x, mask=columns < middle)
        for start in range(0, ends, ENDS):
            lanes = start + tl.arange(0, ENDS)
            columns = tl.where(lanes < front, lanes, lanes + middle)
            places = inside(columns - before_w, width, MODE) * x_w_stride
            x = tl.load(source + places, mask=lanes < ends)
            tl.store(target + columns, x, mask=lanes < ends)


@kernel()
def frame_planes_gradient(
    x_ptr, y_ptr, size_c, rows_per_program, depth, height, width,
    out_depth, out_height, out_width, before_d, before_h, before_w, after_d, after_h, after_w,
    taps_d, taps_h, taps_w, front, middle, ends,
    y_n_stride, y_c_stride, y_d_stride, y_h_stride, y_w_stride,
    MODE: tl.constexpr, BLOCK: tl.constexpr, ENDS: tl.constexpr,
):  # fmt: skip
    """x from y. One program: some rows of one plane of x; `middle` elements have one place only."""
    row_blocks = (height + rows_per_program - 1) // rows_per_program
    plane = tl.program_id(0) // row_blocks
    first = (tl.program_id(0) % row_blocks) * rows_per_program
    sheet, slice = plane // depth, plane % depth
    y_ptr += tl.cast(sheet // size_c, tl.int64) * y_n_stride
    y_ptr += tl.cast(sheet % size_c, tl.int64) * y_c_stride
    x_ptr += tl.cast(plane, tl.int64) * height * width
    times_d = times(slice, depth, before_d, after_d, taps_d, MODE)
    WIDE: tl.constexpr = x_ptr.dtype.element_ty.primitive_bitwidth == 64
    SUM: tl.constexpr = tl.float64 if WIDE else tl.float32
    for row in range(first, tl.minimum(first + rows_per_program, height)):
        target = x_ptr + tl.cast(row, tl.int64) * width
        times_h = times(row, height, before_h, after_h, taps_h, MODE)
        for start in range(0, middle, BLOCK):
            lanes = start + tl.arange(0, BLOCK)
            columns = lanes + front + before_w
            mask = (lanes < middle) & (columns >= 0) & (columns < out_width)
            total = tl.zeros((BLOCK,), dtype=SUM)
            for td in range(times_d):
                d = outside(slice, td, depth, out_depth, before_d, after_d, MODE)
                for th in range(times_h):
                    h = outside(row, th, height, out_height, before_h, after_h, MODE)
                    if (d >= 0) & (h >= 0):
                        source = y_ptr + tl.cast(d, tl.int64) * y_d_stride
                        source += tl.cast(h, tl.int64) * y_h_stride
                        total += to_compute(
                            tl.load(source + columns * y_w_stride, mask=mask, other=0)
                        )
            total = total.to(x_ptr.dtype.element_ty)
            tl.store(target + front + lanes, total, mask=lanes < middle)
        for start in range(0, ends, ENDS):
            lanes = start + tl.arange(0, ENDS)
            columns = tl.where(lanes < front, lanes, lanes + middle)
            total = tl.zeros((ENDS,), dtype=SUM)
            for td in range(times_d):
                d = outside(slice, td, depth, out_depth, before_d, after_d, MODE)
                for th in range(times_h):
                    h = outside(row, th, height, out_height, before_h, after_h, MODE)
                    if (d >= 0) & (h >= 0):
                        source = y_ptr + tl.cast(d, tl.int64) * y_d_stride
                        source += tl.cast(h, tl.int64) * y_h_stride
                        for tw in range(taps_w):
                            w = outside(columns, tw, width, out_width, before_w, after_w, MODE)
                            mask = (lanes < ends) & (w >= 0)
                            total += to_compute(
                                tl.load(source + w * y_w_stride, mask=mask, other=0)
                            )
            total = total.to(x_ptr.dtype.element_ty)
            tl.store(target + columns, total, mask=lanes < ends)


@kernel()
def frame_flat(
    y_ptr, x_ptr, count, channels, size_c, depth, height, width, out_depth, out_height, out_width,
    before_d, before_h, before_w,
    x_n_stride, x_c_stride, x_d_stride, x_h_stride, x_w_stride,
    y_n_stride, y_c_stride, y_d_stride, y_h_stride, y_w_stride,
    MODE: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """One program: a tile of pixels x channels."""
    n, c, od, oh, ow, exists = pixels(
        tl.program_id(0), channels, size_c, out_depth, out_height, out_width, PIXELS, CHANNELS
    )
    mask = exists & (n * size_c < count)
    d = inside(od - before_d, depth, MODE)
    h = inside(oh - before_h, height, MODE)
    w = inside(ow - before_w, width, MODE)
    places = place(n, c, d, h, w, x_n_stride, x_c_stride, x_d_stride, x_h_stride, x_w_stride)
    x = tl.load(x_ptr + places, mask=mask)
    places = place(n, c, od, oh, ow, y_n_stride, y_c_stride, y_d_stride, y_h_stride, y_w_stride)
    tl.store(y_ptr + places, x, mask=mask)


@kernel()
def frame_flat_gradient(
    x_ptr, y_ptr, count, channels, size_c, depth, height, width, out_depth, out_height, out_width,
    before_d, before_h, before_w, after_d, after_h, after_w, taps_d, taps_h, taps_w,
    x_n_stride, x_c_stride, x_d_stride, x_h_stride, x_w_stride,
    y_n_stride, y_c_stride, y_d_stride, y_h_stride, y_w_stride,
    MODE: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """x from y. One program: a tile of pixels x channels of x."""
    n, c, id, ih, iw, exists = pixels(
        tl.program_id(0), channels, size_c, depth, height, width, PIXELS, CHANNELS
    )
    mask = exists & (n * size_c < count)
    y_ptr += place(n, c, 0, 0, 0, y_n_stride, y_c_stride, 0, 0, 0)
    WIDE: tl.constexpr = x_ptr.dtype.element_ty.primitive_bitwidth == 64
    total = tl.zeros((PIXELS, CHANNELS), dtype=tl.float64 if WIDE else tl.float32)
    for tap in range(taps_d * taps_h * taps_w):
        td = tap // (taps_h * taps_w)
        d = outside(id, td, depth, out_depth, before_d, after_d, MODE)
        h = outside(ih, tap // taps_w % taps_h, height, out_height, before_h, after_h, MODE)
        w = outside(iw, tap % taps_w, width, out_width, before_w, after_w, MODE)
        places = place(0, 0, d, h, w, 0, 0, y_d_stride, y_h_stride, y_w_stride)
        valid = (d >= 0) & (h >= 0) & (w >= 0) & mask
        total += to_compute(tl.load(y_ptr + places, mask=valid, other=0))
    places = place(n, c, id, ih, iw, x_n_stride, x_c_stride, x_d_stride, x_h_stride, x_w_stride)
    tl.store(x_ptr + places, total.to(x_ptr.dtype.element_ty), mask=mask)


def framed_shape(shape: Shape, pairs: Pairs) -> Shape:
    """The shape with (before, after) more in each of the last dimensions."""
    kept = shape[: len(shape) - len(pairs)]
    sizes = zip(shape[len(kept) :], pairs, strict=True)
    return (*kept, *(size + before + after for size, (before, after) in sizes))


def _values(x: Five, y: Five, pairs: Pairs) -> dict[str, Any]:
    """Sizes and amounts of three dimensions."""
    found: dict[str, Any] = dict(zip(("depth", "height", "width"), x.sizes))
    found |= dict(zip(("out_depth", "out_height", "out_width"), y.sizes))
    three = ((0, 0),) * (3 - len(pairs)) + pairs
    for axis, (before, after) in zip("dhw", three):
        found |= {f"before_{axis}": before, f"after_{axis}": after}
    return found


def _taps(pairs: Pairs, mode: str) -> Triple:
    """How often an element may stand in the result, along each of three dimensions."""

    def count(before: int, after: int) -> int:
        if mode == "replicate":
            return 1 + max(before, 0) + max(after, 0)
        return 3 if before > 0 or after > 0 else 1

    found = [count(*pair) for pair in ((0, 0),) * (3 - len(pairs)) + pairs]
    return found[0], found[1], found[2]


def _rows(five: Five, width: int, ends: int) -> tuple[int, dict[str, Any]]:
    """(programs, values) of a kernel that walks rows of so many elements."""
    depth, height, length = five.sizes
    rows = max(1, min(height, _PROGRAM // length))
    values = {
        "size_c": five.c, "rows_per_program": rows,
        "BLOCK": max(1, min(_LANES, next_power_of_2(width))),
        "ENDS": max(1, min(_ENDS, next_power_of_2(ends))),
    }  # fmt: skip
    return five.n * five.c * depth * ceil_divide(height, rows), values


def plan(x: Layout, pairs: Pairs, mode: str) -> Plan:
    """(y, x): x with elements of its own before and after.

    Args:
        pairs: (before, after) of each of the last one to three dimensions; negative ones cut off.
        mode: "reflect", "replicate" or "circular".
    """
    spatial = len(pairs)
    shape = framed_shape(x.shape, pairs)
    y = Layout.contiguous(x.dtype, shape, x.device)
    if mode != "circular" and spatial == x.ndim - 2 and keeps_channels_last(x):
        y = channels_last_layout(y)
    if not y.numel:
        return Plan((y,), nothing)
    source, target = Five.of(x, spatial), Five.of(y, spatial)
    values = _values(source, target, pairs) | source.stride_values("x") | {"MODE": mode}
    last = is_channels_last(y, spatial)
    if x.device.type == "cpu" and not last:
        front, back = (max(amount, 0) for amount in pairs[-1])
        middle = target.sizes[2] - front - back
        programs, more = _rows(target, middle, front + back)
        values |= more | {"front": front, "middle": middle, "ends": front + back}
        template = frame_planes
    else:
        programs, more = flat_values(target, target.sizes, last, x.device.type)
        values |= more | target.stride_values("y")
        template = frame_flat
    values = {name: value for name, value in values.items() if name in template.parameters}
    launch, compiled = template.bind(x.device, (programs,), {"y_ptr": y, "x_ptr": x}, values)
    return Plan((y,), launch, (compiled,))


def plan_gradient(y: Layout, shape: Shape, pairs: Pairs, mode: str) -> Plan:
    """(x, y): what each element of a tensor of this shape collects from a framed y."""
    spatial = len(pairs)
    x = dense_in_format(shape, y.dtype, y, spatial)
    if not x.numel:
        return Plan((x,), nothing)
    source, target = Five.of(y, spatial), Five.of(x, spatial)
    values = _values(target, source, pairs) | source.stride_values("y") | {"MODE": mode}
    values |= dict(zip(("taps_d", "taps_h", "taps_w"), _taps(pairs, mode)))
    last = is_channels_last(y, spatial)
    if y.device.type == "cpu" and not last:
        width = target.sizes[2]
        before, after = (max(amount, 0) for amount in pairs[-1])
        if mode == "circular":
            before, after = after, before
        elif before or after:  # the end itself is counted, too
            before, after = before + 1, after + 1
        front = before if before + after < width else width
        middle = width - front - after if front < width else 0
        programs, more = _rows(target, middle, width - middle)
        values |= more | {"front": front, "middle": middle, "ends": width - middle}
        template = frame_planes_gradient
    else:
        programs, more = flat_values(target, target.sizes, last, y.device.type)
        values |= more | target.stride_values("x")
        template = frame_flat_gradient
    values = {name: value for name, value in values.items() if name in template.parameters}
    launch, compiled = template.bind(y.device, (programs,), {"x_ptr": x, "y_ptr": y}, values)
    return Plan((x,), launch, (compiled,))
