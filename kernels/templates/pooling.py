"""Plans of pooling: which kernel of `pooling_kernels` does a window, and with which tiles."""

from __future__ import annotations

from typing import Any, NamedTuple

from tritorch import dtypes
from tritorch.dtypes import dtype as Dtype
from tritorch.kernels.plan import Plan, nothing
from tritorch.kernels.strides import dense_in_format, is_channels_last
from tritorch.kernels.templates.pooling_kernels import (
    pool_flat,
    pool_flat_backward,
    pool_planes,
    pool_planes_backward,
    take_flat,
)
from tritorch.kernels.templates.rows import ceil_divide, next_power_of_2
from tritorch.layout import Layout, numel

Triple = tuple[int, int, int]

#: taps up to which the loops over a window are unrolled
UNROLLED, UNROLLED_FLAT = 64, 16
#: results of a program on the CPU
_PROGRAM = 4096
#: a tile's own cost in lanes
_TILE_START = 8
#: steps between outputs from which on their windows are lanes
_LONG_STEP = 4
#: elements of a flat tile
FLAT = {"cpu": 256, "cuda": 256}


class Window(NamedTuple):
    """What is pooled: three dimensions, the outermost of size 1 where there are fewer.

    Attributes:
        spatial: how many dimensions there are really.
        maximum: max pooling, else the average.
        kernel: taps; of adaptive windows the most there may be.
        out: sizes of the result.
        include_pad: padding counts in averages. divisor: of averages instead of the count; 0: none.
    """

    spatial: int
    maximum: bool
    kernel: Triple
    stride: Triple
    pad: Triple
    dilation: Triple
    out: Triple
    adaptive: bool = False
    include_pad: bool = True
    divisor: int = 0

    @property
    def taps(self) -> int:
        return numel(self.kernel)

    @property
    def is_short(self) -> bool:
        """Whether the gradient's loops over taps may be unrolled."""
        return (
            not self.adaptive
            and self.taps <= UNROLLED
            and self.stride[2] <= _LONG_STEP
            and numel(self.stride) <= 32
        )

    @property
    def pos_dtype(self) -> Dtype:
        """Of the number of a tap."""
        return dtypes.uint8 if self.taps <= 256 else dtypes.int32

    def result(self, x: Layout, dtype: Dtype) -> Layout:
        """The layout of the result: channels last if x is, else row-major."""
        shape = (*x.shape[: x.ndim - self.spatial], *self.out[3 - self.spatial :])
        return dense_in_format(shape, dtype, x, self.spatial)

    def like(self, x: Layout, dtype: Dtype) -> Layout:
        """A dense layout of x's shape in the same order as `result`."""
        return dense_in_format(x.shape, dtype, x, self.spatial)

    def constants(self) -> dict[str, Any]:
        found: dict[str, Any] = {"ADAPTIVE": self.adaptive, "MAX": self.maximum}
        for letter, values in (("K", self.kernel), ("S", self.stride), ("D", self.dilation)):
            for axis, value in zip("DHW", values):
                found[letter + axis] = value
        return found

    def divisor_values(self, uniform: int) -> dict[str, Any]:
        """`uniform`: the count of every window, 0 where they differ."""
        divisor = self.divisor or uniform
        return {"INCLUDE_PAD": self.include_pad, "DIVISOR": bool(divisor), "divisor": divisor}

    def overhangs(self, sizes: Triple) -> tuple[bool, bool, bool]:
        """Whether a window leaves the input, along each dimension."""
        return tuple(
            self.adaptive or pad > 0 or (out - 1) * stride + (kernel - 1) * dilation >= size
            for kernel, stride, pad, dilation, out, size in zip(
                self.kernel, self.stride, self.pad, self.dilation, self.out, sizes, strict=True
            )
        )  # type: ignore[return-value]

    def uniform_count(self, sizes: Triple) -> int:
        """The count of every window, 0 where they differ."""
        if self.maximum or self.adaptive:
            return 0
        if self.include_pad:  # all count the same unless one reaches beyond the padding
            beyond = any(
                (out - 1) * stride - pad + kernel > size + pad
                for kernel, stride, pad, out, size in zip(
                    self.kernel, self.stride, self.pad, self.out, sizes, strict=True
                )
            )
            return 0 if beyond else self.taps
        return 0 if any(self.overhangs(sizes)) else self.taps


