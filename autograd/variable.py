"""`Variable`, the name that tensors with a gradient had once."""

from __future__ import annotations

from typing import Any

from tritorch.autograd.protocol import TensorLike, operations


class _VariableMeta(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, operations.tensor_type)


class Variable(metaclass=_VariableMeta):
    """`Variable(tensor)` is a tensor on the same memory; every tensor is an instance."""

    def __new__(cls, data: TensorLike, requires_grad: bool = False) -> Any:
        made = operations.detach(data)
        return made.requires_grad_() if requires_grad else made
