"""`bench.gpu` walks its way without a GPU: rows run, what fails is told, figures are added up."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import tritorch as torch
from bench import gpu, gpu_apart, gpu_measure, gpu_report, gpu_tests
from bench.gpu_model import TINY, training_step
from bench.gpu_rows import ROWS, Row
from bench.turns import LOST_WORDS


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

    for kernel, dtype, shapes in gpu_tests.SEARCHES:
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

    def apart(seconds: float, *_: Any) -> Any:
        return gpu_measure.run_rows({"ours": torch}, seconds, dry=True, rows=rows)

    def tests(*_: Any) -> Any:
        raise OSError("no disk")

    checked = {"memcheck": {"result": "1 passed", "summary": ["0 errors in 1 processes"]}}
    monkeypatch.setattr(gpu, "rows_apart", apart)
    monkeypatch.setattr(gpu, "run_tests", tests)
    monkeypatch.setattr(gpu, "run_sanitizer", lambda *_: checked)
    assert gpu.main(["sanitizer", "tests", "rows", "--dry-run"]) == 1
    out = capsys.readouterr().out
    assert "ValueError: no such row" in out and "rows: 2 of 3 ran, 1 failed" in out
    assert "tests: broke: tests: OSError: no disk" in out
    assert "sanitizer: memcheck: 1 passed 0 errors in 1 processes" in out


#: measures a to e into a file, as the arguments after it say: hang, die, lose the device, or not
CHILD = """
import json, os, sys, time
path, *ends = sys.argv[1:-1]
known = [json.loads(line)["name"] for line in open(path)]
for name, end in zip("abcde", ends):
    if name in known:
        continue
    if end == "hangs":
        while True:
            with open(path + ".hangs", "a") as sign:
                sign.write("x")
            time.sleep(0.05)
    if end == "dies":
        os.abort()
    with open(path, "a") as file:
        file.write(json.dumps({"name": name, "ours_ms": 1}) + "\\n")
    if end == "lost":
        sys.exit(3)
