"""What an index expression means: `x[1, ..., None, ::2, mask]` as a strided view and index tensors.

Host arithmetic only. Knows tensors by `ndim`, `dtype`, `shape` and `item()`.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tritorch import dtypes

#: a slice that keeps everything
WHOLE = slice(None)
_KINDS = "integers, slices (`:`), ellipsis (`...`), None and long or byte Variables"


@dataclass(slots=True)
class Selection:
    """A view of the indexed tensor, and the index tensors that still select along its dimensions.

    `strides` in elements; `offset`: elements to add to the address; `indices`: per pair the first
    dimension of the view that the tensor indexes (a mask of n dimensions covers n of them);
    `basic`: the index expression of the view alone: integers, slices, None.
    """

    shape: list[int] = field(default_factory=list)
    strides: list[int] = field(default_factory=list)
    offset: int = 0
    indices: list[tuple[int, Any]] = field(default_factory=list)
    basic: list[Any] = field(default_factory=list)

    def is_whole(self) -> bool:
        """Whether the view is the tensor itself."""
        return self.basic.count(WHOLE) == len(self.basic)

    def keep(self, size: int, stride: int, part: Any = WHOLE) -> None:
        """One more dimension of the view, which `part` of the expression makes."""
        self.shape.append(size)
        self.strides.append(stride)
        self.basic.append(part)

    def select(self, position: int, size: int, stride: int, dim: int) -> None:
        """One element of a dimension."""
        position = _position(position, size, dim)
        self.offset += position * stride
        self.basic.append(position)


def parse_index(
    index: Any,
    shape: Sequence[int],
    strides: Sequence[int],
    is_tensor: Callable[[Any], bool],
    as_tensor: Callable[[Any], Any],
) -> Selection:
    """Take an index expression apart.

    Args:
        index: what stands in the brackets.
        shape, strides: of the indexed tensor.
        is_tensor: tells tensors apart.
        as_tensor: makes an index tensor of a list or array.
    Raises:
        IndexError: too many indices, out of range, a wrong kind, or a mask of the wrong shape.
    """
    parts = list(as_tuple(index, is_tensor))
    if isinstance(index, list) and parts[0] is not index:
        warnings.warn(
            "Using a non-tuple sequence for multidimensional indexing is deprecated; "
            "use x[tuple(seq)] instead of x[seq], or x[torch.tensor(seq)] for one index.",
            stacklevel=4,
        )
    for position, part in enumerate(parts):
        if isinstance(part, list | range) or (
            hasattr(part, "__array__")
            and not is_tensor(part)
            and (getattr(part, "ndim", 0) > 0 or not _is_integer(part))
        ):
            parts[position] = as_tensor(part)
    consumed = sum(_consumed(part, is_tensor) for part in parts)
    ndim = len(shape)
    if consumed > ndim:
        raise IndexError(
            f"too many indices for tensor of dimension {ndim}: got {consumed}. Remove some, or "
            "unsqueeze the tensor first."
        )
    result = Selection()
    dim = 0
    skipped = ndim - consumed  # by the first ellipsis; further ones skip nothing
    for part in parts:
        if part is Ellipsis:
            for _ in range(skipped):
                result.keep(shape[dim], strides[dim])
                dim += 1
            skipped = 0
        elif part is None:
            result.keep(1, shape[dim] * strides[dim] if dim < ndim else 1, None)
        elif isinstance(part, bool):
            result.indices.append((len(result.shape), as_tensor([part])))
            result.keep(1, 0, None)
        elif isinstance(part, slice):
            _slice(result, part, shape[dim], strides[dim])
            dim += 1
        elif is_tensor(part):
            dim = _tensor(result, part, dim, shape, strides)
        elif _is_integer(part):
            result.select(operator.index(part), shape[dim], strides[dim], dim)
            dim += 1
        else:
            raise IndexError(
                f"only {_KINDS} are valid indices (got {type(part).__name__}). "
                "Convert it to one of these."
            )
    for rest in range(dim, ndim):
        result.keep(shape[rest], strides[rest])
    return result


def as_tuple(index: Any, is_tensor: Callable[[Any], bool]) -> tuple[Any, ...]:
    """What stands in the brackets as one part per entry.

    A short list that holds lists, slices, tensors, None or Ellipsis means a tuple, as in
    `x[[[0, 1], [1, 2]]]`; a list of numbers is one index.
    """
    if isinstance(index, tuple):
        return index
    if isinstance(index, list) and len(index) < 32:
        for part in index:
            if part is None or part is Ellipsis or isinstance(part, list | tuple | slice):
                return tuple(index)
            if is_tensor(part):
                return tuple(index)
    return (index,)


def _is_integer(part: Any) -> bool:
    return hasattr(part, "__index__") and not isinstance(part, bool)


def _consumed(part: Any, is_tensor: Callable[[Any], bool]) -> int:
    if part is None or part is Ellipsis or isinstance(part, bool):
        return 0
    if is_tensor(part) and _is_mask(part):
        return int(part.ndim)
    return 1


def _is_mask(part: Any) -> bool:
    return part.dtype is dtypes.bool or part.dtype is dtypes.uint8


def _position(value: int, size: int, dim: int) -> int:
    if not -size <= value < size:
        raise IndexError(f"index {value} is out of bounds for dimension {dim} with size {size}")
    return value + size if value < 0 else value


def _slice(result: Selection, part: slice, size: int, stride: int) -> None:
    bounds = [None if b is None else operator.index(b) for b in (part.start, part.stop, part.step)]
    step = 1 if bounds[2] is None else bounds[2]
    if step <= 0:
        raise ValueError(f"slice step must be positive, got {step}. Use flip to reverse.")
    start, stop, step = slice(*bounds).indices(size)
    result.offset += min(start, size) * stride
    length = max(0, (stop - start + step - 1) // step)
    kept = WHOLE if length == size else slice(start, stop, step)
    result.keep(length, stride * step, kept)


def _tensor(
    result: Selection, part: Any, dim: int, shape: Sequence[int], strides: Sequence[int]
) -> int:
    if _is_mask(part):
        covered = tuple(shape[dim : dim + part.ndim])
        if tuple(part.shape) != covered:
            raise IndexError(
                f"The shape of the mask {list(part.shape)} at index {dim} does not match the shape "
                f"of the indexed tensor {list(shape)} at index {dim}"
            )
        if part.ndim == 0:
            result.indices.append((len(result.shape), part.reshape(1)))
            result.keep(1, 0, None)
            return dim
        result.indices.append((len(result.shape), part))
        for position in range(part.ndim):
            result.keep(shape[dim + position], strides[dim + position])
        return dim + int(part.ndim)
    if part.dtype.category != 1:
        raise IndexError(
            "tensors used as indices must be long, int, byte or bool tensors, got "
            f"{part.dtype}. Convert with .long()."
        )
    if part.ndim == 0:
        result.select(int(part.item()), shape[dim], strides[dim], dim)
        return dim + 1
    result.indices.append((len(result.shape), part))
    result.keep(shape[dim], strides[dim])
    return dim + 1
