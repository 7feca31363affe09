"""What a process has one of is made once, whichever threads come first."""

from __future__ import annotations

import threading
import time

import pytest

from tritorch.once import once


def test_threads_that_come_together_get_the_same_thing() -> None:
    made: list[object] = []

    @once
    def thing() -> object:
        time.sleep(0.05)  # all are inside by then
        made.append(object())
        return made[-1]

    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(thing())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert found == made * 8


def test_a_failure_is_not_remembered() -> None:
    calls: list[int] = []

    @once
    def thing() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("not yet")
        return len(calls)

    with pytest.raises(ValueError, match="not yet"):
        thing()
    assert thing() == 2
    assert thing() == 2
