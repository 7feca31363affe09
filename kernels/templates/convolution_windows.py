"""Windows of images as columns (unfold, im2col), and their sum where they overlap (fold)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from math import prod
from typing import Any

from tritorch.kernels.plan import Plan, nothing
from tritorch.kernels.templates.convolution import Class, Geometry, Steps, classes
from tritorch.kernels.templates.convolution_kernels import convolution_fold, convolution_unfold
from tritorch.kernels.templates.convolution_tables import Axis, Tables
from tritorch.kernels.tuning import LAUNCH_OPTIONS
from tritorch.layout import Layout, contiguous_strides


def plan_unfold(x: Layout, geometry: Geometry) -> Plan:
    """out[n, (channel, tap), position]; launch(out, x). x: (batch, channels, *input)."""
    batch, channels = x.shape[:2]
    shape = (batch, channels * prod(geometry.kernel), prod(geometry.output))
    out = Layout.contiguous(x.dtype, shape, x.device)
    if not out.numel:
        return Plan((out,), nothing)
    axes = [
        Axis.strided(i, o, k, s, d, -p, stride, 0)
        for i, o, k, s, p, d, stride in zip(
            geometry.input, geometry.output, geometry.kernel, geometry.stride, geometry.padding,
            geometry.dilation, x.strides[2:],
        )
    ]  # fmt: skip
    steps = Steps((out,))
    tables = Tables(axes, channels, x.strides[1], x.device)
    values: dict[str, Any] = {
        "x_batch_stride": x.strides[0], **_values(tables),
    } | convolution_unfold.choose(
        x.device.type, dtype=x.dtype.name, k=tables.k, columns=tables.n_columns
    )  # fmt: skip
    operands = {"out_ptr": out, "x_ptr": x, **tables.types}
    _bind(steps, convolution_unfold, (batch * tables.k,), operands, values, tables)
    return steps.plan(1)


def plan_fold(g: Layout, geometry: Geometry) -> Plan:
    """The sum of windows where they overlap; launch(out, g). g: (batch, (channel, tap), position).

    out: (batch, channels, *input).
    """
    n_taps = prod(geometry.kernel)
    batch, channels = g.shape[0], g.shape[1] // n_taps
    out = Layout.contiguous(g.dtype, (batch, channels, *geometry.input), g.device)
    if not out.numel:
        return Plan((out,), nothing)
    steps = Steps((out,))
    found = [
        classes(*dim)
        for dim in zip(
            geometry.kernel, geometry.stride, geometry.padding, geometry.dilation, geometry.input
        )
    ]
    position_strides = [s * g.strides[2] for s in contiguous_strides(geometry.output)]
    tap_strides = [s * g.strides[1] for s in contiguous_strides(geometry.kernel)]
    for chosen in product(*found):
        axes = [
            _axis(*entry)
            for entry in zip(
                geometry.output, chosen, geometry.stride, position_strides, tap_strides,
                out.strides[2:],
            )
        ]  # fmt: skip
        tables = Tables(axes, 1, 0, g.device)
        values: dict[str, Any] = {
            "channels": channels, "out_batch_stride": out.strides[0],
            "out_channel_stride": out.strides[1], "x_batch_stride": g.strides[0],
            "x_channel_stride": n_taps * g.strides[1],
            "out_base": sum(c.remainder * s for c, s in zip(chosen, out.strides[2:])),
            "OUT_CONTIGUOUS": tables.out_contiguous, **_values(tables),
        } | convolution_fold.choose(
            g.device.type, dtype=g.dtype.name, k=tables.k, columns=tables.n_columns
        )  # fmt: skip
        operands = {"out_ptr": out, "x_ptr": g, **tables.types}
        _bind(steps, convolution_fold, (batch * channels,), operands, values, tables)
    return steps.plan(1)


def _axis(
    size: int, of: Class, stride: int, position_stride: int, tap_stride: int, output_stride: int
) -> Axis:
    """Each tap reads a row of its own."""
    axis = Axis.strided(
        size, of.positions, of.taps, 1, of.tap, of.first, position_stride, stride * output_stride
    )
    places = (
        place + (of.weight + t * of.weight_step) * tap_stride
        for t, place in enumerate(axis.tap_places)
    )
    return replace(axis, tap_places=tuple(places))


def _values(tables: Tables) -> dict[str, Any]:
    return {
        "k": tables.k, "n_columns": tables.n_columns, "word_stride": tables.word_stride,
        "CONTIGUOUS": tables.contiguous, "MASKED": tables.masked, "WORDS": tables.words,
        **tables.values,
    }  # fmt: skip


def _bind(
    steps: Steps,
    template: Any,
    grid: Sequence[int],
    operands: dict[str, Any],
    values: dict[str, Any],
    tables: Tables,
) -> None:
    steps.held.append(tables)
    known = (*template.parameters, *LAUNCH_OPTIONS)
    values = {name: value for name, value in values.items() if name in known}
    operands = {name: kind for name, kind in operands.items() if name in template.parameters}
    steps.add(template.bind(steps.outputs[0].device, grid, operands, values), (0, 1))
