"""Everything that needs a GPU, in calls of at most ten minutes: `python -m bench.gpu [PART ...]`.

| part | what |
|---|---|
| compile | the kernels of the rows, on all cores, into the kernel cache; needs no GPU |
| rows | the rows of `bench.gpu_rows` against PyTorch in the same process, whose results agree |
| tests | the whole table of operations on the GPU, and what only a GPU shows |
| sanitizer | compute-sanitizer's memcheck and racecheck over one pass of each template |
| tune | searches for configurations; the best ones as a lock file, to become shipped defaults |

Without a name all but the last share the time. What counts most comes first in each part; what a
call did not reach, the next one does, where it finds the file of the last one: rows and tests that
passed with the same sources are not repeated (`--again` repeats them). While rows are measured that
do not depend on the host, the other cores compile what the tests will need.

A kernel that hangs, or costs its process the GPU, costs one row or one test. The JSON file in
bench/results/ is written after each row, with GPU, driver, versions and commit. A short table comes
last. `--dry-run` walks the same way without a GPU, with small inputs, and keeps no figures.

On a machine without a GPU, `python -m bench.gpu compile` fills the cache (TRITORCH_CACHE_DIR) that
another machine with the same Triton and the same sources can use.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench import gpu_ahead, gpu_apart, gpu_report
from bench.gpu_measure import chosen_rows, run_rows
from bench.gpu_report import PARTS, absent, environment, there
from bench.gpu_rows import ROWS, Row
from bench.gpu_tests import run_sanitizer, run_tests, run_tuning
from bench.turns import LOST_WORDS

__all__ = ["ROWS", "environment", "run_rows"]  # for `tritorch bench --device cuda`

ROOT = Path(__file__).resolve().parents[1]
#: parts of a call without names, with the share of the time that each may take
SHARES = {"compile": 0.14, "rows": 0.42, "tests": 0.3, "sanitizer": 0.14, "tune": 0.0}
SECONDS = 570.0
#: groups of rows whose times depend on the host: nothing else runs beside them
QUIET = ("memory", "overhead", "model")
#: what a dry run compiles
_DRY_PIECES = "^row (copy|add of 16)|^operation hypot$"


# ---- rows


def rows_in_order(pattern: str, dry: bool, half: str = "") -> list[Row]:
    """The chosen rows of the quiet groups, of the others, or of both; the copy is in each."""
    rows = chosen_rows(pattern, dry)
    if half:
        rows = [rows[0], *(r for r in rows[1:] if (r.group in QUIET) == (half == "quiet"))]
    return rows


def rows_apart(
    seconds: float, pattern: str, dry: bool, half: str = "",
    before: Sequence[dict[str, Any]] = (),
    heard: Callable[[list[dict[str, Any]]], None] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """The chosen rows, by a process of their own (see `gpu_apart`).

    Args:
        half: "quiet", "others", or both.
        before: rows of an earlier call, which are not measured again.
    """
    names = [row.name for row in rows_in_order(pattern, dry, half)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows"
        for row in before:
            if row["name"] in names:
                gpu_apart.write(path, row)
        command = [sys.executable, "-m", "bench.gpu", "rows", "--rows", pattern]
        command += [*(["--dry-run"] if dry else []), *(["--half", half] if half else [])]
        command += ["--written-to", str(path), "--seconds"]
        return gpu_apart.rows_of(command, names, path, seconds, folder=ROOT, heard=heard)


@contextmanager
def compiling(folder: Path, capability: int, wanted: bool) -> Iterator[dict[str, Any]]:
    """Half of the cores compile what the tests need, until the block ends; it gets the words."""
    told: dict[str, Any] = {}
    if not wanted:
        yield told
        return
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(
            gpu_ahead.compile_all, folder, SECONDS, rows=False, capability=capability,
            workers=max((os.cpu_count() or 2) // 2, 1), stop=stop,
        )  # fmt: skip
        try:
            yield told
        finally:
            stop.set()
            told.update(run.result())


# ---- all of it


def _libraries(dry: bool) -> dict[str, Any]:
    """Ours, and PyTorch where it can use this GPU (in a dry run it uses the CPU)."""
    import tritorch

    if not tritorch.cuda.is_available():
        tritorch.zeros(1, device="cuda")  # says why
    found: dict[str, Any] = {"ours": tritorch}
    if there("torch"):
        import torch  # type: ignore[import-not-found,unused-ignore]

        if dry or torch.cuda.is_available():
            torch.backends.cudnn.benchmark = True  # the peer at its best
            found["torch"] = torch
        else:
            print("PyTorch is installed, but finds no GPU: rows have no peer")
    return found


class _Call:
    """One call: what was found so far, and how each part goes on from there."""

    def __init__(self, given: argparse.Namespace, folder: Path, facts: dict[str, Any]) -> None:
        self.given = given
        self.dry: bool = given.dry_run
        self.folder = folder
        self.report: dict[str, Any] = {"environment": facts}
        places = {folder, given.results, ROOT / "bench" / "results"}
        again = self.dry or given.again
        self.before = {} if again else gpu_report.earlier(facts, places)
        self.path = folder

    @property
    def measured(self) -> list[dict[str, Any]]:
        """Rows of earlier calls that ran."""
        rows = self.before.get("rows")
        return [r for r in rows if "ours_error" not in r] if isinstance(rows, list) else []

    @property
    def capability(self) -> int:
        return int(self.report["environment"]["capability"].replace(".", ""))

    def keep(self) -> None:
        self.path = gpu_report.keep(self.report, self.before, self.folder)

    def compile(self, seconds: float) -> Any:
        """The rows' kernels; those of the tests are compiled beside the rows."""
        if not there("pytest"):
            return {"result": "left out: no pytest"}
        known = {row["name"] for row in self.measured}
        if all(row.name in known for row in chosen_rows(self.given.rows, self.dry)):
            return {"result": "left out: the rows are measured"}
        with tempfile.TemporaryDirectory() as folder:
            return gpu_ahead.compile_all(
                Path(folder), seconds, operations=self.dry, capability=self.capability,
                wanted=_DRY_PIECES if self.dry else "", workers=1 if self.dry else None,
            )  # fmt: skip

    def rows(self, seconds: float) -> Any:
        given, end = self.given, time.monotonic() + seconds
        before = self.measured

        def heard(rows: list[dict[str, Any]], first: Sequence[dict[str, Any]] = ()) -> None:
            self.report["rows"] = list({row["name"]: row for row in (*rows, *first)}.values())
            if not self.dry:
                self.keep()

        if self.dry:
            return rows_apart(seconds, given.rows, True)
        first = rows_apart(seconds, given.rows, False, "quiet", before, heard)
        heard(first)
        background = "tests" in self.parts and there("pytest")
        with (
            tempfile.TemporaryDirectory() as folder,
            compiling(Path(folder), self.capability, background) as told,
        ):
            left = max(end - time.monotonic(), 1.0)
            others = rows_apart(
                left, given.rows, False, "others", before, lambda rows: heard(rows, first)
            )
        if told:
            self.report["compiled beside rows"] = told
        return list({row["name"]: row for row in (*others, *first)}.values())

    def tests(self, seconds: float) -> Any:
        return run_tests(seconds, self.dry, self.before.get("tests", {}))

    def sanitizer(self, seconds: float) -> Any:
        return run_sanitizer(seconds, self.dry, self.folder, self.before.get("sanitizer", {}))

    def tune(self, seconds: float) -> Any:
        return run_tuning(seconds, self.dry, self.folder)

    @property
    def parts(self) -> list[str]:
        """Those that are asked for, in their order."""
        asked = self.given.parts or [p for p in PARTS if SHARES[p] or self.dry]
        return [part for part in PARTS if part in asked]

    def run(self) -> None:
        """All parts; the time that one leaves goes to the others."""
        end = time.monotonic() + self.given.seconds
        parts = self.parts
        shares = [SHARES[part] or 1.0 for part in parts]
        for place, part in enumerate(parts):
            left = (end - time.monotonic()) * shares[place] / sum(shares[place:])
            started = time.monotonic()
            try:
                self.report[part] = getattr(self, part)(left)
            except Exception as error:  # the others go on
                traceback.print_exc()
                words = f"broke: {part}: {type(error).__name__}: {error!s:.300}"
                self.report[part] = {"result": words}
            spent = self.report.setdefault("seconds", {})
            spent[part] = round(time.monotonic() - started, 1)
            self.keep()
            print(f"{part}: {spent[part]} s of {left:.0f} s", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module; 1 where a part broke or failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", help=", ".join(SHARES))
    parser.add_argument("--rows", default="", help="a pattern of groups and names of rows")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of the whole call")
    parser.add_argument("--dry-run", action="store_true", help="walk the way without a GPU")
    parser.add_argument("--again", action="store_true", help="repeat what an earlier call did")
    parser.add_argument("--commit", default="", help="where the files are without their history")
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--written-to", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--half", default="", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if unknown := set(given.parts) - set(SHARES):
        parser.error(f"unknown parts {', '.join(sorted(unknown))}: choose from {', '.join(SHARES)}")
    dry = given.dry_run
    if given.parts == ["compile"] and not dry:
        return _compile_only(given.seconds)
    missing = absent(dry)
    with ExitStack() as stack:
        folder = given.results
        if dry:
            from tests.runtime.cuda.simulated import simulated_gpu

            stack.enter_context(simulated_gpu())
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if given.written_to is not None:
            return _rows_here(given)
        import tritorch

        if not tritorch.cuda.is_available():
            tritorch.zeros(1, device="cuda")  # says why
        if dry:
            print("dry run: a simulated GPU, no figures")
        for name, what in missing.items():
            print(f"{name} is not installed: {what}")
        facts = environment(tritorch, given.commit)
        facts["absent"] = sorted(missing)
        print(json.dumps(facts), flush=True)
        call = _Call(given, folder, facts)
        call.run()
        print("" if dry else f"written to {call.path}")
    whole = gpu_report.merged(call.before, call.report)
    print(gpu_report.summary(whole, figures=not dry))
    return int(not gpu_report.good(whole))


def _rows_here(given: argparse.Namespace) -> int:
    """The rows' own process."""
    rows = rows_in_order(given.rows, given.dry_run, given.half)
    found = run_rows(
        _libraries(given.dry_run), given.seconds, given.rows, given.dry_run, given.written_to, rows
    )
    lost = any(LOST_WORDS in row.get("ours_error", "") for row in found)
    return gpu_apart.LOST if lost else 0


def _compile_only(seconds: float) -> int:
    """Without a GPU: rows and operations, for a Hopper."""
    with tempfile.TemporaryDirectory() as folder:
        found = gpu_ahead.compile_all(Path(folder), seconds)
    print(f"compile: {found['result']}")
    for name, words in list(found["failed"].items())[:20]:
        print(f"{name}: {words:.200}")
    return int(bool(found["failed"]) or "broke" in found["result"])


if __name__ == "__main__":
    sys.exit(main())
