"""Batching rules: what follows from an operation's kind, and what is declared by itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from tritorch.func.dispatch import RULES, Rule


@cache
def _load() -> None:
    """Declare all rules, those that follow from the kind of a declared operation last."""
    from tritorch.func.rules import (  # noqa: F401
        dimensions,
        indexing,
        matrices,
        memory,
        neural,
        products,
        randomness,
        structure,
    )
    from tritorch.ops.declare import OPS

    for info in OPS:
        derived = dimensions.DERIVED.get(info.kind)
        if derived is not None:
            RULES.setdefault(info.function, derived)


def rule_of(function: Callable[..., Any]) -> Rule | None:
    """The rule of a function, None where it is only made of parts, or has none."""
    _load()
    return RULES.get(function)
