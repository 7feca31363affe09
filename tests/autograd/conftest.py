"""The graph's own tests run on Fake tensors (`fake.py`), so that they need no kernels."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.autograd.fake import fake_operations


@pytest.fixture
def fakes() -> Iterator[None]:
    """The graph works on Fake tensors."""
    with fake_operations():
        yield
