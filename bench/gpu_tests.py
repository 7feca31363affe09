"""The parts of `bench.gpu` that are other programs: tests, compute-sanitizer, searches."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.gpu_report import there
from bench.turns import Turns, share

ROOT = Path(__file__).resolve().parents[1]
#: the table of operations, what only a GPU shows, and the kernels that GPUs have for themselves
TESTS = (
    *(
        f"tests/devices/test_{name}.py"
        for name in ("gpu", "operations", "products", "convolutions", "long_rows", "steps", "mixed")
    ),
    "tests/graphs/test_gpu.py",
)
#: tests that compute-sanitizer looks at: a pass of each template, long rows first
SANITIZED = (
    "test_steps.py", "test_long_rows.py", "test_by_descriptors", "test_few_tiles_are_split",
    "test_what_tensor_cores_want_side_by_side", "test_convolutions.py",
    *(
        f"test_operation[{name}-float32]"
        for name in (
            "sum", "var", "softmax", "F.layer_norm", "matmul", "F.scaled_dot_product_attention",
            "sort", "topk", "cumsum", "F.cross_entropy", "F.embedding", "F.conv2d", "F.max_pool2d",
            "gather", "scatter_add", "index_put", "cat", "F.dropout", "F.rms_norm", "median",
            "bincount", "multinomial", "F.batch_norm", "F.group_norm", "nonzero", "masked_select",
            "index_add", "cummax", "F.avg_pool2d", "F.interpolate bilinear", "unique",
            "F.grid_sample", "linalg.solve", "einsum", "searchsorted", "histc", "roll", "flip",
            "where", "lerp",
        )
    ),
)  # fmt: skip
#: where compute-sanitizer may be besides the PATH
SANITIZER_PLACES = (
    "/usr/local/cuda/bin", "/usr/local/cuda*/bin", "/usr/local/cuda*/compute-sanitizer",
    "/opt/nvidia/compute-sanitizer", "/opt/nvidia/*/bin", "/opt/cuda/bin",
)  # fmt: skip
#: of compute-sanitizer: Python is long on its way before it asks for the GPU
_OPTIONS = ("--target-processes", "all", "--launch-timeout", "300")
#: its tools; more options of the tool and of the tests
_KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "memcheck": (("--report-api-errors", "no"), ("--own-memory",)),
    "racecheck": ((), ()),
}
#: of the processes: other packages' plugins have no part in them, and kernels of the CPU one thread
_SETTINGS = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "TRITORCH_NUM_THREADS": "1"}
#: seconds without a word after which a test counts as hanging; kernels are compiled in them, too
PATIENCE = 120.0
#: what the part `tune` searches for: kernel, dtype, shapes; as `tritorch tune run` takes them
SEARCHES = (
    ("matmul_tile", "bfloat16", ("m=4096,n=4096,k=4096", "m=8192,n=8192,k=8192")),
    ("matmul_tile", "float32", ("m=4096,n=4096,k=4096",)),
    ("attention_forward", "bfloat16", tuple(
        f"n_queries=4096,n_keys=4096,depth={depth},v_depth={depth},causal={causal}"
        for depth in (64, 128) for causal in ("true", "false")
    )),
    ("attention_gpu_queries", "bfloat16", ("n_queries=4096,n_keys=4096",)),
    ("attention_gpu_keys", "bfloat16", ("n_queries=4096,n_keys=4096",)),
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
#: what a dry run executes in place of `python -m tritorch`: the same, on the simulated GPU
_SIMULATED = """
import sys
from tests.runtime.cuda.simulated import simulated_gpu
from tritorch.__main__ import main
with simulated_gpu():
    sys.exit(main())
