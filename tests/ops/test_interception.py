"""Interceptions of functions: what autocast and vmap do not show by themselves."""

from __future__ import annotations

from types import FunctionType
from typing import Any

from tritorch.ops.interception import Interception


def first(x: int) -> int:
    return x


def second(x: int) -> int:
    return x


def negated(below: FunctionType) -> Any:
    return lambda args, options: -below(*args, **options)


def test_functions_added_while_another_thread_listens_are_intercepted_too() -> None:
    made = Interception(0)
    made.add(first, negated)
    with made:
        assert first(3) == -3
        made.add(second, negated)
        assert second(3) == 3  # its adder has not started yet
        with made:
            assert first(3) == second(3) == -3
        assert first(3) == second(3) == -3
    assert first(3) == second(3) == 3
