"""When a configuration counts as faster than the default."""

from __future__ import annotations

import random

import pytest

from tritorch.tune.duel import FEWEST, ROUNDS, Duel, bounds


def duel(gain: float, noise: float, rounds: int = ROUNDS, seed: int = 0) -> Duel:
    """Times of a candidate that is so much faster, disturbed by a machine that is never faster."""
    dice = random.Random(seed)
    found = Duel()
    for _ in range(rounds):
        found.add(1.0 + noise * dice.expovariate(1.0), (1 - gain) * (1 + noise * dice.random()))
    return found


def test_what_is_much_faster_is_faster_whatever_the_noise() -> None:
    assert all(duel(0.3, 0.05, seed=seed).faster for seed in range(50))


def test_a_few_rounds_show_nothing() -> None:
    assert not duel(0.5, 0.0, rounds=FEWEST - 1).faster
    assert duel(0.5, 0.0, rounds=FEWEST).faster


def test_what_is_as_fast_is_seldom_taken_for_faster() -> None:
    """Both from one distribution: chance decides less often than one time in forty."""
    taken = 0
    for seed in range(1000):
        dice = random.Random(seed)
        found = Duel()
        for _ in range(ROUNDS):
            found.add(1 + 0.1 * dice.random(), 1 + 0.1 * dice.random())
        taken += found.faster
    assert taken < 25


def test_less_than_a_hundredth_is_nothing() -> None:
    assert not duel(0.005, 0.0).faster


def test_what_only_a_busy_machine_makes_faster_is_not() -> None:
    """Every round of the default but one was disturbed; in that one it was the faster."""
    found = Duel()
    for turn in range(ROUNDS):
        found.add(6.9 if turn == 5 else 12.0, 8.5)
    assert found.ratio < 0.75 and found.interval[1] < 1 and not found.faster


@pytest.mark.parametrize(("count", "low", "high"), [(3, 0, 2), (6, 0, 5), (21, 5, 15), (9, 1, 7)])
def test_bounds_of_a_median(count: int, low: int, high: int) -> None:
    """The places of the order statistics, from tables of the binomial distribution."""
    assert bounds([float(i) for i in reversed(range(count))]) == (low, high)


def test_it_is_told_in_words() -> None:
    found = Duel([1.0] * 6, [0.8] * 6)
    assert str(found) == "1.250 times its speed (1.250 to 1.250 in 6 rounds)"
