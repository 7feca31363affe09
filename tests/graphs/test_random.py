"""Random numbers of replays are those of as many eager steps."""

from __future__ import annotations

from typing import Any

import pytest

import tritorch as torch
from tritorch import nn
from tritorch.errors import AcceleratorError

Graph = torch.accelerator.Graph


def draws(own: Any) -> list[Any]:
    x = torch.ones(2, 3, 4, 8, requires_grad=True)
    y = nn.functional.dropout(x, 0.4)
    z = nn.functional.scaled_dot_product_attention(x, x, y, dropout_p=0.3)
    z.sum().backward()
    return [
        torch.rand(5), torch.randn(3, generator=own), torch.randint(0, 9, (4,)), y, z, x.grad,
        torch.empty(3).bernoulli_(0.5, generator=own), torch.randperm(6),
        torch.zeros(4).exponential_(),
    ]  # fmt: skip


def test_as_many_eager_steps() -> None:
    def seeded() -> Any:
        torch.manual_seed(11)
        return torch.Generator().manual_seed(3)

    own = seeded()
    expected = [[t.tolist() for t in draws(own)] for _ in range(4)]
    behind = torch.rand(2).tolist(), torch.rand(2, generator=own).tolist()
    own = seeded()
    graph = Graph()
    with graph:
        tensors = draws(own)
    found = [[t.tolist() for t in tensors]]
    for _ in range(3):
        graph.replay()
        found.append([t.tolist() for t in tensors])
    assert found == expected
    assert found[0] != found[1]
    assert behind == (torch.rand(2).tolist(), torch.rand(2, generator=own).tolist())


def test_seeds_between_replays_count() -> None:
    graph = Graph()
    with graph:
        y = torch.rand(6)
    torch.manual_seed(1)
    graph.replay()
    first = y.tolist()
    torch.manual_seed(2)
    graph.replay()
    assert y.tolist() != first
    torch.manual_seed(1)
    graph.replay()
    assert y.tolist() == first
    torch.manual_seed(1)
    assert torch.rand(6).tolist() == first


def test_a_mask_of_before_stays() -> None:
    """Numbers drawn outside are no part of the recording: their backward draws the same again."""
    x = torch.ones(50, requires_grad=True)
    y = nn.functional.dropout(x, 0.5)
    mask = y.tolist()
    graph = Graph()
    with graph:
        (gradient,) = torch.autograd.grad(y.sum(), x)
    graph.replay()
    assert gradient.tolist() == mask


def test_generators_in_one_state() -> None:
    first, second = (torch.Generator().manual_seed(3) for _ in "ab")
    with pytest.raises(AcceleratorError, match="two generators draw from seed 3"), Graph():
        torch.rand(2, generator=first)
        torch.rand(2, generator=second)
