"""Gradients of the parts of one tensor, written where they lie side by side, so that nothing has to
join them.

A product for queries, keys and values at once is split into three views, and the gradient of the
split is its parts' gradients, joined. Where the parts lie in memory as those of one tensor do, the
joined gradient is a view of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.layout import Layout
from tritorch.ops.view_nodes import InverseNode, PartsNode
from tritorch.runtime import Storage, get_target
from tritorch.tensor import Tensor, wrap


def are_parts(node: Node, operands: Sequence[Tensor]) -> bool:
    """Whether a node's operands are all parts of one tensor that was split, each of which fills the
    gaps of the others, and nobody looks at their gradients on the way to it.

    Args:
        node: its first edges are those of the operands.
    """
    first = operands[0]
    layout, storage = first._layout, first._storage
    if layout.is_dense or mode.task is None or mode.task.captures:
        return False
    step = operands[1]._address - first._address
    origins = set()
    for place, x in enumerate(operands):
        if x._layout is not layout or x._storage is not storage:
            return False
        if x._address != first._address + place * step:
            return False
        origin = node.next_functions[place][0]
        while isinstance(origin, InverseNode) and origin._extras is None:
            origin = origin.next_functions[0][0]
        origins.add(origin)
    origin = origins.pop()
    if origins or not isinstance(origin, PartsNode) or origin._extras is not None:
        return False
    if len(origin.output_layouts) != len(operands):
        return False
    room = layout.extent * layout.dtype.itemsize + (len(operands) - 1) * step
    return step > 0 and room == len(operands) * layout.nbytes


def like_parts(operands: Sequence[Tensor]) -> list[Tensor]:
    """Uninitialised tensors that lie in new memory as `are_parts` found the operands to lie."""
    first = operands[0]
    layout = first._layout
    storage = Storage(len(operands) * layout.nbytes, get_target(layout.device))
    return [wrap(storage, layout, storage.address + x._address - first._address) for x in operands]


def joined(parts: Sequence[Any], dim: int, stacked: bool) -> Tensor | None:
    """Tensors of one memory joined along a dimension, or a new one, as a view without history; None
    where they do not lie so.
    """
    first = parts[0]
    if mode.enabled or len(parts) < 2 or any(type(part) is not Tensor for part in parts):
        return None
    layout, storage = first._layout, first._storage
    step = parts[1]._address - first._address
    for place, part in enumerate(parts):
        if part._layout is not layout or part._storage is not storage:
            return None
        if part._address != first._address + place * step:
            return None
    if step <= 0 or step % layout.dtype.itemsize:
        return None
    shape, strides = list(layout.shape), list(layout.strides)
    step //= layout.dtype.itemsize
    if stacked:
        shape.insert(dim, len(parts))
        strides.insert(dim, step)
    elif step != shape[dim] * strides[dim]:
        return None
    else:
        shape[dim] *= len(parts)
    whole = Layout.of(layout.dtype, tuple(shape), tuple(strides), layout.device)
    return wrap(storage, whole, first._address) if whole.is_dense else None