"""


def _pytest(device: str, *options: str) -> list[str]:
    """Warnings of packages that are newer there are no errors."""
    return [
        sys.executable, "-m", "pytest", "-q", "--device", device, "-p", "no:cacheprovider",
        "-p", "bench.turns_in_pytest", "-W", "default", *options, *TESTS,
    ]  # fmt: skip


def _without(names: Iterable[str], done: Iterable[str]) -> list[str]:
    gone = set(done)
    return [name for name in names if name not in gone]


def _found(folder: Path, troubles: Sequence[str], before: Sequence[str] = ()) -> dict[str, Any]:
    """What became of the tests; `passed` has those of earlier calls, too."""
    turns = Turns(folder)
    results = turns.results()
    counts = Counter(one["outcome"] for one in results.values())
    failed = {
        name: one.get("words", "") for name, one in results.items() if one["outcome"] == "failed"
    }
    passed = sorted({*before, *(n for n, one in results.items() if one["outcome"] == "passed")})
    skipped = {n for n, one in results.items() if one["outcome"] == "skipped"}
    late = _without(turns.all(), {*passed, *failed, *skipped})
    words = [f"{len(passed)} passed"]
    words += [f"{len(failed)} failed"] * bool(failed)
    words += [f"{counts['skipped']} skipped"] * bool(skipped)
    words += [f"{len(late)} not reached: call again"] * bool(late)
    words += [f"broke: {one:.300}" for one in troubles[:1]]
    return {"result": ", ".join(words), "failed": failed, "passed": passed, "not_reached": late}


def run_tests(
    seconds: float, dry: bool, before: Mapping[str, Any], workers: int | None = None
) -> dict[str, Any]:
    """The tests on a GPU, on several processes, what counts most first.

    Args:
        before: what this gave in an earlier call: what passed then is not run again.
    """
    if missing := [name for name in ("pytest", "hypothesis") if not there(name)]:
        return {"result": f"left out: no {' and no '.join(missing)}"}
    passed = before.get("passed", [])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Turns(folder).leave_out(passed)
        command = _pytest("simulated" if dry else "cuda", *(["-k", "erfinv or hypot"] * dry))
        count = workers or min(os.cpu_count() or 1, 2 if dry else 14)
        settings = {"TRITORCH_NUM_THREADS": "1"}
        troubles = share([command] * count, folder, seconds, PATIENCE, settings=settings, cwd=ROOT)
        return _found(folder, troubles, passed)


# ---- compute-sanitizer


def sanitizer() -> str | None:
    """The program, from the PATH or where NVIDIA's packages put it."""
    found = shutil.which("compute-sanitizer")
    if found is not None:
        return found
    for pattern in SANITIZER_PLACES:
        for folder in sorted(Path("/").glob(pattern[1:]), reverse=True):
            if (program := folder / "compute-sanitizer").is_file():
                return str(program)
    return None


