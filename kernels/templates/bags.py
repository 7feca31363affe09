"""Sums and means of looked-up rows, bag by bag: y[b, :] = sum of factors[i] * w[index[i], :].

Each row is read once and nothing is written but the result: 8 rows of 64 columns a bag move an
eighth of what rows, their bags' numbers and scattered sums do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tritorch import dtypes
from tritorch.kernels.plan import Plan, nothing
from tritorch.kernels.templates.bounds import IndexCell, out_of_bounds
from tritorch.kernels.templates.rows import ceil_divide, next_power_of_2, to_compute
from tritorch.kernels.templates.template import kernel
from tritorch.layout import Layout

if TYPE_CHECKING:
    import triton.language as tl

#: columns of a program: on CPUs what registers hold
_LANES = {"cpu": 64, "cuda": 256}


@kernel()
def bag_sums(
    y_ptr, w_ptr, index_ptr, offsets_ptr, factors_ptr, cell_ptr, n_bags, n_index, n_rows,
    n_columns, n_blocks, index_stride, offsets_stride, factors_stride, w_row_stride,
    w_column_stride, LAST: tl.constexpr, MEAN: tl.constexpr, FACTORS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK columns of a bag. LAST: the last offset is an end."""
    bag = (tl.program_id(0) // n_blocks).to(tl.int64)
    columns = (tl.program_id(0) % n_blocks) * BLOCK + tl.arange(0, BLOCK)
    first = tl.load(offsets_ptr + bag * offsets_stride).to(tl.int64)
    after = n_index + first * 0
    if LAST:
        after = tl.load(offsets_ptr + (bag + 1) * offsets_stride).to(tl.int64)
    else:
        if bag + 1 < n_bags:
            after = tl.load(offsets_ptr + (bag + 1) * offsets_stride).to(tl.int64)
    first, after = tl.maximum(first, 0), tl.minimum(after, n_index)
    WIDE: tl.constexpr = y_ptr.dtype.element_ty.primitive_bitwidth == 64
    total = tl.zeros((BLOCK,), dtype=tl.float64 if WIDE else tl.float32)
    for i in range(first, after):
        index = tl.load(index_ptr + i * index_stride).to(tl.int64)
        if (index >= 0) & (index < n_rows):
            places = index * w_row_stride + columns * w_column_stride
            row = to_compute(tl.load(w_ptr + places, mask=columns < n_columns, other=0))
            if FACTORS:
                row *= to_compute(tl.load(factors_ptr + i * factors_stride))
            total += row
        else:
            tl.store(cell_ptr, index)
    if MEAN:
        total = total / tl.maximum(after - first, 1).to(total.dtype)
    y = total.to(y_ptr.dtype.element_ty)
    tl.store(y_ptr + bag * n_columns + columns, y, mask=columns < n_columns)


def plan(
    w: Layout, index: Layout, offsets: Layout, factors: Layout | None, mean: bool, last: bool
) -> Plan:
    """(y, w, index, offsets[, factors]): index and offsets of one dimension each.

    Args:
        last: the last offset is the end of the last bag instead of the start of another.
    Raises (at launch):
        IndexError: an index is no row of w.
    """
    n_rows, n_columns = w.shape
    n_bags = offsets.shape[0] - last
    y = Layout.contiguous(w.dtype, (n_bags, n_columns), w.device)
    if not y.numel:
        return Plan((y,), nothing)
    block = min(next_power_of_2(n_columns), _LANES[w.device.type])
    n_blocks = ceil_divide(n_columns, block)
    cell = IndexCell(out_of_bounds("embedding_bag", 0, n_rows), w.device)
    values: dict[str, Any] = {
        "cell_ptr": cell.address, "n_bags": n_bags, "n_index": index.shape[0], "n_rows": n_rows,
        "n_columns": n_columns, "n_blocks": n_blocks, "index_stride": index.strides[0],
        "offsets_stride": offsets.strides[0], "w_row_stride": w.strides[0],
        "w_column_stride": w.strides[1], "LAST": last, "MEAN": mean,
        "FACTORS": factors is not None, "BLOCK": block, "factors_stride": 0,
    }  # fmt: skip
    operands: dict[str, Any] = {
        "y_ptr": y, "w_ptr": w, "index_ptr": index, "offsets_ptr": offsets,
        "cell_ptr": dtypes.int64,
    }  # fmt: skip
    if factors is None:
        values["factors_ptr"] = None
    else:
        operands["factors_ptr"] = factors
        values["factors_stride"] = factors.strides[0]
    launch, compiled = bag_sums.bind(w.device, (n_bags * n_blocks,), operands, values)
    return Plan((y,), cell.checked(launch), (compiled,))
