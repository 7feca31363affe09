"""Rearrangements made of other operations: copies of views, scatters into them, products of axes,
splits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import pairwise
from math import prod
from typing import Any

from tritorch import dtypes
from tritorch.dtypes import dtype as Dtype
from tritorch.layout import contiguous_format
from tritorch.ops.creation import arange, empty, ones
from tritorch.ops.declare import method, operation, takes, without_gradient, writes
from tritorch.ops.joining import cat, diag, flip
from tritorch.ops.memory import clone, contiguous
from tritorch.ops.places import argwhere
from tritorch.ops.scan import cumprod
from tritorch.ops.selection import index_put, index_put_
from tritorch.ops.strided import as_strided
from tritorch.ops.subscript import getitem
from tritorch.ops.views import (
    alias,
    diagonal,
    expand,
    flipped,
    narrow,
    permute,
    reshape,
    select,
    slice_dim,
    split,
    squeeze,
    t,
    tensor_split,
    transpose,
    unbind,
    unsqueeze,
    view,
)
from tritorch.tensor import Tensor

# ---- diagonals, powers, products


@method("diagflat")
@writes
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """A matrix with all elements on a diagonal."""
    return diag(reshape(input, -1), offset)


def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """Vandermonde's matrix: a row of powers x^(N-1), ..., x, 1 for each element, or their reverse.

    Shape: (n,) to (n, N), square unless N is given.
    """
    if x._layout.ndim != 1:
        raise RuntimeError(f"vander: x must be a one-dimensional tensor, got {x._layout.ndim}D.")
    count = x._layout.shape[0]
    columns = count if N is None else N
    if columns < 0:
        raise RuntimeError(f"vander: N must be non-negative, got {columns}.")
    kind = x._layout.dtype if x._layout.dtype.is_floating_point else dtypes.int64
    first = ones(count, min(columns, 1), dtype=kind, device=x._layout.device)
    rest = expand(unsqueeze(x, -1), count, max(columns - 1, 0))
    powers = cat([first, cumprod(rest, -1)], -1)
    return powers if increasing else flip(powers, -1)


def _numpy_kron(x: Any, y: Any) -> Any:
    import numpy as np

    return np.kron(x, y)


def _kron_cases() -> list[Any]:
    shapes = [((2, 3), (3, 2)), ((2,), (3,)), ((2, 2, 2), (3,)), ((), (2, 2))]
    return [lambda make, a=a, b=b: ((make(*a), make(*b)), {}) for a, b in shapes]


@operation("product", operands=2, numpy=_numpy_kron, cases=_kron_cases())
@writes
@takes("all")
def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product: `other` times each element of `input`, at that element's place."""
    ndim = max(input._layout.ndim, other._layout.ndim)
    a = (1,) * (ndim - input._layout.ndim) + input._layout.shape
    b = (1,) * (ndim - other._layout.ndim) + other._layout.shape
    left = reshape(input, *[size for n in a for size in (n, 1)])
    right = reshape(other, *[size for n in b for size in (1, n)])
    return reshape(left * right, *[m * n for m, n in zip(a, b)])


@takes("all")
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """The choices of r elements in their order, a row each.

    Shape: (n,) to (number of choices, r).
    """
    if input._layout.ndim != 1:
        raise RuntimeError(f"combinations: expected a 1D vector, got {input._layout.ndim}D.")
    if r < 0:
        raise RuntimeError(f"combinations: expected a non-negative number, got r={r}.")
    if r == 0:
        return empty(0, dtype=input._layout.dtype, device=input._layout.device)
    count = input._layout.shape[0]
    if r == 1:
        return unsqueeze(input, 1)
    places = arange(count, device=input._layout.device)
    axes = [reshape(places, *[count if d == k else 1 for d in range(r)]) for k in range(r)]
    ordered = [a <= b if with_replacement else a < b for a, b in pairwise(axes)]
    chosen = argwhere(expand(reduce(lambda a, b: a & b, ordered), *[count] * r))
    return getitem(input, contiguous(chosen))


