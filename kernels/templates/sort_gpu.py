"""Stable sorting of long rows on GPUs: radix sort by digits of four bits, by all multiprocessors.

An element travels as one 64-bit word, its key above its place, so that a pass moves each with one
access. A pass takes three launches: blocks count their digits; the counts are added up along each
digit; blocks write their elements where those of their digit go. Rows of few blocks need no second
launch: every block adds up for itself. Keys of 64 bits take two rounds, the lower halves first.

Within a block an element's rank is a running sum: 64 elements share two 64-bit words of eight
counters of a byte each, so a scan of two words serves sixteen digits; groups of 64 are added up in
counters of 16 bits. A pass reads an element twice and writes it once, 24 bytes: 32-bit keys move
192 bytes an element in eight passes. Digits of eight bits would need half as many, but sixteen
times the counters, and every lane of a store would have a place of its own.

Values are made from keys again; zeros and nan, whose keys lost their signs, are read where they
were.
Source: Knuth, The Art of Computer Programming, volume 3, section 5.2.5; Merrill and Grimshaw, High
Performance and Scalable Radix Sorting, 2011 (several counters in one word).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tritorch import dtypes
from tritorch.kernels.plan import Plan, Step
from tritorch.kernels.templates.rows import ceil_divide, next_power_of_2, row_offset
from tritorch.kernels.templates.sort_keys import key_dtype, key_value, sort_key
from tritorch.kernels.templates.template import helper, kernel
from tritorch.layout import Layout

if TYPE_CHECKING:
    import triton.language as tl

#: up to so many blocks of a row every block adds up all counts for itself
FEW_BLOCKS = 64
#: where a pass finds its elements: packed; x, in order; x, through the places of the packed ones
PACKED, DIRECT, THROUGH = 0, 1, 2


@helper
def packed_elements(
    from_ptr, x_ptr, columns, n_cols, x_column_stride,
    SOURCE: tl.constexpr, DESCENDING: tl.constexpr,
):  # fmt: skip
    """The words of these columns; SOURCE as in `PACKED, DIRECT, THROUGH`."""
    mask = columns < n_cols
    if SOURCE == 0:
        packed = tl.load(from_ptr + columns, mask=mask, other=0)
    else:
        places = columns.to(tl.int64)
        if SOURCE == 2:
            places = tl.load(from_ptr + columns, mask=mask, other=0) & 0xFFFFFFFF
        key = sort_key(tl.load(x_ptr + places * x_column_stride, mask=mask), DESCENDING)
        if SOURCE == 2:
            key = key >> 32
        packed = (key.to(tl.int64) << 32) | places
    return packed


@helper
def digit_counters(digit, mask):
    """One in the counter of the digit: a byte of the first word for 0 to 7, else of the second."""
    one = tl.where(mask, tl.full((), 1, tl.int64) << ((digit & 7) * 8), 0)
    return tl.where(digit < 8, one, 0), tl.where(digit < 8, 0, one)


@helper
def wide_counters(low, high):
    """Counters of 16 bits from those of a byte: digits 0 2 4 6, 1 3 5 7, 8 10 12 14, 9 11 13 15."""
    every: tl.constexpr = 0x00FF00FF00FF00FF
    return low & every, (low >> 8) & every, high & every, (high >> 8) & every


@helper
def counter_of(digit, c0, c1, c2, c3):
    """The digit's counter of four words of `wide_counters`."""
    even = (digit & 1) == 0
    word = tl.where(digit < 8, tl.where(even, c0, c1), tl.where(even, c2, c3))
    return ((word >> ((digit & 6) * 8)) & 0xFFFF).to(tl.int32)


