"""Views: the same memory under another shape, order or part."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from tritorch.autograd.views import MULTI_OUTPUT
from tritorch.dtypes import dtype as Dtype
from tritorch.layout import Layout, Shape, broadcast_shapes, contiguous_strides, normalize_dim
from tritorch.ops.declare import method, operation
from tritorch.ops.dispatch import Plans
from tritorch.ops.memory import contiguous
from tritorch.ops.view_nodes import (
    InverseNode,
    PartNode,
    PartsNode,
    inverse_view,
    node_class,
    part_view,
    parts_views,
)
from tritorch.tensor import Tensor, wrap

_View = node_class(InverseNode, "ViewBackward0")
_UnsafeView = node_class(InverseNode, "UnsafeViewBackward0")
_Transpose = node_class(InverseNode, "TransposeBackward0")
_T = node_class(InverseNode, "TBackward0")
_Permute = node_class(InverseNode, "PermuteBackward0")
_Squeeze = node_class(InverseNode, "SqueezeBackward0")
_Unsqueeze = node_class(InverseNode, "UnsqueezeBackward0")
_Alias = node_class(InverseNode, "AliasBackward0")
_Expand = node_class(InverseNode, "ExpandBackward0")
_Select = node_class(PartNode, "SelectBackward0")
_Slice = node_class(PartNode, "SliceBackward0")
_Split = node_class(PartsNode, "SplitBackward0")
_SplitWithSizes = node_class(PartsNode, "SplitWithSizesBackward0")
_Unbind = node_class(PartsNode, "UnbindBackward0")
_Diagonal = node_class(PartNode, "DiagonalBackward0")


# ---- shape


def viewed_strides(shape: Shape, strides: Shape, new: Shape) -> Shape | None:
    """Strides that show a strided buffer under another shape, None where only a copy can."""
    if 0 in shape:
        return contiguous_strides(new)
    kept = [(size, stride) for size, stride in zip(shape, strides) if size != 1]
    result = [0] * len(new)
    position = len(new) - 1
    # Runs of dimensions that are walked as one, innermost first, are cut anew.
    while kept:
        size, stride = kept.pop()
        run, step = size, stride
        while kept and kept[-1][1] == step * size:
            size, step = kept.pop()
            run *= size
        inner = stride
        while position >= 0 and (run > 1 or new[position] == 1):
            if run % new[position]:
                return None
            result[position] = inner
            inner *= new[position]
            run //= new[position]
            position -= 1
        if run != 1:
            return None
    step = 1 if position == len(new) - 1 else result[position + 1] * new[position + 1]
    while position >= 0:
        result[position] = step
        position -= 1
    return tuple(result)


def inferred_shape(name: str, numel: int, sizes: Sequence[int]) -> Shape:
    """The shape with its -1 filled in."""
    known, unknown = 1, -1
    for position, size in enumerate(sizes):
        if size == -1:
            if unknown >= 0:
                raise RuntimeError(f"{name}: only one dimension can be inferred (-1).")
            unknown = position
        elif size < 0:
            raise RuntimeError(f"{name}: invalid shape dimension {size} in {list(sizes)}.")
        else:
            known *= size
    shape = tuple(sizes)
    if unknown >= 0:
        if not known and not numel:
            raise RuntimeError(
                f"{name}: cannot reshape tensor of 0 elements into shape {list(sizes)} because the "
                "unspecified dimension size -1 can be any value and is ambiguous."
            )
        if known and numel % known == 0:
            return (*shape[:unknown], numel // known, *shape[unknown + 1 :])
    elif known == numel:
        return shape
    raise RuntimeError(f"{name}: shape '{list(sizes)}' is invalid for input of size {numel}.")


def _sizes(name: str, sizes: tuple[Any, ...]) -> tuple[int, ...]:
    if len(sizes) == 1 and not hasattr(sizes[0], "__index__"):
        sizes = tuple(sizes[0])
    return tuple([operator.index(size) for size in sizes])


def _view_plan(key: tuple[Layout, Shape]) -> Layout | None:
    layout, sizes = key
    shape = inferred_shape("view", layout.numel, sizes)
    strides = viewed_strides(layout.shape, layout.strides, shape)
    return None if strides is None else Layout.of(layout.dtype, shape, strides, layout.device)


_views = Plans(_view_plan)


@operation("view")
def view(input: Tensor, *shape: Any, dtype: Dtype | None = None) -> Tensor:
    """The same elements under another shape (one size may be -1), or their bytes as another dtype.

    Raises:
        RuntimeError: the strides do not allow it without a copy; use reshape.
    """
    if dtype is not None or (len(shape) == 1 and isinstance(shape[0], Dtype)):
        return _view_dtype(input, dtype or shape[0])
    layout = _views[input._layout, _sizes("view", shape)]
    if layout is None:
        raise RuntimeError(
            "view: view size is not compatible with input tensor's size and stride (at least one "
            "dimension spans across two contiguous subspaces). Use .reshape(...) instead."
        )
    old = input._layout.shape
    return inverse_view(input, layout, _View, lambda g: reshape(g, old))


def _view_dtype(input: Tensor, dtype: Dtype) -> Tensor:
    layout = input._layout
    ratio = layout.dtype.itemsize / dtype.itemsize
    shape, strides = list(layout.shape), list(layout.strides)
    if ratio != 1:
        if not shape or strides[-1] != 1 or shape[-1] * layout.dtype.itemsize % dtype.itemsize:
            raise RuntimeError(
                f"view: cannot view {layout.dtype} of shape {layout.shape} and strides "
                f"{layout.strides} as {dtype}: the last dimension must be dense and divisible."
            )
        shape[-1] = int(shape[-1] * ratio)
        strides = [int(step * ratio) for step in strides[:-1]] + [1]
    return wrap(
        input._storage,
        Layout.of(dtype, tuple(shape), tuple(strides), layout.device),
        input._address,
    )


@method("view_as")
def view_as(input: Tensor, other: Tensor) -> Tensor:
    """A view under the shape of another tensor."""
    return view(input, *other._layout.shape)


def _copied(input: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """A fresh copy under another shape; as nobody else has the copy, this is no view of it."""
    layout, old = _views[input._layout, sizes], input._layout.shape
    assert layout is not None
    result = inverse_view(input, layout, _UnsafeView, lambda g: reshape(g, old))
    result._view = None
    return result


@operation("view")
def reshape(input: Tensor, *shape: Any) -> Tensor:
    """The same elements under another shape: a view where the strides allow it, else a copy."""
    sizes = _sizes("reshape", shape)
    layout = _views[input._layout, sizes]
    if layout is None:
        return _copied(contiguous(input), sizes)
    old = input._layout.shape
    return inverse_view(input, layout, _View, lambda g: reshape(g, old))


@method("reshape_as")
def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """The same elements under the shape of another tensor."""
    return reshape(input, *other._layout.shape)


@operation("view")
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions `start_dim` to `end_dim` as one."""
    shape = input._layout.shape
    if not shape:
        return reshape(input, 1)
    start = normalize_dim("flatten", start_dim, len(shape))
    end = normalize_dim("flatten", end_dim, len(shape))
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if start == end:
        return input
    count = 1
    for size in shape[start : end + 1]:
        count *= size
    return reshape(input, *shape[:start], count, *shape[end + 1 :])


