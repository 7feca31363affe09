"""The k greatest (or smallest) elements of rows on GPUs: `topk`'s way, by blocks of threads.

A program takes a row, or a part of it where there are too few rows for all multiprocessors; the
winners of the parts then meet once more. About sqrt(n / k) parts make both rounds equally long. The
candidates are put in order by Triton's bitonic network, key and place packed in 64 bits; those of
64-bit keys by comparing each with all.

A row is read twice, the second time from the second-level cache.

Predicted, for sm_90 (nothing was measured). 64 of 4096 rows of 16,384 float32: 268 MB from memory,
62 us at 4.3 TB/s; about 28,000 instructions of warps a row, 250 us, were half of the issue slots
used. PyTorch selects by two bits at a time: 17 times through the row, from the caches, 110,000
instructions a row. 64 of 16M: 512 parts, 64 MiB read, about 50 us, then 32,768 candidates by one
program, 80 us; PyTorch: four times through all and about twelve launches.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tritorch import dtypes
from tritorch.kernels.hardware import hardware_of
from tritorch.kernels.plan import Plan, Step
from tritorch.kernels.templates.rows import levels, next_power_of_2, row_offset, without
from tritorch.kernels.templates.sort_keys import collect, key_dtype, keys_at, sort_key
from tritorch.kernels.templates.template import kernel
from tritorch.layout import Layout, contiguous_strides

if TYPE_CHECKING:
    import triton.language as tl

#: programs of a multiprocessor that rows are cut in parts for, and the shortest row that is cut
_WAVES, _LONG = 8, 32768


def _block(*, target: str, n_cols: int, k: int) -> dict[str, Any]:
    """Eight elements a thread."""
    block = min(max(1024, 4 * next_power_of_2(k)), next_power_of_2(n_cols))
    return {"BLOCK": block, "num_warps": max(block // 256, 1)}


@kernel(
    space={"BLOCK": [512, 1024, 2048, 4096], "num_warps": [2, 4, 8, 16]},
    default=_block,
    keep=lambda *, BLOCK, k, **_: 4 * next_power_of_2(k) <= BLOCK,
    key=("n_cols", "k", "dtype"),
)
def topk_part(
    y_ptr, index_ptr, x_ptr, places_ptr, found_ptr, n_cols, n_parts, k, size1, size2, size3,
    y_stride0, y_stride1, y_stride2, y_stride3, y_column_stride,
    x_stride0, x_stride1, x_stride2, x_stride3, x_column_stride,
    SMALLEST: tl.constexpr, KEY: tl.constexpr, BITS: tl.constexpr, MAPPED: tl.constexpr,
    ROOM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: k elements of one part of one row, behind those of the parts before.

    MAPPED: the elements' places are not their columns, but written in `places`, which lie as x.
    """
    n_cols = n_cols.to(tl.int32)  # however large the tensor
    program = tl.program_id(0)
    row = program // n_parts
    part = (program % n_parts).to(tl.int64)
    # Parts start at multiples of 16, so that accesses are as wide as they can be.
    start = (part * n_cols // n_parts).to(tl.int32) // 16 * 16
    end = ((part + 1) * n_cols // n_parts).to(tl.int32) // 16 * 16
    end = tl.where(part == n_parts - 1, n_cols, end)
    WORD: tl.constexpr = tl.uint64 if KEY == 64 else tl.uint32
    source = row_offset(row, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3)
    x_ptr += source
    places_ptr += source
    target = row_offset(row, size1, size2, size3, y_stride0, y_stride1, y_stride2, y_stride3)
    target += part * k * y_column_stride
    found_ptr += program.to(tl.int64) * ROOM
    lanes = tl.arange(0, BLOCK)
    best = tl.zeros((BLOCK,), dtype=WORD)
    for first in range(start, end, BLOCK):
        key = keys_at(x_ptr, first + lanes, x_column_stride, end, SMALLEST, WORD)
        best = tl.maximum(best, key)
    # At least k elements reach the k-th greatest of the lanes' maxima.
    bound = tl.zeros((), dtype=WORD)
    one = tl.full((), 1, WORD)
    for bit in range(BITS):
        trial = bound | (one << (BITS - 1 - bit))
        if tl.sum((best >= trial).to(tl.int32), 0) >= k:
            bound = trial
    count = tl.full((), 0, tl.int32)
    for first in range(start, end, BLOCK):
        here = first + lanes
        key = keys_at(x_ptr, here, x_column_stride, end, SMALLEST, WORD)
        if tl.max(key, 0) >= bound:
            count = collect(found_ptr, count, here, (key >= bound) & (here < end), ROOM)
    if count > ROOM:
        # Too many: the k-th greatest is found bit by bit, then as many of its equals as are wanted.
        bound = tl.zeros((), dtype=WORD)
        for bit in range(BITS):
            trial = bound | (one << (BITS - 1 - bit))
            reached = tl.full((), 0, tl.int32)
            for first in range(start, end, BLOCK):
                key = keys_at(x_ptr, first + lanes, x_column_stride, end, SMALLEST, WORD)
                reached += tl.sum((key >= trial).to(tl.int32), 0)
            if reached >= k:
                bound = trial
        tl.debug_barrier()
        count = tl.full((), 0, tl.int32)
        for first in range(start, end, BLOCK):
            here = first + lanes
            key = keys_at(x_ptr, here, x_column_stride, end, SMALLEST, WORD)
            if tl.max(key, 0) > bound:
                count = collect(found_ptr, count, here, key > bound, ROOM)
        first = start
        while (count < k) & (first < end):
            here = first + lanes
            key = keys_at(x_ptr, here, x_column_stride, end, SMALLEST, WORD)
            count = collect(found_ptr, count, here, (key == bound) & (here < end), ROOM)
            first += BLOCK
        count = tl.minimum(count, ROOM)
    tl.debug_barrier()
    rooms = tl.arange(0, ROOM)
    mine = tl.load(found_ptr + rooms, mask=rooms < count, other=0)
    key = keys_at(x_ptr, mine, x_column_stride, end, SMALLEST, WORD)
    if KEY == 64:
        rank = tl.zeros((ROOM,), dtype=tl.int32)
        for i in range(count):
            other = tl.load(found_ptr + i)
            rival = sort_key(tl.load(x_ptr + other * x_column_stride), SMALLEST).to(WORD)
            rank += ((rival > key) | ((rival == key) & (other < mine))).to(tl.int32)
        kept = (rooms < count) & (rank < k)
    else:
        # The greatest first: complements, in signed order.
        packed = ((key ^ tl.full((), 0x7FFFFFFF, tl.uint32)).to(tl.int64) << 32) | mine
        packed = tl.where(rooms < count, packed, tl.full((), (1 << 63) - 1, tl.int64))
        mine = (tl.sort(packed, 0) & 0xFFFFFFFF).to(tl.int32)
        rank = rooms
        kept = rooms < k
    place = target + rank * y_column_stride
    tl.store(y_ptr + place, tl.load(x_ptr + mine * x_column_stride, mask=kept), mask=kept)
    if MAPPED:
        index = tl.load(places_ptr + mine * x_column_stride, mask=kept)
    else:
        index = mine.to(tl.int64)
    tl.store(index_ptr + place, index, mask=kept)


def parts_of(x: Layout, n_rows: int, n_cols: int, k: int) -> int:
    """Into how many parts a row is cut; sizes decide, so results are the same on every run."""
    if n_cols < _LONG:
        return 1
    programs = _WAVES * hardware_of(x.device).multiprocessors
    return max(min(programs // n_rows, math.isqrt(n_cols // k)), 1)


def plan_parts(
    outputs: tuple[Layout, Layout], x: Layout, dim: int, k: int, *, largest: bool
) -> Plan:
    """launch(values, indices, x) of `plan_topk`, on a GPU."""
    from tritorch.runtime import get_target

    values, indices = outputs
    n_cols, rest = x.shape[dim], without(x.shape, dim)
    key = key_dtype(x.dtype)
    room = max(2 * next_power_of_2(k), 32)
    common: dict[str, Any] = {
        "k": k, "SMALLEST": not largest, "KEY": key.itemsize * 8, "ROOM": room,
        "BITS": max(min(x.dtype.itemsize, key.itemsize) * 8, 8),
    }  # fmt: skip
    n_rows = math.prod(rest)
    n_parts = parts_of(x, n_rows, n_cols, k)
    width = n_parts * k
    between = tuple(stride * width for stride in contiguous_strides(rest))
    given = without(x.strides, dim), x.strides[dim]
    result = without(values.strides, dim), values.strides[dim]
    operands: dict[str, Any] = {
        "y_ptr": values, "index_ptr": indices, "x_ptr": x, "places_ptr": dtypes.int64,
        "found_ptr": dtypes.int32,
    }  # fmt: skip

    def bind(to: Any, source: Any, n_cols: int, n_parts: int) -> tuple[Any, Any]:
        rows = levels("topk", rest, [to[0], source[0]])
        choice = topk_part.choose(x.device.type, dtype=x.dtype.name, n_cols=n_cols, k=k)
        numbers = common | choice | rows.values("y", "x") | {
            "n_cols": n_cols, "n_parts": n_parts, "y_column_stride": to[1],
            "x_column_stride": source[1], "MAPPED": source is not given,
        }  # fmt: skip
        return topk_part.bind(x.device, (n_rows * n_parts,), operands, numbers)

    target = get_target(x.device)
    candidates = n_rows * n_parts * room * 4
    if n_parts == 1:
        launch, compiled = bind(result, given, n_cols, 1)
        steps = [Step(launch, (0, 1, 2, 1, -1))]
        return Plan.of_steps(outputs, target, steps, [candidates], [compiled])
    first, of_parts = bind((between, 1), given, n_cols, n_parts)
    second, of_all = bind(result, (between, 1), width, 1)
    steps = [Step(first, (-2, -3, 2, 1, -1)), Step(second, (0, 1, -2, -3, -1))]
    sizes = [candidates, n_rows * width * x.dtype.itemsize, n_rows * width * 8]
    return Plan.of_steps(outputs, target, steps, sizes, [of_parts, of_all])
