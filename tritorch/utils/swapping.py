"""Two tensors that take each other's place, whoever refers to them."""

from __future__ import annotations

import weakref
from typing import Any

from tritorch.tensor import Tensor

_SLOTS = tuple(name for name in Tensor.__slots__ if not name.startswith("__"))
_NOTHING: Any = object()


def swap_tensors(t1: Tensor, t2: Tensor) -> None:
    """Swap all that two tensors are: elements, shape, class, attributes, gradient, history.

    Whoever refers to one of them sees the other from now on: a module's parameter becomes another
    tensor without losing its place.

    Raises:
        RuntimeError: one is referred to weakly, or a graph that was not walked yet will put a
            gradient into it; or their classes hold different things.

    Example:
        >>> import tritorch as torch
        >>> a, b = torch.zeros(2), torch.ones(3)
        >>> torch.utils.swap_tensors(a, b)
        >>> a, b
        (tensor([1., 1., 1.]), tensor([0., 0.]))
    """
    for name, tensor in (("t1", t1), ("t2", t2)):
        if weakref.getweakrefs(tensor):
            raise RuntimeError(f"Cannot swap {name} because it has weakref associated with it")
        hooks = tensor._hooks
        if hooks is not None and hooks.accumulate_grad is not None and hooks.accumulate_grad():
            raise RuntimeError(
                f"swap_tensors: a graph will put a gradient into {name}. Swap before the forward "
                "pass, or after backward."
            )
    kinds = type(t1), type(t2)
    try:
        t1.__class__, t2.__class__ = kinds[1], kinds[0]
    except TypeError as error:
        t1.__class__ = kinds[0]
        raise RuntimeError("Cannot swap t1 and t2 if they have different slots") from error
    t1.__dict__, t2.__dict__ = t2.__dict__, t1.__dict__
    for name in _SLOTS:
        slot = vars(Tensor)[name]
        first, second = _value(slot, t1), _value(slot, t2)
        _put(slot, t1, second)
        _put(slot, t2, first)


def _value(slot: Any, tensor: Tensor) -> Any:
    """What a slot holds; an uninitialised parameter leaves some empty."""
    try:
        return slot.__get__(tensor)
    except AttributeError:
        return _NOTHING


def _put(slot: Any, tensor: Tensor, value: Any) -> None:
    if value is not _NOTHING:
        slot.__set__(tensor, value)
    elif _value(slot, tensor) is not _NOTHING:
        slot.__delete__(tensor)
