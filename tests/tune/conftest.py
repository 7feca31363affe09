"""A database of its own for each test, and the planted kernels on the path of the workers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tritorch.config import config
from tritorch.tune.database import Database

HERE = str(Path(__file__).parent)


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    if HERE not in sys.path:
        monkeypatch.syspath_prepend(HERE)
    with config(tune_db=tmp_path / "tune.sqlite", tune="lookup"):
        yield Database()
