"""How a search ends: what led it meets the default again. The processes that measure are played."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tritorch.tune import load, session
from tritorch.tune.database import Database
from tritorch.tune.load import Load
from tritorch.tune.session import Options, Outcome, Session

Times = Callable[[int | None, int], float]


class Player:
    """A worker whose kernel has candidates A=1 ... A=3, and the default A=0."""

    times: Times
    asked: int
    wrong: frozenset[int]
    interrupted_at: int | None
    alive, process = True, None

    def __init__(self, kernel: str, sizes: Any, dtype: Any, device: str) -> None:
        self.kernel = kernel

    def start(self, deadline: float) -> dict[str, Any]:
        candidates = [{"A": a} for a in (1, 2, 3)]
        return {
            "kernel": self.kernel, "sizes": {"n": 8}, "facts": {"n": 8}, "target": "here",
            "digest": "d", "moved": 1.0, "operations": 0.0, "default": {"A": 0},
            "candidates": candidates,
        }  # fmt: skip

    def check(
        self, candidate: Mapping[str, Any], deadline: float, *, thorough: bool = False
    ) -> Any:
        wrong = thorough and candidate["A"] in self.wrong
        return {"status": "wrong" if wrong else "ok", "message": "beyond" if wrong else ""}

    def time(self, candidate: Mapping[str, Any], deadline: float) -> float:
        Player.asked += 1
        if Player.asked == self.interrupted_at:
            raise KeyboardInterrupt
        return Player.times(candidate.get("A"), Player.asked)

    def end(self) -> None:
        pass


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, database: Database) -> Callable[..., Outcome]:
    """A search in which a sample takes what a function of (candidate or None, number) says."""

    def run(
        times: Times, wrong: tuple[int, ...] = (), interrupted_at: int | None = None
    ) -> Outcome:
        monkeypatch.setattr(session, "Worker", Player)
        monkeypatch.setattr(Player, "times", staticmethod(times), raising=False)
        monkeypatch.setattr(Player, "asked", 0, raising=False)
        monkeypatch.setattr(Player, "wrong", frozenset(wrong), raising=False)
        monkeypatch.setattr(Player, "interrupted_at", interrupted_at, raising=False)
        options = Options(strategy="exhaustive", budget=60.0, workers=1)
        return Session("softmax_rows", {}, None, options).run()

    return run


#: of the search: one sample of the default, then five rounds of it and three candidates
SEARCHED = 1 + 5 * 4


def test_a_lucky_leader_is_not_kept(play: Callable[..., Outcome], database: Database) -> None:
    """What looked twice as fast while it was searched, and is as fast when it counts."""
    outcome = play(lambda a, n: 0.5 if a == 2 and n <= SEARCHED else 1.0)
    assert outcome.best.config == {"A": 0} and outcome.best.ratio == 1.0
    assert "the default stays: A=" in outcome.verdict and outcome.interval is None
    assert [row.config for row in database.best()] == [{"A": 0}]
    assert {row.status for row in database.rows() if row.config != {"A": 0}} == {"timed"}


def test_what_is_faster_is_kept(play: Callable[..., Outcome], database: Database) -> None:
    outcome = play(lambda a, n: {3: 0.8, 1: 0.9}.get(a or 0, 1.0) * (1 + n % 7 / 1000))
    assert outcome.best.config == {"A": 3} and outcome.interval is not None
    low, high = outcome.interval
    assert low <= 1.25 <= high and "faster than the default: 1.2" in outcome.verdict
    assert [row.config for row in database.best()] == [{"A": 3}]


def test_the_second_wins_where_the_first_reads_beyond(play: Callable[..., Outcome]) -> None:
    outcome = play(lambda a, n: {3: 0.8, 1: 0.9}.get(a or 0, 1.0), wrong=(3,))
    assert outcome.best.config == {"A": 1}
    assert [(row.config, row.message) for row in outcome.rejected] == [({"A": 3}, "beyond")]


def test_an_interrupted_search_compares_its_leader_too(
    play: Callable[..., Outcome], database: Database
) -> None:
    outcome = play(lambda a, n: 0.8 if a == 1 else 1.0, interrupted_at=SEARCHED)
    assert outcome.stopped == "interrupted" and outcome.best.config == {"A": 1}
    assert outcome.best.samples == 21 and outcome.best.status == "ok"


def test_interrupted_again_nothing_is_claimed(
    play: Callable[..., Outcome], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During the last comparison, before it has shown anything: the default stays."""

    def times(a: int | None, n: int) -> float:
        if n > SEARCHED + 3:
            raise KeyboardInterrupt
        return 0.8 if a == 1 else 1.0

    outcome = play(times)
    assert outcome.stopped == "interrupted" and outcome.best.config == {"A": 0}
    assert [row.config for row in database.best()] == [{"A": 0}]


def test_an_earlier_winner_is_compared_again(
    play: Callable[..., Outcome], database: Database
) -> None:
    play(lambda a, n: 0.8 if a == 1 else 1.0)
    outcome = play(lambda a, n: 1.0)
    assert outcome.resumed == 3 and outcome.tried == 0 and outcome.best.config == {"A": 0}
    assert [row.config for row in database.best()] == [{"A": 0}]


def test_load_is_what_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processors for ten seconds: 12 s busy, 7 s of them ours."""
    monkeypatch.setattr(load.time, "monotonic", lambda: 0.0)
    monkeypatch.setattr(load, "_machine", lambda: (0, 2))
    monkeypatch.setattr(load, "_own", lambda workers: 1.0)
    begun = Load()
    monkeypatch.setattr(load.time, "monotonic", lambda: 10.0)
    monkeypatch.setattr(load, "_machine", lambda: (12 * begun._ticks, 2))
    monkeypatch.setattr(load, "_own", lambda workers: 8.0)
    assert begun.share([]) == pytest.approx(5 / 20)
    monkeypatch.setattr(load, "_machine", lambda: None)
    assert begun.share([]) is None


def test_a_busy_machine_is_told(play: Callable[..., Outcome], monkeypatch: Any) -> None:
    monkeypatch.setattr(Load, "share", lambda self, workers: 0.4)
    warning = play(lambda a, n: 1.0).disturbed
    assert warning is not None and "other programs used 40% of the processors" in warning
    monkeypatch.setattr(Load, "share", lambda self, workers: 0.05)
    assert play(lambda a, n: 1.0).disturbed is None
