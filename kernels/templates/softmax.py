"""Softmax and log-softmax along any dimension of strided buffers, forward and backward.

    y = exp(x - max x) / sum exp(x - max x)           dx = y * (g - sum(g * y))
    y = x - max x - log sum exp(x - max x)            dx = g - exp(y) * sum g

Bytes per element: forward one read and one write (rows that fit in a block; else two reads),
backward two reads and a write. About 20 operations per element, nearly all of them exp. float16 and
bfloat16 compute in float32.

A dimension with step 1 is worked on in rows: one program, one row. Any other is worked on in
columns: a program owns neighbouring columns, so that memory is read along its contiguous dimension
all the same.

Source: Milakov and Gimelshein, Online normalizer calculation for softmax, 2018 (the looped
    kernels).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tritorch.dtypes import dtype as Dtype
from tritorch.errors import DtypeError
from tritorch.kernels.plan import Plan, nothing
from tritorch.kernels.templates.rows import (
    ceil_divide,
    levels,
    next_power_of_2,
    row_offset,
    row_warps,
    rows_of,
    to_compute,
    without,
)
from tritorch.kernels.templates.template import Template, helper, kernel
from tritorch.layout import Layout, normalize_dim

if TYPE_CHECKING:
    import triton.language as tl


def _row_block(*, target: str, n_cols: int) -> dict[str, Any]:
    """CPU: strips cost the same in a block of any size, so a row is one block up to 64 Ki elements.
    GPU: a row must fit the registers of a program."""
    limit = 65_536 if target == "cpu" else 16_384
    block = next_power_of_2(n_cols)
    block = block if block <= limit else limit // 4
    return {"BLOCK": block, **row_warps(target, block)}


def _looped(*, BLOCK: int, n_cols: int, **_: Any) -> dict[str, Any]:
    return {"LOOPED": n_cols > BLOCK}


def _column_block(*, target: str, n_cols: int, n_inner: int) -> dict[str, Any]:
    """256 neighbouring columns are four vectors of AVX-512; on a GPU 32 columns are a whole sector
    each.
    """
    inner = min(next_power_of_2(n_inner), 256 if target == "cpu" else 32)
    return {"BLOCK": min(next_power_of_2(n_cols), 16 if target == "cpu" else 64), "INNER": inner}


@helper
def online_sum(x, top, total):
    """Fold the tile x (reduced over axis 0) into a running maximum and sum of exponentials."""
    new = tl.maximum(top, tl.max(x, 0))
    # A slice of nothing but -inf so far: keep the sum 0 rather than nan.
    base = tl.where(new == -float("inf"), 0.0, new)
    return new, total * tl.exp(top - base) + tl.sum(tl.exp(x - base), 0)


@helper
def exponential(x, FAST: tl.constexpr):
    """exp x; FAST, on GPUs: a product and the instruction, without a care for denormal results."""
    if FAST and x.dtype == tl.float32:
        y = tl.exp2(x * 1.4426950408889634)
    else:
        y = tl.exp(x)
    return y


@helper
def online_sums(x, tops, totals, GROUP: tl.constexpr):
    """`online_sum` of each GROUP neighbours by themselves: in one thread, which read them at once,
    so that nothing waits for other threads.
    """
    x = tl.reshape(x, (x.shape[0] // GROUP, GROUP))
    new = tl.maximum(tops, tl.max(x, 1))
    base = tl.where(new == -float("inf"), 0.0, new)
    if x.dtype == tl.float32:
        scaled = base * 1.4426950408889634
        kept = tl.exp2(tops * 1.4426950408889634 - scaled)
        added = tl.exp2(x * 1.4426950408889634 - scaled[:, None])
    else:
        kept = tl.exp(tops - base)
        added = tl.exp(x - base[:, None])
    return new, totals * kept + tl.sum(added, 1)


@helper
def sum_together(tops, totals):
    """One maximum and sum from those of the groups."""
    top = tl.max(tops, 0)
    base = tl.where(top == -float("inf"), 0.0, top)
    return top, tl.sum(totals * tl.exp(tops - base), 0)


def group(x: Layout) -> int:
    """Neighbours that a thread of a GPU reads at once; 0 for a CPU."""
    return 0 if x.device.type == "cpu" else 16 // x.dtype.itemsize


@kernel(
    space={"BLOCK": [1024, 4096, 16_384, 65_536], "num_warps": [1, 2, 4, 8, 16]},
    default=_row_block,
    derive=_looped,
    key=("n_cols", "dtype"),
)
def softmax_rows(
    y_ptr, x_ptr, n_cols, size1, size2, size3,
    x_stride0, x_stride1, x_stride2, x_stride3, x_column_stride,
    y_stride0, y_stride1, y_stride2, y_stride3, y_column_stride,
    LOG: tl.constexpr, LOOPED: tl.constexpr, GROUP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: one row of n_cols elements. GROUP: `group`."""
    row = tl.program_id(0)
    x_ptr += row_offset(row, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3)
    y_ptr += row_offset(row, size1, size2, size3, y_stride0, y_stride1, y_stride2, y_stride3)
    if not LOOPED:
        columns = tl.arange(0, BLOCK)
        mask = columns < n_cols
        x = to_compute(tl.load(x_ptr + columns * x_column_stride, mask=mask, other=-float("inf")))
        shifted = x - tl.max(x, 0)
        exponentials = exponential(shifted, GROUP > 0)
        total = tl.sum(exponentials, 0)
        if LOG:
            y = shifted - tl.log(total)
        else:
            y = exponentials * (1.0 / total)
        tl.store(y_ptr + columns * y_column_stride, y.to(y_ptr.dtype.element_ty), mask=mask)
    else:
        COMPUTE: tl.constexpr = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
        if GROUP:
            top = tl.full((BLOCK // GROUP,), -float("inf"), COMPUTE)
            total = tl.full((BLOCK // GROUP,), 0.0, COMPUTE)
        else:
            top = tl.full((), -float("inf"), COMPUTE)
            total = tl.full((), 0.0, COMPUTE)
        for start in range(0, n_cols, BLOCK):
            columns = start + tl.arange(0, BLOCK)
            x = to_compute(
                tl.load(
                    x_ptr + columns * x_column_stride, mask=columns < n_cols, other=-float("inf")
                )
            )
            if GROUP:
                top, total = online_sums(x, top, total, GROUP)
            else:
                top, total = online_sum(x, top, total)
        if GROUP:
            top, total = sum_together(top, total)
        for start in range(0, n_cols, BLOCK):
            columns = start + tl.arange(0, BLOCK)
            mask = columns < n_cols
            x = to_compute(
                tl.load(x_ptr + columns * x_column_stride, mask=mask, other=-float("inf"))
            )
            if LOG:
                y = x - top - tl.log(total)
            else:
                y = exponential(x - top, GROUP > 0) * (1.0 / total)
            tl.store(y_ptr + columns * y_column_stride, y.to(y_ptr.dtype.element_ty), mask=mask)


@kernel(
    space={"BLOCK": [4, 16, 64], "INNER": [32, 64, 128, 256], "num_warps": [1, 2, 4, 8]},
    default=_column_block,
    key=("n_cols", "n_inner", "dtype"),
)
def softmax_columns(
    y_ptr, x_ptr, n_cols, n_inner, n_blocks, size1, size2, size3,
    x_stride0, x_stride1, x_stride2, x_stride3, x_column_stride, x_inner_stride,
    y_stride0, y_stride1, y_stride2, y_stride3, y_column_stride, y_inner_stride,
    LOG: tl.constexpr, BLOCK: tl.constexpr, INNER: tl.constexpr,
):  # fmt: skip
    """One program: INNER neighbouring slices of n_cols elements each; slices lie side by side in
    memory.
    """
    row = tl.program_id(0) // n_blocks
    inner = (tl.program_id(0) % n_blocks) * INNER + tl.arange(0, INNER)
    x_ptr += row_offset(row, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3)
    y_ptr += row_offset(row, size1, size2, size3, y_stride0, y_stride1, y_stride2, y_stride3)
    COMPUTE: tl.constexpr = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    top = tl.full((INNER,), -float("inf"), COMPUTE)
    total = tl.full((INNER,), 0.0, COMPUTE)
    for start in range(0, n_cols, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        mask = (columns < n_cols)[:, None] & (inner < n_inner)[None, :]
        offsets = columns[:, None] * x_column_stride + inner[None, :] * x_inner_stride
        x = to_compute(tl.load(x_ptr + offsets, mask=mask, other=-float("inf")))
        top, total = online_sum(x, top, total)
    if LOG:
        scale = tl.log(total)
    else:
        scale = 1.0 / total
    for start in range(0, n_cols, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        mask = (columns < n_cols)[:, None] & (inner < n_inner)[None, :]
        offsets = columns[:, None] * x_column_stride + inner[None, :] * x_inner_stride
        x = to_compute(tl.load(x_ptr + offsets, mask=mask, other=-float("inf")))
        shifted = x - top[None, :]
        if LOG:
            y = shifted - scale[None, :]
        else:
            y = tl.exp(shifted) * scale[None, :]
        offsets = columns[:, None] * y_column_stride + inner[None, :] * y_inner_stride
        tl.store(y_ptr + offsets, y.to(y_ptr.dtype.element_ty), mask=mask)


@kernel(
    space={"BLOCK": [1024, 4096, 16_384, 65_536], "num_warps": [1, 2, 4, 8, 16]},
    default=_row_block,
    derive=_looped,
    key=("n_cols", "dtype"),
)
def softmax_rows_backward(
    dx_ptr, g_ptr, y_ptr, n_cols, size1, size2, size3,
    dx_stride0, dx_stride1, dx_stride2, dx_stride3, dx_column_stride,
    g_stride0, g_stride1, g_stride2, g_stride3, g_column_stride,
    y_stride0, y_stride1, y_stride2, y_stride3, y_column_stride,
    LOG: tl.constexpr, LOOPED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: one row. g is the gradient of y, dx that of the input."""
    row = tl.program_id(0)
    dx_ptr += row_offset(row, size1, size2, size3, dx_stride0, dx_stride1, dx_stride2, dx_stride3)
    g_ptr += row_offset(row, size1, size2, size3, g_stride0, g_stride1, g_stride2, g_stride3)
    y_ptr += row_offset(row, size1, size2, size3, y_stride0, y_stride1, y_stride2, y_stride3)
    if not LOOPED:
        columns = tl.arange(0, BLOCK)
        mask = columns < n_cols
        g = to_compute(tl.load(g_ptr + columns * g_column_stride, mask=mask, other=0.0))
        y = to_compute(tl.load(y_ptr + columns * y_column_stride, mask=mask, other=0.0))
        if LOG:
            dx = g - tl.exp(y) * tl.sum(g, 0)
        else:
            dx = y * (g - tl.sum(g * y, 0))
        tl.store(dx_ptr + columns * dx_column_stride, dx.to(dx_ptr.dtype.element_ty), mask=mask)
    else:
        COMPUTE: tl.constexpr = tl.float64 if y_ptr.dtype.element_ty == tl.float64 else tl.float32
        total = tl.full((), 0.0, COMPUTE)
        for start in range(0, n_cols, BLOCK):
            columns = start + tl.arange(0, BLOCK)
            mask = columns < n_cols
            g = to_compute(tl.load(g_ptr + columns * g_column_stride, mask=mask, other=0.0))
            if LOG:
                total += tl.sum(g, 0)
            else:
                y = to_compute(tl.load(y_ptr + columns * y_column_stride, mask=mask, other=0.0))
                total += tl.sum(g * y, 0)
        for start in range(0, n_cols, BLOCK):
            columns = start + tl.arange(0, BLOCK)
            mask = columns < n_cols
            g = to_compute(tl.load(g_ptr + columns * g_column_stride, mask=mask, other=0.0))
            y = to_compute(tl.load(y_ptr + columns * y_column_stride, mask=mask, other=0.0))
            if LOG:
                dx = g - tl.exp(y) * total
            else:
                dx = y * (g - total)
            tl.store(dx_ptr + columns * dx_column_stride, dx.to(dx_ptr.dtype.element_ty), mask=mask)


@kernel(
    space={"BLOCK": [4, 16, 64], "INNER": [32, 64, 128, 256], "num_warps": [1, 2, 4, 8]},
    default=_column_block,
    key=("n_cols", "n_inner", "dtype"),
)
def softmax_columns_backward(
    dx_ptr, g_ptr, y_ptr, n_cols, n_inner, n_blocks, size1, size2, size3,
    dx_stride0, dx_stride1, dx_stride2, dx_stride3, dx_column_stride, dx_inner_stride,
    g_stride0, g_stride1, g_stride2, g_stride3, g_column_stride, g_inner_stride,
    y_stride0, y_stride1, y_stride2, y_stride3, y_column_stride, y_inner_stride,
    LOG: tl.constexpr, BLOCK: tl.constexpr, INNER: tl.constexpr,
):  # fmt: skip
    """One program: INNER neighbouring slices of n_cols elements each."""
    row = tl.program_id(0) // n_blocks
    inner = (tl.program_id(0) % n_blocks) * INNER + tl.arange(0, INNER)
    dx_ptr += row_offset(row, size1, size2, size3, dx_stride0, dx_stride1, dx_stride2, dx_stride3)
    g_ptr += row_offset(row, size1, size2, size3, g_stride0, g_stride1, g_stride2, g_stride3)
    y_ptr += row_offset(row, size1, size2, size3, y_stride0, y_stride1, y_stride2, y_stride3)
    COMPUTE: tl.constexpr = tl.float64 if y_ptr.dtype.element_ty == tl.float64 else tl.float32
    total = tl.full((INNER,), 0.0, COMPUTE)
    for start in range(0, n_cols, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        mask = (columns < n_cols)[:, None] & (inner < n_inner)[None, :]
        offsets = columns[:, None] * g_column_stride + inner[None, :] * g_inner_stride
        g = to_compute(tl.load(g_ptr + offsets, mask=mask, other=0.0))
        if LOG:
            total += tl.sum(g, 0)
        else:
            offsets = columns[:, None] * y_column_stride + inner[None, :] * y_inner_stride
            y = to_compute(tl.load(y_ptr + offsets, mask=mask, other=0.0))
            total += tl.sum(g * y, 0)
    for start in range(0, n_cols, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        mask = (columns < n_cols)[:, None] & (inner < n_inner)[None, :]
        offsets = columns[:, None] * g_column_stride + inner[None, :] * g_inner_stride
        g = to_compute(tl.load(g_ptr + offsets, mask=mask, other=0.0))
        offsets = columns[:, None] * y_column_stride + inner[None, :] * y_inner_stride
        y = to_compute(tl.load(y_ptr + offsets, mask=mask, other=0.0))
        if LOG:
            dx = g - tl.exp(y) * total[None, :]
        else:
            dx = y * (g - total[None, :])
        offsets = columns[:, None] * dx_column_stride + inner[None, :] * dx_inner_stride
        tl.store(dx_ptr + offsets, dx.to(dx_ptr.dtype.element_ty), mask=mask)


def plan(x: Layout, dim: int, *, log: bool = False, out: Dtype | None = None) -> Plan:
    """y = softmax(x) along `dim`, or log-softmax; launch(y, x).

    Args:
        x: a floating-point layout of any strides, not 0-d.
        out: dtype of y (default: x's); y is contiguous.
    """
    name = "log_softmax" if log else "softmax"
    _check(name, x)
    y = Layout.contiguous(out or x.dtype, x.shape, x.device)
    return _plan(name, (softmax_rows, softmax_columns), {"y": y, "x": x}, dim, log)


def plan_backward(
    g: Layout, y: Layout, dim: int, *, log: bool = False, out: Dtype | None = None
) -> Plan:
    """The gradient of the input, from that of the output and the output; launch(dx, g, y)."""
    name = "log_softmax_backward" if log else "softmax_backward"
    _check(name, y)
    dx = Layout.contiguous(out or g.dtype, y.shape, y.device)
    kernels = (softmax_rows_backward, softmax_columns_backward)
    return _plan(name, kernels, {"dx": dx, "g": g, "y": y}, dim, log)


def _check(name: str, x: Layout) -> None:
    if not x.dtype.is_floating_point:
        raise DtypeError(
            f"{name}: needs a floating-point dtype, got {x.dtype}. Pass dtype= or cast first."
        )


def _plan(
    name: str, kernels: tuple[Template, Template], operands: dict[str, Layout], dim: int, log: bool
) -> Plan:
    layouts = list(operands.values())
    out, x = layouts[0], layouts[-1]
    dim = normalize_dim(name, dim, x.ndim)
    target = x.device.type
    if x.ndim == 0:
        operands = {key: Layout.of(o.dtype, (1,), (1,), o.device) for key, o in operands.items()}
        layouts = list(operands.values())
        x = layouts[-1]
    n_cols = x.shape[dim]
    if x.numel == 0:
        return Plan((out,), nothing)
    pointers = {f"{key}_ptr": operand for key, operand in operands.items()}
    values: dict[str, Any] = {"LOG": log, "n_cols": n_cols}
    values |= {f"{key}_column_stride": o.strides[dim] for key, o in operands.items()}
    inner = _inner_dim(x, dim)
    if inner is None:
        rows = rows_of(name, layouts, dim)
        values |= rows.values(*operands) | kernels[0].choose(
            target, dtype=x.dtype.name, n_cols=n_cols
        )
        if "GROUP" in kernels[0].parameters:
            values["GROUP"] = group(x)
        launch, compiled = kernels[0].bind(x.device, (rows.count,), pointers, values)
    else:
        shape = without(x.shape, dim, inner)
        rows = levels(name, shape, [without(o.strides, dim, inner) for o in layouts])
        choice = kernels[1].choose(
            target, dtype=x.dtype.name, n_cols=n_cols, n_inner=x.shape[inner]
        )
        n_blocks = ceil_divide(x.shape[inner], choice["INNER"])
        values |= rows.values(*operands) | choice
        values |= {f"{key}_inner_stride": o.strides[inner] for key, o in operands.items()}
        values |= {"n_inner": x.shape[inner], "n_blocks": n_blocks}
        launch, compiled = kernels[1].bind(x.device, (rows.count * n_blocks,), pointers, values)
    return Plan((out,), launch, [compiled])


def _inner_dim(x: Layout, dim: int) -> int | None:
    """The dimension to put side by side: the one with the smallest step, if that is smaller than
    dim's.
    """
    steps = [(abs(x.strides[d]), -x.shape[d], d) for d in range(x.ndim) if x.shape[d] > 1]
    if x.shape[dim] == 1 or not steps:
        return None
    step, _, inner = min(steps)
    return inner if inner != dim and step < abs(x.strides[dim]) and step > 0 else None
