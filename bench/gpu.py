"""Everything that needs a GPU, in parts of at most ten minutes: `python -m bench.gpu [PART ...]`.

| part | what |
|---|---|
| rows | the rows of `bench.gpu_rows` against PyTorch in the same process |
| tests | the marked tests: the whole table of operations on the GPU |
| sanitizer | compute-sanitizer's memcheck and racecheck over one pass of each template |
| tune | searches for configurations; the best ones as a lock file, to become shipped defaults |

Without a name: rows, tests and sanitizer share ten minutes. What fails is reported and the others
go on. After each part a JSON file in bench/results/ has the figures with GPU, driver, versions and
commit; later calls on the same day add to it. A short table comes last. `--dry-run` walks the same
way without a GPU, with small inputs, and keeps no figures.
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
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from bench import gpu_apart
from bench.gpu_rows import ROWS, Row

ROOT = Path(__file__).resolve().parents[1]
#: parts of a call without names, with the share of the time that each may take
SHARES = {"rows": 0.5, "tests": 0.36, "sanitizer": 0.14, "tune": 0.0}
SECONDS = 570.0
#: operations that compute-sanitizer looks at: a pass of each template
SANITIZED = (
    "softmax or layer_norm or matmul or sort or cumsum or gather or index_put or embedding or "
    "conv2d or max_pool2d or scaled_dot_product_attention or cross_entropy or cat or topk"
)
#: what the part `tune` searches for: kernel, dtype, shapes; as `tritorch tune run` takes them
SEARCHES = (
    ("matmul_tile", "bfloat16", ("m=4096,n=4096,k=4096", "m=8192,n=8192,k=8192")),
    ("matmul_tile", "float32", ("m=4096,n=4096,k=4096",)),
    ("attention_forward", "bfloat16", tuple(
        f"n_queries=4096,n_keys=4096,depth={depth},v_depth={depth},causal={causal}"
        for depth in (64, 128) for causal in ("true", "false")
    )),
    ("attention_backward_queries", "bfloat16", ("n_queries=4096,n_keys=4096",)),
    ("attention_backward_keys", "bfloat16", ("n_queries=4096,n_keys=4096",)),
    ("convolution_pixels", "bfloat16", (
        "filters=64,channels=64,side=56", "filters=128,channels=128,side=28",
        "filters=256,channels=256,side=14", "filters=512,channels=512,side=7",
    )),
    ("convolution_pixels_weight", "bfloat16", ("filters=128,channels=128,side=28",)),
    ("radix_scatter", "float32", ("n_cols=16777216",)),
    ("topk_part", "float32", ("n_cols=16384",)),
    ("softmax_rows", "bfloat16", ("n_cols=4096",)),
    ("norm_rows", "bfloat16", ("n_cols=4096",)),
    ("norm_rows_backward", "bfloat16", ("n_cols=4096",)),
    ("pointwise", "float32", ("numel=67108864",)),
)  # fmt: skip
#: packages that nothing works without, and what is missing without the others
NEEDED = ("triton", "numpy", "llvmlite", "cuda.bindings")
OF_USE = {
    "torch": "rows have no peer", "pytest": "no tests, no sanitizer",
    "xdist": "tests run in one process", "typer": "no part tune", "rich": "no part tune",
    "ml_dtypes": "no bfloat16 from and to NumPy", "opt_einsum": "no einsum of three operands",
}  # fmt: skip
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


def _there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def absent(dry: bool) -> dict[str, str]:
    """Packages that are not there, and what is missing without them.

    Raises:
        SystemExit: nothing works without one of them.
    """
    needed = [name for name in NEEDED if not _there(name) and not (dry and "cuda" in name)]
    if needed:
        raise SystemExit(f"bench.gpu: {', '.join(needed)} must be installed.")
    return {name: what for name, what in OF_USE.items() if not _there(name)}


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


# ---- parts that are programs of their own


def _run(
    arguments: Sequence[str], seconds: float, settings: dict[str, str] | None = None
) -> tuple[str, str]:
    """What became of a command, in a word, and the end of its output."""
    start = time.monotonic()
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
        env={**os.environ, **(settings or {})},
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=max(seconds, 1))
        word = "passed" if process.returncode == 0 else f"failed ({process.returncode})"
    except subprocess.TimeoutExpired:
        output, word = _stopped(process), "stopped"
    return f"{word} after {time.monotonic() - start:.0f} s", output[-6000:]


def _stopped(process: subprocess.Popen[str], patience: float = 10) -> str:
    """The output of a process that is interrupted, as by Ctrl-C: pytest still counts its tests."""
    for ask in (lambda: process.send_signal(signal.SIGINT), process.terminate, process.kill):
        ask()
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=patience)[0]
    return ""


def _pytest(device: str, *options: str) -> list[str]:
    return [
        sys.executable, "-m", "pytest", "-q", "--device", device, "-m", "gpu",
        "-p", "no:cacheprovider", *options, "tests/devices",
    ]  # fmt: skip


def run_tests(seconds: float, dry: bool) -> dict[str, Any]:
    """The marked tests, on several processes where pytest-xdist is there."""
    if not _there("pytest"):
        return {"result": "left out: no pytest"}
    options = ["--maxfail=40"]
    if _there("xdist"):
        options += ["-n", str(min(os.cpu_count() or 1, 14))]
    if dry:
        options += ["-k", "erfinv or hypot"]
    word, output = _run(_pytest("simulated" if dry else "cuda", *options), seconds)
    last = next((line for line in reversed(output.splitlines()) if " in " in line), "")
    counts = re.findall(r"\d+ (?:passed|failed|skipped|errors?)", last)
    return {"result": f"{word}: {', '.join(counts)}", "output": output}


def run_sanitizer(seconds: float, dry: bool) -> dict[str, Any]:
    """memcheck and racecheck over a few operations, in one process each."""
    if not _there("pytest"):
        return {"result": "left out: no pytest"}
    tool = "env" if dry else shutil.which("compute-sanitizer")
    if tool is None:
        return {"result": "left out: no compute-sanitizer"}
    found: dict[str, Any] = {}
    for kind in ("memcheck", "racecheck"):
        options = ["--tool", kind, "--error-exitcode", "9", "--target-processes", "all"]
        chosen = "hypot" if dry else f"({SANITIZED}) and float32"
        program = _pytest("simulated" if dry else "cuda", "-x", "-k", chosen)
        word, output = _run([tool, *([] if dry else options), *program], seconds / 2)
        summaries = re.findall(r"=+ (ERROR SUMMARY.*|RACECHECK SUMMARY.*)", output)
        found[kind] = {"result": word, "summary": summaries, "output": output[-1500:]}
    return found


def run_tuning(seconds: float, dry: bool, folder: Path) -> dict[str, Any]:
    """Each search in turn; the database and the best configurations stay in `folder`."""
    if missing := [name for name in ("typer", "rich") if not _there(name)]:
        return {"result": f"left out: no {' and no '.join(missing)}"}
    end = time.monotonic() + seconds
    settings = {"TRITORCH_TUNE_DB": str(folder / "tune.sqlite")}
    found: dict[str, Any] = {}
    tritorch = [sys.executable, "-m", "tritorch", "tune"]
    for turn, (kernel, dtype, shapes) in enumerate(SEARCHES):
        left = (end - time.monotonic()) / (len(SEARCHES) - turn)
        if left < 5:
            found[kernel, dtype] = {"result": "left out: no time left"}
            continue
        command = [*tritorch, "run", kernel, "--dtype", dtype, "--budget", f"{left:.0f}s"]
        command += [part for shape in shapes for part in ("--shape", shape)]
        command += ["--device", "cpu", "--dry-run"] if dry else ["--device", "cuda"]
        word, output = _run(command, left + 30, settings)
        found[kernel, dtype] = {"result": word, "output": output[-1500:]}
    if not dry:
        lock = folder / "tuned.json"
        word, output = _run([*tritorch, "db", "export", "-o", str(lock)], 30, settings)
        found["export", ""] = {"result": word, "output": output[-500:]}
    return {" ".join(name).strip(): value for name, value in found.items()}


# ---- rows


def _milliseconds(torch: Any, calls: Sequence[Callable[[], Any]]) -> list[float]:
    """Times of a call by events, the input sets in turn; the first calls are not counted."""
    for call in calls:
        call()
        call()
    if not torch.cuda.is_available():
        return [1.0]  # of a dry run's peer, which only runs
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
    """Median times on both sides, one after the other."""
    found: dict[str, Any] = {"name": row.name, "group": row.group, "bar": row.bar}
    for side, torch in libraries.items():
        calls: list[Any] = []
        try:
            torch.set_float32_matmul_precision(row.precision)
            torch.manual_seed(0)
            calls = [row.program(torch, scale) for _ in range(row.sets)]
            times = _milliseconds(torch, calls)
            found[f"{side}_ms"] = statistics.median(times)
            found[f"{side}_spread"] = (max(times) - min(times)) / statistics.median(times)
        except Exception as error:
            found[f"{side}_error"] = f"{type(error).__name__}: {error!s:.300}"
        finally:
            del calls
            torch.set_float32_matmul_precision("highest")
            with suppress(RuntimeError):  # the device may be lost
                torch.cuda.empty_cache()
        if _LOST in found.get("ours_error", ""):
            break
    return found


#: of the error after which this process cannot use the device any more
_LOST = "cannot be used by this process any more"


def judge(found: dict[str, Any], row: Row, bandwidth: float | None) -> None:
    """Fill in bytes and operations a second, and the ratio that the bar is for."""
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


def chosen_rows(pattern: str, dry: bool) -> list[Row]:
    """The copy, and the rows whose group or name the pattern finds."""
    found = [row for row in ROWS[1:] if re.search(pattern, f"{row.group}: {row.name}")]
    return [ROWS[0], *(row for row in found if row.dry or not dry)]


def run_rows(
    libraries: dict[str, Any], seconds: float, pattern: str = "", dry: bool = False,
    path: Path | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """The chosen rows until the time is over, or the device is lost.

    Args:
        path: rows of processes before this one, which are left out; each row is added to it.
    """
    end = time.monotonic() + seconds
    results: list[dict[str, Any]] = []
    known = {row["name"] for row in gpu_apart.written(path)} if path is not None else set()
    bandwidth = None
    for row in chosen_rows(pattern, dry):
        if row.name in known and row is not ROWS[0]:
            continue
        if time.monotonic() > end:
            late = {"name": row.name, "bar": row.bar, "ours_error": "no time left"}
            results.append(late)
            if path is not None and row.name not in known:
                gpu_apart.write(path, late)
            continue
        found = measure(row, libraries, 1e-3 if dry else 1.0)
        if row is ROWS[0]:
            times = [found[f"{side}_ms"] for side in libraries if f"{side}_ms" in found]
            bandwidth = row.moved / min(times) * 1e3 if times else None
        judge(found, row, bandwidth)
        results.append(found)
        if row.name in known:
            continue
        if path is not None:
            gpu_apart.write(path, found)
        print(_line(found, not dry), flush=True)
        if _LOST in found.get("ours_error", ""):
            break
    return results


def rows_apart(seconds: float, pattern: str, dry: bool) -> list[dict[str, Any]]:
    """The chosen rows, by a process of their own (see `gpu_apart`)."""
    names = [row.name for row in chosen_rows(pattern, dry)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows"
        command = [sys.executable, "-m", "bench.gpu", "rows", "--rows", pattern]
        command += [*(["--dry-run"] if dry else []), "--written-to", str(path), "--seconds"]
        return gpu_apart.rows_of(command, names, path, seconds, folder=ROOT)


def _line(found: dict[str, Any], figures: bool = True) -> str:
    name = f"{found['name']:36}"
    if "ours_error" in found:
        return f"{name} {found['ours_error']:.100}"
    trouble = f" peer: {found['torch_error']:.80}" if "torch_error" in found else ""
    if not figures:
        return f"{name} runs{trouble}"
    peer = found.get("torch_ms")
    shown = "" if "ratio" not in found else f"{found['ratio']:6.2f}"
    verdict = {True: "reached", False: "below", None: ""}[found.get("reached")]
    return (
        f"{name} {found['ours_ms']:10.4f} ms {'' if peer is None else f'{peer:10.4f}':>10} "
        f"{shown:>6} (bar {found['bar']:.2f}) {verdict}{trouble}"
    )


# ---- all of it


def _libraries(dry: bool) -> dict[str, Any]:
    """Ours, and PyTorch where it can use this GPU (in a dry run it uses the CPU)."""
    import tritorch

    if not tritorch.cuda.is_available():
        tritorch.zeros(1, device="cuda")  # says why
    found: dict[str, Any] = {"ours": tritorch}
    if _there("torch"):
        import torch

        if dry or torch.cuda.is_available():
            found["torch"] = torch
        else:
            print("PyTorch is installed, but finds no GPU: rows have no peer")
    return found


def _guarded(part: str, run: Callable[[], Any]) -> Any:
    """What a part gives; where it breaks, the words, and the others go on."""
    try:
        return run()
    except Exception as error:
        traceback.print_exc()
        return {"result": f"broke: {part}: {type(error).__name__}: {error!s:.300}"}


def keep(report: dict[str, Any], folder: Path) -> Path:
    """Write the report; rows and parts of an earlier call of this day and commit stay."""
    facts = report["environment"]
    name = re.sub(r"[^a-z0-9]+", "-", facts["gpu"].lower()).strip("-")
    path = folder / f"{facts['date'][:10]}-{name}.json"
    merged = dict(report)
    if path.exists():
        before = json.loads(path.read_text())
        if before["environment"]["commit"] == facts["commit"]:
            merged = {**before, **report}
            if isinstance(before.get("rows"), list) and isinstance(report.get("rows"), list):
                rows = {row["name"]: row for row in (*before["rows"], *report["rows"])}
                merged["rows"] = list(rows.values())
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(merged, indent=1) + "\n")
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module; 1 where a part broke or failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", help=", ".join(SHARES))
    parser.add_argument("--rows", default="", help="a pattern of groups and names of rows")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of the whole call")
    parser.add_argument("--dry-run", action="store_true", help="walk the way without a GPU")
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--written-to", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if unknown := set(given.parts) - set(SHARES):
        parser.error(f"unknown parts {', '.join(sorted(unknown))}: choose from {', '.join(SHARES)}")
    dry = given.dry_run
    missing = absent(dry)
    parts = given.parts or [part for part, share in SHARES.items() if share or dry]
    end = time.monotonic() + given.seconds
    with ExitStack() as stack:
        folder = given.results
        if dry:
            from tests.runtime.cuda.simulated import simulated_gpu

            stack.enter_context(simulated_gpu())
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        libraries = _libraries(dry)
        if given.written_to is not None:
            rows = run_rows(libraries, given.seconds, given.rows, dry, given.written_to)
            lost = any(_LOST in row.get("ours_error", "") for row in rows)
            return gpu_apart.LOST if lost else 0
        if dry:
            print("dry run: a simulated GPU, no figures")
        for name, what in missing.items():
            print(f"{name} is not installed: {what}")
        report: dict[str, Any] = {"environment": environment(libraries["ours"])}
        report["environment"]["absent"] = sorted(missing)
        print(json.dumps(report["environment"], indent=1), flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        runs: dict[str, Callable[[float], Any]] = {
            "rows": lambda seconds: rows_apart(seconds, given.rows, dry),
            "tests": lambda seconds: run_tests(seconds, dry),
            "sanitizer": lambda seconds: run_sanitizer(seconds, dry),
            "tune": lambda seconds: run_tuning(seconds, dry, folder),
        }
        shares = [SHARES[part] or 1.0 for part in parts]
        for place, part in enumerate(parts):  # rows first: nothing else is on the device then
            left = (end - time.monotonic()) * shares[place] / sum(shares[place:])
            report[part] = _guarded(part, lambda: runs[part](left))  # noqa: B023  (called at once)
            path = keep(report, folder)
        print("" if dry else f"written to {path}")
    print(summary(report, figures=not dry))
    return int(not good(report))


def _results(found: Any) -> list[str]:
    """The words for a part that is no list of rows."""
    if "result" in found:
        return [found["result"]]
    return [
        f"{name} {' '.join([one['result'], *one.get('summary', ())])}"
        for name, one in found.items()
    ]


def good(report: dict[str, Any]) -> bool:
    """Whether all rows ran and no part failed; bars do not count."""
    for part in SHARES:
        found = report.get(part)
        if isinstance(found, list):
            if any("ours_error" in row for row in found):
                return False
        elif found is not None and re.search("failed|broke|stopped", " ".join(_results(found))):
            return False
    return True


def summary(report: dict[str, Any], figures: bool) -> str:
    """The short table at the end."""
    lines = [f"{'row':36} {'ours':>13} {'torch':>10}  ratio"] if figures else []
    rows = report.get("rows", ())
    if isinstance(rows, list):
        lines += [_line(found, figures) for found in rows if figures or len(found) < 5]
        reached = sum(bool(found.get("reached")) for found in rows)
        failed = sum("ours_error" in found for found in rows)
        bars = f"{reached} of {len(rows)} bars reached, " if figures else ""
        lines.append(f"rows: {bars}{len(rows) - failed} of {len(rows)} ran")
    for part in SHARES:
        if isinstance(report.get(part), dict):
            lines.append(f"{part}: {'; '.join(_results(report[part]))}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
