"""Hooks on what the graph saves, and edges of the graph, on real tensors."""

from __future__ import annotations

from typing import Any

import pytest

import tritorch as torch
from tritorch.autograd import graph


def test_saved_tensors_may_be_written_to() -> None:
    x = torch.tensor([0.5, -1.0], requires_grad=True)
    with graph.allow_mutation_on_saved_tensors() as context:
        y = x * 1
        z = (y * y.exp() + y.sin()).sum()
        result = y.sigmoid()
        y.zero_()
        with torch.no_grad():
            result.fill_(7.0)
        context.clear()
    (found,) = torch.autograd.grad(z + result.sum(), x)
    w = x.detach().requires_grad_()
    (expected,) = torch.autograd.grad((w * w.exp() + w.sin() + w.sigmoid()).sum(), w)
    assert found.tolist() == expected.tolist()


def test_each_tensor_is_copied_once_while_it_stays_the_same() -> None:
    x = torch.ones(3, requires_grad=True)
    with graph.allow_mutation_on_saved_tensors() as context:
        y = x * 1
        z = y * y * y.exp()
        assert next(iter(context._copies)) is y._storage and len(context._copies) == 1
        y.mul_(2)
        z = z + y * y
    z.sum().backward()
    e = torch.tensor(1.0).exp().item()
    assert x.grad.tolist() == pytest.approx([3 * e + 8.0] * 3)


def test_hooks_can_be_forbidden() -> None:
    x = torch.ones(1, requires_grad=True)
    with graph.disable_saved_tensors_hooks("not here"):
        with pytest.raises(RuntimeError, match="not here"), graph.save_on_cpu():
            pass
        (x * x).backward()
    assert x.grad.item() == 2.0
    with graph.save_on_cpu():
        context = graph.disable_saved_tensors_hooks("nor here")
        with pytest.raises(RuntimeError, match="nor here"), context:
            pass
        y = x * x
    (found,) = torch.autograd.grad(y, x)
    assert found.item() == 2.0


def test_gradient_edges() -> None:
    """An edge stands for a tensor that is no longer there, as target and as root."""
    x = torch.tensor(0.5, requires_grad=True)
    y = x.sin()
    edge = graph.get_gradient_edge(y)
    assert isinstance(edge, graph.GradientEdge) and edge.node is y.grad_fn and edge.output_nr == 0
    z = y * 3
    (found,) = torch.autograd.grad(z, edge, retain_graph=True)
    assert found.item() == 3.0
    z_edge = graph.get_gradient_edge(z)
    del y, z
    torch.autograd.backward(z_edge, torch.tensor(1.0))
    assert x.grad.item() == pytest.approx(3 * torch.tensor(0.5).cos().item())
    leaf = graph.get_gradient_edge(x)
    assert leaf.node.name().endswith("AccumulateGrad")
    with pytest.raises(RuntimeError, match="does not require grad"):
        graph.get_gradient_edge(torch.ones(1))


@pytest.mark.parametrize("mode", ["all", "any"])
def test_multi_grad_hook(mode: str) -> None:
    a, b, c = (torch.ones(1, requires_grad=True) for _ in range(3))
    seen: list[Any] = []
    handle = graph.register_multi_grad_hook([a, b, c], seen.append, mode=mode)
    (a * 2 + b * 3).sum().backward()
    if mode == "all":
        assert [None if g is None else g.item() for g in seen[0]] == [2.0, 3.0, None]
    else:
        assert seen[0].item() in (2.0, 3.0)
    assert len(seen) == 1
    handle.remove()
    (a * c).backward()
    assert len(seen) == 1
