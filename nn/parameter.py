"""`Parameter`: a Tensor that a Module registers as its own when it is assigned as an attribute."""

from __future__ import annotations

from typing import Any

from tritorch.tensor import Tensor


class Parameter(Tensor):
    """A tensor to be trained; `requires_grad` is True unless asked otherwise.

    Args:
        data: the values, shared, not copied.
        requires_grad: whether gradients are collected.

    Example:
        >>> import tritorch as torch
        >>> torch.nn.Parameter(torch.ones(2))
        Parameter containing:
        tensor([1., 1.], requires_grad=True)
    """

    __slots__ = ()

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        if data is None:
            import tritorch

            data = tritorch.empty(0)
        if not isinstance(data, Tensor):
            raise TypeError(f"Parameter: expected a Tensor, got {type(data).__name__}.")
        return data.detach()._as_subclass(cls, requires_grad)  # type: ignore[return-value]

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        pass

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return "Parameter containing:\n" + super().__repr__()

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        known = memo.get(id(self))
        if known is None:
            known = memo[id(self)] = type(self)(self.detach().clone(), self.requires_grad)
        return known

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return (type(self), (self.detach(), self.requires_grad))
