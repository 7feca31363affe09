"""The kernels of convolutions; `convolution` makes plans of them, `convolution_tables` tables.

All compute one thing, a correlation of an image with a kernel of T taps, over a group's C channels:

    out[m, p] = sum_k W[m, k] * X[k, p],    k = (channel, tap), p = output position

X is never formed: its element k, p lies at `row[k] + column[p]` from the start of an image's group,
and is zero unless the bit of k's tap is set in `column_bits[p]` (the frame of zeros, and what the
tables are padded with). The tables are of the plan, so that strides, dilations, gaps and the number
of dimensions cost nothing here.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from tritorch.config import config
from tritorch.kernels.templates.rows import ceil_divide, next_power_of_2, to_compute
from tritorch.kernels.templates.template import helper, kernel

if TYPE_CHECKING:
    import triton.language as tl

# Nanoseconds on one AVX-512 core: per multiply-add, per element of a tile of W and of X that is
# packed, per element of the result and block of K, per tl.dot.
_MULTIPLY, _PACK_W, _PACK_X, _ACCUMULATE, _DOT = 0.0172, 0.28, 0.15, 0.03, 300.0


@cache
def _cpu_tile(m: int, columns: int, k: int, count: int, threads: int) -> dict[str, int]:
    """The cheapest tile by the model above. BLOCK_K depends on k alone, as do the result's bits."""
    blocks = [side for side in (16, 32, 64, 128) if side <= max(next_power_of_2(k), 16)]
    block_k = min(blocks, key=lambda b: ceil_divide(k, b) * (b * _MULTIPLY + _ACCUMULATE))
    turns = ceil_divide(k, block_k)

    def cost(block: tuple[int, int]) -> float:
        rows, width = block
        tiles = count * ceil_divide(m, rows) * ceil_divide(columns, width)
        one = _DOT + rows * width * (block_k * _MULTIPLY + _ACCUMULATE)
        one += block_k * (rows * _PACK_W + width * _PACK_X)
        return ceil_divide(tiles, threads) * turns * one

    highest = max(next_power_of_2(m), 4)
    sides = [
        (rows, width)
        for rows in (4, 8, 16, 32, 64, 128, 256)
        for width in (16, 32, 64, 128, 256, 512)
        if rows <= highest
    ]
    rows, width = min(sides, key=cost)
    return {"BLOCK_M": rows, "BLOCK_N": width, "BLOCK_K": block_k}


def _tile(*, target: str, m: int, columns: int, k: int, count: int) -> dict[str, Any]:
    """CPU: by a model of packing, multiplying and sharing out. GPU: a tile of tl.dot's sizes."""
    if target == "cpu":
        return dict(_cpu_tile(m, columns, k, count, config.num_threads))
    return {
        "BLOCK_M": max(16, min(64, next_power_of_2(m))),
        "BLOCK_N": max(16, min(128, next_power_of_2(columns))),
        "BLOCK_K": max(16, min(32, next_power_of_2(k))),
    }


def _direct(*, target: str, columns: int) -> dict[str, Any]:
    """A whole plane per program on the CPU, as long as it stays in the first-level cache."""
    return {"BLOCK": min(4096 if target == "cpu" else 512, max(next_power_of_2(columns), 16))}


def _weight_tile(*, target: str, m: int, columns: int, k: int) -> dict[str, Any]:
    """Tiles of the weights' gradient: BLOCK_R rows (channel, tap) by BLOCK_M; BLOCK_P positions are
    summed at once.
    """
    if target != "cpu":
        sizes = {"BLOCK_R": 64, "BLOCK_M": 64, "BLOCK_P": 32}
    else:
        sizes = {"BLOCK_R": 64, "BLOCK_M": 64, "BLOCK_P": 128}
    least = 16 if target != "cpu" else 4
    return {
        "BLOCK_R": max(least, min(sizes["BLOCK_R"], next_power_of_2(k))),
        "BLOCK_M": max(least, min(sizes["BLOCK_M"], next_power_of_2(m))),
        "BLOCK_P": max(16, min(sizes["BLOCK_P"], next_power_of_2(columns))),
    }


