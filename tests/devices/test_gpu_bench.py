"""`bench.gpu` walks its way without a GPU: rows run, what fails is told, figures are added up."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import tritorch as torch
from bench import gpu, gpu_apart
from bench.gpu_model import TINY, training_step
from bench.gpu_rows import ROWS, Row


def test_a_dry_run_of_some_rows(device_kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    chosen = "^overhead|^memory: bias|^products: matmul bf16 a trans|^rows: softmax|^others: topk"
    assert gpu.main(["rows", "--dry-run", "--rows", chosen]) == 0
    out = capfd.readouterr().out  # rows run in a process of their own
    ran = re.search(r"rows: (\d+) of (\d+) ran", out)
    assert ran is not None and int(ran[1]) == int(ran[2]) >= 7, out
    assert "softmax bf16 backward" in out
    assert "written to" not in out and " ms" not in out  # no figures without a GPU


def test_the_table_has_every_line_of_the_target() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names) and ROWS[0].name == "copy 256 MiB"
    for wanted in (
        "cast to bf16", "dropout", "bias + gelu", "AdamW", "softmax bf16 backward", "rms_norm",
        "cross_entropy 8k x 50k", "matmul float16 8192", "matmul tf32", "matmul fp32",
        "matmul fp8", "K=512", "K=16384", "ab transposed", "bmm", "linear+gelu",
        "attention T=16384 d=128 causal backward", "conv 3x3 512->512 7 weight",
        "conv 1x1 64->256 56 input", "sort", "topk", "cumsum", "embedding backward",
        "index_put accumulate", "add of 16 with gradient", "GPT-2 124M step",
    ):  # fmt: skip
        assert any(wanted in name for name in names), wanted


def test_the_searches_are_of_kernels_that_there_are() -> None:
    from tritorch.tune.problems import PROBLEMS

    for kernel, dtype, shapes in gpu.SEARCHES:
        problem = PROBLEMS[kernel]
        assert problem.device in (None, "cuda") and dtype in problem.kinds, kernel
        for shape in shapes:
            names = {part.partition("=")[0] for part in shape.split(",")}
            assert names <= set(problem.sizes), (kernel, shape)


def test_the_model_learns(device_kind: str) -> None:
    step = training_step(torch, "cuda", TINY)
    first = step().item()
    for _ in range(5):
        step()
    assert step().item() < first - 0.01


def test_what_fails_is_told_and_the_others_go_on(
    device_kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(torch: Any, scale: float) -> Any:
        raise ValueError("no such row")

    rows = [ROWS[0], Row("broken", broken, 1.0), next(r for r in ROWS if r.group == "overhead")]
    monkeypatch.setattr(gpu, "ROWS", rows)
    monkeypatch.setattr(gpu, "rows_apart", lambda *given: gpu.run_rows({"ours": torch}, *given))

    def tests(*_: Any) -> Any:
        raise OSError("no disk")

    monkeypatch.setattr(gpu, "run_tests", tests)
    monkeypatch.setattr(gpu, "run_sanitizer", lambda *_: {"memcheck": {"result": "passed"}})
    assert gpu.main(["rows", "tests", "sanitizer", "--dry-run"]) == 1
    out = capsys.readouterr().out
    assert "ValueError: no such row" in out and "rows: 2 of 3 ran" in out
    assert "tests: broke: tests: OSError: no disk" in out and "sanitizer: memcheck passed" in out


#: measures a to e into a file, as the arguments after it say: hang, die, lose the device, or not
CHILD = """
import json, os, sys, time
path, *ends = sys.argv[1:-1]
known = [json.loads(line)["name"] for line in open(path)]
for name, end in zip("abcde", ends):
    if name in known:
        continue
    if end == "hangs":
        open(path + ".hangs", "w").close()
        time.sleep(900)
    if end == "dies":
        os.abort()
    with open(path, "a") as file:
        file.write(json.dumps({"name": name, "ours_ms": 1}) + "\\n")
    if end == "lost":
        sys.exit(3)
