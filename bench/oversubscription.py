"""`python -m bench.oversubscription`: what 8 pool threads cost where there are fewer cores.

The same operations with as many threads as cores and with 8, alternating in one process; medians
and their ratio, which should stay below 2.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

import tritorch as torch
from tritorch.runtime import set_num_threads

THREADS = 8
ROUNDS = 7
SECONDS = 0.08


def programs() -> dict[str, Callable[[], object]]:
    """Name -> an operation on tensors that exist."""
    x, y = torch.randn(1_000_000), torch.randn(1_000_000)
    rows = torch.randn(1024, 1024)
    a, b = torch.randn(512, 512), torch.randn(512, 512)
    small = torch.randn(30_000)
    return {
        "add 1M": lambda: x + y,
        "gelu 1M": lambda: torch.nn.functional.gelu(x),
        "add 30k": lambda: small + small,
        "sum 1M": lambda: x.sum(),
        "softmax 1024^2": lambda: torch.softmax(rows, 1),
        "matmul 512": lambda: a @ b,
    }


def microseconds(run: Callable[[], object]) -> float:
    """Of one call, over about `SECONDS`."""
    end = time.perf_counter() + SECONDS
    count, start = 0, time.perf_counter()
    while time.perf_counter() < end:
        run()
        count += 1
    return (time.perf_counter() - start) / count * 1e6


def main() -> None:
    cores = len(os.sched_getaffinity(0))
    print(f"{'operation':<16}{f'{cores} threads':>12}{f'{THREADS} threads':>12}{'ratio':>8}")
    for name, run in programs().items():
        times: dict[int, list[float]] = {cores: [], THREADS: []}
        for _ in range(ROUNDS):
            for count, found in times.items():
                set_num_threads(count)
                run()
                found.append(microseconds(run))
        few, many = (statistics.median(found) for found in times.values())
        print(f"{name:<16}{few:>9.1f} us{many:>9.1f} us{many / few:>8.2f}")


if __name__ == "__main__":
    main()
