"""In-place operations: what they must not touch, and the new history they give."""

from __future__ import annotations

from typing import Any

from tritorch.autograd.edges import attach, edge, grad_fn
from tritorch.autograd.grad_mode import grad_mode_state
from tritorch.autograd.hooks import move_hooks
from tritorch.autograd.node import Gradients, Node
from tritorch.autograd.protocol import TensorLike, operations
from tritorch.autograd.views import raise_forbidden

__all__ = ["CopySlices", "attach", "check_inplace", "grad_fn", "rebase_history"]


def check_inplace(tensor: TensorLike, others_require_grad: bool = False) -> None:
    """Raise PyTorch's error where an in-place operation may not be recorded.

    Args:
        tensor: about to be written.
        others_require_grad: another input wants a gradient, so the result will have a history.
    """
    if not (tensor._requires_grad or others_require_grad) or not grad_mode_state.enabled:
        return
    info = tensor._view
    if info is not None:
        if info.creation:
            raise_forbidden(tensor, indirect=False)
        if tensor._requires_grad and info.base._grad_fn is None:
            raise RuntimeError(
                "a view of a leaf Variable that requires grad is being used in an in-place "
                "operation."
            )
    if tensor._requires_grad and tensor._grad_fn is None and grad_fn(tensor) is None:
        raise RuntimeError(
            "a leaf Variable that requires grad is being used in an in-place operation."
        )


def rebase_history(tensor: TensorLike, node: Node, output_nr: int = 0) -> None:
    """Give a tensor that was written in place (and had its version bumped) its new history.

    For a view it is the base that gets it: a CopySlices around the node.

    Args:
        tensor: what was written.
        node: recorded before the write; its first edge is that of the tensor.
        output_nr: which output of the node the tensor is.
    """
    info = tensor._view
    if info is None:
        _replace(tensor, node, output_nr)
        return
    base = info.base
    if info.creation:
        raise_forbidden(tensor, indirect=False)
    _replace(base, CopySlices(base, tensor, node, output_nr), 0)
    old = (tensor._grad_fn, tensor._output_nr)
    info.version = -1
    grad_fn(tensor)
    if old[0] is not None:
        move_hooks(tensor, old)


def _replace(tensor: TensorLike, node: Node, output_nr: int) -> None:
    old = (tensor._grad_fn, tensor._output_nr)
    attach(tensor, node, output_nr)
    move_hooks(tensor, old)


class CopySlices(Node):
    """The history of a base after an in-place operation on one of its views.

    The gradient outside the view passes; inside, it goes through the operation's own node.

    Args:
        base: with its history before the operation.
        view: of the base, that was written.
        node: of the operation; its first edge leads to the view.
        output_nr: which output of the node the view is.
    """

    __slots__ = ("_base_geometry", "_node", "_output_nr", "_view_geometry")

    def __init__(self, base: TensorLike, view: TensorLike, node: Node, output_nr: int) -> None:
        super().__init__((edge(base), *node.next_functions[1:]), (base._layout,))
        # The operation's input is now part of the base.
        node.next_functions = self.next_functions
        layout = view._layout
        self._view_geometry = (
            layout.shape,
            layout.strides,
            view.storage_offset() - base.storage_offset(),
        )
        self._base_geometry = (base._layout.shape, base._layout.strides)
        self._node: Node | None = node
        self._output_nr = output_nr

    def apply(self, grads: Gradients) -> Gradients:
        """Gradient of the base before the operation, then those of the operation's other inputs."""
        node = self._node
        if node is None:
            from tritorch.autograd.saved import FREED

            raise RuntimeError(FREED)
        shape, strides = self._base_geometry
        result = operations.restride(grads[0], shape, strides)
        size, stride, offset = self._view_geometry
        part = operations.as_strided(result, size, stride, offset + result.storage_offset())
        # A copy: `part` is overwritten below, and the node may keep what it is given.
        incoming: list[Any] = [None] * len(node.output_layouts)
        incoming[self._output_nr] = operations.clone(part)
        outgoing = node.apply(tuple(incoming))
        if not self.needs(0):
            return (None, *outgoing[1:])
        inner = outgoing[0]
        operations.copy_(
            part, operations.zeros(node.output_layouts[self._output_nr]) if inner is None else inner
        )
        return (result, *outgoing[1:])

    def release(self) -> None:
        """Free the operation's node."""
        self._node = None
