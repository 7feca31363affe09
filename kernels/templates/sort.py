"""Stable sort of rows with the places the elements came from: a bitonic network in memory.

A row is padded to a power of 2 and sorted as pairs (value, place), so that no two pairs are equal: the sort is
stable and the same on every target. nan counts as the greatest. Each of the log2(P) (log2(P) + 1) / 2 passes
compares P / 2 pairs that do not touch, so a pass is one parallel loop. All merges run in one direction: the first
pass of a merge compares an element with its mirror image, the others with a neighbour at a fixed distance.

On the CPU a row that one program can do at once is sorted in one launch; longer rows, and all on a GPU, take a
launch per pass. Bytes: each pass reads and writes the pairs once, so about 12 * log2(P) ** 2 bytes per float32.

Source: Batcher, Sorting networks and their applications, 1968.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tritorch import dtypes
from tritorch.kernels.plan import Plan, Step, nothing
from tritorch.kernels.templates.rows import (
    ceil_divide,
    levels,
    next_power_of_2,
    row_offset,
    to_compute,
)
from tritorch.kernels.templates.template import helper, kernel
from tritorch.layout import Layout, normalize_dim

if TYPE_CHECKING:
    import triton.language as tl

BLOCK = 512
#: padded elements of a row up to which one program sorts it
ONE_PROGRAM = 16_384


@helper
def comes_first(a, i, b, j, n, DESCENDING: tl.constexpr):
    """Whether pair (a, i) stands before (b, j); places from n on are padding."""
    x = to_compute(a)
    y = to_compute(b)
    if DESCENDING:
        ahead = (x > y) | ((x != x) & (y == y))
        behind = (y > x) | ((y != y) & (x == x))
    else:
        ahead = (x < y) | ((y != y) & (x == x))
        behind = (y < x) | ((x != x) & (y == y))
    real = ahead | ((i < j) & (behind == 0))
    return tl.where((i >= n) | (j >= n), i < j, real)


@helper
def exchange(values_ptr, places_ptr, pairs, mask, distance, mirror, n, DESCENDING: tl.constexpr):
    """Compare pairs of elements `distance` apart (or mirrored) and put each in order."""
    low = (pairs // distance) * (2 * distance) + pairs % distance
    high = tl.where(mirror, low ^ (2 * distance - 1), low + distance)
    a = tl.load(values_ptr + low, mask=mask)
    b = tl.load(values_ptr + high, mask=mask)
    i = tl.load(places_ptr + low, mask=mask, other=0)
    j = tl.load(places_ptr + high, mask=mask, other=0)
    keep = comes_first(a, i, b, j, n, DESCENDING)
    tl.store(values_ptr + low, tl.where(keep, a, b), mask=mask)
    tl.store(values_ptr + high, tl.where(keep, b, a), mask=mask)
    tl.store(places_ptr + low, tl.where(keep, i, j), mask=mask)
    tl.store(places_ptr + high, tl.where(keep, j, i), mask=mask)


@kernel(default={"BLOCK": BLOCK})
def sort_fill(
    values_ptr, places_ptr, x_ptr, n, padded, n_blocks, size1, size2, size3,
    x_stride0, x_stride1, x_stride2, x_stride3, x_column_stride, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: a block of a row into the padded buffers, with its places."""
    row = tl.program_id(0) // n_blocks
    columns = (tl.program_id(0) % n_blocks) * BLOCK + tl.arange(0, BLOCK)
    x_ptr += row_offset(row, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3)
    start = row.to(tl.int64) * padded
    mask = columns < padded
    x = tl.load(x_ptr + columns * x_column_stride, mask=columns < n, other=0)
    tl.store(values_ptr + start + columns, x, mask=mask)
    tl.store(places_ptr + start + columns, columns, mask=mask)


