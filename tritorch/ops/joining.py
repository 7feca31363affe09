"""Joining, repeating and rearranging: cat, stack, repeat, flip, roll, triangles, diagonals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tritorch import dtypes
from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.kernels import scalar as s
from tritorch.kernels.templates import concat as kernels
from tritorch.layout import Layout, normalize_dim
from tritorch.ops.declare import (
    method,
    numpy_names,
    operation,
    pointwise,
    takes,
    without_gradient,
    writes,
)
from tritorch.ops.dispatch import Plans
from tritorch.ops.memory import contiguous, dense, duplicate
from tritorch.ops.output import finished
from tritorch.ops.promotion import common_device, common_dtype
from tritorch.ops.reduction import normalize_dims
from tritorch.ops.view_nodes import InverseNode, node_class, place
from tritorch.ops.views import (
    diagonal as _diagonal,
)
from tritorch.ops.views import (
    expand,
    narrow,
    reshape,
    select,
    slice_dim,
    transpose,
    unsqueeze,
)
from tritorch.tensor import Tensor, empty, wrap


def _plan(key: tuple[str, tuple[Layout, ...], int]) -> Any:
    name, layouts, dim = key
    common_device(name, layouts)
    build = kernels.plan_cat if name == "cat" else kernels.plan_stack
    return build(layouts, dim, common_dtype(layouts))


_plans = Plans(_plan)


class JoinNode(Node):
    """What the nodes of cat and stack keep."""

    __slots__ = ("dim", "sizes")
    dim: int
    sizes: tuple[int, ...]


class CatBackward0(JoinNode):
    """Each input gets its part."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient cut along the dimension."""
        (g,) = grads
        parts, start = [], 0
        for position, size in enumerate(self.sizes):
            wanted = self.needs(position)
            parts.append(slice_dim(g, self.dim, start, size) if wanted and size >= 0 else None)
            start += max(size, 0)
        return tuple(parts)


class StackBackward0(JoinNode):
    """Each input gets its slice."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The slices of the gradient."""
        (g,) = grads
        return tuple(
            select(g, self.dim, i) if self.needs(i) else None for i in range(len(self.sizes))
        )


def _join(name: str, tensors: Any, dim: int, node_type: type[JoinNode]) -> Tensor:
    tensors = tuple(tensors)
    if not tensors:
        kind = RuntimeError if name == "stack" else ValueError  # as PyTorch's
        raise kind(f"{name}(): expected a non-empty list of Tensors. Give it at least one.")
    for position, x in enumerate(tensors):
        if not isinstance(x, Tensor):
            raise TypeError(
                f"expected Tensor as element {position} in argument 0, but got {type(x).__name__}"
            )
        if not x._layout.ndim and name == "cat":
            raise RuntimeError(
                f"zero-dimensional tensor (at position {position}) cannot be concatenated. "
                "Use stack."
            )
    plan = _plans[name, tuple([x._layout for x in tensors]), dim]
    result = empty(plan.outputs[0])
    plan.launch(result._address, *[x._address for x in tensors])
    if mode.enabled and any(x._requires_grad for x in tensors):
        node = node_type(tuple([edge(x) for x in tensors]), (result._layout,))
        node.dim = normalize_dim(name, dim, result._layout.ndim)
        # A legacy empty input of shape (0,) has no part in the result: -1.
        node.sizes = tuple(
            [
                x._layout.shape[node.dim] if x._layout.ndim == result._layout.ndim else -1
                for x in tensors
            ]
        )
        result._grad_fn, result._requires_grad = node, True
    return result


@numpy_names
@takes("all")
def cat(tensors: Sequence[Tensor], dim: int = 0, *, out: Tensor | None = None) -> Tensor:
    """The tensors one behind the other along a dimension."""
    return finished(_join("cat", tensors, dim, CatBackward0), out, "cat")


concat = concatenate = cat


@numpy_names
@takes("all")
def stack(tensors: Sequence[Tensor], dim: int = 0, *, out: Tensor | None = None) -> Tensor:
    """The tensors along a new dimension."""
    return finished(_join("stack", tensors, dim, StackBackward0), out, "stack")


def _at_least(x: Tensor, ndim: int) -> Tensor:
    while x._layout.ndim < ndim:
        x = unsqueeze(x, 0)
    return x


def _each(function: Any) -> Any:
    def apply(*tensors: Any) -> Any:
        if len(tensors) == 1 and isinstance(tensors[0], list | tuple):
            return tuple(function(x) for x in tensors[0])
        if len(tensors) == 1:
            return function(tensors[0])
        return tuple(function(x) for x in tensors)

    apply.__name__ = apply.__qualname__ = function.__name__
    apply.__doc__ = function.__doc__
    return apply


@_each
def atleast_1d(x: Tensor) -> Tensor:
    """With at least one dimension."""
    return _at_least(x, 1)


