"""`Layout`: what describes a strided buffer apart from its address, interned; and the arithmetic on
shapes.

Tensors of one kind share one Layout, so a launch plan is found by the identity of its operands'
layouts. Strides are in elements.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import index
from typing import Any

from tritorch import devices
from tritorch.devices import device as Device
from tritorch.dtypes import dtype as Dtype
from tritorch.errors import ShapeError

Shape = tuple[int, ...]

# Programs with ever new shapes must not grow this for ever. Dropping an entry only costs a new
# plan: a Layout that is still in use stays valid, a fresh one merely has another identity.
_LIMIT = 1 << 16
_interned: dict[tuple[Dtype, Shape, Shape, Device], Layout] = {}
_contiguous: dict[tuple[Dtype, Shape, Device], Layout] = {}


class Layout:
    """dtype, shape, strides (elements) and device of a buffer; make one with `Layout.of`.

    `is_contiguous`: row-major without gaps (sizes 1 are free). `is_dense`: some permutation of the
    dimensions is. `nbytes`: bytes of a dense buffer of that many elements. `extent`: elements from
    the first to one past the last that the strides reach.
    """

    __slots__ = (
        "device", "dtype", "extent", "is_contiguous", "is_dense", "nbytes", "ndim", "numel",
        "shape", "strides",
    )  # fmt: skip

    dtype: Dtype
    shape: Shape
    strides: Shape
    device: Device
    ndim: int
    numel: int
    nbytes: int
    extent: int
    is_contiguous: bool
    is_dense: bool

    @staticmethod
    def of(dtype: Dtype, shape: Shape, strides: Shape, device: Device = devices.cpu) -> Layout:
        """The layout of these parts; the same object each time."""
        key = (dtype, shape, strides, device)
        found = _interned.get(key)
        if found is None:
            if len(_interned) >= _LIMIT:
                _interned.clear()
                _contiguous.clear()
            found = _interned[key] = Layout(*key)
        return found

    @staticmethod
    def contiguous(dtype: Dtype, shape: Shape, device: Device = devices.cpu) -> Layout:
        """The row-major layout of a shape."""
        key = (dtype, shape, device)
        found = _contiguous.get(key)
        if found is None:
            found = Layout.of(dtype, shape, contiguous_strides(shape), device)
            _contiguous[key] = found
        return found

    def __init__(self, dtype: Dtype, shape: Shape, strides: Shape, device: Device) -> None:
        self.dtype = dtype
        self.shape = shape
        self.strides = strides
        self.device = device
        self.ndim = len(shape)
        self.numel = numel(shape)
        self.nbytes = self.numel * dtype.itemsize
        self.extent = (
            1 + sum((size - 1) * abs(stride) for size, stride in zip(shape, strides))
            if self.numel
            else 0
        )
        self.is_contiguous = not self.numel or _is_row_major(shape, strides)
        order = sorted(range(self.ndim), key=lambda d: (-strides[d], -shape[d], d))
        self.is_dense = self.is_contiguous or _is_row_major(
            tuple(shape[d] for d in order), tuple(strides[d] for d in order)
        )

    def with_dtype(self, dtype: Dtype) -> Layout:
        return Layout.of(dtype, self.shape, self.strides, self.device)

    def __repr__(self) -> str:
        return f"Layout({self.dtype.name}, {self.shape}, strides={self.strides}, {self.device})"


def _is_row_major(shape: Shape, strides: Shape) -> bool:
    expected = 1
    for size, stride in zip(reversed(shape), reversed(strides)):
        if size == 0:
            return True
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True


def numel(shape: Iterable[int]) -> int:
    """The number of elements of a shape."""
    count = 1
    for size in shape:
        count *= size
    return count


def contiguous_strides(shape: Sequence[int]) -> Shape:
    """Row-major strides in elements; a size of 0 counts as 1, as in PyTorch."""
    strides = [1] * len(shape)
    step = 1
    for d in range(len(shape) - 1, -1, -1):
        strides[d] = step
        step *= max(shape[d], 1)
    return tuple(strides)


class MemoryFormat:
    """In which order the dimensions of a tensor lie in memory; prints as PyTorch's."""

    __slots__ = ("name", "ndim", "order")

    def __init__(self, name: str, order: tuple[int, ...] = ()) -> None:
        self.name = name
        #: dimensions from the slowest to the fastest; empty: row-major, or as they are
        self.order = order
        self.ndim = len(order)

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        return f"_{self.name}"

    def strides(self, name: str, shape: Shape) -> Shape:
        """Dense strides of a shape in this order."""
        if not self.order:
            return contiguous_strides(shape)
        if len(shape) != self.ndim:
            raise RuntimeError(
                f"{name}: required rank {self.ndim} tensor to use {self.name} format; its shape is "
                f"{list(shape)}."
            )
        ordered = contiguous_strides([shape[d] for d in self.order])
        strides = [0] * self.ndim
        for d, stride in zip(self.order, ordered):
            strides[d] = stride
        return tuple(strides)

    def holds(self, layout: Layout) -> bool:
        """Whether a layout has this order without gaps."""
        if not self.order:
            return layout.is_contiguous
        return layout.ndim == self.ndim and _is_row_major(
            tuple(layout.shape[d] for d in self.order),
            tuple(layout.strides[d] for d in self.order),
        )


