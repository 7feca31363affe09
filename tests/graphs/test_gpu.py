"""`accelerator.Graph` on a GPU: here a simulated one."""

from __future__ import annotations

import pytest

import tritorch as torch
from tritorch.errors import AcceleratorError
from tritorch.runtime import recording

pytestmark = pytest.mark.usefixtures("device_kind")


def test_one_interface() -> None:
    x = torch.ones(8, device="cuda")
    y = x + 1
    graph = torch.accelerator.Graph()
    with torch.cuda.stream(torch.cuda.Stream()), graph:
        y = x * 3
        assert recording.under_way()
    assert not recording.under_way()
    x.copy_(torch.full((8,), 2.0))
    graph.replay()
    assert y.tolist() == [6.0] * 8
    graph.reset()
    with pytest.raises(AcceleratorError, match="nothing was captured"):
        graph.replay()
    with pytest.raises(AcceleratorError, match="default stream cannot capture"), graph:
        pass
    assert not recording.under_way()


def test_the_cpu_beside_it() -> None:
    x = torch.ones(8)
    graph = torch.accelerator.Graph(device="cpu")
    with graph:
        y = x * 3
    x.fill_(2.0)
    graph.replay()
    assert y.tolist() == [6.0] * 8


def test_steps_that_the_host_counts() -> None:
    p = torch.ones(8, device="cuda", requires_grad=True)
    p.grad = torch.ones(8, device="cuda")
    plain, counting = torch.optim.Adam([p]), torch.optim.Adam([p], capturable=True)
    counting.step()
    graph = torch.accelerator.Graph()
    stream = torch.cuda.Stream()
    with pytest.raises(RuntimeError, match="capturable is False"), torch.cuda.stream(stream), graph:
        plain.step()
    with torch.cuda.stream(stream), graph:
        counting.step()
    for _ in range(3):
        graph.replay()
    assert counting.state[p]["step"].item() == 4