@_each
def atleast_2d(x: Tensor) -> Tensor:
    """With at least two dimensions."""
    return _at_least(x, 2)


@_each
def atleast_3d(x: Tensor) -> Tensor:
    """With at least three dimensions."""
    return unsqueeze(_at_least(x, 2), -1) if x._layout.ndim < 3 else x


@writes
def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined along columns (1-d tensors end to end)."""
    parts = [_at_least(x, 1) for x in tensors]
    return cat(parts, 0 if parts[0]._layout.ndim == 1 else 1)


@writes
def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined along rows."""
    return cat([_at_least(x, 2) for x in tensors], 0)


row_stack = vstack


@writes
def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined along the third dimension."""
    return cat(list(atleast_3d(list(tensors))), 2)


@writes
def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined as columns."""
    return cat([x if x._layout.ndim > 1 else reshape(x, -1, 1) for x in tensors], 1)


# ---- repetition


@operation("view", register=False)
def repeat(input: Tensor, *repeats: Any) -> Tensor:
    """Copies along each dimension."""
    counts = tuple(repeats[0]) if len(repeats) == 1 and not isinstance(repeats[0], int) else repeats
    shape = input._layout.shape
    if len(counts) < len(shape):
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of "
            f"tensor, got {list(counts)} for shape {list(shape)}."
        )
    shape = (1,) * (len(counts) - len(shape)) + shape
    spread: list[int] = []
    single: list[int] = []
    for count, size in zip(counts, shape):
        spread += [count, size]
        single += [1, size]
    whole = expand(reshape(input, *single), *spread)
    result = contiguous(reshape(whole, *(c * n for c, n in zip(counts, shape))))
    if isinstance(result._grad_fn, InverseNode):
        result._grad_fn.__class__ = node_class(InverseNode, "RepeatBackward0")
    return result


@method("tile")
def tile(input: Tensor, *dims: Any) -> Tensor:
    """Copies along the last dimensions, or all."""
    counts = tuple(dims[0]) if len(dims) == 1 and not isinstance(dims[0], int) else dims
    counts = (1,) * (input._layout.ndim - len(counts)) + counts
    return repeat(input, *counts)


@method("repeat_interleave")
@takes("all")
def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each element repeated in place: so often, or as often as its entry in `repeats` says.

    With nothing but `input`: each index as often as its entry says.
    """
    from tritorch.ops.creation import arange, zeros
    from tritorch.ops.scan import cumsum
    from tritorch.ops.selection import index_add_, index_select

    if repeats is None:
        if input._layout.ndim != 1:
            raise RuntimeError(
                "repeat_interleave: repeats must have one dimension, got "
                f"{list(input._layout.shape)}."
            )
        input, repeats = arange(input.numel(), device=input.device), input
    if dim is None:
        input, dim = reshape(input, -1), 0
    dim = normalize_dim("repeat_interleave", dim, input._layout.ndim)
    size = input._layout.shape[dim]
    if isinstance(repeats, Tensor) and repeats.numel() == 1:
        repeats = int(repeats)
    if isinstance(repeats, int):
        spread = expand(
            unsqueeze(input, dim + 1), *input._layout.shape[: dim + 1], repeats,
            *input._layout.shape[dim + 1 :],
        )  # fmt: skip
        shape = input._layout.shape
        return contiguous(reshape(spread, *shape[:dim], size * repeats, *shape[dim + 1 :]))
    ends = cumsum(repeats, 0)
    total = int(ends[-1]) if output_size is None else output_size
    # One step up where a new element starts; the running sum is the element's number.
    steps = zeros(total + 1, dtype=dtypes.int64, device=input._layout.device)
    ones = zeros(size, dtype=dtypes.int64, device=input._layout.device) + 1
    index_add_(steps, 0, ends, ones)
    return index_select(input, dim, cumsum(steps, 0)[:total])


# ---- order


class FlipBackward0(JoinNode):
    """The gradient is flipped back."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The flipped gradient."""
        return (flip(grads[0], self.sizes),)


@operation("view", register=False)
@takes("all")
def flip(input: Tensor, *dims: Any) -> Tensor:
    """A copy with the order of some dimensions reversed."""
    given = tuple(dims[0]) if len(dims) == 1 and not isinstance(dims[0], int) else dims
    layout = input._layout
    chosen = normalize_dims("flip", given, layout.ndim) if given else ()
    strides, offset = list(layout.strides), 0
    for d in chosen if layout.ndim else ():
        offset += (layout.shape[d] - 1) * strides[d]
        strides[d] = -strides[d]
    backwards = Layout.of(layout.dtype, layout.shape, tuple(strides), layout.device)
    offset = offset * layout.dtype.itemsize if layout.numel else 0
    source = wrap(input._storage, backwards, input._address + offset)
    result = duplicate(source, dense(layout))
    if input._requires_grad and mode.enabled:
        node = FlipBackward0((edge(input),), (result._layout,))
        node.dim, node.sizes = 0, chosen
        result._grad_fn, result._requires_grad = node, True
    return result


