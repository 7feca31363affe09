"""pytest-benchmark over the same cases: `python -m pytest bench --benchmark-only`."""

from __future__ import annotations

from typing import Any

import pytest

from bench.cases import CASES, Case


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_case(case: Case, benchmark: Any) -> None:
    """Our side of a row."""
    benchmark(case.ours())
