"""First and second derivatives of what only moves elements: views, indexing, joining, writing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch import Tensor
from tritorch.autograd.gradcheck import gradcheck, gradgradcheck

I = torch.tensor([2, 0, 0])  # noqa: E741 - an index, as in formulas
J = torch.tensor([[0, 1, 1, 3], [3, 2, 0, 0]])
MASK = torch.tensor([[True, False, True, False], [False] * 4, [True, True, False, True]])


def _written(function: Callable[[Tensor, Tensor], Any]) -> Callable[[Tensor, Tensor], Tensor]:
    """Applied to a copy of x, which is the result."""

    def run(x: Tensor, y: Tensor) -> Tensor:
        target = x * 1
        function(target, y)
        return target

    return run


#: name -> function of x (3 x 4) and y (3 x 4)
CASES: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "view": lambda x, y: x.view(2, 6) * 2,
    "reshape of transposed": lambda x, y: x.t().reshape(-1).sin(),
    "transpose": lambda x, y: x.transpose(0, 1) @ y,
    "permute": lambda x, y: x.view(3, 2, 2).permute(2, 0, 1).exp(),
    "movedim": lambda x, y: x.view(3, 2, 2).movedim(0, 2).exp(),
    "squeeze": lambda x, y: x.unsqueeze(1).squeeze(1) * y,
    "expand": lambda x, y: x[:1].expand(3, 4) * y,
    "broadcast": lambda x, y: (x[:, :1] + y[:1]).exp(),
    "select": lambda x, y: x[1] * y[2],
    "slice": lambda x, y: x[::2, 1:] * x[:2, :3],
    "narrow": lambda x, y: x.narrow(1, 1, 2).exp(),
    "split": lambda x, y: x.split([1, 3], 1)[1].exp(),
    "chunk": lambda x, y: x.chunk(2, 1)[0] * x.chunk(2, 1)[1],
    "unbind": lambda x, y: x.unbind(1)[1] * x.unbind(1)[3],
    "diagonal": lambda x, y: x.diagonal(1).exp(),
    "diag_embed": lambda x, y: x.diag_embed().exp(),
    "tril": lambda x, y: x.tril(-1).exp(),
    "triu": lambda x, y: x.triu().exp(),
    "unfold": lambda x, y: x.unfold(1, 3, 1).exp(),
    "as_strided": lambda x, y: x.contiguous().as_strided((2, 3), (5, 1), 1).exp(),
    "as_strided that overlaps": lambda x, y: x.contiguous().as_strided((3, 3), (1, 2)).exp(),
    "flip": lambda x, y: x.flip(0, 1) * y,
    "roll": lambda x, y: x.roll((1, 2), (0, 1)) * y,
    "repeat": lambda x, y: x.repeat(2, 1, 2).exp(),
    "repeat_interleave": lambda x, y: x.repeat_interleave(torch.tensor([0, 2, 1]), 0).exp(),
    "pad reflect": lambda x, y: torch.nn.functional.pad(x, (3, 2), "reflect").exp(),
    "pad replicate": lambda x, y: torch.nn.functional.pad(x[None], (1, 2, 4, -1), "replicate"),
    "pad circular": lambda x, y: torch.nn.functional.pad(x[None], (4, 1, -1, 2), "circular").exp(),
    "cdist": lambda x, y: torch.cdist(x.repeat(9, 1), y),
    "cdist p=1.5": lambda x, y: torch.cdist(x, y[:2], p=1.5).exp(),
    "cdist p=inf": lambda x, y: torch.cdist(x, y.expand(2, 3, 4), p=float("inf")).exp(),
    "pdist p=1": lambda x, y: torch.nn.functional.pdist(x, 1.0).exp(),
    "cat": lambda x, y: torch.cat([x, y, x[:1]], 0).exp(),
    "stack": lambda x, y: torch.stack([x, y], 1).exp(),
    "meshgrid": lambda x, y: torch.meshgrid(x[0], y[1], indexing="xy")[0].exp(),
    "pad": lambda x, y: torch.nn.functional.pad(x, (1, 2, 0, 1)).exp()
    if hasattr(torch.nn.functional, "pad") else x,
    "gather": lambda x, y: x.gather(1, J).exp(),
    "scatter": lambda x, y: x.scatter(1, J[:, :2], y).exp(),
    "scatter_add": lambda x, y: x.scatter_add(1, J, y).exp(),
    "index": lambda x, y: x[I].exp(),
    "two indices": lambda x, y: x[I[:, None], torch.tensor([0, 3])].exp(),
    "index in the middle": lambda x, y: x.view(3, 2, 2)[:, torch.tensor([1, 0, 1])].exp(),
    "mask": lambda x, y: x[MASK].exp(),
    "masked_select": lambda x, y: x.masked_select(MASK).exp(),
    "masked_fill": lambda x, y: x.masked_fill(MASK, 0.5).exp(),
    "masked_scatter": lambda x, y: x.masked_scatter(MASK, y).exp(),
    "where": lambda x, y: torch.where(MASK, x, y * y),
    "index_select": lambda x, y: x.index_select(1, I).exp(),
    "index_add": lambda x, y: x.index_add(0, I, y).exp(),
    "index_copy": lambda x, y: x.index_copy(0, torch.tensor([2, 0]), y[:2]).exp(),
    "index_put": lambda x, y: x.index_put((I[:2],), y[:2]).exp(),
    "index_put that adds": lambda x, y: x.index_put((I,), y, accumulate=True).exp(),
    "take": lambda x, y: x.take(J).exp(),
    "take_along_dim": lambda x, y: torch.take_along_dim(x, x.argsort(1), 1) * y,
    "sort": lambda x, y: x.sort(1).values * y,
    "topk": lambda x, y: x.topk(2, 1).values.exp(),
    "median": lambda x, y: x.median(1).values.exp(),
    "cummax": lambda x, y: x.cummax(1).values.exp(),
    "max along": lambda x, y: x.max(0).values.exp(),
    "sum_to_size": lambda x, y: (x * y).sum_to_size(3, 1).exp(),
    "to": lambda x, y: x.to(torch.float64).exp(),
    "clone": lambda x, y: x.t().clone().exp(),
    "write a slice": _written(lambda t, y: t.__setitem__(1, y[0] * y[1])),
    "write a mask": _written(lambda t, y: t.__setitem__(MASK, y[0, 0])),
    "write by index": _written(lambda t, y: t.__setitem__((I[:2], 1), y[0, :2])),
    "multiply a view": _written(lambda t, y: t[:, 1:3].mul_(y[:, :2])),
    "exponential of a view": _written(lambda t, y: t.t()[1:3].exp_()),
    "view of a view": _written(lambda t, y: t.view(-1)[2:10].view(2, 4)[1].mul_(y[0])),
    "copy into a view": _written(lambda t, y: t[0].copy_(y[1] * 2)),
    "fill": _written(lambda t, y: t[:, 2].fill_(3.0)),
    "in-place chain": _written(lambda t, y: t.mul_(y).add_(1).sigmoid_()),
    "scatter_": _written(lambda t, y: t.scatter_(1, J[:, :2], y)),
    "index_add_": _written(lambda t, y: t.index_add_(0, I, y, alpha=2)),
    "masked_fill_": _written(lambda t, y: t.masked_fill_(MASK, 0.0)),
    "dist": lambda x, y: torch.dist(x, y),
    "cov": lambda x, y: x.cov(),
    "diff": lambda x, y: x.diff(n=2, dim=1).exp(),
    "trapezoid": lambda x, y: torch.trapezoid(x, y),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_gradients(name: str) -> None:
    """Against central differences; every value is apart from the others, so order is stable."""
    random = np.random.default_rng(3)
    values = random.permutation(24).reshape(2, 3, 4) / 8 - 1.4
    x, y = (torch.tensor(part, requires_grad=True) for part in values)
    assert gradcheck(CASES[name], (x, y))
    assert gradgradcheck(CASES[name], (x, y), atol=1e-4)
