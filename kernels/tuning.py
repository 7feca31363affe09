"""Which configuration a kernel runs with: `Tunable.choose` asks, in this order,

    a tuner that is trying one > the lock file > the user's database > shipped defaults > its rule.

A choice is made for *facts* (sizes, dtypes, flags), once per plan. Found configurations are those
of the same facts, or of the nearest sizes within the same powers of two. Each was found for one
text of the kernel; for another text it is stale: reported if the lock file pins it, else passed
over.

Upper rooms hang in by two names: `observers` see every choice (tracing, tuning), `on_missing` is
asked where nothing was found and `TRITORCH_TUNE=on-first-call`.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tritorch.config import config

Facts = Mapping[str, Any]
Configuration = dict[str, Any]

#: launch options of GPU kernels that a space may name; a CPU kernel has none
LAUNCH_OPTIONS = ("num_warps", "num_stages")

TUNABLES: dict[str, Tunable] = {}
_forced: dict[str, Configuration] = {}

#: called with (tunable, target type, facts, the configuration chosen)
observers: list[Callable[[Tunable, str, Facts, Configuration], None]] = []
#: called with (tunable, target type, facts) where nothing was found; gives a configuration or None
on_missing: list[Callable[[Tunable, str, Facts], Configuration | None]] = []


class Tunable:
    """What can be chosen for a kernel.

    Args:
        name: of the kernel; unique.
        space: constant or launch option -> the values a tuner may try.
        default: the rule without tuning: a configuration, or a function of the target's type
            (`target=`) and of the facts that it names.
        keep: whether a configuration is possible for these facts; both come as keywords.
        derive: constants that follow from a configuration and the facts; both come as keywords.
        key: names of the facts that a choice depends on.
        digest: identifies the kernel's text.
        replaces: whether it may take the place of an earlier one of its name.
    """

    def __init__(
        self,
        name: str,
        *,
        space: Mapping[str, Sequence[Any]] = MappingProxyType({}),
        default: Callable[..., Mapping[str, Any]] | Mapping[str, Any] = MappingProxyType({}),
        keep: Callable[..., bool] = lambda **_: True,
        derive: Callable[..., Mapping[str, Any]] | None = None,
        key: Sequence[str] = (),
        digest: Callable[[], str],
        replaces: bool = False,
    ) -> None:
        self.name = name
        self.space = MappingProxyType(dict(space))
        self.key = tuple(key)
        self.keep = keep
        self.digest = digest
        self._default = default
        self._derive = derive
        self._accepted = _keywords(default) if callable(default) else None
        if space:
            if name in TUNABLES and not replaces:
                raise TypeError(f"{name}: two kernels have this name. Rename one.")
            TUNABLES[name] = self

    def __repr__(self) -> str:
        return f"Tunable({self.name!r}, space={dict(self.space)}, key={self.key})"

    def default(self, target: str, facts: Facts) -> Configuration:
        """The choice of the rule, which is deterministic."""
        rule = self._default
        if not callable(rule):
            return dict(rule)
        wanted = facts
        if self._accepted is not None:
            wanted = {name: facts[name] for name in self._accepted if name != "target"}
        return dict(rule(target=target, **wanted))

    def candidates(self, target: str, facts: Facts) -> list[Configuration]:
        """Every possible combination of the space, in declared order."""
        combinations: list[Configuration] = [{}]
        for name, values in self.space.items():
            if target != "cpu" or name not in LAUNCH_OPTIONS:
                combinations = [{**c, name: v} for c in combinations for v in values]
        return [c for c in combinations if self.keep(**{**facts, **c})]

    def choose(self, target: str, **facts: Any) -> Configuration:
        """The constants and launch options to run with on a target type (`"cpu"`).

        Raises:
            TypeError: a fact of the key is missing.
        """
        choice = self.default(target, facts)
        if self.space:
            known = {name: facts[name] for name in self.key}
            choice.update(self._found(target, known) or {})
            if self._derive is not None:
                choice.update(self._derive(**{**facts, **choice}))
            for observe in observers:
                observe(self, target, known, choice)
        elif self._derive is not None:
            choice.update(self._derive(**{**facts, **choice}))
        return choice

    def _found(self, target: str, facts: Facts) -> Configuration | None:
        forced = _forced.get(self.name)
        if forced is not None:
            return forced
        if config.tune == "off":
            return None
        found = None
        if _CHOICES in sys.modules or _may_be_known(self.name):
            from tritorch.kernels import choices

            found = choices.find(self, target, facts)
        if found is None and config.tune == "on-first-call":
            for ask in on_missing:
                found = found or ask(self, target, facts)
        if found is not None and not self.keep(**{**facts, **found}):
            return None  # it was found for other sizes
        return found


#: what finds configurations; the first operation of a process would wait milliseconds for it
_CHOICES = "tritorch.kernels.choices"


def _may_be_known(name: str) -> bool:
    """Whether to load what finds configurations: there is a file that may have one of a kernel."""
    return config.tune_lock is not None or config.tune_db.exists() or f'"{name}"' in _shipped()


@cache
def _shipped() -> str:
    """The text of all choices that came with the package."""
    folder = os.path.join(os.path.dirname(__file__), "defaults")
    texts = []
    for name in sorted(os.listdir(folder)):
        if name.endswith(".json"):
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                texts.append(file.read())
    return "".join(texts)


@cache
def generator_digest(*modules: str) -> str:
    """Of the modules (by name, in this package) that generate the text of kernels."""
    folder = Path(__file__).parent
    text = "".join((folder / f"{name}.py").read_text() for name in modules)
    return hashlib.sha256(text.encode()).hexdigest()


def _keywords(function: Callable[..., Any]) -> tuple[str, ...] | None:
    """The names that a function takes; None: all of them."""
    code = function.__code__
    if code.co_flags & inspect.CO_VARKEYWORDS:
        return None
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def force(configurations: Mapping[str, Configuration]) -> None:
    """Let these kernels (by name) run with these configurations, and no others be forced; for
    tuners, in a process of their own: plans that were made before stay as they are.
    """
    _forced.clear()
    _forced.update(configurations)


def bucket(facts: Facts) -> tuple[tuple[str, Any], ...]:
    """Facts with sizes rounded up to powers of two: what shares a choice."""
    return tuple(
        (name, ("size", max(value - 1, 0).bit_length()) if type(value) is int else value)
        for name, value in sorted(facts.items())
    )


def distance(facts: Facts, others: Facts) -> float:
    """How far the sizes of two kinds in a bucket are from each other: 0 for the same."""
    return sum(
        abs(math.log2(max(value, 1) / max(others[name], 1)))
        for name, value in facts.items()
        if type(value) is int
    )
