"""When NVIDIA's profilers record (`nsys -c cudaProfilerApi`, `ncu --profile-from-start off`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tritorch.cuda.devices import target

__all__ = ["profile", "start", "stop"]


def start() -> None:
    """Profilers record from now on."""
    with target().calling() as driver:
        driver.profiler(True)


def stop() -> None:
    """Profilers record no more."""
    with target().calling() as driver:
        driver.profiler(False)


@contextmanager
def profile() -> Iterator[None]:
    """Profilers record what the block does."""
    start()
    try:
        yield
    finally:
        stop()
