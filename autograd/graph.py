"""Public names of `torch.autograd.graph`."""

from collections.abc import Iterable

from tritorch.autograd.differentiate import GradientEdge, get_gradient_edge
from tritorch.autograd.engine import queue_callback
from tritorch.autograd.node import Node
from tritorch.autograd.protocol import TensorLike, operations
from tritorch.autograd.saved import (
    disable_saved_tensors_hooks,
    save_on_cpu,
    saved_tensors_hooks,
)


def increment_version(tensor: TensorLike | Iterable[TensorLike]) -> None:
    """Count a write to the tensor's memory that no operation made."""
    tensors = (tensor,) if isinstance(tensor, operations.tensor_type) else tensor
    for each in tensors:
        each._storage.version += 1


__all__ = [
    "GradientEdge",
    "Node",
    "disable_saved_tensors_hooks",
    "get_gradient_edge",
    "increment_version",
    "queue_callback",
    "save_on_cpu",
    "saved_tensors_hooks",
]