@method("ravel")
def ravel(input: Tensor) -> Tensor:
    """All elements in one dimension, contiguous: a view only of what is."""
    return view(contiguous(input), -1)


@operation("view")
def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """One dimension as several."""
    shape = input._layout.shape
    if not shape:
        raise _no_dimensions("unflatten")
    dim = normalize_dim("unflatten", dim, len(shape))
    cut = inferred_shape("unflatten", shape[dim], tuple(sizes))
    return reshape(input, *shape[:dim], *cut, *shape[dim + 1 :])


# ---- order


def _transpose_plan(key: tuple[Layout, int, int]) -> Layout:
    layout, first, second = key
    order = list(range(layout.ndim))
    if order:
        a = normalize_dim("transpose", first, layout.ndim)
        b = normalize_dim("transpose", second, layout.ndim)
        order[a], order[b] = order[b], order[a]
    return _permuted(layout, order)


def _permuted(layout: Layout, order: Sequence[int]) -> Layout:
    shape = tuple([layout.shape[d] for d in order])
    strides = tuple([layout.strides[d] for d in order])
    return Layout.of(layout.dtype, shape, strides, layout.device)


_transposes = Plans(_transpose_plan)


@operation("view", aliases=("swapaxes", "swapdims"))
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions exchanged."""
    layout = _transposes[input._layout, dim0, dim1]
    return inverse_view(input, layout, _Transpose, lambda g: transpose(g, dim0, dim1))


swapaxes = swapdims = transpose


@operation("view")
def t(input: Tensor) -> Tensor:
    """A matrix transposed; fewer dimensions as they are."""
    ndim = input._layout.ndim
    if ndim > 2:
        raise RuntimeError(
            f"t() expects a tensor with <= 2 dimensions, but self is {ndim}D. Use .mT or transpose."
        )
    layout = _transposes[input._layout, 0, 1] if ndim == 2 else input._layout
    return inverse_view(input, layout, _T, t)


def flipped(input: Tensor) -> Tensor:
    """A matrix with its dimensions in reverse order: what `permute` makes of it, sooner."""
    return inverse_view(input, _transposes[input._layout, 0, 1], _Permute, flipped)


@operation("view")
def permute(input: Tensor, *dims: Any) -> Tensor:
    """The dimensions in another order."""
    layout = input._layout
    order = [normalize_dim("permute", d, layout.ndim) for d in _sizes("permute", dims)]
    if len(order) != layout.ndim:
        raise RuntimeError(
            f"permute(sparse_coo): number of dimensions in the tensor input does not match the "
            f"length of the desired ordering of dimensions i.e. input.dim() = {layout.ndim} is not "
            f"equal to len(dims) = {len(order)}"
        )
    if len(set(order)) != len(order):
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    back = [0] * len(order)
    for position, d in enumerate(order):
        back[d] = position
    return inverse_view(input, _permuted(layout, order), _Permute, lambda g: permute(g, back))


@operation("view", aliases=("moveaxis",))
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Dimensions moved to other places; the rest keeps its order."""
    ndim = input._layout.ndim
    sources = [source] if isinstance(source, int) else list(source)
    targets = [destination] if isinstance(destination, int) else list(destination)
    if len(sources) != len(targets):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({sources} dims) should contain "
            f"the same number of dims as destination ({targets} dims)."
        )
    sources = [normalize_dim("movedim", d, ndim) for d in sources]
    targets = [normalize_dim("movedim", d, ndim) for d in targets]
    rest = iter(d for d in range(ndim) if d not in sources)
    moved = dict(zip(targets, sources))
    return permute(input, *[moved[d] if d in moved else next(rest) for d in range(ndim)])


