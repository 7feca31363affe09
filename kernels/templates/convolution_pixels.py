"""Convolutions of images whose channels lie side by side, on GPUs: products of pixels and channels.

    out[p, o] = sum over taps t and channels c of X[pixel(p, t), c] * W[o, t, c]

A program takes some pixels, of any images, and output channels; it goes through the taps and,
within each, through blocks of channels. What it reads of X is some pixels' neighbours, a row of
channels each: 16 bytes a thread, several blocks under way, products by tensor cores. Nothing is
copied apart. The gradient of the input is the same with other steps (`convolution.classes`) and
weights turned; that of the weights sums G^T X over parts of the pixels, then the parts in their
order. With one tap and no steps all three are plain products, and `matmul` makes them.

Source: Chetlur et al., cuDNN, 2014; Zhou et al., Characterizing and Demystifying the Implicit
    Convolution Algorithm on Commercial Matrix-Multiplication Accelerators, 2021 (channels last).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from tritorch import dtypes
from tritorch.config import config
from tritorch.kernels.hardware import hardware_of
from tritorch.kernels.plan import Plan, nothing
from tritorch.kernels.strides import is_channels_last
from tritorch.kernels.templates import matmul
from tritorch.kernels.templates.convolution import Geometry, Steps, classes
from tritorch.kernels.templates.convolution_kernels import convolution_weight_rows
from tritorch.kernels.templates.convolution_tables import Memory
from tritorch.kernels.templates.matmul_gpu import finish
from tritorch.kernels.templates.rows import ceil_divide, next_power_of_2
from tritorch.kernels.templates.template import helper, kernel
from tritorch.layout import Layout, Shape

if TYPE_CHECKING:
    import triton.language as tl

_KINDS = (dtypes.float16, dtypes.bfloat16, dtypes.float32)
#: fewer channels do not fill a tile of the tensor cores; of those that come in, the taps of a row,
#: which lie side by side, are taken together
_LEAST = 16
#: the smallest shared memory of a block among the GPUs that are compiled for
_SHARED_BYTES = 163 << 10


def serves(x: Layout, w_shape: Shape, geometry: Geometry) -> bool:
    """Whether the functions of this module take such images; their layout is made to fit."""
    return (
        x.device.type != "cpu"
        and x.ndim == 4
        and geometry.groups == 1
        and x.dtype in _KINDS
        and w_shape[0] >= _LEAST
        and (w_shape[1] >= _LEAST or geometry.dilation[1] == 1)
    )


def _tile(
    *, target: str, pixels: int, filters: int, channels: int, dtype: str, multiprocessors: int
) -> dict[str, Any]:
    """128 x 128, blocks of 128 bytes; lower tiles where there are fewer than multiprocessors. Three
    blocks under way, so that two programs fit on a Hopper's multiprocessor.

    Channels that no 16 bytes divide go through registers one by one: those of more threads.
    """
    single = dtype == "float32"
    width = max(min(next_power_of_2(filters), 64 if single else 128), 16)
    deep = max(min(next_power_of_2(channels), 32 if single else 64), 16)
    height = 64 if single else 128
    if ceil_divide(pixels, height) * ceil_divide(filters, width) < multiprocessors:
        height = 64
    warps = 8 if height * width >= 128 * 128 or channels % 8 else 4
    return {
        "BLOCK_M": height, "BLOCK_N": width, "BLOCK_K": deep, "num_warps": warps,
        "num_stages": 3,
    }  # fmt: skip


def _fits(
    *, BLOCK_M: int, BLOCK_N: int, BLOCK_K: int, num_stages: int, num_warps: int, dtype: str,
    **_: Any,
) -> bool:  # fmt: skip
    """Within the shared memory, and at most 128 numbers of the sum a thread."""
    size = 4 if dtype == "float32" else 2
    blocks = (BLOCK_M + BLOCK_N) * BLOCK_K * size * num_stages
    return blocks <= _SHARED_BYTES and num_warps * 32 * 128 >= BLOCK_M * BLOCK_N


@helper
def divided(number, factor, shift):
    """number // divisor, by what `divisor` says of it: two instructions instead of twenty."""
    return (tl.umulhi((number * 2).to(tl.uint32), factor.to(tl.uint32)) >> shift).to(tl.int32)


@helper
def pixel_parts(
    pixels, size_image, size_row, image_factor, image_shift, row_factor, row_shift
):  # fmt: skip
    """Image, row and column of output pixels."""
    image = divided(pixels, image_factor, image_shift)
    rest = pixels - image * size_image
    y = divided(rest, row_factor, row_shift)
    return image, y, rest - y * size_row


