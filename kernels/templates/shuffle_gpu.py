"""The order of many random keys on GPUs, with half of the passes of a sort.

Keys of 62 random bits are sorted by 32 of them; among n elements about n^2 / 2^33 pairs are equal
in those (32,000 of 16M), and are put in order by their whole keys, where they are. The result is
that of sorting by whole keys, so a seed gives the same permutation on CPUs.

Predicted for 16M elements on sm_90 (nothing was measured): eight passes of `sort_gpu` of 150 us,
208 bytes an element; PyTorch sorts by 51 bits of 64-bit keys, with 64-bit places: 7 x 32 + 24
bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tritorch import dtypes
from tritorch.kernels.plan import Plan, Step
from tritorch.kernels.templates.rows import ceil_divide
from tritorch.kernels.templates.sort_gpu import PACKED, UPPER, bind_pass, radix_scatter
from tritorch.kernels.templates.template import kernel
from tritorch.layout import Layout

if TYPE_CHECKING:
    import triton.language as tl


@kernel(default={"BLOCK": 512, "num_warps": 4})
def radix_settle(index_ptr, packed_ptr, keys_ptr, n_cols, BLOCK: tl.constexpr):
    """The order of whole keys (below 2^62, one row) from that of their bits from 30 on.

    Where those are equal, an element passes the later ones with less keys, and is passed.
    """
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = place < n_cols
    packed = tl.load(packed_ptr + place, mask=mask, other=0)
    upper = packed >> 32
    mine = packed & 0xFFFFFFFF
    for way in tl.static_range(2):
        step = 1 - 2 * way
        there = place + step
        inside = mask & (there >= 0) & (there < n_cols)
        other = tl.load(packed_ptr + there, mask=inside, other=0)
        equal = inside & ((other >> 32) == upper)
        if way == 0:
            to = place
        key = tl.load(keys_ptr + mine, mask=equal, other=0)
        while tl.max(equal.to(tl.int32), 0) > 0:
            rival = tl.load(keys_ptr + (other & 0xFFFFFFFF), mask=equal, other=0)
            passes = (rival < key) if way == 0 else (rival > key)
            to += tl.where(equal & passes, step, 0)
            there += step
            inside = equal & (there >= 0) & (there < n_cols)
            other = tl.load(packed_ptr + there, mask=inside, other=0)
            equal = inside & ((other >> 32) == upper)
    tl.store(index_ptr + to, mine, mask=mask)


def plan_shuffle(keys: Layout) -> Plan:
    """indices; launch(indices, keys): where keys in order were, stable, for random keys.

    Half of the passes of a sort: by 32 bits, after which few are in a wrong place. As slow as the
    square of the number of equal ones for keys that are not random.

    Args:
        keys: int64, at least 0 and less than 2^62, one dimension, contiguous.
    """
    from tritorch.runtime import get_target

    n_cols = keys.numel
    choice = radix_scatter.choose(keys.device.type, dtype="shuffle", n_cols=n_cols)
    n_blocks = ceil_divide(n_cols, choice["BLOCK"])
    sides = [f"{side}_stride{level}" for side in "xy" for level in range(4)]
    numbers: dict[str, Any] = {
        **dict.fromkeys(sides, 0), "size1": 1, "size2": 1, "size3": 1, "x_column_stride": 1,
        "y_column_stride": 1, "n_cols": n_cols, "n_blocks": n_blocks, "DESCENDING": False,
        "RANGED": False, "LAST": False, "shift_whole": 0, **choice,
    }  # fmt: skip
    operands: dict[str, Any] = {"y_ptr": keys, "index_ptr": keys, "x_ptr": keys}
    steps: list[Step] = []
    kernels: list[Any] = []
    packed, counts, totals = -1, -2, -3
    held, other = 0, packed
    for shift in range(0, 32, 4):
        facts = {"SOURCE": UPPER if shift == 0 else PACKED, "shift": shift}
        # The memory of the indices holds every second pass; the eighth is in the workspace.
        held, other = (0, packed) if shift % 8 else (packed, 0)
        more, compiled = bind_pass(
            keys, operands, numbers | facts, (0, 0, 1), (held, other), (counts, totals, 1, 1)
        )
        steps += more
        kernels += compiled
    settled = radix_settle.choose(keys.device.type)
    launch, settling = radix_settle.bind(
        keys.device, (ceil_divide(n_cols, settled["BLOCK"]),),
        {"index_ptr": keys, "packed_ptr": dtypes.int64, "keys_ptr": keys},
        {"n_cols": n_cols, **settled},
    )  # fmt: skip
    steps.append(Step(launch, (0, packed, 1)))
    sizes = [n_cols * 8, 16 * n_blocks * 4, 64]
    every = list(dict.fromkeys([*kernels, settling]))
    return Plan.of_steps((keys,), get_target(keys.device), steps, sizes, every)
