"""Row lookup in a table: y[i, :] = w[index[i], :], and its gradient.

Forward reads and writes each row once. Backward adds g[i, :] to row index[i] of dw:
- CPU: a program owns some neighbouring columns of the whole table and walks through the indices in
  order, so no two programs touch one element: no atomics, no sort, and the sums are the same on
  every run. The zeros before are written by a launch of their own, in the order of memory: column
  by column they took twice as long, longer than all else together.
- GPU: atomic additions in float32; the order of additions, so the last bits, vary from run to run.
  Where they must not, the indices are sorted and runs of equal ones summed (`runs`).

An index outside 0..rows-1 raises IndexError on the CPU, after the launch; nothing is read or
written for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tritorch import dtypes
from tritorch.errors import DtypeError
from tritorch.kernels.plan import Launch, Plan, nothing
from tritorch.kernels.templates.bounds import IndexCell, out_of_bounds, report_index
from tritorch.kernels.templates.rows import (
    Rows,
    ceil_divide,
    levels,
    next_power_of_2,
    row_offset,
    to_compute,
)
from tritorch.kernels.templates.runs import Sums, plan_sums
from tritorch.kernels.templates.template import kernel
from tritorch.layout import Layout

if TYPE_CHECKING:
    import triton.language as tl


def _forward_tile(*, target: str, n_columns: int) -> dict[str, Any]:
    """Narrow rows share a program: its start costs 20 ns on a CPU, and a GPU's threads want
    filling. A CPU fetches wider ones sooner row by row (16 x 256 took 1.15 times as long).
    """
    columns = next_power_of_2(n_columns)
    if target == "cpu":
        return {"BLOCK_COLUMNS": min(columns, 256), "BLOCK_ROWS": 16 if columns <= 64 else 1}
    columns = min(columns, 1024)
    return {"BLOCK_COLUMNS": columns, "BLOCK_ROWS": 1024 // columns}


@kernel(
    space={"BLOCK_ROWS": [1, 4, 16, 64], "BLOCK_COLUMNS": [64, 256, 1024]},
    default=_forward_tile,
    key=("n_columns", "dtype"),
)
def embedding_rows(
    y_ptr, w_ptr, index_ptr, cell_ptr, n_index, n_rows, n_columns, n_blocks, size1, size2, size3,
    index_stride0, index_stride1, index_stride2, index_stride3,
    y_row_stride, w_row_stride, w_column_stride,
    lift, BLOCK_ROWS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK_ROWS looked-up rows, BLOCK_COLUMNS columns of them.

    `lift` is added to negative indices: n_rows where they count from the end, 0 where they are
    wrong.
    """
    rows = (tl.program_id(0) // n_blocks) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    columns = (tl.program_id(0) % n_blocks) * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    offsets = row_offset(
        rows, size1, size2, size3, index_stride0, index_stride1, index_stride2, index_stride3
    )
    index = tl.load(index_ptr + offsets, mask=rows < n_index, other=0).to(tl.int64)
    place = tl.where(index < 0, index + lift, index)
    valid = (place >= 0) & (place < n_rows)
    report_index(cell_ptr, index, valid)
    mask = valid & (rows < n_index)
    w = tl.load(
        w_ptr + place[:, None] * w_row_stride + columns[None, :] * w_column_stride,
        mask=mask[:, None] & (columns < n_columns)[None, :],
    )
    y_offsets = rows.to(tl.int64)[:, None] * y_row_stride + columns[None, :]
    tl.store(y_ptr + y_offsets, w, mask=mask[:, None] & (columns < n_columns)[None, :])


