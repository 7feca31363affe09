"""Views and joins: dimensions count from behind the one that runs over the samples."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from tritorch.autograd import engine
from tritorch.dtypes import dtype as Dtype
from tritorch.func.batched import Level, batched
from tritorch.func.dispatch import at, expanded, front, rewrapped
from tritorch.func.rules.declaring import behind, family, padded, rule
from tritorch.layout import Layout, contiguous_strides, normalize_dim
from tritorch.ops import joining, memory, strided, view_nodes, views
from tritorch.tensor import Tensor

View = Callable[..., Tensor]


def sizes_of(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes given one by one or in a sequence."""
    if len(sizes) == 1 and not hasattr(sizes[0], "__index__"):
        sizes = tuple(sizes[0])
    return tuple(operator.index(size) for size in sizes)


@family(views.view, views.reshape)
def _view(
    level: Level, function: View, input: Tensor, *shape: Any, dtype: Dtype | None = None
) -> Tensor:
    dtype = shape[0] if dtype is None and shape and isinstance(shape[0], Dtype) else dtype
    value = front(input, level)
    if dtype is not None:
        if not input._layout.ndim and dtype.itemsize != input._layout.dtype.itemsize:
            return NotImplemented
        return batched(function(value, dtype), 0, level)
    sizes = views.inferred_shape(function.__name__, input._layout.numel, sizes_of(shape))
    return batched(function(value, level.size, *sizes), 0, level)


@rule(views.transpose)
def _transpose(level: Level, input: Tensor, dim0: int, dim1: int) -> Tensor:
    if not input._layout.ndim:
        return batched(views.alias(front(input, level)), 0, level)
    value = views.transpose(front(input, level), behind(dim0, input), behind(dim1, input))
    return batched(value, 0, level)


@rule(views.t)
def _t(level: Level, input: Tensor) -> Tensor:
    if input._layout.ndim > 2:
        return NotImplemented
    value = front(input, level)
    value = views.transpose(value, 1, 2) if input._layout.ndim == 2 else views.alias(value)
    return batched(value, 0, level)


@rule(views.permute)
def _permute(level: Level, input: Tensor, *dims: Any) -> Tensor:
    order = [behind(dim, input, "permute") for dim in sizes_of(dims)]
    return batched(views.permute(front(input, level), 0, *order), 0, level)


