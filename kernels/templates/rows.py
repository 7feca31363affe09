"""Rows of strided buffers: one dimension is worked along, the others are counted.

Kernels get the counted dimensions as four levels (sizes of the inner three, a stride per level and
operand); absent levels have size 1 and stride 0 and vanish at compile time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tritorch.errors import ShapeError
from tritorch.kernels.templates.template import helper
from tritorch.layout import Layout, Shape, collapse, numel

if TYPE_CHECKING:
    import triton.language as tl

LEVELS = 4


@helper
def row_offset(row, size1, size2, size3, stride0, stride1, stride2, stride3):
    """Elements from the start of a buffer to its row-th row; the last level varies fastest."""
    rest = row // size3
    outer = rest // size2
    return (
        (row % size3) * stride3
        + (rest % size2) * stride2
        + (outer % size1) * stride1
        + (outer // size1) * stride0
    )


@helper
def to_compute(x):
    """float16, bfloat16 and float8 in float32, everything else as it is."""
    if x.dtype.is_floating() and x.dtype.primitive_bitwidth < 32:
        x = x.to(tl.float32)
    return x


@dataclass(frozen=True)
class Rows:
    """`count` rows; `sizes`: of the four levels, outermost first; `strides`: four per operand
    (elements).
    """

    count: int
    sizes: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]

    def values(self, *prefixes: str) -> dict[str, Any]:
        """Kernel values: size1..size3, and `<prefix>_stride0`..`3` of each operand."""
        found: dict[str, Any] = {f"size{level}": self.sizes[level] for level in range(1, LEVELS)}
        for prefix, strides in zip(prefixes, self.strides, strict=True):
            for level, stride in enumerate(strides):
                found[f"{prefix}_stride{level}"] = stride
        return found


def levels(name: str, shape: Shape, strides: Sequence[Shape]) -> Rows:
    """Collapse a common shape to at most four levels.

    Raises:
        ShapeError: the operands' strides leave more than four dimensions that do not merge.
    """
    sizes, merged = collapse(shape, strides)
    if len(sizes) > LEVELS:
        raise ShapeError(
            f"{name}: shape {shape} has {len(sizes)} dimensions that do not merge; at most "
            f"{LEVELS} are "
            "supported. Call contiguous() first."
        )
    pad = LEVELS - len(sizes)
    # The outermost level takes what is left over, so real dimensions go first and absent ones last.
    padded = tuple(sizes) + (1,) * pad
    return Rows(numel(shape), padded, tuple(tuple(m) + (0,) * pad for m in merged))


def without(values: Shape, *dims: int) -> Shape:
    return tuple(v for d, v in enumerate(values) if d not in dims)


def rows_of(name: str, layouts: Sequence[Layout], dim: int) -> Rows:
    """The rows along `dim` of buffers of one shape."""
    shape = layouts[0].shape
    return levels(name, without(shape, dim), [without(entry.strides, dim) for entry in layouts])


def row_warps(target: str, block: int) -> dict[str, int]:
    """Warps for a block of a row on a GPU: 16 elements a thread, 32 in the largest blocks."""
    return {} if target == "cpu" else {"num_warps": max(1, min(16, block // 512))}


def odd_rows(*layouts: Layout) -> bool:
    """Whether a GPU walks through the rows by the multiples of 16 elements in memory: columns are
    neighbours, and the step from row to row is none, so that accesses of 16 bytes would not start
    with the rows. The first and the last block are masked, those between are whole: a block must
    not end before a row begins, so rows of less than 16 columns are none of these.
    """
    first = layouts[0]
    rows = first.strides[0] if first.ndim == 2 and first.shape[1] >= 16 else 0
    return (
        first.device.type != "cpu"
        and rows % 16 != 0
        and all(x.strides == (rows, 1) for x in layouts)
    )


def next_power_of_2(n: int) -> int:
    return 1 << max(n - 1, 0).bit_length()


def ceil_divide(a: int, b: int) -> int:
    return -(-a // b)
