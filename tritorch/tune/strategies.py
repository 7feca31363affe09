"""Which candidate to try next. A strategy proposes (`ask`) and hears what came of it (`tell`).

All of them propose each candidate of the space at most once and are deterministic for a seed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from tritorch.errors import TuneError

Configuration = Mapping[str, Any]


class Strategy(Protocol):
    """See the module's text."""

    def ask(self, count: int) -> list[int]:
        """Up to `count` candidates (their indices); none when there is nothing left to try."""

    def tell(self, candidate: int, ratio: float) -> None:
        """A candidate's time over the default's; infinity for one that does not work."""


class _Base:
    def __init__(self, candidates: Sequence[Configuration], seed: int) -> None:
        self.candidates = candidates
        self.random = random.Random(seed)
        self.ratios: dict[int, float] = {}
        self.proposed: set[int] = set()

    def tell(self, candidate: int, ratio: float) -> None:
        self.ratios[candidate] = ratio
        self.proposed.add(candidate)

    def _left(self) -> list[int]:
        return [i for i in range(len(self.candidates)) if i not in self.proposed]

    def _propose(self, chosen: Sequence[int]) -> list[int]:
        self.proposed.update(chosen)
        return list(chosen)


class Exhaustive(_Base):
    """All of them, in declared order."""

    def ask(self, count: int) -> list[int]:
        return self._propose(self._left()[:count])


class Random(_Base):
    """Any of them."""

    def ask(self, count: int) -> list[int]:
        left = self._left()
        return self._propose(self.random.sample(left, min(count, len(left))))


class _Local(_Base):
    """Those that differ little from a point that moves."""

    def __init__(self, candidates: Sequence[Configuration], seed: int) -> None:
        super().__init__(candidates, seed)
        values = {name: [] for c in candidates for name in c}  # type: ignore[var-annotated]
        for candidate in candidates:
            for name, value in candidate.items():
                if value not in values[name]:
                    values[name].append(value)
        self._ranks = [tuple(values[n].index(c[n]) for n in c) for c in candidates]

    def _near(self, point: int, reach: int) -> list[int]:
        here = self._ranks[point]
        return [
            i
            for i in self._left()
            if sum(abs(a - b) for a, b in zip(here, self._ranks[i])) <= reach
        ]

    def _around(self, point: int | None, count: int) -> list[int]:
        """New candidates near a point, farther ones when those are used up; any without a point."""
        left = self._left()
        if point is None:
            return self._propose(self.random.sample(left, min(count, len(left))))
        for reach in (1, 2, 3):
            near = self._near(point, reach)
            if near:
                return self._propose(self.random.sample(near, min(count, len(near))))
        return self._propose(self.random.sample(left, min(count, len(left))))


class Hill(_Local):
    """From the best so far to its neighbours, to any when they are used up."""

    def ask(self, count: int) -> list[int]:
        known = {i: r for i, r in self.ratios.items() if r < math.inf}
        return self._around(min(known, key=known.__getitem__) if known else None, count)


class Anneal(_Local):
    """A walk that takes worse steps too, ever more seldom."""

    def __init__(self, candidates: Sequence[Configuration], seed: int) -> None:
        super().__init__(candidates, seed)
        self._point: int | None = None
        self._temperature = 0.5

    def tell(self, candidate: int, ratio: float) -> None:
        super().tell(candidate, ratio)
        if ratio == math.inf:
            return
        if self._point is None:
            self._point = candidate
            return
        worse = ratio - self.ratios[self._point]
        if worse <= 0 or self.random.random() < math.exp(-worse / self._temperature):
            self._point = candidate
        self._temperature *= 0.95

    def ask(self, count: int) -> list[int]:
        return self._around(self._point, count)


class Tpe(_Base):
    """Optuna's tree-structured Parzen estimator, over the kept candidates."""

    def __init__(self, candidates: Sequence[Configuration], seed: int) -> None:
        super().__init__(candidates, seed)
        try:
            import optuna
        except ImportError as error:
            raise TuneError(
                "tune: the strategy tpe needs optuna. Run pip install optuna, or choose another."
            ) from error
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna = optuna
        names = list(candidates[0]) if candidates else []
        self._space: dict[str, Any] = {
            name: optuna.distributions.CategoricalDistribution(
                sorted({c[name] for c in candidates}, key=repr)
            )
            for name in names
        }
        self._places = {tuple(c[n] for n in names): i for i, c in enumerate(candidates)}
        self._study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=8)
        )
        self._trials: dict[int, Any] = {}

    def ask(self, count: int) -> list[int]:
        chosen: list[int] = []
        for _ in range(20 * count):
            if len(chosen) == count or not self._left():
                break
            trial = self._study.ask(self._space)
            place = self._places.get(tuple(trial.params[name] for name in self._space))
            if place is None or place in self.proposed:
                self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
                continue
            self._trials[place] = trial
            chosen += self._propose([place])
        if len(chosen) < count:  # what it would not find by itself
            left = self._left()
            chosen += self._propose(self.random.sample(left, min(count - len(chosen), len(left))))
        return chosen

    def tell(self, candidate: int, ratio: float) -> None:
        super().tell(candidate, ratio)
        trial = self._trials.pop(candidate, None)
        if ratio == math.inf:
            if trial is not None:
                self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        elif trial is not None:
            self._study.tell(trial, ratio)
        else:
            self._study.add_trial(
                self._optuna.trial.create_trial(
                    params=dict(self.candidates[candidate]),
                    distributions=self._space,
                    value=ratio,
                )
            )


STRATEGIES: dict[str, Callable[[Sequence[Configuration], int], Strategy]] = {
    "exhaustive": Exhaustive,
    "random": Random,
    "hill": Hill,
    "anneal": Anneal,
    "tpe": Tpe,
}


def strategy(name: str, candidates: Sequence[Configuration], seed: int) -> Strategy:
    """The strategy of this name over these candidates.

    Raises:
        TuneError: no such strategy.
    """
    if name not in STRATEGIES:
        raise TuneError(f"tune: no strategy {name!r}. Choose from {', '.join(STRATEGIES)}.")
    return STRATEGIES[name](candidates, seed)
