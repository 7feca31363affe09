"""Reading and writing through index tensors and masks: gather, scatter, index_*, masked_*."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from tritorch import dtypes
from tritorch.autograd import inplace
from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.determinism import state as determinism
from tritorch.devices import cpu
from tritorch.errors import DeviceError
from tritorch.kernels.templates import compact
from tritorch.kernels.templates import indexing as kernels
from tritorch.layout import Layout, contiguous_format, normalize_dim
from tritorch.ops.declare import method, operation, takes, writes
from tritorch.ops.dispatch import Plans
from tritorch.ops.memory import contiguous, dense, duplicate, fill
from tritorch.ops.overlap import share_elements
from tritorch.ops.places import counted, flat_nonzero, nonzero
from tritorch.ops.promotion import NUMBERS
from tritorch.ops.transfer import moved
from tritorch.ops.view_nodes import node_class, place
from tritorch.ops.views import expand, reshape, slice_dim
from tritorch.tensor import Tensor, empty

Indices = Sequence[Tensor | None]

# ---- launches without history


def _layouts(indices: Indices) -> tuple[Layout | None, ...]:
    return tuple([None if i is None else i._layout for i in indices])


_reads = Plans(lambda key: kernels.plan_index(*key[:2], negative=key[2]))
_writes = Plans(
    lambda key: kernels.plan_index_put(*key[:3], mode=key[3], ordered=key[4], negative=key[5])
)
_gathers = Plans(lambda key: kernels.plan_gather(*key, negative=False))
_scatters = Plans(
    lambda key: kernels.plan_scatter(*key[:4], mode=key[4], ordered=key[5], negative=False)
)


def _read(x: Tensor, indices: Indices, negative: bool) -> Tensor:
    plan = _reads[x._layout, _layouts(indices), negative]
    result = empty(plan.outputs[0])
    plan.launch(result._address, x._address, *[i._address for i in indices if i is not None])
    return result


def _write(x: Tensor, indices: Indices, values: Tensor, how: str, negative: bool = True) -> None:
    ordered = determinism.enabled
    plan = _writes[x._layout, _layouts(indices), values._layout, how, ordered, negative]
    plan.launch(x._address, *[i._address for i in indices if i is not None], values._address)


def _scatter_raw(x: Tensor, dim: int, index: Tensor, source: Tensor, how: str) -> None:
    plan = _scatters[x._layout, dim, index._layout, source._layout, how, determinism.enabled]
    plan.launch(x._address, index._address, source._address)


def _zeros(shape: tuple[int, ...], like: Tensor) -> Tensor:
    result = empty(Layout.contiguous(like._layout.dtype, shape, like._layout.device))
    fill(result, 0)
    return result


def _fresh(x: Tensor, row_major: bool = False) -> Tensor:
    """A copy without history, to be written into."""
    if row_major:
        return duplicate(x, dense(x._layout, None, contiguous_format))
    return duplicate(x, dense(x._layout))


# ---- advanced indexing


class IndexNode(Node):
    """What the nodes of indexing keep: the shape of the input, how many dimensions are skipped."""

    __slots__ = ("places", "shape")
    shape: tuple[int, ...]
    #: per leading dimension whether an index stands there
    places: tuple[bool, ...]

    def indices(self, saved: Sequence[Any]) -> list[Any]:
        """The saved index tensors, None where a dimension is not indexed."""
        following = iter(saved)
        return [next(following) if there else None for there in self.places]


class IndexBackward0(IndexNode):
    """The gradient is added where the elements came from."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """Zeros plus the gradient at the indices."""
        (g,) = grads
        indices = self.indices(self.unpack())
        return (index_put(_zeros(self.shape, g), indices, g, accumulate=True),)


def index(input: Tensor, indices: Indices, negative: bool = True) -> Tensor:
    """input[indices]: an integer tensor or None per leading dimension.

    `negative`: whether negative values of a single index count from the end.
    """
    result = _read(input, indices, negative)
    if input._requires_grad and mode.enabled:
        node = IndexBackward0((edge(input),), (result._layout,))
        node.shape = input._layout.shape
        node.places = tuple([i is not None for i in indices])
        node.save(*[i for i in indices if i is not None])
        result._grad_fn, result._requires_grad = node, True
    return result


class IndexPutBackward0(IndexNode):
    """The gradient passes where nothing was written; what was written gets it from there."""

    __slots__ = ("how",)
    how: str

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """(gradient of what was written to, gradient of the values)."""
        (g,) = grads
        indices = self.indices(self.unpack())
        own = values = None
        if self.needs(0):
            own = g if self.how == "add" else index_put(g, indices, _zeros((), g))
        if self.needs(1):
            values = index(g, indices)
        return own, values


def _put_node(
    target: Tensor, result: Tensor, indices: Indices, values: Tensor, how: str
) -> IndexPutBackward0 | None:
    if not ((target._requires_grad or values._requires_grad) and mode.enabled):
        return None
    node = IndexPutBackward0((edge(target), edge(values)), (result._layout,))
    node.shape, node.how = target._layout.shape, how
    node.places = tuple([i is not None for i in indices])
    node.save(*[i for i in indices if i is not None])
    return node


def _values(x: Tensor, values: Any) -> Tensor:
    if not isinstance(values, Tensor):
        from tritorch.ops.creation import tensor

        return tensor(values, dtype=x._layout.dtype, device=x._layout.device)
    return values


def _apart(target: Tensor, read: Tensor) -> Tensor:
    """What is read, or a copy of it where the target has elements of it."""
    return duplicate(read, dense(read._layout)) if share_elements(target, read) else read


def _put(input: Tensor, indices: Indices, values: Any, how: str, negative: bool = True) -> Tensor:
    """A copy of input in which values meet what stands at the indices.

    `negative`: whether values of a single index may count from the end; those that may not belong
    to operations along one dimension, whose results are row-major in PyTorch.
    """
    values = _values(input, values)
    result = _fresh(input, row_major=not negative)
    _write(result, indices, values, how, negative)
    node = _put_node(input, result, indices, values, how)
    if node is not None:
        result._grad_fn, result._requires_grad = node, True
    return result


def _put_(input: Tensor, indices: Indices, values: Any, how: str, negative: bool = True) -> Tensor:
    """In-place version of `_put`."""
    values = _values(input, values)
    inplace.check_inplace(input, bool(values._requires_grad))
    node = _put_node(input, input, indices, values, how)
    values = _apart(input, values)
    indices = [i if i is None else _apart(input, i) for i in indices]
    _write(input, indices, values, how, negative)
    input._storage.version += 1
    if node is not None:
        inplace.rebase_history(input, node)
    return input


@method("index_put")
@takes("all")
def index_put(input: Tensor, indices: Indices, values: Any, accumulate: bool = False) -> Tensor:
    """A copy of input with values written (or added) at the indices."""
    return _put(input, converted_indices(input, indices), values, "add" if accumulate else "set")


@method("index_put_")
def index_put_(input: Tensor, indices: Indices, values: Any, accumulate: bool = False) -> Tensor:
    """Write (or add) values at the indices."""
    return _put_(input, converted_indices(input, indices), values, "add" if accumulate else "set")


def converted_indices(input: Tensor, indices: Indices) -> list[Tensor | None]:
    """Masks become the index tensors of their true elements; the CPU's go where the input is.

    Raises:
        RuntimeError: an index is on another device.
    """
    here = input._layout.device
    result: list[Tensor | None] = []
    for entry in indices:
        if entry is not None and entry._layout.device is not here:
            if entry._layout.device is not cpu:
                raise DeviceError(
                    "indices should be either on cpu or on the same device as the indexed tensor "
                    f"({here}), got one on {entry._layout.device}. Move it with .to(device)."
                )
            entry = moved(entry, here, False)
        if entry is not None and entry._layout.dtype in (dtypes.bool, dtypes.uint8):
            result += nonzero(entry, as_tuple=True)
        else:
            result.append(entry)
    return result


# ---- along a dimension


class GatherBackward0(Node):
    """The gradient is added where the elements came from."""

    __slots__ = ("dim", "shape")
    dim: int
    shape: tuple[int, ...]

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """scatter_add into zeros."""
        (index,) = self.unpack()
        (g,) = grads
        return (scatter_add(_zeros(self.shape, g), self.dim, index, g),)


@operation("index", register=False)
@writes
@takes("all")
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """result[i, j, k] = input[index[i, j, k], j, k] (for dim 0)."""
    dim = normalize_dim("gather", dim, input._layout.ndim)
    plan = _gathers[input._layout, dim, index._layout]
    result = empty(plan.outputs[0])
    plan.launch(result._address, input._address, index._address)
    if input._requires_grad and mode.enabled:
        node = GatherBackward0((edge(input),), (result._layout,))
        node.dim, node.shape = dim, input._layout.shape
        node.save(index)
        result._grad_fn, result._requires_grad = node, True
    return result


class ScatterBackward0(Node):
    """Set: nothing passes where was written. Add: everything passes."""

    __slots__ = ("dim", "how", "source")
    dim: int
    how: str
    source: Layout

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """(gradient of what was written to, gradient of the source)."""
        (index,) = self.unpack()
        (g,) = grads
        own = source = None
        if self.needs(0):
            own = g if self.how == "add" else scatter(g, self.dim, index, 0)
        if len(self.next_functions) > 1 and self.needs(1):
            source = gather(g, self.dim, index)
            if index._layout.shape != self.source.shape:  # only a corner of it was read
                source = place(source, self.source, partial(corner, shape=index._layout.shape))
        return (own, source) if len(self.next_functions) > 1 else (own,)


def _source(x: Tensor, index: Tensor, src: Any) -> Tensor:
    if src.__class__ in NUMBERS:
        one = empty(Layout.contiguous(x._layout.dtype, (), x._layout.device))
        fill(one, src)
        return expand(one, *index._layout.shape)
    if src._layout.dtype is not x._layout.dtype:
        raise RuntimeError(
            f"scatter(): Expected self.dtype to be equal to src.dtype, got {x._layout.dtype} and "
            f"{src._layout.dtype}. Cast one of them."
        )
    return src


_MODES = {None: "set", "add": "add", "multiply": "multiply"}


class NotImplementedNode(Node):
    """Backward of a scatter that multiplies, which neither PyTorch has; scatter_reduce does."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """Raises."""
        raise NotImplementedError(
            "scatter: derivative for reduce='multiply' is not implemented. Use scatter_reduce."
        )


def _scatter_node(
    input: Tensor, result: Tensor, dim: int, index: Tensor, source: Tensor, how: str
) -> Node | None:
    if not ((input._requires_grad or source._requires_grad) and mode.enabled):
        return None
    if how not in ("set", "add"):
        return NotImplementedNode((edge(input), edge(source)), (result._layout,))
    node = ScatterBackward0((edge(input), edge(source)), (result._layout,))
    node.dim, node.how, node.source = dim, how, source._layout
    node.save(index)
    return node


def corner(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The first elements of every dimension."""
    for dim, size in enumerate(shape):
        x = slice_dim(x, dim, 0, size)
    return x


