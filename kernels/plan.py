"""`Plan`: what does not change between two calls of one kind, and how to launch it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from tritorch.layout import Layout

Launch = Callable[..., None]


class Step(NamedTuple):
    """One launch of several: `arguments` index the plan's arguments; -1 - i is workspace i."""

    launch: Launch
    arguments: tuple[int, ...]


class Plan:
    """A bound computation.

    Attributes:
        outputs: layouts of the outputs; the caller allocates them.
        launch: takes the outputs' addresses, the tensor inputs' addresses and the scalar operands'
            values, each in operand order.
        kernels: the target's compiled kernels, for `tritorch.kernels.source` and statistics.
        steps, workspaces: the launches and the sizes (bytes) of the buffers between them, for
            `compile`.
    """

    __slots__ = ("kernels", "launch", "outputs", "steps", "workspaces")

    def __init__(
        self,
        outputs: Sequence[Layout],
        launch: Launch,
        kernels: Sequence[Any] = (),
        steps: Sequence[Step] = (),
        workspaces: Sequence[int] = (),
    ) -> None:
        self.outputs = tuple(outputs)
        self.launch = launch
        self.kernels = tuple(kernels)
        self.steps = tuple(steps)
        self.workspaces = tuple(workspaces)

    @classmethod
    def of_steps(
        cls,
        outputs: Sequence[Layout],
        target: Any,
        steps: Sequence[Step],
        workspaces: Sequence[int],
        kernels: Sequence[Any],
    ) -> Plan:
        """A plan of several launches; workspaces live in the target's memory for the length of a
        call.
        """

        # Behind the values, from the last to the first: workspace i is at -1 - i.
        sizes = list(workspaces)[::-1]
        calls = [(step.launch, _picker(step.arguments)) for step in steps]
        allocate, free = target.allocate, target.free

        def launch(*values: Any) -> None:
            held = tuple(map(allocate, sizes))
            values += held
            try:
                for run, pick in calls:
                    run(*pick(values))
            finally:
                for address, nbytes in zip(held, sizes):
                    free(address, nbytes)

        return cls(outputs, launch, kernels, steps, workspaces)

    def __repr__(self) -> str:
        names = ", ".join(getattr(k, "name", "?") for k in self.kernels)
        return f"Plan({names or 'nothing to launch'} -> {', '.join(map(repr, self.outputs))})"


def _picker(places: tuple[int, ...]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """Takes a tuple's items at these places."""
    if len(places) == 1:
        (place,) = places
        return lambda values: (values[place],)
    return itemgetter(*places)


def nothing(*_values: Any) -> None:
    """The launch of a plan whose outputs are empty."""
