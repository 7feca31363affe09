"""`bench.gpu_host` on a GPU that takes no time, in a process of its own: plans end with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.gpu_launches import Work, together, torch_step, totals
from bench.gpu_model import Sizes

ROOT = Path(__file__).resolve().parents[2]
_PROGRAM = """
import json
import tritorch as torch
from bench.endless_gpu import endless_gpu
from bench import gpu_host
from bench.gpu_model import TINY
from tritorch.errors import OutOfMemoryError

with endless_gpu(compiled=False) as (target, driver):
    found = {
        "host": gpu_host.host_times(torch, target, TINY, 0.0),
        "graph": gpu_host.captured_step(torch, target, driver, TINY),
        "predicted": gpu_host.predictions(torch, target, TINY)["ours"],
    }
    try:
        torch.empty(200 << 30, dtype=torch.int8, device="cuda")
    except OutOfMemoryError:
        found["too much"] = True
    found["memory"] = torch.cuda.max_memory_reserved()
print(json.dumps(found))
"""


def test_programs_run_without_their_work() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    launches = {row["name"]: row["launches"] for row in found["host"]}
    assert launches["add of 16"] == launches["AdamW of GPT-2's parameters"] == 1
    assert launches["add of 16, sum, backward"] > 3
    whole = found["predicted"]["totals"]["all"]["launches"]
    assert (
        whole == launches["GPT-2 step"] == sum(r["count"] for r in found["predicted"]["launches"])
    )
    graph = found["graph"]
    assert graph["captured"] >= whole  # the steps are counted in a kernel, or so
    assert (graph["launched_by_replays"], graph["graphs_launched"]) == (0, 2)
    assert found["too much"] and found["memory"] > 0
    products = [
        row for row in found["predicted"]["launches"] if row["kernel"].startswith("matmul ")
    ]
    tokens, width, words = 32, 32, 67
    layers, head = 12 * width * width, width * words
    expected = 2 * tokens * (layers + head) * 3
    assert sum(row["operations"] * row["count"] for row in products) == expected
    assert not any(row["kernel"].startswith("copy_rows") for row in found["predicted"]["launches"])


def test_predictions_add_up() -> None:
    small, large = Work("a", "x", 1.0), Work("b", "y", 4.3e9, 7e12, count=2)
    assert small.microseconds == 2.0
    assert large.microseconds == pytest.approx(1e4)  # by its operations
    assert [w.count for w in together([small, small, large])] == [2, 2]
    found = totals([small, large])
    assert found["all"]["launches"] == 3
    assert found["all"]["predicted_ms"] == pytest.approx(20.002)
    whole = totals(torch_step(Sizes()))
    assert whole["products"]["teraflop"] == pytest.approx(12.14, rel=0.01)
