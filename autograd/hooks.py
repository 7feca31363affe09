"""Hooks on tensors and nodes: where they are kept, how they are added and removed."""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from tritorch.autograd.protocol import TensorLike

Hook = Callable[..., Any]
_next_id = itertools.count().__next__


class RemovableHandle:
    """What the registering functions return; `remove()` takes the hook away again.

    Usable as a context manager. Removing twice, or after the hooked object is gone, does nothing.
    """

    __slots__ = ("__weakref__", "_hooks", "id")

    def __init__(self, hooks: dict[int, Any]) -> None:
        self.id = _next_id()
        self._hooks: Any = weakref.ref(hooks) if isinstance(hooks, OrderedDict) else (lambda: hooks)

    def remove(self) -> None:
        """Take the hook away."""
        hooks = self._hooks()
        if hooks is not None:
            hooks.pop(self.id, None)

    def __getstate__(self) -> tuple[Any, int]:
        return self._hooks(), self.id

    def __setstate__(self, state: tuple[Any, int]) -> None:
        hooks, self.id = state
        self._hooks = weakref.ref(hooks) if isinstance(hooks, OrderedDict) else (lambda: hooks)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.remove()


class TensorHooks:
    """A tensor's rarely used part of the protocol (its slot `_hooks`)."""

    __slots__ = ("accumulate_grad", "backward", "post_accumulate", "retains_grad")

    def __init__(self) -> None:
        #: id -> hook; a node that has the tensor as output shares the dictionary
        self.backward: OrderedDict[int, Hook] | None = None
        self.post_accumulate: OrderedDict[int, Hook] | None = None
        self.retains_grad = False
        #: weak reference to the leaf's AccumulateGrad
        self.accumulate_grad: weakref.ref[Any] | None = None


def hooks_of(tensor: TensorLike) -> TensorHooks:
    """The tensor's TensorHooks, made when it has none yet."""
    hooks = tensor._hooks
    if hooks is None:
        hooks = tensor._hooks = TensorHooks()
    return hooks


class NodeExtras:
    """What few nodes have: hooks, metadata, the line that recorded it (slot `_extras`)."""

    __slots__ = (
        "metadata", "parent", "post_hooks", "pre_hooks", "retained", "tensor_hooks", "traceback",
    )  # fmt: skip

    def __init__(self) -> None:
        self.pre_hooks: OrderedDict[int, Hook] | None = None
        self.post_hooks: OrderedDict[int, Hook] | None = None
        #: (output number, hooks of the tensor that was that output), in the order of registration
        self.tensor_hooks: list[tuple[int, OrderedDict[int, Hook]]] | None = None
        #: output number -> weak reference to the tensor whose gradient is kept
        self.retained: dict[int, weakref.ref[Any]] | None = None
        self.metadata: dict[Any, Any] | None = None
        self.traceback: str | None = None
        self.parent: Any = None


def _added(hooks: OrderedDict[int, Hook], hook: Hook) -> RemovableHandle:
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle


def register_pre_hook(node: Any, hook: Hook) -> RemovableHandle:
    """Call `hook(grad_outputs)` before the node; it may return other gradients."""
    extras = node.extras()
    if extras.pre_hooks is None:
        extras.pre_hooks = OrderedDict()
    return _added(extras.pre_hooks, hook)


def register_post_hook(node: Any, hook: Hook) -> RemovableHandle:
    """Call `hook(grad_inputs, grad_outputs)` after it; it may return other input gradients."""
    extras = node.extras()
    if extras.post_hooks is None:
        extras.post_hooks = OrderedDict()
    return _added(extras.post_hooks, hook)


def register_hook(tensor: TensorLike, node: Any, hook: Hook) -> RemovableHandle:
    """Call `hook(grad)` when the tensor's gradient is ready; it may return another gradient.

    `node` is the tensor's up-to-date grad_fn, None for a leaf (`edges.register_hook` looks it up).
    """
    if not tensor._requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    hooks = hooks_of(tensor)
    if hooks.backward is None:
        hooks.backward = OrderedDict()
    if node is not None:
        extras = node.extras()
        if extras.tensor_hooks is None:
            extras.tensor_hooks = []
        entry = (tensor._output_nr, hooks.backward)
        if not any(known is hooks.backward for _, known in extras.tensor_hooks):
            extras.tensor_hooks.append(entry)
    return _added(hooks.backward, hook)


def register_post_accumulate_grad_hook(tensor: TensorLike, hook: Hook) -> RemovableHandle:
    """Call `hook(tensor)` each time its `grad` was added to; leaves only."""
    if not tensor._requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if tensor._grad_fn is not None:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    hooks = hooks_of(tensor)
    if hooks.post_accumulate is None:
        hooks.post_accumulate = OrderedDict()
    return _added(hooks.post_accumulate, hook)


def retain_grad(tensor: TensorLike, node: Any) -> None:
    """Let a tensor that is no leaf (its up-to-date grad_fn is `node`) keep its gradient."""
    if not tensor._requires_grad:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    if node is None:
        return  # A leaf keeps it anyway.
    hooks = hooks_of(tensor)
    if hooks.retains_grad:
        return
    hooks.retains_grad = True
    _retain(tensor, node)


def _retain(tensor: TensorLike, node: Any) -> None:
    extras = node.extras()
    if extras.retained is None:
        extras.retained = {}
    extras.retained[tensor._output_nr] = weakref.ref(tensor)


def move_hooks(tensor: TensorLike, old: tuple[Any, int] | None) -> None:
    """After an in-place operation gave the tensor a new history.

    Its hooks stay with the old gradient, for which they were registered; a retained gradient is
    that of the new value.

    Args:
        tensor: with its new `_grad_fn` and `_output_nr`.
        old: its former grad_fn and output number.
    """
    hooks = tensor._hooks
    if hooks is None:
        return
    hooks.backward = None
    if hooks.retains_grad:
        if old is not None and old[0] is not None:
            retained = old[0].extras().retained
            if retained is not None:
                retained.pop(old[1], None)
        _retain(tensor, tensor._grad_fn)
