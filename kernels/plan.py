"""`Plan`: what does not change between two calls of one kind, and how to launch it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from tritorch.config import config
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

        text = _text(tuple(step.arguments for step in steps), tuple(workspaces))
        names: dict[str, Any] = {f"run{i}": step.launch for i, step in enumerate(steps)}
        # Where accesses are checked, all memory is taken from `allocate`, which knows it.
        lists = {} if config.debug == "bounds" else target.free_lists
        names |= {"free_lists": lists, "allocate": target.allocate, "free": target.free}
        return cls(outputs, FunctionType(text, names), kernels, steps, workspaces)

    def __repr__(self) -> str:
        names = ", ".join(getattr(k, "name", "?") for k in self.kernels)
        return f"Plan({names or 'nothing to launch'} -> {', '.join(map(repr, self.outputs))})"


@cache
def _text(calls: tuple[tuple[int, ...], ...], workspaces: tuple[int, ...]) -> CodeType:
    """The code of a launch of several steps, written out: a launch takes a microsecond or two, and
    what Python does around it in a cache that the kernels have just filled costs as much again.
    """
    used = max((place for call in calls for place in call), default=-1) + 1
    lines = [f"def launch({''.join(f'v{i}, ' for i in range(used))}*rest):"]
    lines += [f"    w{i} = 0" for i in range(len(workspaces))]
    lines.append("    try:")
    for i, nbytes in enumerate(workspaces):
        lines += [
            "        try:",
            f"            w{i} = free_lists[{nbytes}].pop()",
            "        except (KeyError, IndexError):",
            f"            w{i} = allocate({nbytes})",
        ]
    for i, call in enumerate(calls):
        listed = ", ".join(f"v{place}" if place >= 0 else f"w{-1 - place}" for place in call)
        lines.append(f"        run{i}({listed})")
    lines += ["        pass", "    finally:", "        pass"]
    for i, nbytes in enumerate(workspaces):
        lines += [
            f"        if w{i}:",
            "            try:",
            f"                free_lists[{nbytes}].append(w{i})",
            "            except KeyError:",
            f"                free(w{i}, {nbytes})",
        ]
    module = compile("\n".join(lines), "<launch of several steps>", "exec")
    return next(part for part in module.co_consts if isinstance(part, CodeType))


def nothing(*_values: Any) -> None:
    """The launch of a plan whose outputs are empty."""