def _column_block(*, target: str, n_columns: int) -> dict[str, Any]:
    """On a CPU four vector registers of AVX-512, or half a row: the fewer pieces of a row come
    from far memory one by one, the better, but two threads want a program each. A GPU's threads
    have four columns each, which are added to memory at once.
    """
    columns = next_power_of_2(n_columns)
    if target == "cpu":
        return {"BLOCK": min(columns, max(64, min(columns // 2, 256)))}
    block = min(columns, 1024)
    return {"BLOCK": block, "num_warps": max(block // 128, 1)}


@kernel(space={"BLOCK": [16, 32, 64, 128, 256]}, default=_column_block, key=("n_columns", "dtype"))
def embedding_backward_columns(
    dw_ptr, g_ptr, index_ptr, cell_ptr, n_index, n_rows, n_columns, skipped, size1, size2, size3,
    index_stride0, index_stride1, index_stride2, index_stride3,
    g_stride0, g_stride1, g_stride2, g_stride3, g_column_stride, dw_row_stride,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK columns of dw, all indices in order. dw is zero before. `skipped`: an
    index without a gradient, or -1.
    """
    columns = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = columns < n_columns
    for i in range(n_index):
        place = row_offset(
            i, size1, size2, size3, index_stride0, index_stride1, index_stride2, index_stride3
        )
        index = tl.load(index_ptr + place).to(tl.int64)
        if (index >= 0) & (index < n_rows):
            if index != skipped:
                start = row_offset(
                    i, size1, size2, size3, g_stride0, g_stride1, g_stride2, g_stride3
                )
                g = to_compute(
                    tl.load(g_ptr + start + columns * g_column_stride, mask=mask, other=0.0)
                )
                offsets = index * dw_row_stride + columns
                total = tl.load(dw_ptr + offsets, mask=mask, other=0.0)
                tl.store(dw_ptr + offsets, total + g, mask=mask)
        else:
            tl.store(cell_ptr, index)


@kernel(space={"BLOCK": [128, 256, 512, 1024]}, default=_column_block, key=("n_columns", "dtype"))
def embedding_backward_atomic(
    dw_ptr, g_ptr, index_ptr, cell_ptr, n_rows, n_columns, skipped, n_blocks, size1, size2, size3,
    index_stride0, index_stride1, index_stride2, index_stride3,
    g_stride0, g_stride1, g_stride2, g_stride3, g_column_stride, dw_row_stride,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK columns of one looked-up row. dw is zero before."""
    i = tl.program_id(0) // n_blocks
    columns = (tl.program_id(0) % n_blocks) * BLOCK + tl.arange(0, BLOCK)
    place = row_offset(
        i, size1, size2, size3, index_stride0, index_stride1, index_stride2, index_stride3
    )
    index = tl.load(index_ptr + place).to(tl.int64)
    valid = (index >= 0) & (index < n_rows)
    if not valid:
        tl.store(cell_ptr, index)
    mask = (columns < n_columns) & valid & (index != skipped)
    start = row_offset(i, size1, size2, size3, g_stride0, g_stride1, g_stride2, g_stride3)
    g = to_compute(tl.load(g_ptr + start + columns * g_column_stride, mask=mask, other=0.0))
    tl.atomic_add(dw_ptr + index * dw_row_stride + columns, g, mask=mask, sem="relaxed")


def _check(name: str, index: Layout) -> None:
    if index.dtype not in (dtypes.int32, dtypes.int64):
        raise DtypeError(
            f"{name}: expected an index of int32 or int64, got {index.dtype}. Cast it."
        )


def plan(w: Layout, index: Layout, *, name: str = "embedding") -> Plan:
    """y = w[index] along the rows of w; launch(y, w, index).

    Args:
        w: (rows, columns), any strides and dtype. index: any shape, int32 or int64.
    Returns:
        a plan with the output (*index.shape, columns), contiguous, of w's dtype.
    Raises (at launch):
        IndexError: an index is outside 0..rows-1.
    """
    _check(name, index)
    n_rows, n_columns = w.shape
    y = Layout.contiguous(w.dtype, (*index.shape, n_columns), w.device)
    if y.numel == 0:
        return Plan((y,), nothing)
    choice = embedding_rows.choose(w.device.type, dtype=w.dtype.name, n_columns=n_columns)
    n_blocks = ceil_divide(n_columns, choice["BLOCK_COLUMNS"])
    rows = levels(name, index.shape, [index.strides])
    cell = IndexCell(out_of_bounds(name, 0, n_rows), w.device)
    values = {
        "cell_ptr": cell.address, "n_index": index.numel, "n_rows": n_rows, "n_columns": n_columns,
        "n_blocks": n_blocks, "y_row_stride": n_columns, "w_row_stride": w.strides[0],
        "w_column_stride": w.strides[1], "lift": 0, **rows.values("index"), **choice,
    }  # fmt: skip
    operands: dict[str, Any] = {
        "y_ptr": y,
        "w_ptr": w,
        "index_ptr": index,
        "cell_ptr": dtypes.int64,
    }
    grid = (ceil_divide(index.numel, choice["BLOCK_ROWS"]) * n_blocks,)
    launch, compiled = embedding_rows.bind(w.device, grid, operands, values)
    return Plan((y,), cell.checked(launch), [compiled])


def plan_backward(
    g: Layout,
    index: Layout,
    n_rows: int,
    *,
    padding_idx: int = -1,
    ordered: bool = False,
    name: str = "embedding_backward",
) -> Plan:
    """dw of `plan`; launch(dw, g, index).

    Args:
        g: (*index.shape, columns), any strides. n_rows: rows of w.
        padding_idx: the index whose row gets no gradient; -1: none.
        ordered: in a fixed order on a GPU too.
    Returns:
        a plan with the output (n_rows, columns), contiguous; float32 for float16 and bfloat16
        gradients, whose sums would lose small terms (cast it afterwards).
    """
    _check(name, index)
    n_columns = g.shape[-1]
    dw = Layout.contiguous(g.dtype.compute, (n_rows, n_columns), g.device)
    if dw.numel == 0:
        return Plan((dw,), nothing)
    rows = levels(name, index.shape, [index.strides, g.strides[:-1]])
    cell = IndexCell(out_of_bounds(name, 0, n_rows), g.device)
    values = {
        "cell_ptr": cell.address, "n_rows": n_rows, "n_columns": n_columns, "skipped": padding_idx,
        "g_column_stride": g.strides[-1], "dw_row_stride": n_columns, **rows.values("index", "g"),
    }  # fmt: skip
    operands: dict[str, Any] = {
        "dw_ptr": dw,
        "g_ptr": g,
        "index_ptr": index,
        "cell_ptr": dtypes.int64,
    }
    if ordered and g.device.type != "cpu" and rows.count:
        strides = g.strides[:-1], g.strides[-1:]
        sums = Sums(
            name, dw, index, g, index.shape, strides, (n_columns,), (1,), n_rows, n_columns, 0,
            padding_idx,
        )  # fmt: skip
        return _after_zeros(dw, plan_sums(sums, cell))
    launch, kernels = _backward_launch(dw, g, index, rows, values, operands)
    return Plan((dw,), cell.checked(launch), kernels)


def _after_zeros(dw: Layout, adding: Plan) -> Plan:
    zero = plan_zero(dw)
    fill, add = zero.launch, adding.launch

    def both(dw_address: int, g: int, index: int) -> None:
        fill(dw_address)
        add(dw_address, index, g)

    return Plan((dw,), both, [*zero.kernels, *adding.kernels])


def _backward_launch(
    dw: Layout,
    g: Layout,
    index: Layout,
    rows: Rows,
    values: dict[str, Any],
    operands: dict[str, Any],
) -> tuple[Launch, list[Any]]:
    n_columns = dw.shape[1]
    ordered = g.device.type == "cpu"
    zero = plan_zero(dw)
    fill = zero.launch
    if rows.count == 0:
        return (lambda dw_address, *_: fill(dw_address)), list(zero.kernels)
    adding = embedding_backward_columns if ordered else embedding_backward_atomic
    choice = adding.choose(g.device.type, dtype=g.dtype.name, n_columns=n_columns)
    n_blocks = ceil_divide(n_columns, choice["BLOCK"])
    values |= {"n_index": index.numel} if ordered else {"n_blocks": n_blocks}
    grid = (n_blocks if ordered else rows.count * n_blocks,)
    add, compiled = adding.bind(g.device, grid, operands, values | choice)

    def both(dw_address: int, *rest: int) -> None:
        fill(dw_address)
        add(dw_address, *rest)

    return both, [*zero.kernels, compiled]


@kernel(space={"BLOCK": [1024, 4096, 16_384]}, default={"BLOCK": 4096}, key=("numel", "dtype"))
def fill_zero(x_ptr, numel, BLOCK: tl.constexpr):
    """Write zeros to a contiguous buffer."""
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(
        x_ptr + offsets, tl.zeros((BLOCK,), dtype=x_ptr.dtype.element_ty), mask=offsets < numel
    )


def plan_zero(x: Layout) -> Plan:
    """launch(x): zeros everywhere; x is contiguous."""
    if x.numel == 0:
        return Plan((x,), nothing)
    choice = fill_zero.choose(x.device.type, dtype=x.dtype.name, numel=x.numel)
    values = {"numel": x.numel, **choice}
    grid = (ceil_divide(x.numel, choice["BLOCK"]),)
    launch, compiled = fill_zero.bind(x.device, grid, {"x_ptr": x}, values)
    return Plan((x,), launch, [compiled])
