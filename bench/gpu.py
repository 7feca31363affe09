"""Everything that needs a GPU, in at most ten minutes: `python -m bench.gpu [--dry-run]`.

Tests of operations on the GPU, compute-sanitizer over some of them, and the rows of
`bench.gpu_rows` against PyTorch in the same process; a JSON file with the figures in
bench/results/, and a short table last. A part that is missing (PyTorch, compute-sanitizer,
pytest-xdist) is said so and left out. `--dry-run` walks the same way on the simulated GPU with
small inputs and keeps no figures.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.gpu_rows import ROWS, Row

ROOT = Path(__file__).resolve().parents[1]
#: seconds of the parts; what one does not use the next ones may
LIMITS = {"tests": 210.0, "sanitizer": 70.0, "rows": 260.0}
#: operations that compute-sanitizer looks at: a pass of each template
SANITIZED = (
    "softmax or layer_norm or matmul or sort or cumsum or gather or index_put or embedding or "
    "conv2d or max_pool2d or scaled_dot_product_attention or cross_entropy or cat or topk"
)
_SAMPLES = 5
_SECONDS_A_SAMPLE = 0.02


def _command(*arguments: str) -> str:
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=30, cwd=ROOT)
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown ({error})"
    return done.stdout.strip()


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def environment(torch: Any) -> dict[str, Any]:
    """Device, driver, versions and commit."""
    facts = torch.cuda.get_device_properties()
    query = ("nvidia-smi", "--query-gpu=driver_version,clocks.sm", "--format=csv,noheader")
    return {
        "gpu": facts.name,
        "capability": f"{facts.major}.{facts.minor}",
        "memory": facts.total_memory,
        "driver": _command(*query),
        "python": platform.python_version(),
        "packages": {
            name: _version(name)
            for name in ("triton", "numpy", "llvmlite", "cuda-bindings", "torch", "cupy-cuda13x")
        },
        "commit": _command("git", "rev-parse", "HEAD"),
        "changed": bool(_command("git", "status", "--porcelain")),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


# ---- tests


def _run(arguments: Sequence[str], seconds: float) -> tuple[str, str]:
    """What became of a command, in a word, and the end of its output."""
    start = time.monotonic()
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    )
    try:
        output, _ = process.communicate(timeout=max(seconds, 1))
        word = "passed" if process.returncode == 0 else f"failed ({process.returncode})"
    except subprocess.TimeoutExpired:
        process.terminate()
        output, _ = process.communicate()
        word = "stopped"
    return f"{word} after {time.monotonic() - start:.0f} s", output[-6000:]


def run_tests(seconds: float, device: str) -> dict[str, Any]:
    """The marked tests, on several processes where pytest-xdist is there."""
    if importlib.util.find_spec("pytest") is None:
        return {"result": "left out: no pytest"}
    command = [sys.executable, "-m", "pytest", "-q", "--device", device, "-m", "gpu", "-x"]
    command[-1:] = ["--maxfail=40", "-p", "no:cacheprovider"]
    if importlib.util.find_spec("xdist") is not None:
        command += ["-n", str(min(os.cpu_count() or 1, 8))]
    if device != "cuda":
        command += ["-k", "exp or softmax"]
    word, output = _run([*command, "tests/devices"], seconds)
    return {"result": word, "output": output}


def run_sanitizer(seconds: float) -> dict[str, Any]:
    """memcheck and racecheck over a few operations."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        return {"result": "left out: no compute-sanitizer"}
    found: dict[str, Any] = {}
    for kind in ("memcheck", "racecheck"):
        command = [
            tool, "--tool", kind, "--error-exitcode", "9", "--target-processes", "all",
            sys.executable, "-m", "pytest", "-q", "-x", "--device", "cuda", "-m", "gpu",
            "-p", "no:cacheprovider", "-k", f"({SANITIZED}) and float32", "tests/devices",
        ]  # fmt: skip
        word, output = _run(command, seconds / 2)
        summaries = re.findall(r"=+ (ERROR SUMMARY.*|RACECHECK SUMMARY.*)", output)
        found[kind] = {"result": word, "summary": summaries, "output": output[-1500:]}
    return found


# ---- rows


def _milliseconds(torch: Any, calls: Sequence[Callable[[], Any]]) -> list[float]:
    """Times of a call by events, the input sets in turn; the first calls are not counted."""
    for call in calls:
        call()
        call()
    torch.cuda.synchronize()

    def batch(count: int) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for turn in range(count):
            calls[turn % len(calls)]()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / count

    once = max(batch(len(calls)), 1e-3)
    count = max(len(calls), min(int(_SECONDS_A_SAMPLE * 1e3 / once), 2000))
    return [batch(count) for _ in range(_SAMPLES)]


def measure(row: Row, libraries: dict[str, Any], scale: float) -> dict[str, Any]:
    """Median times on both sides, one after the other, and the ratio that the bar is for."""
    found: dict[str, Any] = {"name": row.name, "bar": row.bar}
    for side, torch in libraries.items():
        try:
            torch.manual_seed(0)
            calls = [row.program(torch, scale) for _ in range(row.sets)]
            times = _milliseconds(torch, calls)
            found[f"{side}_ms"] = statistics.median(times)
            found[f"{side}_spread"] = (max(times) - min(times)) / statistics.median(times)
        except Exception as error:
            found[f"{side}_error"] = f"{type(error).__name__}: {error!s:.300}"
        finally:
            calls = []
            torch.cuda.empty_cache()
    return found


