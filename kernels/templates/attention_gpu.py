"""Blocks of attention on GPUs: by the depth of a head, its dtype, and whether the GPU is a Hopper
or later.

They are the largest that neither spill registers in their loops nor pass the shared memory, as the
compiler reports them (`tests/devices/gpu_kernels`); which is fastest is for a tuner on a GPU to
say. Each group of four warps has 64 rows of its own: with fewer rows the groups would compute the
same. Heads of 64 have fewer keys at a time so that two programs fit on a Hopper's multiprocessor
and one multiplies while the other computes exponentials (a prediction).
"""

from __future__ import annotations

from typing import Any

from tritorch import dtypes
from tritorch.kernels.templates.rows import next_power_of_2

#: rows of (largest depth, BLOCK_M, BLOCK_N, num_warps, num_stages), by (kernel, bytes of an
#: element, whether warp groups multiply)
_Rows = tuple[tuple[int, int, int, int, int], ...]
_FORWARD: dict[tuple[int, bool], _Rows] = {
    (2, True): ((64, 128, 64, 8, 3), (128, 128, 128, 8, 2), (256, 128, 64, 8, 2)),
    (2, False): ((64, 128, 128, 8, 2), (128, 128, 64, 8, 3), (256, 64, 64, 8, 2)),
    (4, True): ((64, 32, 32, 4, 2), (128, 32, 32, 8, 1), (256, 32, 32, 8, 1)),
    (4, False): ((64, 64, 32, 8, 2), (128, 64, 32, 8, 2), (256, 32, 32, 8, 1)),
}
_QUERIES: dict[tuple[int, bool], _Rows] = {
    (2, True): ((64, 128, 64, 8, 2), (128, 128, 64, 8, 2), (256, 32, 32, 8, 1)),
    (2, False): ((64, 128, 64, 8, 2), (128, 128, 64, 8, 2), (256, 32, 32, 8, 1)),
    (4, True): ((64, 32, 32, 8, 1), (128, 16, 16, 8, 1), (256, 16, 32, 8, 1)),
}
_KEYS: dict[tuple[int, bool], _Rows] = {
    (2, True): ((64, 64, 128, 8, 2), (128, 64, 128, 8, 2), (256, 32, 32, 8, 1)),
    (2, False): ((64, 64, 128, 8, 2), (128, 32, 128, 8, 2), (256, 32, 32, 8, 1)),
    (4, True): ((64, 32, 32, 4, 1), (128, 16, 32, 8, 1), (256, 32, 16, 8, 1)),
}
_DOUBLE: _Rows = ((64, 32, 32, 8, 1), (128, 32, 16, 8, 1), (256, 16, 16, 8, 1))
_TABLES = {"forward": _FORWARD, "queries": _QUERIES, "keys": _KEYS}


def gpu_blocks(
    part: str, n_queries: int, n_keys: int, depth: int, v_depth: int, dtype: str,
    capability: int = 80,
) -> dict[str, Any]:  # fmt: skip
    """The blocks and launch options of one kernel.

    Args:
        part: "forward", "queries" or "keys" (whose gradients).
    """
    itemsize = max(dtypes.BY_NAME[dtype].itemsize, 2)
    table = _TABLES[part]
    hopper = capability >= 90
    rows = _DOUBLE if itemsize == 8 else table.get((itemsize, hopper), table[itemsize, True])
    deepest = max(depth, v_depth)
    row = next((row for row in rows if deepest <= row[0]), None)
    if row is None:  # rarer than it is worth a row
        row = (deepest, 16, 16, 8, 1)
    _, block_m, block_n, warps, stages = row
    m, n = min(block_m, next_power_of_2(n_queries)), min(block_n, next_power_of_2(n_keys))
    m, n = max(m, 16), max(n, 16)
    if 4 * m * n <= block_m * block_n:  # a short sequence
        warps = min(warps, 4)
    return {"BLOCK_M": m, "BLOCK_N": n, "num_warps": warps, "num_stages": stages}
