"""The table of ratios: `python -m bench.report [PATTERN ...] [--peer-python PY] [--save FILE]`.

Each row runs on both sides in turn, several rounds, one process a side; the figure is the median
over rounds of the fastest sample, and the ratio is peer time / our time (above 1: we are faster).
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.cases import CASES, NUMPY, Case

ROOT = Path(__file__).resolve().parent.parent


class Side:
    """A worker process that measures one library."""

    def __init__(self, name: str, python: str, threads: int) -> None:
        self.name = name
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        if name == "numpy":
            environment |= {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [python, "-m", "bench.worker", name],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def time(self, case: str, threads: int, seconds: float) -> float:
        """The fastest sample, in seconds a call."""
        assert self.process.stdin is not None and self.process.stdout is not None
        request = {"case": case, "threads": threads, "seconds": seconds}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline() or '{"error": "the worker died"}')
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {answer['error']}")
        # Idle OpenMP workers spin for a while; let them fall asleep before the other side runs.
        time.sleep(0.05)
        return min(answer["times"])

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=30)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def machine() -> dict[str, Any]:
    """CPU, versions, date: what a figure means nothing without."""
    cpu = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        pass
    from tritorch.triton_cpu.target import host

    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "vector_bytes": host().vector_bytes,
        "python": platform.python_version(),
        **{name: _version(name) for name in ("triton", "llvmlite", "numpy")},
    }


def compare(
    cases: list[tuple[Case, int]], peer: str, python: str, rounds: int, seconds: float
) -> list[dict[str, Any]]:
    """Run each (case, threads) on us and on a peer in turn."""
    rows = []
    for threads in sorted({threads for _, threads in cases}):
        ours, theirs = Side("tritorch", sys.executable, threads), Side(peer, python, threads)
        for case, wanted in cases:
            if wanted != threads:
                continue
            try:
                pairs = [
                    (
                        ours.time(case.name, threads, seconds),
                        theirs.time(case.name, threads, seconds),
                    )
                    for _ in range(rounds)
                ]
            except RuntimeError as error:
                rows.append(
                    {"case": case.name, "threads": threads, "peer": peer, "error": str(error)}
                )
                print(f"{case.name:36} {threads}  {error}", flush=True)
                continue
            own = statistics.median(a for a, _ in pairs)
            other = statistics.median(b for _, b in pairs)
            ratio = statistics.median(b / a for a, b in pairs)
            row = {
                "case": case.name, "threads": threads, "peer": peer, "ours_us": own * 1e6,
                "peer_us": other * 1e6, "ratio": ratio,
                "ratio_range": [min(b / a for a, b in pairs), max(b / a for a, b in pairs)],
            }  # fmt: skip
            if case.moved:
                row["gb_per_s"] = case.moved / own / 1e9
            if case.operations:
                row["gflop_per_s"] = case.operations / own / 1e9
            rows.append(row)
            speed = f"{row['gflop_per_s']:7.1f} GFLOP/s" if case.operations else ""
            speed = speed or (f"{row['gb_per_s']:7.1f} GB/s" if case.moved else "")
            print(
                f"{case.name:36} {threads}  {own * 1e6:11.2f} us  {peer} {other * 1e6:11.2f} us  "
                f"ratio {ratio:5.2f}  {speed}",
                flush=True,
            )
        ours.close()
        theirs.close()
    return rows


def main() -> None:
    """Parse the command line, run, print, save."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("patterns", nargs="*", help="rows whose name contains one of these")
    parser.add_argument("--peer-python", default=sys.executable, help="a Python that has torch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.15, help="measuring time a round")
    parser.add_argument("--threads", type=int, nargs="*", help="only these counts")
    parser.add_argument("--save", type=Path, help="write the rows as JSON")
    options = parser.parse_args()
    cases = [
        (case, threads)
        for case in CASES.values()
        for threads in case.threads
        if not options.patterns or any(p in case.name for p in options.patterns)
        if not options.threads or threads in options.threads
    ]
    if not cases:
        parser.error(f"no row contains any of {options.patterns}; rows are: {', '.join(CASES)}")
    print("row, threads, our time, peer's time, ratio = peer / ours (above 1: we are faster)")
    probe = subprocess.run(
        [options.peer_python, "-c", "import torch; print(torch.__version__)"],
        capture_output=True,
        text=True,
    )
    report: dict[str, Any] = machine() | {
        "command": " ".join(["python -m bench.report", *options.patterns]),
        "torch": probe.stdout.strip() or None,
        "rows": [],
    }
    if probe.returncode == 0:
        report["rows"] += compare(
            cases, "torch", options.peer_python, options.rounds, options.seconds
        )
    else:
        print("PyTorch is not installed in the peer's Python: rows against it are left out.")
    numeric = [(case, threads) for case, threads in cases if case.name in NUMPY]
    report["rows"] += compare(numeric, "numpy", sys.executable, options.rounds, options.seconds)
    if options.save:
        options.save.parent.mkdir(parents=True, exist_ok=True)
        options.save.write_text(json.dumps(report, indent=1) + "\n")
        print(f"saved {options.save}")


if __name__ == "__main__":
    main()
