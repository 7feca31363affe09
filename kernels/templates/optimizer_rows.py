"""Steps of optimizers that look at rows and columns, over many tensors in one launch.

As in `multi_tensor`, a table has a row of integers per tensor (sizes, then addresses) and the
chunks say which part of which tensor is whose; `RowTable` makes both. All tensors are contiguous.
Sums are taken in one order, whatever the number of threads.

SparseAdam: a program takes rows one by one; a row whose gradient is zero throughout is only read.

Adafactor sees a tensor as matrices of `height` rows and `width` columns (its last two dimensions):
  1. `adafactor_rows`     rows: mean of squares -> running mean,
  2. `adafactor_columns`  columns the same, and for each matrix the mean of its rows' means,
  3. `adafactor_sizes`    chunks: sums of parameter² and of update²; vectors: their running means,
  4. `adafactor_step`     chunks: the step, clipped by the sums of all chunks of its tensor.
Each needs all of what is before it, so fewer launches would need programs to wait for each other.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tritorch import dtypes
from tritorch.devices import device as Device
from tritorch.dtypes import dtype as Dtype
from tritorch.kernels.plan import Plan, nothing
from tritorch.kernels.templates.multi_tensor import TensorTable
from tritorch.kernels.templates.rows import to_compute
from tritorch.kernels.templates.template import Template, helper, kernel

if TYPE_CHECKING:
    import triton.language as tl

#: elements in a step of a program
BLOCK = 1024
#: rows or columns that a program of the means has
LANES = 128


class RowTable(TensorTable):
    """Sizes, addresses and chunks of tensors.

    Args:
        sizes: for each tensor a few numbers, which kernels find before the addresses.
        units: for each tensor how many things its chunks share out.
        each: how many of them a chunk has.
    """

    def __init__(
        self,
        sizes: Sequence[Sequence[int]],
        units: Sequence[int],
        each: Sequence[int],
        columns: int,
        device: Device,
    ) -> None:
        super().__init__([0] * len(units), columns + len(sizes[0]) - 1, device)
        self._n_sizes = len(sizes[0])
        self._chunks = array("q")
        for tensor, (row, count, step) in enumerate(zip(sizes, units, each)):
            place = tensor * self.width
            self._rows[place : place + self._n_sizes] = array("q", row)
            for start in range(0, count, step):
                self._chunks.extend((tensor, start))
        self.n_chunks = len(self._chunks) // 2

    def set(self, column: int, addresses: Sequence[int]) -> None:
        """Put down the addresses of one column, tensor by tensor."""
        super().set(column + self._n_sizes - 1, addresses)


def plan(
    template: Template,
    table: RowTable,
    scalars: Sequence[str],
    constants: Mapping[str, Any],
    compute: Dtype,
) -> Plan:
    """launch(*table.addresses(), *scalars).

    Args:
        scalars: names of the numbers, of the dtype that is computed in.
        constants: what is fixed; `..._type` stands for a dtype by a pointer to nothing.
    """
    if table.n_chunks == 0:
        return Plan((), nothing)
    operands = {"table_ptr": dtypes.int64, "chunks_ptr": dtypes.int64}
    types = {name: kind for name, kind in constants.items() if isinstance(kind, Dtype)}
    values = {name: value for name, value in constants.items() if name not in types}
    values |= {"WIDTH": table.width} | dict.fromkeys(types, 0)
    launch, compiled = template.bind(
        table.device, (table.n_chunks,), {**operands, **types}, values,
        scalars=dict.fromkeys(scalars, compute.triton),
    )  # fmt: skip
    return Plan((), launch, [compiled])


@kernel()
def sparse_adam(
    table_ptr, chunks_ptr, parameter_type, gradient_type, exp_avg_type, exp_avg_sq_type,
    step_size, added1, beta2, added2, eps,
    WIDTH: tl.constexpr, ROWS: tl.constexpr, MAXIMIZE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Adam on the rows whose gradient is not zero throughout."""
    row_ptr = table_ptr + tl.load(chunks_ptr + tl.program_id(0) * 2) * WIDTH
    first = tl.load(chunks_ptr + tl.program_id(0) * 2 + 1)
    n_rows = tl.load(row_ptr)
    length = tl.load(row_ptr + 1)
    p_ptr = tl.load(row_ptr + 2).to(tl.pointer_type(parameter_type.dtype.element_ty))
    g_ptr = tl.load(row_ptr + 3).to(tl.pointer_type(gradient_type.dtype.element_ty))
    m_ptr = tl.load(row_ptr + 4).to(tl.pointer_type(exp_avg_type.dtype.element_ty))
    v_ptr = tl.load(row_ptr + 5).to(tl.pointer_type(exp_avg_sq_type.dtype.element_ty))
    each = tl.maximum(ROWS // length, 1)
    for row in range(first, tl.minimum(first + each, n_rows)):
        used = tl.full((), 0, tl.int32)
        for start in range(0, length, BLOCK):
            offsets = start + tl.arange(0, BLOCK)
            g = tl.load(g_ptr + row * length + offsets, mask=offsets < length, other=0.0)
            used = tl.maximum(used, tl.max((g != 0.0).to(tl.int32), 0))
        stop = tl.where(used > 0, length, 0)
        for start in range(0, stop, BLOCK):
            offsets = row * length + start + tl.arange(0, BLOCK)
            mask = start + tl.arange(0, BLOCK) < length
            p = to_compute(tl.load(p_ptr + offsets, mask=mask, other=0.0))
            g = to_compute(tl.load(g_ptr + offsets, mask=mask, other=0.0))
            m = to_compute(tl.load(m_ptr + offsets, mask=mask, other=0.0))
            v = to_compute(tl.load(v_ptr + offsets, mask=mask, other=0.0))
            if MAXIMIZE:
                g = -g
            m += added1 * (g - m)
            v = beta2 * v + added2 * g * g
            p -= step_size * (m / (tl.sqrt(v) + eps))
            tl.store(p_ptr + offsets, p.to(p_ptr.dtype.element_ty), mask=mask)
            tl.store(m_ptr + offsets, m.to(m_ptr.dtype.element_ty), mask=mask)
            tl.store(v_ptr + offsets, v.to(v_ptr.dtype.element_ty), mask=mask)


@kernel()
def adafactor_rows(
    table_ptr, chunks_ptr, gradient_type, mean_type, share,
    WIDTH: tl.constexpr, LANES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Running means of the squares of rows, `LANES` rows a program: short rows side by side, long
    ones one after the other.
    """
    row_ptr = table_ptr + tl.load(chunks_ptr + tl.program_id(0) * 2) * WIDTH
    first = tl.load(chunks_ptr + tl.program_id(0) * 2 + 1)
    n_rows = tl.load(row_ptr)
    width = tl.load(row_ptr + 2)
    g_ptr = tl.load(row_ptr + 4).to(tl.pointer_type(gradient_type.dtype.element_ty))
    mean_ptr = tl.load(row_ptr + 5).to(tl.pointer_type(mean_type.dtype.element_ty))
    zero = to_compute(tl.full((), 0.0, g_ptr.dtype.element_ty))
    if width <= LANES:
        rows = first + tl.arange(0, LANES)
        inside = rows < n_rows
        total = tl.zeros((LANES,), zero.dtype)
        for column in range(width):
            g = to_compute(tl.load(g_ptr + rows * width + column, mask=inside, other=0.0))
            total += g * g
        mean = to_compute(tl.load(mean_ptr + rows, mask=inside, other=0.0))
        mean += share * (total / width - mean)
        tl.store(mean_ptr + rows, mean.to(mean_ptr.dtype.element_ty), mask=inside)
    else:
        for row in range(first, tl.minimum(first + LANES, n_rows)):
            sums = tl.zeros((BLOCK,), zero.dtype)
            for start in range(0, width, BLOCK):
                offsets = start + tl.arange(0, BLOCK)
                g = tl.load(g_ptr + row * width + offsets, mask=offsets < width, other=0.0)
                sums += to_compute(g) * to_compute(g)
            one = to_compute(tl.load(mean_ptr + row))
            one += share * (tl.sum(sums, 0) / width - one)
            tl.store(mean_ptr + row, one.to(mean_ptr.dtype.element_ty))


@kernel()
def adafactor_columns(
    table_ptr, chunks_ptr, gradient_type, mean_type, share,
    WIDTH: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Running means of the squares of columns, and the mean of the rows' means of each matrix."""
    row_ptr = table_ptr + tl.load(chunks_ptr + tl.program_id(0) * 2) * WIDTH
    first = tl.load(chunks_ptr + tl.program_id(0) * 2 + 1)
    n_rows = tl.load(row_ptr)
    height = tl.load(row_ptr + 1)
    width = tl.load(row_ptr + 2)
    g_ptr = tl.load(row_ptr + 4).to(tl.pointer_type(gradient_type.dtype.element_ty))
    rows_ptr = tl.load(row_ptr + 5).to(tl.pointer_type(mean_type.dtype.element_ty))
    columns_ptr = tl.load(row_ptr + 6).to(tl.pointer_type(mean_type.dtype.element_ty))
    whole_ptr = tl.load(row_ptr + 7).to(tl.pointer_type(share.dtype))
    columns = first + tl.arange(0, LANES)
    inside = columns < n_rows // height * width
    matrix = columns // width
    column = columns % width
    total = tl.zeros((LANES,), share.dtype)
    whole = tl.zeros((LANES,), share.dtype)
    for row in range(height):
        offsets = (matrix * height + row) * width + column
        g = to_compute(tl.load(g_ptr + offsets, mask=inside, other=0.0))
        total += g * g
        whole += to_compute(tl.load(rows_ptr + matrix * height + row, mask=inside, other=0.0))
    mean = to_compute(tl.load(columns_ptr + columns, mask=inside, other=0.0))
    mean += share * (total / height - mean)
    tl.store(columns_ptr + columns, mean.to(columns_ptr.dtype.element_ty), mask=inside)
    tl.store(whole_ptr + matrix, whole / height, mask=inside & (column == 0))


@helper
def factored_variance(row_ptr, rows_ptr, offsets, mask, height, width, smallest, kind):
    """The running mean square of elements: row times column over the mean of rows; a vector's is
    kept as it is.
    """
    variance = tl.zeros(offsets.shape, kind)
    if height == 0:
        variance += to_compute(tl.load(rows_ptr + offsets, mask=mask, other=0.0))
    else:
        columns_ptr = tl.load(row_ptr + 6).to(rows_ptr.dtype)
        whole_ptr = tl.load(row_ptr + 7).to(tl.pointer_type(kind))
        row = offsets // width
        matrix = row // height
        column = matrix * width + offsets % width
        variance += to_compute(tl.load(rows_ptr + row, mask=mask, other=0.0))
        variance *= to_compute(tl.load(columns_ptr + column, mask=mask, other=0.0))
        whole = tl.load(whole_ptr + matrix, mask=mask, other=1.0)
        variance /= tl.maximum(whole, smallest)
    return variance


@kernel()
def adafactor_sizes(
    table_ptr, chunks_ptr, parameter_type, gradient_type, mean_type, share, smallest,
    WIDTH: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sums of parameter² and update² of a chunk; the running means of a vector's squares."""
    row_ptr = table_ptr + tl.load(chunks_ptr + tl.program_id(0) * 2) * WIDTH
    first = tl.load(chunks_ptr + tl.program_id(0) * 2 + 1)
    height = tl.load(row_ptr + 1)
    width = tl.load(row_ptr + 2)
    stop = tl.minimum(first + CHUNK, tl.load(row_ptr + 3))
    g_ptr = tl.load(row_ptr + 4).to(tl.pointer_type(gradient_type.dtype.element_ty))
    rows_ptr = tl.load(row_ptr + 5).to(tl.pointer_type(mean_type.dtype.element_ty))
    p_ptr = tl.load(row_ptr + 8).to(tl.pointer_type(parameter_type.dtype.element_ty))
    sums_ptr = tl.load(row_ptr + 9).to(tl.pointer_type(share.dtype))
    parameters = tl.zeros((BLOCK,), share.dtype)
    updates = tl.zeros((BLOCK,), share.dtype)
    for start in range(first, stop, BLOCK):
        offsets = start + tl.arange(0, BLOCK)
        mask = offsets < stop
        p = to_compute(tl.load(p_ptr + offsets, mask=mask, other=0.0))
        g = to_compute(tl.load(g_ptr + offsets, mask=mask, other=0.0))
        if height == 0:
            mean = to_compute(tl.load(rows_ptr + offsets, mask=mask, other=0.0))
            mean += share * (g * g - mean)
            tl.store(rows_ptr + offsets, mean.to(rows_ptr.dtype.element_ty), mask=mask)
        variance = factored_variance(
            row_ptr, rows_ptr, offsets, mask, height, width, smallest, share.dtype
        )
        update = g / tl.sqrt(tl.maximum(variance, smallest * smallest))
        parameters += p * p
        updates += update * update
    place = first // CHUNK * 2
    tl.store(sums_ptr + place, tl.sum(parameters, 0))
    tl.store(sums_ptr + place + 1, tl.sum(updates, 0))


@kernel()
def adafactor_step(
    table_ptr, chunks_ptr, parameter_type, gradient_type, mean_type,
    smallest, smallest_size, clip, rate, kept,
    WIDTH: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """parameter = kept * parameter - rate * size of the parameter * clipped update."""
    row_ptr = table_ptr + tl.load(chunks_ptr + tl.program_id(0) * 2) * WIDTH
    first = tl.load(chunks_ptr + tl.program_id(0) * 2 + 1)
    height = tl.load(row_ptr + 1)
    width = tl.load(row_ptr + 2)
    count = tl.load(row_ptr + 3)
    stop = tl.minimum(first + CHUNK, count)
    g_ptr = tl.load(row_ptr + 4).to(tl.pointer_type(gradient_type.dtype.element_ty))
    rows_ptr = tl.load(row_ptr + 5).to(tl.pointer_type(mean_type.dtype.element_ty))
    p_ptr = tl.load(row_ptr + 8).to(tl.pointer_type(parameter_type.dtype.element_ty))
    sums_ptr = tl.load(row_ptr + 9).to(tl.pointer_type(rate.dtype))
    parameters = tl.full((), 0.0, rate.dtype)
    updates = tl.full((), 0.0, rate.dtype)
    for chunk in range((count + CHUNK - 1) // CHUNK):
        parameters += tl.load(sums_ptr + chunk * 2)
        updates += tl.load(sums_ptr + chunk * 2 + 1)
    size = tl.maximum(smallest_size, tl.sqrt(parameters / count))
    step = rate * size / tl.maximum(1.0, tl.sqrt(updates / count) / clip)
    for start in range(first, stop, BLOCK):
        offsets = start + tl.arange(0, BLOCK)
        mask = offsets < stop
        p = to_compute(tl.load(p_ptr + offsets, mask=mask, other=0.0))
        g = to_compute(tl.load(g_ptr + offsets, mask=mask, other=0.0))
        variance = factored_variance(
            row_ptr, rows_ptr, offsets, mask, height, width, smallest, rate.dtype
        )
        p = p * kept - step * (g / tl.sqrt(tl.maximum(variance, smallest * smallest)))
        tl.store(p_ptr + offsets, p.to(p_ptr.dtype.element_ty), mask=mask)
