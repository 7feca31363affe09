"""Stable sorting of long rows on GPUs: radix sort by digits of four bits, by all multiprocessors.

An element travels as one 64-bit word, its key above its place, so that a pass moves each with one
access. A pass takes three launches: blocks count their digits; the counts are added up along each
digit; blocks write their elements where those of their digit go. Rows of few blocks need no second
launch: every block adds up for itself. Keys of 64 bits take two rounds, the lower halves first.

Within a block a thread has four neighbours at a time. What it has of the sixteen digits are bytes
of four 32-bit words, which are added up along the 32 threads of a group (128 elements: no byte
overflows), then in wider counters along the groups of the block.

Integers of 32 and 64 bits are sorted by what they are above the least of their row: passes above
the bits of the greatest difference end at once.

Values are made from keys again; zeros and nan, whose keys lost their signs, are read where they
were.

Predicted, for sm_90 (nothing was measured): a pass reads an element twice and writes it once, 24
bytes; eight passes of 32-bit keys move 16 + 6 x 24 + 28 = 188 bytes an element, CUB's one-sweep
sort of PyTorch's (4-byte key, 8-byte index) 8 + 4 + 4 x 24 = 108. Machine code of Triton 3.6 has 82
instructions of a warp for 32 elements of a pass, 45 more for the count (the text before had 176 and
78): 140 us for a pass of 16M elements, were half of the issue slots used; memory alone 93. So 1.2
ms, about 0.75 of PyTorch's speed, were that 0.9 ms. Digits of eight bits would halve the traffic,
but a rank among 256 digits needs votes of warps, which Triton has none of: sorting a block by its
digits with a bitonic network takes 220 instructions.
Source: Knuth, The Art of Computer Programming, volume 3, section 5.2.5; Merrill and Grimshaw, High
Performance and Scalable Radix Sorting, 2011 (several counters in one word).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tritorch import dtypes
from tritorch.dtypes import dtype as Dtype
from tritorch.kernels import scalar as s
from tritorch.kernels.plan import Plan, Step
from tritorch.kernels.reduction import ReductionKernel
from tritorch.kernels.templates.rows import ceil_divide, next_power_of_2, row_offset
from tritorch.kernels.templates.sort_keys import key_value, sort_key
from tritorch.kernels.templates.template import Template, helper, kernel
from tritorch.layout import Layout

if TYPE_CHECKING:
    import triton.language as tl

#: up to so many blocks of a row every block adds up all counts for itself
FEW_BLOCKS = 32
#: where a pass finds its elements: packed; x, in order; x, through the places of the packed ones;
#: x, in order, bits 30 to 61
PACKED, DIRECT, THROUGH, UPPER = range(4)

#: the least and the greatest element, in one pass
value_range = ReductionKernel(
    "range", ["x"], lambda x: (x, x), ("highest", "lowest"),
    lambda a, b: (s.minimum(a[0], b[0]), s.maximum(a[1], b[1])),
)  # fmt: skip


@helper
def row_range(least_ptr, greatest_ptr, row, RANGED: tl.constexpr):
    """The least and the greatest element of the row, where they are known, and what is between."""
    if RANGED:
        least = tl.load(least_ptr + row).to(tl.int64)
        greatest = tl.load(greatest_ptr + row).to(tl.int64)
    else:
        least = tl.full((), 0, tl.int64)
        greatest = least - 1
    return least, greatest, (greatest - least).to(tl.uint64, bitcast=True)


@helper
def packed_elements(
    from_ptr, x_ptr, columns, n_cols, x_column_stride, least, greatest,
    SOURCE: tl.constexpr, DESCENDING: tl.constexpr, RANGED: tl.constexpr,
):  # fmt: skip
    """The words of these columns; SOURCE as in `PACKED, DIRECT, THROUGH, UPPER`."""
    mask = columns < n_cols
    if SOURCE == 0:
        packed = tl.load(from_ptr + columns, mask=mask, other=0)
    else:
        places = columns.to(tl.int64)
        if SOURCE == 2:
            places = tl.load(from_ptr + columns, mask=mask, other=0) & 0xFFFFFFFF
        x = tl.load(x_ptr + places * x_column_stride, mask=mask, other=0)
        if SOURCE == 3:
            key = x >> 30
        elif RANGED:
            above = greatest - x.to(tl.int64) if DESCENDING else x.to(tl.int64) - least
            key = above.to(tl.uint64, bitcast=True)
        else:
            key = sort_key(x, DESCENDING)
        if SOURCE == 2:
            key = key >> 32
        packed = (key.to(tl.int64) << 32) | places
    return packed


@helper
def digit_at(packed, shift):
    """The digit at bit `shift` of the key; of the upper half alone, which is a register."""
    return ((packed >> 32).to(tl.int32) >> shift.to(tl.int32)) & 15


@helper
def digit_counters(digit, mask):
    """One in the counter of the digit: four words of 32 bits, four counters of a byte in each."""
    one = tl.where(mask, tl.full((), 1, tl.int32) << ((digit & 3) * 8), 0)
    word = digit >> 2
    return (
        tl.where(word == 0, one, 0),
        tl.where(word == 1, one, 0),
        tl.where(word == 2, one, 0),
        tl.where(word == 3, one, 0),
    )


@helper
def counter_of(digit, c0, c1, c2, c3):
    """The digit's counter of the four words."""
    word = tl.where(digit < 8, tl.where(digit < 4, c0, c1), tl.where(digit < 12, c2, c3))
    return (word >> ((digit & 3) * 8)) & 255


