"""One row of the bench: what we run, what a peer runs, and the bar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Run = Callable[[], object]
#: sets up on a library (`import tritorch as torch`) and returns what is timed
Program = Callable[[Any], Run]


@dataclass(frozen=True)
class Case:
    """One row. `ours()` and `theirs(torch)` set up and return what is timed.

    `bar` is the ratio that the row must reach, `at_most_us` the time that it must not exceed.
    `moved` is bytes read and written, `operations` floating-point operations: for GB/s and GFLOP/s.
    """

    name: str
    ours: Callable[[], Run]
    theirs: Callable[[Any], Run]
    moved: int = 0
    operations: int = 0
    threads: tuple[int, ...] = (1, 2)
    bar: float | None = None
    at_most_us: float | None = None


def op(
    name: str,
    program: Callable[[Any], Run],
    *,
    moved: int = 0,
    operations: int = 0,
    bar: float | None = None,
    at_most_us: float | None = None,
    threads: tuple[int, ...] = (1, 2),
) -> Case:
    """The same program on both libraries: `program(torch)` returns what is timed."""

    def ours() -> Run:
        import tritorch

        return program(tritorch)

    return Case(name, ours, program, moved, operations, threads, bar, at_most_us)


def array(*shape: int, dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    """Random numbers in memory that starts on a cache line."""
    count = int(np.prod(shape))
    raw = np.empty(count * np.dtype(dtype).itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    array = raw[start : start + count * np.dtype(dtype).itemsize].view(dtype).reshape(shape)
    array[...] = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    return array
