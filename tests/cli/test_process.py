"""What goes wrong is one line and an exit code, in processes as a shell starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def tritorch(*arguments: str, first: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    """`python -m tritorch ARGUMENTS` with these settings in the environment.

    Args:
        first: a folder whose modules are found first.
    """
    path = os.pathsep.join(filter(None, [first, str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, "-m", "tritorch", *arguments],
        env=os.environ | {"PYTHONPATH": path, **settings},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        ("env", {"TRITORCH_NUM_THREADS": "zero"}, "TRITORCH_NUM_THREADS must be a whole number"),
        ("ops gelu", {"TRITORCH_CACHE": "maybe"}, "TRITORCH_CACHE must be one of on, off"),
        ("tune db list", {"TRITORCH_TUNE": "yes"}, "TRITORCH_TUNE must be one of"),
        ("kernels show gelu", {"TRITORCH_TUNE_LOCK": "/none.json"}, "cannot read the lock file"),
        ("tune run softmax_row", {}, "no kernel 'softmax_row'. Did you mean softmax_rows"),
        ("tune run softmax_rows --shape n_cols=-1", {}, "impossible size n_cols=-1"),
        ("tune run softmax_rows --device cuda", {}, "there is no CUDA device here"),
        ("bench --device cuda", {}, "there is no CUDA device here"),
        ("tune run softmax_columns --trials 1", {"TRITORCH_TUNE_DB": "/proc/x/y"}, "cannot make"),
        ("cache pack kernels.pack", {"TRITORCH_CACHE_DIR": "/proc/x"}, "holds no kernels"),
        ("kernels show add --shape 99999999999", {}, "impossible shape 99999999999"),
        ("tune db merge {file}", {}, "is no database of measured configurations"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: str, settings: dict[str, str], said: str, tmp_path: Path
) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("no database")
    settings = {"TRITORCH_TUNE_DB": str(tmp_path / "tune.sqlite"), **settings}
    done = tritorch(*arguments.format(file=other).split(), **settings)
    assert done.returncode == 1, done
    last = done.stderr.splitlines()[-1]
    assert last.startswith("tritorch: ") and said in last and "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1 or "TRITORCH_CACHE_DIR" in settings, done.stderr
    assert done.stdout == "" and other.read_text() == "no database"


def test_a_bad_setting_does_not_keep_help_away() -> None:
    for argument in ("--help", "--version"):
        assert tritorch(argument, TRITORCH_NUM_THREADS="zero").returncode == 0


def test_a_cache_that_cannot_be_written_is_said_once() -> None:
    done = tritorch("kernels", "show", "gelu", "--stage", "asm", TRITORCH_CACHE_DIR="/proc/x")
    assert done.returncode == 0 and ".text" in done.stdout
    assert done.stderr.count("\n") == 1 and "cannot write to /proc/x" in done.stderr


@pytest.mark.parametrize("module", ["typer", "numpy"])
def test_interrupted_while_it_loads(module: str, tmp_path: Path) -> None:
    """Ctrl-C in an import of the command line's, or of the library's."""
    (tmp_path / f"{module}.py").write_text("raise KeyboardInterrupt")
    done = tritorch("env", first=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "tritorch: interrupted.\n")


def test_the_library_itself_still_raises() -> None:
    """Programs that import it get the exception, as ever."""
    done = subprocess.run(
        [sys.executable, "-c", "import tritorch"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "TRITORCH_NUM_THREADS": "zero"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1 and "ConfigError: TRITORCH_NUM_THREADS" in done.stderr


def test_tables_without_a_terminal_have_whole_lines() -> None:
    """Nothing is folded or cut, and nothing fills lines up."""
    done = tritorch("kernels", "list", "softmax*")
    lines = done.stdout.splitlines()
    assert all(line == line.rstrip() for line in lines)
    (line,) = [line for line in lines if line.split()[:1] == ["softmax_columns_backward"]]
    assert "num_warps=" in line and "n_inner=1024" in line