moveaxis = movedim


# ---- dimensions of size 1


@operation("view")
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Without dimensions of size 1: all of them, or those given."""
    layout = input._layout
    if dim is None:
        chosen = set(range(layout.ndim))
    else:
        dims = (dim,) if isinstance(dim, int) else tuple(dim)
        chosen = {normalize_dim("squeeze", d, layout.ndim) for d in dims}
    kept = [d for d in range(layout.ndim) if d not in chosen or layout.shape[d] != 1]
    shape = layout.shape
    return inverse_view(input, _permuted(layout, kept), _Squeeze, lambda g: reshape(g, shape))


@operation("view")
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a dimension of size 1 inserted."""
    layout = input._layout
    dim = normalize_dim("unsqueeze", dim, layout.ndim + 1)
    shape, strides = layout.shape, layout.strides
    step = shape[dim] * strides[dim] if dim < layout.ndim else 1
    new = Layout.of(
        layout.dtype,
        (*shape[:dim], 1, *shape[dim:]),
        (*strides[:dim], step, *strides[dim:]),
        layout.device,
    )
    return inverse_view(input, new, _Unsqueeze, lambda g: squeeze(g, dim))


# ---- repeated elements


def _expand_plan(key: tuple[Layout, Shape]) -> Layout:
    layout, sizes = key
    pad = len(sizes) - layout.ndim
    if pad < 0:
        raise RuntimeError(
            f"expand: the number of sizes provided ({len(sizes)}) must be greater or equal to the "
            f"number of dimensions in the tensor ({layout.ndim})."
        )
    shape, strides = [], []
    for position, size in enumerate(sizes):
        own = layout.shape[position - pad] if position >= pad else 1
        step = layout.strides[position - pad] if position >= pad else 0
        if size == -1 and position >= pad:
            size = own
        if (size != own and own != 1) or size < 0:
            raise RuntimeError(
                f"The expanded size of the tensor ({size}) must match the existing size ({own}) at "
                f"non-singleton dimension {position}.  Target sizes: {list(sizes)}.  Tensor sizes: "
                f"{list(layout.shape)}"
            )
        shape.append(size)
        strides.append(step if own == size else 0)
    return Layout.of(layout.dtype, tuple(shape), tuple(strides), layout.device)


