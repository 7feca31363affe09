"""Triton's language, operation by operation and dtype by dtype: the groups of `language/`."""

# ruff: noqa: C408 - dict(name=...) reads like the kernel's parameters
from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import triton
import triton.language as tl

from tests.triton_cpu.language import every, names
from tests.triton_cpu.language.harness import Case, Group, run
from tests.triton_cpu.running import HOST
from tests.triton_cpu.running import run as run_kernel
from tritorch.errors import DeviceAssertError


@pytest.mark.filterwarnings("ignore:view is deprecated")
@pytest.mark.filterwarnings("ignore:.*can_reorder:DeprecationWarning")
@pytest.mark.parametrize("group", every.GROUPS, ids=str)
def test_language(group: Group) -> None:
    results = run(group.build())
    failed = [f"{result.case.name}: {result.message}" for result in results if result.message]
    assert not failed, f"{len(failed)} of {len(results)} cases:\n" + "\n".join(failed)


def test_every_public_name_has_a_case_or_a_reason() -> None:
    used, methods = names.used()
    without = names.public_names() - used - set(names.REASONS)
    assert not without, f"names of triton.language without a case: {sorted(without)}"
    without = names.public_methods() - methods - set(names.METHOD_REASONS)
    assert not without, f"methods of tensors without a case: {sorted(without)}"
    needless = used & set(names.REASONS) - {"make_block_ptr", "advance"}
    assert not needless, f"names with both a case and an excuse: {sorted(needless)}"


def test_a_wrong_expectation_is_noticed() -> None:
    """The harness can fail: by value, by the sign of zero, by nan, alone or in a batch."""
    x = np.array([1.0, -0.0, np.nan, 4.0], np.float32)
    body = "i = tl.arange(0, 4)\ntl.store(o + i, tl.load(x + i))"
    right = Case("right", body, {"x": x}, {"o": x})
    wrong = []
    for place, value in ((0, 1.0000001), (1, 0.0), (2, 2.0), (3, np.nan)):
        other = x.copy()
        other[place] = value
        wrong.append(Case(f"wrong {place}", body, {"x": x}, {"o": other}))
    broken = Case("broken", "tl.no_such_function()", {"x": x}, {"o": x})
    messages = [result.message for result in run([right, *wrong, broken], HOST)]
    assert messages[0] == "" and all(messages[1:])
    assert messages[1].startswith("o: 1 of 4 differ, first at (0,)")
    assert "no_such_function" in messages[-1]


# ---- what needs more than arrays


@triton.jit
def prints(x_ptr, i_ptr, n, BLOCK: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, BLOCK))
    i = tl.load(i_ptr + tl.arange(0, BLOCK))
    tl.device_print("floats", x)
    tl.device_print("hexadecimal ", i, hex=True)
    tl.device_print("scalars ", n, tl.sum(i, 0), n > 3)
    tl.device_print("text alone")


_PRINTING = """
import numpy as np
from tests.triton_cpu.running import HOST, run
from tests.triton_cpu.test_language import prints
x, i = np.array([0.5, -2.0], np.float32), np.array([255, -1], np.int32)
run(prints, HOST, (1,), x_ptr=x, i_ptr=i, n=7, constants=dict(BLOCK=2))
"""


def test_printing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PRINTING],
        env=os.environ | {"PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        check=True,
    )
    text = done.stdout
    assert "floats" in text and "0.5" in text and "-2.0" in text
    assert "0x000000ff" in text.lower() and "0xffffffff" in text.lower()
    assert "scalars" in text and "7" in text and "254" in text
    assert "text alone" in text


@triton.jit
def asserts(x_ptr, o_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i)
    tl.device_assert(x > 0, "positive", mask=i < 3)
    tl.store(o_ptr + i, x)


def test_device_assert() -> None:
    x, o = np.array([1, 2, 3, -4], np.int32), np.zeros(4, np.int32)
    run_kernel(asserts, HOST, (1,), x_ptr=x, o_ptr=o, constants=dict(BLOCK=4))
    assert (o == x).all()
    from tests.triton_cpu.plain_launcher import Launcher
    from tritorch.triton_cpu.compile import compile_kernel

    signature = dict(x_ptr="*i32", o_ptr="*i32")
    kernel = compile_kernel(asserts, signature, dict(BLOCK=4), dict(debug=True), HOST)
    Launcher(kernel)((1,), x, o)  # the lane that fails is masked
    with pytest.raises(DeviceAssertError, match="positive"):
        Launcher(kernel)((1,), -x, o)


aggregate = getattr(triton, "aggregate", None) or tl.core._aggregate


@aggregate
class Pair:
    first: tl.tensor
    second: tl.tensor

    @triton.constexpr_function
    def __init__(self, first, second):
        self.first = first
        self.second = second

    @triton.jit
    def total(self):
        return self.first + self.second


@triton.jit
def uses_aggregates(x_ptr, o_ptr, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i)
    pair = Pair(x, x * 2)
    for _ in range(n):
        pair = Pair(pair.second, pair.total())
    tl.store(o_ptr + i, pair.total())


@pytest.mark.skipif(
    tuple(map(int, triton.__version__.split(".")[:2])) < (3, 7),
    reason="Triton 3.6's own frontend refuses to make an aggregate inside a kernel",
)
def test_aggregates() -> None:
    x, o = np.arange(8, dtype=np.int32), np.zeros(8, np.int32)
    run_kernel(uses_aggregates, HOST, (1,), x_ptr=x, o_ptr=o, n=4, constants=dict(BLOCK=8))
    a, b = x, x * 2
    for _ in range(4):
        a, b = b, a + b
    assert (o == a + b).all()