# Four elements a thread take 74 registers, so that three programs share a multiprocessor; 4096 in
# eight warps spill.
@kernel(
    space={"BLOCK": [1024, 2048, 4096], "num_warps": [4, 8, 16]},
    default={"BLOCK": 1024, "num_warps": 8},
    key=("n_cols", "dtype"),
)
def radix_scatter(
    y_ptr, index_ptr, to_ptr, table_ptr, counts_ptr, totals_ptr, from_ptr, x_ptr,
    n_cols, n_blocks, shift, size1, size2, size3,
    y_stride0, y_stride1, y_stride2, y_stride3, y_column_stride,
    x_stride0, x_stride1, x_stride2, x_stride3, x_column_stride,
    SOURCE: tl.constexpr, LAST: tl.constexpr, DESCENDING: tl.constexpr, BLOCKS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK elements of a row go where their digit (at bit `shift`) belongs.

    BLOCKS: all blocks of the row, where it is for this program to add up their counts; else 0.
    """
    program = tl.program_id(0)
    row = program // n_blocks
    block = program % n_blocks
    bins = tl.arange(0, 16)
    if BLOCKS:
        blocks = tl.arange(0, BLOCKS)[None, :]
        counts = tl.load(
            counts_ptr + (row * 16 + bins[:, None]) * n_blocks + blocks,
            mask=blocks < n_blocks, other=0,
        )  # fmt: skip
        total = tl.sum(counts, 1)
        before = tl.sum(tl.where(blocks < block, counts, 0), 1)
    else:
        before = tl.load(counts_ptr + (row * 16 + bins) * n_blocks + block)
        total = tl.load(totals_ptr + row * 16 + bins)
    table_ptr += program * 16
    tl.store(table_ptr + bins, tl.cumsum(total, 0) - total + before)
    tl.debug_barrier()

    from_ptr += row.to(tl.int64) * n_cols
    x_ptr += row_offset(row, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3)
    groups = tl.arange(0, BLOCK // 64)
    columns = block * BLOCK + groups[:, None] * 64 + tl.arange(0, 64)[None, :]
    mask = columns < n_cols
    packed = packed_elements(from_ptr, x_ptr, columns, n_cols, x_column_stride, SOURCE, DESCENDING)
    digit = ((packed >> shift) & 15).to(tl.int32)
    low, high = digit_counters(digit, mask)
    sums = tl.where(digit < 8, tl.cumsum(low, 1), tl.cumsum(high, 1))
    rank = ((sums >> ((digit & 7) * 8)) & 0xFF).to(tl.int32) - 1
    c0, c1, c2, c3 = wide_counters(tl.sum(low, 1), tl.sum(high, 1))
    c0 = (tl.cumsum(c0, 0) - c0)[:, None]
    c1 = (tl.cumsum(c1, 0) - c1)[:, None]
    c2 = (tl.cumsum(c2, 0) - c2)[:, None]
    c3 = (tl.cumsum(c3, 0) - c3)[:, None]
    place = tl.load(table_ptr + digit) + counter_of(digit, c0, c1, c2, c3) + rank
    if LAST:
        source = packed & 0xFFFFFFFF
        target = row_offset(row, size1, size2, size3, y_stride0, y_stride1, y_stride2, y_stride3)
        target += place.to(tl.int64) * y_column_stride
        if x_ptr.dtype.element_ty.primitive_bitwidth == 64:
            y = tl.load(x_ptr + source * x_column_stride, mask=mask)
        else:
            y, lost = key_value((packed >> 32).to(tl.uint32), x_ptr, DESCENDING)
            y = tl.where(
                lost, tl.load(x_ptr + source * x_column_stride, mask=mask & lost, other=0), y
            )
        tl.store(y_ptr + target, y, mask=mask)
        tl.store(index_ptr + target, source, mask=mask)
    else:
        tl.store(to_ptr + row.to(tl.int64) * n_cols + place, packed, mask=mask)


@kernel()
def radix_count(
    counts_ptr, from_ptr, x_ptr, n_cols, n_blocks, shift, size1, size2, size3,
    x_stride0, x_stride1, x_stride2, x_stride3, x_column_stride,
    SOURCE: tl.constexpr, DESCENDING: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """counts[row, digit, block]: how often the block has the digit at bit `shift`."""
    program = tl.program_id(0)
    row = program // n_blocks
    block = program % n_blocks
    from_ptr += row.to(tl.int64) * n_cols
    x_ptr += row_offset(row, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3)
    columns = tl.arange(0, BLOCK // 64)[:, None] * 64 + tl.arange(0, 64)[None, :] + block * BLOCK
    packed = packed_elements(from_ptr, x_ptr, columns, n_cols, x_column_stride, SOURCE, DESCENDING)
    digit = ((packed >> shift) & 15).to(tl.int32)
    low, high = digit_counters(digit, columns < n_cols)
    c0, c1, c2, c3 = wide_counters(tl.sum(low, 1), tl.sum(high, 1))
    bins = tl.arange(0, 16)
    count = counter_of(bins, tl.sum(c0, 0), tl.sum(c1, 0), tl.sum(c2, 0), tl.sum(c3, 0))
    tl.store(counts_ptr + (row * 16 + bins) * n_blocks + block, count)


@kernel()
def radix_offsets(counts_ptr, totals_ptr, n_blocks, BLOCK: tl.constexpr):
    """One program: the counts of one digit of one row become those of all blocks before."""
    counts_ptr += tl.program_id(0) * n_blocks
    total = tl.zeros((), dtype=tl.int32)
    for start in range(0, n_blocks, BLOCK):
        blocks = start + tl.arange(0, BLOCK)
        counts = tl.load(counts_ptr + blocks, mask=blocks < n_blocks, other=0)
        sums = tl.cumsum(counts, 0)
        tl.store(counts_ptr + blocks, total + sums - counts, mask=blocks < n_blocks)
        total += tl.sum(counts, 0)
    tl.store(totals_ptr + tl.program_id(0), total)


def plan_radix(
    outputs: tuple[Layout, Layout], x: Layout, n_rows: int, operands: dict[str, Any], numbers: Any
) -> Plan:
    """launch(values, indices, x); `operands` and `numbers` as `plan_sort` makes them."""
    from tritorch.runtime import get_target

    n_cols = numbers["n_cols"]
    choice = radix_scatter.choose(x.device.type, dtype=x.dtype.name, n_cols=n_cols)
    block = choice["BLOCK"]
    n_blocks = ceil_divide(n_cols, block)
    few = n_blocks <= FEW_BLOCKS
    numbers = numbers | choice | {"n_blocks": n_blocks}
    words = {"from_ptr": dtypes.int64, "counts_ptr": dtypes.int32}
    to = {"to_ptr": dtypes.int64, "table_ptr": dtypes.int32, "totals_ptr": dtypes.int32}
    counted = {
        name: value for name, value in numbers.items()
        if name in radix_count.parameters or name == "num_warps"
    }  # fmt: skip
    count_operands = {**words, "x_ptr": operands["x_ptr"]}
    bits = 4 if x.dtype is dtypes.bool else min(x.dtype.itemsize, 4) * 8
    # (shift, source) of each pass; keys stand in the upper half of a word
    passes = [(32 + bit, PACKED) for bit in range(0, bits, 4)]
    if key_dtype(x.dtype) is dtypes.uint64:
        passes = [*passes, (32, THROUGH), *passes[1:]]
    passes[0] = (32, DIRECT)

    grid = (n_rows * n_blocks,)
    steps, kernels = [], []
    # Workspaces: packed elements, counts, bases of the blocks, totals of the digits. The memory of
    # the indices holds the elements of every second pass, so that the last does not read it.
    packed, counts, table, totals = -1, -2, -3, -4
    held = packed
    for turn, (shift, source) in enumerate(passes):
        last = turn == len(passes) - 1
        other = packed if (len(passes) - turn) % 2 == 0 else 1
        facts = {"SOURCE": source, "shift": shift}
        launch, compiled = radix_count.bind(x.device, grid, count_operands, counted | facts)
        steps.append(Step(launch, (counts, held, 2)))
        kernels.append(compiled)
        if not few:
            offsets = {"n_blocks": n_blocks, "BLOCK": min(next_power_of_2(n_blocks), 4096)}
            offsets["num_warps"] = 8
            launch, compiled = radix_offsets.bind(
                x.device, (n_rows * 16,), {"counts_ptr": dtypes.int32, "totals_ptr": dtypes.int32},
                offsets,
            )  # fmt: skip
            steps.append(Step(launch, (counts, totals)))
            kernels.append(compiled)
        facts |= {"LAST": last, "BLOCKS": next_power_of_2(n_blocks) if few else 0}
        launch, compiled = radix_scatter.bind(
            x.device, grid, operands | words | to, numbers | facts
        )
        steps.append(Step(launch, (0, 1, other, table, counts, totals, held, 2)))
        kernels.append(compiled)
        held = other
    workspaces = [
        n_rows * n_cols * 8,
        n_rows * 16 * n_blocks * 4,
        n_rows * n_blocks * 64,
        n_rows * 64,
    ]
    target = get_target(x.device)
    return Plan.of_steps(outputs, target, steps, workspaces, list(dict.fromkeys(kernels)))