class Five(NamedTuple):
    """A layout as N x C x D x H x W."""

    n: int
    c: int
    sizes: Triple
    strides: tuple[int, int, int, int, int]

    @staticmethod
    def of(x: Layout, spatial: int) -> Five:
        shape, strides = x.shape, x.strides
        if x.ndim == spatial + 1:
            shape, strides = (1, *shape), (0, *strides)
        missing = 3 - spatial
        sizes = (*(1,) * missing, *shape[2:])
        return Five(
            shape[0],
            shape[1],
            sizes,  # type: ignore[arg-type]
            (*strides[:2], *(0,) * missing, *strides[2:]),  # type: ignore[arg-type]
        )

    def stride_values(self, prefix: str) -> dict[str, Any]:
        return {f"{prefix}_{a}_stride": s for a, s in zip("ncdhw", self.strides)}


def _sizes(window: Window, sizes: Triple) -> dict[str, Any]:
    names = ("depth", "height", "width")
    found: dict[str, Any] = dict(zip(names, sizes))
    found |= {f"out_{name}": size for name, size in zip(names, window.out)}
    found |= {f"pad_{axis}": pad for axis, pad in zip("dhw", window.pad)}
    return found


def flat_values(five: Five, pixels: Triple, last: bool, target: str) -> tuple[int, dict[str, Any]]:
    """(programs, values) of a flat kernel over these pixels."""
    if last:
        channels = min(next_power_of_2(five.c), 64)
        values = {"size_c": 1, "channels": five.c, "count": five.n}
        total = five.n * numel(pixels)
    else:
        channels = 1
        values = {"size_c": five.c, "channels": 1, "count": five.n * five.c}
        total = five.n * five.c * numel(pixels)
    # A GPU's threads have as many neighbouring channels as lie in 16 bytes.
    lanes = FLAT[target] * (4 if last and target != "cpu" else 1)
    block = min(lanes // channels, next_power_of_2(total))
    values |= {"PIXELS": block, "CHANNELS": channels}
    return ceil_divide(total, block) * ceil_divide(values["channels"], channels), values


def _tile(count: int) -> tuple[int, int]:
    """(lanes of a tile, tiles) that cover so many neighbours, overlapping at the end."""
    blocks = [b for b in (1, 2, 4, 8, 16, 32, 64) if b <= count]
    best = min(blocks, key=lambda b: (ceil_divide(count, b) * (b + _TILE_START), -b))
    return best, ceil_divide(count, best)


def _empty(layout: Layout, sizes: Triple) -> bool:
    return not layout.numel or not numel(sizes)


def plan(x: Layout, window: Window, *, pos: bool = False, index: bool = False) -> Plan:
    """y[, pos][, index]; launch(outputs..., x).

    Args:
        pos: max pooling: give the chosen tap of each window. index: give its place in the plane.
    """
    five = Five.of(x, window.spatial)
    y = window.result(x, x.dtype)
    outputs = [y]
    if pos:
        outputs.append(window.result(x, window.pos_dtype))
    if index:
        outputs.append(window.result(x, dtypes.int64))
    if _empty(y, five.sizes):
        return Plan(outputs, nothing)
    values: dict[str, Any] = {
        **window.constants(), **_sizes(window, five.sizes), **five.stride_values("x"),
        **window.divisor_values(0), "POS": pos, "INDEX": index,
    }  # fmt: skip
    operands: dict[str, Any] = {"y_ptr": y, "x_ptr": x}
    for name, wanted in (("pos", pos), ("index", index)):
        if wanted:
            operands[f"{name}_ptr"] = window.pos_dtype if name == "pos" else dtypes.int64
        else:
            values[f"{name}_ptr"] = None
    last = is_channels_last(x, window.spatial)
    if x.device.type == "cpu" and not last and not window.adaptive:
        grid, extra = _planes(five, window)
        template = pool_planes
        del values["ADAPTIVE"]
    else:
        grid, extra = flat_values(five, window.out, last, x.device.type)
        extra |= Five.of(y, window.spatial).stride_values("y")
        extra["UNROLL"] = window.taps <= UNROLLED_FLAT
        template = pool_flat
    launch, compiled = template.bind(x.device, (grid,), operands, values | extra)
    return Plan(outputs, launch, [compiled])


def _planes(five: Five, window: Window) -> tuple[int, dict[str, Any]]:
    n_rows = window.out[0] * window.out[1]
    rows = max(1, min(n_rows, _PROGRAM // window.out[2]))
    kernel, stride, pad, dilation = (
        values[2] for values in (window.kernel, window.stride, window.pad, window.dilation)
    )
    first = ceil_divide(pad, stride)
    last = (five.sizes[2] - 1 - (kernel - 1) * dilation + pad) // stride
    whole = min(last, window.out[2] - 1) - first + 1
    block, tiles = _tile(whole) if whole > 0 else (1, 0)
    # Outputs as lanes would be gathered: with long steps, sum along the windows instead.
    wide = not window.maximum and stride > _LONG_STEP and kernel > _LONG_STEP
    clipped = window.overhangs(five.sizes)
    values = {
        "size_c": five.c, "n_rows": n_rows, "rows_per_program": rows,
        "first_whole": first if whole > 0 else 0, "n_whole": max(whole, 0), "n_tiles": tiles,
        "BLOCK": block, "CLIPPED": clipped[0] or clipped[1], "UNROLL": window.taps <= UNROLLED,
        "LANES": next_power_of_2(kernel) if wide and kernel <= 4096 else 0,
    }  # fmt: skip
    return five.n * five.c * ceil_divide(n_rows, rows), values


def plan_backward(g: Layout, x: Layout, window: Window) -> Plan:
    """The gradient of an input like x; launch(dx, g[, pos]).

    Args:
        g: of the result's shape, any strides. pos (max pooling): as `plan` left it.
    """
    five, gradient = Five.of(x, window.spatial), Five.of(g, window.spatial)
    dx = window.like(x, g.dtype)
    if not dx.numel:
        return Plan([dx], nothing)
    values: dict[str, Any] = {
        **window.constants(), **_sizes(window, five.sizes), **gradient.stride_values("g"),
        **window.divisor_values(window.uniform_count(five.sizes)),
    }  # fmt: skip
    operands: dict[str, Any] = {"dx_ptr": dx, "g_ptr": g}
    if window.maximum:
        operands["pos_ptr"] = window.pos_dtype
    else:
        values["pos_ptr"] = None
    last = is_channels_last(x, window.spatial)
    if x.device.type == "cpu" and not last and window.is_short:
        grid, extra = _planes_backward(five, window)
        template = pool_planes_backward
        del values["ADAPTIVE"]
    else:
        grid, extra = flat_values(five, five.sizes, last, x.device.type)
        extra |= Five.of(dx, window.spatial).stride_values("dx")
        extra |= Five.of(window.result(x, g.dtype), window.spatial).stride_values("y")
        for axis, turns in zip("DHW", _turns(five.sizes, window)):
            extra[f"T{axis}"] = turns
        template = pool_flat_backward
    launch, compiled = template.bind(x.device, (grid,), operands, values | extra)
    return Plan([dx], launch, [compiled])


def _turns(sizes: Triple, window: Window) -> list[int]:
    """How many windows an input may be in, along each dimension."""
    if window.adaptive:
        return [
            max(ceil_divide((i + 1) * out, size) - i * out // size for i in range(size))
            for size, out in zip(sizes, window.out)
        ]
    return [
        (kernel - 1) * dilation // stride + 1
        for kernel, dilation, stride in zip(window.kernel, window.dilation, window.stride)
    ]


def _planes_backward(five: Five, window: Window) -> tuple[int, dict[str, Any]]:
    first = [pad // stride for pad, stride in zip(window.pad, window.stride)]
    count = [
        (pad + size - 1) // stride - start + 1
        for pad, size, stride, start in zip(window.pad, five.sizes, window.stride, first)
    ]
    n_rows = count[0] * count[1]
    rows = max(1, min(n_rows, _PROGRAM // (count[2] * numel(window.stride))))
    block, tiles = _tile(count[2])
    values = {
        "size_c": five.c, "n_rows": n_rows, "rows_per_program": rows, "rows_h": count[1],
        "first_d": first[0], "first_h": first[1], "first_w": first[2], "n_periods": count[2],
        "n_tiles": tiles, "BLOCK": block,
    }  # fmt: skip
    return five.n * five.c * ceil_divide(n_rows, rows), values


def plan_take(x: Layout, pos: Layout, window: Window) -> Plan:
    """The inputs that `pos` names, as max pooling chose them; launch(y, x, pos)."""
    five = Five.of(x, window.spatial)
    y = pos.with_dtype(x.dtype)
    if _empty(y, five.sizes):
        return Plan([y], nothing)
    last = is_channels_last(y, window.spatial)
    grid, extra = flat_values(five, window.out, last, x.device.type)
    values = {
        **window.constants(), **_sizes(window, five.sizes), **five.stride_values("x"),
        **Five.of(y, window.spatial).stride_values("y"), **extra,
    }  # fmt: skip
    del values["MAX"]
    operands: dict[str, Any] = {"y_ptr": y, "x_ptr": x, "pos_ptr": window.pos_dtype}
    launch, compiled = take_flat.bind(x.device, (grid,), operands, values)
    return Plan([y], launch, [compiled])
