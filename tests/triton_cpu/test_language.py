"""Triton's language, operation by operation and dtype by dtype: the groups of `language/`."""

from __future__ import annotations

import pytest

from tests.triton_cpu.language import every
from tests.triton_cpu.language.harness import Group, run


@pytest.mark.parametrize("group", every.GROUPS, ids=str)
def test_language(group: Group) -> None:
    results = run(group.build())
    failed = [f"{result.case.name}: {result.message}" for result in results if result.message]
    assert not failed, f"{len(failed)} of {len(results)} cases:\n" + "\n".join(failed)
