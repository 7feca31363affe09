"""The cross-check against PyTorch's CPU build, where one is installed: every name, every sample."""

from __future__ import annotations

import pytest

from tests.oracle.compare import judge, table

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("name", table())
def test_name(name: str) -> None:
    import tritorch

    verdict = judge(tritorch, torch, name, table()[name])
    assert not verdict.failures, "\n".join(verdict.failures)
