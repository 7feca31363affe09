"""Plans of several launches: what each step is called with, and where its workspaces come from."""

import pytest

from tritorch.kernels.plan import Plan, Step


class Memory:
    """A target's memory: one block of each size is known to be free, others are asked for."""

    def __init__(self) -> None:
        self.free_lists = {64: [0x40]}
        self.events: list[tuple[str, int]] = []

    def allocate(self, nbytes: int) -> int:
        self.events.append(("allocate", nbytes))
        return nbytes * 16

    def free(self, address: int, nbytes: int) -> None:
        assert address == nbytes * 16
        self.events.append(("free", nbytes))


def test_steps_get_values_and_workspaces():
    memory, calls = Memory(), []
    steps = [
        Step(lambda *given: calls.append(("first", given)), (-1, 1, -2)),
        Step(lambda *given: calls.append(("second", given)), (0,)),
        Step(lambda *given: calls.append(("third", given)), (-2, 0, 2)),
    ]
    plan = Plan.of_steps((), memory, steps, [64, 128], ())
    plan.launch("out", "in", 3.5, "more than is used")
    assert calls == [
        ("first", (0x40, "in", 0x800)),
        ("second", ("out",)),
        ("third", (0x800, "out", 3.5)),
    ]
    assert memory.free_lists == {64: [0x40]}
    assert memory.events == [("allocate", 128), ("free", 128)]


def test_workspaces_are_given_back_after_an_error():
    memory = Memory()

    def fails(*_given):
        raise IndexError("out of bounds")

    plan = Plan.of_steps((), memory, [Step(fails, (-1, -2, 0))], [64, 128], ())
    with pytest.raises(IndexError, match="out of bounds"):
        plan.launch(1)
    assert memory.free_lists == {64: [0x40]}
    assert memory.events == [("allocate", 128), ("free", 128)]


def test_steps_without_workspaces():
    calls = []
    plan = Plan.of_steps((), Memory(), [Step(lambda *given: calls.append(given), (1, 0))], [], ())
    plan.launch("a", "b")
    assert calls == [("b", "a")]
