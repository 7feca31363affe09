"""Searches: what wins, what is rejected and why, budgets, resuming."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import pytest

from tritorch.config import config
from tritorch.errors import TuneError
from tritorch.kernels import choices, tuning
from tritorch.tune.database import Database
from tritorch.tune.session import Options, Outcome, Session


def search(kernel: str, sizes: dict[str, Any] | None = None, **options: Any) -> Outcome:
    """A search that ends by itself: its budget is for a machine that does much else."""
    chosen = {"budget": 600.0, "strategy": "exhaustive", "workers": 1, **options}
    return Session(kernel, sizes or {}, None, Options(**chosen)).run()


def test_a_search_finds_keeps_and_is_used(database: Database) -> None:
    outcome = search("matrix_vector_rows", {"m": 64, "k": 3000})
    assert outcome.stopped == "done" and outcome.tried == outcome.space - 1 >= 3
    assert not outcome.rejected
    rows = database.rows("matrix_vector_rows")
    assert len(rows) == outcome.space
    assert {row.status for row in rows} <= {"ok", "timed", "slow"}
    (best,) = database.best()
    assert best.config == outcome.best.config and best.ratio is not None and best.ratio <= 1.0
    assert best.facts == {"m": 64, "k": 3000, "dtype": "float32"}
    tunable = tuning.TUNABLES["matrix_vector_rows"]
    choices.reload()
    assert tunable.choose("cpu", **best.facts)["BLOCK_K"] == best.config["BLOCK_K"]
    # What was measured is not measured again.
    again = search("matrix_vector_rows", {"m": 64, "k": 3000})
    assert again.tried == 0 and again.resumed == outcome.space - 1
    assert "matrix_vector_rows" in again._repr_html_()


def test_planted_candidates_are_rejected_and_named(database: Database) -> None:
    outcome = search("planted:faulty", {"n": 500_000})
    found = {(row.config["BLOCK"], row.config["FAULT"]): row for row in outcome.rejected}
    assert outcome.best.config["FAULT"] == 0
    for block in (256, 1024):
        assert found[block, 1].status == "wrong"
        assert "elements of output 1 are not the reference's" in found[block, 1].message
        assert found[block, 2].status == "wrong"
        assert "output 2" in found[block, 2].message or "two runs differ" in found[block, 2].message
        assert found[block, 6].status == "failed"
        assert "CompileError" in found[block, 6].message
    assert len(found) == 6
    assert {row.status for row in database.rows()} - {"timed", "slow"} == {"ok", "wrong", "failed"}


def test_a_hanging_candidate_costs_its_deadline() -> None:
    outcome = search("planted:hanging", {"n": 10_000}, deadline=2.0)
    (row,) = outcome.rejected
    assert row.status == "timeout" and row.config["FAULT"] == 3
    assert outcome.best.config["FAULT"] == 0 and outcome.stopped == "done"


def test_a_crash_is_lost_in_its_process() -> None:
    outcome = search("planted:crashing", {"n": 10_000})
    assert {row.status for row in outcome.rejected} == {"failed"}
    assert all("signal 11" in row.message for row in outcome.rejected)
    assert len(outcome.rejected) == 2 and outcome.best.config["FAULT"] == 0


def test_reading_beyond_a_tensor_does_not_win() -> None:
    """Its results are right, so only the run with checked accesses can tell."""
    outcome = search("planted:beyond", {"n": 10_000})
    assert outcome.best.config["FAULT"] == 0
    for row in outcome.rejected:  # it may crash before, or be slower than the default
        assert row.config["FAULT"] == 5 and row.status in ("wrong", "failed")


def test_a_budget_is_kept() -> None:
    """How well, in seconds, depends on what else the machine does: the bar is held by hand."""

    def progress(session: Session) -> None:
        if session.tried:  # the first batch is done, and the time is over
            session.end = time.monotonic()

    options = Options(strategy="random", budget=600.0, workers=1)
    sizes = {"m": 256, "n": 256, "k": 256}
    outcome = Session("matmul_tile", sizes, None, options, progress=progress).run()
    assert outcome.stopped == "budget" and 0 < outcome.tried < outcome.space - 1
    assert outcome.best.ratio is not None and outcome.best.ratio <= 1.0


def test_trials_end_a_search() -> None:
    outcome = search("softmax_columns", {"n_cols": 8, "n_inner": 64}, trials=2, strategy="random")
    assert (outcome.stopped, outcome.tried) == ("trials", 2)


@pytest.mark.parametrize(
    ("kernel", "sizes", "said"),
    [
        ("softmax_row", {}, "Did you mean softmax_rows"),
        ("softmax_rows", {"m": 3}, "has no size 'm'; it has n_cols"),
        ("softmax_rows", {"n_cols": 0}, "impossible size n_cols=0"),
        ("matmul_tile", {"m": 1 << 20, "n": 1 << 20, "k": 1 << 20}, "too large"),
        ("matmul_tile", {"n": 1}, "is not what runs"),
        ("nowhere:f", {}, "cannot find nowhere:f"),
        ("__main__:f", {}, "begin its cell with %%writefile"),
        ("planted:RIGHT", {}, "is int, no kernel"),
        ("planted:undeclared", {}, "declares no grid= or no example="),
        ("planted:faulty", {}, "Give its sizes with --shape"),
    ],
)
def test_errors(kernel: str, sizes: dict[str, Any], said: str) -> None:
    with pytest.raises(TuneError, match=said):
        search(kernel, sizes, budget=30.0)


def test_on_first_call(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program's call waits for a short search; its data is not touched."""
    from tritorch.tune.session import on_first_call

    facts = {"m": 48, "k": 2500, "dtype": "float32"}
    with config(tune_budget=300):
        found = on_first_call(tuning.TUNABLES["matrix_vector_rows"], "cpu", facts)
    assert found is not None and set(found) == {"BLOCK_K"}
    assert any(row.facts == facts for row in database.best())
    assert on_first_call(tuning.TUNABLES["matrix_vector_rows"], "cuda", facts) is None


