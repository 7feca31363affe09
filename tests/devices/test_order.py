"""Additions to chosen places whose order is fixed: runs of sorted places instead of atomics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch.runtime.cuda.target import CUDATarget

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def whole(*shape: int, kind: str = "float32") -> torch.Tensor:
    """Numbers whose sums are exact in any order."""
    return torch.tensor(RNG.integers(-4, 5, shape)).to(getattr(torch, kind))


def places(n: int, bound: int, *, often: int = 3) -> torch.Tensor:
    """Most are one place: its run goes through many stretches."""
    found = RNG.integers(-bound, bound, n)
    found[n // 4 : n // 4 * 3] = often
    return torch.tensor(found)


def index_put(x: torch.Tensor, *operands: Any) -> torch.Tensor:
    return x.index_put_(operands[:-1], operands[-1], accumulate=True)


def embedding_backward(index: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    table = torch.zeros(40, g.shape[-1], device=g.device, requires_grad=True)
    y = torch.nn.functional.embedding(index % 40, table, padding_idx=7)
    return torch.autograd.grad(y, table, g)[0]


Inputs = tuple[torch.Tensor, ...]
CASES: dict[str, tuple[Callable[..., torch.Tensor], Inputs]] = {
    "rows": (index_put, (whole(9, 70), places(500, 9), whole(500, 70))),
    "narrow rows, bfloat16": (
        index_put, (whole(9, 3, kind="bfloat16"), places(50, 9), whole(50, 3, kind="bfloat16"))
    ),
    "two indices": (index_put, (whole(5, 6, 4), places(3000, 5), places(3000, 6), whole(3000, 4))),
    "columns": (lambda x, i, y: x.index_add_(1, i, y),
                (whole(20, 9), places(400, 9).clamp(min=0), whole(20, 400))),
    "one row": (lambda x, i, y: x.scatter_add_(0, i, y),
                (whole(50), places(9000, 50).abs() % 50, whole(9000))),
    "one stretch": (index_put, (whole(9, 70), places(10, 9), whole(10, 70))),
    "embedding": (embedding_backward, (places(600, 40).abs().reshape(20, 30), whole(20, 30, 130))),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_sums_of_runs(gpu: CUDATarget, name: str) -> None:
    function, inputs = CASES[name]
    expected = function(*(x.clone() for x in inputs))
    before = {k: k.launches for k in gpu.kernels()}
    found = function(*(x.cuda() for x in inputs))
    used = {k.name for k in gpu.kernels() if k.launches > before.get(k, 0)}
    assert "add_runs" in used
    assert ("add_cut_runs" in used) == (name not in ("one stretch", "narrow rows, bfloat16"))
    np.testing.assert_array_equal(found.cpu().float().numpy(), expected.float().numpy())


def test_a_wrong_place_is_an_error(gpu: CUDATarget) -> None:
    x = torch.zeros(9, 4).cuda()
    with pytest.raises(IndexError, match="index 9 is out of bounds"):
        index_put(x, torch.tensor([1, 9, 1]).cuda(), torch.ones(3, 4).cuda())
        torch.cuda.synchronize()
    np.testing.assert_array_equal(x.cpu().numpy()[1], np.full(4, 2.0))