"""


class Clock:
    """Goes on by 10,000 s whenever the process says that it hangs, and not by load."""

    sleep = staticmethod(time.sleep)

    def __init__(self, sign: Path) -> None:
        self._sign = sign

    def monotonic(self) -> float:
        return 10_000.0 * (self._sign.stat().st_size if self._sign.exists() else 0)


def test_rows_that_hang_or_lose_the_device_cost_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = ["lost", "hangs", "good", "dies", "good"]
    path = tmp_path / "rows"
    monkeypatch.setattr(gpu_apart, "time", Clock(tmp_path / "rows.hangs"))
    command = [sys.executable, "-c", CHILD, str(path), *ends]
    heard: list[int] = []
    rows = gpu_apart.rows_of(
        command,
        list("abcde"),
        path,
        1e12,
        patience=5000,
        heard=lambda rows: heard.append(len(rows)),
    )
    assert heard == sorted(heard)  # rows count as they come
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
    rows = [ROWS[0], Row("a", known, 1), Row("b", losing, 1), overhead]
    gpu_apart.write(path, {"name": "a", "ours_ms": 1})
    gpu_measure.run_rows({"ours": torch}, 100, "", True, path, rows)
    found = gpu_apart.written(path)
    assert [row["name"] for row in found] == ["a", ROWS[0].name, "b"]
    assert LOST_WORDS in found[-1]["ours_error"] and not measured


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
    assert gpu_tests.stopped(process, 600) == "3 passed, 1 failed in 9s\n"


def test_what_is_not_installed_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = {"typer", "cupy", "torch"}
    for module in (gpu_report, gpu_tests):
        monkeypatch.setattr(module, "there", lambda name: name not in gone)
    assert set(gpu_report.absent(True)) == gone
    assert gpu_tests.run_tuning(100, True, Path()) == {"result": "left out: no typer"}
    gone.update({"pytest", "llvmlite", "cuda.bindings"})
    nothing = {"result": "left out: no pytest"}
    assert gpu_tests.run_tests(1, True, {}) == nothing
    assert gpu_tests.run_sanitizer(1, True, Path()) == nothing
    with pytest.raises(SystemExit, match="llvmlite must be installed"):
        gpu_report.absent(True)
    with pytest.raises(SystemExit, match=r"llvmlite, cuda\.bindings must"):
        gpu_report.absent(False)


def test_later_calls_go_on_from_the_file(tmp_path: Path) -> None:
    facts = {"gpu": "NVIDIA H200", "date": "2026-11-22T03:00:00", "sources": "s"}
    late = {"name": "b", "ours_error": gpu_measure.LATE}
    first = {"environment": facts, "rows": [{"name": "a", "ours_ms": 1}, late]}
    path = gpu_report.keep(first, {}, tmp_path)
    assert path.name == "2026-11-22-nvidia-h200-s.json"
    tomorrow = {**facts, "date": "2026-11-23T03:00:00"}
    before = gpu_report.earlier(tomorrow, [tmp_path / "none", tmp_path])
    assert before == first
    second = {"environment": tomorrow, "tests": {"result": "passed"}}
    gpu_report.keep(second, before, tmp_path)
    before = gpu_report.earlier(tomorrow, [tmp_path])
    found = [{"name": "a", "ours_error": gpu_measure.LATE}, {"name": "b", "ours_ms": 2}]
    whole = gpu_report.merged(before, {"environment": tomorrow, "rows": found})
    assert whole["rows"] == [{"name": "a", "ours_ms": 1}, {"name": "b", "ours_ms": 2}]
    assert whole["tests"] == {"result": "passed"} and whole["environment"] == tomorrow
    assert gpu_report.earlier({**facts, "sources": "t"}, [tmp_path]) == {}  # another program's
    assert gpu_report.earlier({**facts, "gpu": "A100"}, [tmp_path]) == {}
    path.write_text("{")
    assert gpu_report.earlier(facts, [tmp_path]) == before


def test_the_table_is_short_and_ends_with_what_counts() -> None:
    def row(number: int, **more: Any) -> dict[str, Any]:
        shown = {"ours_ms": 0.123456, "torch_ms": 9.0, "ratio": 0.5, "reached": False, **more}
        return {"name": f"a row with a name {number}", "group": "g", "bar": 0.9, **shown}

    rows = [row(n, reached=n % 3 == 0, apart=[]) for n in range(300)]
    rows += [row(300, ours_error="differs"), {**row(301), "ours_error": gpu_measure.LATE}]
    failed = {f"tests/t.py::test_{n}": "first\nE   what is wrong\nE   more" for n in range(30)}
    report = {
        "rows": rows, "tests": {"result": "9 passed, 30 failed", "failed": failed},
        "sanitizer": {"memcheck": {"result": "1 passed", "summary": ["0 errors"], "failed": {}}},
    }  # fmt: skip
    text = gpu_report.summary(report, figures=True, characters=5000)
    assert len(text) <= 5200 and "more lines, which the file has" in text
    assert text.splitlines()[0].endswith("differs")
    assert "rows: 300 of 302 ran, 100 reach their bars, 300 were compared" in text
    assert "1 failed, 1 not reached (of g): call again" in text
    assert text.count("E   what is wrong") == 12 and text.endswith("memcheck: 1 passed 0 errors")
    assert not gpu_report.good(report)
    every = gpu_report.summary({"rows": rows[:9]}, figures=True)
    assert "number" not in every and every.count("a row with a name") == 9
    assert "0.1235" in every and "reached: a row with a name 0 0.50; a row" in every


def test_results_of_two_libraries_are_compared() -> None:
    x = torch.arange(1.0, 101.0)
    found = gpu_measure.apart((x, x.long()), (x * 1.01, x.long() + 1), torch)
    assert found == [("float32", pytest.approx(0.01 / 1.01, rel=1e-4))]
    assert "by 0.0099 of its norm (float32: 0.001" in str(gpu_measure.disagreement(found))
    assert gpu_measure.disagreement([("bfloat16", 0.0099)]) is None
    assert gpu_measure.disagreement([("float32", float("nan"))]) is not None
    with pytest.raises(ValueError, match=r"shapes \(100,\) and \(99,\)"):
        gpu_measure.apart(x, x[1:], torch)


def test_bars_are_judged_by_bandwidth_or_by_the_peer() -> None:
    by_peer, by_copy = Row("p", ROWS[0].program, 0.9), ROWS[0]
    found: dict[str, Any] = {"ours_ms": 2.0, "torch_ms": 1.9}
    gpu_measure.judge(found, by_peer, None)
    assert found["ratio"] == 0.95 and found["reached"]
    found = {"ours_ms": 1.0, "torch_ms": 9.0}
    gpu_measure.judge(found, by_copy, bandwidth=by_copy.moved * 2e3)
    assert found["ratio"] == 0.5 and not found["reached"]
    found = {"ours_ms": 1.0, "torch_ms": 2.0, "ours_error": "differs from the peer"}
    gpu_measure.judge(found, by_peer, None)
    assert found["ratio"] == 2 and not found["reached"]  # a wrong result has no speed
