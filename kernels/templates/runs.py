"""Additions through an index on GPUs whose order is fixed: sums of runs of equal places.

The places are sorted, stably, so that what goes to one place stands together, in the order of the
index. Programs take stretches of that order and columns side by side: a segmented scan adds up the
runs within a stretch. A run that lies in one stretch is added to its place at once; what a longer
one has in each of its stretches is kept, and added up, first to last, by a second launch. So every
place has one writer, and the order of the additions follows from the index alone.

Predicted for 16,384 rows of 768 float32 (nothing was measured): the sort of 16-bit places in eight
launches of about 4 us, the rows read once (50 MB, 12 us at 4.3 TB/s), two launches more: 60 us,
besides the zeros. A walk through the index, one program for some columns, would wait 16,384 times
for memory: 10 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tritorch import dtypes
from tritorch.kernels.plan import Plan, Step
from tritorch.kernels.templates.bounds import IndexCell
from tritorch.kernels.templates.indexing_kernels import wrapped
from tritorch.kernels.templates.rows import (
    ceil_divide,
    levels,
    next_power_of_2,
    row_offset,
    to_compute,
)
from tritorch.kernels.templates.sort import plan_sort
from tritorch.kernels.templates.template import helper, kernel
from tritorch.layout import Layout, Shape, numel

if TYPE_CHECKING:
    import triton.language as tl


@kernel(default={"BLOCK": 1024})
def index_places(
    places_ptr, index_ptr, cell_ptr, n_index, bound, lift, size1, size2, size3,
    index_stride0, index_stride1, index_stride2, index_stride3, BLOCK: tl.constexpr,
):  # fmt: skip
    """The places from the start; those of wrong indices, which are reported, behind the last."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = i < n_index
    index_ptr += row_offset(
        i, size1, size2, size3, index_stride0, index_stride1, index_stride2, index_stride3
    )
    index = tl.load(index_ptr, mask=mask, other=0)
    place, valid = wrapped(index, bound, lift, cell_ptr, mask, True, True)
    tl.store(places_ptr + i, tl.where(valid, place, bound), mask=mask)


@helper
def joined_runs(sum1, start1, sum2, start2):
    """Two stretches, one behind the other: a run that starts in the second is for itself."""
    return tl.where(start2 != 0, sum2, sum1 + sum2), start1 | start2


