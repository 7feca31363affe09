"""Tuning of kernels: which configuration runs fastest here, verified, remembered.

- `problems`: for each kernel what to run it on; `Problem`, `Workload`
- `bench`: one candidate in this process: forced, verified, timed
- `worker`: that in a process of its own, with deadlines
- `strategies`: which candidate to try next
- `session`: one search, from a kernel and sizes to the best configuration
- `database`: every measured configuration, in SQLite; the lock file
- `trace`: which kernels a program uses, on what, and what they cost
- `report`: tables, roofline plots, HTML

With `TRITORCH_TUNE=on-first-call` importing this package lets kernels ask for a short search.
"""

from __future__ import annotations

from typing import Any

from tritorch.config import config
from tritorch.kernels import tuning


def _on_first_call(
    tunable: tuning.Tunable, target: str, facts: tuning.Facts
) -> dict[str, Any] | None:
    from tritorch.tune.session import on_first_call

    return on_first_call(tunable, target, facts)


if config.tune == "on-first-call":
    tuning.on_missing.append(_on_first_call)
