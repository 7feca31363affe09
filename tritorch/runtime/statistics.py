"""What the process did: kernels compiled, loaded from the cache, launched; seconds of compiling.

Launches are counted in machine code, in one 64-bit word for each kernel; `snapshot()` adds them up.
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import NamedTuple

_COUNTERS_IN_A_BLOCK = 1024


class Snapshot(NamedTuple):
    """The figures since the start of the process or the last `reset()`."""

    generated: int  # kernels compiled from source in this process
    loaded: int  # kernels whose machine code came from the cache
    launches: int
    compile_seconds: float  # spent in compiling and loading
    launches_by_kernel: dict[str, int]

    def __repr__(self) -> str:
        return (
            f"Snapshot(generated={self.generated}, loaded={self.loaded}, "
            f"launches={self.launches}, compile_seconds={self.compile_seconds})"
        )

    def __sub__(self, earlier: Snapshot) -> Snapshot:
        """What happened since `earlier`."""
        by_kernel = {
            name: count - earlier.launches_by_kernel.get(name, 0)
            for name, count in self.launches_by_kernel.items()
        }
        return Snapshot(
            self.generated - earlier.generated,
            self.loaded - earlier.loaded,
            self.launches - earlier.launches,
            self.compile_seconds - earlier.compile_seconds,
            {name: count for name, count in by_kernel.items() if count},
        )


class _Record:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.generated = 0
        self.loaded = 0
        self.compile_seconds = 0.0
        self.counters: list[tuple[str, int]] = []  # kernel name, address of its counter
        self.blocks: list[ctypes.Array[ctypes.c_int64]] = []


_record = _Record()


def _after_fork_in_child() -> None:
    _record.lock = threading.Lock()  # a thread that is no more may have held it


os.register_at_fork(after_in_child=_after_fork_in_child)
_zero = Snapshot(0, 0, 0, 0.0, {})
_base = _zero


def new_counter(name: str) -> int:
    """Address of a 64-bit counter of launches for the kernel `name`, which lives for good."""
    with _record.lock:
        index = len(_record.counters) % _COUNTERS_IN_A_BLOCK
        if index == 0:
            _record.blocks.append((ctypes.c_int64 * _COUNTERS_IN_A_BLOCK)())
        address = ctypes.addressof(_record.blocks[-1]) + 8 * index
        _record.counters.append((name, address))
        return address


def count_compilation(from_cache: bool, seconds: float) -> None:
    """A kernel was compiled or loaded."""
    with _record.lock:
        if from_cache:
            _record.loaded += 1
        else:
            _record.generated += 1
        _record.compile_seconds += seconds


def _total() -> Snapshot:
    by_kernel: dict[str, int] = {}
    with _record.lock:
        for name, address in _record.counters:
            count = ctypes.c_int64.from_address(address).value
            if count:
                by_kernel[name] = by_kernel.get(name, 0) + count
        return Snapshot(
            _record.generated,
            _record.loaded,
            sum(by_kernel.values()),
            _record.compile_seconds,
            by_kernel,
        )


def snapshot() -> Snapshot:
    """The figures since the last `reset()`."""
    return _total() - _base


def reset() -> None:
    """Count from zero again."""
    global _base
    _base = _total()
