"""Layer normalisation and RMS normalisation of rows, forward and backward.

    x^ = (x - mean x) * rstd, rstd = 1 / sqrt(var x + eps);  y = x^ * weight + bias
    RMS: x^ = x * rstd, rstd = 1 / sqrt(mean x^2 + eps)
    dx = rstd * (wg - mean wg - x^ * mean(wg * x^)) with wg = weight * g; RMS: without mean wg
    dweight = sum over rows of g * x^;  dbias = sum over rows of g

The mean is subtracted before squaring: no cancellation. Forward reads and writes each element once
(rows that fit in a block). Backward reads x and g once and writes dx: one program takes a group of
rows and keeps their part of dweight and dbias; a second launch adds up the groups' parts. The
groups depend on the shape alone, never on the number of threads: same results on every run and
machine. float16 and bfloat16 compute in float32.

Sources: Ba, Kiros and Hinton, Layer Normalization, 2016; Zhang and Sennrich, Root Mean Square Layer
Normalization, 2019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tritorch.dtypes import dtype as Dtype
from tritorch.errors import DtypeError, ShapeError
from tritorch.kernels.plan import Plan, Step, nothing
from tritorch.kernels.templates.rows import (
    ceil_divide,
    levels,
    next_power_of_2,
    row_offset,
    row_warps,
    to_compute,
)
from tritorch.kernels.templates.template import kernel
from tritorch.layout import Layout, collapse, numel

if TYPE_CHECKING:
    import triton.language as tl

#: groups of rows, each with its own partial sums of dweight and dbias; on a GPU at least so many
GROUPS = {"cpu": 32, "cuda": 256}
#: warps of all groups on a GPU: 16 of each multiprocessor of a large one
_WARPS = 2048
#: rows of more elements are walked over block by block by the backward
LONG = 8192
#: and at least so many of them are one group: a group's partial sums cost as much as half a row
LONG_ROWS = 8


def _backward_block(*, target: str, n_cols: int) -> dict[str, Any]:
    """Rows of up to 8 Ki elements are one block, with the partial sums in scratch or registers."""
    block = next_power_of_2(n_cols)
    size = min(block, 4096 if block > LONG else LONG)
    return {"BLOCK": size, "LOOPED": block > LONG, **row_warps(target, size)}


def _row_block(*, target: str, n_cols: int) -> dict[str, Any]:
    """A row is one block where it fits: 64 Ki elements in the strips of a CPU, 16 Ki in a GPU's
    registers.
    """
    limit = 65_536 if target == "cpu" else 16_384
    block = next_power_of_2(n_cols)
    block = block if block <= limit else limit // 4
    return {"BLOCK": block, **row_warps(target, block)}


def _looped(*, BLOCK: int, n_cols: int, **_: Any) -> dict[str, Any]:
    return {"LOOPED": n_cols > BLOCK}


@kernel(
    space={"BLOCK": [1024, 4096, 16_384, 65_536], "num_warps": [1, 2, 4, 8, 16]},
    default=_row_block,
    derive=_looped,
    key=("n_cols", "dtype"),
)
def norm_rows(
    y_ptr, mean_ptr, rstd_ptr, x_ptr, weight_ptr, bias_ptr, eps, n_cols, size1, size2, size3,
    x_stride0, x_stride1, x_stride2, x_stride3, x_column_stride, weight_stride, bias_stride,
    CENTRE: tl.constexpr, WEIGHT: tl.constexpr, BIAS: tl.constexpr,
    LOOPED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: one row of n_cols elements; y is contiguous. Not CENTRE: RMS norm."""
    row = tl.program_id(0)
    x_ptr += row_offset(row, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3)
    y_ptr += row.to(tl.int64) * n_cols
    COMPUTE: tl.constexpr = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    if not LOOPED:
        columns = tl.arange(0, BLOCK)
        mask = columns < n_cols
        x = to_compute(tl.load(x_ptr + columns * x_column_stride, mask=mask, other=0.0))
        if CENTRE:
            mean = tl.sum(x, 0) / n_cols
            x = tl.where(mask, x - mean, 0.0)
        rstd = 1.0 / tl.sqrt(tl.sum(x * x, 0) / n_cols + eps)
        y = x * rstd
        if WEIGHT:
            y *= tl.load(weight_ptr + columns * weight_stride, mask=mask, other=0.0).to(COMPUTE)
        if BIAS:
            y += tl.load(bias_ptr + columns * bias_stride, mask=mask, other=0.0).to(COMPUTE)
        tl.store(y_ptr + columns, y.to(y_ptr.dtype.element_ty), mask=mask)
        # Last, so that a CPU need not keep x through a store: it reads it again.
        if CENTRE:
            tl.store(mean_ptr + row, mean)
        tl.store(rstd_ptr + row, rstd)
    else:
        mean = tl.full((), 0.0, COMPUTE)
        if CENTRE:
            total = tl.full((), 0.0, COMPUTE)
            for start in range(0, n_cols, BLOCK):
                columns = start + tl.arange(0, BLOCK)
                mask = columns < n_cols
                total += tl.sum(
                    to_compute(tl.load(x_ptr + columns * x_column_stride, mask=mask, other=0.0)), 0
                )
            mean = total / n_cols
            tl.store(mean_ptr + row, mean)
        squares = tl.full((), 0.0, COMPUTE)
        for start in range(0, n_cols, BLOCK):
            columns = start + tl.arange(0, BLOCK)
            mask = columns < n_cols
            x = to_compute(tl.load(x_ptr + columns * x_column_stride, mask=mask, other=0.0))
            x = tl.where(mask, x - mean, 0.0)
            squares += tl.sum(x * x, 0)
        rstd = 1.0 / tl.sqrt(squares / n_cols + eps)
        tl.store(rstd_ptr + row, rstd)
        for start in range(0, n_cols, BLOCK):
            columns = start + tl.arange(0, BLOCK)
            mask = columns < n_cols
            x = to_compute(tl.load(x_ptr + columns * x_column_stride, mask=mask, other=0.0))
            y = (x - mean) * rstd
            if WEIGHT:
                weight = tl.load(weight_ptr + columns * weight_stride, mask=mask, other=0.0)
                y *= weight.to(COMPUTE)
            if BIAS:
                y += tl.load(bias_ptr + columns * bias_stride, mask=mask, other=0.0).to(COMPUTE)
            tl.store(y_ptr + columns, y.to(y_ptr.dtype.element_ty), mask=mask)


