"""One side of a comparison in a process of its own: `python -m bench.worker tritorch|torch|numpy`.

Reads one JSON request a line (`{"case": name, "threads": n, "seconds": s}`) and answers each with
one line, `{"times": [seconds per call, ...]}`. Processes are apart because idle OpenMP workers of
PyTorch spin on the cores that our kernels want.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from bench.cases import CASES, NUMPY, Run


def measure(run: Run, seconds: float, samples: int = 7) -> list[float]:
    """Seconds per call, a few samples of loops long enough for the clock."""
    run()
    run()
    count = 1
    while True:
        start = time.perf_counter()
        for _ in range(count):
            run()
        took = time.perf_counter() - start
        if took > seconds / samples / 2 or count >= 1 << 20:
            break
        count = min(count * 4, max(count + 1, int(count * seconds / samples / max(took, 1e-9))))
    times = []
    for _ in range(samples):
        start = time.perf_counter()
        for _ in range(count):
            run()
        times.append((time.perf_counter() - start) / count)
    return times


def setup(side: str, name: str, threads: int) -> Run:
    """What is timed for a case on one side, with that many threads."""
    if side == "tritorch":
        from tritorch.runtime import set_num_threads

        set_num_threads(threads)
        return CASES[name].ours()
    if side == "torch":
        import torch

        torch.set_num_threads(threads)
        return CASES[name].theirs(torch)
    return NUMPY[name](None)


def main() -> None:
    """Serve requests until standard input ends."""
    side = sys.argv[1]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not mix with the answers
    cached: dict[Any, Run] = {}
    for line in sys.stdin:
        request = json.loads(line)
        key = (request["case"], request["threads"])
        try:
            if key not in cached:
                cached.clear()
                cached[key] = setup(side, *key)
            answer: dict[str, Any] = {"times": measure(cached[key], request["seconds"])}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
