"""Strategies propose every candidate once, the good ones soon."""

from __future__ import annotations

import importlib.util
import math

import pytest

from tritorch.errors import TuneError
from tritorch.tune.strategies import STRATEGIES, strategy

CANDIDATES = [{"A": 2**a, "B": b, "C": c} for a in range(5) for b in range(6) for c in (1, 4)]
NAMES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name == "tpe" and importlib.util.find_spec("optuna") is None,
            reason="optuna is not installed",
        ),
    )
    for name in STRATEGIES
]


def cost(candidate: dict[str, int]) -> float:
    """A bowl with its lowest point at A=8, B=4, C=4."""
    a, b, c = math.log2(candidate["A"]), candidate["B"], candidate["C"]
    return 0.5 + 0.1 * (a - 3) ** 2 + 0.1 * (b - 4) ** 2 + (0.05 if c == 1 else 0.0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_each_candidate_once(name: str) -> None:
    search = strategy(name, CANDIDATES, 3)
    seen: list[int] = []
    while batch := search.ask(4):
        seen += batch
        for place in batch:
            broken = place % 7 == 0
            search.tell(place, math.inf if broken else cost(CANDIDATES[place]))
    assert sorted(seen) == list(range(len(CANDIDATES)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_search(name: str) -> None:
    def order(seed: int) -> list[int]:
        search = strategy(name, CANDIDATES, seed)
        seen: list[int] = []
        for _ in range(8):
            batch = search.ask(3)
            seen += batch
            for place in batch:
                search.tell(place, cost(CANDIDATES[place]))
        return seen

    assert order(1) == order(1)


@pytest.mark.parametrize("name", ["hill", "anneal"])
def test_local_search_finds_the_lowest_point_in_few_trials(name: str) -> None:
    """Of 60 candidates at most half are needed, whatever the seed (a hundred of them)."""
    needed = []
    for seed in range(100):
        search = strategy(name, CANDIDATES, seed)
        count = 0
        found = False
        while not found:
            for place in search.ask(2):
                count += 1
                value = cost(CANDIDATES[place])
                search.tell(place, value)
                found = found or value == 0.5
        needed.append(count)
    assert sum(needed) / len(needed) < 30.5 * (0.65 if name == "hill" else 0.95)


def test_what_is_known_is_not_proposed() -> None:
    search = strategy("exhaustive", CANDIDATES, 0)
    search.tell(0, 1.0)
    assert search.ask(2) == [1, 2]


def test_no_such_strategy() -> None:
    with pytest.raises(TuneError, match="Choose from exhaustive, random, hill, anneal, tpe"):
        strategy("luck", CANDIDATES, 0)
