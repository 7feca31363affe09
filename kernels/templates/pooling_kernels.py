"""Kernels of max and average pooling over windows of up to three dimensions.

A window is a box of taps; tap k of an output at o reads input o * stride - pad + k * dilation, if
that is inside. Adaptive windows go from floor(o * size / out) to ceil((o + 1) * size / out). Max
pooling may leave the number of the chosen tap, `pos`, from which its gradient and the index that
users see follow.

Two forms:
- flat: any strides, any window; tiles of pixels x channels. GPUs, channels_last, adaptive windows.
- planes: CPU, the last dimension contiguous in the result. A program walks some rows of a plane;
  lanes are neighbouring outputs (in the backward: inputs that have the same place in a period of
  the stride, so that what they read is contiguous). Tiles overlap at a row's end instead of being
  masked: both write the same there. Outputs whose window leaves the row are done one by one.

Every gradient gathers (an input collects from the windows that it is in): no atomics, the same sums
on every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritorch.kernels.templates.rows import to_compute
from tritorch.kernels.templates.template import helper, kernel

if TYPE_CHECKING:
    import triton.language as tl


@helper
def window(o, size, out, stride, pad, dilation, taps, ADAPTIVE: tl.constexpr):
    """(position of tap 0, first tap inside, one past the last) of an output's window."""
    if ADAPTIVE:
        wide = tl.cast(o, tl.int64)
        start = (wide * size) // out
        end = ((wide + 1) * size + out - 1) // out
        return start, start * 0, end - start
    else:
        start = o * stride - pad
        low = (tl.maximum(-start, 0) + dilation - 1) // dilation
        high = tl.minimum((size - start + dilation - 1) // dilation, taps)
        return start, low, high


@helper
def window_length(start, low, high, size, pad, taps, INCLUDE_PAD: tl.constexpr):
    """What a window counts along one dimension: with padding, or only what is inside."""
    if INCLUDE_PAD:
        return tl.minimum(start + taps, size + pad) - start
    else:
        return high - low


@helper
def accumulator(x):
    """Sums: integers in 64 bits, floats in their compute dtype."""
    if x.dtype.is_floating():
        return to_compute(x)
    else:
        return x.to(tl.int64)


@helper
def chosen(best, pos, x, tap, valid):
    """The larger one and its tap; the first of equals, nan above all."""
    take = valid & ((x > best) | (x != x))
    return tl.where(take, x, best), tl.where(take, tap, pos)


@helper
def input_index(pos, d0, h0, w0, height, width, dilation_d, dilation_h, dilation_w,
                KH: tl.constexpr, KW: tl.constexpr):  # fmt: skip
    """The place of a tap among the elements of a plane."""
    d = d0 + pos // (KH * KW) * dilation_d
    h = h0 + pos // KW % KH * dilation_h
    w = w0 + pos % KW * dilation_w
    return (tl.cast(d, tl.int64) * height + h) * width + w


# ---- flat


@helper
def pixels(block, channels, size_c, depth, height, width, PIXELS: tl.constexpr,
           CHANNELS: tl.constexpr):  # fmt: skip
    """(sample, channel, d, h, w) of a tile of pixels x channels, and which exist; `size_c` channels
    count as pixels.
    """
    blocks = (channels + CHANNELS - 1) // CHANNELS
    p = (block // blocks) * PIXELS + tl.arange(0, PIXELS)[:, None]
    lanes = (block % blocks) * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    w = p % width
    p = p // width
    h = p % height
    p = p // height
    d = p % depth
    p = p // depth
    return p // size_c, p % size_c + lanes, d, h, w, lanes < channels


@helper
def place(n, c, d, h, w, n_stride, c_stride, d_stride, h_stride, w_stride):
    """An element's offset."""
    outer = tl.cast(n, tl.int64) * n_stride + tl.cast(c, tl.int64) * c_stride
    return (
        outer
        + (tl.cast(d, tl.int64) * d_stride + tl.cast(h, tl.int64) * h_stride)
        + (tl.cast(w, tl.int64) * w_stride)
    )


@helper
def flat_tap(total, pos, tap, x_ptr, d0, h0, w0, d_low, d_high, h_low, h_high, w_low, w_high, mask,
             dilation_d, dilation_h, dilation_w, x_d_stride, x_h_stride, x_w_stride,
             KH: tl.constexpr, KW: tl.constexpr, MAX: tl.constexpr):  # fmt: skip
    """(total, pos) with one more tap."""
    kd = tap // (KH * KW)
    kh = tap // KW % KH
    kw = tap % KW
    valid = (kd >= d_low) & (kd < d_high) & (kh >= h_low) & (kh < h_high)
    valid = valid & (kw >= w_low) & (kw < w_high) & mask
    offsets = place(
        0, 0, d0 + kd * dilation_d, h0 + kh * dilation_h, w0 + kw * dilation_w,
        0, 0, x_d_stride, x_h_stride, x_w_stride,
    )  # fmt: skip
    x = tl.load(x_ptr + offsets, mask=valid, other=0)
    if MAX:
        return chosen(total, pos, to_compute(x), tap, valid)
    else:
        return total + accumulator(x), pos


@kernel()
def pool_flat(
    y_ptr, pos_ptr, index_ptr, x_ptr, divisor, count, channels, size_c,
    depth, height, width, out_depth, out_height, out_width, pad_d, pad_h, pad_w,
    x_n_stride, x_c_stride, x_d_stride, x_h_stride, x_w_stride,
    y_n_stride, y_c_stride, y_d_stride, y_h_stride, y_w_stride,
    KD: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr,
    SD: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    DD: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    MAX: tl.constexpr, ADAPTIVE: tl.constexpr, POS: tl.constexpr, INDEX: tl.constexpr,
    INCLUDE_PAD: tl.constexpr, DIVISOR: tl.constexpr, UNROLL: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """One program: a tile of outputs."""
    n, c, od, oh, ow, exists = pixels(
        tl.program_id(0), channels, size_c, out_depth, out_height, out_width, PIXELS, CHANNELS
    )
    mask = exists & (n * size_c < count)
    d0, d_low, d_high = window(od, depth, out_depth, SD, pad_d, DD, KD, ADAPTIVE)
    h0, h_low, h_high = window(oh, height, out_height, SH, pad_h, DH, KH, ADAPTIVE)
    w0, w_low, w_high = window(ow, width, out_width, SW, pad_w, DW, KW, ADAPTIVE)
    x_ptr += place(n, c, 0, 0, 0, x_n_stride, x_c_stride, 0, 0, 0)
    pos = tl.zeros((PIXELS, CHANNELS), dtype=tl.int32)
    if MAX:
        first = place(
            0, 0, d0 + d_low * DD, h0 + h_low * DH, w0 + w_low * DW,
            0, 0, x_d_stride, x_h_stride, x_w_stride,
        )  # fmt: skip
        total = to_compute(tl.load(x_ptr + first, mask=mask, other=0))
        pos += ((d_low * KH + h_low) * KW + w_low).to(tl.int32)
    else:
        total = accumulator(tl.zeros((PIXELS, CHANNELS), dtype=x_ptr.dtype.element_ty))
    if UNROLL:
        for tap in tl.static_range(KD * KH * KW):
            total, pos = flat_tap(
                total, pos, tap, x_ptr, d0, h0, w0, d_low, d_high, h_low, h_high, w_low, w_high,
                mask, DD, DH, DW, x_d_stride, x_h_stride, x_w_stride, KH, KW, MAX,
            )  # fmt: skip
    else:
        for tap in range(KD * KH * KW):
            total, pos = flat_tap(
                total, pos, tap, x_ptr, d0, h0, w0, d_low, d_high, h_low, h_high, w_low, w_high,
                mask, DD, DH, DW, x_d_stride, x_h_stride, x_w_stride, KH, KW, MAX,
            )  # fmt: skip
    offsets = place(n, c, od, oh, ow, y_n_stride, y_c_stride, y_d_stride, y_h_stride, y_w_stride)
    if not MAX:
        if DIVISOR:
            size = divisor
        else:
            size = window_length(d0, d_low, d_high, depth, pad_d, KD, INCLUDE_PAD)
            size = size * window_length(h0, h_low, h_high, height, pad_h, KH, INCLUDE_PAD)
            size = size * window_length(w0, w_low, w_high, width, pad_w, KW, INCLUDE_PAD)
        if total.dtype.is_floating():
            total = total / tl.cast(size, total.dtype)
        else:
            total = total // size
    tl.store(y_ptr + offsets, total.to(y_ptr.dtype.element_ty), mask=mask)
    if POS:
        tl.store(pos_ptr + offsets, pos.to(pos_ptr.dtype.element_ty), mask=mask)
    if INDEX:
        index = input_index(pos, d0, h0, w0, height, width, DD, DH, DW, KH, KW)
        tl.store(index_ptr + offsets, index, mask=mask)


@helper
def candidate(i, j, size, out, stride, pad, dilation, taps, ADAPTIVE: tl.constexpr):
    """(output, tap, whether it exists): the j-th window that may contain input i."""
    if ADAPTIVE:
        wide = tl.cast(i, tl.int64)
        o = (wide * out) // size + j
        last = ((wide + 1) * out + size - 1) // size
        return o, wide - (o * size) // out, o < last
    else:
        o = (i + pad) // stride - j
        step = i + pad - o * stride
        tap = step // dilation
        return o, tap, (o >= 0) & (o < out) & (tap < taps) & (step % dilation == 0)


@kernel()
def pool_flat_backward(
    dx_ptr, g_ptr, pos_ptr, divisor, count, channels, size_c,
    depth, height, width, out_depth, out_height, out_width, pad_d, pad_h, pad_w,
    dx_n_stride, dx_c_stride, dx_d_stride, dx_h_stride, dx_w_stride,
    g_n_stride, g_c_stride, g_d_stride, g_h_stride, g_w_stride,
    y_n_stride, y_c_stride, y_d_stride, y_h_stride, y_w_stride,
    KD: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr,
    SD: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    DD: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    TD: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr,
    MAX: tl.constexpr, ADAPTIVE: tl.constexpr, INCLUDE_PAD: tl.constexpr, DIVISOR: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """One program: a tile of inputs; each may be in up to TD x TH x TW windows."""
    n, c, d, h, w, exists = pixels(
        tl.program_id(0), channels, size_c, depth, height, width, PIXELS, CHANNELS
    )
    mask = exists & (n * size_c < count)
    total = accumulator(tl.zeros((PIXELS, CHANNELS), dtype=g_ptr.dtype.element_ty))
    g_ptr += place(n, c, 0, 0, 0, g_n_stride, g_c_stride, 0, 0, 0)
    if MAX:
        pos_ptr += place(n, c, 0, 0, 0, y_n_stride, y_c_stride, 0, 0, 0)
    for turn in range(TD * TH * TW):
        od, kd, d_valid = candidate(
            d, turn // (TH * TW), depth, out_depth, SD, pad_d, DD, KD, ADAPTIVE
        )
        oh, kh, h_valid = candidate(
            h, turn // TW % TH, height, out_height, SH, pad_h, DH, KH, ADAPTIVE
        )
        ow, kw, w_valid = candidate(w, turn % TW, width, out_width, SW, pad_w, DW, KW, ADAPTIVE)
        valid = d_valid & h_valid & w_valid & mask
        offsets = place(0, 0, od, oh, ow, 0, 0, g_d_stride, g_h_stride, g_w_stride)
        g = accumulator(tl.load(g_ptr + offsets, mask=valid, other=0))
        if MAX:
            offsets = place(0, 0, od, oh, ow, 0, 0, y_d_stride, y_h_stride, y_w_stride)
            pos = tl.load(pos_ptr + offsets, mask=valid, other=0).to(tl.int32)
            g = tl.where(pos == (kd * KH + kh) * KW + kw, g, 0)
        elif DIVISOR:
            g = g / tl.cast(divisor, g.dtype)
        else:
            d0, d_low, d_high = window(od, depth, out_depth, SD, pad_d, DD, KD, ADAPTIVE)
            h0, h_low, h_high = window(oh, height, out_height, SH, pad_h, DH, KH, ADAPTIVE)
            w0, w_low, w_high = window(ow, width, out_width, SW, pad_w, DW, KW, ADAPTIVE)
            size = window_length(d0, d_low, d_high, depth, pad_d, KD, INCLUDE_PAD)
            size = size * window_length(h0, h_low, h_high, height, pad_h, KH, INCLUDE_PAD)
            size = size * window_length(w0, w_low, w_high, width, pad_w, KW, INCLUDE_PAD)
            g = g / tl.where(valid, size, 1).to(g.dtype)
        total += g
    offsets = place(n, c, d, h, w, dx_n_stride, dx_c_stride, dx_d_stride, dx_h_stride, dx_w_stride)
    tl.store(dx_ptr + offsets, total.to(dx_ptr.dtype.element_ty), mask=mask)


@kernel()
def take_flat(
    y_ptr, x_ptr, pos_ptr, count, channels, size_c,
    depth, height, width, out_depth, out_height, out_width, pad_d, pad_h, pad_w,
    x_n_stride, x_c_stride, x_d_stride, x_h_stride, x_w_stride,
    y_n_stride, y_c_stride, y_d_stride, y_h_stride, y_w_stride,
    KD: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr,
    SD: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    DD: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr, ADAPTIVE: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """One program: a tile of outputs, each the input that `pos` names in its window."""
    n, c, od, oh, ow, exists = pixels(
        tl.program_id(0), channels, size_c, out_depth, out_height, out_width, PIXELS, CHANNELS
    )
    mask = exists & (n * size_c < count)
    d0, _, _ = window(od, depth, out_depth, SD, pad_d, DD, KD, ADAPTIVE)
    h0, _, _ = window(oh, height, out_height, SH, pad_h, DH, KH, ADAPTIVE)
    w0, _, _ = window(ow, width, out_width, SW, pad_w, DW, KW, ADAPTIVE)
    offsets = place(n, c, od, oh, ow, y_n_stride, y_c_stride, y_d_stride, y_h_stride, y_w_stride)
    pos = tl.load(pos_ptr + offsets, mask=mask, other=0).to(tl.int32)
    source = place(
        n, c, d0 + pos // (KH * KW) * DD, h0 + pos // KW % KH * DH, w0 + pos % KW * DW,
        x_n_stride, x_c_stride, x_d_stride, x_h_stride, x_w_stride,
    )  # fmt: skip
    x = tl.load(x_ptr + source, mask=mask, other=0)
    tl.store(y_ptr + offsets, x, mask=mask)


# ---- planes


@helper
def walk_window(x_ptr, d_low, d_high, h_low, h_high, w_low, w_high, d_step, h_step, w_step,
                KH: tl.constexpr, KW: tl.constexpr, MAX: tl.constexpr):  # fmt: skip
    """(max or sum, tap) over the taps of one window, or of several alike; `x_ptr`: at tap 0."""
    pos = (d_low * KH + h_low) * KW + w_low
    first = tl.load(x_ptr + (d_low * d_step + h_low * h_step + w_low * w_step))
    if MAX:
        total = to_compute(first)
        pos += (total * 0).to(tl.int32) if total.type.is_block() else 0
    else:
        total = accumulator(first) * 0
    for kd in range(d_low, d_high):
        for kh in range(h_low, h_high):
            for kw in range(w_low, w_high):
                x = tl.load(x_ptr + (kd * d_step + kh * h_step + kw * w_step))
                if MAX:
                    total, pos = chosen(total, pos, to_compute(x), (kd * KH + kh) * KW + kw, True)
                else:
                    total += accumulator(x)
    return total, pos


@helper
def unrolled_window(x_ptr, d_low, d_high, h_low, h_high, d_step, h_step, w_step,
                    KD: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, MAX: tl.constexpr,
                    POS: tl.constexpr, CLIPPED: tl.constexpr):  # fmt: skip
    """The same for windows that are whole along the last dimension. Taps outside are replaced by
    the nearest inside for the max, left out of the sum.
    """
    for kd in tl.static_range(KD):
        for kh in tl.static_range(KH):
            d = kd
            h = kh
            if CLIPPED:
                d = tl.minimum(tl.maximum(kd, d_low), d_high - 1)
                h = tl.minimum(tl.maximum(kh, h_low), h_high - 1)
            for kw in tl.static_range(KW):
                x = tl.load(x_ptr + (d * d_step + h * h_step + kw * w_step))
                if MAX:
                    x = to_compute(x)
                    tap = (d * KH + h) * KW + kw
                    if kd + kh + kw == 0:
                        total = x
                        pos = tl.zeros(x.shape, dtype=tl.int32) + tap
                    elif POS:
                        total, pos = chosen(total, pos, x, tap, True)
                    elif x.dtype.is_floating():
                        total = tl.maximum(total, x, propagate_nan=tl.PropagateNan.ALL)
                    else:
                        total = tl.maximum(total, x)
                else:
                    x = accumulator(x)
                    if CLIPPED:
                        x = tl.where((d == kd) & (h == kh), x, 0)
                    if kd + kh + kw == 0:
                        total = x
                        pos = 0
                    else:
                        total += x
    return total, pos


@helper
def wide_sums(x_ptr, d_low, d_high, h_low, h_high, d_step, h_step, w_step, out_step,
              KW: tl.constexpr, LANES: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """The sums of neighbouring windows, their taps along the last dimension as lanes."""
    columns = tl.arange(0, LANES)[None, :]
    ptrs = x_ptr + tl.arange(0, BLOCK)[:, None] * out_step + columns * w_step
    mask = columns < KW
    total = accumulator(tl.zeros((BLOCK, LANES), dtype=x_ptr.dtype.element_ty))
    for kd in range(d_low, d_high):
        for kh in range(h_low, h_high):
            x = tl.load(ptrs + (kd * d_step + kh * h_step), mask=mask, other=0)
            total += accumulator(x)
    return tl.sum(total, 1)


@helper
def store_pooled(y_ptr, pos_ptr, index_ptr, at, total, pos, size, d0, h0, w0, height, width,
                 DD: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr, KH: tl.constexpr,
                 KW: tl.constexpr, MAX: tl.constexpr, POS: tl.constexpr,
                 INDEX: tl.constexpr):  # fmt: skip
    """Write outputs at these places."""
    if not MAX:
        if total.dtype.is_floating():
            total = total / tl.cast(size, total.dtype)
        else:
            total = total // size
    tl.store(y_ptr + at, total.to(y_ptr.dtype.element_ty))
    if POS:
        tl.store(pos_ptr + at, pos.to(pos_ptr.dtype.element_ty))
    if INDEX:
        index = input_index(pos, d0, h0, w0, height, width, DD, DH, DW, KH, KW)
        tl.store(index_ptr + at, index)


@kernel()
def pool_planes(
    y_ptr, pos_ptr, index_ptr, x_ptr, divisor, size_c, n_rows, rows_per_program,
    depth, height, width, out_depth, out_height, out_width, pad_d, pad_h, pad_w,
    first_whole, n_whole, n_tiles, x_n_stride, x_c_stride, x_d_stride, x_h_stride, x_w_stride,
    KD: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr,
    SD: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    DD: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    MAX: tl.constexpr, POS: tl.constexpr, INDEX: tl.constexpr,
    INCLUDE_PAD: tl.constexpr, DIVISOR: tl.constexpr, CLIPPED: tl.constexpr, UNROLL: tl.constexpr,
    LANES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: some rows of one plane. The windows of outputs first_whole .. + n_whole of a row
    are whole along it; BLOCK <= n_whole of them are a tile.
    """
    row_blocks = (n_rows + rows_per_program - 1) // rows_per_program
    plane = tl.program_id(0) // row_blocks
    first = (tl.program_id(0) % row_blocks) * rows_per_program
    x_ptr += tl.cast(plane // size_c, tl.int64) * x_n_stride
    x_ptr += tl.cast(plane % size_c, tl.int64) * x_c_stride
    lanes = tl.arange(0, BLOCK)
    for row in range(first, tl.minimum(first + rows_per_program, n_rows)):
        d0, d_low, d_high = window(row // out_height, depth, out_depth, SD, pad_d, DD, KD, False)
        h0, h_low, h_high = window(row % out_height, height, out_height, SH, pad_h, DH, KH, False)
        row_ptr = x_ptr + (tl.cast(d0, tl.int64) * x_d_stride + tl.cast(h0, tl.int64) * x_h_stride)
        size = divisor
        if not DIVISOR:
            size = window_length(d0, d_low, d_high, depth, pad_d, KD, INCLUDE_PAD)
            size = size * window_length(h0, h_low, h_high, height, pad_h, KH, INCLUDE_PAD)
        at = (tl.cast(plane, tl.int64) * n_rows + row) * out_width
        for tile in range(n_tiles):
            ow = first_whole + tl.minimum(tile * BLOCK, n_whole - BLOCK)
            w0 = ow * SW - pad_w
            ptrs = row_ptr + w0 * x_w_stride + lanes * (SW * x_w_stride)
            if LANES > 0:
                pos = 0
                total = wide_sums(
                    row_ptr + w0 * x_w_stride, d_low, d_high, h_low, h_high, DD * x_d_stride,
                    DH * x_h_stride, DW * x_w_stride, SW * x_w_stride, KW, LANES, BLOCK,
                )  # fmt: skip
            elif UNROLL:
                total, pos = unrolled_window(
                    ptrs, d_low, d_high, h_low, h_high, DD * x_d_stride, DH * x_h_stride,
                    DW * x_w_stride, KD, KH, KW, MAX, POS or INDEX, CLIPPED,
                )  # fmt: skip
            else:
                total, pos = walk_window(
                    ptrs, d_low, d_high, h_low, h_high, 0, KW, DD * x_d_stride, DH * x_h_stride,
                    DW * x_w_stride, KH, KW, MAX,
                )  # fmt: skip
            own = size
            if not DIVISOR:
                own = size * KW
            store_pooled(
                y_ptr, pos_ptr, index_ptr, at + ow + lanes, total, pos, own, d0, h0,
                w0 + lanes * SW, height, width, DD, DH, DW, KH, KW, MAX, POS, INDEX,
            )  # fmt: skip
        for edge in range(out_width - n_whole):
            ow = edge
            if edge >= first_whole:
                ow = edge + n_whole
            w0, w_low, w_high = window(ow, width, out_width, SW, pad_w, DW, KW, False)
            total, pos = walk_window(
                row_ptr + w0 * x_w_stride, d_low, d_high, h_low, h_high, w_low, w_high,
                DD * x_d_stride, DH * x_h_stride, DW * x_w_stride, KH, KW, MAX,
            )  # fmt: skip
            own = size
            if not DIVISOR:
                own = size * window_length(w0, w_low, w_high, width, pad_w, KW, INCLUDE_PAD)
            store_pooled(
                y_ptr, pos_ptr, index_ptr, at + ow, total, pos, own, d0, h0, w0, height, width,
                DD, DH, DW, KH, KW, MAX, POS, INDEX,
            )  # fmt: skip


@helper
def collected(g_ptr, pos_ptr, qd, qh, qw, divisor, depth, height, width,
              out_depth, out_height, out_width, pad_d, pad_h, pad_w,
              g_d_stride, g_h_stride, g_w_stride, RD: tl.constexpr, RH: tl.constexpr,
              RW: tl.constexpr, KD: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr,
              SD: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
              DD: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
              MAX: tl.constexpr, INCLUDE_PAD: tl.constexpr, DIVISOR: tl.constexpr):  # fmt: skip
    """What the inputs at (qd * SD + RD - pad, ...) collect; qw is a vector."""
    total = accumulator(tl.zeros(qw.shape, dtype=g_ptr.dtype.element_ty))
    for kd in tl.static_range(KD):
        for kh in tl.static_range(KH):
            if (kd * DD - RD) % SD == 0 and (kh * DH - RH) % SH == 0:
                od = qd - (kd * DD - RD) // SD
                oh = qh - (kh * DH - RH) // SH
                inside = (od >= 0) & (od < out_depth) & (oh >= 0) & (oh < out_height)
                end = tl.where(inside, out_width, 0)
                row = od * out_height + oh
                if not MAX and not DIVISOR:
                    d0, d_low, d_high = window(od, depth, out_depth, SD, pad_d, DD, KD, False)
                    h0, h_low, h_high = window(oh, height, out_height, SH, pad_h, DH, KH, False)
                    size = window_length(d0, d_low, d_high, depth, pad_d, KD, INCLUDE_PAD)
                    size = size * window_length(h0, h_low, h_high, height, pad_h, KH, INCLUDE_PAD)
                for kw in tl.static_range(KW):
                    if (kw * DW - RW) % SW == 0:
                        ow = qw - (kw * DW - RW) // SW
                        mask = (ow >= 0) & (ow < end)
                        g = tl.load(
                            g_ptr + (od * g_d_stride + oh * g_h_stride) + ow * g_w_stride,
                            mask=mask, other=0,
                        )  # fmt: skip
                        g = accumulator(g)
                        if MAX:
                            pos = tl.load(pos_ptr + row * out_width + ow, mask=mask, other=0)
                            tap = (kd * KH + kh) * KW + kw
                            g = tl.where(pos.to(tl.int32) == tap, g, 0)
                        elif not DIVISOR:
                            w0, w_low, w_high = window(
                                ow, width, out_width, SW, pad_w, DW, KW, False
                            )
                            own = size * window_length(
                                w0, w_low, w_high, width, pad_w, KW, INCLUDE_PAD
                            )
                            g = g / tl.where(mask, own, 1).to(g.dtype)
                        total += g
    if not MAX and DIVISOR:
        total = total / tl.cast(divisor, total.dtype)
    return total


@kernel()
def pool_planes_backward(
    dx_ptr, g_ptr, pos_ptr, divisor, size_c, n_rows, rows_per_program, rows_h,
    depth, height, width, out_depth, out_height, out_width, pad_d, pad_h, pad_w,
    first_d, first_h, first_w, n_periods, n_tiles,
    g_n_stride, g_c_stride, g_d_stride, g_h_stride, g_w_stride,
    KD: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr,
    SD: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    DD: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    MAX: tl.constexpr, INCLUDE_PAD: tl.constexpr, DIVISOR: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: some periods (of SD x SH rows each) of one plane.

    Input i of a dimension is q * stride + r - pad: period q from `first_*` on, place r in it.
    """
    row_blocks = (n_rows + rows_per_program - 1) // rows_per_program
    plane = tl.program_id(0) // row_blocks
    first = (tl.program_id(0) % row_blocks) * rows_per_program
    g_ptr += tl.cast(plane // size_c, tl.int64) * g_n_stride
    g_ptr += tl.cast(plane % size_c, tl.int64) * g_c_stride
    if MAX:
        pos_ptr += tl.cast(plane, tl.int64) * out_depth * out_height * out_width
    dx_ptr += tl.cast(plane, tl.int64) * depth * height * width
    for row in range(first, tl.minimum(first + rows_per_program, n_rows)):
        qd = first_d + row // rows_h
        qh = first_h + row % rows_h
        for tile in range(n_tiles):
            q0 = first_w + tl.minimum(tile * BLOCK, n_periods - BLOCK)
            qw = q0 + tl.arange(0, BLOCK)
            for rd in tl.static_range(SD):
                for rh in tl.static_range(SH):
                    d = qd * SD + rd - pad_d
                    h = qh * SH + rh - pad_h
                    if (d >= 0) & (d < depth) & (h >= 0) & (h < height):
                        at = (tl.cast(d, tl.int64) * height + h) * width
                        if SW == 2:
                            even = collected(
                                g_ptr, pos_ptr, qd, qh, qw, divisor, depth, height, width,
                                out_depth, out_height, out_width, pad_d, pad_h, pad_w, g_d_stride,
                                g_h_stride, g_w_stride, rd, rh, 0, KD, KH, KW, SD, SH, SW,
                                DD, DH, DW, MAX, INCLUDE_PAD, DIVISOR,
                            )  # fmt: skip
                            odd = collected(
                                g_ptr, pos_ptr, qd, qh, qw, divisor, depth, height, width,
                                out_depth, out_height, out_width, pad_d, pad_h, pad_w, g_d_stride,
                                g_h_stride, g_w_stride, rd, rh, 1, KD, KH, KW, SD, SH, SW,
                                DD, DH, DW, MAX, INCLUDE_PAD, DIVISOR,
                            )  # fmt: skip
                            both = tl.reshape(tl.join(even, odd), (2 * BLOCK,))
                            w = q0 * 2 - pad_w + tl.arange(0, 2 * BLOCK)
                            tl.store(
                                dx_ptr + at + w, both.to(dx_ptr.dtype.element_ty),
                                mask=(w >= 0) & (w < width),
                            )  # fmt: skip
                        else:
                            for rw in tl.static_range(SW):
                                total = collected(
                                    g_ptr, pos_ptr, qd, qh, qw, divisor, depth, height, width,
                                    out_depth, out_height, out_width, pad_d, pad_h, pad_w,
                                    g_d_stride, g_h_stride, g_w_stride, rd, rh, rw, KD, KH, KW,
                                    SD, SH, SW, DD, DH, DW, MAX, INCLUDE_PAD, DIVISOR,
                                )  # fmt: skip
                                w = qw * SW + rw - pad_w
                                tl.store(
                                    dx_ptr + at + w, total.to(dx_ptr.dtype.element_ty),
                                    mask=(w >= 0) & (w < width),
                                )  # fmt: skip