@helper
def within(column, there, inner, channels, size_width, ROWS: tl.constexpr):
    """Which channels of which pixels there are."""
    if ROWS:
        across = column[:, None] + (inner // ROWS)[None, :]
        return there[:, None] & (across >= 0) & (across < size_width) & (inner < channels)[None, :]
    else:
        there = there & (column >= 0) & (column < size_width)
        return there[:, None] & (inner < channels)[None, :]


@kernel(
    space={
        "BLOCK_M": [64, 128, 256], "BLOCK_N": [16, 32, 64, 128, 256], "BLOCK_K": [16, 32, 64, 128],
        "num_warps": [4, 8], "num_stages": [2, 3, 4, 5],
    },
    keep=_fits, default=_tile, key=("pixels", "filters", "channels", "taps", "dtype"),
)  # fmt: skip
def convolution_pixels(
    out_ptr, x_ptr, w_ptr, bias_ptr, size_pixels, size_image, size_row, channels, filters,
    size_height, size_width, image_factor, image_shift, row_factor, row_shift,
    n_steps, n_taps, n_turns,
    shift_step0, shift_step1, shift_first0, shift_first1, shift_tap0, shift_tap1,
    x_image_stride, x_row_stride, x_pixel_stride,
    out_image_stride, out_row_stride, out_pixel_stride, out_base, w_filter_stride,
    BIAS: tl.constexpr, ROWS: tl.constexpr, PRECISION: tl.constexpr, MARKED: tl.constexpr,
    WHOLE_CHANNELS: tl.constexpr, WHOLE_FILTERS: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK_N channels of BLOCK_M pixels.

    Pixel (y, x) and tap (v, u) meet at input (y * step0 + first0 + v * tap0, ...); there are
    n_turns taps in a row, n_taps in all, n_steps of taps and blocks of channels together. ROWS: a
    row of taps, of so many channels each, counts as one tap with all their channels. MARKED: which
    taps a pixel meets is found once and kept as bits. WHOLE_CHANNELS, WHOLE_FILTERS: blocks are
    full.
    """
    tiles_n = tl.cdiv(filters, BLOCK_N)
    pixels = (tl.program_id(0) // tiles_n) * BLOCK_M + tl.arange(0, BLOCK_M)
    outs = (tl.program_id(0) % tiles_n) * BLOCK_N + tl.arange(0, BLOCK_N)
    image, y, x = pixel_parts(
        pixels, size_image, size_row, image_factor, image_shift, row_factor, row_shift
    )
    inside = pixels < size_pixels
    row = y * shift_step0 + shift_first0
    column = x * shift_step1 + shift_first1
    place = image * x_image_stride + row * x_row_stride + column * x_pixel_stride
    w_ptr += outs * w_filter_stride
    marks = tl.zeros((BLOCK_M,), tl.int32)
    if MARKED:
        for tap in range(n_taps):
            across = column + (tap % n_turns) * shift_tap1
            along = row + (tap // n_turns) * shift_tap0
            meets = inside & (along >= 0) & (along < size_height)
            meets = meets & (across >= 0) & (across < size_width)
            marks = marks | (meets.to(tl.int32) << tl.cast(tap, tl.int32))
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    tap = 0
    first = 0
    turn = 0
    down = 0
    for _ in range(n_steps):
        inner = first + tl.arange(0, BLOCK_K)
        right = turn * shift_tap1
        if MARKED:
            met = (((marks >> tap) & 1) > 0)[:, None]
            if not WHOLE_CHANNELS:
                met = met & (inner < channels)[None, :]
        else:
            there = inside & (row + down >= 0) & (row + down < size_height)
            met = within(column + right, there, inner, channels, size_width, ROWS)
        moved = place + (down * x_row_stride + right * x_pixel_stride)
        a = tl.load(x_ptr + (moved[:, None] + inner[None, :]), mask=met, other=0.0)
        weights = w_ptr[None, :] + (tap * channels + inner)[:, None]
        if WHOLE_CHANNELS and WHOLE_FILTERS:
            b = tl.load(weights)
        else:
            b = tl.load(
                weights, mask=(inner < channels)[:, None] & (outs < filters)[None, :], other=0.0
            )
        total = tl.dot(a, b, total, input_precision=PRECISION)
        # The next block of channels; behind the last one the next tap, the next row of taps.
        first += BLOCK_K
        done = first >= channels
        first = tl.where(done, 0, first)
        tap += done.to(tl.int32)
        turn += done.to(tl.int32)
        below = turn == n_turns
        turn = tl.where(below, 0, turn)
        down += tl.where(below, shift_tap0, 0).to(tl.int32)
    if BIAS:
        total += tl.load(bias_ptr + outs, mask=outs < filters, other=0.0).to(tl.float32)[None, :]
    target = image * out_image_stride + y * out_row_stride + x * out_pixel_stride + out_base
    tl.store(
        out_ptr + (target[:, None] + outs[None, :]), total.to(out_ptr.dtype.element_ty),
        mask=inside[:, None] & (outs < filters)[None, :],
    )  # fmt: skip


def _weight_tile(
    *, target: str, pixels: int, filters: int, channels: int, dtype: str
) -> dict[str, Any]:
    """Filters by channels, blocks of pixels."""
    side = 64 if dtype == "float32" else 128
    height = max(min(next_power_of_2(filters), side), 16)
    width = max(min(next_power_of_2(channels), side), 16)
    warps = 8 if height * width >= 128 * 128 else 4
    return {
        "BLOCK_M": height, "BLOCK_N": width, "BLOCK_K": 32 if dtype == "float32" else 64,
        "num_warps": warps, "num_stages": 3,
    }  # fmt: skip


@kernel(
    space={
        "BLOCK_M": [16, 32, 64, 128], "BLOCK_N": [16, 32, 64, 128, 256], "BLOCK_K": [32, 64, 128],
        "num_warps": [4, 8], "num_stages": [2, 3, 4],
    },
    keep=_fits, default=_weight_tile, key=("pixels", "filters", "channels", "taps", "dtype"),
)  # fmt: skip
def convolution_pixels_weight(
    partial_ptr, g_ptr, x_ptr, size_pixels, size_image, size_row, channels, filters,
    size_height, size_width, image_factor, image_shift, row_factor, row_shift,
    n_parts, steps_per_part, n_turns, n_taps,
    shift_step0, shift_step1, shift_first0, shift_first1, shift_tap0, shift_tap1,
    x_image_stride, x_row_stride, x_pixel_stride, g_pixel_stride, part_stride,
    ROWS: tl.constexpr, PRECISION: tl.constexpr, WHOLE_CHANNELS: tl.constexpr,
    WHOLE_FILTERS: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One program: the gradient of BLOCK_M filters' BLOCK_N channels of one tap, summed over a part
    of the pixels, BLOCK_K at once.
    """
    tiles_m = tl.cdiv(filters, BLOCK_M)
    tiles_n = tl.cdiv(channels, BLOCK_N)
    outs = (tl.program_id(0) % tiles_m) * BLOCK_M + tl.arange(0, BLOCK_M)
    rest = tl.program_id(0) // tiles_m
    inner = (rest % tiles_n) * BLOCK_N + tl.arange(0, BLOCK_N)
    tap = (rest // tiles_n) % n_taps
    part = rest // (tiles_n * n_taps)
    down = (tap // n_turns) * shift_tap0 + shift_first0
    right = (tap % n_turns) * shift_tap1 + shift_first1
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    tl.assume(steps_per_part > 0)  # else ptxas waits for every product of a warp group
    for step in range(steps_per_part):
        pixels = (part * steps_per_part + step) * BLOCK_K + tl.arange(0, BLOCK_K)
        image, y, x = pixel_parts(
            pixels, size_image, size_row, image_factor, image_shift, row_factor, row_shift
        )
        inside = pixels < size_pixels
        row = y * shift_step0 + down
        column = x * shift_step1 + right
        there = inside & (row >= 0) & (row < size_height)
        if WHOLE_CHANNELS and not ROWS:
            met = (there & (column >= 0) & (column < size_width))[:, None]
        else:
            met = within(column, there, inner, channels, size_width, ROWS)
        known = inside[:, None]
        if not WHOLE_FILTERS:
            known = known & (outs < filters)[None, :]
        upstream = pixels * g_pixel_stride
        g = tl.load(g_ptr + (upstream[:, None] + outs[None, :]), mask=known, other=0.0)
        place = image * x_image_stride + row * x_row_stride + column * x_pixel_stride
        near = tl.load(x_ptr + (place[:, None] + inner[None, :]), mask=met, other=0.0)
        total = tl.dot(tl.trans(g), near, total, input_precision=PRECISION)
    places = (outs * n_taps + tap)[:, None] * channels + inner[None, :]
    tl.store(
        partial_ptr + part * part_stride + places, total.to(partial_ptr.dtype.element_ty),
        mask=(outs < filters)[:, None] & (inner < channels)[None, :],
    )  # fmt: skip


@kernel(default=finish)
def convolution_pixels_finish(
    out_ptr, partial_ptr, numel, n_splits, BLOCK: tl.constexpr, PARTS: tl.constexpr
):  # fmt: skip
    """out[i] = sum over parts of partial[part, i]; one program: BLOCK numbers, PARTS at once."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.float32)
    for first in range(0, n_splits, PARTS):
        part = first + tl.arange(0, PARTS)
        there = (part < n_splits)[:, None] & (at < numel)[None, :]
        places = partial_ptr + part.to(tl.int64)[:, None] * numel + at[None, :]
        total += tl.sum(tl.load(places, mask=there, other=0.0), 0)
    tl.store(out_ptr + at, total.to(out_ptr.dtype.element_ty), mask=at < numel)


def last(layout: Layout, shape: Shape | None = None) -> Layout:
    """A layout of this shape (its own) with the channels side by side, without gaps."""
    n, c, h, w = shape or layout.shape
    return Layout.of(layout.dtype, (n, c, h, w), (h * w * c, 1, w * c, c), layout.device)


def _precision(x: Layout) -> str:
    exact = x.dtype is not dtypes.float32 or config.float32_matmul == "highest"
    return "ieee" if exact else "tf32"


def _plain(geometry: Geometry) -> bool:
    """One tap that moves nowhere."""
    return prod(geometry.kernel) == 1 and prod(geometry.stride) == 1 and not any(geometry.padding)


def _rows(x: Layout) -> Layout:
    """Dense pixels as rows of channels."""
    n, c, h, w = x.shape
    return Layout.contiguous(x.dtype, (n * h * w, c), x.device)


def _matrix(w: Layout) -> Layout:
    return Layout.of(w.dtype, w.shape[:2], w.strides[:2], w.device)


def _turned(x: Layout) -> Layout:
    return Layout.of(x.dtype, x.shape[::-1], x.strides[::-1], x.device)


def _product(out: Layout, a: Layout, b: Layout, bias: Layout | None = None) -> Plan:
    plan = matmul.plan(a, b, bias)
    return Plan((out,), plan.launch, plan.kernels, plan.steps, plan.workspaces)


def plan(x: Layout, w: Layout, bias: Layout | None, geometry: Geometry) -> Plan:
    """The convolution; launch(out, x, w[, bias]).

    Args:
        x: (batch, channels, height, width) as `last` makes it. w: (out_channels, channels, kernel
            height, kernel width), any strides. bias: (out_channels,), contiguous.
    Returns:
        a plan whose output is as `last` makes it.
    """
    out = last(x, (x.shape[0], w.shape[0], *geometry.output))
    if not out.numel:
        return Plan((out,), nothing)
    if _plain(geometry):
        return _product(out, _rows(x), _turned(_matrix(w)), bias)
    steps = Steps((out,))
    taps = [[t * stride for t in range(n)] for n, stride in zip(geometry.kernel, w.strides[2:])]
    weights = (
        2
        if is_channels_last(w) and last(w).strides == w.strides
        else _weights(steps, w, taps, w.shape[0], w.strides[0], w.shape[1], w.strides[1])
    )
    first = [-p for p in geometry.padding]
    _add(
        steps, x, w.dtype, weights, bias, out, geometry.output, out.strides, 0,
        geometry.stride, first, geometry.dilation, geometry.kernel,
    )  # fmt: skip
    return steps.plan(3 if bias else 2)


def plan_input(g: Layout, w: Layout, bias: Layout | None, geometry: Geometry) -> Plan:
    """The gradient of the input, or the transposed convolution; launch(out, g, w[, bias]).

    Args:
        g: (batch, out_channels, *output) as `last` makes it. bias: (channels,), added.
    """
    out = last(g, (g.shape[0], w.shape[1], *geometry.input))
    if not out.numel:
        return Plan((out,), nothing)
    if _plain(geometry):
        return _product(out, _rows(g), _matrix(w), bias)
    steps = Steps((out,))
    found = [
        classes(*dim)
        for dim in zip(
            geometry.kernel, geometry.stride, geometry.padding, geometry.dilation, geometry.input
        )
    ]
    for chosen in product(*found):
        if not all(c.positions for c in chosen):
            continue
        taps = [
            [(c.weight + t * c.weight_step) * stride for t in range(c.taps)]
            for c, stride in zip(chosen, w.strides[2:])
        ]
        weights = _weights(steps, w, taps, w.shape[1], w.strides[1], w.shape[0], w.strides[0])
        n, _, rows, columns = out.strides
        strides = (n, 1, rows * geometry.stride[0], columns * geometry.stride[1])
        base = chosen[0].remainder * rows + chosen[1].remainder * columns
        _add(
            steps, g, w.dtype, weights, bias, out, [c.positions for c in chosen], strides, base,
            (1, 1), [c.first for c in chosen], [c.tap for c in chosen], [c.taps for c in chosen],
        )  # fmt: skip
    return steps.plan(3 if bias else 2)


def _weights(
    steps: Steps, w: Layout, taps: Sequence[Sequence[int]], filters: int, filter_stride: int,
    channels: int, channel_stride: int,
) -> int:  # fmt: skip
    """A workspace with a row of (tap, channel) for each filter."""
    places = [v + u for v in taps[0] for u in taps[1]]
    columns = array("q", [p + c * channel_stride for p in places for c in range(channels)])
    k = len(columns)
    place = steps.workspace(max(filters * k, 1) * w.dtype.itemsize)
    if k:
        memory = Memory(w.device)
        steps.held.append(memory)
        operands: dict[str, Any] = {"out_ptr": w.dtype, "w_ptr": w, "column_ptr": "*i64"}
        values = {
            "column_ptr": memory.place(columns), "k": k, "channels": filters, "group_stride": 0,
            "channel_stride": filter_stride,
        } | convolution_weight_rows.choose(w.device.type, k=k)  # fmt: skip
        steps.add(convolution_weight_rows.bind(w.device, (filters,), operands, values), (place, 2))
    return place


def _add(
    steps: Steps, x: Layout, kind: Any, weights: int, bias: Layout | None, out: Layout,
    positions: Sequence[int], out_strides: Shape, base: int, step: Sequence[int],
    first: Sequence[int], tap: Sequence[int], taps: Sequence[int],
) -> None:  # fmt: skip
    """One launch: all images' pixels at these positions."""
    channels, filters, rows = x.shape[1], out.shape[1], _together(x, tap)
    depth = prod(taps) * channels
    if rows:
        channels, taps = channels * taps[1], (taps[0], 1)
    pixels = x.shape[0] * prod(positions)
    choice = convolution_pixels.choose(
        x.device.type, pixels=pixels, filters=filters, channels=channels, taps=prod(taps),
        dtype=x.dtype.name, multiprocessors=hardware_of(x.device).multiprocessors,
    )  # fmt: skip
    n_blocks = ceil_divide(channels, choice["BLOCK_K"])
    values: dict[str, Any] = choice | _walk(x, positions, step, first, tap, taps) | {
        "size_pixels": pixels, "channels": channels, "filters": filters,
        "n_steps": prod(taps) * n_blocks, "n_taps": prod(taps),
        "MARKED": not rows and prod(taps) <= 31,
        "WHOLE_CHANNELS": channels % choice["BLOCK_K"] == 0,
        "WHOLE_FILTERS": filters % choice["BLOCK_N"] == 0,
        "out_image_stride": out_strides[0], "out_row_stride": out_strides[2],
        "out_pixel_stride": out_strides[3], "out_base": base,
        "w_filter_stride": depth, "BIAS": bias is not None, "ROWS": rows,
    }  # fmt: skip
    operands: dict[str, Any] = {"out_ptr": out, "x_ptr": x, "w_ptr": kind}
    arguments = [0, 1, weights]
    if bias is None:
        values["bias_ptr"] = None
    else:
        operands["bias_ptr"] = bias
        arguments.append(3)
    tiles = ceil_divide(pixels, choice["BLOCK_M"]) * ceil_divide(filters, choice["BLOCK_N"])
    steps.add(convolution_pixels.bind(x.device, (tiles,), operands, values), arguments)


def _together(x: Layout, tap: Sequence[int]) -> int:
    """The channels of a pixel where a row of taps is taken together, else 0."""
    return x.shape[1] if x.shape[1] < _LEAST and tap[1] == 1 else 0


def _walk(
    x: Layout, positions: Sequence[int], step: Sequence[int], first: Sequence[int],
    tap: Sequence[int], taps: Sequence[int],
) -> dict[str, Any]:  # fmt: skip
    """What both kernels know of the way through X."""
    found: dict[str, Any] = {
        "size_image": prod(positions), "size_row": positions[1],
        "size_height": x.shape[2], "size_width": x.shape[3], "n_turns": max(taps[1], 1),
        "x_image_stride": x.strides[0], "x_row_stride": x.strides[2],
        "x_pixel_stride": x.strides[3], "PRECISION": _precision(x),
    }  # fmt: skip
    for name, size in (("image", prod(positions)), ("row", positions[1])):
        found[f"{name}_factor"], found[f"{name}_shift"] = divisor(size)
    for name, pair in (("step", step), ("first", first), ("tap", tap)):
        found |= {f"shift_{name}{axis}": number for axis, number in enumerate(pair)}
    return found


def divisor(size: int) -> tuple[int, int]:
    """The factor, as a signed number of 32 bits, and the shift by which `divided` divides numbers
    below 2^31.

    Source: Granlund and Montgomery, Division by Invariant Integers using Multiplication, 1994.
    """
    shift = (size - 1).bit_length()
    factor = -(-(1 << 31 + shift) // size)
    return factor - (factor >> 31 << 32), shift


def plan_weight(g: Layout, x: Layout, geometry: Geometry) -> Plan:
    """The gradient of the weights; launch(out, g, x).

    Args:
        g: (batch, out_channels, *output). x: (batch, channels, *input); both as `last` makes them.
    """
    filters, channels = g.shape[1], x.shape[1]
    out = last(x, (filters, channels, *geometry.kernel))
    if not out.numel:
        return Plan((out,), nothing)
    if _plain(geometry) and g.numel:
        return _product(out, _turned(_rows(g)), _rows(x))
    steps = Steps((out,))
    pixels, taps = g.shape[0] * prod(geometry.output), geometry.kernel
    if rows := _together(x, geometry.dilation):
        channels, taps = channels * taps[1], (taps[0], 1)
    n_taps = prod(taps)
    choice = convolution_pixels_weight.choose(
        x.device.type, pixels=pixels, filters=filters, channels=channels, taps=n_taps,
        dtype=x.dtype.name,
    )  # fmt: skip
    tiles = n_taps * ceil_divide(filters, choice["BLOCK_M"])
    tiles *= ceil_divide(channels, choice["BLOCK_N"])
    # As many programs as multiprocessors hold, but parts long enough to be worth their sums.
    n_steps = ceil_divide(pixels, choice["BLOCK_K"])
    multiprocessors = hardware_of(x.device).multiprocessors
    wanted = ceil_divide(16 // choice.get("num_warps", 4) * multiprocessors, tiles)
    each = ceil_divide(n_steps, max(min(wanted, n_steps // 8), 1))
    parts = ceil_divide(n_steps, each)
    first = [-p for p in geometry.padding]
    values: dict[str, Any] = choice | _walk(
        x, geometry.output, geometry.stride, first, geometry.dilation, taps
    ) | {
        "size_pixels": pixels, "channels": channels, "filters": filters, "n_taps": n_taps,
        "n_parts": parts, "steps_per_part": each, "part_stride": out.numel, "ROWS": rows,
        "g_pixel_stride": filters,
        "WHOLE_CHANNELS": channels % choice["BLOCK_N"] == 0,
        "WHOLE_FILTERS": filters % choice["BLOCK_M"] == 0,
    }  # fmt: skip
    kind = out.dtype if parts == 1 else dtypes.float32
    operands: dict[str, Any] = {"partial_ptr": kind, "g_ptr": g, "x_ptr": x}
    bound = convolution_pixels_weight.bind(x.device, (tiles * parts,), operands, values)
    if parts == 1:
        steps.add(bound, (0, 1, 2))
        return steps.plan(2)
    place = steps.workspace(parts * out.numel * 4)
    steps.add(bound, (place, 1, 2))
    total: dict[str, Any] = {"numel": out.numel, "n_splits": parts}
    total |= convolution_pixels_finish.choose(
        x.device.type, multiprocessors=multiprocessors, **total
    )
    grid = (ceil_divide(out.numel, total["BLOCK"]),)
    operands = {"out_ptr": out, "partial_ptr": dtypes.float32}
    steps.add(convolution_pixels_finish.bind(x.device, grid, operands, total), (0, place))
    return steps.plan(2)