def scattered(input: Tensor, dim: int, index: Tensor, src: Any, how: str) -> Tensor:
    dim = normalize_dim("scatter", dim, input._layout.ndim)
    source = _source(input, index, src)
    result = _fresh(input, row_major=True)
    _scatter_raw(result, dim, index, source, how)
    node = _scatter_node(input, result, dim, index, source, how)
    if node is not None:
        result._grad_fn, result._requires_grad = node, True
    return result


def _scattered_(input: Tensor, dim: int, index: Tensor, src: Any, how: str) -> Tensor:
    dim = normalize_dim("scatter_", dim, input._layout.ndim)
    source = _source(input, index, src)
    inplace.check_inplace(input, bool(source._requires_grad))
    node = _scatter_node(input, input, dim, index, source, how)
    source, index = _apart(input, source), _apart(input, index)
    _scatter_raw(input, dim, index, source, how)
    input._storage.version += 1
    if node is not None:
        inplace.rebase_history(input, node)
    return input


def _src(src: Any, value: Any) -> Any:
    if (src is None) == (value is None):
        raise TypeError("scatter: give either src or value.")
    return value if src is None else src


@method("scatter")
@writes
@takes("all")
def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None,
    reduce: str | None = None,
) -> Tensor:  # fmt: skip
    """A copy of input with result[index[i, j, k], j, k] = src[i, j, k] (for dim 0)."""
    return scattered(input, dim, index, _src(src, value), _MODES[reduce])


