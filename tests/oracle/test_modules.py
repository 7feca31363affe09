"""The layers and names of torch.nn held against an installed PyTorch."""

from __future__ import annotations

import pytest

from tests.oracle.inventory import NAMESPACES, inventory
from tests.oracle.module_rows import ROWS, Row
from tests.oracle.modules import judge, uncovered

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.layer}-{row.mode}")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_layer(row: Row, dtype: str) -> None:
    import torch.nn.utils.prune

    import tritorch

    verdict = judge(torch, tritorch, row, dtype)
    assert not verdict.failures, "\n".join(verdict.failures)


def test_every_class_has_a_row() -> None:
    assert uncovered(torch) == []


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_names(namespace: str) -> None:
    found = inventory(namespace)
    assert len(found.missing) <= NAMESPACES[namespace], str(found)
