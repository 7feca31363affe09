"""What the documentation shows is run: docstring examples, README, notebooks."""

from __future__ import annotations

import doctest
import importlib
import json
import linecache
import re
from pathlib import Path
from typing import Any

import pytest

import tritorch as torch
from tests.test_architecture import MODULES
from tritorch.triton_cpu.plugin import activate

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(backend: None, path: Path) -> None:
    """All code cells, in order; each has kept output from a run."""
    cells = json.loads(path.read_text())["cells"]
    scope: dict[str, Any] = {}
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code and all(cell["execution_count"] for cell in code)
    for number, cell in enumerate(code):
        run("".join(cell["source"]), f"<{path.stem} cell {number}>", scope)