@method("scatter_")
def scatter_(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None,
    reduce: str | None = None,
) -> Tensor:  # fmt: skip
    """In-place version of `scatter`."""
    return _scattered_(input, dim, index, _src(src, value), _MODES[reduce])


@method("scatter_add")
@writes
@takes("all")
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy of input with src[i, j, k] added at [index[i, j, k], j, k] (for dim 0)."""
    return scattered(input, dim, index, src, "add")


@method("scatter_add_")
def scatter_add_(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """In-place version of `scatter_add`."""
    return _scattered_(input, dim, index, src, "add")


def scatter_zeros(g: Tensor, layout: Layout, dim: int, index: Tensor) -> Tensor:
    """Zeros of a layout's shape with g written at the index along a dimension."""
    return scatter(_zeros(layout.shape, g), dim, index, g)


@method("take_along_dim")
@writes
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """`gather` with broadcasting; of all elements in one row without `dim`."""
    if dim is None:
        return gather(reshape(input, -1), 0, reshape(indices, -1))
    dim = normalize_dim("take_along_dim", dim, input._layout.ndim)
    own, other = list(input._layout.shape), list(indices._layout.shape)
    for d in range(len(own)):
        if d != dim:
            own[d] = other[d] = max(own[d], other[d])
    return gather(expand(input, *own), dim, expand(indices, *other))


