"""The k greatest (or smallest) elements of rows, without sorting the rows.

A row is dealt out to groups, several times k of them. The k-th greatest of the groups' maxima is a
bound: at least k elements reach it, and seldom many more. Those that do are collected, ranked among
each other, and the first k are the result. Two passes of vector comparisons over the row; 1 ns an
element in all (torch.topk: 3).

Where more elements reach the bound than there is room for (many equal ones, or all great ones in
one group), the k-th greatest is found exactly, bit by bit; then what is greater, and as many of its
equals as are wanted, are collected.

For k up to 512: else `sort` is the way. GPUs have a kernel of their own (`topk_gpu`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tritorch import dtypes
from tritorch.kernels.plan import Plan, Step, nothing
from tritorch.kernels.strides import needs_int64
from tritorch.kernels.templates.rows import next_power_of_2, row_offset, rows_of
from tritorch.kernels.templates.sort_keys import collect, key_dtype, keys_at, sort_key
from tritorch.kernels.templates.template import kernel
from tritorch.kernels.templates.topk_gpu import plan_parts
from tritorch.layout import Layout, normalize_dim

if TYPE_CHECKING:
    import triton.language as tl

#: the greatest k: candidates are ranked by comparing all pairs
LIMIT = 512


@kernel()
def topk_rows(
    y_ptr, index_ptr, x_ptr, found_ptr, n_cols, k, size1, size2, size3,
    y_stride0, y_stride1, y_stride2, y_stride3, y_column_stride,
    x_stride0, x_stride1, x_stride2, x_stride3, x_column_stride,
    SMALLEST: tl.constexpr, KEY: tl.constexpr, BITS: tl.constexpr, GROUPS: tl.constexpr,
    ROOM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: one row. ROOM: candidates that are kept."""
    row = tl.program_id(0)
    WORD: tl.constexpr = tl.uint64 if KEY == 64 else tl.uint32
    x_ptr += row_offset(row, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3)
    target = row_offset(row, size1, size2, size3, y_stride0, y_stride1, y_stride2, y_stride3)
    found_ptr += row.to(tl.int64) * ROOM
    groups = tl.arange(0, GROUPS)
    best = tl.zeros((GROUPS,), dtype=WORD)
    for start in range(0, n_cols, GROUPS):
        key = keys_at(x_ptr, start + groups, x_column_stride, n_cols, SMALLEST, WORD)
        best = tl.maximum(best, key)
    bound = tl.zeros((), dtype=WORD)
    one = tl.full((), 1, WORD)
    for bit in range(BITS):
        trial = bound | (one << (BITS - 1 - bit))
        if tl.sum((best >= trial).to(tl.int32), 0) >= k:
            bound = trial
    columns = tl.arange(0, BLOCK)
    count = tl.full((), 0, tl.int32)
    for start in range(0, n_cols, BLOCK):
        here = start + columns
        key = keys_at(x_ptr, here, x_column_stride, n_cols, SMALLEST, WORD)
        if tl.max(key, 0) >= bound:
            count = collect(found_ptr, count, here, (key >= bound) & (here < n_cols), ROOM)
    if count > ROOM:
        bound = tl.zeros((), dtype=WORD)
        for bit in range(BITS):
            trial = bound | (one << (BITS - 1 - bit))
            reached = tl.full((), 0, tl.int32)
            for start in range(0, n_cols, BLOCK):
                key = keys_at(x_ptr, start + columns, x_column_stride, n_cols, SMALLEST, WORD)
                reached += tl.sum((key >= trial).to(tl.int32), 0)
            if reached >= k:
                bound = trial
        count = tl.full((), 0, tl.int32)
        for start in range(0, n_cols, BLOCK):
            here = start + columns
            key = keys_at(x_ptr, here, x_column_stride, n_cols, SMALLEST, WORD)
            if tl.max(key, 0) > bound:
                count = collect(found_ptr, count, here, key > bound, ROOM)
        start = 0
        while (count < k) & (start < n_cols):
            here = start + columns
            key = keys_at(x_ptr, here, x_column_stride, n_cols, SMALLEST, WORD)
            count = collect(found_ptr, count, here, (key == bound) & (here < n_cols), ROOM)
            start += BLOCK
        count = tl.minimum(count, ROOM)
    rooms = tl.arange(0, ROOM)
    mine = tl.load(found_ptr + rooms, mask=rooms < count, other=0)
    key = keys_at(x_ptr, mine, x_column_stride, n_cols, SMALLEST, WORD)
    rank = tl.zeros((ROOM,), dtype=tl.int32)
    for i in range(count):
        other = tl.load(found_ptr + i)
        rival = sort_key(tl.load(x_ptr + other * x_column_stride), SMALLEST).to(WORD)
        rank += ((rival > key) | ((rival == key) & (other < mine))).to(tl.int32)
    kept = (rooms < count) & (rank < k)
    place = target + rank * y_column_stride
    tl.store(y_ptr + place, tl.load(x_ptr + mine * x_column_stride, mask=kept), mask=kept)
    tl.store(index_ptr + place, mine.to(tl.int64), mask=kept)


def serves(x: Layout, dim: int, k: int) -> bool:
    """Whether `plan_topk` takes this: rows long enough to be worth it, and a small k."""
    size = x.shape[dim] if x.ndim else 1
    return (
        0 < k <= LIMIT
        and 4 * next_power_of_2(k) <= size
        and not needs_int64([size])
        and size > 64
        and (x.dtype.itemsize > 1 or not x.dtype.is_floating_point)
    )


def plan_topk(x: Layout, dim: int, k: int, *, largest: bool = True) -> Plan:
    """values, indices; launch(values, indices, x): in order, equal ones by index, nan greatest.

    Args:
        x: any strides; `serves(x, dim, k)` holds.
    Returns:
        values of x's dtype and indices of int64: x's shape with k elements along dim, contiguous.
    """
    from tritorch.runtime import get_target

    dim = normalize_dim("topk", dim, x.ndim)
    shape = (*x.shape[:dim], k, *x.shape[dim + 1 :])
    values = Layout.contiguous(x.dtype, shape, x.device)
    indices = values.with_dtype(dtypes.int64)
    if values.numel == 0:
        return Plan((values, indices), nothing)
    if x.device.type != "cpu":
        return plan_parts((values, indices), x, dim, k, largest=largest)
    n_cols = x.shape[dim]
    rows = rows_of("topk", [values, x], dim)
    room = max(2 * next_power_of_2(k), 32)
    key = key_dtype(x.dtype)
    bits = max(min(x.dtype.itemsize, key.itemsize) * 8, 8)
    numbers: dict[str, Any] = {
        "n_cols": n_cols, "k": k, "SMALLEST": not largest, "KEY": key.itemsize * 8, "BITS": bits,
        "GROUPS": max(64, 4 * next_power_of_2(k)), "ROOM": room, "BLOCK": 64,
        "y_column_stride": values.strides[dim], "x_column_stride": x.strides[dim],
        **rows.values("y", "x"),
    }  # fmt: skip
    operands: dict[str, Any] = {
        "y_ptr": values, "index_ptr": indices, "x_ptr": x, "found_ptr": dtypes.int32,
    }  # fmt: skip
    launch, compiled = topk_rows.bind(x.device, (rows.count,), operands, numbers)
    steps = [Step(launch, (0, 1, 2, -1))]
    target = get_target(x.device)
    return Plan.of_steps((values, indices), target, steps, [rows.count * room * 4], [compiled])
