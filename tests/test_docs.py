"""What the documentation shows is run: docstring examples, README."""

from __future__ import annotations

import doctest
import importlib
import linecache
import re
from pathlib import Path
from typing import Any

import pytest

import tritorch as torch
from tests.test_architecture import MODULES
from tritorch.triton_cpu.plugin import activate

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def backend() -> None:
    """Triton's CPU backend; a bare checkout has no entry point that Triton could find."""
    from triton.backends import backends

    if "cpu" not in backends:
        activate()


#: they make the coefficients and tables of `math`, need mpmath, and are no part of a program
FITTING = {"tritorch.triton_cpu.math.fit", "tritorch.triton_cpu.math.fit_tables"}


@pytest.mark.parametrize("module", sorted(MODULES - FITTING))
def test_docstring_examples(module: str) -> None:
    """`>>>` examples of public docstrings, with `torch` standing for tritorch."""
    found = doctest.DocTestFinder(exclude_empty=True).find(
        importlib.import_module(module), module, extraglobs={"torch": torch}
    )
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in found:
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


def run(source: str, name: str, scope: dict[str, Any]) -> None:
    """Execute a piece of documentation; Triton looks its source up by file name."""
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec"), scope)


def test_readme(backend: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Python blocks of the README, in order, in one program."""
    blocks = re.findall(
        r"^( *)```python\n(.*?)^ *```", (ROOT / "README.md").read_text(), re.M | re.S
    )
    assert len(blocks) >= 3
    scope: dict[str, Any] = {}
    for number, (indent, block) in enumerate(blocks):
        text = re.sub(f"^{indent}", "", block, flags=re.M)
        run(text, f"<README block {number}>", scope)
    assert "Snapshot(" in capsys.readouterr().out
    assert (scope["o"] == scope["x"] + scope["y"]).all()
