"""The store: rows, killed writers, many writers, damage, merging, lock files."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tritorch.errors import TuneError
from tritorch.kernels import choices
from tritorch.tune.database import Database, Row, export, from_lock

ROW = Row(
    "softmax_rows", "d1", "cpu-a", {"n_cols": 8}, {"BLOCK": 16}, "ok", seconds=2e-6, spread=1e-7,
    ratio=0.5, samples=5, measured="2026-11-21T00:00:00+00:00",
)  # fmt: skip


def test_rows_come_back(database: Database) -> None:
    assert database.rows() == [] and not database.path.exists()
    database.add([ROW])
    assert database.rows() == [ROW]
    database.add([replace(ROW, ratio=0.4)])  # measured again
    assert database.rows("softmax_rows") == [replace(ROW, ratio=0.4)]
    assert database.rows("other") == [] and database.rows(target="gpu") == []


def test_the_best_is_verified_and_fastest(database: Database) -> None:
    database.add(
        [
            ROW,
            replace(ROW, config={"BLOCK": 32}, ratio=0.3),
            replace(ROW, config={"BLOCK": 64}, ratio=0.1, status="wrong"),
            replace(ROW, config={"BLOCK": 64}, ratio=0.2, status="slow", facts={"n_cols": 9}),
            replace(ROW, digest="d2", ratio=0.9),
            replace(ROW, target="cpu-b", ratio=0.7),
        ]
    )
    assert [(r.digest, r.target, r.config["BLOCK"]) for r in database.best()] == [
        ("d1", "cpu-a", 32), ("d2", "cpu-a", 16), ("d1", "cpu-b", 16),
    ]  # fmt: skip


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.booleans() | st.text(max_size=4)))
@settings(max_examples=25, deadline=None)
def test_any_facts_and_messages(facts: dict[str, object]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        store = Database(Path(folder, "x.sqlite"))
        row = replace(ROW, facts=facts, message=json.dumps(facts))
        store.add([row])
        assert store.rows() == [row]


WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {here!r})
from test_database import ROW
from tritorch.tune.database import Database
store = Database(Path(sys.argv[1]))
print("ready", flush=True)
for i in range(int(sys.argv[3])):
    store.add([replace(ROW, config={{"writer": sys.argv[2], "i": i}})])
    print(i, flush=True)
"""


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    code = WRITER.format(here=str(Path(__file__).parent))
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path), name, str(count)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_killed_writer_loses_nothing_it_said(database: Database) -> None:
    """20 times: killed at some moment, the file opens clean and holds all that was reported."""
    for turn in range(20):
        process = writer(database.path, str(turn), 10_000)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(0.003 * (turn % 7))
        process.send_signal(signal.SIGKILL)
        reported = process.communicate(timeout=300)[0].split()
        assert database.verify() == []
        held = {row.config["i"] for row in database.rows() if row.config["writer"] == str(turn)}
        assert held >= set(map(int, reported))


def test_four_writers_at_once(database: Database) -> None:
    processes = [writer(database.path, str(i), 60) for i in range(4)]
    for process in processes:
        process.communicate(timeout=300)
        assert process.returncode == 0
    assert len(database.rows()) == 240


@pytest.mark.parametrize("damage", ["text", "header", "middle"])
def test_a_damaged_file_is_moved_aside_and_said(database: Database, damage: str) -> None:
    database.add([replace(ROW, config={"BLOCK": i}) for i in range(500)])
    data = bytearray(database.path.read_bytes())
    if damage == "text":
        data = bytearray(b"this was a database " * 100)
    elif damage == "header":
        data[:16] = b"SQLite format 9\0"
    else:
        for start in range(4096, len(data), 4096):
            data[start : start + 2048] = os.urandom(2048)
    database.path.write_bytes(data)
    with pytest.warns(RuntimeWarning, match="is damaged"):
        assert database.rows() == []
    (aside,) = database.path.parent.glob("*.damaged-*")
    assert aside.read_bytes() == bytes(data)
    database.add([ROW])
    assert database.rows() == [ROW]