def judge(found: dict[str, Any], row: Row, bandwidth: float | None) -> None:
    """Fill in bytes and operations a second, and the ratio."""
    ours, theirs = found.get("ours_ms"), found.get("torch_ms")
    if ours is None:
        return
    if row.moved:
        found["bytes_per_second"] = row.moved / ours * 1e3
    if row.operations:
        found["operations_per_second"] = row.operations / ours * 1e3
    if theirs is not None:
        found["ratio_to_torch"] = theirs / ours
    if row.of_bandwidth and bandwidth:
        found["ratio"] = found["bytes_per_second"] / bandwidth
    elif not row.of_bandwidth and theirs is not None:
        found["ratio"] = theirs / ours
    if "ratio" in found:
        found["reached"] = found["ratio"] >= row.bar


def run_rows(
    libraries: dict[str, Any], seconds: float, scale: float, figures: bool = True
) -> list[dict[str, Any]]:
    """All rows until the time is over; the first one measures the copy bandwidth."""
    end = time.monotonic() + seconds
    results: list[dict[str, Any]] = []
    bandwidth = None
    for row in ROWS:
        if time.monotonic() > end:
            results.append({"name": row.name, "bar": row.bar, "ours_error": "no time left"})
            continue
        found = measure(row, libraries, scale)
        if bandwidth is None and row.moved:
            times = [found[f"{side}_ms"] for side in libraries if f"{side}_ms" in found]
            bandwidth = row.moved / min(times) * 1e3 if times else None
        judge(found, row, bandwidth)
        results.append(found)
        print(_line(found, figures), flush=True)
    return results


def _line(found: dict[str, Any], figures: bool = True) -> str:
    if "ours_error" in found:
        return f"{found['name']:34} {found['ours_error']:.100}"
    if not figures:
        return f"{found['name']:34} runs"
    peer = found.get("torch_ms")
    shown = "" if "ratio" not in found else f"{found['ratio']:6.2f}"
    verdict = {True: "reached", False: "below", None: ""}[found.get("reached")]
    return (
        f"{found['name']:34} {found['ours_ms']:10.4f} ms {'' if peer is None else f'{peer:10.4f}'} "
        f"{shown:>6} (bar {found['bar']:.2f}) {verdict}"
    )


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="walk the way without a GPU")
    parser.add_argument("--skip", nargs="*", choices=sorted(LIMITS), default=[])
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results")
    arguments = parser.parse_args()
    deadline = time.monotonic() + sum(LIMITS.values())
    with ExitStack() as stack:
        if arguments.dry_run:
            from tests.runtime.cuda.simulated import simulated_gpu

            stack.enter_context(simulated_gpu())
        import tritorch

        if not tritorch.cuda.is_available():
            tritorch.zeros(1, device="cuda")  # says why
        libraries: dict[str, Any] = {"ours": tritorch}
        if arguments.dry_run:
            print("dry run: a simulated GPU, no figures")
        elif importlib.util.find_spec("torch") is not None:
            import torch

            if torch.cuda.is_available():
                libraries["torch"] = torch
        if "torch" not in libraries:
            print("no PyTorch for this GPU: rows have no peer")
        report: dict[str, Any] = {"environment": environment(tritorch)}
        print(json.dumps(report["environment"], indent=1), flush=True)
        if "rows" not in arguments.skip:  # first: nothing else is on the device then
            scale = 1e-3 if arguments.dry_run else 1.0
            report["rows"] = run_rows(
                libraries, LIMITS["rows"], scale, figures=not arguments.dry_run
            )
        if "tests" not in arguments.skip:
            device = "simulated" if arguments.dry_run else "cuda"
            left = deadline - time.monotonic()
            report["tests"] = run_tests(min(LIMITS["tests"] + 60, left), device)
            print(report["tests"].get("output", "")[-2500:])
        if "sanitizer" not in arguments.skip and not arguments.dry_run:
            report["sanitizer"] = run_sanitizer(
                min(LIMITS["sanitizer"], deadline - time.monotonic())
            )
        if not arguments.dry_run:
            name = report["environment"]["gpu"].lower().replace(" ", "-")
            date = report["environment"]["date"][:10]
            arguments.results.mkdir(parents=True, exist_ok=True)
            path = arguments.results / f"{date}-{name}.json"
            path.write_text(json.dumps(report, indent=1) + "\n")
            print(f"written to {path}")
    print(summary(report, figures=not arguments.dry_run))


def summary(report: dict[str, Any], figures: bool) -> str:
    """The short table at the end."""
    lines = [f"{'row':34} {'ours':>13} {'torch':>10}  ratio"] if figures else []
    lines += [_line(found, figures) for found in report.get("rows", ())]
    rows = report.get("rows", ())
    if figures:
        reached = sum(bool(found.get("reached")) for found in rows)
        lines.append(f"{reached} of {len(rows)} bars reached")
    for part in ("tests", "sanitizer"):
        if part in report:
            found = report[part]
            results = [found] if "result" in found else list(found.values())
            lines.append(f"{part}: {', '.join(one['result'] for one in results)}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
