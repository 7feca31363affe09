"""Sorting and what rests on it: topk, median, quantile, unique, searchsorted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tritorch import dtypes
from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.kernels.templates import select_gpu
from tritorch.kernels.templates import sort as kernels
from tritorch.kernels.templates import topk as topk_kernels
from tritorch.layout import Layout, normalize_dim
from tritorch.ops import return_types
from tritorch.ops.comparison import eq, where
from tritorch.ops.creation import arange, full, tensor, zeros
from tritorch.ops.declare import method, takes, without_gradient, writes
from tritorch.ops.dispatch import Plans
from tritorch.ops.elementary import ceil, floor, isnan, round
from tritorch.ops.joining import cat
from tritorch.ops.memory import contiguous, fill, to_dtype
from tritorch.ops.places import flat_nonzero
from tritorch.ops.promotion import common_dtype
from tritorch.ops.return_types import ValuesIndices
from tritorch.ops.scan import cumsum
from tritorch.ops.selection import (
    gather,
    index_select,
    scatter_zeros,
)
from tritorch.ops.views import expand, movedim, narrow, reshape, unsqueeze
from tritorch.ops.views import select as select_
from tritorch.tensor import Tensor, empty

_sorts = Plans(lambda key: kernels.plan_sort(key[0], key[1], descending=key[2]))
_topks = Plans(lambda key: topk_kernels.plan_topk(*key[:3], largest=key[3]))
_searches = Plans(lambda key: kernels.plan_search(key[0], key[1], right=key[2]))
_selections = Plans(lambda key: select_gpu.plan_select(*key))


class SortBackward0(Node):
    """The gradients go back to where the values came from."""

    __slots__ = ("dim", "layout")
    dim: int
    layout: Layout

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """Scattered by the indices."""
        (index,) = self.unpack()
        if grads[0] is None:
            return (None,)
        g = expand(grads[0], *index._layout.shape)
        return (scatter_zeros(g, self.layout, self.dim, index),)


@method("sort")
@writes
@takes("floating", "integers", "bool")
def sort(
    input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False
) -> ValuesIndices:
    """The elements in order along `dim`, and where each was; stable, nan is the greatest."""
    layout = input._layout
    if not layout.ndim:
        return return_types.sort(input.clone(), zeros((), dtype=dtypes.int64, device=layout.device))
    dim = normalize_dim("sort", dim, layout.ndim)
    plan = _sorts[layout, dim, bool(descending)]
    values, indices = (empty(out) for out in plan.outputs)
    plan.launch(values._address, indices._address, input._address)
    _record(input, dim, values, indices)
    return return_types.sort(values, indices)


def _record(input: Tensor, dim: int, values: Tensor, indices: Tensor) -> None:
    """Let values' gradient go back to where the values came from."""
    if input._requires_grad and mode.enabled:
        node = SortBackward0((edge(input),), (values._layout,))
        node.dim, node.layout = dim, input._layout
        node.save(indices)
        values._grad_fn, values._requires_grad = node, True


@writes
def msort(input: Tensor) -> Tensor:
    """The elements in order along the first dimension."""
    return sort(input, 0).values


method("msort")(msort)


@method("argsort")
@writes
@without_gradient
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """Where the elements in order were."""
    return sort(input.detach(), dim, descending).indices