def fliplr(input: Tensor) -> Tensor:
    """Columns in reverse order."""
    return flip(input, 1)


def flipud(input: Tensor) -> Tensor:
    """Rows in reverse order."""
    return flip(input, 0)


method("fliplr")(fliplr)
method("flipud")(flipud)


@operation("view", register=False)
def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Elements moved along dimensions; what leaves at one end enters at the other."""
    if dims is None:
        return reshape(roll(reshape(input, -1), shifts, 0), *input._layout.shape)
    shifts = [shifts] if isinstance(shifts, int) else list(shifts)
    dims = [dims] if isinstance(dims, int) else list(dims)
    if len(shifts) != len(dims):
        raise RuntimeError(
            f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}"
        )
    for shift, dim in zip(shifts, dims):
        dim = normalize_dim("roll", dim, input._layout.ndim)
        size = input._layout.shape[dim]
        shift = shift % size if size else 0
        if shift:
            input = cat(
                [narrow(input, dim, size - shift, shift), narrow(input, dim, 0, size - shift)], dim
            )
    return input.clone() if input._view is None else contiguous(input)


# ---- triangles and diagonals


def _below(diagonal: Any) -> Any:
    return s.diagonal() <= s.cast(diagonal, dtypes.int32)


@pointwise(numpy=None, method=False, out=False, node="TrilBackward0", row_major=True)
def _tril(input, diagonal: int):
    return s.where(_below(diagonal), input, False)


@pointwise(numpy=None, method=False, out=False, node="TriuBackward0", row_major=True)
def _triu(input, diagonal: int):
    return s.where(_below(diagonal - 1), False, input)


def _within(name: str, input: Tensor, diagonal: int) -> int:
    """The diagonal, or the first beyond the matrix on its side."""
    shape = input._layout.shape
    if len(shape) < 2:
        raise RuntimeError(
            f"{name}: input tensor must have at least 2 dimensions, got {len(shape)}."
        )
    return max(-shape[-2] - 1, min(diagonal, shape[-1] + 1))


@method("tril")
def tril(input: Tensor, diagonal: int = 0, *, out: Tensor | None = None) -> Tensor:
    """The lower triangle of matrices, zeros above `diagonal`."""
    return finished(_tril(input, _within("tril", input, diagonal)), out, "tril")


@method("triu")
def triu(input: Tensor, diagonal: int = 0, *, out: Tensor | None = None) -> Tensor:
    """The upper triangle of matrices, zeros below `diagonal`."""
    return finished(_triu(input, _within("triu", input, diagonal)), out, "triu")


@method("tril_")
def tril_(input: Tensor, diagonal: int = 0) -> Tensor:
    """In-place version of `tril`."""
    return _tril.operation.inplace(input, _within("tril", input, diagonal))


@method("triu_")
def triu_(input: Tensor, diagonal: int = 0) -> Tensor:
    """In-place version of `triu`."""
    return _triu.operation.inplace(input, _within("triu", input, diagonal))


def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None
) -> Tensor:
    """Indices of the lower triangle of a matrix, a row each for rows and columns."""
    from tritorch.ops.creation import ones
    from tritorch.ops.places import nonzero

    mask = tril(ones(row, col, dtype=dtypes.int32, device=device), offset)
    return nonzero(mask).t().contiguous().to(dtype or dtypes.int64)


def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None
) -> Tensor:
    """Indices of the upper triangle of a matrix, a row each for rows and columns."""
    from tritorch.ops.creation import ones
    from tritorch.ops.places import nonzero

    mask = triu(ones(row, col, dtype=dtypes.int32, device=device), offset)
    return nonzero(mask).t().contiguous().to(dtype or dtypes.int64)


@method("diag_embed")
@takes("all")
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices with the last dimension as their diagonal."""
    layout = input._layout
    size = layout.shape[-1] + abs(offset)
    ndim = layout.ndim + 1
    a, b = normalize_dim("diag_embed", dim1, ndim), normalize_dim("diag_embed", dim2, ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    shape = list(layout.shape[:-1])
    for d in sorted((a, b)):
        shape.insert(d, size)
    whole = Layout.contiguous(layout.dtype, tuple(shape), layout.device)
    return place(input, whole, lambda x: _diagonal(x, offset, a, b))


@method("diag")
@writes
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix, or a matrix with this diagonal."""
    if input._layout.ndim == 1:
        return diag_embed(input, diagonal)
    if input._layout.ndim != 2:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input._layout.ndim}D")
    return contiguous(_diagonal(input, diagonal)).clone()


@method("fill_diagonal_")
def fill_diagonal_(input: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """Write a number on the main diagonal; with `wrap`, on further ones below a tall matrix's."""
    if input._layout.ndim != 2:
        if input._layout.ndim < 2 or len(set(input._layout.shape)) > 1:
            raise RuntimeError(
                "fill_diagonal_: all dimensions of input must be of equal length, and at least two;"
                f" got {list(input._layout.shape)}."
            )
        steps = sum(input._layout.strides)
        size = input._layout.shape[:1]
        input.as_strided(size, (steps,), input.storage_offset()).fill_(fill_value)
        return input
    rows, columns = input._layout.shape
    for start in range(0, rows if wrap else 1, columns + 1):
        _diagonal(narrow(input, 0, start, rows - start)).fill_(fill_value)
    return input


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Coordinates of a grid from those of its axes; `indexing` is "ij" or "xy"."""
    if len(tensors) == 1 and isinstance(tensors[0], list | tuple):
        tensors = tuple(tensors[0])
    if indexing not in ("ij", "xy"):
        raise RuntimeError(
            f'meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}'
        )
    shape = [x.numel() for x in tensors]
    grids = []
    for position, x in enumerate(tensors):
        own = [1] * len(shape)
        own[position] = shape[position]
        grid = expand(reshape(x, *own), *shape)
        grids.append(transpose(grid, 0, 1) if indexing == "xy" and len(shape) > 1 else grid)
    return tuple(grids)


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All combinations of elements, a row each."""
    if len(tensors) == 1 and isinstance(tensors[0], Tensor):
        return tensors[0]
    return stack([reshape(g, -1) for g in meshgrid(*tensors)], 1)


def block_diag(*tensors: Tensor) -> Tensor:
    """Matrices along the diagonal of a larger one."""
    from tritorch.ops.creation import zeros

    parts = [_at_least(x, 2) for x in tensors]
    columns = sum(x._layout.shape[1] for x in parts)
    rows, start = [], 0
    for x in parts:
        n, m = x._layout.shape
        left = zeros(n, start, dtype=x._layout.dtype, device=x._layout.device)
        right = zeros(n, columns - start - m, dtype=x._layout.dtype, device=x._layout.device)
        rows.append(cat([left, x, right], 1))
        start += m
    return cat(rows, 0)


def constant_pad_nd(input: Tensor, pad: Sequence[int], value: Any = 0) -> Tensor:
    """A copy with borders of a number: `pad` has (before, after) per dimension, the last one
    first.
    """
    from tritorch.ops.creation import full

    layout = input._layout
    shape, starts = list(layout.shape), [0] * layout.ndim
    inner = input
    for position in range(len(pad) // 2):
        d = layout.ndim - 1 - position
        before, after = pad[2 * position], pad[2 * position + 1]
        if before < 0:
            inner = narrow(inner, d, -before, inner._layout.shape[d] + before)
        if after < 0:
            inner = narrow(inner, d, 0, inner._layout.shape[d] + after)
        shape[d] += before + after
        starts[d] = max(before, 0)
    whole = Layout.contiguous(layout.dtype, tuple(shape), layout.device)

    def window(x: Tensor) -> Tensor:
        for d, start in enumerate(starts):
            size = inner._layout.shape[d]
            if size != x._layout.shape[d]:
                x = slice_dim(x, d, start, size)
        return x

    placed = place(inner, whole, window)
    if value == 0:
        return placed
    border = full(tuple(shape), value, dtype=layout.dtype, device=layout.device)
    with_hole = border.clone()
    window(with_hole).fill_(0)
    return placed + with_hole


@without_gradient
@takes("int64")
def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """A 1 at the class of each element along a new last dimension, zeros elsewhere."""
    from tritorch.ops.creation import arange

    if tensor._layout.dtype is not dtypes.int64:
        raise RuntimeError(
            "one_hot is only applicable to index tensor of type LongTensor, got "
            f"{tensor._layout.dtype}."
        )
    if tensor._layout.numel:
        low, high = int(tensor.min()), int(tensor.max())
        if low < 0:
            raise RuntimeError("Class values must be non-negative.")
        if num_classes == -1:
            num_classes = high + 1
        if high >= num_classes:
            raise RuntimeError("Class values must be smaller than num_classes.")
    elif num_classes <= 0:
        raise RuntimeError("Can not infer total number of classes from empty tensor.")
    classes = arange(num_classes, device=tensor._layout.device)
    return (unsqueeze(contiguous(tensor), -1) == classes).long()


def broadcast_shapes(*shapes: Any) -> Any:
    """The common shape after broadcasting."""
    from tritorch.layout import broadcast_shapes as common
    from tritorch.tensor import Size

    return Size(
        common("broadcast_shapes", *((n,) if isinstance(n, int) else tuple(n) for n in shapes))
    )
