"""Where a mask holds: nonzero, argwhere."""

from __future__ import annotations

from typing import Any

from tritorch import dtypes
from tritorch.kernels.templates import compact
from tritorch.layout import Layout
from tritorch.ops.declare import method, takes, without_gradient, writes
from tritorch.ops.dispatch import Plans
from tritorch.ops.memory import contiguous
from tritorch.ops.views import transpose, unbind
from tritorch.tensor import Tensor, empty

_counts = Plans(compact.plan_count)
_places = Plans(lambda mask: compact.plan_compact(mask))
_coordinates = Plans(lambda mask: compact.plan_compact(mask, coordinates=True))


def counted(mask: Tensor) -> tuple[Tensor, int]:
    """Where each block's part of the result begins, and how long the result is."""
    plan = _counts[mask._layout]
    offsets = empty(plan.outputs[0])
    plan.launch(offsets._address, mask._address)
    return offsets, int(offsets[-1])


def _few_levels(x: Tensor) -> Tensor:
    return x if x._layout.ndim <= 4 else contiguous(x)


def _found(mask: Tensor, plans: Plans, *columns: int) -> Tensor:
    """What was found, in the order of the mask; of several columns each is contiguous."""
    offsets, count = counted(mask)
    strides = (1, count)[: 1 + len(columns)]
    found = empty(Layout.of(dtypes.int64, (count, *columns), strides, mask._layout.device))
    plans[mask._layout].launch(found._address, offsets._address, mask._address)
    return found


def flat_nonzero(input: Tensor) -> Tensor:
    """Row-major positions of the nonzero elements."""
    if not input._layout.numel:
        return empty(Layout.contiguous(dtypes.int64, (0,), input._layout.device))
    return _found(_few_levels(input), _places)


@method("nonzero")
@writes
@without_gradient
@takes("all")
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The indices of nonzero elements: a row each, or with `as_tuple` a tensor per dimension."""
    input = input.detach()
    shape = input._layout.shape
    if as_tuple and not shape:
        return (flat_nonzero(input),)
    if not input._layout.numel:
        rows = empty(Layout.contiguous(dtypes.int64, (0, len(shape)), input._layout.device))
    elif 1 <= len(shape) <= 4:
        rows = _found(input, _coordinates, len(shape))
    else:
        rows = transpose(_from_flat(flat_nonzero(input), shape), 0, 1)
    return unbind(rows, 1) if as_tuple else rows


def _from_flat(flat: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Coordinates of row-major positions, a row for each dimension."""
    from tritorch.ops.joining import stack

    if not shape:
        return empty(Layout.contiguous(dtypes.int64, (0, flat.numel()), flat._layout.device))
    columns: list[Tensor] = []
    for size in reversed(shape):
        columns.append(flat % size)
        flat = flat // size
    return stack(columns[::-1], 0)


@writes
@without_gradient
@takes("floating", "integers", "bool")
def argwhere(input: Tensor) -> Tensor:
    """The indices of nonzero elements, a row each."""
    return nonzero(input)


method("argwhere")(argwhere)