def run_sanitizer(
    seconds: float, dry: bool, folder: Path, before: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """memcheck and racecheck over a few tests, both at once, on several processes each.

    Args:
        folder: where the whole words of the tool stay, where it tells of errors.
        before: what this gave in an earlier call: what passed then is not run again.
    """
    if missing := [name for name in ("pytest", "hypothesis") if not there(name)]:
        return {"result": f"left out: no {' and no '.join(missing)}"}
    tool = "env" if dry else sanitizer()
    if tool is None:
        return {"result": "left out: no compute-sanitizer"}
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(len(_KINDS)) as pool:
        wanted = Path(name) / "wanted"
        wanted.write_text("\n".join(_sanitized(dry, seconds)) + "\n")

        def checked(kind: str) -> dict[str, Any]:
            part = Path(name) / kind
            passed = (before or {}).get(kind, {}).get("passed", [])
            Turns(part).leave_out(passed)
            program = _pytest(
                "simulated" if dry else "cuda", "--only", str(wanted), *_KINDS[kind][1]
            )
            command = [
                tool,
                *([] if dry else ["--tool", kind, *_OPTIONS, *_KINDS[kind][0]]),
                *program,
            ]
            count = 1 if dry else max(min(os.cpu_count() or 1, 16) // 4, 1)
            troubles = share(
                [command] * count, part, end - time.monotonic(), 2 * PATIENCE,
                grace=min(20, seconds / 4), settings=_SETTINGS, cwd=ROOT,
            )  # fmt: skip
            output = "".join(p.read_text(errors="replace") for p in sorted(part.glob("output-*")))
            summary, text = told_by_sanitizer(output)
            if not dry and "in 0 processes" in summary:
                text = output[-20_000:]
            if text:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{kind}.txt").write_text(text)
            found = {**_found(part, troubles, passed), "summary": [summary]}
            if text:
                found["result"] += ", failed"
            return found

        return dict(zip(_KINDS, pool.map(checked, _KINDS)))


def _sanitized(dry: bool, seconds: float) -> list[str]:
    """The ids of the chosen tests, as pytest collects them."""
    collect = _pytest("simulated" if dry else "cuda", "--collect-only")
    done = subprocess.run(
        collect, capture_output=True, text=True, timeout=max(seconds, 30), cwd=ROOT,
        env={**os.environ, **_SETTINGS},
    )  # fmt: skip
    names = [line for line in done.stdout.splitlines() if "::" in line]
    chosen = SANITIZED[:1] if dry else SANITIZED
    return [name for part in chosen for name in names if part in name]


def told_by_sanitizer(output: str) -> tuple[str, str]:
    """What compute-sanitizer counted, in words, with the kernels; its own words where it has any.

    Each process ends with `========= ERROR SUMMARY: 2 errors`, or `========= RACECHECK SUMMARY: 1
    hazard displayed (1 error, 0 warnings)`.
    """
    lines = [line for line in output.splitlines() if line.startswith("=========")]
    totals = [
        int(found[1])
        for line in lines
        if (found := re.search(r"SUMMARY:.*?(\d+) (?:errors?|hazards?)\b", line))
    ]
    kinds: Counter[str] = Counter()
    for place, line in enumerate(lines):
        text = line.strip("= ")
        if re.match(r"Invalid|Misaligned|(?:Error|Warning|ERROR|WARNING): Race|Program hit", text):
            around = " ".join(one.strip("= ") for one in lines[place : place + 3])
            kernel = re.search(r"\b(?:at|in) (?!0x)(?:void )?([A-Za-z_]\w*)", around)
            kinds[f"{text:.60} ({kernel[1] if kernel else 'which kernel it does not say'})"] += 1
    words = f"{sum(totals)} errors in {len(totals)} processes"
    words += "".join(f"; {count} x {kind}" for kind, count in kinds.most_common(5))
    if any("No attachable process" in line for line in lines):
        words += "; it found no process"
    return words, "\n".join(lines)[-1_000_000:] if sum(totals) or kinds else ""


# ---- searches


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
        output, word = stopped(process), "stopped"
    return f"{word} after {time.monotonic() - start:.0f} s", output[-6000:]


def stopped(process: subprocess.Popen[str], patience: float = 10) -> str:
    """The output of a process that is interrupted, as by Ctrl-C: a search keeps what it has."""
    for ask in (lambda: process.send_signal(signal.SIGINT), process.terminate, process.kill):
        ask()
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=patience)[0]
    return ""


def run_tuning(seconds: float, dry: bool, folder: Path) -> dict[str, Any]:
    """Each search in turn; the database and the best configurations stay in `folder`."""
    if missing := [name for name in ("typer", "rich") if not there(name)]:
        return {"result": f"left out: no {' and no '.join(missing)}"}
    end = time.monotonic() + seconds
    settings = {"TRITORCH_TUNE_DB": str(folder / "tune.sqlite")}
    found: dict[str, Any] = {}
    tritorch = [sys.executable, *(["-c", _SIMULATED] if dry else ["-m", "tritorch"]), "tune"]
    for turn, (kernel, dtype, shapes) in enumerate(SEARCHES):
        left = (end - time.monotonic()) / (len(SEARCHES) - turn)
        if left < 5:
            found[f"{kernel} {dtype}"] = {"result": "left out: no time left"}
            continue
        command = [*tritorch, "run", kernel, "--dtype", dtype, "--budget", f"{left:.0f}s"]
        command += [part for shape in shapes[: 1 if dry else None] for part in ("--shape", shape)]
        command += ["--device", "cuda", *(["--dry-run"] * dry)]
        word, output = _run(command, left + (200 if dry else 30), settings)
        found[f"{kernel} {dtype}"] = {"result": word, "output": output[-1500:]}
    if not dry:
        lock = folder / "tuned.json"
        word, output = _run([*tritorch, "db", "export", "-o", str(lock)], 30, settings)
        found["export"] = {"result": word, "output": output[-500:]}
    return found
