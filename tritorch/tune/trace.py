"""Which kernels a program runs, for which facts, how often, and how long it takes in all.

Every launch is timed on its own, which adds about a microsecond to each.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tritorch.errors import TuneError
from tritorch.kernels import tuning
from tritorch.ops.dispatch import Plans
from tritorch.runtime import Kernel, Launch, get_target

_FORMAT = 1


@dataclass
class Use:
    """One kernel on operands of one kind.

    Attributes:
        facts: what its configuration depends on; for kernels that are not tuned, the types of its
            arguments.
        seconds: of all launches together.
    """

    kernel: str
    facts: dict[str, Any]
    tunable: bool
    config: dict[str, Any] = field(default_factory=dict)
    launches: int = 0
    seconds: float = 0.0


class Trace:
    """`with Trace() as trace: ...` and then `trace.uses`, the costliest first.

    Only what this thread plans is told apart by facts; all launches count.
    """

    def __init__(self) -> None:
        self._uses: dict[tuple[str, str], Use] = {}
        self._last: dict[str, Use] = {}

    @property
    def uses(self) -> list[Use]:
        """What ran, by cost."""
        return sorted((u for u in self._uses.values() if u.launches), key=lambda u: -u.seconds)

    def __enter__(self) -> Trace:
        for plans in Plans.every:
            plans.clear()  # what was planned before is planned anew, and seen
        tuning.observers.append(self._observe)
        self._target = get_target("cpu")
        self._target.on_bind = self._watched  # type: ignore[attr-defined]
        return self

    def __exit__(self, *_error: object) -> None:
        tuning.observers.remove(self._observe)
        self._target.on_bind = None  # type: ignore[attr-defined]
        for plans in Plans.every:
            plans.clear()

    def _use(self, kernel: str, facts: dict[str, Any], tunable: bool) -> Use:
        key = (kernel, json.dumps(facts, sort_keys=True))
        return self._uses.setdefault(key, Use(kernel, facts, tunable))

    def _observe(
        self, tunable: tuning.Tunable, _target: str, facts: tuning.Facts, choice: dict[str, Any]
    ) -> None:
        use = self._use(tunable.name, dict(facts), True)
        use.config = {name: choice[name] for name in tunable.space if name in choice}
        self._last[tunable.name.rpartition(":")[2]] = use

    def _watched(self, kernel: Kernel, launch: Launch) -> Launch:
        use = self._last.pop(kernel.name, None)
        if use is None:
            use = self._use(kernel.name, {"types": " ".join(kernel.parameter_types)}, False)
        clock = time.perf_counter

        def timed(*values: Any) -> None:
            start = clock()
            launch(*values)
            use.seconds += clock() - start
            use.launches += 1

        return timed


def run(script: str, arguments: Sequence[str] = (), *, as_torch: bool = False) -> list[Use]:
    """Run a program as `python SCRIPT ARGUMENTS` would and give what it used.

    Args:
        as_torch: its `import torch` gives tritorch.
    Raises:
        TuneError: there is no such file.
    """
    if not os.path.isfile(script):
        raise TuneError(f"tune: no such file: {script}. Give the path of a Python program.")
    if as_torch:
        from tritorch.as_torch import install

        install()
    saved = sys.argv, list(sys.path)
    sys.argv = [script, *arguments]
    sys.path.insert(0, os.path.dirname(os.path.abspath(script)))
    trace = Trace()
    try:
        with trace:
            runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        if end.code not in (None, 0):
            raise
    finally:
        sys.argv, sys.path[:] = saved[0], saved[1]
    return trace.uses


def save(path: Path, uses: Iterable[Use], script: str) -> None:
    """Write a trace as JSON."""
    data = {
        "format": _FORMAT,
        "script": script,
        "target": get_target("cpu").identity,
        "kernels": [asdict(use) for use in uses],
    }
    try:
        path.write_text(json.dumps(data, indent=1) + "\n")
    except OSError as error:
        raise TuneError(
            f"tune: cannot write {path}: {error.strerror}. Choose another file."
        ) from error


def read(path: Path) -> list[Use]:
    """The uses of a trace, the costliest first.

    Raises:
        TuneError: no such file, or no trace.
    """
    try:
        data = json.loads(path.read_text())
        if data["format"] != _FORMAT:
            raise TuneError(f"tune: {path} is a trace of format {data['format']}, not {_FORMAT}.")
        return [Use(**entry) for entry in data["kernels"]]
    except OSError as error:
        raise TuneError(
            f"tune: cannot read the trace {path}: {error.strerror}. "
            "Make one with `tritorch tune trace SCRIPT.py`."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise TuneError(
            f"tune: {path} is no trace ({type(error).__name__}: {error}). "
            "Make one with `tritorch tune trace SCRIPT.py`."
        ) from error
