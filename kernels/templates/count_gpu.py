"""How often each whole number occurs, on GPUs: every program counts for itself, then adds.

Up to 1024 numbers are counted in shared memory (`tl.histogram`), a table for each program, and the
tables are added up by atomics; more by atomics alone, one for each element. Whole numbers are added
exactly, so the order is of no matter.

Predicted for 16M of int64 and 1000 bins (nothing was measured): 128 MiB are read, 31 us at
4.3 TB/s, but Triton 3.6 counts by votes of warps, 139 instructions for 32 elements: 130 us (Triton
3.9 has atomics of shared memory: 7 instructions). Atomics of 64 bits in the second-level cache
would take about as long, and would read 128 MiB of ones besides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritorch import dtypes
from tritorch.kernels.hardware import hardware_of
from tritorch.kernels.plan import Plan, Step
from tritorch.kernels.templates.embedding import plan_zero
from tritorch.kernels.templates.rows import ceil_divide, next_power_of_2
from tritorch.kernels.templates.template import kernel
from tritorch.layout import Layout

if TYPE_CHECKING:
    import triton.language as tl

#: the most numbers that have a table in shared memory, and programs of a multiprocessor
_BINS, _WAVES = 1024, 4
_BLOCK = 2048


@kernel(default={"BLOCK": _BLOCK, "num_warps": 8})
def count_values(
    y_ptr, x_ptr, n_values, n_bins, x_value_stride, BINS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: every so many-th block; y is zero before. BINS 0: without a table."""
    total = tl.zeros((BINS if BINS else 1,), dtype=tl.int32)
    step = tl.num_programs(0).to(tl.int64) * BLOCK
    for start in range(tl.program_id(0).to(tl.int64) * BLOCK, n_values, step):
        i = start + tl.arange(0, BLOCK)
        mask = i < n_values
        value = tl.load(x_ptr + i * x_value_stride, mask=mask, other=0).to(tl.int64)
        if BINS:
            total += tl.histogram(value.to(tl.int32), BINS, mask=mask)
        else:
            one = tl.full((BLOCK,), 1, tl.int64)
            tl.atomic_add(y_ptr + value, one, mask=mask, sem="relaxed")
    if BINS:
        bins = tl.arange(0, BINS)
        mask = (bins < n_bins) & (total != 0)
        tl.atomic_add(y_ptr + bins, total.to(tl.int64), mask=mask, sem="relaxed")


def plan_counts(x: Layout, n_bins: int) -> Plan:
    """y of int64; launch(y, x), on a GPU.

    Args:
        x: whole numbers in 0 .. n_bins - 1, of one dimension and any stride, at least one.
    """
    from tritorch.runtime import get_target

    y = Layout.contiguous(dtypes.int64, (n_bins,), x.device)
    choice = count_values.choose(x.device.type)
    blocks = ceil_divide(x.numel, choice["BLOCK"])
    grid = (min(blocks, _WAVES * hardware_of(x.device).multiprocessors),)
    values = {
        "n_values": x.numel, "n_bins": n_bins, "x_value_stride": x.strides[0],
        "BINS": next_power_of_2(max(n_bins, 32)) if n_bins <= _BINS else 0, **choice,
    }  # fmt: skip
    launch, compiled = count_values.bind(x.device, grid, {"y_ptr": y, "x_ptr": x}, values)
    zero = plan_zero(y)
    steps = [Step(zero.launch, (0,)), Step(launch, (0, 1))]
    return Plan.of_steps((y,), get_target(x.device), steps, [], [*zero.kernels, compiled])