def _tile(*, target: str, n_rest: int) -> dict[str, Any]:
    """Sixteen elements for each of 128 threads."""
    block = min(next_power_of_2(n_rest), 128)
    return {"BLOCK": block, "LENGTH": 2048 // block, "num_warps": 4}


@kernel(default=_tile, key=("n_rest", "dtype"))
def add_runs(
    x_ptr, cut_ptr, places_ptr, order_ptr, source_ptr, n_index, rest_size, n_blocks, bound,
    skipped, step, size1, size2, size3, rest_size1, rest_size2, rest_size3,
    source_stride0, source_stride1, source_stride2, source_stride3,
    rest_x_stride0, rest_x_stride1, rest_x_stride2, rest_x_stride3,
    rest_source_stride0, rest_source_stride1, rest_source_stride2, rest_source_stride3,
    LENGTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: LENGTH sorted places, BLOCK elements of the rest.

    cut[stretch, 0]: the end, or all it has, of a run that began before the stretch; cut[stretch,
    1]: the beginning of one that goes on behind it.
    """
    stretch = tl.program_id(0) // n_blocks
    lane = (tl.program_id(0) % n_blocks) * BLOCK + tl.arange(0, BLOCK)
    lanes = lane < rest_size
    first = stretch * LENGTH
    row = first + tl.arange(0, LENGTH)
    inside = row < n_index
    place = tl.load(places_ptr + row, mask=inside, other=-1).to(tl.int64)
    previous = tl.load(places_ptr + row - 1, mask=inside & (row > 0), other=-1).to(tl.int64)
    following = tl.load(places_ptr + row + 1, mask=row + 1 < n_index, other=-1).to(tl.int64)
    foremost = tl.load(places_ptr + first).to(tl.int64)
    before = tl.load(places_ptr + first - 1, mask=first > 0, other=-1).to(tl.int64)
    i = tl.load(order_ptr + row, mask=inside, other=0)
    offset = row_offset(
        i, size1, size2, size3, source_stride0, source_stride1, source_stride2, source_stride3
    )
    across = row_offset(
        lane, rest_size1, rest_size2, rest_size3,
        rest_source_stride0, rest_source_stride1, rest_source_stride2, rest_source_stride3,
    )  # fmt: skip
    both = inside[:, None] & lanes[None, :]
    value = tl.load(source_ptr + (offset[:, None] + across[None, :]), mask=both, other=0)
    value = to_compute(value).to(cut_ptr.dtype.element_ty)
    start = ((place != previous) | (row == first)).to(tl.int32)[:, None]
    start = tl.broadcast_to(start, [LENGTH, BLOCK])
    sums, start = tl.associative_scan((value, start), 0, joined_runs)
    ends = inside & (place != following)
    carried = (place == foremost) & (foremost == before)

    mine = ends & (carried == 0) & (place < bound) & (place != skipped)
    x_ptr += row_offset(
        lane, rest_size1, rest_size2, rest_size3,
        rest_x_stride0, rest_x_stride1, rest_x_stride2, rest_x_stride3,
    )[None, :]  # fmt: skip
    x_ptr += (place * step)[:, None]
    mask = mine[:, None] & lanes[None, :]
    old = to_compute(tl.load(x_ptr, mask=mask, other=0)).to(sums.dtype)
    tl.store(x_ptr, (old + sums).to(x_ptr.dtype.element_ty), mask=mask)

    last = row == tl.minimum(first + LENGTH, n_index) - 1
    cut = (ends & carried) | (last & (ends == 0))
    slot = (stretch * 2 + tl.where(carried, 0, 1)).to(tl.int64)
    to = cut_ptr + slot[:, None] * rest_size + lane[None, :]
    tl.store(to, sums, mask=cut[:, None] & lanes[None, :])


@kernel()
def add_cut_runs(
    x_ptr, cut_ptr, places_ptr, n_index, rest_size, n_blocks, bound, skipped, step,
    rest_size1, rest_size2, rest_size3,
    rest_x_stride0, rest_x_stride1, rest_x_stride2, rest_x_stride3,
    LENGTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: the run that begins in a stretch and goes on behind it, if there is one."""
    stretch = (tl.program_id(0) // n_blocks).to(tl.int64)
    first = stretch * LENGTH
    end = first + LENGTH
    place = tl.load(places_ptr + end - 1).to(tl.int64)
    foremost = tl.load(places_ptr + first).to(tl.int64)
    before = tl.load(places_ptr + first - 1, mask=first > 0, other=-1).to(tl.int64)
    begins = (place != foremost) | (place != before)
    goes_on = (tl.load(places_ptr + end).to(tl.int64) == place).to(tl.int64)
    if begins & (goes_on != 0) & (place < bound) & (place != skipped):
        lane = (tl.program_id(0) % n_blocks) * BLOCK + tl.arange(0, BLOCK)
        lanes = lane < rest_size
        total = tl.load(cut_ptr + (stretch * 2 + 1) * rest_size + lane, mask=lanes, other=0)
        while goes_on != 0:
            # One more: Triton 3.6 cannot compile a loop whose condition takes what its body does
            # not use.
            stretch += goes_on
            end = stretch * LENGTH + LENGTH
            total += tl.load(cut_ptr + stretch * 2 * rest_size + lane, mask=lanes, other=0)
            # whether the stretch is full of the run, and the next one begins with it
            here = tl.load(places_ptr + end - 1, mask=end < n_index, other=-1).to(tl.int64)
            next = tl.load(places_ptr + end, mask=end < n_index, other=-1).to(tl.int64)
            goes_on = ((here == place) & (next == place)).to(tl.int64)
        to = x_ptr + place * step + row_offset(
            lane, rest_size1, rest_size2, rest_size3,
            rest_x_stride0, rest_x_stride1, rest_x_stride2, rest_x_stride3,
        )  # fmt: skip
        old = to_compute(tl.load(to, mask=lanes, other=0)).to(total.dtype)
        tl.store(to, (old + total).to(x_ptr.dtype.element_ty), mask=lanes)


class Sums(NamedTuple):
    """x[index(i) * step + rest(r)] += source[i, r].

    Attributes:
        indices, source: of the shapes `index_shape` and (index_shape, rest_shape) by these strides.
        bound: valid places are 0 .. bound - 1.
        lift: what is added to negative indices; None: the index is contiguous, of places.
        skipped: a place that nothing is added to, or -1.
    """

    name: str
    x: Layout
    indices: Layout
    source: Layout
    index_shape: Shape
    source_strides: tuple[Shape, Shape]
    rest_shape: Shape
    x_strides: Shape
    bound: int
    step: int
    lift: int | None
    skipped: int = -1


def _rest(values: dict[str, Any]) -> dict[str, Any]:
    return {f"rest_{name}": value for name, value in values.items()}


def plan_sums(sums: Sums, cell: IndexCell) -> Plan:
    """launch(x, index, source), on a GPU; there is something to add."""
    from tritorch.runtime import get_target

    device, n_index = sums.x.device, numel(sums.index_shape)
    kind = dtypes.int32 if sums.bound < 1 << 31 else dtypes.int64
    kind = sums.indices.dtype if sums.lift is None else kind
    places = Layout.contiguous(kind, (n_index,), device)
    order = places.with_dtype(dtypes.int64)
    sort = plan_sort(places, 0, bits=sums.bound.bit_length(), name=sums.name)
    rest = levels(sums.name, sums.rest_shape, [sums.x_strides, sums.source_strides[1]])
    outer = levels(sums.name, sums.index_shape, [sums.source_strides[0]])
    choice = add_runs.choose(device.type, dtype=sums.x.dtype.name, n_rest=rest.count)
    n_blocks = ceil_divide(rest.count, choice["BLOCK"])
    stretches = ceil_divide(n_index, choice["LENGTH"])
    total = sums.x.dtype.compute
    common: dict[str, Any] = {
        "n_index": n_index, "rest_size": rest.count, "n_blocks": n_blocks, "bound": sums.bound,
        "skipped": sums.skipped, "step": sums.step, **choice,
    }  # fmt: skip
    operands: dict[str, Any] = {"x_ptr": sums.x, "cut_ptr": total, "places_ptr": places}

    # Workspaces: cut runs, sorted places, their order, places.
    cut, sorted_places, positions, given = -1, -2, -3, -4
    sizes = [stretches * 2 * rest.count * total.itemsize, places.nbytes, order.nbytes]
    steps, kernels = [], []
    if sums.lift is None:
        given = 1
    else:
        sizes.append(places.nbytes)
        step, compiled = _places_step(sums, places, cell, given)
        steps.append(step)
        kernels.append(compiled)
    steps.append(Step(sort.launch, (sorted_places, positions, given)))
    values = common | outer.values("source") | _rest(rest.values("x", "source"))
    adding, compiled = add_runs.bind(
        device, (stretches * n_blocks,),
        operands | {"order_ptr": order, "source_ptr": sums.source}, values,
    )  # fmt: skip
    steps.append(Step(adding, (0, cut, sorted_places, positions, 2)))
    kernels += [*sort.kernels, compiled]
    if stretches > 1:
        values = common | _rest({
            name: value for name, value in rest.values("x", "source").items()
            if not name.startswith("source")
        })  # fmt: skip
        adding, compiled = add_cut_runs.bind(
            device, ((stretches - 1) * n_blocks,), operands, values
        )
        steps.append(Step(adding, (0, cut, sorted_places)))
        kernels.append(compiled)
    return Plan.of_steps((), get_target(device), steps, sizes, kernels)


def _places_step(sums: Sums, places: Layout, cell: IndexCell, to: int) -> tuple[Step, Any]:
    rows = levels(sums.name, sums.index_shape, [sums.indices.strides])
    choice = index_places.choose(sums.x.device.type)
    values = {
        "cell_ptr": cell.address, "n_index": rows.count, "bound": sums.bound, "lift": sums.lift,
        **rows.values("index"), **choice,
    }  # fmt: skip
    operands: dict[str, Any] = {
        "places_ptr": places, "index_ptr": sums.indices, "cell_ptr": dtypes.int64,
    }  # fmt: skip
    grid: Sequence[int] = (ceil_divide(rows.count, choice["BLOCK"]),)
    launch, compiled = index_places.bind(sums.x.device, grid, operands, values)
    return Step(cell.checked(launch), (to, 1)), compiled
