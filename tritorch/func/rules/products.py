"""Products: samples are rows of one matrix, or a batch of matrices, never a loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from tritorch.func.batched import Level, batched
from tritorch.func.dispatch import at, expanded, front
from tritorch.func.rules.declaring import family, rule
from tritorch.ops import convolution, linalg, views
from tritorch.tensor import Tensor


def _rows(x: Tensor, level: Level, ndim: int) -> Tensor:
    """The samples of a left factor, of `ndim` dimensions, a vector as a row."""
    value = front(x, level)
    shape = value._layout.shape
    if not at(x, level):
        return views.unsqueeze(value, 0) if len(shape) == 1 else value
    sample = shape[1:] if len(shape) > 2 else (1, *shape[1:])
    return views.reshape(value, shape[0], *(1,) * (ndim - len(sample)), *sample)


def _columns(x: Tensor, level: Level, ndim: int) -> Tensor:
    """The samples of a right factor, of `ndim` dimensions, a vector as a column."""
    value = front(x, level)
    shape = value._layout.shape
    if not at(x, level):
        return views.unsqueeze(value, 1) if len(shape) == 1 else value
    sample = shape[1:] if len(shape) > 2 else (*shape[1:], 1)
    return views.reshape(value, shape[0], *(1,) * (ndim - len(sample)), *sample)


@rule(linalg.matmul)
def _matmul(level: Level, input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Any:
    left, right = input._layout.ndim, other._layout.ndim
    if out is not None or not left or not right:
        return NotImplemented
    if not at(other, level) and right <= 2:
        # All samples are rows of one matrix.
        return batched(linalg.matmul(front(input, level), other), 0, level)
    if not at(input, level) and right == 1 and left <= 2:
        value = front(other, level)
        turned = input if left == 1 else views.transpose(input, 0, 1)
        return batched(linalg.matmul(value, turned), 0, level)
    ndim = max(left, right, 2)
    value = linalg.matmul(_rows(input, level, ndim), _columns(other, level, ndim))
    if left == 1:
        value = views.squeeze(value, -2)
    if right == 1:
        value = views.squeeze(value, -1)
    return batched(value, 0, level)


@rule(linalg.linear)
def _linear(level: Level, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    if not input._layout.ndim or weight._layout.ndim != 2:
        return NotImplemented
    if not at(weight, level):
        if bias is None or not at(bias, level):
            return batched(linalg.linear(front(input, level), weight, bias), 0, level)
        return linalg.linear(input, weight) + bias
    if bias is None or input._layout.ndim > 2:
        product = linalg.matmul(input, views.transpose(weight, 0, 1))
        return product if bias is None else product + bias
    x = expanded(input, level)
    rows = views.unsqueeze(x, 1) if input._layout.ndim == 1 else x
    addend = views.expand(
        views.unsqueeze(expanded(bias, level), 1),
        level.size, rows._layout.shape[1], bias._layout.shape[0],
    )  # fmt: skip
    columns = views.transpose(front(weight, level), 1, 2)
    value = linalg.baddbmm(addend, rows, columns)
    return batched(views.squeeze(value, 1) if input._layout.ndim == 1 else value, 0, level)


@family(linalg.addmm, linalg.baddbmm)
def _added(
    level: Level, function: Callable[..., Tensor], input: Tensor, first: Tensor, second: Tensor, *,
    beta: float = 1, alpha: float = 1, out: Tensor | None = None,
) -> Any:  # fmt: skip
    ndim = 2 if function is linalg.addmm else 3
    if out is not None or first._layout.ndim != ndim or second._layout.ndim != ndim:
        return NotImplemented
    product = linalg.matmul(first, second)
    if alpha != 1:
        product = product * alpha
    if not beta:
        return product
    return product + (input if beta == 1 else input * beta)


# ---- convolutions


def _merged(x: Tensor, place: int) -> Tensor:
    """The samples in front, joined with the dimension that is then at `place` + 1."""
    moved = views.movedim(x, 0, place) if place else x
    shape = moved._layout.shape
    joined = shape[place] * shape[place + 1]
    return views.reshape(moved, *shape[:place], joined, *shape[place + 2 :])


def _cut(x: Tensor, place: int, count: int) -> Tensor:
    """Undo `_merged`."""
    shape = x._layout.shape
    apart = (count, shape[place] // count)
    return views.movedim(views.reshape(x, *shape[:place], *apart, *shape[place + 1 :]), place, 0)


@cache
def _grouped(geometry: Any, times: int) -> Any:
    """The geometry of so many convolutions side by side."""
    return replace(geometry, groups=geometry.groups * times)


@family(convolution._convolve, convolution._transpose)
def _convolution(
    level: Level, function: Callable[..., Tensor], x: Tensor, weight: Tensor, bias: Tensor | None,
    geometry: Any, like: Tensor | None = None,
) -> Any:  # fmt: skip
    # `like` says in which order the result's elements lie; here that follows from the samples'
    if not at(weight, level) and (bias is None or not at(bias, level)):
        rows = _merged(front(x, level), 0)
        return batched(_cut(function(rows, weight, bias, geometry), 0, level.size), 0, level)
    if bias is not None:
        made = function(x, weight, None, geometry)
        return made + views.reshape(bias, -1, *(1,) * (weight._layout.ndim - 2))
    filters = _merged(expanded(weight, level), 0)
    if function is convolution._convolve and not at(x, level) and geometry.groups == 1:
        made = function(x, filters, None, geometry)
    else:
        channels = _merged(expanded(x, level), 1)
        made = function(channels, filters, None, _grouped(geometry, level.size))
    return batched(_cut(made, 1, level.size), 0, level)


@rule(convolution._weight_gradient)
def _weight_gradient(level: Level, g: Tensor, x: Tensor, geometry: Any) -> Any:
    upstream = _merged(expanded(g, level), 1)
    if at(x, level) or geometry.groups > 1:
        x, geometry = _merged(expanded(x, level), 1), _grouped(geometry, level.size)
    made = convolution._weight_gradient(upstream, x, geometry)
    return batched(_cut(made, 0, level.size), 0, level)
