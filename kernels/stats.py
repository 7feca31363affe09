"""What the kernels did in this process, and how to see their sources."""

from __future__ import annotations

from typing import Any

from tritorch import triton_api
from tritorch.kernels.plan import Plan
from tritorch.runtime import statistics


def stats() -> statistics.Snapshot:
    """Counts since the start or the last `reset_stats()`.

    Returns:
        a record with `generated` (compiled in this process), `loaded` (from the cache), `launches`,
        `compile_seconds` and `launches_by_kernel`.
    """
    return statistics.snapshot()


def reset_stats() -> None:
    """Count from zero again."""
    statistics.reset()


def source(what: Any) -> str:
    """The Triton source of a plan's kernels, a kernel or a KernelSource."""
    if isinstance(what, Plan):
        return "\n\n".join(dict.fromkeys(source(kernel) for kernel in what.kernels))
    return triton_api.source_text(getattr(what, "source", what))
