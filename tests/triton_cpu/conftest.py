"""Hypothesis without deadlines: the first example pays for imports, and machines are shared."""

from typing import Any

import pytest
from hypothesis import settings

from tests.triton_cpu.running import LEVELS, target_of

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


@pytest.fixture(params=LEVELS)
def target(request: pytest.FixtureRequest) -> Any:
    """The host, and every lower feature level that it can run."""
    return target_of(request.param)
