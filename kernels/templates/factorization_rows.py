"""Factorizations in memory, row by row, for CPUs: what a column changes goes through whole rows.

A matrix of some hundred rows lies in the second-level cache, so that each multiply-add costs a load
and a store of it, and nothing else; longer ones are cut into such blocks (`ops/factorization`).
Everything is done in place, in matrices that may be parts of others: rows have a stride.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tritorch import dtypes
from tritorch.kernels.plan import Plan, nothing
from tritorch.kernels.templates.rows import ceil_divide, next_power_of_2
from tritorch.kernels.templates.template import kernel
from tritorch.layout import Layout

if TYPE_CHECKING:
    import triton.language as tl

#: matrices up to so many columns are factored as one block, and solved as one for many columns;
#: lanes of a row
ROWS, WIDE = 128, 64
_LANES = 64
#: right-hand sides of fewer columns are solved for one by one
FEW = 4


@kernel()
def cholesky_rows(
    u_ptr, info_ptr, n, u_batch_stride, u_row_stride, BLOCK: tl.constexpr,
):  # fmt: skip
    """u^T u = a: the upper triangle of a becomes u, the rest stays.

    info: 1 + the first column that fails, or 0.
    """
    batch = tl.program_id(0).to(tl.int64)
    u_ptr += batch * u_batch_stride
    failed = 0
    for j in range(n):
        pivot = tl.load(u_ptr + j * u_row_stride + j)
        failed = tl.where((failed == 0) & ((pivot > 0) == 0), j + 1, failed)
        root = tl.sqrt(pivot)
        tl.store(u_ptr + j * u_row_stride + j, root)
        for start in range(j + 1, n, BLOCK):
            columns = start + tl.arange(0, BLOCK)
            row = tl.load(u_ptr + j * u_row_stride + columns, mask=columns < n)
            tl.store(u_ptr + j * u_row_stride + columns, row / root, mask=columns < n)
        for i in range(j + 1, n):
            factor = tl.load(u_ptr + j * u_row_stride + i)
            for start in range(i, n, BLOCK):
                columns = start + tl.arange(0, BLOCK)
                upper = tl.load(u_ptr + j * u_row_stride + columns, mask=columns < n)
                row = tl.load(u_ptr + i * u_row_stride + columns, mask=columns < n)
                row -= factor * upper
                tl.store(u_ptr + i * u_row_stride + columns, row, mask=columns < n)
    tl.store(info_ptr + batch, failed)


@kernel()
def lu_rows(
    a_ptr, pivots_ptr, info_ptr, m, n, a_batch_stride, a_row_stride, BLOCK: tl.constexpr,
):  # fmt: skip
    """p a = l u with row exchanges; a becomes l and u.

    pivots: the row (from 1) that each step exchanges with; info: 1 + the first column without a
    pivot, or 0.
    """
    batch = tl.program_id(0).to(tl.int64)
    a_ptr += batch * a_batch_stride
    failed = 0
    steps = tl.minimum(m, n)
    for j in range(steps):
        best = tl.load(a_ptr + j * a_row_stride + j) * 0.0 - 1.0
        p = j
        for start in range(j, m, BLOCK):
            rows = start + tl.arange(0, BLOCK)
            column = tl.load(a_ptr + rows.to(tl.int64) * a_row_stride + j, mask=rows < m, other=0.0)
            size = tl.where(rows < m, tl.abs(column), -1.0)
            top = tl.max(size, 0)
            where = start + tl.argmax(size, 0)
            p = tl.where(top > best, where, p)
            best = tl.where(top > best, top, best)
        tl.store(pivots_ptr + batch * steps + j, p + 1)
        if p != j:
            for start in range(0, n, BLOCK):
                columns = start + tl.arange(0, BLOCK)
                here = tl.load(a_ptr + j * a_row_stride + columns, mask=columns < n)
                there = tl.load(a_ptr + p * a_row_stride + columns, mask=columns < n)
                tl.store(a_ptr + j * a_row_stride + columns, there, mask=columns < n)
                tl.store(a_ptr + p * a_row_stride + columns, here, mask=columns < n)
        pivot = tl.load(a_ptr + j * a_row_stride + j)
        failed = tl.where((failed == 0) & (pivot == 0), j + 1, failed)
        divisor = tl.where(pivot == 0, 1.0, pivot)
        for i in range(j + 1, m):
            factor = tl.load(a_ptr + i * a_row_stride + j) / divisor
            tl.store(a_ptr + i * a_row_stride + j, factor)
            for start in range(j + 1, n, BLOCK):
                columns = start + tl.arange(0, BLOCK)
                upper = tl.load(a_ptr + j * a_row_stride + columns, mask=columns < n)
                row = tl.load(a_ptr + i * a_row_stride + columns, mask=columns < n)
                row -= factor * upper
                tl.store(a_ptr + i * a_row_stride + columns, row, mask=columns < n)
    tl.store(info_ptr + batch, failed)


@kernel()
def exchange_rows(
    a_ptr, pivots_ptr, n, steps, n_blocks, a_batch_stride, a_row_stride, BLOCK: tl.constexpr,
):  # fmt: skip
    """Row j for row pivots[j] - 1, one step after the other. One program: BLOCK columns."""
    batch = (tl.program_id(0) // n_blocks).to(tl.int64)
    columns = (tl.program_id(0) % n_blocks) * BLOCK + tl.arange(0, BLOCK)
    a_ptr += batch * a_batch_stride
    for j in range(steps):
        p = tl.load(pivots_ptr + batch * steps + j) - 1
        if p != j:
            here = tl.load(a_ptr + j * a_row_stride + columns, mask=columns < n)
            there = tl.load(a_ptr + p * a_row_stride + columns, mask=columns < n)
            tl.store(a_ptr + j * a_row_stride + columns, there, mask=columns < n)
            tl.store(a_ptr + p * a_row_stride + columns, here, mask=columns < n)


@kernel()
def triangular_rows(
    x_ptr, a_ptr, n, m, n_blocks, x_batch_stride, x_row_stride,
    a_batch_stride, a_row_stride, a_column_stride,
    UPPER: tl.constexpr, UNIT: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """x becomes a^-1 x for a triangular a. One program: WIDTH columns of x."""
    batch = (tl.program_id(0) // n_blocks).to(tl.int64)
    columns = (tl.program_id(0) % n_blocks) * WIDTH + tl.arange(0, WIDTH)
    a_ptr += batch * a_batch_stride
    x_ptr += batch * x_batch_stride
    for step in range(n):
        i = n - 1 - step if UPPER else step
        row = tl.load(x_ptr + i * x_row_stride + columns, mask=columns < m, other=0.0)
        for done in range(step):
            k = n - 1 - done if UPPER else done
            factor = tl.load(a_ptr + i * a_row_stride + k * a_column_stride)
            row -= factor * tl.load(x_ptr + k * x_row_stride + columns, mask=columns < m, other=0.0)
        if not UNIT:
            row = row / tl.load(a_ptr + i * a_row_stride + i * a_column_stride)
        tl.store(x_ptr + i * x_row_stride + columns, row, mask=columns < m)


@kernel()
def triangular_vector(
    x_ptr, a_ptr, n, m, x_batch_stride, x_row_stride,
    a_batch_stride, a_row_stride, a_column_stride,
    UPPER: tl.constexpr, UNIT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """x becomes a^-1 x, one column a program: the products of rows of a with what is known of x."""
    batch = (tl.program_id(0) // m).to(tl.int64)
    a_ptr += batch * a_batch_stride
    x_ptr += batch * x_batch_stride + tl.program_id(0) % m
    for step in range(n):
        i = n - 1 - step if UPPER else step
        low = i + 1 if UPPER else 0
        high = n if UPPER else i
        value = tl.load(x_ptr + i * x_row_stride)
        total = tl.zeros((BLOCK,), dtype=value.dtype)
        for start in range(low, high, BLOCK):
            k = start + tl.arange(0, BLOCK)
            factors = tl.load(
                a_ptr + i * a_row_stride + k * a_column_stride, mask=k < high, other=0.0
            )
            total += factors * tl.load(x_ptr + k * x_row_stride, mask=k < high, other=0.0)
        value -= tl.sum(total, 0)
        if not UNIT:
            value = value / tl.load(a_ptr + i * a_row_stride + i * a_column_stride)
        tl.store(x_ptr + i * x_row_stride, value)


def _places(prefix: str, x: Layout) -> dict[str, Any]:
    return {f"{prefix}_batch_stride": x.strides[0], f"{prefix}_row_stride": x.strides[1]}


def _info(a: Layout) -> Layout:
    return Layout.contiguous(dtypes.int32, (a.shape[0],), a.device)


def plan_cholesky(u: Layout) -> Plan:
    """(info, u): the upper triangle of u (batch, n, n) becomes the factor."""
    info = _info(u)
    n = u.shape[1]
    values = {"n": n, "BLOCK": min(_LANES, next_power_of_2(n)), **_places("u", u)}
    operands = {"u_ptr": u, "info_ptr": info}
    launch, compiled = cholesky_rows.bind(u.device, (u.shape[0],), operands, values)
    return Plan((info,), launch, (compiled,))


def plan_lu(a: Layout) -> Plan:
    """(pivots, info), launched as (a, pivots, info): a (batch, m, n) becomes its factors."""
    batch, m, n = a.shape
    pivots = Layout.contiguous(dtypes.int32, (batch, min(m, n)), a.device)
    info = _info(a)
    values = {"m": m, "n": n, "BLOCK": min(_LANES, next_power_of_2(max(m, n))), **_places("a", a)}
    operands = {"a_ptr": a, "pivots_ptr": pivots, "info_ptr": info}
    launch, compiled = lu_rows.bind(a.device, (batch,), operands, values)
    return Plan((pivots, info), launch, (compiled,))


def plan_exchange(a: Layout, pivots: Layout) -> Plan:
    """(), launched as (a, pivots): the rows of a change their places."""
    batch, _, n = a.shape
    if not a.numel:
        return Plan((), nothing)
    block = min(4 * _LANES, next_power_of_2(n))
    n_blocks = ceil_divide(n, block)
    values = {
        "n": n, "steps": pivots.shape[1], "n_blocks": n_blocks, "BLOCK": block, **_places("a", a),
    }  # fmt: skip
    operands = {"a_ptr": a, "pivots_ptr": pivots}
    launch, compiled = exchange_rows.bind(a.device, (batch * n_blocks,), operands, values)
    return Plan((), launch, (compiled,))


def plan_triangular(a: Layout, x: Layout, upper: bool, unit: bool) -> Plan:
    """(), launched as (x, a): x (batch, n, m) becomes the solution; a may have any strides."""
    batch, n, m = x.shape
    values: dict[str, Any] = {
        "n": n, "m": m, "UPPER": upper, "UNIT": unit, **_places("x", x), **_places("a", a),
        "a_column_stride": a.strides[2],
    }  # fmt: skip
    operands = {"x_ptr": x, "a_ptr": a}
    if m < FEW:
        values["BLOCK"] = min(_LANES, next_power_of_2(n))
        launch, compiled = triangular_vector.bind(x.device, (batch * m,), operands, values)
    else:
        width = min(_LANES, next_power_of_2(m))
        n_blocks = ceil_divide(m, width)
        values |= {"WIDTH": width, "n_blocks": n_blocks}
        launch, compiled = triangular_rows.bind(x.device, (batch * n_blocks,), operands, values)
    return Plan((), launch, (compiled,))
