"""The demo: it learns, reports, and saves a picture and a checkpoint that loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tritorch as torch
from tritorch.examples import digits


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As `python -m tritorch.examples.digits` runs it."""
    digits.main(["--output", str(tmp_path)])
    text = capsys.readouterr().out
    accuracy = re.search(r"test accuracy +([\d.]+)%", text)
    assert accuracy is not None and float(accuracy[1]) >= 97.0
    for part in ("samples/s", "generated", "compile time", "kernel cache", "checkpoint", "picture"):
        assert part in text
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")

    model = digits.NeuralNetwork()
    model.load_state_dict(torch.load(tmp_path / "digits.pt"))
    _, images, labels = digits.load_digits()
    right = (model(images).argmax(1) == labels).float().mean().item()
    assert right * 100 == pytest.approx(float(accuracy[1]), abs=0.01)


def test_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong option is one clear line."""
    with pytest.raises(SystemExit):
        digits.main(["--epochs", "0"])
    assert "--epochs must be at least 1" in capsys.readouterr().err
