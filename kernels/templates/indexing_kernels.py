"""The kernels of `indexing`: reads and writes through an index, in parallel or in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tritorch.kernels.templates.bounds import report_index
from tritorch.kernels.templates.rows import (
    ceil_divide,
    next_power_of_2,
    row_offset,
    to_compute,
)
from tritorch.kernels.templates.template import helper, kernel

if TYPE_CHECKING:
    import triton.language as tl


def _block(*, target: str, n_rest: int) -> dict[str, Any]:
    """A rest of 16 elements or more (a GPU: as many as a warp reads at once) is a vector of its
    own; else lanes are index elements. A GPU's threads have four each: additions of float32 go to
    memory four at a time.
    """
    flat = n_rest < (16 if target == "cpu" else 128)
    if target != "cpu":
        block = 512 if flat else min(next_power_of_2(n_rest), 1024)
        return {"BLOCK": block, "FLAT": flat, "num_warps": block // 128}
    return {"BLOCK": 1024 if flat else min(next_power_of_2(n_rest), 1024), "FLAT": flat}


def _lanes(*, target: str, n_lanes: int, neighbours: bool) -> dict[str, Any]:
    """As wide as leaves two programs for each thread: wide ones read whole rows of the source.

    What a lane gets does not depend on the width, so results do not depend on the threads.
    """
    if target != "cpu":
        return {"BLOCK": min(next_power_of_2(n_lanes), 128)}
    if not (neighbours and n_lanes >= 8):
        return {"BLOCK": 0}
    from tritorch.runtime import get_num_threads

    threads = get_num_threads()
    share = n_lanes if threads == 1 else ceil_divide(n_lanes, 2 * threads)
    return {"BLOCK": min(max(next_power_of_2(share), 16), 256)}


@helper
def wrapped(index, bound, lift, cell_ptr, counts, WRAP: tl.constexpr, VECTOR: tl.constexpr):
    """The index from the start, and whether it is valid; wrong ones that count are reported.

    `lift` is added to negative ones: bound where they count from the end, 0 where they are wrong.
    """
    index = index.to(tl.int64)
    if WRAP:
        place = tl.where(index < 0, index + lift, index)
        valid = (place >= 0) & (place < bound)
        if VECTOR:
            report_index(cell_ptr, index, valid | (counts == 0))
        else:
            if not valid:
                tl.store(cell_ptr, index)
    else:
        place = index
        valid = index == index
    return place, valid


@helper
def meet(old, new, MODE: tl.constexpr):
    """What stands where `new` meets `old`; nan wins in amax and amin."""
    if MODE == "add":
        result = old + new
    elif MODE == "multiply":
        result = old * new
    elif MODE == "amax":
        result = tl.where((new > old) | (new != new), new, old)
    elif MODE == "amin":
        result = tl.where((new < old) | (new != new), new, old)
    else:
        result = new
    return result


@kernel(space={"BLOCK": [256, 1024, 4096]}, default={"BLOCK": 1024})
def combine_index(
    offsets_ptr, index_ptr, cell_ptr, n_index, bound, step, size1, size2, size3,
    index_stride0, index_stride1, index_stride2, index_stride3,
    FIRST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """offsets[i] (+)= index[i] * step, in elements; a wrong index is reported and counts as 0."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = i < n_index
    place = row_offset(
        i, size1, size2, size3, index_stride0, index_stride1, index_stride2, index_stride3
    )
    index = tl.load(index_ptr + place, mask=mask, other=0)
    index, valid = wrapped(index, bound, bound, cell_ptr, mask, True, True)
    offset = tl.where(valid, index, 0) * step
    if not FIRST:
        offset += tl.load(offsets_ptr + i, mask=mask, other=0)
    tl.store(offsets_ptr + i, offset, mask=mask)


