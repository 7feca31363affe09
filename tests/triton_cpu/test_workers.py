"""Several kernels at once, in processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tritorch as torch
from tritorch.config import config
from tritorch.errors import CompileError
from tritorch.kernel_source import KernelSource
from tritorch.triton_cpu import workers
from tritorch.triton_cpu.compile import compile_kernel
from tritorch.triton_cpu.workers import Request, compile_many

ROOT = Path(__file__).parents[2]

TEXT = """
@triton.jit
def scale_{number}(x_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets, mask=offsets < n)
    tl.store(x_ptr + offsets, x * {number}.0, mask=offsets < n)
"""
SIGNATURE = {"x_ptr": "*fp32", "n": "i32"}


def requests(count: int) -> list[Request]:
    sources = [KernelSource(f"scale_{i}", TEXT.format(number=i)) for i in range(1, count + 1)]
    return [Request(source, SIGNATURE, {"BLOCK": 64}, {}) for source in sources]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path) -> Iterator[Path]:
    with config(cache_dir=tmp_path, cache="on"):
        yield tmp_path


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits for its parent to notice its end does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.mark.parametrize("processes", [None, 1, 3])
def test_all_are_in_the_cache_afterwards_and_no_process_is_left(processes: int | None) -> None:
    before = children()
    wanted = requests(5)
    assert compile_many([*wanted, wanted[0]], processes) == 5
    for request in wanted:
        assert compile_kernel(request.source, SIGNATURE, {"BLOCK": 64}, {}).from_cache
    assert compile_many(wanted, processes) == 0
    assert children() == before


def test_helpers_do_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process refuses to do is done all the same."""
    here: list[str] = []

    def wait_instead(work: workers._Work) -> None:
        here.append("waiting")

    monkeypatch.setattr(workers._Work, "run", wait_instead)
    wanted = requests(3)
    assert compile_many(wanted, 2) == 3 and here == ["waiting", "waiting"]
    assert all(compile_kernel(r.source, SIGNATURE, {"BLOCK": 64}, {}).from_cache for r in wanted)


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_names_the_kernel_and_spares_the_others(processes: int) -> None:
    text = TEXT.format(number=1).replace("scale_1", "wrong") + "    nowhere()\n"
    wrong = Request(KernelSource("wrong", text), SIGNATURE, {"BLOCK": 64}, {})
    wanted = requests(3)
    with pytest.raises(CompileError, match="wrong: Triton's frontend refuses"):
        compile_many([wrong, *wanted], processes)
    assert compile_many(wanted) == 0


def test_a_helper_that_dies_leaves_its_kernels_to_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_SERVE", "import sys; sys.stdin.buffer.read(1); sys.exit(3)")
    assert compile_many(requests(4), 3) == 4
    assert compile_many(requests(4)) == 0


def test_without_a_cache_there_is_nowhere_to_put_them() -> None:
    with config(cache="off"), pytest.raises(CompileError, match="the cache is off"):
        compile_many(requests(1))


#: the helper compiles while this process waits in `work.run`, where the signal finds it
INTERRUPTED = """
import os, time, tests.triton_cpu.test_workers as t
from tritorch.triton_cpu import workers
def wait(work):
    print(*t.children(), flush=True)
    time.sleep(1000)
workers._Work.run = wait
workers.compile_many(t.requests(200), 2)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_helpers_end_with_us(directory: Path, number: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        cwd=ROOT, env=os.environ | {"TRITORCH_CACHE_DIR": str(directory)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    (helper,) = process.stdout.readline().split()
    limit = time.monotonic() + 120
    while not list(directory.glob("cpu/*/*")):  # the helper is at work
        assert time.monotonic() < limit
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)
    limit = time.monotonic() + 120
    while alive(int(helper)):
        assert time.monotonic() < limit
        time.sleep(0.02)
    assert errors.count("Traceback") == (1 if number == signal.SIGINT else 0)


def test_the_kernels_of_a_program_travel_as_json(directory: Path) -> None:
    torch.exp(torch.ones(7))
    kernels = json.loads(json.dumps(torch.kernels.needed()))
    assert any(kernel["name"].startswith("exp") for kernel in kernels)
    chosen = [kernel for kernel in kernels if kernel["name"].startswith(("exp_f32", "fill"))]
    with config(cache_dir=directory / "elsewhere"):
        assert torch.kernels.compile_all(chosen) == len(chosen) > 0
        assert torch.kernels.compile_all(chosen) == 0