def test_damage_that_another_process_found_first(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What that one has begun anew is not moved aside."""
    database.add([ROW])
    opened: list[None] = []
    prepared = database._prepared

    def damaged_at_first() -> sqlite3.Connection:
        opened.append(None)
        if len(opened) == 1:
            raise sqlite3.DatabaseError("file is not a database")
        return prepared()

    monkeypatch.setattr(database, "_prepared", damaged_at_first)
    assert database.rows() == [ROW] and len(opened) == 2
    assert not list(database.path.parent.glob("*.damaged-*"))


KILLED = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA cache_size=1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE configurations SET ratio = 0.01, message = hex(zeroblob(200000))")
os.kill(os.getpid(), 9)
"""


def test_programs_read_what_a_writer_killed_in_the_middle_left(database: Database) -> None:
    """They look configurations up without a warning, and find what was there before."""
    database.add([replace(ROW, config={"BLOCK": i}, ratio=0.5 + i) for i in range(50)])
    subprocess.run([sys.executable, "-c", KILLED, str(database.path)], timeout=300)
    assert Path(f"{database.path}-journal").exists()
    (choice,) = choices._from_database(database.path, "cpu-a")
    assert choice.config == {"BLOCK": 0}
    assert {row.ratio for row in database.rows()} == {0.5 + i for i in range(50)}


def test_a_newer_format_is_left_alone(database: Database) -> None:
    database.add([ROW])
    with sqlite3.connect(database.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(TuneError, match="made by a newer tritorch"):
        database.rows()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TuneError, match="Set TRITORCH_TUNE_DB"):
        Database(tmp_path / "file" / "tune.sqlite").add([ROW])


def test_merge_keeps_targets_apart(database: Database, tmp_path: Path) -> None:
    other = Database(tmp_path / "other.sqlite")
    database.add([ROW, replace(ROW, config={"BLOCK": 32}, measured="2026-11-22T00:00:00+00:00")])
    other.add(
        [
            replace(ROW, target="cpu-b", ratio=0.1),
            replace(ROW, ratio=0.25, measured="2026-11-23T00:00:00+00:00"),
            replace(ROW, config={"BLOCK": 32}, ratio=0.01, measured="2026-11-20T00:00:00+00:00"),
        ]
    )
    assert database.merge(other) == (1, 1)
    assert [(r.target, r.config["BLOCK"], r.ratio) for r in database.rows()] == [
        ("cpu-a", 16, 0.25), ("cpu-a", 32, 0.5), ("cpu-b", 16, 0.1),
    ]  # fmt: skip
    assert [r.target for r in database.best()] == ["cpu-a", "cpu-b"]
    with pytest.raises(TuneError, match="no such database"):
        database.merge(Database(tmp_path / "absent"))


def test_a_lock_file_carries_the_rows(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "lock.json"
    assert export([ROW], path) == 1
    assert from_lock(path) == [ROW]
    with pytest.raises(TuneError, match="cannot write"):
        export([ROW], tmp_path / "absent" / "lock.json")
    data = json.loads(path.read_text())
    del data["choices"][0]["seconds"]
    path.write_text(json.dumps(data))
    with pytest.raises(TuneError, match="has no time"):
        from_lock(path)


def test_remove(database: Database) -> None:
    database.add([ROW, replace(ROW, target="cpu-b")])
    assert database.remove(lambda row: row.target == "cpu-b") == 1
    assert database.rows() == [ROW]


def test_what_is_shipped_is_found(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file a target; kernels use it where the user has tuned nothing; stale entries go."""
    from tritorch.kernels import choices, tuning
    from tritorch.runtime import get_target
    from tritorch.tune.database import ship

    tunable = tuning.TUNABLES["softmax_columns"]
    facts = {"n_cols": 77, "n_inner": 99, "dtype": "float32"}
    row = replace(
        ROW, kernel=tunable.name, digest=tunable.digest(), target=get_target("cpu").identity,
        facts=facts, config={"BLOCK": 4, "INNER": 32}, ratio=0.5,
    )  # fmt: skip
    same = replace(row, facts={**facts, "n_cols": 8}, ratio=1.0)
    other = replace(row, target="NVIDIA H200-sm_90")
    folder = tmp_path / "defaults"
    written = ship([row, same, other, replace(row, kernel="my_module:mine")], folder)
    assert sorted(path.name for path in written) == [
        "nvidia-h200-sm_90.json",
        f"{get_target('cpu').identity.lower()}.json",
    ]
    assert set(written.values()) == {1}
    path = next(path for path in written if "nvidia" not in path.name)
    stale = path.read_text().replace(tunable.digest(), "of another version")
    path.write_text(stale.replace("77", "78"))
    assert ship([row], folder) == {path: 1}
    monkeypatch.setattr(choices, "SHIPPED", folder)
    choices._shipped.cache_clear()
    choices.reload()
    try:
        assert tunable.choose("cpu", **facts)["INNER"] == 32
    finally:
        choices._shipped.cache_clear()
        choices.reload()
    with pytest.raises(TuneError, match="nothing to ship"):
        ship([same], folder)
