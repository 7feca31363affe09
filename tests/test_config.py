"""Settings: where caches are kept when nobody says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tritorch.config import Config


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"XDG_CACHE_HOME": "/somewhere", "HOME": "/home/a"}, "/somewhere/tritorch"),
        ({"XDG_CACHE_HOME": " ", "HOME": "/home/a"}, "/home/a/.cache/tritorch"),
        ({"HOME": "/home/a"}, "/home/a/.cache/tritorch"),
        ({"TRITORCH_CACHE_DIR": "~/k", "HOME": "/home/a"}, "/home/a/k"),
    ],
)
def test_the_cache_is_where_the_system_keeps_caches(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("XDG_CACHE_HOME", "HOME", "TRITORCH_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Config().cache_dir == Path(expected)


def test_macs_have_a_place_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv("HOME", "/Users/a")
    monkeypatch.delenv("TRITORCH_CACHE_DIR", raising=False)
    assert Config().cache_dir == Path("/Users/a/Library/Caches/tritorch")


def test_the_environment_gives_the_same_settings() -> None:
    """Every setting, flags and absent paths among them, comes back as it was."""
    import os
    from unittest.mock import patch

    from tritorch.config import Config, config

    with config(tune="off", num_threads=3, launch_blocking="1"):
        told = config.environment()
        with patch.dict(os.environ, told):
            assert Config() == config
        assert "TRITORCH_TUNE_LOCK" not in told
