"""What PyTorch does, we do: the programs of `programs.py` against results kept from PyTorch."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

import tritorch
from tests.autograd.programs import PROGRAMS

EXPECTED = json.loads(Path(__file__).with_name("expected.json").read_text())


def as_json(value: Any) -> Any:
    """Tuples as lists."""
    return json.loads(json.dumps(value))


def assert_same(found: Any, expected: Any, where: str) -> None:
    """Equal, floats to six digits; says where they differ."""
    if isinstance(expected, list):
        assert isinstance(found, list) and len(found) == len(expected), (where, found, expected)
        for position, (one, other) in enumerate(zip(found, expected)):
            assert_same(one, other, f"{where}[{position}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-6, abs=2e-5), where
    else:
        assert found == expected, where


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_as_in_pytorch(name: str) -> None:
    assert_same(as_json(PROGRAMS[name](tritorch)), EXPECTED[name], name)


def test_the_kept_results_are_pytorchs() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is only an optional oracle")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, program in PROGRAMS.items():
            assert_same(as_json(program(torch)), EXPECTED[name], name)