def test_every_kernel_with_a_space_has_a_problem() -> None:
    from tritorch.tune import problems

    library = {name for name in tuning.TUNABLES if ":" not in name and "made_for" not in name}
    assert library == set(problems.PROBLEMS) == {*problems.names(), *problems.names("cuda")}


def test_a_candidate_that_the_budget_left_no_time_for_is_not_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session("matrix_vector_rows")
    session.rows, session.end = {}, time.monotonic() - 1
    kept: list[Any] = []
    monkeypatch.setattr(session, "_keep", lambda *result: kept.append(result))
    session._time([0, 1])
    assert not kept and not database.rows()


def test_on_first_call_in_a_program(database: Database) -> None:
    """The setting alone makes a program's first call search; the second process looks it up."""
    code = (
        "import tritorch as torch\n"
        "x, y = torch.ones(40, 2600), torch.ones(2600)\n"
        "assert (x @ y).tolist() == [2600.0] * 40\n"
    )
    environment = os.environ | config.environment()
    environment |= {"TRITORCH_TUNE": "on-first-call", "TRITORCH_TUNE_BUDGET": "200"}
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], env=environment, timeout=300)
        assert done.returncode == 0
    rows = database.rows("matrix_vector_rows")
    assert {"m": 40, "k": 2600, "dtype": "float32"} in [row.facts for row in database.best()]
    assert len({row.measured for row in rows}) <= 4  # the second process searched nothing


def test_what_is_said_of_the_default_too_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of accesses knows no memory that was there before it began."""
    from tritorch.tune.measure import Measure, Wrong

    measure = Measure("combine_index", {"n_rest": 8}, None)
    measure.scrutinise(measure.candidates[0])
    monkeypatch.setattr(measure, "_beyond", lambda config: "beyond" if config else None)
    with pytest.raises(Wrong, match="beyond"):
        measure.scrutinise(measure.candidates[0])