@rule(views.squeeze)
def _squeeze(level: Level, input: Tensor, dim: Any = None) -> Tensor:
    chosen = range(input._layout.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    dims = [behind(d, input, "squeeze") for d in chosen] if input._layout.ndim else []
    return batched(views.squeeze(front(input, level), dims), 0, level)


@rule(views.unsqueeze)
def _unsqueeze(level: Level, input: Tensor, dim: int) -> Tensor:
    place = behind(dim, input, "unsqueeze", extra=1)
    return batched(views.unsqueeze(front(input, level), place), 0, level)


@rule(views.expand)
def _expand(level: Level, input: Tensor, *sizes: Any, implicit: bool = False) -> Tensor:
    wanted = sizes_of(sizes)
    if len(wanted) < input._layout.ndim:
        return NotImplemented
    value = padded(input, level, len(wanted))
    return batched(views.expand(value, level.size, *wanted), 0, level)


@family(views.alias, memory.alias)
def _alias(level: Level, function: View, input: Tensor) -> Tensor:
    return batched(function(front(input, level)), 0, level)


@rule(views.select)
def _select(level: Level, input: Tensor, dim: int, index: int) -> Tensor:
    if not at(input, level):
        return NotImplemented
    return batched(views.select(front(input, level), behind(dim, input, "select"), index), 0, level)


@rule(views.narrow)
def _narrow(level: Level, input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    if not at(input, level):
        return NotImplemented
    place = behind(dim, input, "narrow")
    return batched(views.narrow(front(input, level), place, start, length), 0, level)


@rule(views.slice_dim)
def _slice(
    level: Level, input: Tensor, dim: int, start: int, length: int, step: int = 1, *more: Any,
    **options: Any,
) -> Tensor:  # fmt: skip
    value = views.slice_dim(front(input, level), dim + 1, start, length, step, *more, **options)
    return batched(value, 0, level)


@rule(views.diagonal)
def _diagonal(level: Level, input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    first, second = behind(dim1, input, "diagonal"), behind(dim2, input, "diagonal")
    return batched(views.diagonal(front(input, level), offset, first, second), 0, level)


@rule(strided.unfold)
def _unfold(level: Level, input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    if not input._layout.ndim:
        return NotImplemented
    value = strided.unfold(front(input, level), behind(dimension, input), size, step)
    return batched(value, 0, level)


@rule(views.split)
def _split(level: Level, tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> Any:
    parts = views.split(front(tensor, level), split_size_or_sections, behind(dim, tensor))
    return rewrapped(parts, level)


@rule(views.unbind)
def _unbind(level: Level, input: Tensor, dim: int = 0) -> Any:
    return rewrapped(views.unbind(front(input, level), behind(dim, input)), level)


# ---- joins


@rule(joining.cat)
def _cat(level: Level, tensors: Any, dim: int = 0, *, out: Tensor | None = None) -> Tensor:
    tensors = tuple(tensors)
    # An empty tensor of shape (0,) takes no part.
    ndim = max(t._layout.ndim for t in tensors)
    tensors = tuple(t for t in tensors if t._layout.ndim == ndim or t._layout.shape != (0,))
    if out is not None or not all(t._layout.ndim == ndim for t in tensors) or not ndim:
        return NotImplemented
    parts = [expanded(t, level) for t in tensors]
    return batched(joining.cat(parts, normalize_dim("cat", dim, ndim) + 1), 0, level)


@rule(joining.stack)
def _stack(level: Level, tensors: Any, dim: int = 0, *, out: Tensor | None = None) -> Tensor:
    tensors = tuple(tensors)
    if out is not None:
        return NotImplemented
    place = normalize_dim("stack", dim, tensors[0]._layout.ndim + 1) + 1
    return batched(joining.stack([expanded(t, level) for t in tensors], place), 0, level)


@rule(joining.repeat)
def _repeat(level: Level, input: Tensor, *repeats: Any) -> Tensor:
    counts = sizes_of(repeats)
    if len(counts) < input._layout.ndim:
        return NotImplemented
    return batched(joining.repeat(padded(input, level, len(counts)), 1, *counts), 0, level)


@rule(joining.flip)
def _flip(level: Level, input: Tensor, *dims: Any) -> Tensor:
    chosen = [behind(dim, input, "flip") for dim in sizes_of(dims)] if input._layout.ndim else []
    if not chosen:
        return NotImplemented
    return batched(joining.flip(front(input, level), *chosen), 0, level)


@rule(joining.roll)
def _roll(level: Level, input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    if not input._layout.ndim:
        return batched(memory.clone(front(input, level)), 0, level)
    if dims is None or dims == ():
        flat = joining.roll(views.reshape(front(input, level), level.size, -1), shifts, 1)
        return batched(views.reshape(flat, level.size, *input._layout.shape), 0, level)
    listed = [dims] if isinstance(dims, int) else list(dims)
    value = joining.roll(front(input, level), shifts, [behind(d, input) for d in listed])
    return batched(value, 0, level)


@rule(joining.constant_pad_nd)
def _pad(level: Level, input: Tensor, pad: Sequence[int], value: Any = 0) -> Tensor:
    if len(pad) > 2 * input._layout.ndim:
        return NotImplemented
    return batched(joining.constant_pad_nd(front(input, level), pad, value), 0, level)


# ---- the gradients of views


@rule(view_nodes.place)
def _place(
    level: Level, part: Tensor, layout: Layout, view: Any, around: float = 0, exactly: bool = False
) -> Tensor:
    # All samples together have rows after rows, whatever order one alone was to have.
    from tritorch.func.interception import interception

    def of_all(whole: Tensor) -> Tensor:
        with interception:
            shown: Tensor = front(view(batched(whole, 0, level)), level)
            return shown

    all_layout = Layout.contiguous(layout.dtype, (level.size, *layout.shape), layout.device)
    made = view_nodes.place(front(part, level), all_layout, of_all, around)
    return batched(made, 0, level)


@rule(memory.restride)
def _restride(level: Level, input: Tensor, shape: Any, strides: Any) -> Tensor:
    value = front(input, level)
    whole = value._layout.shape
    return batched(memory.restride(value, whole, contiguous_strides(whole)), 0, level)


@rule(engine._accumulate)
def _accumulate(
    level: Level, buffer: list[Any], output_nr: int, gradient: Tensor, recording: bool
) -> None:
    buffer[output_nr] = buffer[output_nr] + gradient