@helper
def image_tile(
    x_ptr, row_ptr, row_bits_ptr, row_word_ptr, column_ptr, column_bits_ptr,
    inner, columns, k, n_columns, x_channel_stride, word_stride,
    ROW_TABLE: tl.constexpr, CONTIGUOUS: tl.constexpr, MASKED: tl.constexpr, WORDS: tl.constexpr,
):  # fmt: skip
    """X[inner, columns]: rows are (channel, tap), columns are positions."""
    if ROW_TABLE:
        rows = tl.load(row_ptr + inner)
    else:
        rows = inner * x_channel_stride
    if CONTIGUOUS:
        pointers = x_ptr + (rows[:, None] + columns[None, :])
    else:
        pointers = x_ptr + (rows[:, None] + tl.load(column_ptr + columns)[None, :])
    if MASKED:
        bits = tl.load(row_bits_ptr + inner)
        if WORDS:
            words = tl.load(row_word_ptr + inner) * word_stride
            positions = tl.load(column_bits_ptr + (words[:, None] + columns[None, :]))
        else:
            positions = tl.load(column_bits_ptr + columns)[None, :]
        mask = (bits[:, None] & positions) != 0
    else:
        mask = (inner < k)[:, None] & (columns < n_columns)[None, :]
    return tl.load(pointers, mask=mask, other=0.0)


