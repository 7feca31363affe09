"""Optimizers and schedulers against PyTorch's, where it is installed."""

from __future__ import annotations

import pytest

from tests.oracle.optimizers import OPTIMIZERS, SCHEDULERS, cases

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("name", [*OPTIMIZERS, *SCHEDULERS])
def test_name(name: str) -> None:
    import tritorch

    chosen = [
        (what, compare) for what, compare in cases() if f" {name} " in what or what.endswith(name)
    ]
    assert chosen
    wrong = {what: compare(tritorch, torch) for what, compare in chosen}
    assert not any(wrong.values()), {what: text for what, text in wrong.items() if text}