@method("index_select")
@writes
@takes("all")
def index_select(input: Tensor, dim: int, index_: Tensor) -> Tensor:
    """The slices of a dimension at the indices."""
    dim = normalize_dim("index_select", dim, input._layout.ndim)
    if index_._layout.ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    if not input._layout.ndim:
        return reshape(index(reshape(input, 1), [reshape(index_, -1)]), ())
    if not index_._layout.ndim:
        index_ = reshape(index_, 1)
    found = index(input, [*[None] * dim, index_], negative=False)
    if found._grad_fn is not None:
        found._grad_fn.__class__ = node_class(IndexBackward0, "IndexSelectBackward0")
    return found


def _along(dim: int, input: Tensor, index_: Tensor) -> list[Tensor | None]:
    dim = normalize_dim("index", dim, input._layout.ndim)
    return [*[None] * dim, reshape(index_, -1)]


def _addend(input: Tensor, source: Tensor, alpha: Any) -> Tensor:
    if input._layout.dtype is not source._layout.dtype:
        raise RuntimeError(
            f"index_add(): self ({input._layout.dtype}) and source ({source._layout.dtype}) must "
            "have the same scalar type. Cast one of them."
        )
    return source if alpha == 1 else source * alpha


@method("index_add")
@writes
@takes("all")
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """A copy of input with slices of source added at the indices."""
    scaled = _addend(input, source, alpha)
    return _put(input, _along(dim, input, index), scaled, "add", negative=False)


@method("index_add_")
def index_add_(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """In-place version of `index_add`."""
    scaled = _addend(input, source, alpha)
    return _put_(input, _along(dim, input, index), scaled, "add", negative=False)


@method("index_copy")
@writes
@takes("all")
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy of input with slices of source written at the indices."""
    return _put(input, _along(dim, input, index), source, "set", negative=False)


@method("index_copy_")
def index_copy_(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """In-place version of `index_copy`."""
    return _put_(input, _along(dim, input, index), source, "set", negative=False)


@method("index_fill")
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A copy of input with a number in the slices at the indices."""
    return index_put(input, _along(dim, input, index), value)


@method("index_fill_")
def index_fill_(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """In-place version of `index_fill`."""
    return index_put_(input, _along(dim, input, index), value)


@method("take")
@writes
@takes("all")
def take(input: Tensor, index_: Tensor) -> Tensor:
    """The elements at row-major positions."""
    return index(reshape(contiguous(input), -1), [index_])


# ---- masks


_chosen = Plans(lambda key: compact.plan_compact(*key))


@method("masked_select")
@writes
@takes("all")
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask holds, in one row."""
    from tritorch.ops.views import broadcast_tensors

    if mask._layout.dtype is not dtypes.bool:
        raise RuntimeError(
            f"masked_select: expected BoolTensor for mask, got {mask._layout.dtype}. Use .bool()."
        )
    input, mask = broadcast_tensors(input, mask)
    layout = input._layout
    if (input._requires_grad and mode.enabled) or layout.ndim > 4 or not layout.numel:
        return index(reshape(input, -1), [flat_nonzero(mask)])
    offsets, count = counted(mask)
    found = empty(Layout.contiguous(layout.dtype, (count,), layout.device))
    plan = _chosen[mask._layout, layout]
    plan.launch(found._address, offsets._address, mask._address, input._address)
    return found


@method("masked_scatter")
@takes("all")
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """A copy of input with the elements of source written, in order, where the mask holds."""
    places = flat_nonzero(expand(mask, *input._layout.shape))
    values = reshape(source, -1)[: places.numel()]
    return reshape(index_put(reshape(input, -1), [places], values), *input._layout.shape)


@method("masked_scatter_")
def masked_scatter_(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """In-place version of `masked_scatter`."""
    return input.copy_(masked_scatter(input, mask, source))
