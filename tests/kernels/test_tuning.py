"""Choices: rule, lock file, database, nearest sizes, stale entries, observers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritorch.config import config
from tritorch.errors import ConfigError
from tritorch.kernels import choices, tuning
from tritorch.runtime import get_target

HERE = get_target("cpu").identity


@pytest.fixture
def tunable() -> Iterator[tuning.Tunable]:
    made = tuning.Tunable(
        "made_for_a_test",
        space={"BLOCK": [16, 32, 64], "num_warps": [1, 2]},
        default=lambda *, target, n: {"BLOCK": 16 if n < 100 else 32},
        keep=lambda BLOCK, n, **_: n >= BLOCK,
        derive=lambda BLOCK, n, **_: {"LOOPED": n > BLOCK},
        key=("n", "dtype"),
        digest=lambda: "now",
    )
    yield made
    del tuning.TUNABLES[made.name]


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "kernel": "made_for_a_test", "digest": "now", "target": HERE,
        "facts": {"n": 100, "dtype": "float32"}, "config": {"BLOCK": 64}, **changes,
    }  # fmt: skip


@contextmanager
def locked(path: Path, *entries: dict[str, Any]) -> Iterator[None]:
    path.write_text(json.dumps({"format": 1, "choices": list(entries)}))
    with config(tune="lookup", tune_lock=path, tune_db=path.with_name("none")):
        yield


def test_the_rule(tunable: tuning.Tunable) -> None:
    with config(tune="off"):
        assert tunable.choose("cpu", n=20, dtype="float32") == {"BLOCK": 16, "LOOPED": True}
        assert tunable.choose("cpu", n=200, dtype="float32") == {"BLOCK": 32, "LOOPED": True}
    with pytest.raises(KeyError):
        tunable.choose("cpu", n=20)


def test_candidates(tunable: tuning.Tunable) -> None:
    facts = {"n": 40, "dtype": "float32"}
    assert tunable.candidates("cpu", facts) == [{"BLOCK": 16}, {"BLOCK": 32}]
    assert len(tunable.candidates("cuda", facts)) == 4


def test_two_kernels_of_one_name(tunable: tuning.Tunable) -> None:
    with pytest.raises(TypeError, match="two kernels have this name"):
        tuning.Tunable(tunable.name, space={"A": [1]}, digest=lambda: "")


def test_a_lock_file_pins(tunable: tuning.Tunable, tmp_path: Path) -> None:
    with locked(tmp_path / "lock.json", entry()):
        assert tunable.choose("cpu", n=100, dtype="float32") == {"BLOCK": 64, "LOOPED": True}
        assert tunable.choose("cpu", n=64 + 1, dtype="float32")["BLOCK"] == 64  # same powers of two
        assert tunable.choose("cpu", n=64, dtype="float32")["BLOCK"] == 16
        assert tunable.choose("cpu", n=100, dtype="float16")["BLOCK"] == 32
        with config(tune="off"):
            assert tunable.choose("cpu", n=100, dtype="float32")["BLOCK"] == 32


def test_the_nearest_sizes_win(tunable: tuning.Tunable, tmp_path: Path) -> None:
    near = entry(facts={"n": 70, "dtype": "float32"}, config={"BLOCK": 16})
    with locked(tmp_path / "lock.json", entry(), near):
        assert tunable.choose("cpu", n=72, dtype="float32")["BLOCK"] == 16
        assert tunable.choose("cpu", n=99, dtype="float32")["BLOCK"] == 64


def test_what_is_impossible_for_these_sizes_is_not_used(
    tunable: tuning.Tunable, tmp_path: Path
) -> None:
    pinned = entry(facts={"n": 64, "dtype": "float32"})
    with locked(tmp_path / "lock.json", pinned):
        assert tunable.choose("cpu", n=64, dtype="float32")["BLOCK"] == 64
        assert tunable.choose("cpu", n=40, dtype="float32")["BLOCK"] == 16


def test_a_stale_pin_is_reported_once(tunable: tuning.Tunable, tmp_path: Path) -> None:
    with locked(tmp_path / "lock.json", entry(digest="before")):
        with pytest.warns(RuntimeWarning, match="pins made_for_a_test for another version"):
            assert tunable.choose("cpu", n=100, dtype="float32")["BLOCK"] == 32
        assert tunable.choose("cpu", n=101, dtype="float32")["BLOCK"] == 32


def test_another_targets_pin_is_not_used(tunable: tuning.Tunable, tmp_path: Path) -> None:
    with locked(tmp_path / "lock.json", entry(target="z80-1t")):
        assert tunable.choose("cpu", n=100, dtype="float32")["BLOCK"] == 32


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"format": 1}', '{"format": 7, "choices": []}',
        '{"format": 1, "choices": [{}]}',
    ],
)  # fmt: skip
def test_no_lock_file(tunable: tuning.Tunable, tmp_path: Path, text: str) -> None:
    path = tmp_path / "lock.json"
    path.write_text(text)
    with config(tune_lock=path), pytest.raises(ConfigError, match=r"lock\.json"):
        tunable.choose("cpu", n=100, dtype="float32")
    with (
        config(tune_lock=tmp_path / "absent"),
        pytest.raises(ConfigError, match="cannot read the lock file"),
    ):
        tunable.choose("cpu", n=100, dtype="float32")


def test_forced_wins_and_observers_see(tunable: tuning.Tunable, tmp_path: Path) -> None:
    seen: list[Any] = []
    observe = lambda *a: seen.append(a)  # noqa: E731
    tuning.observers.append(observe)
    try:
        tuning.force({tunable.name: {"BLOCK": 16}})
        with locked(tmp_path / "lock.json", entry()):
            assert tunable.choose("cpu", n=100, dtype="float32")["BLOCK"] == 16
        assert seen == [
            (tunable, "cpu", {"n": 100, "dtype": "float32"}, {"BLOCK": 16, "LOOPED": True})
        ]
    finally:
        tuning.force({})
        tuning.observers.remove(observe)


def test_on_first_call_asks(tunable: tuning.Tunable, tmp_path: Path) -> None:
    asked: list[str] = []

    def tune(of: tuning.Tunable, target: str, facts: tuning.Facts) -> dict[str, Any]:
        asked.append(of.name)
        return {"BLOCK": 64}

    tuning.on_missing.append(tune)
    try:
        with config(tune="on-first-call", tune_db=tmp_path / "none"):
            assert tunable.choose("cpu", n=100, dtype="float32")["BLOCK"] == 64
        with config(tune="lookup", tune_db=tmp_path / "none"):
            assert tunable.choose("cpu", n=100, dtype="float32")["BLOCK"] == 32
    finally:
        tuning.on_missing.remove(tune)
    assert asked == [tunable.name]


def test_a_database_that_is_none_is_said(tunable: tuning.Tunable, tmp_path: Path) -> None:
    (tmp_path / "tune.sqlite").write_text("no database" * 100)
    with (
        config(tune="lookup", tune_db=tmp_path / "tune.sqlite"),
        pytest.warns(RuntimeWarning, match="cannot read"),
    ):
        assert tunable.choose("cpu", n=100, dtype="float32")["BLOCK"] == 32


@given(st.integers(1, 1 << 40), st.integers(1, 1 << 40))
def test_a_bucket_spans_a_power_of_two(a: int, b: int) -> None:
    same = tuning.bucket({"n": a, "x": "s"}) == tuning.bucket({"n": b, "x": "s"})
    assert same == ((a - 1).bit_length() == (b - 1).bit_length())
    assert tuning.distance({"n": a}, {"n": b}) == pytest.approx(tuning.distance({"n": b}, {"n": a}))
    if same:
        assert tuning.distance({"n": a}, {"n": b}) <= 1


def test_shipped_defaults_come_last(
    tunable: tuning.Tunable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shipped.json"
    path.write_text(json.dumps({"format": 1, "choices": [entry()]}))
    monkeypatch.setattr(choices, "_shipped", lambda: (path,))
    with config(tune="lookup", tune_db=tmp_path / "none"):
        assert tunable.choose("cpu", n=100, dtype="float32")["BLOCK"] == 64
    with locked(tmp_path / "lock.json", entry(config={"BLOCK": 16})):
        assert tunable.choose("cpu", n=100, dtype="float32")["BLOCK"] == 16
    choices.reload()
