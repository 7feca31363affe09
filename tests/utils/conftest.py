"""Every test here leaves no process and no shared memory behind."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


def children(pid: int | None = None) -> set[int]:
    """The processes that a process has started."""
    found = set()
    for task in Path(f"/proc/{pid or os.getpid()}/task").iterdir():
        found |= set(map(int, (task / "children").read_text().split()))
    return found


def shared_maps() -> int:
    """How many blocks of the loader this process maps."""
    return Path("/proc/self/maps").read_text().count("/memfd:tritorch")


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Processes, names in /dev/shm, mappings and descriptors are those of before."""
    gc.collect()
    before = children(), set(os.listdir("/dev/shm")), shared_maps()
    handles = len(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    assert (children(), set(os.listdir("/dev/shm")), shared_maps()) == before
    assert len(os.listdir("/proc/self/fd")) <= handles
