"""Hazards that only a GPU has, found without one: races, memory, numbers that do not fit.

The sample runs in processes of its own, since plans launch for good where they were made.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.devices.gpu_hazards import watched_gpu
from tests.devices.gpu_ranges import Ranges
from tests.runtime.cuda.simulated import SimulatedTarget
from tritorch import triton_api
from tritorch.kernel_source import KernelSource
from tritorch.triton_cpu.parser import parse_module

#: a kernel's lines, how many programs, what is found
PLANTED = {
    "own": ("tl.store(y_ptr + i, tl.load(y_ptr + i) + 1)", 1, []),
    "neighbour": (
        "tl.store(y_ptr + p, tl.load(y_ptr + p - 1, p > 0, other=0.0) + 1)", 9,
        ["programs: store of y_ptr, then load of y_ptr"],
    ),
    "turned": (
        "tl.store(y_ptr + i, tl.load(y_ptr + 15 - i) + 1)", 1,
        ["threads: load of y_ptr, then store of y_ptr"],
    ),
    "scratch": (
        "tl.store(y_ptr + i, i * 1.0); tl.store(y_ptr + 16 + i, tl.load(y_ptr + 15 - i))", 1,
        ["threads: store of y_ptr, then load of y_ptr"],
    ),
    "awaited": (
        "tl.store(y_ptr + i, i * 1.0); tl.debug_barrier(); "
        "tl.store(y_ptr + 16 + i, tl.load(y_ptr + 15 - i))", 1, [],
    ),
    "scalar": (
        "tl.store(y_ptr, 1.0); tl.store(y_ptr + 1, tl.load(y_ptr))", 1,
        ["threads: store of y_ptr, then load of y_ptr"],
    ),
    "again": (
        "tl.store(y_ptr + i, i * 1.0); tl.store(y_ptr + 16 + i, tl.load(y_ptr + i))", 1,
        ["layouts: store of y_ptr, then load of y_ptr"],
    ),
    "rounds": (
        "for r in range(3): tl.store(y_ptr + i, tl.load(y_ptr + i) + 1)", 1,
        ["layouts: store of y_ptr, then load of y_ptr"],
    ),
    "atomic": ("tl.atomic_add(y_ptr + i * 0, 1.0)", 3, []),
    "outside": ("tl.store(y_ptr + i, tl.load(y_ptr + 60 + i))", 1, ["outside of its memory"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def watched() -> Iterator[tuple[SimulatedTarget, list[str]]]:
    found: list[str] = []
    with watched_gpu(found) as (target, _):
        yield target, found


@pytest.mark.parametrize("name", PLANTED)
def test_planted(name: str, watched: tuple[SimulatedTarget, list[str]]) -> None:
    body, programs, wanted = PLANTED[name]
    target, found = watched
    found.clear()
    lines = ["p = tl.program_id(0)", "i = tl.arange(0, 16)", *body.split("; ")]
    text = "".join(f"    {line}\n" for line in lines)
    source = KernelSource(name, f"@triton.jit\ndef {name}(y_ptr):\n{text}")
    address = target.allocate(256)
    target.bind(target.compile(source, {"y_ptr": "*fp32"}, {}), (programs,), [None])(address)
    target.free(address, 256)
    words = [line.replace(" (line", ",").split(",") for line in found]
    told = [",".join((w[0], w[2])) if "then" in line else line for w, line in zip(words, found)]
    assert len(told) == len(wanted)
    for line, part in zip(told, wanted):
        assert part in line


#: programs of `hazard_programs`, and what is found though it is right
SAMPLE = {
    "sort in two rounds": 0, "in order": 0, "rotations": 0,
    # who writes the counts is the last to have read them, and knows it by their atomic additions
    "capturable": 3,
}  # fmt: skip


def test_accesses(tmp_path: Path) -> None:
    kept = tmp_path / "found.json"
    command = [sys.executable, "-m", "tests.devices.gpu_hazards", "--programs", *SAMPLE]
    done = subprocess.run(
        [*command, "--done", str(kept)], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(kept.read_text())
    assert {name: len(lines) for name, lines in found.items()} == SAMPLE, done.stdout
    assert all("scheduled" in line for line in found["capturable"])


def test_large_tensors() -> None:
    """Above 2^31 elements offsets have 64 bits, and kernels compile."""
    names = (
        "^add$|^softmax$|rms_norm$|^matmul$|bmm|cross_entropy|^sort$|^topk$|embedding$|^gather|"
        "^conv last$"
    )
    command = [sys.executable, "-m", "tests.devices.gpu_ranges", names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "add"
    assert not [line for line in done.stdout.splitlines() if line.startswith(" ")], done.stdout
    assert not done.stderr


@pytest.mark.parametrize(
    ("lines", "fits"),
    [
        ("i = p * 1024 + tl.arange(0, 1024)", False),
        ("i = p.to(tl.int64) * 1024 + tl.arange(0, 1024)", True),
        ("i = (p // 5000) * 4000 + tl.arange(0, 1024)", False),
        ("i = (p % s) * 4000 + tl.arange(0, 1024)", True),
        ("i = tl.arange(0, 1024)\n    for j in range(0, s * 100): i += j * 40000", False),
    ],
)
def test_ranges(lines: str, fits: bool) -> None:
    text = f"    p = tl.program_id(0)\n    {lines}\n    tl.store(y_ptr + i, 1.0, mask=i < n)\n"
    source = KernelSource("k", f"@triton.jit\ndef k(y_ptr, n, s):\n{text}")
    signature = {"y_ptr": "*fp32", "n": "i64", "s": "i32"}
    ir = triton_api.lower_to_triton_ir(source, signature, {})
    function = parse_module(ir.text, "k")[0]
    found = Ranges([None, 1 << 40, 700], (3_000_000_000 // 1024 * 1000,)).function(function)
    assert (not found) == fits
