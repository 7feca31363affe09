"""Marks that NVIDIA's profilers show, through NVIDIA's package nvtx where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

__all__ = ["mark", "range", "range_end", "range_pop", "range_push", "range_start"]

_depth = 0


def _package() -> Any:
    try:
        return import_module("nvtx")
    except ImportError:
        raise RuntimeError(
            "torch.cuda.nvtx: NVIDIA's package nvtx is missing. Run pip install nvtx."
        ) from None


def range_push(msg: str) -> int:
    """Begin a range inside of those that this thread began before; how many those are."""
    global _depth
    _package().push_range(msg)
    _depth += 1
    return _depth - 1


def range_pop() -> int:
    """End the range that began last; how many are left."""
    global _depth
    _package().pop_range()
    _depth = max(_depth - 1, 0)
    return _depth


def range_start(msg: str) -> Any:
    """Begin a range that any thread may end."""
    return _package().start_range(msg)


def range_end(range_id: Any) -> None:
    """End what `range_start` began."""
    _package().end_range(range_id)


def mark(msg: str) -> None:
    """Mark this moment."""
    _package().mark(msg)


@contextmanager
def range(msg: str, *args: Any, **kwargs: Any) -> Iterator[None]:
    """A range around a block; `msg` is formatted with the rest."""
    range_push(msg.format(*args, **kwargs))
    try:
        yield
    finally:
        range_pop()
