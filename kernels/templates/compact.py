"""Where a mask holds: the places (`nonzero`) or other elements (`masked_select`) in one row.

Two passes. The first counts in blocks and adds the counts up, so that every block knows where its
part of the result begins; the caller reads the total and allocates. The second writes, block by
block, each element to the number of those before it.

Predicted for 64M float32 on sm_90 (nothing was measured): the comparison reads 256 MiB and writes
64 MiB of mask, which is read twice; half of the elements are read and written: 0.9 GB, 200 us in
four launches and one read of the host. PyTorch makes 64-bit places of a mask (256 MiB written, then
read) and gathers through them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tritorch import dtypes
from tritorch.kernels.plan import Plan, Step, nothing
from tritorch.kernels.templates.rows import LEVELS, ceil_divide, levels, row_offset
from tritorch.kernels.templates.template import kernel
from tritorch.layout import Layout

if TYPE_CHECKING:
    import triton.language as tl

#: elements that one program goes through: on a GPU all at once, 16 bytes of a mask a thread
SPAN = {"cpu": 8192, "cuda": 4096}


def _whole(**blocks: int) -> Callable[..., dict[str, Any]]:
    """A CPU's blocks; a GPU's span in eight warps."""

    def rule(*, target: str) -> dict[str, Any]:
        return blocks if target == "cpu" else {"BLOCK": SPAN[target], "num_warps": 8}

    return rule


@kernel(default=_whole(BLOCK=1024))
def count_blocks(
    offsets_ptr, mask_ptr, n, size1, size2, size3,
    mask_stride0, mask_stride1, mask_stride2, mask_stride3,
    SPAN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """offsets[program + 1] = nonzero elements of SPAN."""
    first = tl.program_id(0).to(tl.int64) * SPAN
    total = tl.zeros((), dtype=tl.int32)
    for start in range(0, SPAN, BLOCK):
        i = first + start + tl.arange(0, BLOCK)
        place = row_offset(
            i, size1, size2, size3, mask_stride0, mask_stride1, mask_stride2, mask_stride3
        )
        mask = tl.load(mask_ptr + place, mask=i < n, other=0)
        total += tl.sum((mask != 0).to(tl.int32), 0)
    tl.store(offsets_ptr + tl.program_id(0) + 1, total.to(tl.int64))


@kernel(default=_whole(BLOCK=64))
def add_up(offsets_ptr, n_blocks, BLOCK: tl.constexpr):
    """offsets[b] = the sum of the counts before block b, in one program."""
    total = tl.zeros((), dtype=tl.int64)
    tl.store(offsets_ptr, total)
    for start in range(1, n_blocks + 1, BLOCK):
        blocks = start + tl.arange(0, BLOCK)
        counts = tl.load(offsets_ptr + blocks, mask=blocks <= n_blocks, other=0)
        tl.store(offsets_ptr + blocks, total + tl.cumsum(counts, 0), mask=blocks <= n_blocks)
        total += tl.sum(counts, 0)


@kernel(default=_whole(BLOCK=64))
def compact_blocks(
    y_ptr, offsets_ptr, mask_ptr, x_ptr, n, size1, size2, size3,
    mask_stride0, mask_stride1, mask_stride2, mask_stride3,
    x_stride0, x_stride1, x_stride2, x_stride3, shape_size1, shape_size2, shape_size3,
    NDIM: tl.constexpr, SPAN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: SPAN elements. NDIM: coordinates of a place; 0: elements of x instead."""
    first = tl.program_id(0).to(tl.int64) * SPAN
    count = tl.load(offsets_ptr + tl.program_id(0))
    for start in range(0, SPAN, BLOCK):
        i = first + start + tl.arange(0, BLOCK)
        place = row_offset(
            i, size1, size2, size3, mask_stride0, mask_stride1, mask_stride2, mask_stride3
        )
        chosen = tl.load(mask_ptr + place, mask=i < n, other=0) != 0
        ranks = tl.cumsum(chosen.to(tl.int32), 0)
        to = count + ranks - 1
        if NDIM == 0:
            source = row_offset(i, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3)
            tl.store(y_ptr + to, tl.load(x_ptr + source, mask=chosen), mask=chosen)
        elif NDIM == 1:
            tl.store(y_ptr + to, i, mask=chosen)
        else:
            total = tl.load(offsets_ptr + tl.num_programs(0))
            inner = i // shape_size3
            outer = inner // shape_size2
            if NDIM == 4:
                tl.store(y_ptr + to, outer // shape_size1, mask=chosen)
            if NDIM >= 3:
                tl.store(y_ptr + to + (NDIM - 3) * total, outer % shape_size1, mask=chosen)
            tl.store(y_ptr + to + (NDIM - 2) * total, inner % shape_size2, mask=chosen)
            tl.store(y_ptr + to + (NDIM - 1) * total, i % shape_size3, mask=chosen)
        count += tl.sum(chosen.to(tl.int32), 0)


def plan_count(mask: Layout) -> Plan:
    """offsets of blocks, the total last; launch(offsets, mask); the caller reads the total."""
    from tritorch.runtime import get_target

    place = mask.device.type
    n_blocks = ceil_divide(mask.numel, SPAN[place])
    offsets = Layout.contiguous(dtypes.int64, (n_blocks + 1,), mask.device)
    rows = levels("nonzero", mask.shape, [mask.strides])
    values = {"n": mask.numel, "SPAN": SPAN[place], **rows.values("mask")}
    values |= count_blocks.choose(place)
    operands: dict[str, Any] = {"offsets_ptr": offsets, "mask_ptr": mask}
    count, counting = count_blocks.bind(mask.device, (n_blocks,), operands, values)
    operands = {"offsets_ptr": offsets}
    values = {"n_blocks": n_blocks, **add_up.choose(place)}
    total, adding = add_up.bind(mask.device, (1,), operands, values)
    steps = [Step(count, (0, 1)), Step(total, (0,))]
    target = get_target(mask.device)
    return Plan.of_steps((offsets,), target, steps, [], [counting, adding])


def plan_compact(mask: Layout, x: Layout | None = None, *, coordinates: bool = False) -> Plan:
    """launch(y, offsets, mask[, x]), y as long as offsets of `plan_count` say.

    Args:
        x: what is chosen from; of mask's shape. Without it y gets places, of int64:
        coordinates: (mask.ndim, total) instead of row-major numbers (total,); mask has at most four
            dimensions.
    """
    if mask.numel == 0:
        return Plan((), nothing)
    source = mask if x is None else x
    rows = levels("masked_select", mask.shape, [mask.strides, source.strides])
    ndim = 0 if x is not None else mask.ndim if coordinates and mask.ndim > 1 else 1
    shape = ((1,) * LEVELS + mask.shape)[-LEVELS:]
    place = mask.device.type
    values = {
        "n": mask.numel, "NDIM": ndim, "SPAN": SPAN[place],
        **{f"shape_size{d}": shape[d] for d in range(1, LEVELS)},
        **rows.values("mask", "x"), **compact_blocks.choose(place),
    }  # fmt: skip
    operands: dict[str, Any] = {
        "y_ptr": dtypes.int64 if x is None else x.dtype, "offsets_ptr": dtypes.int64,
        "mask_ptr": mask, "x_ptr": source,
    }  # fmt: skip
    grid = (ceil_divide(mask.numel, SPAN[place]),)
    launch, compiled = compact_blocks.bind(mask.device, grid, operands, values)
    if x is not None:
        return Plan((), launch, [compiled])

    def places(y: int, offsets: int, held: int) -> None:
        launch(y, offsets, held, held)

    return Plan((), places, [compiled])
