"""The simulated GPU is as unkind as a real one: order of programs, memory, promised divisors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

import tritorch as torch
from tests.runtime.cuda import hazards
from tests.runtime.cuda.simulated import simulated_gpu
from tritorch.kernel_source import KernelSource
from tritorch.runtime import get_target
from tritorch.runtime.target import Kernel

NEXT = "tl.store(y_ptr + p, tl.load(y_ptr + p - 1, p > 0, other=0.0) + 1)"


def kernel(name: str, line: str, **signature: str) -> Kernel:
    text = (
        f"@triton.jit\ndef {name}({', '.join(signature)}):\n    p = tl.program_id(0)\n    {line}\n"
    )
    return get_target("cpu").compile(KernelSource(name, text), signature, {})


@pytest.mark.parametrize("programs", [64, 1000])
def test_programs_come_in_no_order(programs: int) -> None:
    y = np.zeros(programs, np.float32)
    hazards.run(kernel("chain", NEXT, y_ptr="*fp32"), (programs,), [y.ctypes.data])
    assert y.min() >= 1 and y[-1] != programs


def test_every_program_runs_once() -> None:
    y = np.zeros((2, 700), np.float32)
    line = "tl.atomic_add(y_ptr + tl.program_id(1) * 700 + p, 1.0)"
    hazards.run(kernel("count", line, y_ptr="*fp32"), (700, 2), [y.ctypes.data])
    assert (y == 1).all()


@pytest.mark.parametrize(
    ("values", "words"),
    [((64, 8), ""), ((72, 8), "y_ptr = 72 is promised"), ((64, 12), "n = 12 is promised")],
)
def test_promises(values: Sequence[int], words: str) -> None:
    line = "if n < 0:\n        tl.store(y_ptr, 1.0)"
    made = kernel("promised", line, y_ptr="*fp32:16", n="i32:8")
    if not words:
        hazards.run(made, (1,), values)
        return
    with pytest.raises(hazards.HazardError, match=words):
        hazards.run(made, (1,), values)


def test_memory_holds_garbage_whenever_it_is_given_away() -> None:
    with simulated_gpu():
        for _ in range(3):
            x = torch.empty(5, device="cuda")
            assert x.isnan().all().item()
            x.fill_(1.0)
            del x
        assert torch.empty(5, dtype=torch.int64, device="cuda").tolist() == [-1] * 5
