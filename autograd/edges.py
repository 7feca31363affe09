"""From tensors to places in the graph and back: `edge`, `grad_fn`, `attach`."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from tritorch.autograd import hooks as _hooks
from tritorch.autograd.grad_mode import grad_mode_state
from tritorch.autograd.hooks import RemovableHandle, hooks_of
from tritorch.autograd.node import NO_EDGE, AccumulateGrad, Edge, Node
from tritorch.autograd.protocol import TensorLike, operations
from tritorch.autograd.views import raise_forbidden


def edge(tensor: TensorLike) -> Edge:
    """Where the gradient of a tensor goes: its grad_fn, its AccumulateGrad if it is a leaf.

    (None, 0) where no gradient is wanted. What ops call for each of their inputs.
    """
    node = tensor._grad_fn
    if node is not None:
        info = tensor._view
        if info is None or info.version == tensor._storage.version:
            return (node, tensor._output_nr)
        return (_regenerated(tensor, info), tensor._output_nr)
    if tensor._requires_grad is True:
        hooks = tensor._hooks
        if hooks is not None and hooks.accumulate_grad is not None:
            node = hooks.accumulate_grad()
            if node is not None:
                return (node, 0)
        node = AccumulateGrad(tensor)
        hooks_of(tensor).accumulate_grad = weakref.ref(node)
        return (node, 0)
    if tensor._requires_grad and tensor._view.version != tensor._storage.version:
        return (_regenerated(tensor, tensor._view), 0)
    return NO_EDGE


def grad_fn(tensor: TensorLike) -> Node | None:
    """The node that made a tensor, up to date also for a view whose base was written to."""
    info = tensor._view
    if info is None or info.version == tensor._storage.version:
        return tensor._grad_fn
    if tensor._grad_fn is None and tensor._requires_grad is True:
        return None  # A leaf that happens to be a view.
    return _regenerated(tensor, info)


def _regenerated(tensor: TensorLike, info: Any) -> Node | None:
    """A new grad_fn for a view: it reads from the base as that is now."""
    base = info.base
    if not base._requires_grad:
        return tensor._grad_fn
    if info.creation:
        raise_forbidden(tensor, indirect=True)
    layout = tensor._layout
    previous, grad_mode_state.enabled = grad_mode_state.enabled, True
    try:
        same = operations.as_strided(base, layout.shape, layout.strides, tensor.storage_offset())
    finally:
        grad_mode_state.enabled = previous
    attach(tensor, same._grad_fn, same._output_nr)
    info.version = tensor._storage.version
    return tensor._grad_fn


def attach(output: TensorLike, node: Node, output_nr: int = 0) -> None:
    """Make a tensor an output of a node."""
    output._grad_fn = node
    output._output_nr = output_nr
    output._requires_grad = True


def register_hook(tensor: TensorLike, hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(grad)` when the tensor's gradient is ready; it may return another gradient."""
    return _hooks.register_hook(tensor, grad_fn(tensor), hook)


def register_post_accumulate_grad_hook(
    tensor: TensorLike, hook: Callable[..., Any]
) -> RemovableHandle:
    """Call `hook(tensor)` each time the `grad` of a leaf was added to."""
    return _hooks.register_post_accumulate_grad_hook(tensor, hook)


def retain_grad(tensor: TensorLike) -> None:
    """Let a tensor that is no leaf keep its gradient."""
    _hooks.retain_grad(tensor, grad_fn(tensor))


def retains_grad(tensor: TensorLike) -> bool:
    """Whether a tensor that is no leaf keeps its gradient."""
    return tensor._hooks is not None and tensor._hooks.retains_grad
