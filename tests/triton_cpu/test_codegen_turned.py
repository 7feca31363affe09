"""A transposed value that a loop reads is turned once, before the loop."""

# ruff: noqa: C408 - dict(name=...) reads like the kernel's parameters
from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import triton
import triton.language as tl

from tests.triton_cpu.running import HOST, run
from tritorch.triton_cpu.compile import stages


@triton.jit
def scores(x_ptr, y_ptr, o_ptr, scale, rows, DIRECT: tl.constexpr, N: tl.constexpr):
    """o = y xᵀ · scale, in blocks of N rows of y; x is N x N."""
    r, c = tl.arange(0, N)[:, None], tl.arange(0, N)[None, :]
    x = tl.load(x_ptr + r * N + c)
    if not DIRECT:
        x = x * scale
    turned = tl.trans(x)
    for start in range(0, rows, N):
        inside = start + r < rows
        y = tl.load(y_ptr + (start + r) * N + c, mask=inside, other=0.0)
        o = tl.dot(y, turned, input_precision="ieee")
        tl.store(o_ptr + (start + r) * N + c, o + turned, mask=inside)


@pytest.mark.parametrize("size", [16, 64])
@pytest.mark.parametrize("direct", [True, False], ids=["loaded", "computed"])
def test_values(target: Any, size: int, direct: bool) -> None:
    rng = np.random.default_rng(8)
    rows = 2 * size + 5
    x, y = (rng.standard_normal((n, size)).astype("f4") for n in (size, rows))
    o = np.full_like(y, 7)
    run(
        scores, target, (1,), constants=dict(N=size, DIRECT=direct),
        x_ptr=x, y_ptr=y, o_ptr=o, scale=0.5, rows=rows,
    )  # fmt: skip
    turned = (x if direct else x * np.float32(0.5)).T.astype("f8")
    added = np.tile(turned, (3, 1))[:rows]
    np.testing.assert_allclose(o, y @ turned + added, atol=2e-5 * size**0.5)


@pytest.mark.parametrize("direct", [True, False], ids=["loaded", "computed"])
def test_the_loop_turns_nothing(direct: bool) -> None:
    signature = dict(x_ptr="*fp32", y_ptr="*fp32", o_ptr="*fp32", scale="fp32", rows="i32")
    text = stages(scores, signature, dict(N=64, DIRECT=direct), target=HOST)["llir"]
    body = text[text.index("define void @scores") :]
    before, loop = re.split(r"^for\d+:$", body, maxsplit=1, flags=re.MULTILINE)
    assert "call void @transpose_" in before
    assert "call void @transpose_" not in loop
