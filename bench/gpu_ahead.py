"""Kernels of `bench.gpu` compiled before anything runs them, by all cores: Triton compiles one at a
time in a process, and a lent GPU must not wait for it. No GPU is needed.

    python -m bench.gpu compile      # all of it, into the kernel cache

Rows are planned on a GPU where nothing happens, operations of the tests run on the simulated one
(their references on the CPU, which are compiled by that, too). What they ask for is compiled for
the capability that is given and stays in the kernel cache, whose keys are those of the true run.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from bench.gpu_rows import ROWS
from bench.turns import Turns, share

ROOT = Path(__file__).resolve().parents[1]
#: of a Hopper GPU, where no GPU says another one
CAPABILITY = 90
#: seconds for one row or operation
PATIENCE = 180.0
_ROW, _OPERATION = "row ", "operation "


def pieces(rows: bool, operations: bool) -> list[str]:
    """What is compiled, in the order in which it is wanted; GPT-2 takes longest, so it is first."""
    found = [f"{_ROW}{row.name}" for row in sorted(ROWS, key=lambda row: row.group != "model")]
    found = found if rows else []
    if operations:
        from tests.devices.test_operations import SAMPLE, TABLE

        names = [*SAMPLE, *(name for name in sorted(TABLE) if name not in SAMPLE)]
        found += [f"{_OPERATION}{name}" for name in names]
    return found


def compile_all(
    folder: Path,
    seconds: float,
    *,
    rows: bool = True,
    operations: bool = True,
    capability: int = CAPABILITY,
    workers: int | None = None,
    wanted: str = "",
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Compile on several processes, until all is done or the time is over.

    Args:
        folder: who took what; pieces that were finished there stay finished.
        wanted: a pattern of pieces; others are left out.
        stop: the time is over when it is set.
    """
    command = ["nice", sys.executable, "-m", "bench.gpu_ahead", "--capability", str(capability)]
    command += ["--rows"] * rows + ["--operations"] * operations
    every = pieces(rows, operations)
    chosen = [piece for piece in every if re.search(wanted, piece)]
    Turns(folder).name_all(chosen)
    Turns(folder).leave_out(set(every) - set(chosen))
    troubles = share(
        [command] * (workers or min(os.cpu_count() or 1, 16)), folder, seconds, PATIENCE,
        settings={"TRITORCH_NUM_THREADS": "1"}, cwd=ROOT, stop=stop,
    )  # fmt: skip
    return summary(folder, troubles)


def summary(folder: Path, troubles: Sequence[str] = ()) -> dict[str, Any]:
    """How far it went, in words; `failed`: what does not compile, or could not be planned."""
    turns = Turns(folder)
    results, every = turns.results(), turns.all()
    failed = {name: one["words"] for name, one in results.items() if one["outcome"] == "failed"}
    compiled = sum(int(one["outcome"]) for one in results.values() if one["outcome"].isdigit())
    words = f"{compiled} kernels of {len(results) - len(failed)} of {len(every)} pieces"
    if failed:
        words += f", {len(failed)} failed"
    if troubles:
        words += f"; broke: {troubles[0]:.300}"
    return {"result": words, "failed": failed}


def _compiled(kernels: Iterable[Any], capability: int) -> int:
    """How many of them were not in the cache."""
    from tritorch.runtime.cuda.code import compile_cubin

    return sum(
        not compile_cubin(k.source, k.signature, k.constants, capability, k.options).from_cache
        for k in kernels
    )


def _of_rows(stack: ExitStack, capability: int) -> Callable[[str], int]:
    from tests.devices import gpu_kernels

    planner = stack.enter_context(gpu_kernels.planning_gpu(capability))
    rows = {row.name: row for row in ROWS}

    def compiled(name: str) -> int:
        return _compiled(gpu_kernels.planned_row(rows[name], planner), capability)

    return compiled


def _of_operations(stack: ExitStack, capability: int) -> Callable[[str], int]:
    from tests.devices.test_operations import COMPUTED, check
    from tests.runtime.cuda.simulated import simulated_gpu

    target, driver = stack.enter_context(simulated_gpu())
    driver.capability = capability
    target._properties.clear()

    def compiled(name: str) -> int:
        before = len(target.kernels())
        for variant in COMPUTED:
            with suppress(AssertionError):  # which is for the tests to tell; its kernels are wanted
                check(name, variant)
        new = target.kernels()[before:]
        return _compiled(
            (_With(kernel, target._options[kernel.entry]) for kernel in new), capability
        )

    return compiled


class _With:
    """A kernel with the options that its target compiled it with."""

    def __init__(self, kernel: Any, options: Any) -> None:
        self.source, self.signature = kernel.source, kernel.signature
        self.constants, self.options = kernel.constants, options


def main(arguments: Sequence[str] | None = None) -> int:
    """One of the processes: takes pieces until none is left."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=Turns.parsed, required=True)
    parser.add_argument("--capability", type=int, default=CAPABILITY)
    parser.add_argument("--rows", action="store_true")
    parser.add_argument("--operations", action="store_true")
    given = parser.parse_args(arguments)
    turns: Turns = given.turns
    for kind, make in ((_ROW, _of_rows), (_OPERATION, _of_operations)):
        with ExitStack() as stack:
            compiled: Callable[[str], int] | None = None
            for piece in pieces(given.rows, given.operations):
                if not piece.startswith(kind) or not turns.take(piece):
                    continue
                compiled = compiled or make(stack, given.capability)
                try:
                    turns.finish(piece, str(compiled(piece.removeprefix(kind))))
                except Exception as error:
                    turns.finish(piece, "failed", f"{type(error).__name__}: {error!s:.500}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
