"""Users' own kernels: launching on tensors, choices, errors."""

from __future__ import annotations

import json
import re
import weakref
from pathlib import Path
from typing import Any

import pytest
import triton
import triton.language as tl

import tritorch as torch
from tritorch.config import config
from tritorch.errors import DeviceError


@torch.kernels.kernel(
    space={"BLOCK": [64, 256, 1024], "num_warps": [1, 2]},
    keep=lambda BLOCK, n, **_: max(n, 64) >= BLOCK,
    key=["n"],
    grid=lambda n, BLOCK, **_: (triton.cdiv(n, BLOCK),),
)
@triton.jit
def scaled_add(x_ptr, y_ptr, out_ptr, scale, n, BLOCK: tl.constexpr):
    """out = x + scale * y."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i, mask=i < n)
    y = tl.load(y_ptr + i, mask=i < n)
    tl.store(out_ptr + i, x + scale * y, mask=i < n)


@torch.kernels.kernel
@triton.jit
def count(out_ptr, WIDE: tl.constexpr, flag):
    tl.store(out_ptr + tl.program_id(0), tl.program_id(0) + WIDE + flag.to(tl.int32))


@pytest.mark.parametrize("n", [1, 63, 1000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_launches_on_tensors(n: int, dtype: str) -> None:
    kind = getattr(torch, dtype)
    x, y = torch.randn(n, dtype=kind), torch.randn(n, dtype=kind)
    out = torch.empty(n, dtype=kind)
    scaled_add(x, y, out, 0.5, n)
    assert torch.allclose(out, x + 0.5 * y)
    out.fill_(0)
    scaled_add[(triton.cdiv(n, 128),)](x, y, out_ptr=out, scale=2.0, n=n, BLOCK=128)
    assert torch.allclose(out, x + 2.0 * y)


def test_numbers_are_arguments_not_constants() -> None:
    x, out = torch.ones(100), torch.empty(100)
    before = torch.kernels.stats().generated + torch.kernels.stats().loaded
    for scale in (1.0, 2.0, 3.0):
        scaled_add(x, x, out, scale, 100)
        assert out[99].item() == 1 + scale
    scaled_add(x, x, out, 1.0, 99)
    after = torch.kernels.stats().generated + torch.kernels.stats().loaded
    assert after - before <= 1


def test_a_grid_of_counts_and_constants() -> None:
    out = torch.zeros(4, dtype=torch.int32)
    count[(4,)](out, 10, True)
    assert out.tolist() == [11, 12, 13, 14]
    count[(2, 1, 1)](out, WIDE=20, flag=False)
    assert out.tolist() == [20, 21, 13, 14]


def test_the_choice_is_looked_up(tmp_path: Path) -> None:
    seen: list[int] = []

    def grid(n: int, BLOCK: int, **_: Any) -> tuple[int]:
        seen.append(BLOCK)
        return (triton.cdiv(n, BLOCK),)

    entry = {
        "kernel": f"{__name__}:scaled_add", "digest": scaled_add.tunable.digest(),
        "target": torch.runtime.get_target("cpu").identity,
        "facts": {"n": 500, "dtypes": "float32 float32 float32"}, "config": {"BLOCK": 256},
    }  # fmt: skip
    path = tmp_path / "lock.json"
    path.write_text(json.dumps({"format": 1, "choices": [entry]}))
    x, out = torch.ones(500), torch.empty(500)
    with config(tune="lookup", tune_lock=path, tune_db=tmp_path / "none"):
        scaled_add[grid](x, x, out, 1.0, 500)
    with config(tune="off"):
        scaled_add[grid](x, x, out, 1.0, 400)
    assert seen == [256, 64]


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda x: scaled_add(x, x, x), TypeError, "no value for scale, n"),
        (lambda x: scaled_add(x, x, x, 1.0, 3, 64, 9), TypeError, "takes 6 arguments, got 7"),
        (lambda x: scaled_add(x, x, x, 1.0, 3, m=4), TypeError, "m is no parameter"),
        (lambda x: scaled_add(x, x, x, 1.0, 3, n=4), TypeError, "n is given twice"),
        (lambda x: scaled_add(x, x, x, "a", 3), TypeError, "argument scale is str"),
        (lambda x: scaled_add(1, 2, 3, 1.0, 3), DeviceError, "got no tensor"),
        (lambda x: count(x, 1, True), TypeError, "declares no grid"),
        (lambda x: torch.kernels.kernel(len), TypeError, "expected a @triton.jit function"),
        (
            lambda x: torch.kernels.kernel(space={"B": [1]})(count.function),
            TypeError,
            "has no parameters B",
        ),
    ],
)
def test_errors(call: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        call(torch.ones(3))


def test_a_grid_is_asked_at_each_launch_and_not_kept() -> None:
    counts = torch.full((6,), -1, dtype=torch.int32)
    programs = [2]

    def grid(**_: Any) -> tuple[int]:
        return (programs[0],)

    count[grid](counts, 0, 0)
    assert counts.tolist() == [0, 1, -1, -1, -1, -1]
    programs[0] = 4
    count[grid](counts, 0, 0)
    assert counts.tolist() == [0, 1, 2, 3, -1, -1]
    kept = weakref.ref(grid)
    del grid
    assert kept() is None


def test_kernels_in_a_notebook() -> None:
    """The source, highlighted and escaped, under the name; for users' kernels also the space."""
    shown = scaled_add._repr_html_()
    assert f"{__name__}:scaled_add" in shown and "BLOCK=[64, 256, 1024]" in shown
    assert "i &lt; n" in re.sub(r"</?span[^>]*>", "", shown)
    (kernel,) = torch.kernels.launched(torch.mul, torch.ones(3), torch.ones(3))
    shown = kernel._repr_html_()
    assert kernel.name in shown and "BLOCK=" in shown and "out_ptr=*fp32" in shown
    assert "tl.store(" in re.sub(r"</?span[^>]*>", "", shown)