@helper
def threads_of(counters):
    """The counters by groups of 32 threads."""
    return tl.reshape(counters, [counters.numel // 32, 32])


@helper
def threads_before(counters):
    """What the threads of the group that are before this one have together."""
    sums = tl.cumsum(threads_of(counters), 1)
    return tl.reshape(sums, [counters.numel]) - counters


@helper
def put_element(
    y_ptr, index_ptr, to_ptr, x_ptr, packed, place, mask, y_column_stride, x_column_stride,
    LAST: tl.constexpr, DESCENDING: tl.constexpr,
):  # fmt: skip
    """An element goes where it belongs: as its word, or LAST as what it stands for."""
    if LAST:
        source = packed & 0xFFFFFFFF
        target = place.to(tl.int64) * y_column_stride
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
        tl.store(to_ptr + place, packed, mask=mask)


@helper
def scatter_block(
    y_ptr, index_ptr, to_ptr, counts_ptr, totals_ptr, from_ptr, x_ptr, row, block, least, greatest,
    n_cols, n_blocks, shift, size1, size2, size3,
    y_stride0, y_stride1, y_stride2, y_stride3, y_column_stride,
    x_stride0, x_stride1, x_stride2, x_stride3, x_column_stride,
    SOURCE: tl.constexpr, LAST: tl.constexpr, DESCENDING: tl.constexpr, RANGED: tl.constexpr,
    BLOCKS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """What `radix_scatter` does where the pass is one."""
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
    base = tl.cumsum(total, 0) - total + before

    from_ptr += row.to(tl.int64) * n_cols
    to_ptr += row.to(tl.int64) * n_cols
    x_ptr += row_offset(row, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3)
    target = row_offset(row, size1, size2, size3, y_stride0, y_stride1, y_stride2, y_stride3)
    y_ptr += target
    index_ptr += target
    # Four neighbours for each thread, so 128 elements for a group of 32. In one dimension: in two
    # Triton 3.6 deals out the elements along the groups.
    thread = tl.arange(0, BLOCK // 4)
    i0 = block * BLOCK + thread * 4
    i1 = i0 + 1
    i2 = i0 + 2
    i3 = i0 + 3
    p0 = packed_elements(from_ptr, x_ptr, i0, n_cols, x_column_stride, least, greatest,
                         SOURCE, DESCENDING, RANGED)  # fmt: skip
    p1 = packed_elements(from_ptr, x_ptr, i1, n_cols, x_column_stride, least, greatest,
                         SOURCE, DESCENDING, RANGED)  # fmt: skip
    p2 = packed_elements(from_ptr, x_ptr, i2, n_cols, x_column_stride, least, greatest,
                         SOURCE, DESCENDING, RANGED)  # fmt: skip
    p3 = packed_elements(from_ptr, x_ptr, i3, n_cols, x_column_stride, least, greatest,
                         SOURCE, DESCENDING, RANGED)  # fmt: skip
    d0 = digit_at(p0, shift)
    d1 = digit_at(p1, shift)
    d2 = digit_at(p2, shift)
    d3 = digit_at(p3, shift)
    a0, b0, c0, e0 = digit_counters(d0, i0 < n_cols)
    a1, b1, c1, e1 = digit_counters(d1, i1 < n_cols)
    a2, b2, c2, e2 = digit_counters(d2, i2 < n_cols)
    a3, b3, c3, e3 = digit_counters(d3, i3 < n_cols)
    # what the thread has of each digit, in the group, in the threads before
    a = a0 + a1 + a2 + a3
    b = b0 + b1 + b2 + b3
    c = c0 + c1 + c2 + c3
    e = e0 + e1 + e2 + e3
    digits = tl.arange(0, 16)[None, :]
    count = counter_of(
        digits, tl.sum(threads_of(a), 1)[:, None], tl.sum(threads_of(b), 1)[:, None],
        tl.sum(threads_of(c), 1)[:, None], tl.sum(threads_of(e), 1)[:, None],
    )  # fmt: skip
    # where the first element of each group with each digit goes
    table = tl.reshape(tl.cumsum(count, 0) - count + base[None, :], [BLOCK // 8])
    first = thread // 32 * 16
    a = threads_before(a)
    b = threads_before(b)
    c = threads_before(c)
    e = threads_before(e)
    to0 = tl.gather(table, first + d0, 0) + counter_of(d0, a, b, c, e)
    a += a0
    b += b0
    c += c0
    e += e0
    to1 = tl.gather(table, first + d1, 0) + counter_of(d1, a, b, c, e)
    a += a1
    b += b1
    c += c1
    e += e1
    to2 = tl.gather(table, first + d2, 0) + counter_of(d2, a, b, c, e)
    to3 = tl.gather(table, first + d3, 0) + counter_of(d3, a + a2, b + b2, c + c2, e + e2)
    put_element(y_ptr, index_ptr, to_ptr, x_ptr, p0, to0, i0 < n_cols,
                y_column_stride, x_column_stride, LAST, DESCENDING)  # fmt: skip
    put_element(y_ptr, index_ptr, to_ptr, x_ptr, p1, to1, i1 < n_cols,
                y_column_stride, x_column_stride, LAST, DESCENDING)  # fmt: skip
    put_element(y_ptr, index_ptr, to_ptr, x_ptr, p2, to2, i2 < n_cols,
                y_column_stride, x_column_stride, LAST, DESCENDING)  # fmt: skip
    put_element(y_ptr, index_ptr, to_ptr, x_ptr, p3, to3, i3 < n_cols,
                y_column_stride, x_column_stride, LAST, DESCENDING)  # fmt: skip


@kernel(
    space={"BLOCK": [1024, 2048, 4096], "num_warps": [4, 8, 16]},
    default={"BLOCK": 2048, "num_warps": 8},
    key=("n_cols", "dtype"),
)
def radix_scatter(
    y_ptr, index_ptr, to_ptr, counts_ptr, totals_ptr, least_ptr, greatest_ptr, from_ptr, x_ptr,
    n_cols, n_blocks, shift, shift_whole, size1, size2, size3,
    y_stride0, y_stride1, y_stride2, y_stride3, y_column_stride,
    x_stride0, x_stride1, x_stride2, x_stride3, x_column_stride,
    SOURCE: tl.constexpr, LAST: tl.constexpr, DESCENDING: tl.constexpr, RANGED: tl.constexpr,
    BLOCKS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK elements of a row go where their digit (at bit `shift`) belongs.

    BLOCKS: all blocks of the row, where it is for this program to add up their counts; else 0.
    RANGED: keys are differences of the row's least (or greatest) element; passes above their bits
    (the pass is at bit `shift_whole` of a whole key) do nothing.
    """
    program = tl.program_id(0)
    row = program // n_blocks
    block = program % n_blocks
    least, greatest, between = row_range(least_ptr, greatest_ptr, row, RANGED)
    if (SOURCE == 1) or ((between >> shift_whole.to(tl.uint64)) != 0):
        scatter_block(
            y_ptr, index_ptr, to_ptr, counts_ptr, totals_ptr, from_ptr, x_ptr, row, block,
            least, greatest, n_cols, n_blocks, shift, size1, size2, size3,
            y_stride0, y_stride1, y_stride2, y_stride3, y_column_stride,
            x_stride0, x_stride1, x_stride2, x_stride3, x_column_stride,
            SOURCE, LAST, DESCENDING, RANGED, BLOCKS, BLOCK,
        )  # fmt: skip


@kernel()
def radix_count(
    counts_ptr, least_ptr, greatest_ptr, from_ptr, x_ptr, n_cols, n_blocks, shift, shift_whole,
    size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3, x_column_stride,
    SOURCE: tl.constexpr, DESCENDING: tl.constexpr, RANGED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """counts[row, digit, block]: how often the block has the digit at bit `shift`."""
    program = tl.program_id(0)
    row = program // n_blocks
    block = program % n_blocks
    least, greatest, between = row_range(least_ptr, greatest_ptr, row, RANGED)
    if (SOURCE == 1) or ((between >> shift_whole.to(tl.uint64)) != 0):
        from_ptr += row.to(tl.int64) * n_cols
        x_ptr += row_offset(row, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3)
        columns = block * BLOCK + tl.arange(0, BLOCK)
        packed = packed_elements(from_ptr, x_ptr, columns, n_cols, x_column_stride, least, greatest,
                                 SOURCE, DESCENDING, RANGED)  # fmt: skip
        count = tl.histogram(digit_at(packed, shift), 16, mask=columns < n_cols)
        tl.store(counts_ptr + (row * 16 + tl.arange(0, 16)) * n_blocks + block, count)


@kernel(default={"BLOCK": 1024})
def radix_emit(
    y_ptr, index_ptr, least_ptr, greatest_ptr, even_ptr, odd_ptr, x_ptr,
    n_cols, n_blocks, size1, size2, size3,
    y_stride0, y_stride1, y_stride2, y_stride3, y_column_stride,
    x_stride0, x_stride1, x_stride2, x_stride3, x_column_stride,
    DESCENDING: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Elements of a row as they came out of its last pass: of the odd passes or of the even ones.

    What is less than 2^32 from the least (or greatest) is made from its key, else read.
    """
    row = tl.program_id(0) // n_blocks
    columns = (tl.program_id(0) % n_blocks) * BLOCK + tl.arange(0, BLOCK)
    mask = columns < n_cols
    least, greatest, between = row_range(least_ptr, greatest_ptr, row, True)
    turns = tl.full((), 1, tl.int32)
    for digit in tl.static_range(1, 16):
        turns += ((between >> (4 * digit)) != 0).to(tl.int32)
    odd = turns % 2 == 1
    place = row.to(tl.int64) * n_cols + columns
    packed = tl.load(odd_ptr + place, mask=mask & odd, other=0)
    packed |= tl.load(even_ptr + place, mask=mask & (odd == 0), other=0)
    source = packed & 0xFFFFFFFF
    key = (packed >> 32) & 0xFFFFFFFF
    x_ptr += row_offset(row, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3)
    far = (between >> 32) != 0
    x = tl.load(x_ptr + source * x_column_stride, mask=mask & far, other=0).to(tl.int64)
    y = tl.where(far, x, greatest - key if DESCENDING else least + key)
    target = row_offset(row, size1, size2, size3, y_stride0, y_stride1, y_stride2, y_stride3)
    target += columns.to(tl.int64) * y_column_stride
    tl.store(y_ptr + target, y.to(y_ptr.dtype.element_ty), mask=mask)
    tl.store(index_ptr + target, source, mask=mask)


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


def _passes(kind: Dtype, bits: int | None) -> list[tuple[int, int]]:
    """(shift, source) of each pass; the last bits of keys of 64 are a round for themselves."""
    width = 4 if kind is dtypes.bool else kind.itemsize * 8
    width = min(width, bits or width)
    passes = [(bit, PACKED) for bit in range(0, min(width, 32), 4)]
    passes[0] = (0, DIRECT)
    if width > 32:
        passes += [(0, THROUGH), *((bit, PACKED) for bit in range(4, width - 32, 4))]
    return passes


def plan_radix(
    outputs: tuple[Layout, Layout],
    x: Layout,
    dim: int,
    operands: dict[str, Any],
    numbers: Any,
    bits: int | None = None,
) -> Plan:
    """launch(values, indices, x); `operands`, `numbers` and `bits` as `plan_sort` has them."""
    from tritorch.runtime import get_target

    n_cols = numbers["n_cols"]
    n_rows = x.numel // n_cols
    ranged = bits is None and x.dtype in (dtypes.int32, dtypes.int64)
    choice = radix_scatter.choose(x.device.type, dtype=x.dtype.name, n_cols=n_cols)
    n_blocks = ceil_divide(n_cols, choice["BLOCK"])
    numbers = numbers | choice | {"n_blocks": n_blocks, "RANGED": ranged}
    passes = _passes(x.dtype, bits)

    # Workspaces: packed elements, counts, totals of the digits. The memory of the indices holds the
    # elements of every second pass, so that the last does not read it. Where the last is not known,
    # it is a workspace, too, and there are the least and the greatest elements.
    packed, counts, totals = -1, -2, -3
    workspaces = [n_rows * n_cols * 8, n_rows * 16 * n_blocks * 4, n_rows * 64]
    turned, least, greatest = 1, 2, 2
    steps: list[Step] = []
    kernels: list[Any] = []
    if ranged:
        turned, least, greatest = -4, -5, -6
        workspaces += [n_rows * n_cols * 8, *[n_rows * x.dtype.itemsize] * 2]
        span = value_range.plan([x], (dim,), False, [x.dtype], [x.dtype] * 2)
        steps.append(Step(span.launch, (least, greatest, 2)))
        kernels += span.kernels
    held = packed
    for turn, (shift, source) in enumerate(passes):
        last = turn == len(passes) - 1 and not ranged
        odd = turn % 2 == 0 if ranged else (len(passes) - turn) % 2 == 0
        other = packed if odd else turned
        facts = {"SOURCE": source, "shift": shift, "shift_whole": turn * 4, "LAST": last}
        ends = counts, totals, least, greatest
        more, compiled = bind_pass(x, operands, numbers | facts, (0, 1, 2), (held, other), ends)
        steps += more
        kernels += compiled
        held = other
    if ranged:
        choice = radix_emit.choose(x.device.type)
        n_blocks = ceil_divide(n_cols, choice["BLOCK"])
        both: dict[str, Any] = {"even_ptr": dtypes.int64, "odd_ptr": dtypes.int64}
        both |= {"least_ptr": x.dtype, "greatest_ptr": x.dtype}
        values = {k: v for k, v in numbers.items() if k != "num_warps"}
        launch, compiled = radix_emit.bind(
            x.device, (n_rows * n_blocks,), operands | both,
            _taken(radix_emit, values | choice | {"n_blocks": n_blocks}),
        )  # fmt: skip
        steps.append(Step(launch, (0, 1, least, greatest, turned, packed, 2)))
        kernels.append(compiled)
    target = get_target(x.device)
    return Plan.of_steps(outputs, target, steps, workspaces, list(dict.fromkeys(kernels)))


def bind_pass(
    x: Layout,
    operands: dict[str, Any],
    numbers: dict[str, Any],
    given: tuple[int, int, int],
    words: tuple[int, int],
    ends: tuple[int, int, int, int],
) -> tuple[list[Step], list[Any]]:
    """The launches of a pass.

    Args:
        given: the arguments that are values, indices and x. words: those that are the packed
            elements before and after. ends: counts, totals, least and greatest elements.
    """
    counts, totals, *between = ends
    n_blocks = numbers["n_blocks"]
    n_rows = x.numel // numbers["n_cols"]
    few = n_blocks <= FEW_BLOCKS
    held: dict[str, Any] = {"from_ptr": dtypes.int64, "counts_ptr": dtypes.int32}
    held |= {"least_ptr": x.dtype, "greatest_ptr": x.dtype}
    total = {"totals_ptr": dtypes.int32}
    launch, compiled = radix_count.bind(
        x.device, (n_rows * n_blocks,), held | {"x_ptr": operands["x_ptr"]},
        _taken(radix_count, numbers),
    )  # fmt: skip
    steps = [Step(launch, (counts, *between, words[0], given[2]))]
    kernels = [compiled]
    if not few:
        block = {"BLOCK": min(next_power_of_2(n_blocks), 4096), "num_warps": 8}
        launch, compiled = radix_offsets.bind(
            x.device, (n_rows * 16,), total | {"counts_ptr": dtypes.int32},
            block | {"n_blocks": n_blocks},
        )  # fmt: skip
        steps.append(Step(launch, (counts, totals)))
        kernels.append(compiled)
    launch, compiled = radix_scatter.bind(
        x.device, (n_rows * n_blocks,), operands | held | total | {"to_ptr": dtypes.int64},
        numbers | {"BLOCKS": next_power_of_2(n_blocks) if few else 0},
    )  # fmt: skip
    arguments = (*given[:2], words[1], counts, totals, *between, words[0], given[2])
    return [*steps, Step(launch, arguments)], [*kernels, compiled]


def _taken(template: Template, numbers: dict[str, Any]) -> dict[str, Any]:
    """Those that the kernel takes."""
    return {k: v for k, v in numbers.items() if k in template.parameters or k == "num_warps"}
