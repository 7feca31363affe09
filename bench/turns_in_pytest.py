"""Tests as pieces of `bench.turns`: `pytest -p bench.turns_in_pytest --turns FOLDER:WORKER`.

Several such processes share the tests of one selection. After a test that lost the GPU the process
ends, so that the next test has a new one.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from bench.turns import LOST, LOST_WORDS, Turns

_WORDS = 1500


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--turns", metavar="FOLDER:WORKER", help="share the tests with others")
    parser.addoption("--only", default="", help="file with the tests to run, one a line, in order")
    parser.addoption(
        "--own-memory", action="store_true",
        help="the driver gives each tensor memory of its own, so that compute-sanitizer sees "
        "accesses beyond it",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--turns"):
        config.pluginmanager.register(_InTurns(Turns.parsed(config.getoption("--turns"))))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What counts most first."""
    wanted = config.getoption("--only")
    if wanted:
        with open(wanted) as file:
            order = {name: place for place, name in enumerate(file.read().splitlines())}
        items[:] = [item for item in items if item.nodeid in order]
        items.sort(key=lambda item: order[item.nodeid])
    else:
        items.sort(key=_importance)


def _importance(item: pytest.Item) -> int:
    """What only a GPU shows; kernels that GPUs have for themselves; then operations by dtype."""
    where = item.nodeid
    if "test_operations.py" not in where:
        return 0 if "test_gpu.py" in where else 2
    from tests.devices.test_operations import SAMPLE

    name = where.partition("[")[2].rpartition("-")[0]
    return (1 if name in SAMPLE else 3) + 2 * ("bfloat16" in where)


class _InTurns:
    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._outcome = "passed"
        self._words = ""

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._turns.name_all([item.nodeid for item in session.items])
        if session.config.getoption("--own-memory"):
            give_own_memory()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if session.testsfailed or session.config.option.collectonly:
            return None  # pytest says what could not be collected
        for item in session.items:
            if not self._turns.take(item.nodeid):
                continue
            self._outcome, self._words = "passed", ""
            # No test knows which one is next here: fixtures end with each.
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
            self._turns.finish(item.nodeid, self._outcome, self._words)
            if LOST_WORDS in self._words:
                os._exit(LOST)
        return True

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self._outcome = "failed"
            self._words = (self._words + report.longreprtext)[-_WORDS:]
        elif report.skipped and self._outcome == "passed":
            self._outcome = "skipped"


def give_own_memory() -> None:
    """Let targets that are made from now on ask the driver for each tensor's memory."""
    from tritorch.runtime.cuda import target
    from tritorch.runtime.cuda.allocator import Block, CachingAllocator

    class Owned(CachingAllocator):
        def allocate(self, nbytes: int, stream: int) -> int:
            with self._lock:
                block = Block(self._ask(nbytes), nbytes, stream, self._default.large, self)
                return self._hand_out(block, nbytes)

        def _free(self, block: Block) -> None:
            self._driver.synchronize()  # other streams may use it
            self._driver.free(block.address)

    target.CachingAllocator = Owned  # type: ignore[misc]
