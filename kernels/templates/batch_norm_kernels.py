"""Normalisation by the statistics of a channel: forward and backward of batch norm.

    mean, var over everything but the channel;  rstd = 1 / sqrt(var + eps)
    y = (x - mean) * rstd * weight + bias
    dbias = sum g;  dweight = sum g * x^ with x^ = (x - mean) * rstd
    dx = (g - dbias / n - x^ * dweight / n) * rstd * weight, or with given statistics g * rstd *
    weight

Statistics take one pass over memory: a tile gives its sums of x - shift and of its square, where
the shift is the mean so far (of the first tile, its own mean: only that one is walked twice), and
tiles are merged by the formula of Chan, Golub and LeVeque: no cancellation, whatever the mean.

A tensor is N x C x S (S: the spatial dimensions as one). Two forms:
- planes: a channel's S elements are neighbours. A program owns a channel.
- columns: channels are neighbours (channels_last, or no spatial dimensions). A program owns a block
  of channels, and rows are N x S.
Two ways:
- fused: a program does all passes over its channels, so that the second finds the data in the
  cache, walking backwards from where the first stopped.
- split, where there are few channels: groups of tiles give partial statistics, a second launch
  merges them in order, a third normalises.
Tiles, groups and the way depend on the shape alone: the same results with any number of threads.

Source: Ioffe and Szegedy, Batch Normalization, 2015.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritorch.kernels.templates.rows import to_compute
from tritorch.kernels.templates.template import helper, kernel

if TYPE_CHECKING:
    import triton.language as tl


# ---- tiles: [ROWS, COLS] of samples x places (planes) or places x channels (columns)


@helper
def tile_places(tile, c0, n, c, s, s_tiles, PLANES: tl.constexpr, ROWS: tl.constexpr,
                COLS: tl.constexpr):  # fmt: skip
    """(sample, channel, place, mask) of a tile, to be broadcast against each other."""
    rows = tl.arange(0, ROWS)[:, None]
    columns = tl.arange(0, COLS)[None, :]
    if PLANES:
        sample = (tile // s_tiles) * ROWS + rows
        place = (tile % s_tiles) * COLS + columns
        return sample, c0, place, (sample < n) & (place < s)
    else:
        place = (tile % s_tiles) * ROWS + rows
        channel = c0 + columns
        return tile // s_tiles, channel, place, (place < s) & (channel < c)


@helper
def tile_count(tile, n, s, s_tiles, PLANES: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Elements of a channel in a tile."""
    if PLANES:
        samples = tl.minimum(n - (tile // s_tiles) * ROWS, ROWS)
        return samples * tl.minimum(s - (tile % s_tiles) * COLS, COLS)
    else:
        return tl.minimum(s - (tile % s_tiles) * ROWS, ROWS)


@helper
def tile_load(x_ptr, sample, channel, place, mask, n_stride, c_stride, s_stride):
    """The elements of a tile in the compute dtype, 0 outside."""
    offsets = tl.cast(sample, tl.int64) * n_stride + tl.cast(channel, tl.int64) * c_stride
    return to_compute(tl.load(x_ptr + (offsets + place * s_stride), mask=mask, other=0.0))


@helper
def per_channel(x, PLANES: tl.constexpr):
    """The sum over a tile's elements of each channel."""
    if PLANES:
        return tl.sum(tl.sum(x, 1), 0)
    else:
        return tl.sum(x, 0)


@helper
def over_tile(value, PLANES: tl.constexpr):
    """A number of each channel against a tile."""
    if PLANES:
        return value
    else:
        return value[None, :]


@helper
def no_sums(PLANES: tl.constexpr, COLS: tl.constexpr, COMPUTE: tl.constexpr):
    """Zeros to add up into."""
    if PLANES:
        return tl.full((), 0.0, COMPUTE)
    else:
        return tl.zeros((COLS,), dtype=COMPUTE)


@helper
def own_channels(c0, c, PLANES: tl.constexpr, COLS: tl.constexpr):
    """(channels of a program, those that exist)."""
    if PLANES:
        return c0, c0 < c
    else:
        channels = c0 + tl.arange(0, COLS)
        return channels, channels < c


@helper
def merged(mean, squares, count, other_mean, other_squares, other_count):
    """(mean, squares about it, count) of two sets together."""
    total = count + other_count
    part = other_count / total
    delta = other_mean - mean
    squares += other_squares + delta * delta * (count * part)
    return mean + delta * part, squares, total


@helper
def moments(x_ptr, first, last, c0, n, c, s, s_tiles, x_n_stride, x_c_stride, x_s_stride,
            PLANES: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr):  # fmt: skip
    """(mean, squares about it, count) over some tiles."""
    COMPUTE: tl.constexpr = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    mean = no_sums(PLANES, COLS, COMPUTE)
    squares = no_sums(PLANES, COLS, COMPUTE)
    count = tl.full((), 0.0, COMPUTE)
    shift = no_sums(PLANES, COLS, COMPUTE)
    for tile in range(first, last):
        sample, channel, place, mask = tile_places(
            tile, c0, n, c, s, s_tiles, PLANES, ROWS, COLS
        )  # fmt: skip
        x = tile_load(x_ptr, sample, channel, place, mask, x_n_stride, x_c_stride, x_s_stride)
        size = tile_count(tile, n, s, s_tiles, PLANES, ROWS, COLS).to(COMPUTE)
        if tile == first:
            shift = per_channel(x, PLANES) / size
        x = tl.where(mask, x - over_tile(shift, PLANES), 0.0)
        offset = per_channel(x, PLANES) / size
        own = per_channel(x * x, PLANES) - offset * offset * size
        mean, squares, count = merged(mean, squares, count, shift + offset, own, size)
        shift = mean
    return mean, squares, count


@helper
def normalised(y_ptr, x_ptr, weight_ptr, bias_ptr, mean, rstd, first, last, c0, n, c, s, s_tiles,
               x_n_stride, x_c_stride, x_s_stride, y_n_stride, y_c_stride, y_s_stride,
               weight_stride, bias_stride,
               WEIGHT: tl.constexpr, BIAS: tl.constexpr,
               PLANES: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr):  # fmt: skip
    """Write y for some tiles, from the last to the first."""
    channels, exist = own_channels(c0, c, PLANES, COLS)
    scale = rstd
    if WEIGHT:
        scale *= to_compute(tl.load(weight_ptr + channels * weight_stride, mask=exist, other=0.0))
    shift = rstd * 0.0
    if BIAS:
        shift += tl.load(bias_ptr + channels * bias_stride, mask=exist, other=0.0)
    for step in range(first, last):
        tile = first + last - 1 - step
        sample, channel, place, mask = tile_places(
            tile, c0, n, c, s, s_tiles, PLANES, ROWS, COLS
        )  # fmt: skip
        x = tile_load(x_ptr, sample, channel, place, mask, x_n_stride, x_c_stride, x_s_stride)
        y = (x - over_tile(mean, PLANES)) * over_tile(scale, PLANES) + over_tile(shift, PLANES)
        offsets = tl.cast(sample, tl.int64) * y_n_stride + tl.cast(channel, tl.int64) * y_c_stride
        offsets += place * y_s_stride
        tl.store(y_ptr + offsets, y.to(y_ptr.dtype.element_ty), mask=mask)


@helper
def keep_statistics(mean_ptr, rstd_ptr, running_mean_ptr, running_var_ptr, mean, squares, count,
                    eps, momentum, channels, exist, running_mean_stride, running_var_stride,
                    RUNNING: tl.constexpr):  # fmt: skip
    """Store mean and rstd, move the running statistics; gives rstd."""
    rstd = 1.0 / tl.sqrt(squares / count + eps)
    tl.store(mean_ptr + channels, mean, mask=exist)
    tl.store(rstd_ptr + channels, rstd, mask=exist)
    if RUNNING:
        mean_ptrs = running_mean_ptr + channels * running_mean_stride
        var_ptrs = running_var_ptr + channels * running_var_stride
        old = to_compute(tl.load(mean_ptrs, mask=exist, other=0.0))
        tl.store(
            mean_ptrs,
            ((1 - momentum) * old + momentum * mean).to(running_mean_ptr.dtype.element_ty),
            mask=exist,
        )
        old = to_compute(tl.load(var_ptrs, mask=exist, other=0.0))
        var = squares / (count - 1)
        tl.store(
            var_ptrs,
            ((1 - momentum) * old + momentum * var).to(running_var_ptr.dtype.element_ty),
            mask=exist,
        )
    return rstd


# ---- forward


@kernel()
def batch_norm_fused(
    y_ptr, mean_ptr, rstd_ptr, running_mean_ptr, running_var_ptr, x_ptr, weight_ptr, bias_ptr,
    momentum, eps, n, c, s, s_tiles, n_tiles,
    x_n_stride, x_c_stride, x_s_stride, y_n_stride, y_c_stride, y_s_stride,
    weight_stride, bias_stride, running_mean_stride, running_var_stride,
    WEIGHT: tl.constexpr, BIAS: tl.constexpr, RUNNING: tl.constexpr, PLANES: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """One program: statistics and results of its channels."""
    c0 = tl.program_id(0)
    if not PLANES:
        c0 = c0 * COLS
    mean, squares, count = moments(
        x_ptr, 0, n_tiles, c0, n, c, s, s_tiles, x_n_stride, x_c_stride, x_s_stride,
        PLANES, ROWS, COLS,
    )  # fmt: skip
    channels, exist = own_channels(c0, c, PLANES, COLS)
    rstd = keep_statistics(
        mean_ptr, rstd_ptr, running_mean_ptr, running_var_ptr, mean, squares, count, eps, momentum,
        channels, exist, running_mean_stride, running_var_stride, RUNNING,
    )  # fmt: skip
    normalised(
        y_ptr, x_ptr, weight_ptr, bias_ptr, mean, rstd, 0, n_tiles, c0, n, c, s, s_tiles,
        x_n_stride, x_c_stride, x_s_stride, y_n_stride, y_c_stride, y_s_stride,
        weight_stride, bias_stride, WEIGHT, BIAS, PLANES, ROWS, COLS,
    )  # fmt: skip


@kernel()
def partial_moments(
    means_ptr, squares_ptr, counts_ptr, x_ptr, n, c, s, s_tiles, n_tiles, tiles_per_group, c_blocks,
    x_n_stride, x_c_stride, x_s_stride,
    PLANES: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """One program: mean and squares of its channels over one group of tiles."""
    group = tl.program_id(0) // c_blocks
    c0 = tl.program_id(0) % c_blocks
    if not PLANES:
        c0 = c0 * COLS
    first = group * tiles_per_group
    mean, squares, count = moments(
        x_ptr, first, tl.minimum(first + tiles_per_group, n_tiles), c0, n, c, s, s_tiles,
        x_n_stride, x_c_stride, x_s_stride, PLANES, ROWS, COLS,
    )  # fmt: skip
    channels, exist = own_channels(c0, c, PLANES, COLS)
    tl.store(means_ptr + group * c + channels, mean, mask=exist)
    tl.store(squares_ptr + group * c + channels, squares, mask=exist)
    if c0 == 0:
        tl.store(counts_ptr + group, count)


@kernel()
def merge_moments(
    mean_ptr, rstd_ptr, running_mean_ptr, running_var_ptr, means_ptr, squares_ptr, counts_ptr,
    momentum, eps, c, n_groups, running_mean_stride, running_var_stride,
    RUNNING: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """One program: the statistics of COLS channels from those of the groups, in order."""
    COMPUTE: tl.constexpr = means_ptr.dtype.element_ty
    channels, exist = own_channels(tl.program_id(0) * COLS, c, False, COLS)
    mean = no_sums(False, COLS, COMPUTE)
    squares = no_sums(False, COLS, COMPUTE)
    count = tl.full((), 0.0, COMPUTE)
    for group in range(n_groups):
        places = group * c + channels
        own_mean = tl.load(means_ptr + places, mask=exist, other=0.0)
        own_squares = tl.load(squares_ptr + places, mask=exist, other=0.0)
        own_count = tl.load(counts_ptr + group)
        mean, squares, count = merged(mean, squares, count, own_mean, own_squares, own_count)
    keep_statistics(
        mean_ptr, rstd_ptr, running_mean_ptr, running_var_ptr, mean, squares, count, eps, momentum,
        channels, exist, running_mean_stride, running_var_stride, RUNNING,
    )  # fmt: skip


@kernel()
def normalise_tiles(
    y_ptr, x_ptr, mean_ptr, rstd_ptr, weight_ptr, bias_ptr, eps, n, c, s, s_tiles, n_tiles,
    tiles_per_group, c_blocks,
    x_n_stride, x_c_stride, x_s_stride, y_n_stride, y_c_stride, y_s_stride,
    mean_stride, rstd_stride, weight_stride, bias_stride,
    VARIANCE: tl.constexpr, WEIGHT: tl.constexpr, BIAS: tl.constexpr, PLANES: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """One program: one group of tiles of its channels. VARIANCE: `rstd` is the variance."""
    c0 = tl.program_id(0) % c_blocks
    if not PLANES:
        c0 = c0 * COLS
    channels, exist = own_channels(c0, c, PLANES, COLS)
    mean = to_compute(tl.load(mean_ptr + channels * mean_stride, mask=exist, other=0.0))
    rstd = to_compute(tl.load(rstd_ptr + channels * rstd_stride, mask=exist, other=1.0))
    if VARIANCE:
        rstd = 1.0 / tl.sqrt(rstd + eps)
    first = (tl.program_id(0) // c_blocks) * tiles_per_group
    normalised(
        y_ptr, x_ptr, weight_ptr, bias_ptr, mean, rstd, first,
        tl.minimum(first + tiles_per_group, n_tiles), c0, n, c, s, s_tiles,
        x_n_stride, x_c_stride, x_s_stride, y_n_stride, y_c_stride, y_s_stride,
        weight_stride, bias_stride, WEIGHT, BIAS, PLANES, ROWS, COLS,
    )  # fmt: skip


# ---- backward


@helper
def gradient_sums(g_ptr, x_ptr, mean, first, last, c0, n, c, s, s_tiles,
                  g_n_stride, g_c_stride, g_s_stride, x_n_stride, x_c_stride, x_s_stride,
                  PLANES: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr):  # fmt: skip
    """(sum of g, sum of g * (x - mean)) over some tiles."""
    COMPUTE: tl.constexpr = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    sum_g = no_sums(PLANES, COLS, COMPUTE)
    sum_gx = no_sums(PLANES, COLS, COMPUTE)
    for tile in range(first, last):
        sample, channel, place, mask = tile_places(
            tile, c0, n, c, s, s_tiles, PLANES, ROWS, COLS
        )  # fmt: skip
        g = tile_load(g_ptr, sample, channel, place, mask, g_n_stride, g_c_stride, g_s_stride)
        x = tile_load(x_ptr, sample, channel, place, mask, x_n_stride, x_c_stride, x_s_stride)
        sum_g += per_channel(g, PLANES)
        sum_gx += per_channel(g * (x - over_tile(mean, PLANES)), PLANES)
    return sum_g, sum_gx


@helper
def input_gradient(dx_ptr, g_ptr, x_ptr, weight_ptr, mean, rstd, sum_g, sum_gx, first, last, c0,
                   n, c, s, s_tiles, g_n_stride, g_c_stride, g_s_stride,
                   x_n_stride, x_c_stride, x_s_stride, dx_n_stride, dx_c_stride, dx_s_stride,
                   weight_stride, WEIGHT: tl.constexpr, TRAINING: tl.constexpr,
                   PLANES: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr):  # fmt: skip
    """Write dx for some tiles, from the last to the first."""
    channels, exist = own_channels(c0, c, PLANES, COLS)
    scale = rstd
    if WEIGHT:
        scale *= to_compute(tl.load(weight_ptr + channels * weight_stride, mask=exist, other=0.0))
    if TRAINING:
        count = tl.cast(n, sum_g.dtype) * s
        shift = sum_g / count
        slope = sum_gx / count * rstd * rstd
    for step in range(first, last):
        tile = first + last - 1 - step
        sample, channel, place, mask = tile_places(
            tile, c0, n, c, s, s_tiles, PLANES, ROWS, COLS
        )  # fmt: skip
        dx = tile_load(g_ptr, sample, channel, place, mask, g_n_stride, g_c_stride, g_s_stride)
        if TRAINING:
            x = tile_load(x_ptr, sample, channel, place, mask, x_n_stride, x_c_stride, x_s_stride)
            dx -= over_tile(shift, PLANES)
            dx -= (x - over_tile(mean, PLANES)) * over_tile(slope, PLANES)
        dx *= over_tile(scale, PLANES)
        offsets = tl.cast(sample, tl.int64) * dx_n_stride + tl.cast(channel, tl.int64) * dx_c_stride
        offsets += place * dx_s_stride
        tl.store(dx_ptr + offsets, dx.to(dx_ptr.dtype.element_ty), mask=mask)


@helper
def load_statistics(mean_ptr, rstd_ptr, eps, channels, exist, mean_stride, rstd_stride,
                    VARIANCE: tl.constexpr, COMPUTE: tl.constexpr):  # fmt: skip
    """(mean, rstd) of a program's channels."""
    mean = tl.load(mean_ptr + channels * mean_stride, mask=exist, other=0.0).to(COMPUTE)
    rstd = tl.load(rstd_ptr + channels * rstd_stride, mask=exist, other=1.0).to(COMPUTE)
    if VARIANCE:
        rstd = 1.0 / tl.sqrt(rstd + eps)
    return mean, rstd


@kernel()
def batch_norm_backward_fused(
    dx_ptr, dweight_ptr, dbias_ptr, g_ptr, x_ptr, mean_ptr, rstd_ptr, weight_ptr,
    eps, n, c, s, s_tiles, n_tiles,
    g_n_stride, g_c_stride, g_s_stride, x_n_stride, x_c_stride, x_s_stride,
    dx_n_stride, dx_c_stride, dx_s_stride, mean_stride, rstd_stride, weight_stride,
    VARIANCE: tl.constexpr, TRAINING: tl.constexpr, WEIGHT: tl.constexpr,
    DX: tl.constexpr, DWEIGHT: tl.constexpr, DBIAS: tl.constexpr,
    PLANES: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """One program: all gradients of its channels."""
    COMPUTE: tl.constexpr = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    c0 = tl.program_id(0)
    if not PLANES:
        c0 = c0 * COLS
    channels, exist = own_channels(c0, c, PLANES, COLS)
    mean, rstd = load_statistics(
        mean_ptr, rstd_ptr, eps, channels, exist, mean_stride, rstd_stride, VARIANCE, COMPUTE
    )
    sum_g = no_sums(PLANES, COLS, COMPUTE)
    sum_gx = no_sums(PLANES, COLS, COMPUTE)
    if TRAINING or DWEIGHT or DBIAS:
        sum_g, sum_gx = gradient_sums(
            g_ptr, x_ptr, mean, 0, n_tiles, c0, n, c, s, s_tiles, g_n_stride, g_c_stride,
            g_s_stride, x_n_stride, x_c_stride, x_s_stride, PLANES, ROWS, COLS,
        )  # fmt: skip
    if DWEIGHT:
        tl.store(dweight_ptr + channels, (sum_gx * rstd).to(dweight_ptr.dtype.element_ty), exist)
    if DBIAS:
        tl.store(dbias_ptr + channels, sum_g.to(dbias_ptr.dtype.element_ty), exist)
    if DX:
        input_gradient(
            dx_ptr, g_ptr, x_ptr, weight_ptr, mean, rstd, sum_g, sum_gx, 0, n_tiles, c0,
            n, c, s, s_tiles, g_n_stride, g_c_stride, g_s_stride, x_n_stride, x_c_stride,
            x_s_stride, dx_n_stride, dx_c_stride, dx_s_stride, weight_stride, WEIGHT, TRAINING,
            PLANES, ROWS, COLS,
        )  # fmt: skip


@kernel()
def partial_gradients(
    sums_g_ptr, sums_gx_ptr, g_ptr, x_ptr, mean_ptr, n, c, s, s_tiles, n_tiles, tiles_per_group,
    c_blocks, g_n_stride, g_c_stride, g_s_stride, x_n_stride, x_c_stride, x_s_stride, mean_stride,
    PLANES: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """One program: the sums of its channels over one group of tiles."""
    COMPUTE: tl.constexpr = sums_g_ptr.dtype.element_ty
    group = tl.program_id(0) // c_blocks
    c0 = tl.program_id(0) % c_blocks
    if not PLANES:
        c0 = c0 * COLS
    channels, exist = own_channels(c0, c, PLANES, COLS)
    mean = tl.load(mean_ptr + channels * mean_stride, mask=exist, other=0.0).to(COMPUTE)
    first = group * tiles_per_group
    sum_g, sum_gx = gradient_sums(
        g_ptr, x_ptr, mean, first, tl.minimum(first + tiles_per_group, n_tiles), c0, n, c, s,
        s_tiles, g_n_stride, g_c_stride, g_s_stride, x_n_stride, x_c_stride, x_s_stride,
        PLANES, ROWS, COLS,
    )  # fmt: skip
    tl.store(sums_g_ptr + group * c + channels, sum_g, mask=exist)
    tl.store(sums_gx_ptr + group * c + channels, sum_gx, mask=exist)


@kernel()
def merge_gradients(
    dweight_ptr, dbias_ptr, sums_ptr, sums_g_ptr, sums_gx_ptr, rstd_ptr, eps, c, n_groups,
    rstd_stride, VARIANCE: tl.constexpr, DWEIGHT: tl.constexpr, DBIAS: tl.constexpr,
    COLS: tl.constexpr,
):  # fmt: skip
    """One program: the sums of COLS channels from those of the groups, in order."""
    COMPUTE: tl.constexpr = sums_ptr.dtype.element_ty
    channels, exist = own_channels(tl.program_id(0) * COLS, c, False, COLS)
    sum_g = no_sums(False, COLS, COMPUTE)
    sum_gx = no_sums(False, COLS, COMPUTE)
    for group in range(n_groups):
        sum_g += tl.load(sums_g_ptr + group * c + channels, mask=exist, other=0.0)
        sum_gx += tl.load(sums_gx_ptr + group * c + channels, mask=exist, other=0.0)
    tl.store(sums_ptr + channels, sum_g, mask=exist)
    tl.store(sums_ptr + c + channels, sum_gx, mask=exist)
    if DWEIGHT:
        rstd = tl.load(rstd_ptr + channels * rstd_stride, mask=exist, other=1.0).to(COMPUTE)
        if VARIANCE:
            rstd = 1.0 / tl.sqrt(rstd + eps)
        tl.store(dweight_ptr + channels, (sum_gx * rstd).to(dweight_ptr.dtype.element_ty), exist)
    if DBIAS:
        tl.store(dbias_ptr + channels, sum_g.to(dbias_ptr.dtype.element_ty), exist)


@kernel()
def input_gradient_tiles(
    dx_ptr, g_ptr, x_ptr, mean_ptr, rstd_ptr, weight_ptr, sums_ptr,
    eps, n, c, s, s_tiles, n_tiles, tiles_per_group, c_blocks,
    g_n_stride, g_c_stride, g_s_stride, x_n_stride, x_c_stride, x_s_stride,
    dx_n_stride, dx_c_stride, dx_s_stride, mean_stride, rstd_stride, weight_stride,
    VARIANCE: tl.constexpr, TRAINING: tl.constexpr, WEIGHT: tl.constexpr,
    PLANES: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """One program: dx of one group of tiles of its channels."""
    COMPUTE: tl.constexpr = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    c0 = tl.program_id(0) % c_blocks
    if not PLANES:
        c0 = c0 * COLS
    channels, exist = own_channels(c0, c, PLANES, COLS)
    mean, rstd = load_statistics(
        mean_ptr, rstd_ptr, eps, channels, exist, mean_stride, rstd_stride, VARIANCE, COMPUTE
    )
    sum_g = no_sums(PLANES, COLS, COMPUTE)
    sum_gx = no_sums(PLANES, COLS, COMPUTE)
    if TRAINING:
        sum_g = tl.load(sums_ptr + channels, mask=exist, other=0.0)
        sum_gx = tl.load(sums_ptr + c + channels, mask=exist, other=0.0)
    first = (tl.program_id(0) // c_blocks) * tiles_per_group
    input_gradient(
        dx_ptr, g_ptr, x_ptr, weight_ptr, mean, rstd, sum_g, sum_gx, first,
        tl.minimum(first + tiles_per_group, n_tiles), c0, n, c, s, s_tiles,
        g_n_stride, g_c_stride, g_s_stride, x_n_stride, x_c_stride, x_s_stride,
        dx_n_stride, dx_c_stride, dx_s_stride, weight_stride, WEIGHT, TRAINING,
        PLANES, ROWS, COLS,
    )  # fmt: skip
