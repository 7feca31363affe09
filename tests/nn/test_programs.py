"""The programs about modules return what PyTorch returned."""

from __future__ import annotations

import json
import warnings

import pytest

import tritorch
from tests.nn.programs import EXPECTED, PROGRAMS, shown

KNOWN = json.loads(EXPECTED.read_text())


def same(found: object, expected: object) -> bool:
    """Equal, numbers up to the rounding of their last digit."""
    if isinstance(expected, float) and isinstance(found, float):
        return found == pytest.approx(expected, abs=2e-4)
    if isinstance(expected, list) and isinstance(found, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, dict) and isinstance(found, dict):
        return found.keys() == expected.keys() and all(same(found[k], expected[k]) for k in found)
    return found == expected


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = shown(PROGRAMS[name](tritorch))
    expected = KNOWN[name]
    assert len(found) == len(expected)
    for place, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        assert same(ours, theirs), f"{name}[{place}]: {ours}, expected {theirs}"