_expansions = Plans(_expand_plan)


@operation("view")
def expand(input: Tensor, *sizes: Any, implicit: bool = False) -> Tensor:
    """Dimensions of size 1 shown larger, without copying; -1 keeps a size."""
    layout = _expansions[input._layout, _sizes("expand", sizes)]
    # The engine sums a gradient that is larger than its input.
    return inverse_view(input, layout, _Expand, lambda g: g)


@method("expand_as")
def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """Shown in the shape of another tensor."""
    return expand(input, *other._layout.shape)


@method("broadcast_to")
def broadcast_to(input: Tensor, size: Any) -> Tensor:
    """Shown in a shape that it broadcasts to."""
    return expand(input, *size)


def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """All tensors in their common shape."""
    if len(tensors) == 1 and isinstance(tensors[0], list | tuple):
        tensors = tuple(tensors[0])
    shape = broadcast_shapes("broadcast_tensors", *(x._layout.shape for x in tensors))
    return tuple(x if x._layout.shape == shape else expand(x, *shape) for x in tensors)


# ---- parts


def _select_plan(key: tuple[Layout, int, int]) -> tuple[Layout, int]:
    layout, dim, index = key
    if not layout.ndim:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    dim = normalize_dim("select", dim, layout.ndim)
    size = layout.shape[dim]
    if not -size <= index < size:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(layout.shape)} at "
            f"dimension {dim}"
        )
    rest = _permuted(layout, [d for d in range(layout.ndim) if d != dim])
    return rest, index % size * layout.strides[dim] * layout.dtype.itemsize


_selections = Plans(_select_plan)


@operation("view")
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """One slice of a dimension, which disappears."""
    layout, offset = _selections[input._layout, dim, operator.index(index)]
    return part_view(input, layout, offset, _Select, partial(select, dim=dim, index=index))


def slice_dim(
    input: Tensor, dim: int, start: int, length: int, step: int = 1,
    node: type[PartNode] = _Slice, creation: int = 0,
) -> Tensor:  # fmt: skip
    """`length` elements of a dimension from `start`; all arguments normalised."""
    layout = input._layout
    shape = (*layout.shape[:dim], length, *layout.shape[dim + 1 :])
    strides = (*layout.strides[:dim], layout.strides[dim] * step, *layout.strides[dim + 1 :])
    new = Layout.of(layout.dtype, shape, strides, layout.device)
    offset = start * layout.strides[dim] * layout.dtype.itemsize
    return part_view(
        input, new, offset, node, lambda x: slice_dim(x, dim, start, length, step), creation
    )


def _no_dimensions(name: str) -> RuntimeError:
    return RuntimeError(f"{name} expects at least a 1-dimensional tensor. Use reshape(1).")


@operation("view")
def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """`length` slices of a dimension from `start`."""
    layout = input._layout
    if not layout.shape:
        raise _no_dimensions("narrow")
    dim, start = normalize_dim("narrow", dim, layout.ndim), operator.index(start)
    size = layout.shape[dim]
    if not -size <= start <= size:
        raise IndexError(
            f"narrow: start out of range (expected to be in range of [{-size}, {size}], but got "
            f"{start})"
        )
    start = start + size if start < 0 else start
    if length < 0 or start + length > size:
        raise RuntimeError(
            f"narrow: start ({start}) + length ({length}) exceeds dimension size ({size})."
        )
    return slice_dim(input, dim, start, length)


