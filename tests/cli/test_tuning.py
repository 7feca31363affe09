"""`tritorch tune`, `kernels` and `bench` as a user runs them, in processes that are interrupted,
killed and many at once.
"""

from __future__ import annotations

import json
import os
import pty
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tritorch.cli import main
from tritorch.config import config
from tritorch.tune.database import Database

ROOT = Path(__file__).resolve().parent.parent.parent
#: 600 candidates of a kernel that runs for microseconds: no search ends by itself
ENDLESS = ["tune", "run", "matmul_tile", "--shape", "M=96,N=96,K=96", "--strategy", "random"]
SMALL = ["tune", "run", "softmax_columns", "--shape", "n_cols=8,n_inner=64", "--strategy", "random"]


@pytest.fixture(autouse=True)
def database(tmp_path: Path) -> Iterator[Database]:
    with config(tune_db=tmp_path / "tune.sqlite", tune="lookup"):
        yield Database()


def environment(database: Database, **settings: str) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "TRITORCH_TUNE_DB": str(database.path),
        **settings,
    }


def start(database: Database, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tritorch", *arguments],
        env=environment(database),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What a command says as JSON."""
    assert main.run([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def wait_for_rows(database: Database, count: int) -> int:
    """How many candidates' rows there are, once there are `count`."""
    end = time.monotonic() + 300
    while len(database.rows()) < count:
        assert time.monotonic() < end, "the search keeps nothing"
        time.sleep(0.02)
    return len(database.rows())


def test_a_search_and_what_becomes_of_it(
    database: Database, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """run, then db list, show, best, verify, export, prune, import, diff, merge, and report."""
    (outcome,) = answer(capsys, *SMALL, "--trials", "2", "--budget", "300s", "--workers", "1")
    assert outcome["stopped"] == "trials" and outcome["tried"] == 2 and not outcome["rejected"]
    (entry,) = answer(capsys, "tune", "db", "list")
    assert (entry["kernel"], entry["rows"], entry["stale"]) == ("softmax_columns", 3, 0)
    shown = answer(capsys, "tune", "db", "show", "softmax_columns")
    assert len(shown) == 3 and shown[0]["facts"] == outcome["facts"]
    (best,) = answer(capsys, "tune", "db", "best")
    assert best["config"] == outcome["best"]["config"]
    assert answer(capsys, "tune", "db", "verify") == {"rows": 3, "stale": 0, "problems": []}
    lock = str(tmp_path / "tritorch.lock.json")
    assert answer(capsys, "tune", "db", "export", "-o", lock)["choices"] == 1

    page, picture = tmp_path / "report.html", tmp_path / "report.png"
    report = answer(capsys, "tune", "report", "--html", str(page), "--png", str(picture))
    (line,) = report["lines"]
    assert line["kernel"] == "softmax_columns" and line["faster"] >= 1.0
    assert "softmax_columns" in page.read_text() and picture.read_bytes()[:4] == b"\x89PNG"

    other = tmp_path / "other.sqlite"
    other.write_bytes(database.path.read_bytes())
    assert answer(capsys, "tune", "db", "prune", "--all") == {"deleted": 3}
    (difference,) = answer(capsys, "tune", "db", "diff", str(other))
    assert difference["mine"] is None and difference["theirs"] == best["config"]
    assert answer(capsys, "tune", "db", "import", lock) == {"rows": 1}
    assert answer(capsys, "tune", "db", "merge", str(other)) == {"added": 2, "replaced": 0}
    assert answer(capsys, "tune", "db", "diff", str(other)) == []
    assert main.run(["tune", "db", "show"]) == 0
    assert "BLOCK=" in capsys.readouterr().out


PROGRAM = """
import hashlib
import tritorch as torch
x = torch.randn(2048, 256, generator=torch.Generator().manual_seed(0))
kernel = torch.kernels.launched(torch.sum, x, 0)[0]
print(kernel.constants["BLOCK"], hashlib.sha256(x.sum(0).numpy().tobytes()).hexdigest())
"""


def test_a_lock_file_pins_choice_and_bits(
    database: Database, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Sums in blocks of other sizes have other bits; with the lock file two processes agree."""

    def run(**settings: str) -> tuple[str, str]:
        text = subprocess.check_output(
            [sys.executable, "-c", PROGRAM], env=environment(database, **settings), text=True
        )
        block, digest = text.split()
        return block, digest

    shape = "operation=sum,reduced=2048,kept=256"
    search = ["tune", "run", "reduction_columns", "--shape", shape, "--workers", "1"]
    answer(capsys, *search, "--trials", "2", "--budget", "300s")
    lock = tmp_path / "tritorch.lock.json"
    answer(capsys, "tune", "db", "export", "-o", str(lock))
    data = json.loads(lock.read_text())
    usual = run(TRITORCH_TUNE="off")
    pinned = 4 if usual[0] != "4" else 64
    data["choices"][0]["config"]["BLOCK"] = pinned
    lock.write_text(json.dumps(data))
    first, second = (run(TRITORCH_TUNE_LOCK=str(lock)) for _ in range(2))
    assert first == second and first[0] == str(pinned) and first[1] != usual[1]
    data["choices"][0]["digest"] = "of another version"
    lock.write_text(json.dumps(data))
    stale = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment(database, TRITORCH_TUNE_LOCK=str(lock), TRITORCH_TUNE_DB="/nowhere/x"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert tuple(stale.stdout.split()) == usual and "another version" in stale.stderr


def test_an_interrupted_search_keeps_its_rows_and_resumes(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    process = start(database, *ENDLESS, "--budget", "1000s", "--json")
    wait_for_rows(database, 1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    (outcome,) = json.loads(out)
    assert outcome["stopped"] == "interrupted" and outcome["tried"] >= 1
    kept = [row for row in database.rows() if row.config != outcome["best"]["config"]]
    assert database.verify() == [] and kept
    (again,) = answer(capsys, *ENDLESS, "--trials", "1", "--budget", "300s")
    assert again["resumed"] >= len(kept)


def test_ctrl_c_on_a_terminal(database: Database) -> None:
    """The live table goes, a summary stays, the exit code is 130."""
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tritorch", *ENDLESS, "--budget", "1000s"],
        env=environment(database, TERM="xterm-256color"),
        stdin=inside,
        stdout=inside,
        stderr=inside,
    )
    os.close(inside)
    shown = b""
    pressed = False
    while True:
        try:
            data = os.read(terminal, 1 << 16)
        except OSError:  # Linux says so when the other end is closed
            break
        if not data:
            break
        shown += data
        if not pressed and b"best so far" in shown:
            process.send_signal(signal.SIGINT)  # as the terminal does
            pressed = True
    os.close(terminal)
    assert process.wait(300) == 130, shown.decode()[-2000:]
    assert b"interrupted" in shown and b"Traceback" not in shown
    assert database.rows() and database.verify() == []


def test_killed_searches_leave_a_clean_database(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGKILL at random moments; what was there stays, and the next run goes on from it."""
    moments = random.Random(0)
    held = 0
    for seed in range(3):
        process = start(database, *ENDLESS, "--budget", "1000s", "--seed", str(seed))
        wait_for_rows(database, held + 1)
        time.sleep(moments.uniform(0.0, 1.0))
        process.kill()
        process.communicate(timeout=300)
        assert process.returncode == -signal.SIGKILL
        assert database.verify() == []
        assert len(database.rows()) > held
        held = len(database.rows())
    (again,) = answer(capsys, *ENDLESS, "--trials", "1", "--budget", "300s")
    assert again["resumed"] >= held - 1  # the default's own row is none


def test_four_at_once_lose_no_row(database: Database) -> None:
    sizes = (64, 80, 96, 112)
    processes = [
        start(
            database, "tune", "run", "softmax_columns", "--shape", f"n_cols=8,n_inner={n}",
            "--strategy", "random", "--trials", "2", "--workers", "1", "--budget", "300s", "--json",
        )
        for n in sizes
    ]  # fmt: skip
    for n, process in zip(sizes, processes):
        out, err = process.communicate(timeout=400)
        assert process.returncode == 0, err
        (outcome,) = json.loads(out)
        rows = [row for row in database.rows() if row.facts == outcome["facts"]]
        assert outcome["sizes"]["n_inner"] == n and outcome["tried"] == 2
        assert len(rows) == outcome["tried"] + 1
    assert database.verify() == []


def test_tuning_what_a_program_uses(
    database: Database, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """`tune trace`, then `tune run --from-trace`: the program's own sizes, found from then on."""
    script, trace = tmp_path / "program.py", tmp_path / "trace.json"
    script.write_text(
        "import sys\nimport tritorch as torch\n"
        "assert sys.argv[1:] == ['--epochs', '3']\n"
        "for _ in range(3):\n    torch.softmax(torch.ones(8, 72, 2), 1)\n"
    )
    traced = ["tune", "trace", "-o", str(trace), "--json", str(script), "--epochs", "3"]
    assert main.run(traced) == 0
    uses = json.loads(capsys.readouterr().out)
    (use,) = [use for use in uses if use["kernel"] == "softmax_columns"]
    assert use["launches"] == 3 and use["tunable"] and use["seconds"] > 0
    (outcome,) = answer(
        capsys, "tune", "run", "softmax_columns", "--from-trace", str(trace), "--trials", "1",
        "--budget", "300s", "--workers", "1",
    )  # fmt: skip
    assert outcome["facts"] == use["facts"]
    assert {row.kernel for row in database.rows()} == {"softmax_columns"}


def test_kernels(capsys: pytest.CaptureFixture[str]) -> None:
    (entry,) = answer(capsys, "kernels", "list", "softmax_columns")
    assert "BLOCK" in entry["space"] and "n_cols" in entry["key"]
    for stage, mark in (
        ("triton", "@triton.jit"), ("ttir", "tt.func"), ("llir", "define void"), ("asm", ".globl"),
        ("ptx", ".entry"), ("sass", "EXIT"),
    ):  # fmt: skip
        (shown,) = answer(capsys, "kernels", "show", "mul", "--stage", stage, "--shape", "100")
        assert shown["stage"] == stage and mark in shown["text"]
    assert main.run(["kernels", "show", "softmax_rows", "--shape", "n_cols=70"]) == 0
    assert "def softmax_rows(" in capsys.readouterr().out


def test_bench_saves_and_compares(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    now = str(tmp_path / "now.json")
    bench = ["bench", "softmax 4096x256", "--vs", "none", "--rounds", "1", "--seconds", "0.02"]
    found = answer(capsys, *bench, "--threads", "1", "--save", now)
    (row,) = found["rows"]
    assert row["ours_us"] > 0 and row["threads"] == 1
    compared = answer(capsys, *bench, "--threads", "1", "--compare", now)
    assert compared["rows"][0]["times_as_fast"] > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tune", "run", "softmax_row"], "Did you mean softmax_rows"),
        (["tune", "run", "softmax_rows", "--shape", "n_cols=0"], "impossible size n_cols=0"),
        (["tune", "run", "softmax_rows", "--shape", "n_cols"], "cannot read the shape"),
        (["tune", "run", "softmax_rows", "--device", "tpu"], "no device 'tpu'"),
        (["tune", "run", "softmax_rows", "--budget", "soon"], "cannot read the budget"),
        (["tune", "run", "softmax_rows", "--strategy", "luck"], "no strategy 'luck'"),
        (["tune", "run", "__main__:f"], "cannot find __main__:f"),
        (["tune", "run", "--from-trace", "nothere"], "tune trace SCRIPT.py"),
        (["tune", "run", "softmax_rows", "--shapes", "nothere"], "No such file"),
        (["tune", "run"], "name a kernel"),
        (["tune", "trace", "nothere.py"], "no such file: nothere.py"),
        (["tune", "db", "export"], "nothing to export"),
        (["tune", "db", "merge", "nothere"], "no such database"),
        (["tune", "db", "import", "nothere"], "no such file: nothere"),
        (["kernels", "show", "gelo"], "Did you mean gelu"),
        (["kernels", "show", "gelu", "--stage", "soup"], "no stage 'soup'"),
        (["ops", "nosuchthing"], "no operation's name"),
        (["bench", "nosuchrow"], "no row's name"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(arguments) == 1
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1, err


def test_places_that_cannot_be_written_and_damage(
    database: Database, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with config(tune_db=tmp_path / "file" / "tune.sqlite"):
        assert main.run([*SMALL, "--trials", "1", "--budget", "300s"]) == 1
    assert "Set TRITORCH_TUNE_DB" in capsys.readouterr().err
    database.path.write_bytes(b"no database" * 500)
    process = start(database, "tune", "db", "list", "--json")
    out, err = process.communicate(timeout=300)
    assert (process.returncode, json.loads(out)) == (0, [])
    assert "is damaged" in err and err.count("\n") == 1
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1


def test_bench_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The GPU's rows, whose times are played; the lines that people see do not mix with JSON."""
    import bench.gpu
    import tritorch

    def run_rows(libraries: dict[str, Any], seconds: float, pattern: str) -> list[dict[str, Any]]:
        print(f"rows of {pattern}")
        return [{"name": "softmax", "ours_ms": 1.0}]

    monkeypatch.setattr(tritorch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(bench.gpu, "run_rows", run_rows)
    monkeypatch.setattr(bench.gpu, "environment", lambda torch: {"gpu": "none"})
    found = answer(capsys, "bench", "softmax", "--device", "cuda", "--vs", "none")
    assert found == {"environment": {"gpu": "none"}, "rows": [{"name": "softmax", "ours_ms": 1.0}]}
    assert main.run(["bench", "nosuchrow", "--device", "cuda"]) == 1
    assert "no row's name" in capsys.readouterr().err
