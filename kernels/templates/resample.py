"""Resampling along up to three dimensions: every result is a weighted sum of a few elements.

    y[o] = sum over taps t of weight[t, o] * x[index[t, o]]

along each dimension, with tables of indices and weights that the caller makes; an index of -1 is no
tap. Interpolation of every kind is one set of tables, its gradient another (the transposed map).

Two forms: rows of a plane with neighbouring results as lanes (CPU), and tiles of pixels x channels
(GPUs, channels_last).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tritorch.dtypes import int32
from tritorch.kernels.plan import Plan, nothing
from tritorch.kernels.strides import dense_in_format, is_channels_last
from tritorch.kernels.templates.pooling import (
    Five,
    Triple,
    flat_values,
)
from tritorch.kernels.templates.pooling_kernels import pixels, place
from tritorch.kernels.templates.rows import ceil_divide, next_power_of_2, to_compute
from tritorch.kernels.templates.template import helper, kernel
from tritorch.layout import Layout, numel

if TYPE_CHECKING:
    import triton.language as tl

#: taps up to which the loops over them are unrolled; results of a program
_UNROLLED = 16
_PROGRAM = 4096


@helper
def row_of_taps(x_ptr, index_ptr, weight_ptr, o, out, stride, mask, COMPUTE: tl.constexpr,
                TAPS: tl.constexpr, UNROLL: tl.constexpr):  # fmt: skip
    """The weighted sums along the last dimension."""
    total = tl.zeros(mask.shape, dtype=COMPUTE)
    if UNROLL:
        for tap in tl.static_range(TAPS):
            i = tl.load(index_ptr + tap * out + o, mask=mask, other=-1)
            weight = tl.load(weight_ptr + tap * out + o, mask=mask, other=0)
            x = tl.load(x_ptr + tl.cast(i, tl.int64) * stride, mask=mask & (i >= 0), other=0)
            total += to_compute(x) * weight
    else:
        for tap in range(TAPS):
            i = tl.load(index_ptr + tap * out + o, mask=mask, other=-1)
            weight = tl.load(weight_ptr + tap * out + o, mask=mask, other=0)
            x = tl.load(x_ptr + tl.cast(i, tl.int64) * stride, mask=mask & (i >= 0), other=0)
            total += to_compute(x) * weight
    return total


@kernel()
def resample_planes(
    y_ptr, x_ptr, index_d_ptr, weight_d_ptr, index_h_ptr, weight_h_ptr, index_w_ptr, weight_w_ptr,
    size_c, n_rows, rows_per_program, out_depth, out_height, out_width,
    x_n_stride, x_c_stride, x_d_stride, x_h_stride, x_w_stride,
    TD: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr, UNROLL: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: some rows of one plane."""
    COMPUTE: tl.constexpr = weight_w_ptr.dtype.element_ty
    row_blocks = (n_rows + rows_per_program - 1) // rows_per_program
    plane = tl.program_id(0) // row_blocks
    first = (tl.program_id(0) % row_blocks) * rows_per_program
    x_ptr += tl.cast(plane // size_c, tl.int64) * x_n_stride
    x_ptr += tl.cast(plane % size_c, tl.int64) * x_c_stride
    for row in range(first, tl.minimum(first + rows_per_program, n_rows)):
        od = row // out_height
        oh = row % out_height
        at = (tl.cast(plane, tl.int64) * n_rows + row) * out_width
        for start in range(0, out_width, BLOCK):
            ow = start + tl.arange(0, BLOCK)
            mask = ow < out_width
            total = tl.zeros((BLOCK,), dtype=COMPUTE)
            for td in range(TD):
                d = tl.load(index_d_ptr + td * out_depth + od)
                weight_d = tl.load(weight_d_ptr + td * out_depth + od)
                for th in range(TH):
                    h = tl.load(index_h_ptr + th * out_height + oh)
                    weight = weight_d * tl.load(weight_h_ptr + th * out_height + oh)
                    if (d >= 0) & (h >= 0):
                        row_ptr = x_ptr + tl.cast(d, tl.int64) * x_d_stride
                        row_ptr += tl.cast(h, tl.int64) * x_h_stride
                        total += weight * row_of_taps(
                            row_ptr, index_w_ptr, weight_w_ptr, ow, out_width, x_w_stride, mask,
                            COMPUTE, TW, UNROLL,
                        )  # fmt: skip
            tl.store(y_ptr + at + ow, total.to(y_ptr.dtype.element_ty), mask=mask)


@kernel()
def resample_flat(
    y_ptr, x_ptr, index_d_ptr, weight_d_ptr, index_h_ptr, weight_h_ptr, index_w_ptr, weight_w_ptr,
    count, channels, size_c, out_depth, out_height, out_width,
    x_n_stride, x_c_stride, x_d_stride, x_h_stride, x_w_stride,
    y_n_stride, y_c_stride, y_d_stride, y_h_stride, y_w_stride,
    TD: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """One program: a tile of pixels x channels."""
    n, c, od, oh, ow, exists = pixels(
        tl.program_id(0), channels, size_c, out_depth, out_height, out_width, PIXELS, CHANNELS
    )
    mask = exists & (n * size_c < count)
    row = n * size_c < count
    x_ptr += place(n, c, 0, 0, 0, x_n_stride, x_c_stride, 0, 0, 0)
    total = tl.zeros((PIXELS, CHANNELS), dtype=weight_w_ptr.dtype.element_ty)
    for tap in range(TD * TH * TW):
        td = tap // (TH * TW) * out_depth + od
        th = tap // TW % TH * out_height + oh
        tw = tap % TW * out_width + ow
        d = tl.load(index_d_ptr + td, mask=row, other=-1)
        h = tl.load(index_h_ptr + th, mask=row, other=-1)
        w = tl.load(index_w_ptr + tw, mask=row, other=-1)
        weight = tl.load(weight_d_ptr + td, mask=row, other=0)
        weight *= tl.load(weight_h_ptr + th, mask=row, other=0)
        weight *= tl.load(weight_w_ptr + tw, mask=row, other=0)
        offsets = place(0, 0, d, h, w, 0, 0, x_d_stride, x_h_stride, x_w_stride)
        inside = (d >= 0) & (h >= 0) & (w >= 0) & mask
        total += to_compute(tl.load(x_ptr + offsets, mask=inside, other=0)) * weight
    offsets = place(n, c, od, oh, ow, y_n_stride, y_c_stride, y_d_stride, y_h_stride, y_w_stride)
    tl.store(y_ptr + offsets, total.to(y_ptr.dtype.element_ty), mask=mask)


def plan(x: Layout, spatial: int, out: Triple, taps: Triple) -> Plan:
    """y; launch(y, x, index_d, weight_d, index_h, weight_h, index_w, weight_w).

    Args:
        out: sizes of the result; of dimensions that x does not have, 1.
        taps: rows of the tables, each `taps x out`: int32, and x's compute dtype.
    """
    five = Five.of(x, spatial)
    shape = (*x.shape[: x.ndim - spatial], *out[3 - spatial :])
    y = dense_in_format(shape, x.dtype, x, spatial)
    if not y.numel or not numel(five.sizes):
        return Plan([y], nothing)
    compute = x.dtype.compute
    values: dict[str, Any] = {
        **five.stride_values("x"), **dict(zip(("out_depth", "out_height", "out_width"), out)),
        **dict(zip(("TD", "TH", "TW"), taps)),
    }  # fmt: skip
    operands: dict[str, Any] = {"y_ptr": y, "x_ptr": x}
    for axis in "dhw":
        operands[f"index_{axis}_ptr"] = int32
        operands[f"weight_{axis}_ptr"] = compute
    last = is_channels_last(x, spatial)
    if x.device.type == "cpu" and not last:
        n_rows = out[0] * out[1]
        rows = max(1, min(n_rows, _PROGRAM // out[2]))
        block = min(next_power_of_2(out[2]), 64)
        values |= {
            "size_c": five.c, "n_rows": n_rows, "rows_per_program": rows, "BLOCK": block,
            "UNROLL": taps[2] <= _UNROLLED,
        }  # fmt: skip
        grid = five.n * five.c * ceil_divide(n_rows, rows)
        template = resample_planes
    else:
        grid, extra = flat_values(five, out, last, x.device.type)
        values |= extra | Five.of(y, spatial).stride_values("y")
        template = resample_flat
    launch, compiled = template.bind(x.device, (grid,), operands, values)
    return Plan([y], launch, [compiled])
