"""Pieces of work that processes share: none is lost to another one's end, and each is told of."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import gpu_ahead, gpu_tests, turns
from bench.turns import LOST_WORDS, Turns, share
from tests.devices.test_operations import TABLE

ROOT = Path(__file__).resolve().parents[2]
#: takes a to e, and does what the arguments before its turns say
WORKER = """
import os, sys, time
from bench.turns import LOST, Turns
*ends, _, where = sys.argv[1:]
turns = Turns.parsed(where)
turns.name_all("abcde")
for name, end in zip("abcde", ends):
    if not turns.take(name):
        continue
    if end == "dies":
        print("the last words", flush=True)
        os.abort()
    if end == "hangs":
        while True:
            with open(turns.folder / "hangs", "a") as sign:
                sign.write("x")
            time.sleep(0.05)
    turns.finish(name, "passed" if end == "good" else "failed", "" if end == "good" else end)
    if end == "lost":
        os._exit(LOST)
"""


@pytest.mark.parametrize("count", [1, 2])
def test_who_dies_costs_one_piece(tmp_path: Path, count: int) -> None:
    command = [sys.executable, "-c", WORKER, "good", "dies", "lost", "good", "good"]
    assert share([command] * count, tmp_path, 1000, 900, cwd=ROOT) == []
    results = Turns(tmp_path).results()
    assert "".join(sorted(results)) == "abcde" == "".join(Turns(tmp_path).all())
    told = [results[name]["outcome"] for name in "abcde"]
    assert told == ["passed", "failed", "failed", "passed", "passed"]
    assert results["b"]["words"].startswith("ended its process (-6): ")
    assert results["b"]["words"].endswith("the last words") and results["c"]["words"] == "lost"


class Clock:
    """Goes on by 10,000 s whenever a process says that it hangs, and not by load."""

    sleep = staticmethod(time.sleep)

    def __init__(self, sign: Path) -> None:
        self._sign = sign

    def monotonic(self) -> float:
        return 10_000.0 * (self._sign.stat().st_size if self._sign.exists() else 0)


def test_who_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "time", Clock(tmp_path / "hangs"))
    command = [sys.executable, "-c", WORKER, "good", "hangs", "good", "good", "good"]
    assert share([command], tmp_path, 1e12, 5000, cwd=ROOT) == []
    results = Turns(tmp_path).results()
    assert len(results) == 5 and results["b"]["words"].startswith("hangs")


def test_what_was_done_before_is_left_out(tmp_path: Path) -> None:
    mine = Turns(tmp_path, 3)
    mine.leave_out(["a"])
    assert not mine.take("a") and mine.take("b") and not Turns(tmp_path, 4).take("b")
    assert mine.current() == "b" and mine.results() == {}
    mine.finish("b", "passed")
    assert mine.current() is None and list(mine.results()) == ["b"]
    mine.close()
    assert not mine.take("c")


def test_what_cannot_begin_is_told(tmp_path: Path) -> None:
    broken = [sys.executable, "-c", "import sys; sys.exit('no such thing')"]
    (trouble,) = share([broken], tmp_path, 1000, 900)
    assert trouble == "found nothing to do: no such thing"
    refused = [sys.executable, "-c", "import sys; sys.exit(4)"]
    (trouble,) = share([refused], tmp_path, 1000, 900)
    assert "ended its process (4) at no piece" in trouble


TESTS = f"""
import os
import pytest

@pytest.fixture(autouse=True)
def told(request):
    with open(os.path.join(os.path.dirname(__file__), "told"), "a") as file:
        file.write(f"{{request.node.name}} {{os.getpid()}}\\n")

@pytest.fixture(scope="module")
def held():
    yield 1

def test_good(held): pass

def test_lost(held):
    raise RuntimeError("illegal address. The device {LOST_WORDS}; start it again.")

def test_dead(): os.abort()

@pytest.mark.parametrize("n", range(4))
def test_more(n, held): assert n != 2, "of the right kind"

