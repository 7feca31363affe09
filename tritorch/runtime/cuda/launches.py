"""Launches around launches: for scratch memory, and for random numbers in graphs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from tritorch.runtime import recording
from tritorch.runtime.target import Kernel, Launch


def without_last(launch: Launch) -> Launch:
    """For values that end with the address of scratch memory."""
    return lambda *values: launch(*values[:-1])


def drawing(kernel: Kernel, values: Sequence[Any], launch: Launch) -> Launch:
    """A launch that graphs take over, where its seed and offset are dynamic."""
    dynamic = [name for name, value in zip(kernel.signature, values) if value is None]
    if "seed" not in dynamic or "offset" not in dynamic:
        return launch
    places = dynamic.index("seed"), dynamic.index("offset")
    graphs = recording.device_graphs

    def launched(*given: Any) -> None:
        graph = graphs.get(threading.get_ident()) if graphs else None
        if graph is None or not graph.launched(launch, given, places):
            launch(*given)

    return launched
