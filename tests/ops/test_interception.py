"""Interceptions of functions: what autocast and vmap do not show by themselves."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import FunctionType
from typing import Any

import pytest

import tritorch as torch
from tritorch.amp import state
from tritorch.ops import interception
from tritorch.ops.interception import Interception

#: Python 3.12 warns of forks beside threads, which are what this is about
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


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


def in_child(work: Callable[[], bool]) -> bool:
    """What a forked process says; it is killed if it waits."""
    import signal

    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0


@pytest.fixture
def holding() -> Any:
    """Runs work while another thread holds a lock."""

    def run(lock: Any, work: Callable[[], bool]) -> bool:
        held, finished = threading.Event(), threading.Event()

        def hold() -> None:
            with lock:
                held.set()
                finished.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        try:
            return work()
        finally:
            finished.set()
            thread.join()

    return run


def test_a_forked_child_intercepts_though_a_thread_held_the_lock(holding: Any) -> None:
    made = Interception(0)
    made.add(first, negated)

    def use() -> bool:
        with made:
            inside = first(3)
        return (inside, first(3)) == (-3, 3)

    assert holding(interception._lock, lambda: in_child(use))
    assert use()


def test_half_a_change_is_completed_in_a_forked_child() -> None:
    made = Interception(0)
    made.add(first, negated)
    made.add(second, negated)
    with made:
        own = interception.own_code(first)
        intercepted, first.__code__ = first.__code__, own  # as if a thread were about to set it
        try:
            assert in_child(lambda: first(3) == second(3) == -3)
        finally:
            first.__code__ = intercepted
    assert first(3) == 3


def test_a_forked_child_casts_though_a_thread_held_the_lock(holding: Any) -> None:
    x = torch.ones(2, 2)

    def cast() -> bool:
        with torch.autocast("cpu"):
            return (x @ x).dtype is torch.bfloat16

    assert holding(state._making, lambda: in_child(cast))