@without_gradient
def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """The coordinates in an array of this shape of places counted row by row."""
    if indices._layout.dtype.category != 1:
        raise ValueError(
            f"unravel_index: expected 'indices' to be integers, got {indices._layout.dtype}."
        )
    sizes = (shape,) if isinstance(shape, int) else tuple(int(size) for size in shape)
    if any(size < 0 for size in sizes):
        raise ValueError(f"unravel_index: sizes must not be negative, got {sizes}.")
    return tuple(indices // prod(sizes[d + 1 :]) % sizes[d] for d in range(len(sizes)))


# ---- splits


def _splitter(name: str, dim: int, least: int) -> Callable[..., tuple[Tensor, ...]]:
    def function(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
        ndim = input._layout.ndim
        if ndim < least:
            raise RuntimeError(
                f"torch.{name} requires a tensor with at least {least} dimension"
                f"{'s' * (least > 1)}, but got a tensor with {ndim} dimensions!"
            )
        along = dim if ndim > 1 else 0
        size = input._layout.shape[along]
        count = indices_or_sections
        if isinstance(count, int) and (count <= 0 or size % count):
            raise RuntimeError(
                f"torch.{name} attempted to split along dimension {along}, but the size of the "
                f"dimension {size} is not divisible by the split_size {count}! Use tensor_split."
            )
        return tensor_split(input, indices_or_sections, along)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Parts of dimension {dim}: so many of equal size, or cut before indices."
    return method()(function)


hsplit = _splitter("hsplit", 1, 1)
vsplit = _splitter("vsplit", 0, 2)
dsplit = _splitter("dsplit", 2, 3)


# ---- copies of views


def _copying(shown: Callable[..., Any], name: str) -> Callable[..., Any]:
    def function(input: Tensor, *arguments: Any, **options: Any) -> Any:
        found = shown(input, *arguments, **options)
        if isinstance(found, tuple):
            return tuple(clone(part, memory_format=contiguous_format) for part in found)
        return clone(found, memory_format=contiguous_format)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"What `{name.removesuffix('_copy')}` shows, as a copy."
    return writes(function)


def _view_any(input: Tensor, size: Any) -> Tensor:
    return view(input, size) if isinstance(size, Dtype) else reshape(input, *size)


alias_copy = _copying(alias, "alias_copy")
as_strided_copy = _copying(as_strided, "as_strided_copy")
diagonal_copy = _copying(diagonal, "diagonal_copy")
expand_copy = _copying(expand, "expand_copy")
narrow_copy = _copying(narrow, "narrow_copy")
permute_copy = _copying(permute, "permute_copy")
select_copy = _copying(select, "select_copy")
split_copy = _copying(split, "split_copy")
squeeze_copy = _copying(squeeze, "squeeze_copy")
t_copy = _copying(t, "t_copy")
transpose_copy = _copying(transpose, "transpose_copy")
unbind_copy = _copying(unbind, "unbind_copy")
unsqueeze_copy = _copying(unsqueeze, "unsqueeze_copy")
view_copy = _copying(_view_any, "view_copy")
method("narrow_copy")(narrow_copy)


# ---- a copy with a part replaced


def _scattered(name: str, input: Tensor, src: Tensor, shown: Callable[[Tensor], Tensor]) -> Tensor:
    result = clone(input)
    part = shown(result)
    if part._layout.shape != src._layout.shape:
        raise RuntimeError(
            f"{name}: expected src to have a size equal to the slice of self. src size = "
            f"{list(src._layout.shape)}, slice size = {list(part._layout.shape)}."
        )
    part.copy_(src)
    return result


@method("select_scatter")
@writes
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy with `src` in place of one slice of a dimension."""
    return _scattered("select_scatter", input, src, lambda x: select(x, dim, index))


@method("slice_scatter")
@writes
def slice_scatter(
    input: Tensor,
    src: Tensor,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Tensor:
    """A copy with `src` in place of the slices start:end:step of a dimension."""
    if step <= 0:
        raise RuntimeError(f"slice_scatter: step must be positive, got {step}.")
    ndim = input._layout.ndim
    dim = dim + ndim if dim < 0 else dim
    chosen = range(input._layout.shape[dim])[start:end:step]
    return _scattered(
        "slice_scatter", input, src, lambda x: slice_dim(x, dim, chosen.start, len(chosen), step)
    )


@method("diagonal_scatter")
def diagonal_scatter(
    input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Tensor:
    """A copy with `src` on a diagonal."""
    return _scattered("diagonal_scatter", input, src, lambda x: diagonal(x, offset, dim1, dim2))


@method("as_strided_scatter")
def as_strided_scatter(
    input: Tensor, src: Tensor, size: Sequence[int], stride: Sequence[int],
    storage_offset: int | None = None,
) -> Tensor:  # fmt: skip
    """A copy with `src` in place of what `as_strided` shows."""
    return _scattered(
        "as_strided_scatter", input, src, lambda x: as_strided(x, size, stride, storage_offset)
    )


# ---- elements by their place in row-major order


def _check_put(name: str, input: Tensor, index: Tensor, source: Tensor) -> None:
    if index._layout.dtype is not dtypes.int64:
        raise IndexError(f"{name}: expected an index of int64, got {index._layout.dtype}.")
    if source._layout.dtype is not input._layout.dtype:
        raise RuntimeError(
            f"{name}: expected source of {input._layout.dtype} as self, got "
            f"{source._layout.dtype}. Convert it with .to(dtype)."
        )
    if source._layout.numel != index._layout.numel:
        raise RuntimeError(
            f"{name}: expected source and index to have the same number of elements, but got "
            f"source.numel() = {source._layout.numel}, index.numel() = {index._layout.numel}."
        )


@method("put")
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """A copy with elements, counted row by row, replaced (or added to)."""
    _check_put("put", input, index, source)
    source = reshape(source, *index._layout.shape)
    made = index_put(reshape(input, -1), (index,), source, accumulate)
    return reshape(made, *input._layout.shape)


@method("put_")
def put_(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """In-place version of `put`."""
    if not input._layout.is_contiguous:
        return input.copy_(put(input, index, source, accumulate))
    _check_put("put_", input, index, source)
    index_put_(view(input, -1), (index,), reshape(source, *index._layout.shape), accumulate)
    return input


@method("adjoint")
def adjoint(input: Tensor) -> Tensor:
    """The last two dimensions exchanged (and conjugated, were it complex)."""
    if input._layout.ndim == 1:
        raise RuntimeError(
            "tensor.adjoint() is only supported on matrices or batches of matrices. Got 1-D tensor."
        )
    return transpose(input, -2, -1) if input._layout.ndim else input


@method("rot90")
def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Turned by k quarter turns in the plane of two dimensions."""
    a, b = dims
    if a == b:
        raise RuntimeError(f"rot90: expected rotation dims to be different, got {a} and {b}.")
    turned = {
        0: lambda: input.clone(),
        1: lambda: transpose(flip(input, b), a, b),
        2: lambda: flip(input, a, b),
        3: lambda: flip(transpose(input, a, b), b),
    }
    return turned[k % 4]()


@method("trace")
def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal of a matrix."""
    if input._layout.ndim != 2:
        raise RuntimeError(
            f"trace: expected a matrix, but got tensor with dim {input._layout.ndim}. Use "
            "diagonal(...).sum(-1)."
        )
    return diagonal(input).sum()


def _matrix_transposed(input: Tensor) -> Tensor:
    """The last two dimensions exchanged."""
    if not input._layout.ndim:
        return input
    if input._layout.ndim < 2:
        raise RuntimeError(
            "tensor.mT is only supported on matrices or batches of matrices, got a tensor of "
            f"{input._layout.ndim} dimensions."
        )
    return transpose(input, -2, -1)


def _reversed(input: Tensor) -> Tensor:
    """All dimensions in reverse order."""
    if input._layout.ndim == 2:
        return flipped(input)
    return permute(input, *reversed(range(input._layout.ndim)))


def _transposed(input: Tensor) -> Tensor:
    """A matrix turned over (and conjugated, were it complex)."""
    if input._layout.ndim not in (0, 2):
        raise RuntimeError(
            "tensor.H is only supported on matrices (2-D tensors). Got "
            f"{input._layout.ndim}-D tensor. Use mH for batches."
        )
    return _reversed(input)


for _names, _view in (
    (("T",), _reversed),
    (("H",), _transposed),
    (("mT", "mH"), _matrix_transposed),
):
    for _name in _names:
        setattr(Tensor, _name, property(_view))