def test_left_out(): pytest.skip("no")
"""


def test_tests_take_turns(tmp_path: Path) -> None:
    """Two processes; a test that lost the GPU, or its process, costs no other."""
    (tmp_path / "test_some.py").write_text(TESTS)
    folder = tmp_path / "turns"
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "bench.turns_in_pytest", "-p",
        "no:cacheprovider", "-c", str(tmp_path / "none.ini"), "--rootdir", str(tmp_path),
        str(tmp_path / "test_some.py"),
    ]  # fmt: skip
    (tmp_path / "none.ini").write_text("[pytest]\n")
    Turns(folder).leave_out(["test_some.py::test_more[3]"])
    assert share([command] * 2, folder, 1000, 900, cwd=ROOT) == []
    results = {k.partition("::")[2]: v for k, v in Turns(folder).results().items()}
    assert {name: one["outcome"] for name, one in results.items()} == {
        "test_good": "passed", "test_lost": "failed", "test_dead": "failed",
        "test_more[0]": "passed", "test_more[1]": "passed", "test_more[2]": "failed",
        "test_left_out": "skipped",
    }  # fmt: skip
    assert LOST_WORDS in results["test_lost"]["words"]
    assert "of the right kind" in results["test_more[2]"]["words"]
    told = [line.split() for line in (tmp_path / "told").read_text().splitlines()]
    (place,) = (place for place, (name, _) in enumerate(told) if name == "test_lost")
    assert all(process != told[place][1] for _, process in told[place + 1 :])


MEMCHECK = """
========= COMPUTE-SANITIZER
..F
========= Invalid __global__ write of size 4 bytes
=========     at add_one+0x40
=========     by thread (0,0,0) in block (1,0,0)
=========     Address 0x7f is out of bounds
========= Invalid __global__ write of size 4 bytes
=========     at 0x90 in add_one
=========     by thread (1,0,0) in block (1,0,0)
========= ERROR SUMMARY: 2 errors
========= COMPUTE-SANITIZER
========= ERROR SUMMARY: 1 error
"""
RACECHECK = """
========= Error: Race reported between Write access at sort_rows+0x10 in <kernel sort_rows>
=========     and Read access at sort_rows+0x80 [4 hazards]
========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)
========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)
"""


def test_what_the_sanitizer_says_is_counted() -> None:
    words, text = gpu_tests.told_by_sanitizer(MEMCHECK)
    expected = "3 errors in 2 processes; 2 x Invalid __global__ write of size 4 bytes (add_one)"
    assert words == expected and "out of bounds" in text and "..F" not in text
    words, text = gpu_tests.told_by_sanitizer(RACECHECK)
    assert words.startswith("1 errors in 2 processes; 1 x Error: Race reported between Write")
    assert words.endswith("(sort_rows)") and text
    clean = "========= ERROR SUMMARY: 0 errors\n"
    assert gpu_tests.told_by_sanitizer(clean) == ("0 errors in 1 processes", "")
    nothing = "========= Error: No attachable process found. compute-sanitizer timed-out.\n"
    assert "it found no process" in gpu_tests.told_by_sanitizer(nothing)[0]


def test_the_sanitizer_is_found_beside_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gpu_tests, "SANITIZER_PLACES", (f"{tmp_path}/cuda*/bin",))
    assert gpu_tests.sanitizer() is None
    for version in ("cuda-12.9", "cuda-13.0"):
        (tmp_path / version / "bin").mkdir(parents=True)
        (tmp_path / version / "bin" / "compute-sanitizer").touch()
    assert gpu_tests.sanitizer() == f"{tmp_path}/cuda-13.0/bin/compute-sanitizer"


def test_what_the_sanitizer_sees_is_there() -> None:
    for name in gpu_tests.SANITIZED:
        if name.startswith("test_operation["):
            assert name.partition("[")[2].rpartition("-")[0] in TABLE, name
    for path in gpu_tests.TESTS:
        assert (ROOT / path).exists()


def test_tensors_with_memory_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """compute-sanitizer knows what the driver gave, and to the byte."""
    from bench.turns_in_pytest import give_own_memory
    from tests.runtime.cuda.fake_driver import FakeDriver
    from tritorch.runtime.cuda import target

    monkeypatch.setattr(target, "CachingAllocator", target.CachingAllocator)
    give_own_memory()
    driver = FakeDriver()
    made = target.CUDATarget(driver)
    first, second = made.allocate(1000), made.allocate(8)
    assert [driver.allocations[address][0] for address in (first, second)] == [1000, 8]
    made.free(first, 1000)
    assert list(driver.allocations) == [second]


def test_kernels_are_compiled_with_their_options(monkeypatch: pytest.MonkeyPatch) -> None:
    from tritorch.runtime.cuda import code

    given: list[Any] = []

    def compiled(*arguments: Any) -> Any:
        given.append(arguments)
        return SimpleNamespace(from_cache=False)

    monkeypatch.setattr(code, "compile_cubin", compiled)
    kernel = SimpleNamespace(
        source="text", signature={"x": "*fp32"}, constants={"B": 8}, options={"num_warps": 8}
    )
    assert gpu_ahead._compiled([kernel], 100) == 1
    assert given == [("text", {"x": "*fp32"}, {"B": 8}, 100, {"num_warps": 8})]


#: compiles a row's kernels ahead, then asks as a GPU's target does
AHEAD = """
import subprocess, sys
import tritorch as torch
import tritorch.runtime
from bench import gpu_ahead
from bench.gpu_rows import ROWS
from bench.turns import Turns
from tests.runtime.cuda.fake_driver import FakeDriver
from tritorch.runtime.cuda.target import CUDATarget

row = next(row for row in ROWS if row.group == "overhead")
turns = Turns.parsed(sys.argv[1])
every = gpu_ahead.pieces(rows=True, operations=True)
assert every[0] == "row GPT-2 124M step" and "operation hypot" in every
turns.leave_out(set(every) - {f"row {row.name}"})
ahead = [sys.executable, "-m", "bench.gpu_ahead", "--turns", str(turns), "--rows", "--operations"]
subprocess.run(ahead, check=True)
(result,) = turns.results().values()
target = CUDATarget(FakeDriver(nbytes=1 << 30, run=lambda code, launched: None))
tritorch.runtime._targets["cuda"] = target
x, y = (torch.empty(16, device="cuda", requires_grad=True) for _ in range(2))
x + y
print(result["outcome"], [kernel.from_cache for kernel in target.kernels()])
"""


def test_kernels_are_compiled_under_the_keys_of_the_true_run(tmp_path: Path) -> None:
    """What a GPU's target asks for afterwards is in the cache."""
    done = subprocess.run(
        [sys.executable, "-c", AHEAD, f"{tmp_path}:0"], capture_output=True, text=True, cwd=ROOT,
        env={**os.environ, "TRITORCH_CACHE_DIR": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    count, _, asked = done.stdout.strip().partition(" ")
    assert int(count) >= 1 and asked == "[True]"
