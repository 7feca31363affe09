"""Pointwise operations: operands broadcast, with the samples along the first dimension."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tritorch import dtypes
from tritorch.func.batched import Level, UnbatchedTarget, batched, innermost
from tritorch.func.dispatch import at, front, rewrapped
from tritorch.ops import memory, views
from tritorch.tensor import Tensor


def aligned(value: Any, level: Level, ndim: int) -> Any:
    """A tensor whose sample has `ndim` dimensions, ones in front; what is no tensor as it is."""
    if not isinstance(value, Tensor):
        return value
    missing = ndim - value._layout.ndim
    if not at(value, level):
        # 0-d tensors count for less in promotion: one stays 0-d only beside others with dimensions.
        return views.reshape(value, 1) if not ndim else value
    found = front(value, level)
    if missing > 0:
        shape = found._layout.shape
        found = views.reshape(found, shape[0], *(1,) * missing, *shape[1:])
    return found


def _promoted(values: Sequence[Any], level: Level) -> list[Any]:
    """The operands, with samples of no dimensions in the dtype that they count as.

    Behind a batched tensor is one with a dimension, whose dtype would weigh as much as the others'.
    """
    ranked = [v._layout.dtype for v in values if isinstance(v, Tensor) and v._layout.ndim]
    if not ranked:
        return list(values)
    common = ranked[0]
    for dtype in ranked[1:]:
        common = dtypes.promote_types(common, dtype)
    return [
        memory.to_dtype(value, common)
        if at(value, level)
        and not value._layout.ndim
        and value._layout.dtype is not common
        and value._layout.dtype.category == common.category
        else value
        for value in values
    ]


def pointwise(function: Callable[..., Any], values: Sequence[Any], count: int) -> Any:
    """Call an operation on batched operands.

    Args:
        function: the operation; its name ends with _ where it writes to its first operand.
        values: operands and parameters in declared order; count: how many are operands.
    """
    level = innermost(values)
    assert level is not None
    operands, parameters = values[:count], values[count:]
    ndim = max(value._layout.ndim for value in operands if isinstance(value, Tensor))
    if function.__name__.endswith("_") and not function.__name__.endswith("__"):
        target = operands[0]
        check_target(function.__name__, target, level)
        others = [aligned(v, level, target._layout.ndim) for v in operands[1:]]
        function(front(target, level), *others, *parameters)
        return target
    chosen = [aligned(value, level, ndim) for value in _promoted(operands, level)]
    return rewrapped(function(*chosen, *parameters), level)


def check_target(name: str, target: Any, level: Level) -> None:
    """What is written to must be batched where what is written is."""
    if not at(target, level):
        raise UnbatchedTarget(
            f"vmap: inplace arithmetic(self, *extra_args) is not possible: {name} would write "
            f"batched values to a tensor of shape {list(target._layout.shape)} that all samples "
            "share. Use the version that makes a new tensor, or let the target be batched too."
        )


def made_batched(value: Tensor, level: Level) -> Tensor:
    """A tensor as a batched one that shows each sample the same."""
    if at(value, level):
        return value
    return batched(views.expand(value, level.size, *value._layout.shape), 0, level)
