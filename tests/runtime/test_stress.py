"""Many threads, forks and compilations at once; results that do not depend on any of it.

`TRITORCH_STRESS_SECONDS=60` makes the stress longer; the default keeps it short.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runtime.stress_programs import PROGRAMS, Program, answer

SECONDS = float(os.environ.get("TRITORCH_STRESS_SECONDS", "2"))
ROOT = Path(__file__).resolve().parents[2]
MEBIBYTE = 1 << 20


def stress(cache: Path, pool_threads: int, *arguments: object) -> dict[str, object]:
    """Run the worker with an empty cache; its report."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "TRITORCH_CACHE_DIR": str(cache),
        "TRITORCH_NUM_THREADS": str(pool_threads),
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.runtime.stress_worker", *map(str, arguments)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS * 3 + 900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    assert not report["errors"], "\n".join(map(str, report["errors"]))  # type: ignore[call-overload]
    return report


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("pool_threads", [2, 8])
def test_threads_forks_and_compilation(tmp_path: Path, pool_threads: int) -> None:
    """16 threads launch at random while the process forks; 8 pool threads oversubscribe it."""
    report = stress(tmp_path, pool_threads, SECONDS, 16, 3)
    runs = report["runs"]
    assert isinstance(runs, int) and runs > 100
    before, after = report["in_use"]  # type: ignore[misc]
    assert before == after, f"{after - before} bytes are still in use"
    first, second = report["resident"]  # type: ignore[misc]
    assert second - first < 4 * MEBIBYTE, f"a repeated round grew by {second - first} bytes"


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_results_do_not_depend_on_the_number_of_threads(
    program: Program, threads: Callable[[int], None]
) -> None:
    for size in (5, 4097, 300_000, 1_000_003):
        answers = []
        for count in (1, 2, 3, 8):
            threads(count)
            answers.append(answer(program, 3, size))
        assert len(set(answers)) == 1, f"{program.name} of {size} differs"
