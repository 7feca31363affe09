"""Stable sorting of rows along any dimension, with indices; and binary search in sorted rows.

A value becomes an unsigned integer of the same order (`sort_keys`).

Rows of up to 64 elements: every element counts those before it, n comparisons in vectors.
CPU: least-significant-digit radix sort. A program takes rows one after another; it counts the
digits of all passes while it makes the keys, then moves (key, index) pairs once per digit,
skipping digits that all keys share. 15 to 30 ns per 32-bit element in rows that stay in the cache
(torch.sort: 45 to 85 in the same runs), 70 ns in one row of a million (240). GPU: a row per
program is sorted in registers by Triton's bitonic network, key and index packed in 64 bits, 64-bit
values in two rounds of 32 bits; rows of more than 4096 elements take passes of many programs
(`sort_gpu`). Predicted for 4096 rows of 4096 float32 on sm_90 (nothing was measured): one launch,
268 MB, 62 us at 4.3 TB/s; the network takes 75,000 instructions of warps a row (18,744 in each of
four, Triton 3.6), 580 us, were half of the issue slots used. PyTorch sorts such rows by eight
passes in shared memory, about 400 us, between a copy and a fill of the indices: 500 to 600.

Source: Knuth, The Art of Computer Programming, volume 3, section 5.2.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tritorch import dtypes
from tritorch.errors import DtypeError, ShapeError
from tritorch.kernels.plan import Plan, Step, nothing
from tritorch.kernels.strides import dense_like, needs_int64
from tritorch.kernels.templates.rows import (
    ceil_divide,
    levels,
    next_power_of_2,
    row_offset,
    rows_of,
    to_compute,
)
from tritorch.kernels.templates.sort_gpu import plan_radix
from tritorch.kernels.templates.sort_keys import key_dtype, sort_key
from tritorch.kernels.templates.template import helper, kernel
from tritorch.layout import Layout, normalize_dim

if TYPE_CHECKING:
    import triton.language as tl

#: programs that share the rows, each with its own buffers; more rows than this take turns
PROGRAMS = 64
#: rows of up to so many elements are sorted by comparing all pairs: no passes, no counters
RANKED = 64
#: elements of a row that a GPU program holds; the network is unrolled, longer ones take minutes to
#: compile
GPU_ROW = 4096


def _radix(*, target: str, n_cols: int) -> dict[str, Any]:
    """11 bits save a pass for 32-bit keys, where a row is long enough to pay for 2048 counters."""
    return {"DIGIT": 11 if n_cols >= 2048 else 8}


@kernel(space={"DIGIT": [6, 8, 11]}, default=_radix, key=("n_cols", "dtype"))
def radix_sort_rows(
    y_ptr, index_ptr, x_ptr, keys_ptr, places_ptr, counts_ptr, n_rows, n_cols,
    size1, size2, size3, y_stride0, y_stride1, y_stride2, y_stride3, y_column_stride,
    x_stride0, x_stride1, x_stride2, x_stride3, x_column_stride,
    DESCENDING: tl.constexpr, PASSES: tl.constexpr, DIGIT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: every PROGRAMS-th row; it has two buffers of keys and two of places."""
    program = tl.program_id(0)
    BINS: tl.constexpr = 1 << DIGIT
    KEY: tl.constexpr = keys_ptr.dtype.element_ty
    keys_ptr += program.to(tl.int64) * 2 * n_cols
    places_ptr += program.to(tl.int64) * 2 * n_cols
    counts_ptr += program * PASSES * BINS
    for row in range(program, n_rows, tl.num_programs(0)):
        source = x_ptr + row_offset(
            row, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3
        )
        target = row_offset(row, size1, size2, size3, y_stride0, y_stride1, y_stride2, y_stride3)
        bins = tl.arange(0, BINS)
        for digit in tl.static_range(PASSES):
            tl.store(counts_ptr + digit * BINS + bins, tl.zeros((BINS,), dtype=tl.int32))
        for start in range(0, n_cols, BLOCK):
            columns = start + tl.arange(0, BLOCK)
            mask = columns < n_cols
            x = tl.load(source + columns * x_column_stride, mask=mask)
            tl.store(keys_ptr + columns, sort_key(x, DESCENDING).to(KEY), mask=mask)
            tl.store(places_ptr + columns, columns, mask=mask)
        for i in range(n_cols):
            key = tl.load(keys_ptr + i)
            for digit in tl.static_range(PASSES):
                place = (
                    counts_ptr + digit * BINS + ((key >> (digit * DIGIT)) & (BINS - 1)).to(tl.int32)
                )
                tl.store(place, tl.load(place) + 1)
        now = tl.full((), 0, tl.int32)
        for digit in range(PASSES):
            first = ((tl.load(keys_ptr + now * n_cols) >> (digit * DIGIT)) & (BINS - 1)).to(
                tl.int32
            )
            if tl.load(counts_ptr + digit * BINS + first) != n_cols:
                # From counts to the place of each digit's first key.
                counts = tl.load(counts_ptr + digit * BINS + bins)
                tl.store(counts_ptr + digit * BINS + bins, tl.cumsum(counts, 0) - counts)
                other = 1 - now
                for i in range(n_cols):
                    key = tl.load(keys_ptr + now * n_cols + i)
                    bin = counts_ptr + digit * BINS
                    bin += ((key >> (digit * DIGIT)) & (BINS - 1)).to(tl.int32)
                    place = tl.load(bin)
                    tl.store(bin, place + 1)
                    tl.store(keys_ptr + other * n_cols + place, key)
                    tl.store(
                        places_ptr + other * n_cols + place, tl.load(places_ptr + now * n_cols + i)
                    )
                now = other
        for start in range(0, n_cols, BLOCK):
            columns = start + tl.arange(0, BLOCK)
            mask = columns < n_cols
            place = tl.load(places_ptr + now * n_cols + columns, mask=mask, other=0)
            y = tl.load(source + place * x_column_stride, mask=mask)
            tl.store(y_ptr + target + columns * y_column_stride, y, mask=mask)
            tl.store(index_ptr + target + columns * y_column_stride, place.to(tl.int64), mask=mask)


