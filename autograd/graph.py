"""Public names of `torch.autograd.graph`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import Any

from tritorch.autograd.differentiate import GradientEdge, get_gradient_edge
from tritorch.autograd.edges import edge, register_hook
from tritorch.autograd.engine import queue_callback
from tritorch.autograd.grad_mode import grad_mode_state
from tritorch.autograd.hooks import RemovableHandle
from tritorch.autograd.node import Node
from tritorch.autograd.protocol import TensorLike, operations
from tritorch.autograd.saved import (
    allow_mutation_on_saved_tensors,
    disable_saved_tensors_hooks,
    save_on_cpu,
    saved_tensors_hooks,
)


def increment_version(tensor: TensorLike | Iterable[TensorLike]) -> None:
    """Count a write to the tensor's memory that no operation made."""
    tensors = (tensor,) if isinstance(tensor, operations.tensor_type) else tensor
    for each in tensors:
        each._storage.version += 1


class _MultiHandle(RemovableHandle):
    """Removes the hook from every tensor."""

    __slots__ = ("_handles",)

    def __init__(self, handles: Sequence[RemovableHandle]) -> None:
        super().__init__({})
        self._handles = handles

    def remove(self) -> None:
        """Take the hook away."""
        for handle in self._handles:
            handle.remove()


def register_multi_grad_hook(
    tensors: Sequence[TensorLike], fn: Callable[..., None], *, mode: str = "all"
) -> RemovableHandle:
    """Call `fn` once in each backward pass for a group of tensors.

    Args:
        tensors: each requires a gradient.
        fn: with mode "all" it gets the list of their gradients when all those that take part are
            there, None for the others; with mode "any" the first gradient that is.
        mode: "all" or "any".
    Returns:
        a handle that removes the hook.
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    nodes = [edge(tensor)[0] for tensor in tensors]
    #: the run of the engine that the gradients below belong to
    current: list[Any] = [None]
    arrived: dict[int, TensorLike | None] = {}
    guard = Lock()

    def hook_of(position: int) -> Callable[[TensorLike], None]:
        def hook(gradient: TensorLike) -> None:
            task = grad_mode_state.task
            with guard:
                if current[0] is not task.remaining:
                    current[0] = task.remaining
                    arrived.clear()
                first = not arrived
                arrived[position] = gradient
                expected = sum(node in task.remaining for node in nodes)
                complete = len(arrived) == expected
                gradients = [arrived.get(each) for each in range(len(nodes))]
            if mode == "any":
                if first:
                    fn(gradient)
            elif complete:
                fn(gradients)

        return hook

    return _MultiHandle(
        [register_hook(tensor, hook_of(number)) for number, tensor in enumerate(tensors)]
    )


__all__ = [
    "GradientEdge",
    "Node",
    "allow_mutation_on_saved_tensors",
    "disable_saved_tensors_hooks",
    "get_gradient_edge",
    "increment_version",
    "queue_callback",
    "register_multi_grad_hook",
    "save_on_cpu",
    "saved_tensors_hooks",
]
