"""Rows beyond a strip's reach: aligned stores, overlapping strips, memory asked for ahead."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import triton
import triton.language as tl

from tests.triton_cpu.running import HOST, run
from tritorch.triton_cpu.compile import stages

BLOCK = 16384
GUARD = 96


@triton.jit
def scaled_rows(x_ptr, o_ptr, start, n, BLOCK: tl.constexpr, IN_PLACE: tl.constexpr):
    """o = 2 x + 1 for the columns in [start, n) of a row."""
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    mask = (columns >= start) & (columns < n)
    x = tl.load(x_ptr + row * n + columns, mask=mask, other=5.0)
    if IN_PLACE:
        tl.store(x_ptr + row * n + columns, 2.0 * x + 1.0, mask=mask)
    else:
        tl.store(o_ptr + row * n + columns, (2.0 * x + 1.0).to(o_ptr.dtype.element_ty), mask=mask)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("n", [1, 63, 65, 500, 16383, 16384])
def test_every_element_is_stored_once_and_no_other(target: Any, dtype: str, n: int) -> None:
    for shift in (0, 1, 7):
        for start in (0, 3, 200):
            x = np.arange(3 * n + shift, dtype="float32") % 1000
            result = np.full(GUARD + shift + 3 * n + GUARD, -7, dtype)
            o = result[GUARD + shift : GUARD + shift + 3 * n]
            run(
                scaled_rows, target, (3,), constants={"BLOCK": BLOCK, "IN_PLACE": False},
                x_ptr=x[shift:], o_ptr=o, start=start, n=n,
            )  # fmt: skip
            expected = np.full_like(result, -7)
            inner = expected[GUARD + shift : GUARD + shift + 3 * n].reshape(3, n)
            inner[:, start:] = (2 * x[shift:].reshape(3, n) + 1)[:, start:].astype(dtype)
            np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("n", [500, 16383])
def test_overlapping_strips_do_not_read_what_was_stored(target: Any, n: int) -> None:
    for shift in range(0, 16, 5):
        whole = np.arange(2 * n + shift, dtype="float32") % 1000
        x = whole[shift:]
        expected = 2 * x + 1
        run(
            scaled_rows, target, (2,), constants={"BLOCK": BLOCK, "IN_PLACE": True},
            x_ptr=x, o_ptr=x, start=0, n=n,
        )  # fmt: skip
        np.testing.assert_array_equal(x, expected)


@triton.jit
def centred_rows(x_ptr, o_ptr, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    mask = columns < n
    x = tl.load(x_ptr + row * n + columns, mask=mask, other=0.0)
    mean = tl.sum(x, 0) / n
    squares = tl.sum(tl.where(mask, (x - mean) * (x - mean), 0.0), 0)
    tl.store(o_ptr + row * n + columns, (x - mean) / tl.sqrt(squares / n), mask=mask)


@pytest.mark.parametrize("block, n, rows", [(1024, 1000, 40), (16384, 16000, 6)])
def test_memory_asked_for_beyond_the_tensors_end_is_harmless(
    target: Any, block: int, n: int, rows: int
) -> None:
    x = np.random.default_rng(0).standard_normal((rows, n)).astype("float32")
    o = np.empty_like(x)
    run(centred_rows, target, (rows,), constants={"BLOCK": block}, x_ptr=x, o_ptr=o, n=n)
    expected = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    np.testing.assert_allclose(o, expected, rtol=2e-5, atol=2e-6)


def _prefetches(block: int) -> int:
    signature = {"x_ptr": "*fp32", "o_ptr": "*fp32", "n": "i32"}
    text = stages(centred_rows, signature, {"BLOCK": block}, None, HOST)["llir"]
    return text.count("call void @llvm.prefetch")


def test_rows_ask_for_the_next_row_and_for_the_lines_of_the_result() -> None:
    lines = HOST.strip_bytes // 64
    # The second nest asks for the next row and for the lines that the third one stores.
    assert _prefetches(1024) == 2 * lines
    # Rows that do not stay in the first cache are asked for as they are read, by the first nest.
    assert _prefetches(16384) == 2 * lines