@method("topk")
@writes
@takes("floating", "integers", "bool")
def topk(
    input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> ValuesIndices:
    """The k greatest (or smallest) elements along `dim`, in order, and where they are."""
    layout = input._layout
    if not layout.ndim:
        if not 0 <= k <= 1:
            raise RuntimeError(f"topk: selected index k out of range: k is {k}, of one element.")
        return return_types.topk(*sort(input))
    dim = normalize_dim("topk", dim, layout.ndim)
    if not 0 <= k <= layout.shape[dim]:
        raise RuntimeError(
            f"topk: selected index k out of range: k is {k}, dimension {dim} has size "
            f"{layout.shape[dim]}."
        )
    if topk_kernels.serves(layout, dim, k):
        plan = _topks[layout, dim, k, bool(largest)]
        values, indices = (empty(out) for out in plan.outputs)
        plan.launch(values._address, indices._address, input._address)
        _record(input, dim, values, indices)
        return return_types.topk(values, indices)
    found = sort(input, dim, largest)
    return return_types.topk(
        contiguous(narrow(found.values, dim, 0, k)), contiguous(narrow(found.indices, dim, 0, k))
    )


def _selected(
    input: Tensor, dim: int, how: int, keepdim: bool, rank: int = 0
) -> tuple[Tensor, Tensor] | None:
    """One element of each row and where it was; None where rows must be sorted for it."""
    if not select_gpu.serves(input._layout, dim):
        return None
    plan = _selections[input._layout, dim, how, rank]
    values, indices = (empty(out) for out in plan.outputs)
    plan.launch(values._address, indices._address, input._address)
    _record(input, dim, values, indices)
    return (values, indices) if keepdim else (values.squeeze(dim), indices.squeeze(dim))


@method("kthvalue")
@writes
@takes("floating", "integers", "bool")
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> ValuesIndices:
    """The k-th smallest element along `dim` (counted from 1), and where it is."""
    dim = normalize_dim("kthvalue", dim, input._layout.ndim)
    size = input._layout.shape[dim] if input._layout.ndim else 1
    if not size:
        raise IndexError(
            f"kthvalue(): Expected reduction dim {dim} to have non-zero size, got the shape "
            f"{list(input._layout.shape)}."
        )
    if not 1 <= k <= size:
        raise RuntimeError(
            f"kthvalue(): selected number k out of range for dimension {dim}: k is {k}."
        )
    selected = _selected(input, dim, select_gpu.RANK, keepdim, k - 1)
    if selected is not None:
        return return_types.kthvalue(*selected)
    found = sort(input, dim)
    if not input._layout.ndim:
        return return_types.kthvalue(*found)
    if keepdim:
        return return_types.kthvalue(*(contiguous(narrow(x, dim, k - 1, 1)) for x in found))
    return return_types.kthvalue(*(contiguous(select_(x, dim, k - 1)) for x in found))


@method("median")
@writes
@takes("floating", "integers", "bool")
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle element (the lower of two); with `dim`, where it is too. nan wins."""
    if dim is None:
        flat = reshape(input, -1)
        if not flat._layout.numel:
            kind = flat._layout.dtype
            return flat.sum() * float("nan") if kind.is_floating_point else _least(flat)
        if bool(isnan(flat.detach()).any()):
            return flat.max()
        return kthvalue(flat, (flat._layout.numel + 1) // 2, 0).values
    dim = normalize_dim("median", dim, input._layout.ndim)
    if not input._layout.ndim:
        return return_types.median(*sort(input))
    selected = _selected(input, dim, select_gpu.MIDDLE, keepdim)
    if selected is not None:
        return return_types.median(*selected)
    size = input._layout.shape[dim]
    found = sort(input, dim)
    middle = (size + 1) // 2 - 1
    last = select_(found.values, dim, size - 1)
    bad = isnan(last)
    at = where(bad, size - 1, middle)
    at = unsqueeze(at, dim)
    values, indices = (gather(x, dim, at) for x in found)
    if not keepdim:
        values, indices = values.squeeze(dim), indices.squeeze(dim)
    return return_types.median(values, indices)


def _least(like: Tensor) -> Tensor:
    """What PyTorch calls the median of no integers."""
    kind = like._layout.dtype
    return full((), dtypes.iinfo(kind).min, dtype=kind, device=like._layout.device)


@method("nanmedian")
@writes
@takes("floating", "integers", "bool")
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle of the elements that are numbers; nan where there are none."""
    if dim is None:
        if not input._layout.numel:
            return median(input)
        return nanmedian(reshape(input, -1), 0).values
    dim = normalize_dim("nanmedian", dim, input._layout.ndim)
    if not input._layout.ndim:
        return return_types.nanmedian(*sort(input))
    selected = _selected(input, dim, select_gpu.MIDDLE_OF_NUMBERS, keepdim)
    if selected is not None:
        return return_types.nanmedian(*selected)
    found = sort(input, dim)  # nan is last
    numbers = (~isnan(input.detach())).sum(dim, keepdim=True)
    at = ((numbers - 1) // 2).clamp(min=0)
    values, indices = (gather(x, dim, at) for x in found)
    if not keepdim:
        values, indices = values.squeeze(dim), indices.squeeze(dim)
    return return_types.nanmedian(values, indices)


def _quantile(
    name: str, input: Tensor, q: Any, dim: int | None, keepdim: bool, interpolation: str, skip: bool
) -> Tensor:
    kind = input._layout.dtype
    if kind not in (dtypes.float32, dtypes.float64):
        raise RuntimeError(
            f"{name}() input tensor must be either float or double dtype, got {kind}."
        )
    if interpolation not in _INTERPOLATIONS:
        raise RuntimeError(
            f"{name}() interpolation must be one of {', '.join(_INTERPOLATIONS)}, but got "
            f"{interpolation}"
        )
    if isinstance(q, Tensor) and (q._layout.dtype is not kind or q._layout.ndim > 1):
        raise RuntimeError(
            f"{name}() q must be a scalar or 1D tensor of the same dtype as the input tensor."
        )
    shares = q.tolist() if isinstance(q, Tensor) else q
    listed = isinstance(shares, list)
    for share in shares if listed else [shares]:
        if not 0 <= share <= 1:
            raise RuntimeError(f"{name}() q values must be in the range [0, 1], got {share}.")
    ndim = input._layout.ndim
    if dim is None or not ndim:
        input, kept = reshape(input, -1), [1] * ndim
    else:
        dim = normalize_dim(name, dim, ndim)
        kept = [1 if d == dim else size for d, size in enumerate(input._layout.shape)]
        input = movedim(input, dim, -1)
    size = input._layout.shape[-1]
    if not size:
        raise RuntimeError(f"{name}() input tensor must be non-empty.")
    ordered = sort(input, -1).values
    ranks = tensor(shares if listed else [shares], dtype=kind, device=input._layout.device)
    if skip:  # nan is last
        numbers = (~isnan(ordered.detach())).sum(-1, keepdim=True) - 1
        ranks = ranks * numbers.clamp(min=0).to(kind)
    else:
        bad = isnan(ordered.detach()[..., -1:])
        ranks = where(bad, float(size - 1), ranks * float(size - 1))
    if interpolation in _ROUNDINGS:
        ranks = _ROUNDINGS[interpolation](ranks)
    low = ranks.long()
    values = gather(ordered, -1, low)
    if interpolation in ("linear", "midpoint"):
        above = gather(ordered, -1, ranks.ceil().long())
        values = values.lerp(above, 0.5 if interpolation == "midpoint" else ranks - low)
    values = movedim(values, -1, 0)
    if keepdim:
        values = reshape(values, values._layout.shape[0], *kept)
    return values if listed else select_(values, 0, 0)


_ROUNDINGS: dict[str, Any] = {"lower": floor, "higher": ceil, "nearest": round}
_INTERPOLATIONS = ("linear", "midpoint", *_ROUNDINGS)


@method("quantile")
@writes
@takes("float32", "float64")
def quantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *,
    interpolation: str = "linear",
) -> Tensor:  # fmt: skip
    """The values below which the shares q of the elements are; nan where one is nan.

    Args:
        interpolation: between two elements: "linear", "midpoint", or the "lower", "higher" or
            "nearest" of them.
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation, False)


@method("nanquantile")
@writes
@takes("float32", "float64")
def nanquantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *,
    interpolation: str = "linear",
) -> Tensor:  # fmt: skip
    """`quantile` of the elements that are numbers."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, True)


@method("mode")
@writes
def mode_(input: Tensor, dim: int = -1, keepdim: bool = False) -> ValuesIndices:
    """The most frequent element along `dim` (the smallest of several), and one of its places."""
    dim = normalize_dim("mode", dim, input._layout.ndim)
    if not input._layout.ndim:
        return return_types.mode(*sort(input))
    ordered, order = sort(movedim(input, dim, -1), -1)
    size = ordered._layout.shape[-1]
    # How long the run is that ends at each place: the place minus where the run began.
    places = cumsum(full(ordered._layout.shape, 1, device=ordered._layout.device), -1)
    first = full((*ordered._layout.shape[:-1], 1), True, device=ordered._layout.device)
    starts = cat([first, ordered[..., 1:] != ordered[..., :-1]], -1) if size else first
    began = (places * starts).cummax(-1).values
    best = unsqueeze((places - began).argmax(-1), -1)
    values, indices = gather(ordered, -1, best), gather(order, -1, best)
    if keepdim:
        return return_types.mode(movedim(values, -1, dim), movedim(indices, -1, dim))
    return return_types.mode(values.squeeze(-1), indices.squeeze(-1))


# ---- searching


@writes
@without_gradient
@takes("floating", "integers", "bool")
def searchsorted(
    sorted_sequence: Tensor, input: Any, *, out_int32: bool = False, right: bool = False,
    side: str | None = None, sorter: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Where each value would be inserted in a sorted row: in front of equal ones, behind if
    `right` (or `side="right"`).

    Args:
        sorter: the indices that sort the rows of a sequence that is not sorted.
    """
    from tritorch.ops.creation import as_tensor

    if side not in (None, "left", "right"):
        raise RuntimeError(
            "torch.searchsorted(): side can only be 'left' or 'right' but got " + str(side)
        )
    if side == "left" and right:
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left "
            "while right was True"
        )
    if sorter is not None:
        if sorter._layout.shape != sorted_sequence._layout.shape:
            raise RuntimeError(
                "torch.searchsorted(): boundary and sorter must have the same size, but got "
                f"boundary tensor {list(sorted_sequence._layout.shape)} and got sorter tensor "
                f"{list(sorter._layout.shape)}"
            )
        if sorter._layout.dtype is not dtypes.int64:
            raise RuntimeError(
                "torch.searchsorted(): sorter must be a tensor of long dtype but got dtype "
                f"{sorter._layout.dtype}. Use argsort."
            )
        sorted_sequence = gather(sorted_sequence, -1, sorter)
    values = input
    if not isinstance(input, Tensor):
        values = as_tensor(input, sorted_sequence._layout.dtype)
    right = right or side == "right"
    kind = common_dtype([sorted_sequence._layout, values._layout])
    sorted_sequence, values = to_dtype(sorted_sequence, kind), to_dtype(values, kind)
    plan = _searches[sorted_sequence._layout, values._layout, right]
    result = empty(plan.outputs[0])
    plan.launch(result._address, sorted_sequence._address, values._address)
    return to_dtype(result, dtypes.int32) if out_int32 else result


@writes
@without_gradient
def bucketize(
    input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False
) -> Tensor:
    """The number of the bucket of each value, for sorted boundaries."""
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


@method("isin")
@writes
@without_gradient
def isin(
    elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False
) -> Tensor:
    """Whether each element is among the test elements."""
    from tritorch.ops.creation import as_tensor

    elements = as_tensor(elements)
    tests, _ = sort(reshape(as_tensor(test_elements), -1), 0)
    if not tests._layout.numel:
        found = zeros(*elements._layout.shape, dtype=dtypes.bool, device=elements._layout.device)
    else:
        places = searchsorted(tests, elements).clamp(max=tests._layout.numel - 1)
        found = eq(tests[places], elements)
    return ~found if invert else found


# ---- distinct values


class _Unique(NamedTuple):
    values: Tensor
    inverse: Tensor
    counts: Tensor


def _runs(values: Tensor, inverse: bool, counts: bool) -> _Unique:
    """The first of each run of equal elements; the run of every element and the runs' lengths,
    where they are wanted.
    """
    layout = values._layout
    none = zeros(0, dtype=dtypes.int64, device=layout.device)
    if not layout.numel:
        return _Unique(values, none, none)
    one = full((1,), True, device=layout.device)
    changes = cat([one, values[1:] != values[:-1]])
    run = cumsum(changes, 0) - 1 if inverse else none
    starts = flat_nonzero(changes)
    lengths = none
    if counts:
        lengths = cat([starts[1:], full((1,), layout.numel, device=layout.device)]) - starts
    return _Unique(values[starts], run, lengths)


def _chosen(found: _Unique, return_inverse: bool, return_counts: bool) -> Any:
    if return_inverse and return_counts:
        return found.values, found.inverse, found.counts
    if return_inverse:
        return found.values, found.inverse
    return (found.values, found.counts) if return_counts else found.values


def _unlike_before(rows: Tensor) -> Tensor:
    """Whether each row (of a 2-d tensor) is the first or differs from the one before."""
    first = full((1,), True, device=rows._layout.device)
    if not rows._layout.shape[1]:
        rest = full((rows._layout.shape[0] - 1,), False, device=rows._layout.device)
        return cat([first, rest])
    return cat([first, (rows[1:] != rows[:-1]).any(1)])


def _unique_slices(input: Tensor, dim: int, consecutive: bool) -> _Unique:
    """Distinct slices along a dimension, in lexicographic order unless only neighbours count."""
    input = input.detach()
    dim = normalize_dim("unique", dim, input._layout.ndim)
    size, device = input._layout.shape[dim], input._layout.device
    if not size:
        none = zeros(0, dtype=dtypes.int64, device=device)
        return _Unique(input, none, none)
    rows = reshape(contiguous(movedim(input, dim, 0)), size, input._layout.numel // size)
    order = arange(size, device=device)
    if not consecutive:
        # Stable sorts from the last column to the first.
        for column in range(rows._layout.shape[1] - 1, -1, -1):
            order = order[argsort(select_(rows, 1, column)[order])]
    changes = _unlike_before(rows[order])
    starts = flat_nonzero(changes)
    ends = cat([starts[1:], full((1,), size, device=device)])
    inverse = zeros(size, dtype=dtypes.int64, device=device)
    inverse[order] = cumsum(changes, 0) - 1
    return _Unique(index_select(input, dim, order[starts]), inverse, ends - starts)


@method("unique")
@without_gradient
@takes("floating", "integers", "bool")
def unique(
    input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
    dim: int | None = None,
) -> Any:  # fmt: skip
    """The distinct elements in order, where each element went, how often each occurs.

    With `dim` the same of the slices along it, in lexicographic order.
    """
    if dim is not None:
        return _chosen(_unique_slices(input, dim, False), return_inverse, return_counts)
    ordered, order = sort(reshape(input.detach(), -1), 0)
    found = _runs(ordered, return_inverse, return_counts)
    if return_inverse:
        inverse = empty(Layout.contiguous(dtypes.int64, order._layout.shape, order._layout.device))
        fill(inverse, 0)
        inverse[order] = found.inverse
        found = found._replace(inverse=reshape(inverse, *input._layout.shape))
    return _chosen(found, return_inverse, return_counts)


@method("unique_consecutive")
@without_gradient
@takes("all")
def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The first of each run of equal elements (or slices along `dim`), the run of every element,
    the runs' lengths.
    """
    if dim is not None:
        dim = normalize_dim("unique_consecutive", dim, input._layout.ndim)
        if input._layout.ndim != 1:
            return _chosen(_unique_slices(input, dim, True), return_inverse, return_counts)
    found = _runs(reshape(input.detach(), -1), return_inverse, return_counts)
    if return_inverse:
        found = found._replace(inverse=reshape(found.inverse, *input._layout.shape))
    return _chosen(found, return_inverse, return_counts)
