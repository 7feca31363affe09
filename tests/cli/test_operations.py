"""`tritorch ops`: the table of operations as text and as JSON."""

from __future__ import annotations

import json

import pytest

from tritorch.cli import main


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    """All operations; each line has a name, a kind and a kernel's file."""
    assert main.run(["ops"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "operations," in lines[0] and int(lines[0].split()[0]) > 500
    (line,) = [line for line in lines if line.split()[:1] == ["hstack"]]
    assert "composite" in line and "templates/concat.py" in line


def test_chosen_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Names that contain a word, with the samples of the cross-check."""
    assert main.run(["ops", "bitwise_and", "linalg.qr", "--json"]) == 0
    found = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(found) == {"bitwise_and", "linalg.qr"}
    assert found["bitwise_and"]["gradient"] == "none"
    assert "bool" in found["bitwise_and"]["dtypes"]
    assert "float32" not in found["bitwise_and"]["dtypes"]
    assert "kernels/templates/factorization.py" in found["linalg.qr"]["sources"]
    assert found["linalg.qr"]["samples"] >= 6
