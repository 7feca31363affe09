"""What the rooms above need to know of a recording (see `runtime.cpu.graphs`): is one under way?

A recording belongs to the thread that began it. `here()` is it, or None; where nothing is recorded
that is one look at a global. What cannot be replayed calls `refuse`. What is made once for all
later calls, not by the recorded work itself (the state of an optimizer, tables of a plan), is made
under `paused`: it is neither recorded nor a part of the graph's memory.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol
from weakref import WeakSet

from tritorch.errors import AcceleratorError


class Recording(Protocol):
    """What is told to a recording that is under way."""

    thread: int  # the one it records
    paused: bool

    def keep(self, held: Any) -> None:
        """Keep an object alive as long as the graph."""

    def table(self, addresses: Any) -> int:
        """The address of a copy of a host table of addresses, kept as it is now."""

    def drawn(self, generator: Any, seed: int, offset: int, count: int) -> None:
        """A generator gave (seed, offset) for so many numbers."""


#: the one under way in any thread
current: Recording | None = None
#: threads whose GPU stream captures
device_captures: set[int] = set()
#: thread -> what it records on a GPU (see `runtime.cuda.graphs`)
device_graphs: dict[int, Any] = {}
#: whatever keeps launches for later: what they read must stay (see `keep`)
holders: WeakSet[Any] = WeakSet()


def here() -> Recording | None:
    """The recording that this thread makes now; None while it is paused."""
    found = current
    if found is None or found.thread != threading.get_ident() or found.paused:
        return None
    return found


def device_graph() -> Any:
    """What this thread records on a GPU now, or None (see `runtime.cuda.graphs.StreamGraph`)."""
    return device_graphs.get(threading.get_ident()) if device_graphs else None


def under_way() -> bool:
    """Whether this thread records, on the CPU or on a GPU."""
    return here() is not None or threading.get_ident() in device_captures


def refuse(operation: str, advice: str) -> None:
    """AcceleratorError if this thread records: what `operation` does could not be replayed."""
    if current is not None and here() is not None:
        raise AcceleratorError(
            f"{operation}: not permitted while a graph is recorded; a replay could not do it. "
            f"{advice}"
        )


@contextmanager
def paused() -> Iterator[None]:
    """Do what is done in the block for good, outside the recording."""
    found = here()
    if found is None:
        graph = device_graph()
        if graph is None:
            yield
        else:
            with graph.aside():
                yield
        return
    found.paused = True
    try:
        yield
    finally:
        found.paused = False


def keep(held: Any) -> None:
    """A cache drops `held`, but graphs may have launches of it: they keep it."""
    for holder in list(holders):
        holder.keep(held)
