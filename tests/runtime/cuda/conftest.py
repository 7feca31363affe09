"""Targets on the fake driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.runtime.cuda.fake_driver import FakeDriver
from tritorch.runtime.cuda.target import CUDATarget


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


@pytest.fixture
def target(driver: FakeDriver) -> CUDATarget:
    return CUDATarget(driver)


@pytest.fixture
def make_target() -> Iterator[Callable[..., tuple[CUDATarget, FakeDriver]]]:
    def make(**options: Any) -> tuple[CUDATarget, FakeDriver]:
        driver = FakeDriver(**options)
        return CUDATarget(driver), driver

    yield make
