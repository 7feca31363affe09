"""Proof that the laws hold, on a training step in a guarded process and on every declared
operation.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_training_step_uses_nothing_but_kernels(tmp_path: Path) -> None:
    """tests/guarded_step.py: no torch, no compiler, no NumPy arithmetic, cold cache; it learns."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    run = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "guarded_step.py")],
        env=environment | {"TRITORCH_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    report = json.loads(run.stdout.splitlines()[-1])
    assert report["losses"][-1] < 0.5 * report["losses"][0]
    assert report["accuracy"] > 0.5
    assert report["generated"] > 5
    names = " ".join(report["launches_by_kernel"])
    for part in ("matmul", "relu", "cross_entropy", "adam", "uniform", "max", "mean"):
        assert part in names, f"no launch of a kernel named {part}: {names}"
    # Forward and backward of three layers, twenty times, cannot take fewer launches than this.
    assert report["launches"] > 20 * 10
