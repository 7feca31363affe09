"""What holds for the whole suite: options, settings, random numbers.

Kernels run with their own rules, not with what this machine has tuned. Random numbers are the same
whichever tests ran before: `--hypothesis-profile=searching` lets Hypothesis look for new examples.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# Set before tritorch reads its settings, and for the processes that tests start.
os.environ.setdefault("TRITORCH_TUNE_DB", os.path.join(os.sep, "nonexistent", "tune.sqlite"))

import tritorch as torch

# The first example pays for imports and compilation, and machines are shared: time says nothing.
settings.register_profile(
    "searching", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("suite", settings.get_profile("searching"), derandomize=True)
settings.load_profile("suite")


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


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Every test begins with the same random numbers."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def device_kind(request: pytest.FixtureRequest) -> Iterator[str]:
    """What "cuda" is: a GPU, or the simulated one (also where no device was asked for)."""
    if request.config.getoption("--device") == "cuda":
        yield "cuda"
        return
    from tests.runtime.cuda.simulated import simulated_gpu

    with simulated_gpu():
        yield "simulated"
