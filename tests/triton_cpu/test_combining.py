"""Atomic additions that wait in a table: sums, growth, giving up, threads, and when not to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tritorch.kernel_source import KernelSource
from tritorch.runtime import get_num_threads, get_target, set_num_threads
from tritorch.triton_cpu.compile import stages

HISTOGRAM = KernelSource(
    "histogram",
    """
@triton.jit
def histogram(index_ptr, x_ptr, o_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    index = tl.load(index_ptr + offsets, mask=mask, other=0)
    x = tl.load(x_ptr + offsets, mask=mask, other=0)
    tl.atomic_add(o_ptr + index, x, mask=mask & (index >= 0))
""",
)

READS_BACK = KernelSource(
    "reads_back",
    """
@triton.jit
def reads_back(index_ptr, o_ptr, seen_ptr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    for _ in range(4):
        tl.atomic_add(o_ptr + tl.load(index_ptr + offsets), 1.0)
        tl.debug_barrier()
    tl.store(seen_ptr + offsets, tl.load(o_ptr + offsets))
""",
)

USES_OLD = KernelSource(
    "uses_old",
    """
@triton.jit
def uses_old(index_ptr, o_ptr, old_ptr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    old = tl.atomic_add(o_ptr + tl.load(index_ptr + offsets), 1)
    tl.store(old_ptr + offsets, old)
""",
)


@pytest.fixture(params=[1, 2])
def threads(request: Any) -> Any:
    before = get_num_threads()
    set_num_threads(request.param)
    yield request.param
    set_num_threads(before)


def add(index: Any, x: Any, bins: int, block: int = 1024) -> Any:
    """Three launches of the histogram."""
    kinds = {"f4": "*fp32", "f8": "*fp64", "i4": "*i32", "i8": "*i64"}
    kind = kinds[x.dtype.str[1:]]
    signature = {"index_ptr": "*i64", "x_ptr": kind, "o_ptr": kind, "n": "i32"}
    target = get_target("cpu")
    kernel = target.compile(HISTOGRAM, signature, {"BLOCK": block})
    launch = target.bind(kernel, (-(-index.size // block),), [None] * 4)
    out = np.zeros(bins, x.dtype)
    for _ in range(3):
        launch(index.ctypes.data, x.ctypes.data, out.ctypes.data, index.size)
    return out


@pytest.mark.parametrize("kind", ["float32", "float64", "int32", "int64"])
@pytest.mark.parametrize(
    ("size", "bins"),
    [
        (50, 7),  # direct
        (60_001, 100),  # the small table
        (60_001, 10_000),  # which grows
        (60_001, 1_000_000),  # and is given up
    ],
)
def test_sums(size: int, bins: int, kind: str, threads: int) -> None:
    rng = np.random.default_rng(size + bins)
    index = rng.integers(-2, bins, size)
    x = rng.integers(-5, 6, size).astype(kind)
    expected = 3 * np.bincount(index[index >= 0], x[index >= 0], minlength=bins)
    np.testing.assert_array_equal(add(index, x, bins), expected)


def test_two_places_that_share_an_entry() -> None:
    """They evict each other every time."""
    index = np.tile([0, 32768, 5, 2048], 5000)
    x = np.arange(index.size, dtype=np.int64)
    expected = 3 * np.bincount(index, x, minlength=40_000).astype(np.int64)
    np.testing.assert_array_equal(add(index, x, 40_000), expected)


def test_threads_collide_on_one_place(threads: int) -> None:
    x = np.ones(400_000, np.float32)
    out = add(np.zeros(x.size, np.int64), x, 1, block=256)
    assert out[0] == 3 * x.size


def test_a_kernel_that_reads_what_it_adds_to_sees_it() -> None:
    index = np.tile(np.arange(64), 16)
    out, seen = np.zeros(1024, np.float32), np.zeros(1024, np.float32)
    target = get_target("cpu")
    signature = {"index_ptr": "*i64", "o_ptr": "*fp32", "seen_ptr": "*fp32"}
    launch = target.bind(target.compile(READS_BACK, signature, {"BLOCK": 1024}), (1,), [None] * 3)
    launch(index.ctypes.data, out.ctypes.data, seen.ctypes.data)
    np.testing.assert_array_equal(seen[:64], 64)
    assert "_flush" not in stages(READS_BACK, signature, {"BLOCK": 1024})["llir"]


def test_a_kernel_that_wants_the_old_value_gets_it() -> None:
    index = np.repeat(np.arange(16), 64)
    out, old = np.zeros(16, np.int64), np.zeros(1024, np.int64)
    target = get_target("cpu")
    signature = {"index_ptr": "*i64", "o_ptr": "*i64", "old_ptr": "*i64"}
    launch = target.bind(target.compile(USES_OLD, signature, {"BLOCK": 1024}), (1,), [None] * 3)
    launch(index.ctypes.data, out.ctypes.data, old.ctypes.data)
    np.testing.assert_array_equal(old.reshape(16, 64), np.broadcast_to(np.arange(64), (16, 64)))
    assert "_flush" not in stages(USES_OLD, signature, {"BLOCK": 1024})["llir"]


@pytest.mark.parametrize("threads", [1], indirect=True)
def test_an_operand_that_is_the_result(threads: int) -> None:
    """x and out are one buffer: additions are direct."""
    index = np.repeat(np.arange(8), 128)
    buffer = np.ones(1024, np.int64)
    target = get_target("cpu")
    signature = {"index_ptr": "*i64", "x_ptr": "*i64", "o_ptr": "*i64", "n": "i32"}
    launch = target.bind(target.compile(HISTOGRAM, signature, {"BLOCK": 1}), (1024,), [None] * 4)
    launch(index.ctypes.data, buffer.ctypes.data, buffer.ctypes.data, 1024)
    expected = [1] * 1024
    for i, to in enumerate(index):
        expected[to] += expected[i]
    np.testing.assert_array_equal(buffer, expected)
