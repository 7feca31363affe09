"""The device that `device_kind` chose, for tests that ask what was launched there."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="module")
def gpu(device_kind: str) -> Any:
    """The target: of a GPU with `--device cuda`, else of the simulated one."""
    from tritorch.runtime import get_target

    return get_target("cuda")
