"""Sums and what is like them, over axes or along one, with the standard's dtypes."""

from __future__ import annotations

from tritorch import dtypes
from tritorch.array_api.data_types import operands
from tritorch.dtypes import dtype as Dtype
from tritorch.ops import comparison, creation, extrema, joining, reduction, scan, statistics
from tritorch.ops.memory import to
from tritorch.tensor import Tensor

Axes = int | tuple[int, ...]


def _wide(x: Tensor, dtype: Dtype | None) -> Dtype:
    """The dtype of a sum: integers in 64 bits of their own kind, others as they are."""
    if dtype is not None:
        return dtype
    if x.dtype.category == 2:
        return x.dtype
    return dtypes.int64 if x.dtype.is_signed or x.dtype is dtypes.bool else dtypes.uint64


def _places(x: Tensor, axis: Axes | None) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(x.ndim))
    return (axis,) if isinstance(axis, int) else tuple(axis)


def sum(
    x: Tensor, /, *, axis: Axes | None = None, dtype: Dtype | None = None, keepdims: bool = False
) -> Tensor:
    """The sum over axes, all of them for None; integers are added in 64 bits."""
    kind, places = _wide(x, dtype), _places(x, axis)
    if not places:
        return to(x, None, kind).clone()
    return reduction.sum(x, places, keepdims, dtype=kind)


def prod(
    x: Tensor, /, *, axis: Axes | None = None, dtype: Dtype | None = None, keepdims: bool = False
) -> Tensor:
    """The product over axes, all of them for None; integers are multiplied in 64 bits."""
    kind, places = _wide(x, dtype), _places(x, axis)
    if not places:
        return to(x, None, kind).clone()
    for place in sorted((place % x.ndim for place in places), reverse=True):
        x = reduction.prod(x, place, keepdims, dtype=kind)
    return x


def max(x: Tensor, /, *, axis: Axes | None = None, keepdims: bool = False) -> Tensor:
    """The greatest element over axes; nan if one is nan."""
    places = _places(x, axis)
    return extrema.amax(x, places, keepdims) if places else x.clone()


def min(x: Tensor, /, *, axis: Axes | None = None, keepdims: bool = False) -> Tensor:
    """The least element over axes; nan if one is nan."""
    places = _places(x, axis)
    return extrema.amin(x, places, keepdims) if places else x.clone()


def mean(x: Tensor, /, *, axis: Axes | None = None, keepdims: bool = False) -> Tensor:
    """The mean over axes."""
    places = _places(x, axis)
    return reduction.mean(x, places, keepdims) if places else x.clone()


def var(
    x: Tensor, /, *, axis: Axes | None = None, correction: float = 0.0, keepdims: bool = False
) -> Tensor:
    """The variance over axes: squares of deviations by n - correction."""
    places = _places(x, axis)
    if not places:
        return (x - x) / (1.0 - correction)
    return reduction.var(x, places, correction=correction, keepdim=keepdims)


def std(
    x: Tensor, /, *, axis: Axes | None = None, correction: float = 0.0, keepdims: bool = False
) -> Tensor:
    """The standard deviation over axes: the root of the variance."""
    places = _places(x, axis)
    if not places:
        return (x - x) / (1.0 - correction)
    return reduction.std(x, places, correction=correction, keepdim=keepdims)


def all(x: Tensor, /, *, axis: Axes | None = None, keepdims: bool = False) -> Tensor:
    """Whether all elements over axes are true (not zero)."""
    places = _places(x, axis)
    result = reduction.all(x, places, keepdims) if places else x
    return to(result, None, dtypes.bool)


def any(x: Tensor, /, *, axis: Axes | None = None, keepdims: bool = False) -> Tensor:
    """Whether one element over axes is true (not zero)."""
    places = _places(x, axis)
    result = reduction.any(x, places, keepdims) if places else x
    return to(result, None, dtypes.bool)


def count_nonzero(x: Tensor, /, *, axis: Axes | None = None, keepdims: bool = False) -> Tensor:
    """How many elements over axes are not zero, as int64."""
    return sum(comparison.ne(x, 0), axis=axis, dtype=dtypes.int64, keepdims=keepdims)


def _along(name: str, x: Tensor, axis: int | None) -> int:
    if x.ndim == 0:
        raise ValueError(f"{name}: expected one dimension or more, got a tensor of none.")
    if axis is None:
        if x.ndim > 1:
            raise ValueError(
                f"{name}: axis must be given for more than one dimension, got shape "
                f"{tuple(x.shape)}."
            )
        return 0
    return axis


def cumulative_sum(
    x: Tensor, /, *, axis: int | None = None, dtype: Dtype | None = None,
    include_initial: bool = False,
) -> Tensor:  # fmt: skip
    """The sum of the elements up to each one; `include_initial` puts a zero in front."""
    place, kind = _along("cumulative_sum", x, axis), _wide(x, dtype)
    return _started(scan.cumsum(x, place, dtype=kind), place, 0, include_initial)


def cumulative_prod(
    x: Tensor, /, *, axis: int | None = None, dtype: Dtype | None = None,
    include_initial: bool = False,
) -> Tensor:  # fmt: skip
    """The product of the elements up to each one; `include_initial` puts a one in front."""
    place, kind = _along("cumulative_prod", x, axis), _wide(x, dtype)
    return _started(scan.cumprod(x, place, dtype=kind), place, 1, include_initial)


def _started(x: Tensor, axis: int, value: int, wanted: bool) -> Tensor:
    if not wanted:
        return x
    shape = list(x.shape)
    shape[axis] = 1
    return joining.cat(
        [creation.full(tuple(shape), value, dtype=x.dtype, device=x.device), x], axis
    )


def diff(
    x: Tensor, /, *, axis: int = -1, n: int = 1, prepend: Tensor | None = None,
    append: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The differences of neighbours along an axis, n times."""
    parts = [part for part in (prepend, x, append) if part is not None]
    if len(parts) > 1:
        x = joining.cat(operands("diff", *parts), axis)
    return statistics.diff(x, n, axis)
