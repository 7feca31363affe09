"""Convolutions of any number of dimensions, with stride, padding, dilation and groups, and their
gradients.

    out[n, m, o] = sum over c, t of W[m, c, t] * X[n, c, o * stride + t * dilation - padding]

Three functions, each linear in both operands, whose gradients are one another:

- `plan`: X, W -> out (`conv1d`, ...);
- `plan_input`: G, W -> the gradient of X, which also is the transposed convolution. A stride leaves
  a gap between the inputs that a tap meets, so inputs fall into classes by their remainder, each a
  convolution of its own with some of the taps and stride 1;
- `plan_weight`: G, X -> the gradient of W, summed over fixed shares of the images.

Sources: implicit GEMM as in Chetlur et al., cuDNN, 2014; tables of positions as in the indirect
    convolution of Dukhan, 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import gcd, prod
from typing import Any, NamedTuple

from tritorch.dtypes import dtype as Dtype
from tritorch.errors import DtypeError
from tritorch.kernels.plan import Plan, Step, nothing
from tritorch.kernels.templates.convolution_arrange import Operand, copied, follow, plain
from tritorch.kernels.templates.convolution_kernels import (
    convolution_direct,
    convolution_sum_parts,
    convolution_tile,
    convolution_weight_direct,
    convolution_weight_rows,
    convolution_weight_tile,
)
from tritorch.kernels.templates.convolution_tables import (
    Axis,
    Batched,
    Memory,
    Tables,
    agree,
    padded,
    weight_columns,
)
from tritorch.kernels.templates.rows import ceil_divide
from tritorch.kernels.templates.template import Template
from tritorch.kernels.tuning import LAUNCH_OPTIONS
from tritorch.layout import Layout, Shape, contiguous_strides

#: images of fewer positions are worked on together, lest tiles stay half empty; where the input is
#: copied anyway, already those of fewer than the second number
_SMALL_IMAGE, _SMALL_COPY = 100, 1000
#: groups with fewer output channels, or so few terms, do without tl.dot
_FEW_CHANNELS = 4
#: terms that the direct kernel writes out
_UNROLLED = 16
#: work (multiply-adds) of a share of the images in the gradient of the weights
_SHARE = 40_000_000


@dataclass(frozen=True, eq=False)
class Geometry:
    """Sizes and steps of a convolution, an entry per spatial dimension; `padding` is in front.

    Batch and channels are the operands'; `input` and `output` belong to the convolution, also where
    it is run backwards. Compared by identity, for the sake of plans' keys.
    """

    kernel: Shape
    stride: Shape
    padding: Shape
    dilation: Shape
    groups: int
    input: Shape
    output: Shape


def _check(name: str, *operands: Layout) -> None:
    first = operands[0].dtype
    if any(o.dtype is not first for o in operands) or not first.is_floating_point:
        kinds = " and ".join(str(o.dtype) for o in operands)
        raise DtypeError(
            f"{name}: expected operands of one floating-point dtype, got {kinds}. Cast them."
        )


class Steps:
    """Launches in the making; workspaces are numbered by negative arguments."""

    def __init__(self, outputs: Sequence[Layout]) -> None:
        self.outputs = tuple(outputs)
        self.steps: list[Step] = []
        self.workspaces: list[int] = []
        self.kernels: list[Any] = []
        self.held: list[Any] = []

    def add(self, bound: tuple[Any, Any], arguments: Sequence[int]) -> None:
        self.steps.append(Step(bound[0], tuple(arguments)))
        self.kernels.append(bound[1])

    def workspace(self, nbytes: int) -> int:
        self.workspaces.append(nbytes)
        return -len(self.workspaces)

    def plan(self, n_inputs: int) -> Plan:
        from tritorch.runtime import get_target

        device = self.outputs[0].device
        if len(self.steps) == 1 and not self.workspaces:
            (step,) = self.steps
            if step.arguments == tuple(range(1 + n_inputs)):
                return _Holding(self.outputs, step.launch, self.kernels, self.held)
        plan = Plan.of_steps(
            self.outputs, get_target(device), self.steps, self.workspaces, self.kernels
        )
        return _Holding(
            self.outputs, plan.launch, self.kernels, self.held, plan.steps, plan.workspaces
        )


class _Holding(Plan):
    """A plan that owns tables; its launch keeps them too."""

    __slots__ = ("held",)

    def __init__(
        self,
        outputs: Sequence[Layout],
        launch: Any,
        kernels: Sequence[Any],
        held: Sequence[Any],
        steps: Sequence[Step] = (),
        workspaces: Sequence[int] = (),
    ) -> None:
        super().__init__(outputs, launch, kernels, steps, workspaces)
        self.held = tuple(held)


def plan(x: Layout, w: Layout, bias: Layout | None, geometry: Geometry) -> Plan:
    """The convolution; launch(out, x, w[, bias]).

    Args:
        x: (batch, channels, *input). w: (out_channels, channels / groups, *kernel).
        bias: (out_channels,). Any strides.
    """
    _check("convolution", x, w, *([bias] if bias else []))
    out = Layout.contiguous(x.dtype, (x.shape[0], w.shape[0], *geometry.output), x.device)
    if not out.numel:
        return Plan((out,), nothing)
    steps = Steps((out,))
    source = _weights(
        steps, w, geometry, geometry.kernel, (0,) * len(geometry.kernel),
        (1,) * len(geometry.kernel), transposed=False,
    )  # fmt: skip
    axes = [
        Axis.strided(i, o, k, s, d, -p, xs, os)
        for i, o, k, s, p, d, xs, os in zip(
            geometry.input, geometry.output, geometry.kernel, geometry.stride, geometry.padding,
            geometry.dilation, x.strides[2:], out.strides[2:],
        )
    ]  # fmt: skip
    _correlate(steps, axes, x, source, bias, geometry.groups, out, 0)
    return steps.plan(3 if bias else 2)


def plan_input(g: Layout, w: Layout, bias: Layout | None, geometry: Geometry) -> Plan:
    """The gradient of the input, or the transposed convolution; launch(out, g, w[, bias]).

    Args:
        g: (batch, out_channels, *output). bias: (channels,), added to the result.
    """
    _check("convolution", g, w, *([bias] if bias else []))
    channels = w.shape[1] * geometry.groups
    out = Layout.contiguous(g.dtype, (g.shape[0], channels, *geometry.input), g.device)
    if not out.numel:
        return Plan((out,), nothing)
    steps = Steps((out,))
    found = [
        classes(*dim)
        for dim in zip(
            geometry.kernel, geometry.stride, geometry.padding, geometry.dilation, geometry.input
        )
    ]
    for chosen in product(*found):
        axes = [
            Axis.strided(o, c.positions, c.taps, 1, c.tap, c.first, gs, s * xs)
            for o, c, s, gs, xs in zip(
                geometry.output, chosen, geometry.stride, g.strides[2:], out.strides[2:]
            )
        ]
        offset = sum(c.remainder * xs for c, xs in zip(chosen, out.strides[2:]))
        if not all(c.positions for c in chosen):
            continue
        source = _weights(
            steps, w, geometry, [c.taps for c in chosen], [c.weight for c in chosen],
            [c.weight_step for c in chosen], transposed=True,
        )  # fmt: skip
        _correlate(steps, axes, g, source, bias, geometry.groups, out, offset)
    return steps.plan(3 if bias else 2)


class Class(NamedTuple):
    """Inputs of one remainder by the stride: how many there are, the taps that meet them (from
    `weight` on in steps of `weight_step`), and where in the output (`first`, moving by `tap`).
    """

    remainder: int
    positions: int
    taps: int
    weight: int
    weight_step: int
    first: int
    tap: int


def classes(kernel: int, stride: int, padding: int, dilation: int, size: int) -> list[Class]:
    """Input i meets tap t at output (i + padding - t * dilation) / stride, if that is whole."""
    common = gcd(stride, dilation)
    period = stride // common
    found = []
    for remainder in range(min(stride, size)):
        positions = len(range(remainder, size, stride))
        starts = [
            t for t in range(period) if (remainder + padding - t * dilation) % stride == 0
        ]  # fmt: skip
        if not starts or starts[0] >= kernel:
            found.append(Class(remainder, positions, 0, 0, 1, 0, 0))
            continue
        (start,) = starts
        first = (remainder + padding - start * dilation) // stride
        taps = len(range(start, kernel, period))
        found.append(Class(remainder, positions, taps, start, period, first, -(dilation // common)))
    return found


class _Weights(NamedTuple):
    """Rows of weights, (channel, tap) side by side: an argument of the launch or a workspace."""

    argument: int
    operand: Layout | str
    #: of a group
    rows: int
    channels: int
    row_stride: int


def _weights(
    steps: Steps,
    w: Layout,
    geometry: Geometry,
    taps: Sequence[int],
    firsts: Sequence[int],
    strides: Sequence[int],
    *,
    transposed: bool,
) -> _Weights:
    """The weights in the order of a convolution over these taps, copied unless they lie so."""
    groups = geometry.groups
    rows, channels = w.shape[0] // groups, w.shape[1]
    side_by_side = contiguous_strides(w.shape)[1:] == w.strides[1:] or w.is_contiguous
    if not transposed and side_by_side:
        return _Weights(2, w, rows, channels, w.strides[0])
    row_stride, channel_stride = w.strides[0], w.strides[1]
    group_stride = rows * row_stride
    if transposed:
        rows, channels = channels, rows
        row_stride, channel_stride = channel_stride, row_stride
    columns = weight_columns(taps, firsts, strides, w.strides[2:], channels, channel_stride)
    k = len(columns)
    place = steps.workspace(max(groups * rows * k, 1) * w.dtype.itemsize)
    if k:
        memory = Memory(w.device)
        steps.held.append(memory)
        operands: dict[str, Any] = {
            "out_ptr": w.dtype, "w_ptr": w, "column_ptr": "*i64",
        }  # fmt: skip
        values = {
            "column_ptr": memory.place(columns), "k": k, "channels": rows,
            "group_stride": group_stride, "channel_stride": row_stride,
        } | convolution_weight_rows.choose(w.device.type, k=k)  # fmt: skip
        bound = convolution_weight_rows.bind(w.device, (groups * rows,), operands, values)
        steps.add(bound, (place, 2))
    return _Weights(place, f"*{w.dtype.triton}", rows, channels, k)


def _correlate(
    steps: Steps,
    axes: Sequence[Axis],
    x: Layout,
    w: _Weights,
    bias: Layout | None,
    groups: int,
    out: Layout,
    offset: int,
) -> None:
    """out += nothing: every position of `axes` (from element `offset` on) is written."""
    batch = x.shape[0]
    positions = prod(a.positions for a in axes)
    m, k = w.rows, w.channels * prod(a.taps for a in axes)
    direct = m < _FEW_CHANNELS or k < 4
    limit = _SMALL_COPY if any(a.step > 1 for a in axes) else _SMALL_IMAGE
    together = not direct and batch > 1 and positions < limit
    source = plain(x, 1)
    if x.device.type == "cpu" and k:
        axes, source = follow(steps, axes, x, 1, together)
    tables = Tables(
        axes, w.channels, source.channel_stride, x.device,
        batched=Batched(batch, source.image_stride, out.strides[0]) if together else None,
    )  # fmt: skip
    steps.held.append(tables)
    images = 1 if together else batch
    target = x.device.type
    count = images * groups
    values: dict[str, Any] = {
        "m": m, "k": k, "n_columns": tables.n_columns, "groups": groups,
        "out_base": offset, "word_stride": tables.word_stride,
        "out_batch_stride": 0 if together else out.strides[0],
        "out_channel_stride": out.strides[1],
        "x_batch_stride": 0 if together else source.image_stride,
        "x_group_stride": w.channels * source.channel_stride,
        "x_channel_stride": source.channel_stride,
        "w_row_stride": w.row_stride,
        "ROW_TABLE": tables.row_table, "CONTIGUOUS": tables.contiguous, "MASKED": tables.masked,
        "WORDS": tables.words, "OUT_CONTIGUOUS": tables.out_contiguous, "HOLES": tables.holes,
        "BIAS": bias is not None,
        **tables.values,
    }  # fmt: skip
    if direct:
        template = convolution_direct
        values |= template.choose(target, k=k, columns=tables.n_columns, dtype=out.dtype.name)
        values["UNROLLED"] = k if 0 < k <= _UNROLLED else 0
        values["tiles_n"] = ceil_divide(tables.n_columns, values["BLOCK"])
        grid = count * m * values["tiles_n"]
    else:
        template = convolution_tile
        values |= template.choose(
            target, m=m, columns=tables.n_columns, k=k, count=count, dtype=out.dtype.name
        )
        values["tiles_n"] = ceil_divide(tables.n_columns, values["BLOCK_N"])
        values["tiles_m"] = ceil_divide(m, values["BLOCK_M"])
        values["EARLY"] = target == "cpu"
        grid = count * values["tiles_n"] * values["tiles_m"]
    operands: dict[str, Any] = {
        "out_ptr": out, "x_ptr": source.operand, "w_ptr": w.operand, **tables.types,
    }  # fmt: skip
    arguments = [0, source.argument, w.argument]
    if bias is None:
        values["bias_ptr"] = None
    else:
        operands["bias_ptr"] = bias
        if bias.strides[0] != 1 and bias.numel > 1:
            raise DtypeError("convolution: expected a contiguous bias. Call contiguous().")
        arguments.append(3)
    values = _known(template, values)
    steps.add(template.bind(x.device, (grid,), operands, values), arguments)


def plan_weight(g: Layout, x: Layout, geometry: Geometry) -> Plan:
    """The gradient of the weights; launch(out, g, x).

    Args:
        g: (batch, out_channels, *output). x: (batch, channels, *input). Any strides.
    """
    _check("convolution", g, x)
    groups = geometry.groups
    m, channels = g.shape[1] // groups, x.shape[1] // groups
    out = Layout.contiguous(g.dtype, (g.shape[1], channels, *geometry.kernel), g.device)
    if not out.numel:
        return Plan((out,), nothing)
    steps = Steps((out,))
    batch = g.shape[0]
    axes = [
        Axis.strided(i, o, k, s, d, -p, xs, gs)
        for i, o, k, s, p, d, xs, gs in zip(
            geometry.input, geometry.output, geometry.kernel, geometry.stride, geometry.padding,
            geometry.dilation, x.strides[2:], g.strides[2:],
        )
    ]  # fmt: skip
    image, upstream = plain(x, 2), plain(g, 1)
    if x.device.type == "cpu":
        axes, image = follow(steps, axes, x, 2, False)
        upstream = _spread(steps, axes, g)
        if upstream.argument < 0:
            tight = contiguous_strides(tuple(a.positions for a in axes))
            axes = [replace(a, kept=a.positions, output_stride=t) for a, t in zip(axes, tight)]
    tables = Tables(axes, channels, image.channel_stride, x.device)
    steps.held.append(tables)
    k, target = tables.k, x.device.type
    tables.values["g_column_ptr"] = tables.values.pop("out_column_ptr")
    if "out_column_ptr" in tables.types:
        tables.types["g_column_ptr"] = tables.types.pop("out_column_ptr")
    values: dict[str, Any] = {
        "m": m, "k": k, "n_columns": tables.n_columns, "batch": batch, "groups": groups,
        "word_stride": tables.word_stride,
        "g_batch_stride": upstream.image_stride, "g_channel_stride": upstream.channel_stride,
        "x_batch_stride": image.image_stride, "x_group_stride": channels * image.channel_stride,
        "x_channel_stride": image.channel_stride,
        "ROW_TABLE": tables.row_table, "CONTIGUOUS": tables.contiguous, "MASKED": tables.masked,
        "WORDS": tables.words, "G_CONTIGUOUS": tables.out_contiguous, **tables.values,
    }  # fmt: skip
    operands: dict[str, Any] = {
        "g_ptr": upstream.operand, "x_ptr": image.operand, **tables.types,
    }  # fmt: skip
    arguments = (upstream.argument, image.argument)
    if m < _FEW_CHANNELS:
        template = convolution_weight_direct
        values |= template.choose(target, k=k, columns=tables.n_columns, dtype=x.dtype.name)
        operands["out_ptr"] = out
        values = _known(template, values)
        steps.add(template.bind(x.device, (out.numel,), operands, values), (0, *arguments))
        return steps.plan(2)
    template = convolution_weight_tile
    values |= template.choose(
        target, m=m, columns=tables.n_columns, k=k, count=batch, dtype=x.dtype.name
    )
    values["tiles_m"] = ceil_divide(m, values["BLOCK_M"])
    values["tiles_r"] = ceil_divide(k, values["BLOCK_R"])
    work = g.shape[1] * k * tables.n_columns
    share = max(1, min(batch, _SHARE // max(work, 1)))
    parts = max(1, ceil_divide(batch, share))
    values |= {"share": share, "partial_stride": out.numel}
    kind = _partial_dtype(out.dtype)
    direct = parts == 1
    operands["partial_ptr"] = out if direct else kind
    values = _known(template, values)
    grid = parts * groups * values["tiles_r"] * values["tiles_m"]
    bound = template.bind(x.device, (grid,), operands, values)
    if direct:
        steps.add(bound, (0, *arguments))
        return steps.plan(2)
    place = steps.workspace(parts * out.numel * kind.itemsize)
    steps.add(bound, (place, *arguments))
    choice = convolution_sum_parts.choose(target, n=out.numel)
    steps.add(
        convolution_sum_parts.bind(
            x.device,
            (ceil_divide(out.numel, choice["BLOCK"]),),
            {"out_ptr": out, "partial_ptr": kind},
            {"n": out.numel, "parts": parts, **choice},
        ),
        (0, place),
    )
    return steps.plan(2)


def _spread(steps: Steps, axes: Sequence[Axis], g: Layout) -> Operand:
    """The upstream gradient with zeros in the holes between its positions, and its positions side
    by side.
    """
    counts = [a.positions for a in axes]
    tight = contiguous_strides(tuple(counts))
    if not any(a.has_holes for a in axes) and agree(counts, [a.output_stride for a in axes], tight):
        return plain(g, 1)
    shifted = [
        Axis.strided(a.kept, a.positions, 1, 1, 0, 0, a.output_stride, 0) for a in padded(axes)
    ]
    return copied(steps, shifted, g, 1, counts, [1] * len(counts))


def _known(template: Template, values: dict[str, Any]) -> dict[str, Any]:
    """The values that a kernel has parameters for, and its launch options."""
    known = (*template.parameters, *LAUNCH_OPTIONS)
    return {name: value for name, value in values.items() if name in known}


def _partial_dtype(dtype: Dtype) -> Dtype:
    from tritorch import dtypes

    return dtype if dtype.itemsize >= 4 else dtypes.float32
