"""Proof that the laws hold, on a training step in a guarded process and on every declared
operation.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tritorch as torch
from tritorch.ops.declare import OPS, OpInfo

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


def call(op: OpInfo, random: np.random.Generator) -> Callable[[], object]:
    """A call of a declared operation on small operands."""
    if op.cases:
        arguments, options = op.cases[0](
            lambda *shape, low=-1.0, high=1.0: random.uniform(low, high, shape)
        )
        values = [torch.tensor(a) if isinstance(a, np.ndarray) else a for a in arguments]
        return lambda: op.function(*values, **options)
    integral = op.promote == "integral"
    shape = (5, 7)
    values = []
    for _ in range(op.operands):
        numbers = (
            random.integers(1, 3, shape) if integral else random.uniform(op.low, op.high, shape)
        )
        values.append(torch.tensor(numbers))
    if op.promote == "select":
        values[0] = values[0] > 0
    if op.function.__name__ == "masked_fill":
        values[1] = values[1] > 0
    if op.kind in ("scan", "rows") or op.function.__name__ == "logsumexp":
        return lambda: op.function(*values, 1, **op.calls[0])
    numbers = op.operation.parameters if op.kind == "pointwise" else {}
    required = {n: kind(1) for n, (kind, default) in numbers.items() if not default}
    options = {**required, **op.calls[0]}
    return lambda: op.function(*values, **options)


@pytest.mark.parametrize("op", [op for op in OPS if op.kind != "view"], ids=str)
def test_every_operation_is_a_kernel(op: OpInfo) -> None:
    """Law 1: each declared operation that makes elements launches a kernel."""
    run = call(op, np.random.default_rng(0))
    assert torch.kernels.launched(run), f"{op.name} launched nothing"


def test_views_move_nothing() -> None:
    """A view makes no elements, so it launches nothing."""
    x = torch.ones(4, 6)
    for view in (
        x.t, x.detach, lambda: x[1:, ::2], lambda: x.view(2, 12), lambda: x.reshape(24),
        lambda: x.permute(1, 0), lambda: x.expand(3, 4, 6), lambda: x.unsqueeze(0).squeeze(),
        lambda: x.split(2), lambda: x.chunk(2), lambda: x.unflatten(1, (2, 3)),
        lambda: x.narrow(0, 1, 2), lambda: x.select(1, 0), lambda: x.movedim(0, 1),
        lambda: x.unbind(), lambda: x.diagonal(),
    ):  # fmt: skip
        assert not torch.kernels.launched(view)