@kernel(default={"BLOCK": BLOCK})
def sort_row(
    values_ptr, places_ptr, n, padded, n_levels, DESCENDING: tl.constexpr, BLOCK: tl.constexpr
):
    """One program: all passes over one row."""
    start = tl.program_id(0).to(tl.int64) * padded
    values_ptr += start
    places_ptr += start
    for level in range(0, n_levels):
        for step in range(0, level + 1):
            distance = 1 << (level - step)
            for first in range(0, padded // 2, BLOCK):
                pairs = first + tl.arange(0, BLOCK)
                exchange(
                    values_ptr, places_ptr, pairs, pairs < padded // 2, distance, step == 0, n,
                    DESCENDING,
                )  # fmt: skip


@kernel(default={"BLOCK": BLOCK})
def sort_pass(
    values_ptr, places_ptr, distance, mirror, n, padded, n_blocks,
    DESCENDING: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: a block of the pairs of one pass over one row."""
    start = (tl.program_id(0) // n_blocks).to(tl.int64) * padded
    pairs = (tl.program_id(0) % n_blocks) * BLOCK + tl.arange(0, BLOCK)
    exchange(
        values_ptr + start, places_ptr + start, pairs, pairs < padded // 2, distance, mirror != 0, n,
        DESCENDING,
    )  # fmt: skip


@kernel(default={"BLOCK": BLOCK})
def sort_take(
    y_ptr, index_ptr, values_ptr, places_ptr, n, padded, n_blocks, size1, size2, size3,
    y_stride0, y_stride1, y_stride2, y_stride3, y_column_stride, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: a block of a sorted row from the padded buffers; y and index are laid out alike."""
    row = tl.program_id(0) // n_blocks
    columns = (tl.program_id(0) % n_blocks) * BLOCK + tl.arange(0, BLOCK)
    mask = columns < n
    start = row.to(tl.int64) * padded
    values = tl.load(values_ptr + start + columns, mask=mask)
    places = tl.load(places_ptr + start + columns, mask=mask)
    offset = row_offset(row, size1, size2, size3, y_stride0, y_stride1, y_stride2, y_stride3)
    offset += columns * y_column_stride
    tl.store(y_ptr + offset, values, mask=mask)
    tl.store(index_ptr + offset, places.to(tl.int64), mask=mask)


def plan(x: Layout, dim: int, *, descending: bool = False) -> Plan:
    """values, indices = x sorted along `dim`; launch(values, indices, x).

    Args:
        x: any strides and dtype, not 0-d.
    Returns:
        values of x's dtype and indices (int64), both contiguous.
    """
    dim = normalize_dim("sort", dim, x.ndim)
    values = Layout.contiguous(x.dtype, x.shape, x.device)
    index = Layout.contiguous(dtypes.int64, x.shape, x.device)
    if x.numel == 0:
        return Plan((values, index), nothing)
    return _Sort(x, dim, descending, values, index).plan()


class _Sort:
    """The launches of one sort; workspaces: values and places, padded."""

    def __init__(self, x: Layout, dim: int, descending: bool, values: Layout, index: Layout) -> None:
        self.x, self.dim, self.descending = x, dim, descending
        self.values, self.index = values, index
        self.n = x.shape[dim]
        self.padded = next_power_of_2(self.n)
        shape = tuple(size for d, size in enumerate(x.shape) if d != dim)
        strides = [
            tuple(s for d, s in enumerate(entry.strides) if d != dim) for entry in (x, values)
        ]
        self.rows = levels("sort", shape, strides)
        self.steps: list[Step] = []
        self.kernels: list[Any] = []

    def plan(self) -> Plan:
        from tritorch.runtime import get_target

        self._copy(sort_fill, {"values_ptr": self.x, "places_ptr": dtypes.int32, "x_ptr": self.x}, 0)
        one = self.x.device.type == "cpu" and self.padded <= ONE_PROGRAM
        if self.padded > 1:
            self._whole() if one else self._passes()
        operands = {
            "y_ptr": self.x, "index_ptr": dtypes.int64, "values_ptr": self.x,
            "places_ptr": dtypes.int32,
        }  # fmt: skip
        self._copy(sort_take, operands, 1)
        count = self.rows.count * self.padded
        workspaces = [count * self.x.dtype.itemsize, count * 4]
        target = get_target(self.x.device.type)
        return Plan.of_steps(
            (self.values, self.index), target, self.steps, workspaces, self.kernels
        )

    def _copy(self, template: Any, operands: dict[str, Any], which: int) -> None:
        prefix = "y" if which else "x"
        rows = self.rows
        layout = self.values if which else self.x
        n_blocks = ceil_divide(self.padded, BLOCK)
        only = type(rows)(rows.count, rows.sizes, (rows.strides[which],))
        values = {
            "n": self.n, "padded": self.padded, "n_blocks": n_blocks, "BLOCK": BLOCK,
            f"{prefix}_column_stride": layout.strides[self.dim], **only.values(prefix),
        }  # fmt: skip
        values = {k: v for k, v in values.items() if k in template.parameters}
        launch, compiled = template.bind(self.x.device, (rows.count * n_blocks,), operands, values)
        self.steps.append(Step(launch, (0, 1, -1, -2) if which else (-1, -2, 2)))
        self.kernels.append(compiled)

    def _whole(self) -> None:
        values = {
            "n": self.n, "padded": self.padded, "n_levels": self.padded.bit_length() - 1,
            "DESCENDING": self.descending, "BLOCK": min(BLOCK, max(self.padded // 2, 1)),
        }  # fmt: skip
        operands = {"values_ptr": self.x, "places_ptr": dtypes.int32}
        launch, compiled = sort_row.bind(self.x.device, (self.rows.count,), operands, values)
        self.steps.append(Step(launch, (-1, -2)))
        self.kernels.append(compiled)

    def _passes(self) -> None:
        block = min(BLOCK, max(self.padded // 2, 1))
        n_blocks = ceil_divide(self.padded // 2, block)
        operands = {"values_ptr": self.x, "places_ptr": dtypes.int32}
        for level in range(self.padded.bit_length() - 1):
            for step in range(level + 1):
                values = {
                    "distance": 1 << (level - step), "mirror": int(step == 0), "n": self.n,
                    "padded": self.padded, "n_blocks": n_blocks, "BLOCK": block,
                    "DESCENDING": self.descending,
                }  # fmt: skip
                launch, compiled = sort_pass.bind(
                    self.x.device, (self.rows.count * n_blocks,), operands, values
                )
                self.steps.append(Step(launch, (-1, -2)))
                if compiled not in self.kernels:
                    self.kernels.append(compiled)
