"""Options of the whole suite: which target the tests of `tests/devices` run on.

Kernels run with their own rules, not with what this machine has tuned.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Set before tritorch reads its settings, and for the processes that tests start.
os.environ.setdefault("TRITORCH_TUNE_DB", os.path.join(os.sep, "nonexistent", "tune.sqlite"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        choices=("cpu", "cuda", "simulated"),
        default="cpu",
        help="what tests/devices compare with the CPU: a GPU, or one that is simulated",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--device") == "cpu":
        others = [item for item in items if item.get_closest_marker("gpu")]
        if others:
            config.hook.pytest_deselected(items=others)
            items[:] = [item for item in items if not item.get_closest_marker("gpu")]


@pytest.fixture(scope="module")
def device_kind(request: pytest.FixtureRequest) -> Iterator[str]:
    """What "cuda" is: a GPU, or the simulated one (also where no device was asked for)."""
    if request.config.getoption("--device") == "cuda":
        yield "cuda"
        return
    from tests.runtime.cuda.simulated import simulated_gpu

    with simulated_gpu():
        yield "simulated"
