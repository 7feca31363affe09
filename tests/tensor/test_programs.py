"""Short programs print, letter by letter, what they print with PyTorch."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import tritorch
from tests.tensor.programs import programs
from tests.tensor.running import outcome

EXPECTED = json.loads(Path(__file__).with_name("expected.json").read_text())["programs"]
_NUMBER = re.compile(r"[-+]?\d+\.\d*(?:e[-+]\d+)?")


def close(actual: str, expected: str) -> bool:
    """Equal, or equal but for the last printed digit of some numbers (another order of
    additions).
    """
    if actual == expected:
        return True
    if _NUMBER.sub("#", actual) != _NUMBER.sub("#", expected):
        return False
    pairs = list(zip(_NUMBER.findall(actual), _NUMBER.findall(expected)))
    # float32 sums whose terms cancel
    noise = 2e-7 * max(abs(float(b)) for _, b in pairs)
    return all(abs(float(a) - float(b)) <= max(1.01 * _last_digit(b), noise) for a, b in pairs)


def _last_digit(text: str) -> float:
    mantissa, _, exponent = text.partition("e")
    return 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))


@pytest.mark.parametrize(("group", "program"), programs(), ids=lambda value: value[:60])
def test_program(group: str, program: str) -> None:
    """The same text, or an exception that the same `except` clause catches."""
    expected, actual = EXPECTED[program], outcome(tritorch, program)
    if "error" in expected:
        assert "error" in actual, f"no error, but {actual['values']}"
        assert expected["error"][0] in actual["error"], (actual["error"], actual["message"])
        return
    assert "values" in actual, f"{actual['error'][0]}: {actual['message']}"
    assert len(actual["values"]) == len(expected["values"])
    for position, (own, theirs) in enumerate(zip(actual["values"], expected["values"])):
        assert close(own, theirs), f"item {position}:\n{own}\nPyTorch:\n{theirs}"