"""


class Clock:
    """Patience is over when the process says that it hangs, and never before."""

    sleep = staticmethod(time.sleep)

    def __init__(self, sign: Path) -> None:
        self._sign = sign

    def monotonic(self) -> float:
        return time.monotonic() + 10_000 * self._sign.exists()


def test_rows_that_hang_or_lose_the_device_cost_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = ["lost", "hangs", "good", "dies", "good"]
    path = tmp_path / "rows"
    monkeypatch.setattr(gpu_apart, "time", Clock(tmp_path / "rows.hangs"))
    command = [sys.executable, "-c", CHILD, str(path), *ends]
    rows = gpu_apart.rows_of(command, list("abcde"), path, 1e6, patience=5000)
    assert [row["name"] for row in rows] == list("abcde")
    told = [row.get("ours_error") for row in rows]
    assert told == [None, "hangs", None, f"ends its process ({-signal.SIGABRT})", None]


def test_rows_of_a_process_before_are_not_measured_again(
    device_kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a lost device; the process ends there, and says which row it was."""

    def losing(torch: Any, scale: float) -> Any:
        raise RuntimeError(
            "cuda: illegal address. The device cannot be used by this process any more."
        )

    measured: list[str] = []

    def known(torch: Any, scale: float) -> Any:
        measured.append("it is in the file")

    path = tmp_path / "rows"
    overhead = next(row for row in ROWS if row.group == "overhead")
    monkeypatch.setattr(gpu, "ROWS", [ROWS[0], Row("a", known, 1), Row("b", losing, 1), overhead])
    gpu_apart.write(path, {"name": "a", "ours_ms": 1})
    gpu.run_rows({"ours": torch}, 100, "", True, path)
    rows = gpu_apart.written(path)
    assert [row["name"] for row in rows] == ["a", ROWS[0].name, "b"]
    assert gpu._LOST in rows[-1]["ours_error"] and not measured


def test_what_takes_too_long_tells_what_it_did() -> None:
    program = (
        "import time\n"
        "try:\n    print('begun', flush=True); time.sleep(900)\n"
        "except KeyboardInterrupt:\n    print('3 passed, 1 failed in 9s')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    assert gpu._stopped(process, 600) == "3 passed, 1 failed in 9s\n"


def test_what_is_not_installed_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = {"typer", "xdist", "torch"}
    monkeypatch.setattr(gpu, "_there", lambda name: name not in gone)
    assert set(gpu.absent(True)) == gone
    assert gpu.run_tuning(100, True, Path()) == {"result": "left out: no typer"}
    gone.update({"pytest", "llvmlite", "cuda.bindings"})
    assert gpu.run_tests(1, True) == gpu.run_sanitizer(1, True) == {"result": "left out: no pytest"}
    with pytest.raises(SystemExit, match="llvmlite must be installed"):
        gpu.absent(True)
    with pytest.raises(SystemExit, match=r"llvmlite, cuda\.bindings must"):
        gpu.absent(False)


def test_later_calls_add_to_the_file(tmp_path: Path) -> None:
    facts = {"gpu": "NVIDIA H200", "date": "2026-11-22T03:00:00", "commit": "c"}
    first = {"environment": facts, "rows": [{"name": "a", "ours_ms": 1}, {"name": "b"}]}
    path = gpu.keep(first, tmp_path)
    assert path.name == "2026-11-22-nvidia-h200.json"
    gpu.keep({"environment": facts, "tests": {"result": "passed"}}, tmp_path)
    gpu.keep({"environment": facts, "rows": [{"name": "a", "ours_ms": 2}]}, tmp_path)
    found = json.loads(path.read_text())
    assert found["rows"] == [{"name": "a", "ours_ms": 2}, {"name": "b"}]
    assert found["tests"] == {"result": "passed"}
    gpu.keep({"environment": {**facts, "commit": "d"}, "rows": []}, tmp_path)
    assert json.loads(path.read_text())["rows"] == []  # figures of another program are not kept


def test_bars_are_judged_by_bandwidth_or_by_the_peer() -> None:
    by_peer, by_copy = Row("p", ROWS[0].program, 0.9), ROWS[0]
    found: dict[str, Any] = {"ours_ms": 2.0, "torch_ms": 1.9}
    gpu.judge(found, by_peer, None)
    assert found["ratio"] == 0.95 and found["reached"]
    found = {"ours_ms": 1.0, "torch_ms": 9.0}
    gpu.judge(found, by_copy, bandwidth=by_copy.moved * 2e3)
    assert found["ratio"] == 0.5 and not found["reached"]