@kernel(space={"BLOCK": [64, 256, 1024, 4096]}, default=_block, key=("n_rest", "dtype"))
def read_indexed(
    y_ptr, x_ptr, index_ptr, cell_ptr, n_index, rest_size, n_blocks, bound, lift, step,
    size1, size2, size3, rest_size1, rest_size2, rest_size3,
    y_stride0, y_stride1, y_stride2, y_stride3, x_stride0, x_stride1, x_stride2, x_stride3,
    index_stride0, index_stride1, index_stride2, index_stride3,
    rest_y_stride0, rest_y_stride1, rest_y_stride2, rest_y_stride3,
    rest_x_stride0, rest_x_stride1, rest_x_stride2, rest_x_stride3,
    WRAP: tl.constexpr, FLAT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """FLAT: one program, BLOCK elements. Else: one index element, BLOCK elements of the rest."""
    if FLAT:
        element = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        i = element // rest_size
        rest = element % rest_size
        mask = i < n_index
    else:
        i = tl.program_id(0) // n_blocks
        rest = (tl.program_id(0) % n_blocks) * BLOCK + tl.arange(0, BLOCK)
        mask = rest < rest_size
    index_ptr += row_offset(
        i, size1, size2, size3, index_stride0, index_stride1, index_stride2, index_stride3
    )
    if FLAT:
        index = tl.load(index_ptr, mask=mask, other=0)
    else:
        index = tl.load(index_ptr)
    index, valid = wrapped(index, bound, lift, cell_ptr, mask, WRAP, FLAT)
    if WRAP:
        mask = mask & valid
    source = index * step
    source += row_offset(i, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3)
    source += row_offset(
        rest, rest_size1, rest_size2, rest_size3,
        rest_x_stride0, rest_x_stride1, rest_x_stride2, rest_x_stride3,
    )  # fmt: skip
    place = row_offset(i, size1, size2, size3, y_stride0, y_stride1, y_stride2, y_stride3)
    place += row_offset(
        rest, rest_size1, rest_size2, rest_size3,
        rest_y_stride0, rest_y_stride1, rest_y_stride2, rest_y_stride3,
    )  # fmt: skip
    tl.store(y_ptr + place, tl.load(x_ptr + source, mask=mask), mask=mask)


def _columns(*, target: str, n_columns: int) -> dict[str, Any]:
    """Short blocks: the check of the next one overlaps the reads of this one."""
    return {"BLOCK": min(next_power_of_2(n_columns), 128)}


@kernel(space={"BLOCK": [64, 128, 256, 1024]}, default=_columns, key=("n_columns", "dtype"))
def read_columns(
    y_ptr, x_ptr, index_ptr, cell_ptr, n_columns, n_blocks, bound, lift, step_size,
    size1, size2, size3,
    y_stride0, y_stride1, y_stride2, y_stride3, y_column_stride,
    x_stride0, x_stride1, x_stride2, x_stride3, x_column_stride,
    index_stride0, index_stride1, index_stride2, index_stride3, index_column_stride,
    WRAP: tl.constexpr, NARROW: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK index elements of one row, one element of x each.

    Where all indices are within 0..bound-1, one comparison for all of them is the whole check.
    NARROW: 32 bits hold every offset.
    """
    row = tl.program_id(0) // n_blocks
    columns = (tl.program_id(0) % n_blocks).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = columns < n_columns
    index_ptr += row_offset(
        row, size1, size2, size3, index_stride0, index_stride1, index_stride2, index_stride3
    )
    y_ptr += row_offset(row, size1, size2, size3, y_stride0, y_stride1, y_stride2, y_stride3)
    x_ptr += row_offset(row, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3)
    index = tl.load(index_ptr + columns * index_column_stride, mask=mask, other=0).to(tl.int64)
    inside = True
    if WRAP:
        inside = tl.max(index.to(tl.uint64, bitcast=True), 0) < tl.cast(bound, tl.uint64)
    if inside:
        if NARROW:
            offset = index.to(tl.int32) * step_size
        else:
            offset = index * step_size
        x = tl.load(x_ptr + columns * x_column_stride + offset, mask=mask)
        tl.store(y_ptr + columns * y_column_stride, x, mask=mask)
    else:
        place, valid = wrapped(index, bound, lift, cell_ptr, mask, True, True)
        x = tl.load(
            x_ptr + columns * x_column_stride + place * step_size, mask=mask & valid, other=0
        )
        tl.store(y_ptr + columns * y_column_stride, x, mask=mask & valid)


@helper
def atomic_extreme(pointers, value, mask, MODE: tl.constexpr):
    """The greater or smaller one of what stands there and a value; nan if either is.

    Floats are compared by their bits: of those of nan, with one sign, all that are greater than the
    infinity of that sign are the utmost, and stay whatever comes. What stood there may be a nan of
    the other sign, which was overwritten: then it is written again.
    """
    if value.dtype.is_floating():
        WORD: tl.constexpr = tl.int64 if value.dtype.primitive_bitwidth == 64 else tl.int32
        bits = tl.full((), -1, WORD)
        if MODE == "amax":
            bits = bits ^ (tl.full((), 1, WORD) << (WORD.primitive_bitwidth - 1))
        utmost = bits.to(value.dtype, bitcast=True)
        value = tl.where(value == value, value, utmost)
        if MODE == "amax":
            before = tl.atomic_max(pointers, value, mask=mask, sem="relaxed")
        else:
            before = tl.atomic_min(pointers, value, mask=mask, sem="relaxed")
        tl.store(pointers, tl.broadcast_to(utmost, value.shape), mask=mask & (before != before))
    elif MODE == "amax":
        tl.atomic_max(pointers, value, mask=mask, sem="relaxed")
    else:
        tl.atomic_min(pointers, value, mask=mask, sem="relaxed")


@kernel(space={"BLOCK": [64, 256, 1024, 4096]}, default=_block, key=("n_rest", "dtype"))
def write_indexed(
    x_ptr, index_ptr, source_ptr, cell_ptr, n_index, rest_size, n_blocks, bound, lift, step,
    size1, size2, size3, rest_size1, rest_size2, rest_size3,
    x_stride0, x_stride1, x_stride2, x_stride3,
    index_stride0, index_stride1, index_stride2, index_stride3,
    source_stride0, source_stride1, source_stride2, source_stride3,
    rest_x_stride0, rest_x_stride1, rest_x_stride2, rest_x_stride3,
    rest_source_stride0, rest_source_stride1, rest_source_stride2, rest_source_stride3,
    MODE: tl.constexpr, WRAP: tl.constexpr, FLAT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The reverse of read_indexed: writes, or atomic additions and extremes."""
    if FLAT:
        element = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        i = element // rest_size
        rest = element % rest_size
        mask = i < n_index
    else:
        i = tl.program_id(0) // n_blocks
        rest = (tl.program_id(0) % n_blocks) * BLOCK + tl.arange(0, BLOCK)
        mask = rest < rest_size
    index_ptr += row_offset(
        i, size1, size2, size3, index_stride0, index_stride1, index_stride2, index_stride3
    )
    if FLAT:
        index = tl.load(index_ptr, mask=mask, other=0)
    else:
        index = tl.load(index_ptr)
    index, valid = wrapped(index, bound, lift, cell_ptr, mask, WRAP, FLAT)
    if WRAP:
        mask = mask & valid
    source = row_offset(
        i, size1, size2, size3, source_stride0, source_stride1, source_stride2, source_stride3
    )
    source += row_offset(
        rest, rest_size1, rest_size2, rest_size3,
        rest_source_stride0, rest_source_stride1, rest_source_stride2, rest_source_stride3,
    )  # fmt: skip
    place = index * step
    place += row_offset(i, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3)
    place += row_offset(
        rest, rest_size1, rest_size2, rest_size3,
        rest_x_stride0, rest_x_stride1, rest_x_stride2, rest_x_stride3,
    )  # fmt: skip
    value = tl.load(source_ptr + source, mask=mask).to(x_ptr.dtype.element_ty)
    if MODE == "add":
        tl.atomic_add(x_ptr + place, value, mask=mask, sem="relaxed")
    elif MODE == "amax" or MODE == "amin":
        atomic_extreme(x_ptr + place, value, mask, MODE)
    else:
        tl.store(x_ptr + place, value, mask=mask)


@helper
def meet_at(pointer, source, MODE: tl.constexpr):
    """One value meets what stands at a place, in scalars."""
    value = tl.load(source)
    if MODE != "set":
        old = to_compute(tl.load(pointer))
        value = meet(old, to_compute(value).to(old.dtype), MODE)
    tl.store(pointer, value.to(pointer.dtype.element_ty))


@helper
def meet_lanes(pointers, sources, mask, MODE: tl.constexpr, THREADS: tl.constexpr):
    """One value per lane meets what stands at the lane's place.

    THREADS: a GPU's; who reads a place may be another one than who wrote it before.
    """
    value = tl.load(sources, mask=mask, other=0)
    if MODE != "set":
        old = to_compute(tl.load(pointers, mask=mask, other=0))
        value = meet(old, to_compute(value).to(old.dtype), MODE)
    tl.store(pointers, value.to(pointers.dtype.element_ty), mask=mask)
    if THREADS and MODE != "set":
        tl.debug_barrier()


@kernel(space={"BLOCK": [16, 64, 256]}, default=_lanes, key=("n_lanes", "neighbours", "dtype"))
def write_in_order(
    x_ptr, index_ptr, source_ptr, cell_ptr, n_sequence, part_size, part_stride, n_lanes, bound,
    lift, step_size, size1, size2, size3, lane_size1, lane_size2, lane_size3,
    index_stride0, index_stride1, index_stride2, index_stride3,
    source_stride0, source_stride1, source_stride2, source_stride3,
    lane_x_stride0, lane_x_stride1, lane_x_stride2, lane_x_stride3,
    lane_index_stride0, lane_index_stride1, lane_index_stride2, lane_index_stride3,
    lane_source_stride0, lane_source_stride1, lane_source_stride2, lane_source_stride3,
    MODE: tl.constexpr, WRAP: tl.constexpr, UNIFORM: tl.constexpr, THREADS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK lanes that never meet, a part of the sequence of indices in order.

    UNIFORM: all lanes have the same index. BLOCK 0: one lane, in scalars, which is faster than
    vectors where neighbouring lanes are not neighbours in memory.
    """
    part = tl.program_id(1)
    x_ptr += part * part_stride
    if BLOCK == 0:
        lane = tl.program_id(0)
    else:
        lane = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        lanes = lane < n_lanes
    x_ptr += row_offset(
        lane, lane_size1, lane_size2, lane_size3,
        lane_x_stride0, lane_x_stride1, lane_x_stride2, lane_x_stride3,
    )  # fmt: skip
    source_ptr += row_offset(
        lane, lane_size1, lane_size2, lane_size3,
        lane_source_stride0, lane_source_stride1, lane_source_stride2, lane_source_stride3,
    )  # fmt: skip
    lane_index = row_offset(
        lane, lane_size1, lane_size2, lane_size3,
        lane_index_stride0, lane_index_stride1, lane_index_stride2, lane_index_stride3,
    )  # fmt: skip
    limit = tl.cast(bound, tl.uint64)
    for i in range(part * part_size, tl.minimum((part + 1) * part_size, n_sequence)):
        place = row_offset(
            i, size1, size2, size3, index_stride0, index_stride1, index_stride2, index_stride3
        )
        source = row_offset(
            i, size1, size2, size3, source_stride0, source_stride1, source_stride2, source_stride3
        )
        if BLOCK == 0:
            index = tl.load(index_ptr + place + lane_index).to(tl.int64)
            inside = True
            if WRAP:
                inside = index.to(tl.uint64, bitcast=True) < limit
            if inside:
                meet_at(x_ptr + index * step_size, source_ptr + source, MODE)
            else:
                from_end = index + lift
                if from_end.to(tl.uint64, bitcast=True) < limit:
                    meet_at(x_ptr + from_end * step_size, source_ptr + source, MODE)
                else:
                    tl.store(cell_ptr, index)
        elif UNIFORM:
            index, valid = wrapped(
                tl.load(index_ptr + place), bound, lift, cell_ptr, 0, WRAP, False
            )
            if valid:
                meet_lanes(x_ptr + index * step_size, source_ptr + source, lanes, MODE, THREADS)
        else:
            index = tl.load(index_ptr + place + lane_index, mask=lanes, other=0)
            index, valid = wrapped(index, bound, lift, cell_ptr, lanes, WRAP, True)
            mask = lanes
            if WRAP:
                mask = lanes & valid
            meet_lanes(x_ptr + index * step_size, source_ptr + source, mask, MODE, THREADS)


@kernel(space={"BLOCK": [256, 1024]}, default={"BLOCK": 1024}, key=("dtype",))
def add_parts(
    x_ptr, parts_ptr, n_places, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3,
    PARTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """x += the sums of all parts, in their order."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = i < n_places
    total = tl.load(parts_ptr + i, mask=mask, other=0)
    for part in tl.static_range(1, PARTS):
        total += tl.load(parts_ptr + part * n_places + i, mask=mask, other=0)
    place = row_offset(i, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3)
    x = to_compute(tl.load(x_ptr + place, mask=mask, other=0))
    tl.store(x_ptr + place, (x + total).to(x_ptr.dtype.element_ty), mask=mask)
