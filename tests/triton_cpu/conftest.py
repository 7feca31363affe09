"""What runs on several feature levels."""

from typing import Any

import pytest

from tests.triton_cpu.running import LEVELS, target_of


@pytest.fixture(params=LEVELS)
def target(request: pytest.FixtureRequest) -> Any:
    """The host, and every lower feature level that it can run."""
    return target_of(request.param)