@kernel()
def rank_sort_rows(
    y_ptr, index_ptr, x_ptr, n_cols, size1, size2, size3,
    y_stride0, y_stride1, y_stride2, y_stride3, y_column_stride,
    x_stride0, x_stride1, x_stride2, x_stride3, x_column_stride,
    DESCENDING: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: one short row; an element's place is the number of those that go before it."""
    row = tl.program_id(0)
    x_ptr += row_offset(row, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3)
    target = row_offset(row, size1, size2, size3, y_stride0, y_stride1, y_stride2, y_stride3)
    columns = tl.arange(0, BLOCK)
    mask = columns < n_cols
    x = tl.load(x_ptr + columns * x_column_stride, mask=mask)
    key = sort_key(x, DESCENDING)[None, :]
    others = tl.arange(0, BLOCK)
    other = sort_key(tl.load(x_ptr + others * x_column_stride, mask=others < n_cols), DESCENDING)[
        :, None
    ]
    before = (other < key) | ((other == key) & (others[:, None] < columns[None, :]))
    before = before & (others < n_cols)[:, None]
    place = tl.sum(before.to(tl.int32), 0) * y_column_stride
    tl.store(y_ptr + target + place, x, mask=mask)
    tl.store(index_ptr + target + place, columns.to(tl.int64), mask=mask)


@helper
def packed_sort(key, position, BLOCK: tl.constexpr):
    """The positions in the order of 32-bit keys, equal ones in that of their positions."""
    packed = (key.to(tl.int64) << 32) | position.to(tl.int64)
    # Keys are unsigned: flip the sign for the signed comparison of the network.
    packed = tl.sort(packed ^ tl.full((), -(1 << 63), tl.int64), 0)
    return (packed & 0xFFFFFFFF).to(tl.int32)


@kernel(space={"num_warps": [1, 2, 4, 8]}, key=("n_cols", "dtype"))
def sort_rows(
    y_ptr, index_ptr, x_ptr, n_cols, size1, size2, size3,
    y_stride0, y_stride1, y_stride2, y_stride3, y_column_stride,
    x_stride0, x_stride1, x_stride2, x_stride3, x_column_stride,
    DESCENDING: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: one row of at most BLOCK elements."""
    row = tl.program_id(0)
    x_ptr += row_offset(row, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3)
    target = row_offset(row, size1, size2, size3, y_stride0, y_stride1, y_stride2, y_stride3)
    columns = tl.arange(0, BLOCK)
    mask = columns < n_cols
    WIDE: tl.constexpr = x_ptr.dtype.element_ty.primitive_bitwidth == 64
    index_ptr += target
    if WIDE:
        # The lower halves first; the order goes through memory to the second round.
        key = sort_key(tl.load(x_ptr + columns * x_column_stride, mask=mask), DESCENDING)
        low = tl.where(mask, (key & 0xFFFFFFFF).to(tl.uint32), 0xFFFFFFFF)
        order = packed_sort(low, columns, BLOCK)
        tl.store(index_ptr + columns * y_column_stride, order.to(tl.int64), mask=mask)
        tl.debug_barrier()
        before = tl.load(index_ptr + columns * y_column_stride, mask=mask, other=0)
        key = sort_key(tl.load(x_ptr + before * x_column_stride, mask=mask), DESCENDING)
        high = tl.where(mask, (key >> 32).to(tl.uint32), 0xFFFFFFFF)
        order = packed_sort(high, columns, BLOCK)
        order = tl.load(index_ptr + order * y_column_stride, mask=mask, other=0).to(tl.int32)
        tl.debug_barrier()
    else:
        key = sort_key(tl.load(x_ptr + columns * x_column_stride, mask=mask), DESCENDING)
        order = packed_sort(tl.where(mask, key.to(tl.uint32), 0xFFFFFFFF), columns, BLOCK)
    y = tl.load(x_ptr + order * x_column_stride, mask=mask)
    tl.store(y_ptr + target + columns * y_column_stride, y, mask=mask)
    tl.store(index_ptr + columns * y_column_stride, order.to(tl.int64), mask=mask)


def _check(name: str, x: Layout, dim: int) -> int:
    if x.dtype.itemsize == 1 and x.dtype.is_floating_point:
        raise DtypeError(f"{name}: {x.dtype} has no order here. Cast it to float32 first.")
    dim = normalize_dim(name, dim, x.ndim)
    if x.ndim and needs_int64(x.shape[dim : dim + 1]):
        raise ShapeError(
            f"{name}: dimension {dim} of {x.shape} is too long: places in a row are counted in 32 "
            "bits. Sort parts of it and merge them."
        )
    return dim


def plan_sort(
    x: Layout, dim: int, *, descending: bool = False, bits: int | None = None, name: str = "sort"
) -> Plan:
    """values, indices; launch(values, indices, x): stable, nan last (first when descending).

    Args:
        x: any strides, any dtype but float8; a row has fewer than 2^31 elements.
        bits: x has integers that are not negative and differ in so many bits at most (the lowest):
            a GPU goes by no others.
    Returns:
        values of x's dtype and indices of int64, both of x's shape and dense, their dimensions in
        the order of x's.
    """
    dim = _check(name, x, dim)
    values = dense_like(x.dtype, x.shape, [x.strides], x.device)
    indices = values.with_dtype(dtypes.int64)
    if x.numel == 0:
        return Plan((values, indices), nothing)
    if x.ndim == 0:
        x = Layout.of(x.dtype, (1,), (1,), x.device)
    out = dense_like(x.dtype, x.shape, [x.strides], x.device)
    rows = rows_of(name, [out, x], dim)
    n_cols = x.shape[dim]
    numbers: dict[str, Any] = {
        "n_cols": n_cols, "DESCENDING": descending, "y_column_stride": out.strides[dim],
        "x_column_stride": x.strides[dim], **rows.values("y", "x"),
    }  # fmt: skip
    operands: dict[str, Any] = {"y_ptr": out, "index_ptr": indices, "x_ptr": x}
    if n_cols <= RANKED:
        numbers["BLOCK"] = next_power_of_2(n_cols)
        launch, compiled = rank_sort_rows.bind(x.device, (rows.count,), operands, numbers)
        return Plan((values, indices), launch, [compiled])
    if x.device.type != "cpu":
        if n_cols > GPU_ROW:
            return plan_radix((values, indices), x, dim, operands, numbers, bits)
        numbers["BLOCK"] = next_power_of_2(n_cols)
        numbers |= sort_rows.choose(x.device.type, dtype=x.dtype.name, n_cols=n_cols)
        launch, compiled = sort_rows.bind(x.device, (rows.count,), operands, numbers)
        return Plan((values, indices), launch, [compiled])
    return _radix_plan((values, indices), x, rows.count, operands, numbers)


def _radix_plan(
    outputs: tuple[Layout, Layout], x: Layout, n_rows: int, operands: dict[str, Any], numbers: Any
) -> Plan:
    from tritorch.runtime import get_target

    n_cols = numbers["n_cols"]
    key = key_dtype(x.dtype)
    choice = radix_sort_rows.choose(x.device.type, dtype=x.dtype.name, n_cols=n_cols)
    passes = ceil_divide(1 if x.dtype is dtypes.bool else key.itemsize * 8, choice["DIGIT"])
    n_programs = min(n_rows, PROGRAMS)
    block = min(next_power_of_2(n_cols), 1024)
    numbers = numbers | choice | {"n_rows": n_rows, "PASSES": passes, "BLOCK": block}
    buffers = {"keys_ptr": key, "places_ptr": dtypes.int32, "counts_ptr": dtypes.int32}
    launch, compiled = radix_sort_rows.bind(x.device, (n_programs,), operands | buffers, numbers)
    workspaces = [
        n_programs * 2 * n_cols * key.itemsize,
        n_programs * 2 * n_cols * 4,
        n_programs * passes * (1 << choice["DIGIT"]) * 4,
    ]
    steps = [Step(launch, (0, 1, 2, -1, -2, -3))]
    target = get_target(x.device)
    return Plan.of_steps(outputs, target, steps, workspaces, [compiled])


@kernel(space={"BLOCK": [256, 1024]}, default={"BLOCK": 1024}, key=("n_sorted",))
def search_rows(
    y_ptr, sorted_ptr, values_ptr, n_sorted, n_values, steps, size1, size2, size3,
    sorted_stride0, sorted_stride1, sorted_stride2, sorted_stride3, sorted_column_stride,
    values_stride0, values_stride1, values_stride2, values_stride3,
    y_stride0, y_stride1, y_stride2, y_stride3,
    RIGHT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK values; y = how many elements of the row are smaller (RIGHT: or equal)."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = i < n_values
    values_ptr += row_offset(
        i, size1, size2, size3, values_stride0, values_stride1, values_stride2, values_stride3
    )
    value = to_compute(tl.load(values_ptr, mask=mask, other=0))
    sorted_ptr += row_offset(
        i, size1, size2, size3, sorted_stride0, sorted_stride1, sorted_stride2, sorted_stride3
    )
    low = tl.zeros((BLOCK,), dtype=tl.int64)
    high = low + n_sorted
    for _ in range(steps):
        open = low < high
        middle = (low + high) // 2
        found = to_compute(
            tl.load(sorted_ptr + middle * sorted_column_stride, mask=mask & open, other=0)
        )
        # nan counts as larger than everything.
        if RIGHT:
            after = (found <= value) | (value != value)
        else:
            after = (found < value) | ((value != value) & (found == found))
        low = tl.where(open & after, middle + 1, low)
        high = tl.where(open & (after == 0), middle, high)
    place = row_offset(i, size1, size2, size3, y_stride0, y_stride1, y_stride2, y_stride3)
    tl.store(y_ptr + place, low, mask=mask)


def plan_search(sequence: Layout, values: Layout, *, right: bool = False) -> Plan:
    """y = places where values would be inserted; launch(y, sequence, values).

    Args:
        sequence: ascending along its last dimension: 1-d, or of values' shape but for the last
        dimension. values: of sequence's dtype.
    Returns:
        y of int64 and values' shape.
    """
    name = "searchsorted"
    if (sequence.ndim != 1 and sequence.shape[:-1] != values.shape[:-1]) or sequence.ndim == 0:
        raise ShapeError(
            f"{name}: boundaries tensor should be 1 dimension or the first N-1 dimensions of "
            "boundaries tensor and input value tensor must match; "
            f"got {sequence.shape} and {values.shape}."
        )
    if sequence.dtype is not values.dtype:
        raise DtypeError(
            f"{name}: boundaries and input should have the same dtype; got {sequence.dtype} and "
            f"{values.dtype}. Cast one of them."
        )
    y = Layout.contiguous(dtypes.int64, values.shape, values.device)
    if y.numel == 0:
        return Plan((y,), nothing)
    n_sorted = sequence.shape[-1]
    along = (0,) * values.ndim if sequence.ndim == 1 else (*sequence.strides[:-1], 0)
    rows = levels(name, values.shape, [values.strides, along, y.strides])
    choice = search_rows.choose(values.device.type, n_sorted=n_sorted)
    numbers = {
        "n_sorted": n_sorted, "n_values": values.numel, "RIGHT": right,
        "steps": n_sorted.bit_length(), "sorted_column_stride": sequence.strides[-1],
        **rows.values("values", "sorted", "y"), **choice,
    }  # fmt: skip
    operands = {"y_ptr": y, "sorted_ptr": sequence, "values_ptr": values}
    grid = (ceil_divide(values.numel, choice["BLOCK"]),)
    launch, compiled = search_rows.bind(values.device, grid, operands, numbers)
    return Plan((y,), launch, [compiled])
