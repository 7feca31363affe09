"""How rules are declared, and what they share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tritorch.func.batched import Level
from tritorch.func.dispatch import RANDOM_RULES, RULES, Rule, at, front
from tritorch.layout import normalize_dim
from tritorch.ops import views
from tritorch.tensor import Tensor

Body = Callable[..., Any]


def rule(*functions: Callable[..., Any]) -> Callable[[Body], Body]:
    """Declare `body(level, *arguments of the operation)` as the rule of these functions."""

    def declare(body: Body) -> Body:
        for function in functions:
            RULES[function] = _adapted(body)
        return body

    return declare


def family(*functions: Callable[..., Any]) -> Callable[[Body], Body]:
    """Declare one body for several functions: `body(level, function, *arguments)`."""

    def declare(body: Body) -> Body:
        for function in functions:
            RULES[function] = family_rule(body)
        return body

    return declare


def family_rule(body: Body) -> Rule:
    """A rule from a body that is told the function."""
    return lambda level, function, args, options: body(level, function, *args, **options)


def random_rule(*functions: Callable[..., Any]) -> Callable[[Body], Body]:
    """Declare what these functions draw: `body(level, function, *arguments)`."""

    def declare(body: Body) -> Body:
        for function in functions:
            RANDOM_RULES[function] = family_rule(body)
        return body

    return declare


def _adapted(body: Body) -> Rule:
    return lambda level, function, args, options: body(level, *args, **options)


def behind(dim: int, x: Tensor, name: str = "vmap", extra: int = 0) -> int:
    """A sample's dimension as one of the tensor with the samples in front."""
    return normalize_dim(name, dim, x._layout.ndim + extra) + 1


def with_line(x: Tensor, level: Level) -> tuple[Tensor, bool]:
    """The samples in front of at least one dimension, and whether one of size 1 was added."""
    found = front(x, level)
    if x._layout.ndim:
        return found, False
    return views.unsqueeze(found, -1), True


def without_line(result: Any, added: bool) -> Any:
    """Undo `with_line`."""
    from tritorch.func.batched import substituted

    return substituted(result, lambda t: views.squeeze(t, -1)) if added else result


def padded(x: Tensor, level: Level, ndim: int) -> Tensor:
    """The samples in front, each with `ndim` dimensions; a shared tensor as it is."""
    found: Tensor = front(x, level)
    missing = ndim - x._layout.ndim
    if missing > 0 and at(x, level):
        shape = found._layout.shape
        found = views.reshape(found, shape[0], *(1,) * missing, *shape[1:])
    return found
