"""The command line as a whole: help, errors as one line, exit codes, JSON."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import tritorch
from tritorch.cli import main, output
from tritorch.errors import DeviceError


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == tritorch.__version__


def test_every_command_has_help_with_an_example() -> None:
    from typer.main import get_command

    def walk(command: object, path: tuple[str, ...]) -> list[tuple[str, ...]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            text = getattr(command, "help", "") or ""
            assert "Example" in text, f"tritorch {' '.join(path)}: its help shows no example"
            return [path]
        return [p for name, c in inner.items() for p in walk(c, (*path, name))]

    assert len(walk(get_command(main.app), ())) >= 1


def test_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["nonsense"]) == 2
    assert "nonsense" in capsys.readouterr().err


def test_an_error_of_ours_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent() -> None:
        raise DeviceError("cuda: there is none.\n Use device='cpu'.")

    monkeypatch.setattr("tritorch.cli.environment.gather", absent)
    assert main.run(["env"]) == 1
    assert capsys.readouterr().err == "tritorch: cuda: there is none. Use device='cpu'.\n"


def test_env_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["env", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["versions"]["tritorch"] == tritorch.__version__
    assert found["settings"]["TRITORCH_NUM_THREADS"] >= 1


def test_tables_keep_every_cell(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(["name", "count"], [["matmul", 3], ["add", None]], right=["count"])
    text = capsys.readouterr().out
    assert "matmul" in text and "3" in text and "add" in text


def test_the_module_is_the_command() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tritorch", "--version"], capture_output=True, text=True, timeout=300
    )
    assert (run.returncode, run.stdout.strip()) == (0, tritorch.__version__)
