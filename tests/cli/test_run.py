"""`tritorch run` and `as_torch`: PyTorch programs as they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import argparse
import pickle
import sys

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor, optim
from torch.utils.data import DataLoader, TensorDataset
import torch.optim.lr_scheduler as schedulers

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int)
options = parser.parse_args()

torch.manual_seed(0)
x = torch.randn(64, 3)
y = x @ torch.tensor([[1.0], [2.0], [-1.0]])
model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = optim.Adam(model.parameters(), lr=0.05)
scheduler = schedulers.StepLR(optimizer, 100)
for _ in range(options.epochs):
    for a, b in DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True):
        loss = F.mse_loss(model(a), b)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scheduler.step()
assert isinstance(loss, Tensor) and isinstance(loss, torch.Tensor)
assert pickle.loads(pickle.dumps(nn.Linear(2, 2))).in_features == 2
assert tuple(map(int, torch.__version__.split("+")[0].split("."))) >= (2, 0)
assert __name__ == "__main__" and sys.argv[1:] == ["--epochs", str(options.epochs)]
import helper_of_the_program
torch.my_own_name = 3
import tritorch
assert not hasattr(tritorch, "my_own_name") and torch.nn is tritorch.nn
assert tritorch.nn.__spec__.name == "tritorch.nn"
print("loss", loss.item())
"""


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": str(root)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("way", [("-m", "tritorch", "run"), ("-m", "tritorch.as_torch")])
def test_a_training_script(way: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "train.py").write_text(PROGRAM)
    (tmp_path / "scripts" / "helper_of_the_program.py").write_text("import torch.nn\n")
    done = run(*way, "scripts/train.py", "--epochs", "80", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < 0.2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import torch.onnx.nothing", "No module named 'torch.onnx'"),
        ("from torch.nn import NoSuchLayer", "cannot import name 'NoSuchLayer'"),
        ("import torch; torch.no_such_name", "module 'torch' has no attribute 'no_such_name'"),
        ("from torch import no_such_name", "cannot import name 'no_such_name' from 'torch'"),
    ],
)
def test_missing_names_are_named(line: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(line)
    done = run("-m", "tritorch", "run", "program.py", cwd=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]


def test_an_exit_code_is_the_programs(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import sys; sys.exit(7)")
    assert run("-m", "tritorch", "run", "program.py", cwd=tmp_path).returncode == 7


@pytest.mark.parametrize(
    ("end", "code", "error"),
    [
        ("", 0, None),
        ("sys.exit(7)", 7, None),
        ("sys.exit('too bad')", 1, None),
        ("torch.no_such_name", 1, "AttributeError"),
    ],
)
def test_a_report_of_the_run(end: str, code: int, error: str | None, tmp_path: Path) -> None:
    """Standard output holds it alone; options behind the script are the script's."""
    (tmp_path / "program.py").write_text(
        "import os, sys, torch\nprint('printed', sys.argv[1:])\nos.system('echo by a child')\n"
        f"(torch.ones(3) + 1).sum()\n{end}\n"
    )
    done = run("-m", "tritorch", "run", "--json", "program.py", "--help", "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert done.returncode == found["exit_code"] == code
    assert "printed ['--help', '--json']" in done.stderr and "by a child" in done.stderr
    assert (found["error"] and found["error"]["type"]) == error
    assert found["kernels"]["launches_by_kernel"]["sum_f32_row01"] == 1
    assert found["kernels"]["launches"] == sum(found["kernels"]["launches_by_kernel"].values())
    assert ("too bad" in done.stderr) == ("too bad" in end)
    if error:
        assert "no_such_name" in found["error"]["message"] and "Traceback" in done.stderr


def test_an_absent_script_is_a_usage_error(tmp_path: Path) -> None:
    done = run("-m", "tritorch", "run", "absent.py", cwd=tmp_path)
    assert done.returncode == 2 and "absent.py" in done.stderr


def test_only_when_asked_for(tmp_path: Path) -> None:
    """Importing the module changes nothing; a torch that is there first is left alone."""
    (tmp_path / "torch.py").write_text("own = True")
    text = (
        "import sys; sys.path.insert(0, '.')\n"
        "import tritorch.as_torch as a, torch\n"
        "assert torch.own\n"
        "try:\n    a.install()\n"
        "except tritorch.errors.ConfigError as e:\n    assert 'imported already' in str(e)\n"
        "else:\n    raise SystemExit('no error')\n"
        "del sys.modules['torch']; a.install(); a.install(); import torch\n"
        "assert torch.Tensor is tritorch.Tensor\n"
        "a.uninstall(); import torch; assert torch.own\n"
    )
    done = run("-c", "import tritorch\n" + text, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
