"""TRITORCH_DEBUG=bounds: planted violations are named, right programs run as before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tritorch.runtime.cpu import bounds

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {"TRITORCH_DEBUG": "bounds", "PYTHONPATH": str(ROOT)}

EXPECTED = {
    "past the end": r"shifted_load: load of x_ptr[1000] is out of bounds: its memory holds the "
    "elements 0..999 of 4 bytes",
    "negative": "shifted_load: load of x_ptr[-1]",
    "wrong mask": "wrong_mask: store of y_ptr[1000]",
    "no mask": "no_mask: store of y_ptr[1000]",
    "loop": "in_a_loop: load of x_ptr[1000]",
    "scalar": "scalar: load of x_ptr[1000]",
    "atomic": "by_data: atomic operation of y_ptr[1000]",
    "swap": "swap: atomic operation of y_ptr[1000]",
    "two dimensions": "rectangle: store of y_ptr[-3]",
    "descriptor": "descriptor: load of x_ptr[1096]",
    "either": "either: store at address 0x",
    "function": "in_a_function: store at address 0x",
}


@pytest.fixture(scope="module")
def report() -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "tests.runtime.planted"],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", EXPECTED)
def test_planted_violations_are_named_and_not_made(name: str, report: Any) -> None:
    found = report[f"planted: {name}"]
    assert found["kind"] == "BoundsError"
    assert found["error"].startswith(EXPECTED[name])
    assert found["written"] == 0


def test_a_violation_in_a_parallel_launch_is_raised_once(report: Any) -> None:
    assert report["parallel"]["error"].startswith("shifted_load: load of x_ptr[1000]")


def test_right_kernels_run(report: Any) -> None:
    written = {"by data": 1, "swap": 1, "two dimensions": 1000, "either": 1, "function": 1}
    found = {name[7:]: entry for name, entry in report.items() if name.startswith("right: ")}
    assert len(found) == 9
    for name, entry in found.items():
        assert entry == {"error": None, "written": written.get(name, 0)}, name


SAMPLE = """
import numpy as np
import tritorch as torch
import tritorch.nn.functional as F
torch.manual_seed(0)
x = torch.randn(6, 70).requires_grad_()
index = torch.randint(0, 70, (6, 9))
model = torch.nn.Sequential(torch.nn.Linear(70, 32), torch.nn.GELU(), torch.nn.LayerNorm(32),
                            torch.nn.Linear(32, 5))
optimizer = torch.optim.Adam(model.parameters())
for _ in range(2):
    loss = F.cross_entropy(model(x), torch.tensor([0, 1, 2, 3, 4, 0]))
    loss = loss + x.gather(1, index).sum() + x.t().contiguous()[3].softmax(0).max()
    loss = loss + torch.cat([x, x.flip(1)], 1).cumsum(1).var() + x.topk(3).values.sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
table = torch.randn(9, 4).requires_grad_()
F.embedding(index % 9, table).square().sum().backward()
print(torch.sort(x.detach().reshape(-1)).values[:2].tolist(), float(loss))
a = torch.from_numpy(np.arange(12.0).reshape(3, 4)[:, ::2])
print((a + 1)[a > 3].tolist(), torch.zeros(0).sum().item(), a.nonzero().shape)
print(torch.zeros(5).index_add_(0, torch.tensor([1, 1, 4]), torch.ones(3)).tolist())
"""


def test_a_training_step_and_indexing_give_the_same() -> None:
    outputs = []
    for environment in (ENVIRONMENT, ENVIRONMENT | {"TRITORCH_DEBUG": "off"}):
        done = subprocess.run(
            [sys.executable, "-c", SAMPLE],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]


ARRAYS = """
import numpy as np
import triton, triton.language as tl

@triton.jit
def shift(x_ptr, o_ptr, n, by, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(o_ptr + i, tl.load(x_ptr + i + by, mask=i < n), mask=i < n)

x, out = np.arange(50.0), np.zeros(50)
shift[(1,)](x, out, 50, 0, BLOCK=64)
assert (out == x).all()
try:
    shift[(1,)](x, out, 50, 3, BLOCK=64)
except IndexError as error:
    print(error)
"""


def test_arrays_of_a_plain_launch_are_known(tmp_path: Path) -> None:
    info = tmp_path / "tritorch_backend-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tritorch-backend\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[triton.backends]\ncpu = tritorch.triton_cpu.plugin\n")
    script = tmp_path / "script.py"
    script.write_text(ARRAYS)
    environment = ENVIRONMENT | {
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
        "TRITON_CACHE_DIR": str(tmp_path / "cache"),
    }
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("shift: load of x_ptr[50] is out of bounds: its memory holds")


def test_known_memory() -> None:
    known = bounds.KnownMemory()
    known.add(100, 50)
    known.add(100, 50)
    known.add(200, 10)
    known.add(205, 20)
    assert known.ranges() == [(100, 150), (200, 225)]
    known.remove(100, 50)
    assert bounds.range_of(100, known.ranges()) == (100, 150)
    assert bounds.range_of(150, known.ranges()) == (100, 150)
    assert bounds.range_of(151, known.ranges()) == (0, (1 << 64) - 1)
    known.remove(100, 50)
    assert known.ranges() == [(200, 225)]
