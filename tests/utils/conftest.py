"""Every test here leaves no process and no shared memory behind."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_of_other_tests: set[int] = set()


def children() -> set[int]:
    """The processes that this one has started since the test began."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended
            found |= set(map(int, (task / "children").read_text().split()))
    return found - _of_other_tests


def named_memory(pid: int | None = None) -> list[str]:
    """The memory with names (which could be left behind) that a process maps or holds open."""
    process = Path(f"/proc/{pid or os.getpid()}")
    lines = [line for line in (process / "maps").read_text().splitlines() if "/dev/shm" in line]
    for handle in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            target = os.readlink(handle)
            lines += [target] if target.startswith("/dev/shm") else []
    return lines


def shared_maps() -> int:
    """How many blocks of the loader this process maps."""
    return Path("/proc/self/maps").read_text().count("/memfd:tritorch")


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No process, mapping or descriptor more than before; those of other tests may have gone."""
    gc.collect()
    _of_other_tests.clear()
    _of_other_tests.update(children())
    maps, handles = shared_maps(), len(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    assert not children() and shared_maps() <= maps
    assert len(os.listdir("/proc/self/fd")) <= handles
