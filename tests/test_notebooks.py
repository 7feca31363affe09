"""The notebooks: what is kept in them is small and sound, and they run top to bottom."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import tritorch

ROOT = Path(__file__).resolve().parent.parent
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NOTEBOOKS = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)

#: bytes of a notebook with its outputs, and of one output
LARGEST, LARGEST_OUTPUT = 100_000, 60_000
#: seconds for a cell; generous, since this machine may be busy (each notebook takes under a minute)
PATIENCE = 600
#: what would tell where a notebook was run
MACHINE = re.compile(r"(?<![\w.])/(home|root|tmp|work|opt|Users|var)/|\\Users\\|0x[0-9a-f]{8,}")


def cells(path: Path, kind: str) -> list[Any]:
    notebook = nbformat.read(path, as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def texts(output: Any) -> list[str]:
    """Everything in an output that can be read."""
    found = [output.get("text", "")]
    found += [value for kind, value in output.get("data", {}).items() if kind.startswith("text/")]
    return found


def test_they_are_numbered_from_one() -> None:
    assert [path.name[:3] for path in PATHS] == [f"{i:02}_" for i in range(1, 8)]


@NOTEBOOKS
def test_what_is_kept(path: Path) -> None:
    """Small, from one run without errors, and nothing of the machine it ran on."""
    nbformat.validate(nbformat.read(path, as_version=4))
    assert path.stat().st_size < LARGEST
    code = cells(path, "code")
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [(cell, output) for cell in code for output in cell.outputs]
    assert outputs
    for cell, output in outputs:
        assert output.output_type != "error", cell.source
        assert output.get("name") != "stderr", f"a warning is kept: {output.text}"
        assert len(str(output)) < LARGEST_OUTPUT, cell.source
        for text in texts(output):
            found = MACHINE.search(text)
            assert found is None, f"{cell.source}\nshows {found and found[0]}: {text[:300]}"
    for cell in (*code, *cells(path, "markdown")):
        assert MACHINE.search(cell.source) is None, cell.source


@NOTEBOOKS
def test_links_lead_somewhere(path: Path) -> None:
    for cell in cells(path, "markdown"):
        for target in re.findall(r"\]\(([^)#:]+)\)", cell.source):
            assert (path.parent / target).exists(), target


def test_kept_outputs_are_of_this_version() -> None:
    """The tour prints it first."""
    first = cells(PATHS[0], "code")[0]
    assert first.outputs[0].data["text/plain"] == repr(tritorch.__version__)


@NOTEBOOKS
def test_it_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Top to bottom in a fresh kernel, in an empty folder, with no database of the user's."""
    folders = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(folders))
    monkeypatch.setenv("TRITORCH_TUNE_DB", str(tmp_path / "tune.sqlite"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "matplotlib"))
    monkeypatch.delenv("TRITORCH_TUNE_LOCK", raising=False)
    kept = nbformat.read(path, as_version=4)
    notebook = nbformat.read(path, as_version=4)
    folder = tmp_path / "empty"
    folder.mkdir()
    NotebookClient(
        notebook, timeout=PATIENCE, kernel_name="python3", coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    ).execute()  # fmt: skip
    assert not list(folder.iterdir()), "it leaves files behind"
    for before, after in zip(kept.cells, notebook.cells, strict=True):
        if before.cell_type == "code":
            kinds = [[o.output_type for o in cell.outputs] for cell in (before, after)]
            assert kinds[0] == kinds[1], f"what is kept is of another kind:\n{before.source}"
