"""A checker of memory for GPUs' kernels, without a GPU: `python -m tests.devices.gpu_hazards`.

Expressions of the oracle run on the simulated GPU. Accesses of their kernels that race, or lie in
no memory in use, are listed, and results that differ from the CPU's (see `tests.runtime.cuda.races`
and `hazards`). What races is to be judged: several threads may write the same, or the last to come
may know that it is the last.

As a plugin of pytest (`-p tests.devices.gpu_hazards`) it watches whatever tests run on the
simulated GPU, and prints what was found at the end. `--part k/n` takes every n-th name; with
`--done FILE` a run may be continued.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import tests.devices.test_operations as operations
import tritorch as torch
import tritorch.runtime
from tests.devices.hazard_programs import PROGRAMS, walk
from tests.oracle.derived import derived
from tests.oracle.inputs import Variant
from tests.runtime.cuda import hazards, races, simulated
from tests.runtime.cuda.fake_driver import FakeDriver, Launched
from tests.runtime.cuda.simulated import SimulatedTarget, Simulator

VARIANTS = {
    "float32": Variant("float32", "float32", gradients=1),
    "sliced": Variant("float32 sliced", "float32", "sliced", gradients=1),
    "bfloat16": Variant("bfloat16", "bfloat16", gradients=1),
}


@contextmanager
def watched_gpu(found: list[str], devices: int = 1) -> Iterator[tuple[SimulatedTarget, FakeDriver]]:
    """Simulated GPUs whose kernels' accesses are watched; what they do wrong comes to the list."""
    told: set[tuple[str, str]] = set()

    def run(code: bytes, launched: Launched) -> None:
        kernel, values = simulator.read(code, launched)
        words = hazards.broken_promises(kernel, values)
        notes = races.run(kernel, launched.grid, values)
        words += races.strays(notes, memory())
        words += [f"{c.kernel}: {c.between}: {c.words}" for c in races.conflicts(notes)]
        for one in words:
            if (kernel.source.digest, one) not in told:
                told.add((kernel.source.digest, one))
                found.append(one)

    def memory() -> list[tuple[int, int]]:
        """What is in use, to the byte."""
        lists = target.allocator().lists
        free = set(lists.kept()) if lists else set()
        used = [(at, at + target.requested[at]) for at in target._blocks if at not in free]
        return sorted(used + [(at, at + entry[0]) for at, entry in driver.pinned.items()])

    def heard(report: Any) -> None:
        found.append(f"{type(report.exc_value).__name__}: {report.exc_value}")

    simulator = Simulator({"check_bounds": True})
    driver = FakeDriver(devices, run=run, sizes=simulator.sizes)
    target = SimulatedTarget(driver, simulator.compile)
    with (
        races.noting(),
        mock.patch.dict(tritorch.runtime._targets, {"cuda": target}),
        mock.patch.object(sys, "unraisablehook", heard),
    ):
        yield target, driver


def checked(name: str, variant: Variant) -> list[str]:
    """Which results of a name's expressions, and of their other forms, differ from the CPU's."""
    table = operations.TABLE[name]
    table += [form for form in derived(table) if form not in table]
    try:
        operations.check(name, variant)
    except AssertionError as error:
        return str(error).splitlines()
    return []


def ran(name: str) -> list[str]:
    """Run a program."""
    torch.set_default_device("cuda")
    try:
        walk(torch, name)
        torch.cuda.synchronize()
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]
    finally:
        torch.set_default_device(None)
    return []


def pytest_configure(config: Any) -> None:
    """Watch the simulated GPU of this process."""
    config._hazards = []
    config._watched = ExitStack()
    gpu = config._watched.enter_context(watched_gpu(config._hazards, 2))
    config._watched.enter_context(mock.patch.object(simulated, "_gpu", lambda: gpu))


def pytest_terminal_summary(terminalreporter: Any, config: Any) -> None:
    """Print what was found."""
    terminalreporter.section(f"{len(config._hazards)} hazards")
    for line in config._hazards:
        terminalreporter.write_line(line)
    config._watched.close()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("names", nargs="*", help="of operations, as in tests/oracle; default: all")
    options.add_argument("--programs", action="store_true", help="names are of hazard_programs")
    options.add_argument("--seconds", type=float, default=220, help="stop after that")
    options.add_argument("--part", default="1/1", help="k/n: every n-th name, from the k-th on")
    options.add_argument("--variant", choices=VARIANTS, default="float32")
    options.add_argument("--done", type=Path, help="names that are done, and what was found")
    given = options.parse_args()
    first, step = map(int, given.part.split("/"))
    every = PROGRAMS if given.programs else sorted(operations.TABLE)
    names = (given.names or list(every))[first - 1 :: step]
    done = json.loads(given.done.read_text()) if given.done and given.done.exists() else {}
    start = time.monotonic()
    reports: list[str] = []
    with watched_gpu(reports):
        for name in names:
            if name in done:
                continue
            wrong = ran(name) if given.programs else checked(name, VARIANTS[given.variant])
            done[name] = wrong + reports
            reports.clear()
            for line in done[name]:
                print(f"{name}: {line}", flush=True)
            if given.done:
                given.done.write_text(json.dumps(done))
            if time.monotonic() - start > given.seconds:
                break
    left = sum(name not in done for name in names)
    count = sum(map(len, done.values()))
    print(
        f"{len(done)} names done, {left} left; {count} findings; {time.monotonic() - start:.0f} s"
    )


if __name__ == "__main__":
    main()
