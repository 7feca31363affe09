"""Every command's help has an example, and the example works when it is pasted."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from tritorch.cli import main
from tritorch.config import config

ROOT = Path(__file__).resolve().parent.parent.parent
#: what makes one shorter here; an option that is given twice counts as it was given last
SHORTER = {
    "tune run": "--trials 1 --workers 1 --budget 250s",
    "bench": "--vs none --rounds 1 --seconds 0.01 --threads 1",
}
#: these run programs, which see another `torch` from then on
PROGRAMS = ("run", "tune trace")
PROGRAM = """
import sys
import torch
assert sys.argv[1:] in (["--epochs", "3"], ["--epochs", "1"])
print(torch.ones(8, 16).softmax(1).sum().item())
"""


def commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Every command's words and help."""
    command = command or get_command(main.app)
    inner = getattr(command, "commands", None)
    if inner is None:
        yield " ".join(path), command.help or ""
        return
    for name, below in inner.items():
        yield from commands(below, (*path, name))


EXAMPLES = {
    name: [line.strip() for line in text.splitlines() if line.strip().startswith("Example: ")]
    for name, text in commands()
}
#: in this order: what one writes the next ones read
ORDER = sorted(EXAMPLES, key=lambda name: (name not in PROGRAMS, name != "tune run"))


def test_each_help_has_one_example_in_one_line_of_a_terminal() -> None:
    assert len(EXAMPLES) >= 23
    for name, found in EXAMPLES.items():
        assert len(found) == 1, f"tritorch {name}"
        assert found[0].startswith(f"Example: tritorch {name}"), found[0]
        assert len(found[0]) <= 78, f"{found[0]} is cut in two"


def test_they_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One after the other in an empty folder, with a store of their own, and a cache where one is
    looked into."""
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text(PROGRAM)
    for name in ORDER:
        words = shlex.split(EXAMPLES[name][0].removeprefix("Example: tritorch "))
        words += shlex.split(SHORTER.get(name, ""))
        settings: dict[str, Any] = {"tune_db": tmp_path / "own.sqlite", "tune": "lookup"}
        if name in PROGRAMS or name.startswith("cache"):
            settings["cache_dir"] = tmp_path / "cache"
        with config(**settings):
            if name in PROGRAMS:
                environment = os.environ | config.environment() | {"PYTHONPATH": str(ROOT)}
                command = [sys.executable, "-m", "tritorch", *words]
                done = subprocess.run(
                    command, env=environment, capture_output=True, text=True, timeout=300
                )
                code, said = done.returncode, done.stdout + done.stderr
            else:
                if name in ("tune db diff", "tune db merge"):
                    Path("their.sqlite").write_bytes(Path("own.sqlite").read_bytes())
                code = main.run(words)
                said = "".join(capsys.readouterr())
        assert code == 0 and said, f"tritorch {shlex.join(words)}: {said[-1000:]}"
        if "--json" in words:
            json.loads(said)
    assert "matmul_tile" in Path("tritorch.lock.json").read_text()
    assert Path("report.html").stat().st_size > 1000 and Path("kernels.pack").exists()
