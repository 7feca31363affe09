"""Each program learns: it reaches its bars, and its curve goes the way that it should."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

from tests.programs.learning import Learning

#: programs, and whether the measure of their curve rises
PROGRAMS = {
    "digits_cnn": True,
    "dqn": False,
    "gan": False,
    "gpt": False,
    "gradient_penalty": False,
    "neural_ode": True,
    "resnet": False,
    "reversal": True,
    "tagger": True,
    "vae": False,
}
FOLDER = Path(__file__).parent


@pytest.mark.parametrize("name", PROGRAMS)
def test_learns(name: str) -> None:
    learning = Learning()
    import_module(f"tests.programs.{name}").program(learning)
    values = [value for _, value in learning.curve]
    assert learning.figures and not learning.missed()
    assert values[-1] > values[0] if PROGRAMS[name] else values[-1] < values[0]


@pytest.mark.parametrize("name", PROGRAMS)
def test_framework(name: str) -> None:
    """`import tritorch as torch` is the only import of a framework."""
    imports = [
        (alias.name, alias.asname)
        for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in (
            node.names
            if isinstance(node, ast.Import)
            else [ast.alias(f"{node.module}.{alias.name}", alias.asname) for alias in node.names]
        )
    ]
    ours = [pair for pair in imports if "torch" in pair[0].partition(".")[0]]
    assert ours == [("tritorch", "torch")]
    assert not [name for name, _ in imports if name.startswith(("numpy", "jax"))]


def test_every_program_is_run() -> None:
    files = {path.stem for path in FOLDER.glob("*.py")}
    assert files == {*PROGRAMS, "__init__", "learning", "test_programs"}


def test_bars() -> None:
    """A bar can be missed from either side, and by nan."""
    learning = Learning()
    learning.figure("low", 1.0, at_least=2.0)
    learning.figure("high", 3.0, at_most=2.0)
    learning.figure("nan", float("nan"), at_least=0.0, at_most=9.0)
    learning.figure("right", 2.0, at_least=2.0, at_most=2.0)
    assert learning.missed() == [
        "low: 1, must be at least 2",
        "high: 3, must be at most 2",
        "nan: nan, must be at least 0 and at most 9",
    ]