contiguous_format = _contiguous_format = MemoryFormat("contiguous_format")
preserve_format = _preserve_format = MemoryFormat("preserve_format")
channels_last = _channels_last = MemoryFormat("channels_last", (0, 2, 3, 1))
channels_last_3d = _channels_last_3d = MemoryFormat("channels_last_3d", (0, 2, 3, 4, 1))


def broadcast_shapes(name: str, *shapes: Shape) -> Shape:
    """The common shape after broadcasting; ShapeError names the op and the dims that differ."""
    first = shapes[0]
    if all(shape == first for shape in shapes):
        return first
    ndim = max(len(shape) for shape in shapes)
    result = [1] * ndim
    for shape in shapes:
        for offset in range(1, len(shape) + 1):
            size = shape[-offset]
            if size == 1:
                continue
            if result[-offset] not in (1, size):
                text = " with ".join(str(tuple(s)) for s in shapes)
                raise ShapeError(
                    f"{name}: cannot broadcast {text}: sizes {result[-offset]} and {size} differ "
                    f"at dimension {ndim - offset}. Sizes must be equal or 1; insert a 1 with "
                    "unsqueeze, or reshape."
                )
            result[-offset] = size
    return tuple(result)


def broadcast_strides(shape: Shape, strides: Shape, to: Shape) -> Shape:
    """Strides with which a buffer of `shape` is read as the broadcast shape `to` (0 where
    repeated).
    """
    pad = len(to) - len(shape)
    return (0,) * pad + tuple(
        0 if size == 1 and target != 1 else stride
        for size, stride, target in zip(shape, strides, to[pad:])
    )


def collapse(shape: Shape, operands: Sequence[Shape]) -> tuple[Shape, list[Shape]]:
    """Merge neighbouring dimensions that every operand walks as one; drop sizes of 1.

    Args:
        shape: the common shape.
        operands: strides of each operand over that shape (elements).
    Returns:
        the fewer dimensions, outermost first, and each operand's strides over them.
    """
    sizes: list[int] = []
    merged: list[list[int]] = [[] for _ in operands]
    for d, size in enumerate(shape):
        if size == 1:
            continue
        if sizes and all(m[-1] == strides[d] * size for m, strides in zip(merged, operands)):
            sizes[-1] *= size
            for m, strides in zip(merged, operands):
                m[-1] = strides[d]
        else:
            sizes.append(size)
            for m, strides in zip(merged, operands):
                m.append(strides[d])
    return tuple(sizes), [tuple(m) for m in merged]


def _whole(name: str, dim: Any) -> int:
    """A dimension that is not plainly an int, as one."""
    try:
        return index(dim)
    except TypeError:
        raise TypeError(
            f"{name}(): argument 'dim' must be int, not {type(dim).__name__}. Got {dim!r:.80}."
        ) from None


def normalize_dim(name: str, dim: int, ndim: int) -> int:
    """A dimension in 0..ndim-1 from one that may be negative; IndexError as PyTorch's."""
    if dim.__class__ is not int:
        dim = _whole(name, dim)
    low, high = (-ndim, ndim - 1) if ndim else (-1, 0)
    if not low <= dim <= high:
        raise IndexError(
            f"{name}: Dimension out of range (expected to be in range of [{low}, {high}], "
            f"but got {dim})"
        )
    return dim + ndim if dim < 0 and ndim else max(dim, 0)