@operation("view")
def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Parts of a dimension: of one size (the last may be smaller), or of the sizes given."""
    shape = tensor._layout.shape
    if not shape:
        raise _no_dimensions("split")
    dim = normalize_dim("split", dim, len(shape))
    size = shape[dim]
    if isinstance(split_size_or_sections, int):
        node, step = _Split, split_size_or_sections
        if step < 0 or (step == 0 and size):
            raise RuntimeError(f"split expects split_size be non-negative, but got {step}.")
        sizes = [min(step, size - i) for i in range(0, size, step)] if size else [0]
    else:
        node, sizes = _SplitWithSizes, list(split_size_or_sections)
        if sum(sizes) != size or any(part < 0 for part in sizes):
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {size} (input tensor's "
                f"size at dimension {dim}), but got split_sizes={sizes}"
            )
    layout = tensor._layout
    step, start, parts = layout.strides[dim] * layout.dtype.itemsize, 0, []
    for length in sizes:
        part = (*shape[:dim], length, *shape[dim + 1 :])
        parts.append((Layout.of(layout.dtype, part, layout.strides, layout.device), start * step))
        start += length
    return parts_views(tensor, parts, node, dim, MULTI_OUTPUT)


method("split_with_sizes")(split)


@operation("view")
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most so many parts of equal size; the last may be smaller."""
    if not input._layout.shape:
        raise _no_dimensions("chunk")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    size = input._layout.shape[normalize_dim("chunk", dim, input._layout.ndim)]
    if not size:
        return split(input, [0] * chunks, dim)
    return split(input, -(-size // chunks), dim)


def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Exactly so many parts (the first ones larger), or parts cut before the indices given.

    Each part is a slice of its own, which may be written to (those of `split` may not).
    """
    if not input._layout.ndim:
        raise _no_dimensions("tensor_split")
    dim = normalize_dim("tensor_split", dim, input._layout.ndim)
    size = input._layout.shape[dim]
    if isinstance(indices_or_sections, int):
        count = indices_or_sections
        if count <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {count}")
        cuts = [i * (size // count) + min(i, size % count) for i in range(count + 1)]
    else:
        cuts = [0, *indices_or_sections, size]
    parts = [slice(a, b).indices(size) for a, b in pairwise(cuts)]
    return tuple(slice_dim(input, dim, a, max(b - a, 0)) for a, b, _ in parts)


method("tensor_split")(tensor_split)


@operation("view")
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """All slices of a dimension."""
    layout = input._layout
    if not layout.ndim:
        raise IndexError("unbind: Dimension specified as 0 but tensor has no dimensions")
    dim = normalize_dim("unbind", dim, layout.ndim)
    new = _permuted(layout, [d for d in range(layout.ndim) if d != dim])
    step = layout.strides[dim] * layout.dtype.itemsize
    parts = [(new, i * step) for i in range(layout.shape[dim])]
    return parts_views(input, parts, _Unbind, dim, MULTI_OUTPUT)


@operation("view")
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A diagonal of two dimensions, as the last dimension."""
    layout = input._layout
    a = normalize_dim("diagonal", dim1, layout.ndim)
    b = normalize_dim("diagonal", dim2, layout.ndim)
    if a == b:
        raise RuntimeError(
            f"diagonal dimensions cannot be identical {dim1}, {dim2}. Choose different ones."
        )
    rows, columns = layout.shape[a], layout.shape[b]
    length = max(min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns), 0)
    start = offset * layout.strides[b] if offset >= 0 else -offset * layout.strides[a]
    kept = [d for d in range(layout.ndim) if d not in (a, b)]
    rest = _permuted(layout, kept)
    new = Layout.of(
        layout.dtype,
        (*rest.shape, length),
        (*rest.strides, layout.strides[a] + layout.strides[b]),
        layout.device,
    )
    at = start * layout.dtype.itemsize if length else 0
    return part_view(input, new, at, _Diagonal, lambda x: diagonal(x, offset, dim1, dim2))


@method("view_alias", "alias")
def alias(input: Tensor) -> Tensor:
    """A view of the whole."""
    return inverse_view(input, input._layout, _Alias, lambda g: g)