@kernel(
    space={
        "BLOCK_M": [16, 32, 64, 128, 256],
        "BLOCK_N": [64, 128, 256, 512],
        "BLOCK_K": [16, 32, 64, 128],
        "num_warps": [4, 8],
        "num_stages": [2, 3],
    },
    keep=lambda BLOCK_M, BLOCK_N, **_: BLOCK_M * BLOCK_N <= 65_536,
    default=_tile,
    key=("m", "k", "columns", "count", "dtype"),
)
def convolution_tile(
    out_ptr, x_ptr, w_ptr, bias_ptr,
    row_ptr, row_bits_ptr, row_word_ptr, column_ptr, column_bits_ptr, out_column_ptr,
    m, k, n_columns, groups, tiles_m, tiles_n, out_base, word_stride,
    out_batch_stride, out_channel_stride, x_batch_stride, x_group_stride, x_channel_stride,
    w_row_stride,
    ROW_TABLE: tl.constexpr, CONTIGUOUS: tl.constexpr, MASKED: tl.constexpr, WORDS: tl.constexpr,
    OUT_CONTIGUOUS: tl.constexpr, HOLES: tl.constexpr, BIAS: tl.constexpr,
    EARLY: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK_M channels of BLOCK_N positions of one image and group.

    EARLY: where a contiguous result lies is known before the loop, so the CPU sums in place.
    """
    program = tl.program_id(0)
    tile_m = program % tiles_m
    rest = program // tiles_m
    tile_n = rest % tiles_n
    rest = rest // tiles_n
    group = rest % groups
    batch = rest // groups
    x_ptr += batch * x_batch_stride + group * x_group_stride
    channel = group * m + tile_m * BLOCK_M
    rows = tl.arange(0, BLOCK_M)
    height = m - tile_m * BLOCK_M
    w_ptr += channel * w_row_stride
    columns = tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    ACCUMULATE: tl.constexpr = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    out_ptr += batch * out_batch_stride + channel * out_channel_stride + out_base
    mask = (rows < height)[:, None] & (columns < n_columns)[None, :]
    if OUT_CONTIGUOUS and EARLY:
        pointers = out_ptr + rows[:, None] * out_channel_stride + columns[None, :]
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=ACCUMULATE)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        w = tl.load(
            w_ptr + rows[:, None] * w_row_stride + inner[None, :],
            mask=(rows < height)[:, None] & (inner < k)[None, :],
            other=0.0,
        )
        x = image_tile(
            x_ptr, row_ptr, row_bits_ptr, row_word_ptr, column_ptr, column_bits_ptr,
            inner, columns, k, n_columns, x_channel_stride, word_stride,
            ROW_TABLE, CONTIGUOUS, MASKED, WORDS,
        )  # fmt: skip
        total = tl.dot(w, x, total, input_precision="ieee", out_dtype=ACCUMULATE)
    if BIAS:
        total += tl.load(bias_ptr + channel + rows, rows < height).to(ACCUMULATE)[:, None]
    if OUT_CONTIGUOUS and not EARLY:
        pointers = out_ptr + rows[:, None] * out_channel_stride + columns[None, :]
    if not OUT_CONTIGUOUS:
        positions = tl.load(out_column_ptr + columns)
        pointers = out_ptr + (rows[:, None] * out_channel_stride + positions[None, :])
        if HOLES:
            mask = (rows < height)[:, None] & (positions >= 0)[None, :]
    tl.store(pointers, total.to(out_ptr.dtype.element_ty), mask=mask)


@kernel(
    space={"BLOCK": [256, 512, 1024, 2048, 4096], "num_warps": [2, 4]},
    default=_direct,
    key=("k", "columns", "dtype"),
)
def convolution_direct(
    out_ptr, x_ptr, w_ptr, bias_ptr,
    row_ptr, row_bits_ptr, row_word_ptr, column_ptr, column_bits_ptr, out_column_ptr,
    m, k, n_columns, groups, tiles_n, out_base, word_stride,
    out_batch_stride, out_channel_stride, x_batch_stride, x_group_stride, w_row_stride,
    CONTIGUOUS: tl.constexpr, MASKED: tl.constexpr, WORDS: tl.constexpr,
    OUT_CONTIGUOUS: tl.constexpr, HOLES: tl.constexpr, BIAS: tl.constexpr,
    UNROLLED: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK positions of one channel; for groups of few channels.

    UNROLLED: k, where the terms are written out one by one; 0 for a loop.
    """
    program = tl.program_id(0)
    tile_n = program % tiles_n
    rest = program // tiles_n
    channel = rest % (groups * m)
    batch = rest // (groups * m)
    x_ptr += batch * x_batch_stride + (channel // m) * x_group_stride
    w_ptr += channel * w_row_stride
    columns = tile_n * BLOCK + tl.arange(0, BLOCK)
    inside = columns < n_columns
    if CONTIGUOUS:
        places = columns
    else:
        places = tl.load(column_ptr + columns)
    ACCUMULATE: tl.constexpr = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    total = tl.zeros((BLOCK,), dtype=ACCUMULATE)
    if BIAS:
        total += tl.load(bias_ptr + channel).to(ACCUMULATE)
    if UNROLLED:
        for inner in tl.static_range(UNROLLED):
            w = to_compute(tl.load(w_ptr + inner))
            mask = inside
            if MASKED:
                bits = tl.load(row_bits_ptr + inner)
                mask = (bits & tl.load(column_bits_ptr + columns)) != 0
            x = tl.load(x_ptr + tl.load(row_ptr + inner) + places, mask=mask, other=0.0)
            total += w * to_compute(x)
    else:
        for inner in range(k):
            w = to_compute(tl.load(w_ptr + inner))
            mask = inside
            if MASKED:
                word_ptr = column_bits_ptr
                if WORDS:
                    word_ptr += tl.load(row_word_ptr + inner) * word_stride
                mask = (tl.load(row_bits_ptr + inner) & tl.load(word_ptr + columns)) != 0
            x = tl.load(x_ptr + tl.load(row_ptr + inner) + places, mask=mask, other=0.0)
            total += w * to_compute(x)
    out_ptr += batch * out_batch_stride + channel * out_channel_stride + out_base
    if OUT_CONTIGUOUS:
        positions = columns
    else:
        positions = tl.load(out_column_ptr + columns)
        if HOLES:
            inside = positions >= 0
    tl.store(out_ptr + positions, total.to(out_ptr.dtype.element_ty), mask=inside)


@kernel(default={"BLOCK": 256}, space={"BLOCK": [64, 256, 1024]}, key=("k",))
def convolution_weight_rows(
    out_ptr, w_ptr, column_ptr, k, channels, group_stride, channel_stride,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """out[row, k] = w[group, channel, column[k]]: the weights in the order of another convolution.
    One program: one row.
    """
    row = tl.program_id(0)
    w_ptr += (row // channels) * group_stride + (row % channels) * channel_stride
    for start in range(0, k, BLOCK):
        inner = start + tl.arange(0, BLOCK)
        column = tl.load(column_ptr + inner, mask=inner < k, other=0)
        w = tl.load(w_ptr + column, mask=inner < k)
        tl.store(out_ptr + row * k + inner, w, mask=inner < k)


@kernel(
    space={
        "BLOCK_R": [32, 64, 128, 256],
        "BLOCK_M": [16, 32, 64, 128],
        "BLOCK_P": [32, 64, 128, 256],
        "num_warps": [4, 8],
        "num_stages": [2, 3],
    },
    default=_weight_tile,
    key=("m", "k", "columns", "count", "dtype"),
)
def convolution_weight_tile(
    partial_ptr, g_ptr, x_ptr,
    row_ptr, row_bits_ptr, row_word_ptr, column_ptr, column_bits_ptr, g_column_ptr,
    m, k, n_columns, batch, share, groups, tiles_m, tiles_r, word_stride,
    g_batch_stride, g_channel_stride, x_batch_stride, x_group_stride, x_channel_stride,
    partial_stride,
    ROW_TABLE: tl.constexpr, CONTIGUOUS: tl.constexpr, MASKED: tl.constexpr, WORDS: tl.constexpr,
    G_CONTIGUOUS: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """One program: the gradient of BLOCK_M x BLOCK_R weights over `share` images.

    partial[part, m, k] = sum over images and positions p of G[m, p] * X[k, p].
    """
    program = tl.program_id(0)
    tile_m = program % tiles_m
    rest = program // tiles_m
    tile_r = rest % tiles_r
    rest = rest // tiles_r
    group = rest % groups
    part = rest // groups
    channel = group * m + tile_m * BLOCK_M
    outer = tl.arange(0, BLOCK_M)
    height = m - tile_m * BLOCK_M
    rows = tile_r * BLOCK_R + tl.arange(0, BLOCK_R)
    g_ptr += channel * g_channel_stride
    x_ptr += group * x_group_stride
    ACCUMULATE: tl.constexpr = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    total = tl.zeros((BLOCK_R, BLOCK_M), dtype=ACCUMULATE)
    for image in range(part * share, tl.minimum(part * share + share, batch)):
        for start in range(0, n_columns, BLOCK_P):
            columns = start + tl.arange(0, BLOCK_P)
            x = image_tile(
                x_ptr + image * x_batch_stride,
                row_ptr, row_bits_ptr, row_word_ptr, column_ptr, column_bits_ptr,
                rows, columns, k, n_columns, x_channel_stride, word_stride,
                ROW_TABLE, CONTIGUOUS, MASKED, WORDS,
            )  # fmt: skip
            if G_CONTIGUOUS:
                places = columns
            else:
                places = tl.load(g_column_ptr + columns)
            g = tl.load(
                g_ptr + image * g_batch_stride
                + (outer[None, :] * g_channel_stride + places[:, None]),
                mask=(columns < n_columns)[:, None] & (outer < height)[None, :],
                other=0.0,
            )  # fmt: skip
            total = tl.dot(x, g, total, input_precision="ieee", out_dtype=ACCUMULATE)
    partial_ptr += part * partial_stride + channel * k
    tl.store(
        partial_ptr + (outer[None, :] * k + rows[:, None]),
        total.to(partial_ptr.dtype.element_ty),
        mask=(rows < k)[:, None] & (outer < height)[None, :],
    )


@kernel(
    space={"BLOCK": [256, 512, 1024, 2048, 4096], "num_warps": [2, 4]},
    default=_direct,
    key=("k", "columns", "dtype"),
)
def convolution_weight_direct(
    out_ptr, g_ptr, x_ptr,
    row_ptr, row_bits_ptr, row_word_ptr, column_ptr, column_bits_ptr, g_column_ptr,
    m, k, n_columns, batch, word_stride,
    g_batch_stride, g_channel_stride, x_batch_stride, x_group_stride,
    CONTIGUOUS: tl.constexpr, MASKED: tl.constexpr, WORDS: tl.constexpr,
    G_CONTIGUOUS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: the gradient of one weight; for groups of few channels."""
    inner = tl.program_id(0) % k
    channel = tl.program_id(0) // k
    x_ptr += (channel // m) * x_group_stride + tl.load(row_ptr + inner)
    g_ptr += channel * g_channel_stride
    if MASKED:
        bits = tl.load(row_bits_ptr + inner)
        if WORDS:
            column_bits_ptr += tl.load(row_word_ptr + inner) * word_stride
    ACCUMULATE: tl.constexpr = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    total = tl.full((), 0.0, ACCUMULATE)
    for image in range(batch):
        for start in range(0, n_columns, BLOCK):
            columns = start + tl.arange(0, BLOCK)
            inside = columns < n_columns
            mask = inside
            if MASKED:
                mask = (bits & tl.load(column_bits_ptr + columns)) != 0
            if CONTIGUOUS:
                places = columns
            else:
                places = tl.load(column_ptr + columns)
            if G_CONTIGUOUS:
                g_places = columns
            else:
                g_places = tl.load(g_column_ptr + columns)
            x = tl.load(x_ptr + image * x_batch_stride + places, mask=mask, other=0.0)
            g = tl.load(g_ptr + image * g_batch_stride + g_places, mask=inside, other=0.0)
            total += tl.sum(to_compute(x) * to_compute(g), 0)
    tl.store(out_ptr + tl.program_id(0), total.to(out_ptr.dtype.element_ty))


@kernel(default={"BLOCK": 1024}, space={"BLOCK": [256, 1024, 4096]}, key=("n",))
def convolution_sum_parts(out_ptr, partial_ptr, n, parts, BLOCK: tl.constexpr):
    """out[i] = sum over parts of partial[part, i], in their order."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    total = tl.load(partial_ptr + at, mask=at < n, other=0.0)
    for part in range(1, parts):
        total += tl.load(partial_ptr + part * n + at, mask=at < n, other=0.0)
    tl.store(out_ptr + at, total.to(out_ptr.dtype.element_ty), mask=at < n)


@kernel(
    space={"BLOCK": [256, 512, 1024, 2048, 4096], "num_warps": [2, 4]},
    default=_direct,
    key=("k", "columns", "dtype"),
)
def convolution_unfold(
    out_ptr, x_ptr, row_ptr, row_bits_ptr, row_word_ptr, column_ptr, column_bits_ptr,
    k, n_columns, word_stride, x_batch_stride,
    CONTIGUOUS: tl.constexpr, MASKED: tl.constexpr, WORDS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """out[n, k, p] = X[k, p]; one program: one row of one image."""
    inner = tl.program_id(0) % k
    x_ptr += (tl.program_id(0) // k) * x_batch_stride + tl.load(row_ptr + inner)
    out_ptr += tl.program_id(0).to(tl.int64) * n_columns
    if MASKED:
        bits = tl.load(row_bits_ptr + inner)
        if WORDS:
            column_bits_ptr += tl.load(row_word_ptr + inner) * word_stride
    for start in range(0, n_columns, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        inside = columns < n_columns
        mask = inside
        if MASKED:
            mask = (bits & tl.load(column_bits_ptr + columns)) != 0
        if CONTIGUOUS:
            places = columns
        else:
            places = tl.load(column_ptr + columns)
        tl.store(out_ptr + columns, tl.load(x_ptr + places, mask=mask, other=0.0), mask=inside)


@kernel(
    space={"BLOCK": [256, 512, 1024, 2048, 4096], "num_warps": [2, 4]},
    default=_direct,
    key=("k", "columns", "dtype"),
)
def convolution_fold(
    out_ptr, x_ptr, row_ptr, row_bits_ptr, row_word_ptr, column_ptr, column_bits_ptr,
    out_column_ptr, k, n_columns, channels, out_base, word_stride, out_batch_stride,
    out_channel_stride, x_batch_stride, x_channel_stride,
    CONTIGUOUS: tl.constexpr, MASKED: tl.constexpr, WORDS: tl.constexpr,
    OUT_CONTIGUOUS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """out[c, p] = sum over the k taps of X[c, tap, p]; one program: a channel of an image."""
    channel = tl.program_id(0) % channels
    batch = tl.program_id(0) // channels
    x_ptr += batch * x_batch_stride + channel * x_channel_stride
    out_ptr += batch * out_batch_stride + channel * out_channel_stride + out_base
    ACCUMULATE: tl.constexpr = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    for start in range(0, n_columns, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        inside = columns < n_columns
        if CONTIGUOUS:
            places = columns
        else:
            places = tl.load(column_ptr + columns)
        total = tl.zeros((BLOCK,), dtype=ACCUMULATE)
        for inner in range(k):
            mask = inside
            if MASKED:
                word_ptr = column_bits_ptr
                if WORDS:
                    word_ptr += tl.load(row_word_ptr + inner) * word_stride
                mask = (tl.load(row_bits_ptr + inner) & tl.load(word_ptr + columns)) != 0
            x = tl.load(x_ptr + tl.load(row_ptr + inner) + places, mask=mask, other=0.0)
            total += to_compute(x)
        if OUT_CONTIGUOUS:
            positions = columns
        else:
            positions = tl.load(out_column_ptr + columns)
        tl.store(out_ptr + positions, total.to(out_ptr.dtype.element_ty), mask=inside)
