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

from bench.cases import CASES, NUMPY, SUBJECTS, Case

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
    cases: list[tuple[Case, int]],
    peer: str,
    python: str,
    rounds: int,
    seconds: float,
    peaks: dict[str, dict[str, float]],
) -> list[dict[str, Any]]:
    """Run each (case, threads) on us and on a peer in turn."""
    rows = []
    for threads in sorted({threads for _, threads in cases}):
        peak = peaks[str(threads)]
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
            if case.operations:
                row["gflop_per_s"] = case.operations / own / 1e9
                row["of_peak"] = row["gflop_per_s"] / peak["gflop_per_s"]
            elif case.moved:
                row["gb_per_s"] = case.moved / own / 1e9
                row["of_peak"] = row["gb_per_s"] / peak["gb_per_s"]
            row |= judged(case, row)
            rows.append(row)
            print(line(row), flush=True)
        ours.close()
        theirs.close()
    return rows


def judged(case: Case, row: dict[str, Any]) -> dict[str, Any]:
    """The bar of a row and whether it is met; nothing for a row without one."""
    if case.at_most_us is not None:
        return {"at_most_us": case.at_most_us, "met": row["ours_us"] <= case.at_most_us}
    if case.bar is not None:
        return {"bar": case.bar, "met": row["ratio"] >= case.bar}
    return {}


def line(row: dict[str, Any]) -> str:
    """A row as printed while the bench runs."""
    text = (
        f"{row['case']:44} {row['threads']} {row['ours_us']:11.2f} us  {row['peer']} "
        f"{row['peer_us']:11.2f} us  ratio {row['ratio']:5.2f}"
    )
    if "met" in row:
        text += f"  {'met   ' if row['met'] else 'MISSED'} "
        text += f"{row['bar']:.2f}" if "bar" in row else f"<= {row['at_most_us']} us"
    if "of_peak" in row:
        unit, figure = (
            ("GFLOP/s", row["gflop_per_s"]) if "gflop_per_s" in row else ("GB/s", row["gb_per_s"])
        )
        text += f"  {figure:7.1f} {unit} ({row['of_peak']:.0%} of the machine)"
    return text


def measured_peaks(threads: set[int]) -> dict[str, dict[str, float]]:
    """What the machine does with these numbers of threads, in a process of its own each."""
    found = {}
    for count in sorted(threads):
        code = f"import json; from bench.peaks import peaks; print(json.dumps(peaks({count})))"
        answer = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        found[str(count)] = json.loads(answer.stdout)
        print(
            f"this machine, {count} thread(s): copies {found[str(count)]['gb_per_s']:.1f} GB/s,"
            f" multiplies and adds {found[str(count)]['gflop_per_s']:.0f} GFLOP/s (float32)"
        )
    return found


def command() -> str:
    """What was typed, without the paths of this machine."""
    words, skipped = ["python -m bench.report"], False
    for word in sys.argv[1:]:
        if not skipped and word not in ("--peer-python", "--save"):
            words.append(word)
        skipped = word in ("--peer-python", "--save")
    return " ".join(words)


def main() -> None:
    """Parse the command line, run, print, save."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("patterns", nargs="*", help="rows whose name contains one of these")
    parser.add_argument("--peer-python", default=sys.executable, help="a Python that has torch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.15, help="measuring time a round")
    parser.add_argument("--threads", type=int, nargs="*", help="only these counts")
    parser.add_argument("--subject", choices=SUBJECTS, help="only the rows of one subject")
    parser.add_argument("--barred", action="store_true", help="only rows that have a bar")
    parser.add_argument("--save", type=Path, help="write the rows as JSON")
    options = parser.parse_args()
    known = SUBJECTS[options.subject] if options.subject else list(CASES.values())
    cases = [
        (case, threads)
        for case in known
        for threads in case.threads
        if not options.patterns or any(p in case.name for p in options.patterns)
        if not options.threads or threads in options.threads
        if not options.barred or case.bar is not None or case.at_most_us is not None
    ]
    if not cases:
        parser.error(f"no such row contains any of {options.patterns}. See bench/cases.")
    print("row, threads, our time, peer's time, ratio = peer / ours (above 1: we are faster)")
    probe = subprocess.run(
        [options.peer_python, "-c", "import torch; print(torch.__version__)"],
        capture_output=True,
        text=True,
    )
    report: dict[str, Any] = machine() | {
        "command": command(),
        "torch": probe.stdout.strip() or None,
        "peaks": measured_peaks({threads for _, threads in cases}),
        "rows": [],
    }
    if probe.returncode == 0:
        report["rows"] += compare(
            cases,
            "torch",
            options.peer_python,
            options.rounds,
            options.seconds,
            report["peaks"],
        )
    else:
        print("PyTorch is not installed in the peer's Python: rows against it are left out.")
    numeric = [(case, threads) for case, threads in cases if case.name in NUMPY]
    report["rows"] += compare(
        numeric, "numpy", sys.executable, options.rounds, options.seconds, report["peaks"]
    )
    barred = [row for row in report["rows"] if "met" in row]
    if barred:
        print(f"bars met: {sum(row['met'] for row in barred)} of {len(barred)}")
    if options.save:
        options.save.parent.mkdir(parents=True, exist_ok=True)
        options.save.write_text(json.dumps(report, indent=1) + "\n")
        print(f"saved {options.save}")


if __name__ == "__main__":
    main()
