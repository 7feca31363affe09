"""Tensors between levels: the samples of a batched tensor shown as dimensions, and hidden again."""

from __future__ import annotations

from tritorch.func.batched import BatchedTensor, Level, batched
from tritorch.func.dispatch import expanded
from tritorch.ops import views
from tritorch.tensor import Tensor

Levels = tuple[Level, ...]


def shown(x: Tensor, levels: Levels) -> Tensor:
    """The tensor with the samples of these levels as its first dimensions, outermost first.

    What all samples share is shown once for each. Levels further in stay hidden.
    """
    if not levels:
        return x
    if isinstance(x, BatchedTensor) and x._level.number > levels[-1].number:
        return batched(shown(x._value, levels), x._dim + len(levels), x._level)
    return shown(expanded(x, levels[-1]), levels[:-1])


def hidden(x: Tensor, levels: Levels) -> Tensor:
    """Undo `shown`."""
    if not levels:
        return x
    if isinstance(x, BatchedTensor):  # further in: those samples come behind
        behind = views.movedim(x._value, x._dim, len(levels))
        return batched(hidden(behind, levels), 0, x._level)
    for level in levels:
        x = batched(x, 0, level)
    return x


def innermost_value(x: Tensor) -> Tensor:
    """The tensor behind all levels."""
    while isinstance(x, BatchedTensor):
        x = x._value
    return x