@kernel(
    space={"BLOCK": [1024, 4096, 16_384, 65_536], "num_warps": [1, 2, 4, 8, 16]},
    default=_backward_block,
    key=("n_cols", "dtype"),
)
def norm_rows_backward(
    dx_ptr, dweight_ptr, dbias_ptr, g_ptr, x_ptr, mean_ptr, rstd_ptr, weight_ptr,
    n_rows, rows_per_group, n_cols, size1, size2, size3,
    g_stride0, g_stride1, g_stride2, g_stride3, g_column_stride,
    x_stride0, x_stride1, x_stride2, x_stride3, x_column_stride, weight_stride,
    CENTRE: tl.constexpr, WEIGHT: tl.constexpr, DWEIGHT: tl.constexpr, DBIAS: tl.constexpr,
    LOOPED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: a group of rows: their dx, and the group's row of partial dweight and dbias.

    LOOPED (long rows): block by block, with the partial sums in memory; the second pass over a row
    reads it from the cache.
    """
    COMPUTE: tl.constexpr = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    group = tl.program_id(0)
    first = group * rows_per_group
    last = tl.minimum(first + rows_per_group, n_rows)
    if not LOOPED:
        columns = tl.arange(0, BLOCK)
        mask = columns < n_cols
        if DWEIGHT:
            dweight = tl.zeros((BLOCK,), dtype=COMPUTE)
        if DBIAS:
            dbias = tl.zeros((BLOCK,), dtype=COMPUTE)
        for row in range(first, last):
            start = row_offset(row, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3)
            x = to_compute(tl.load(x_ptr + start + columns * x_column_stride, mask=mask, other=0.0))
            start = row_offset(row, size1, size2, size3, g_stride0, g_stride1, g_stride2, g_stride3)
            g = to_compute(tl.load(g_ptr + start + columns * g_column_stride, mask=mask, other=0.0))
            rstd = tl.load(rstd_ptr + row)
            if CENTRE:
                x = tl.where(mask, (x - tl.load(mean_ptr + row)) * rstd, 0.0)
            else:
                x *= rstd
            if DWEIGHT:
                dweight += g * x
            if DBIAS:
                dbias += g
            if WEIGHT:
                weight = tl.load(weight_ptr + columns * weight_stride, mask=mask, other=0.0)
                g *= weight.to(COMPUTE)
            dx = g - x * (tl.sum(g * x, 0) / n_cols)
            if CENTRE:
                dx -= tl.sum(g, 0) / n_cols
            dx *= rstd
            tl.store(
                dx_ptr + tl.cast(row, tl.int64) * n_cols + columns,
                dx.to(dx_ptr.dtype.element_ty),
                mask=mask,
            )
        if DWEIGHT:
            tl.store(dweight_ptr + group * n_cols + columns, dweight, mask=mask)
        if DBIAS:
            tl.store(dbias_ptr + group * n_cols + columns, dbias, mask=mask)
    else:
        if DWEIGHT:
            dweight_ptr += group.to(tl.int64) * n_cols
        if DBIAS:
            dbias_ptr += group.to(tl.int64) * n_cols
        for start in range(0, n_cols, BLOCK):
            columns = start + tl.arange(0, BLOCK)
            if DWEIGHT:
                tl.store(dweight_ptr + columns, tl.zeros((BLOCK,), COMPUTE), columns < n_cols)
            if DBIAS:
                tl.store(dbias_ptr + columns, tl.zeros((BLOCK,), COMPUTE), columns < n_cols)
        for row in range(first, last):
            x_row = x_ptr + row_offset(
                row, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3
            )
            g_row = g_ptr + row_offset(
                row, size1, size2, size3, g_stride0, g_stride1, g_stride2, g_stride3
            )
            rstd = tl.load(rstd_ptr + row)
            mean = tl.full((), 0.0, COMPUTE)
            if CENTRE:
                mean = tl.load(mean_ptr + row)
            sum_g = tl.full((), 0.0, COMPUTE)
            sum_gx = tl.full((), 0.0, COMPUTE)
            for start in range(0, n_cols, BLOCK):
                columns = start + tl.arange(0, BLOCK)
                mask = columns < n_cols
                x = to_compute(tl.load(x_row + columns * x_column_stride, mask=mask, other=0.0))
                g = to_compute(tl.load(g_row + columns * g_column_stride, mask=mask, other=0.0))
                if WEIGHT:
                    weight = tl.load(weight_ptr + columns * weight_stride, mask=mask, other=0.0)
                    g *= weight.to(COMPUTE)
                sum_gx += tl.sum(g * ((x - mean) * rstd), 0)
                if CENTRE:
                    sum_g += tl.sum(g, 0)
            mean_g = sum_g / n_cols
            mean_gx = sum_gx / n_cols
            for start in range(0, n_cols, BLOCK):
                columns = start + tl.arange(0, BLOCK)
                mask = columns < n_cols
                x = to_compute(tl.load(x_row + columns * x_column_stride, mask=mask, other=0.0))
                g = to_compute(tl.load(g_row + columns * g_column_stride, mask=mask, other=0.0))
                x = (x - mean) * rstd
                if DWEIGHT:
                    dweight = tl.load(dweight_ptr + columns, mask=mask, other=0.0) + g * x
                if DBIAS:
                    dbias = tl.load(dbias_ptr + columns, mask=mask, other=0.0) + g
                if WEIGHT:
                    weight = tl.load(weight_ptr + columns * weight_stride, mask=mask, other=0.0)
                    g *= weight.to(COMPUTE)
                dx = (g - mean_g - x * mean_gx) * rstd
                tl.store(
                    dx_ptr + tl.cast(row, tl.int64) * n_cols + columns,
                    dx.to(dx_ptr.dtype.element_ty),
                    mask=mask,
                )
                if DWEIGHT:
                    tl.store(dweight_ptr + columns, dweight, mask=mask)
                if DBIAS:
                    tl.store(dbias_ptr + columns, dbias, mask=mask)


def _columns_block(*, target: str) -> dict[str, Any]:
    """On a GPU many groups at once: each turn waits for the memory, and few programs there are."""
    return (
        {"BLOCK": 256, "ROWS": 1}
        if target == "cpu"
        else {"BLOCK": 32, "ROWS": 128, "num_warps": 16}
    )


@kernel(
    space={"BLOCK": [32, 64, 256, 1024], "ROWS": [1, 64, 128, 256]},
    default=_columns_block,
    keep=lambda BLOCK, ROWS, **_: BLOCK >= 64 if ROWS == 1 else BLOCK <= 64,
    key=("n_cols",),
)
def add_groups(total_ptr, parts_ptr, n_groups, n_cols, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """One program: BLOCK columns; total[c] = sum over groups of parts[group, c], in order, or
    ROWS groups at a time.
    """
    columns = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = columns < n_cols
    total = tl.zeros((BLOCK,), dtype=parts_ptr.dtype.element_ty)
    if ROWS == 1:
        for group in range(n_groups):
            total += tl.load(parts_ptr + group * n_cols + columns, mask=mask, other=0.0)
    else:
        for start in range(0, n_groups, ROWS):
            groups = start + tl.arange(0, ROWS)
            places = groups[:, None] * n_cols + columns[None, :]
            inside = (groups < n_groups)[:, None] & mask[None, :]
            total += tl.sum(tl.load(parts_ptr + places, mask=inside, other=0.0), 0)
    tl.store(total_ptr + columns, total.to(total_ptr.dtype.element_ty), mask=mask)


class _Rows:
    """A tensor as rows over its last `n_dims` dimensions."""

    def __init__(self, name: str, x: Layout, n_dims: int, others: list[Layout]) -> None:
        if not x.dtype.is_floating_point:
            raise DtypeError(f"{name}: needs a floating-point dtype, got {x.dtype}. Cast it first.")
        self.name, self.x = name, x
        self.outer = x.shape[: x.ndim - n_dims]
        self.inner = x.shape[x.ndim - n_dims :]
        self.n_cols = numel(self.inner)
        layouts = [*others, x]
        lead = [entry.strides[: entry.ndim - n_dims] for entry in layouts]
        self.rows = levels(name, self.outer, lead)
        self.column_strides = [self.column_stride(entry, entry.ndim - n_dims) for entry in layouts]

    def column_stride(self, x: Layout, start: int) -> int:
        """The one step between the elements of a row."""
        sizes, (strides,) = collapse(x.shape[start:], [x.strides[start:]])
        if len(sizes) > 1:
            raise ShapeError(
                f"{self.name}: the normalised dimensions of {x} do not merge into one. "
                "Call contiguous() first."
            )
        return strides[0] if strides else 1

    def parameter(self, prefix: str, x: Layout | None, values: dict[str, Any]) -> dict[str, Layout]:
        """Operands of a weight or bias, if there is one."""
        values[f"{prefix}_stride"] = None if x is None else self.column_stride(x, 0)
        if x is None:
            values[f"{prefix}_ptr"] = None
            return {}
        if x.shape != self.inner:
            raise ShapeError(
                f"{self.name}: expected {prefix} of shape {self.inner}, got {x.shape}. "
                "It has the shape of the normalised dimensions."
            )
        return {f"{prefix}_ptr": x}


def plan(
    x: Layout,
    n_dims: int,
    weight: Layout | None,
    bias: Layout | None,
    eps: float,
    *,
    rms: bool = False,
) -> Plan:
    """y, mean, rstd (RMS: y, rstd); launch(y, [mean,] rstd, x[, weight][, bias]).

    Args:
        x: any strides whose last `n_dims` dimensions merge into one. weight, bias: of their shape.
        eps: added to the variance.
    Returns:
        y contiguous of x's dtype; mean and rstd of the compute dtype, of shape (*x.shape[:-n_dims],
        1, ...).
    """
    name = "rms_norm" if rms else "layer_norm"
    parts = _Rows(name, x, n_dims, [])
    y = Layout.contiguous(x.dtype, x.shape, x.device)
    statistic = Layout.contiguous(x.dtype.compute, (*parts.outer, *(1,) * n_dims), x.device)
    outputs = (y, statistic) if rms else (y, statistic, statistic)
    if x.numel == 0:
        return Plan(outputs, nothing)
    n_cols = parts.n_cols
    values: dict[str, Any] = {
        "eps": float(eps), "n_cols": n_cols, "CENTRE": not rms, "WEIGHT": weight is not None,
        "BIAS": bias is not None, "x_column_stride": parts.column_strides[0],
        **parts.rows.values("x"),
        **norm_rows.choose(x.device.type, dtype=x.dtype.name, n_cols=n_cols),
    }  # fmt: skip
    operands: dict[str, Layout] = {"y_ptr": y, "rstd_ptr": statistic, "x_ptr": x}
    if rms:
        values["mean_ptr"] = None
    else:
        operands["mean_ptr"] = statistic
    operands |= parts.parameter("weight", weight, values) | parts.parameter("bias", bias, values)
    scalars = {"eps": x.dtype.compute.triton}
    launch, compiled = norm_rows.bind(
        x.device, (parts.rows.count,), operands, values, scalars=scalars
    )
    return Plan(outputs, launch, [compiled])


def plan_backward(
    g: Layout,
    x: Layout,
    n_dims: int,
    weight: Layout | None,
    bias_dtype: Dtype | None,
    *,
    rms: bool = False,
) -> Plan:
    """dx[, dweight][, dbias]; launch(dx[, dweight][, dbias], g, x, [mean,] rstd[, weight]).

    Args:
        g, x: of one shape. weight: gives a dweight of its dtype. bias_dtype: gives a dbias of this
        dtype.
    """
    name = "rms_norm_backward" if rms else "layer_norm_backward"
    parts = _Rows(name, x, n_dims, [g])
    dx = Layout.contiguous(x.dtype, x.shape, x.device)
    outputs = [dx]
    if weight is not None:
        outputs.append(Layout.contiguous(weight.dtype, parts.inner, x.device))
    if bias_dtype is not None:
        outputs.append(Layout.contiguous(bias_dtype, parts.inner, x.device))
    if parts.n_cols == 0:
        return Plan(outputs, nothing)
    return _Backward(parts, g, weight, bias_dtype is not None, rms, outputs).plan()


class _Backward:
    """The launches of one backward: dx and partial sums, then a sum per parameter."""

    def __init__(
        self,
        parts: _Rows,
        g: Layout,
        weight: Layout | None,
        bias: bool,
        rms: bool,
        outputs: list[Layout],
    ) -> None:
        self.parts, self.g, self.weight, self.bias, self.rms = parts, g, weight, bias, rms
        self.outputs = outputs
        self.x = parts.x
        n_rows = parts.rows.count
        groups = GROUPS[self.x.device.type]
        if self.x.device.type != "cpu":
            choice = _backward_block(target="cuda", n_cols=parts.n_cols)
            groups = max(groups, _WARPS // choice["num_warps"])
        self.rows_per_group = max(ceil_divide(n_rows, groups), 1)
        if parts.n_cols > LONG:
            self.rows_per_group = max(self.rows_per_group, min(n_rows, LONG_ROWS))
        self.n_groups = ceil_divide(n_rows, self.rows_per_group)
        statistics = ["rstd"] if rms else ["mean", "rstd"]
        names = ["dx", *(["dweight"] if weight else []), *(["dbias"] if bias else [])]
        names += ["g", "x", *statistics, *(["weight"] if weight else [])]
        #: name of an argument -> its place among the launch's arguments
        self.place = {name: i for i, name in enumerate(names)}
        self.parameters = [name for name in ("dweight", "dbias") if name in self.place]
        self.steps: list[Step] = []
        self.kernels: list[Any] = []

    def plan(self) -> Plan:
        from tritorch.runtime import get_target

        compute = self.x.dtype.compute
        if self.parts.rows.count:
            choice = norm_rows_backward.choose(
                self.x.device.type, dtype=self.x.dtype.name, n_cols=self.parts.n_cols
            )
            self._rows_step(choice)
        for i, name in enumerate(self.parameters):
            self._sum_step(name, -1 - i)
        nbytes = max(self.n_groups, 1) * self.parts.n_cols * compute.itemsize
        target = get_target(self.x.device)
        workspaces = [nbytes] * len(self.parameters)
        return Plan.of_steps(self.outputs, target, self.steps, workspaces, self.kernels)

    def _values(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Values and operands, but for the weight's."""
        compute = self.x.dtype.compute
        values: dict[str, Any] = {
            "n_rows": self.parts.rows.count, "n_cols": self.parts.n_cols, "CENTRE": not self.rms,
            "rows_per_group": self.rows_per_group, **self.parts.rows.values("g", "x"),
            "g_column_stride": self.parts.column_strides[0],
            "x_column_stride": self.parts.column_strides[1],
        }  # fmt: skip
        operands: dict[str, Any] = {"g_ptr": self.g, "x_ptr": self.x, "rstd_ptr": compute}
        for name in ("dweight", "dbias"):
            values[name.upper()] = name in self.parameters
            if values[name.upper()]:
                operands[f"{name}_ptr"] = compute
            else:
                values[f"{name}_ptr"] = None
        if self.rms:
            values["mean_ptr"] = None
        else:
            operands["mean_ptr"] = compute
        return values, operands

    def _step(self, template: Any, grid: int, operands: Any, values: Any) -> None:
        launch, compiled = template.bind(self.x.device, (grid,), operands, values)
        order = [name[:-4] for name in template.parameters if name in operands]
        arguments = [
            -1 - self.parameters.index(name) if name in self.parameters else self.place[name]
            for name in order
        ]
        self.steps.append(Step(launch, tuple(arguments)))
        self.kernels.append(compiled)

    def _rows_step(self, choice: dict[str, Any]) -> None:
        values, operands = self._values()
        values |= choice | {"WEIGHT": self.weight is not None}
        operands["dx_ptr"] = self.x
        operands |= self.parts.parameter("weight", self.weight, values)
        self._step(norm_rows_backward, self.n_groups, operands, values)

    def _sum_step(self, name: str, workspace: int) -> None:
        total = self.outputs[self.place[name]]
        choice = add_groups.choose(self.x.device.type, n_cols=self.parts.n_cols)
        n_groups = self.n_groups if self.parts.rows.count else 0
        values = {"n_groups": n_groups, "n_cols": self.parts.n_cols, **choice}
        operands: dict[str, Any] = {"total_ptr": total, "parts_ptr": self.x.dtype.compute}
        grid = (ceil_divide(self.parts.n_cols, choice["BLOCK"]),)
        launch, compiled = add_groups.bind(self.x.device, grid, operands, values)
        self.steps.append(Step(launch, (self.place[name], workspace)))
        self.kernels.append(compiled)
