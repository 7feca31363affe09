"""no_grad and its kin: contexts, decorators, generators, threads."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any

import pytest

from tritorch.autograd import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)


def test_contexts_nest_and_restore() -> None:
    assert is_grad_enabled()
    with no_grad():
        assert not is_grad_enabled()
        with enable_grad():
            assert is_grad_enabled()
            with set_grad_enabled(False):
                assert not is_grad_enabled()
            assert is_grad_enabled()
        assert not is_grad_enabled()
    assert is_grad_enabled()


def test_restored_after_an_error() -> None:
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert is_grad_enabled()


def test_one_context_object_used_again_inside_itself() -> None:
    for make in (no_grad, enable_grad):
        outer, inner = make(), make()
        with outer, inner:
            pass
        assert is_grad_enabled()


def test_set_grad_enabled_acts_at_once() -> None:
    set_grad_enabled(False)
    try:
        assert not is_grad_enabled()
    finally:
        set_grad_enabled(True)
    assert is_grad_enabled()


def test_decorators() -> None:
    @no_grad()
    def plain(x: int) -> Any:
        """Text."""
        return x, is_grad_enabled()

    @no_grad
    def bare() -> Any:
        return is_grad_enabled()

    @set_grad_enabled(False)
    def switched() -> Any:
        return is_grad_enabled()

    @inference_mode
    def inferring() -> Any:
        return is_inference_mode_enabled(), is_grad_enabled()

    @enable_grad()
    def enabled() -> Any:
        return is_grad_enabled()

    assert is_grad_enabled()
    assert plain(3) == (3, False)
    assert plain.__doc__ == "Text." and plain.__name__ == "plain"
    assert bare() is False and switched() is False
    assert inferring() == (True, False)
    with no_grad():
        assert enabled() is True
    assert is_grad_enabled()


def test_a_decorated_function_may_call_itself() -> None:
    @no_grad()
    def down(n: int) -> list[bool]:
        return [is_grad_enabled()] + (down(n - 1) if n else [])

    assert down(3) == [False] * 4
    assert is_grad_enabled()


def test_generators_run_inside_their_callers_run_outside() -> None:
    events: list[Any] = []

    @no_grad()
    def generate() -> Generator[int, Any, str]:
        try:
            got = yield 1
            events.append((got, is_grad_enabled()))
            try:
                yield 2
            except KeyError:
                events.append(("caught", is_grad_enabled()))
            yield 3
        finally:
            events.append(("closed", is_grad_enabled()))
        return "done"

    generator = generate()
    assert next(generator) == 1
    assert is_grad_enabled()
    assert generator.send("hello") == 2
    assert generator.throw(KeyError()) == 3
    generator.close()
    assert events == [("hello", False), ("caught", False), ("closed", False)]
    finishing = generate()
    assert [next(finishing), next(finishing), next(finishing)] == [1, 2, 3]
    with pytest.raises(StopIteration, match="done"):
        next(finishing)
    assert is_grad_enabled()


def test_inference_mode() -> None:
    with inference_mode():
        assert is_inference_mode_enabled() and not is_grad_enabled()
        with enable_grad():
            assert not is_grad_enabled()
        with inference_mode(False):
            assert is_grad_enabled() and not is_inference_mode_enabled()
    assert is_grad_enabled() and not is_inference_mode_enabled()


def test_each_thread_has_its_own() -> None:
    seen: list[bool] = []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append(is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_decorating_a_class_warns() -> None:
    with pytest.warns(FutureWarning, match="Decorating classes is deprecated"):

        @no_grad()
        class Thing:
            def __init__(self) -> None:
                self.enabled = is_grad_enabled()

    assert Thing().enabled is False


def test_text() -> None:
    with set_grad_enabled(True) as nothing:
        assert nothing is None
    assert str(set_grad_enabled(True)) == "torch.set_grad_enabled(mode=True)"
