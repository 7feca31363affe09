"""Tuning of kernels: which configuration runs fastest here, verified, remembered.

- `workloads`: for each kernel what to run it on; `problems`: finding that by name
- `measure`: one candidate in this process: forced, verified, timed (`clocks`)
- `worker`: that in a process of its own, with deadlines
- `strategies`: which candidate to try next
- `session`: one search, from a kernel and sizes to the best configuration
- `duel`: whether that is faster than the default, or was lucky; `load`: what else ran meanwhile
- `database`: every measured configuration, in SQLite; the lock file
- `trace`: which kernels a program uses, on what, and what they cost
- `report`: tables, roofline plots, HTML

With `TRITORCH_TUNE=on-first-call` importing this package lets kernels ask for a short search.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tritorch.config import config
from tritorch.kernels import tuning

if TYPE_CHECKING:
    from tritorch.kernels import UserKernel
    from tritorch.tune.session import Outcome


def search(
    kernel: str | UserKernel,
    sizes: Mapping[str, Any] | None = None,
    dtype: str | None = None,
    **options: Any,
) -> Outcome:
    """Search for a kernel's fastest configuration, as `tritorch tune run` does.

    Args:
        kernel: a name of the library's, `module:name`, or a kernel of your own. It must be in a
            module: candidates are measured in processes of their own, which import it.
        sizes: what to run it on, as {"m": 512}; those that are left out have defaults.
        dtype: the operands'; None: the kernel's usual one.
        options: those of `session.Options`: device, strategy, budget (seconds), trials, ...
    Returns:
        the outcome; the rows are in the database (setting `tune_db`).
    Raises:
        TuneError: no such kernel, sizes or dtype, or the default itself does not run.
    """
    from tritorch.tune.session import Options, Session

    name = kernel if isinstance(kernel, str) else kernel.tunable.name
    return Session(name, sizes or {}, dtype, Options(**options)).run()


def _on_first_call(
    tunable: tuning.Tunable, target: str, facts: tuning.Facts
) -> dict[str, Any] | None:
    from tritorch.tune.session import on_first_call

    return on_first_call(tunable, target, facts)


if config.tune == "on-first-call":
    tuning.on_missing.append(_on_first_call)
