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
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.cases import CASES, NUMPY, SUBJECTS, Case

Say = Callable[[str], object]

FOLDER = Path(__file__).resolve().parent
#: In a wheel this package is tritorch.bench; workers know it as bench, wherever it lies.
_SERVE = f"""
import sys
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("bench", {str(FOLDER / "__init__.py")!r})
sys.modules["bench"] = module_from_spec(spec)
spec.loader.exec_module(sys.modules["bench"])
"""


class Side:
    """A worker process that measures one library."""

    def __init__(self, name: str, python: str, threads: int) -> None:
        self.name = name
        environment = dict(os.environ)
        if python == sys.executable:
            environment["PYTHONPATH"] = our_path()
        if name == "numpy":
            environment |= {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [python, "-c", f"{_SERVE}\nfrom bench.worker import main; main()", name],
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

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *error: object) -> None:
        """End the process: it does when its input ends, else by force."""
        try:
            self.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


def our_path() -> str:
    """Where a process of ours finds tritorch and this package, as this one does."""
    return os.pathsep.join(entry or os.getcwd() for entry in sys.path)


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
    peer: str | None,
    python: str,
    rounds: int,
    seconds: float,
    peaks: dict[str, dict[str, float]],
    say: Say = print,
) -> list[dict[str, Any]]:
    """Run each (case, threads) on us and on a peer in turn; without a peer, on us alone."""
    rows = []
    for threads in sorted({threads for _, threads in cases}):
        peak = peaks[str(threads)]
        with ExitStack() as sides:
            ours = sides.enter_context(Side("tritorch", sys.executable, threads))
            theirs = sides.enter_context(Side(peer, python, threads)) if peer else None
            for case, wanted in cases:
                if wanted != threads:
                    continue
                try:
                    pairs = [
                        (
                            ours.time(case.name, threads, seconds),
                            theirs.time(case.name, threads, seconds) if theirs else None,
                        )
                        for _ in range(rounds)
                    ]
                except RuntimeError as error:
                    rows.append(
                        {"case": case.name, "threads": threads, "peer": peer, "error": str(error)}
                    )
                    say(f"{case.name:36} {threads}  {error}")
                    continue
                own = statistics.median(a for a, _ in pairs)
                row = {"case": case.name, "threads": threads, "peer": peer, "ours_us": own * 1e6}
                ratios = [b / a for a, b in pairs if b is not None]
                if ratios:
                    row |= {
                        "peer_us": statistics.median(b for _, b in pairs if b is not None) * 1e6,
                        "ratio": statistics.median(ratios),
                        "ratio_range": [min(ratios), max(ratios)],
                    }
                if case.operations:
                    row["gflop_per_s"] = case.operations / own / 1e9
                    row["of_peak"] = row["gflop_per_s"] / peak["gflop_per_s"]
                elif case.moved:
                    row["gb_per_s"] = case.moved / own / 1e9
                    row["of_peak"] = row["gb_per_s"] / peak["gb_per_s"]
                row |= judged(case, row)
                rows.append(row)
                say(line(row))
    return rows


def judged(case: Case, row: dict[str, Any]) -> dict[str, Any]:
    """The bar of a row and whether it is met; nothing for a row without one."""
    if case.at_most_us is not None:
        return {"at_most_us": case.at_most_us, "met": row["ours_us"] <= case.at_most_us}
    if case.bar is not None and "ratio" in row:
        return {"bar": case.bar, "met": row["ratio"] >= case.bar}
    return {}


def line(row: dict[str, Any]) -> str:
    """A row as printed while the bench runs."""
    text = f"{row['case']:44} {row['threads']} {row['ours_us']:11.2f} us"
    if "ratio" in row:
        text += f"  {row['peer']} {row['peer_us']:11.2f} us  ratio {row['ratio']:5.2f}"
    if "met" in row:
        text += f"  {'met   ' if row['met'] else 'MISSED'} "
        text += f"{row['bar']:.2f}" if "bar" in row else f"<= {row['at_most_us']} us"
    if "of_peak" in row:
        unit, figure = (
            ("GFLOP/s", row["gflop_per_s"]) if "gflop_per_s" in row else ("GB/s", row["gb_per_s"])
        )
        text += f"  {figure:7.1f} {unit} ({row['of_peak']:.0%} of the machine)"
    return text


def measured_peaks(threads: set[int], say: Say = print) -> dict[str, dict[str, float]]:
    """What the machine does with these numbers of threads, in a process of its own each."""
    found = {}
    for count in sorted(threads):
        code = (
            "import json; from tritorch.tune.roofline import peaks; "
            f"print(json.dumps(peaks({count})))"
        )
        answer = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONPATH": our_path()},
            capture_output=True,
            text=True,
            check=True,
        )
        found[str(count)] = json.loads(answer.stdout)
        say(
            f"this machine, {count} thread(s): copies {found[str(count)]['gb_per_s']:.1f} GB/s,"
            f" multiplies and adds {found[str(count)]['gflop_per_s']:.0f} GFLOP/s (float32)"
        )
    return found


def select(
    patterns: Sequence[str] = (),
    *,
    subject: str | None = None,
    threads: Sequence[int] | None = None,
    barred: bool = False,
) -> list[tuple[Case, int]]:
    """The rows whose name contains one of the patterns, with the threads of each."""
    known = SUBJECTS[subject] if subject else list(CASES.values())
    return [
        (case, count)
        for case in known
        for count in case.threads
        if not patterns or any(p in case.name for p in patterns)
        if not threads or count in threads
        if not barred or case.bar is not None or case.at_most_us is not None
    ]


def run(
    cases: list[tuple[Case, int]],
    *,
    peer_python: str | None,
    rounds: int,
    seconds: float,
    say: Say = print,
) -> dict[str, Any]:
    """Measure these rows.

    Args:
        peer_python: a Python that has torch; None: no peer.
        say: gets each line as it comes.
    Returns:
        the machine, the versions and the rows, as plain data.
    """
    say("row, threads, our time, peer's time, ratio = peer / ours (above 1: we are faster)")
    found = None
    if peer_python is not None:
        probe = subprocess.run(
            [peer_python, "-c", "import torch; print(torch.__version__)"],
            capture_output=True,
            text=True,
        )
        found = probe.stdout.strip() or None
        if found is None:
            say("PyTorch is not installed in the peer's Python: our times alone.")
    peaks = measured_peaks({threads for _, threads in cases}, say)
    report: dict[str, Any] = machine() | {"torch": found, "peaks": peaks}
    python = peer_python or sys.executable
    peer = "torch" if found else None
    report["rows"] = compare(cases, peer, python, rounds, seconds, peaks, say)
    if peer_python is not None:
        numeric = [(case, threads) for case, threads in cases if case.name in NUMPY]
        report["rows"] += compare(numeric, "numpy", sys.executable, rounds, seconds, peaks, say)
    barred = [row for row in report["rows"] if "met" in row]
    if barred:
        say(f"bars met: {sum(row['met'] for row in barred)} of {len(barred)}")
    return report


def save(report: dict[str, Any], path: Path) -> None:
    """Write a report as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")


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
    cases = select(
        options.patterns,
        subject=options.subject,
        threads=options.threads,
        barred=options.barred,
    )
    if not cases:
        parser.error(f"no such row contains any of {options.patterns}. See bench/cases.")
    report = run(
        cases,
        peer_python=options.peer_python,
        rounds=options.rounds,
        seconds=options.seconds,
        say=partial(print, flush=True),
    )
    if options.save:
        save({"command": command(), **report}, options.save)
        print(f"saved {options.save}")


if __name__ == "__main__":
    main()
