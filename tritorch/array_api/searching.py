"""Searching, sorting, sets, indexing, with the standard's arguments and results."""

from __future__ import annotations

from typing import Any, NamedTuple

from tritorch import dtypes
from tritorch.array_api.data_types import operands
from tritorch.ops import comparison, creation, extrema, selection, sorting, views
from tritorch.ops.scatter_reduction import scatter_reduce
from tritorch.tensor import Tensor


def argmax(x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the greatest element is, along an axis or among all (in row-major order)."""
    return _whole(x, extrema.argmax(x, axis, keepdims), axis, keepdims)


def argmin(x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the least element is, along an axis or among all (in row-major order)."""
    return _whole(x, extrema.argmin(x, axis, keepdims), axis, keepdims)


def _whole(x: Tensor, found: Tensor, axis: int | None, keepdims: bool) -> Tensor:
    return views.reshape(found, (1,) * x.ndim) if axis is None and keepdims else found


def nonzero(x: Tensor, /) -> tuple[Tensor, ...]:
    """The indices of the elements that are not zero, a tensor per dimension."""
    if x.ndim == 0:
        raise ValueError("nonzero: expected one dimension or more, got a tensor of none.")
    return tuple(selection.nonzero(x, as_tuple=True))


def searchsorted(
    x1: Tensor, x2: Any, /, *, side: str = "left", sorter: Tensor | None = None
) -> Tensor:
    """Where elements of x2 belong in the sorted x1."""
    ordered, wanted = operands("searchsorted", x1, x2)
    return sorting.searchsorted(ordered, wanted, side=side, sorter=sorter)


def where(condition: Tensor, x1: Any, x2: Any, /) -> Tensor:
    """x1 where the condition is true, x2 elsewhere."""
    return comparison.where(condition, *operands("where", x1, x2))


def sort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The elements in order along an axis."""
    values: Tensor = sorting.sort(x, axis, descending, stable)[0]
    return values


def argsort(
    x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True
) -> Tensor:
    """The indices that sort along an axis."""
    return sorting.argsort(x, axis, descending, stable)


class UniqueAll(NamedTuple):
    """What `unique_all` gives."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """What `unique_counts` gives."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """What `unique_inverse` gives."""

    values: Tensor
    inverse_indices: Tensor


def unique_all(x: Tensor, /) -> UniqueAll:
    """The different elements in order, where each is first, which one each is, how often."""
    values, inverse, counts = sorting.unique(x, return_inverse=True, return_counts=True)
    places = creation.arange(x.numel(), device=x.device)
    first = creation.full(values.shape, x.numel(), dtype=dtypes.int64, device=x.device)
    indices = scatter_reduce(first, 0, views.flatten(inverse), places, "amin")
    return UniqueAll(values, indices, views.reshape(inverse, x.shape), counts)


def unique_counts(x: Tensor, /) -> UniqueCounts:
    """The different elements in order, and how often each occurs."""
    return UniqueCounts(*sorting.unique(x, return_counts=True))


def unique_inverse(x: Tensor, /) -> UniqueInverse:
    """The different elements in order, and which one each element is."""
    values, inverse = sorting.unique(x, return_inverse=True)
    return UniqueInverse(values, views.reshape(inverse, x.shape))


def unique_values(x: Tensor, /) -> Tensor:
    """The different elements in order."""
    values: Tensor = sorting.unique(x)
    return values


def isin(x1: Any, x2: Any, /, *, invert: bool = False) -> Tensor:
    """Whether each element of x1 is (with `invert`: is not) one of x2's."""
    elements, among = operands("isin", x1, x2)
    return sorting.isin(elements, among, invert=invert)


def take(x: Tensor, indices: Tensor, /, *, axis: int | None = None) -> Tensor:
    """The slices at indices along an axis, which only a tensor of one dimension may leave out."""
    if axis is None:
        if x.ndim != 1:
            raise ValueError(
                f"take: axis must be given for {x.ndim} dimensions, got shape {tuple(x.shape)}."
            )
        axis = 0
    if not -x.ndim <= axis < x.ndim:
        raise IndexError(
            f"take: axis {axis} is out of range for {x.ndim} dimensions. Use {-x.ndim} to "
            f"{x.ndim - 1}."
        )
    taken: Tensor = x[(slice(None),) * (axis % x.ndim) + (indices,)]
    return taken


def take_along_axis(x: Tensor, indices: Tensor, /, *, axis: int = -1) -> Tensor:
    """The elements at an index of their own each along an axis."""
    counted = comparison.where(comparison.lt(indices, 0), indices + x.shape[axis], indices)
    return selection.take_along_dim(x, counted.to(dtypes.int64), axis)
