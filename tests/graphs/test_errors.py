"""What a recording refuses, and what a replay raises."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

import tritorch as torch
from tritorch import nn
from tritorch.errors import AcceleratorError
from tritorch.runtime import recording

Graph = torch.accelerator.Graph
X = torch.tensor([1.0, 2.0])
REFUSED: dict[str, Callable[[], Any]] = {
    "item": lambda: X.sum().item(),
    "bool": lambda: bool(X[0] > 0),
    "tolist": lambda: X.tolist(),
    "numpy": lambda: X.numpy(),
    "print": lambda: repr(X),
    "nonzero": lambda: X.nonzero(),
    "masked_select": lambda: X[X > 1],
    "unique": lambda: X.unique(),
    "pickle": lambda: X.__reduce_ex__(2),
    "manual_seed": lambda: torch.manual_seed(1),
    "set_rng_state": lambda: torch.set_rng_state(STATE),
    "dlpack": lambda: X.__dlpack__(),
}
STATE = torch.get_rng_state()


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    graph = Graph()
    with pytest.raises(RuntimeError, match="not permitted while a graph is recorded"), graph:
        REFUSED[name]()
    assert recording.current is None
    REFUSED[name]()


def test_a_wrong_index() -> None:
    table, index = torch.arange(10.0), torch.tensor([1, 2])
    graph = Graph()
    with graph:
        y = table[index] * 2
    index.copy_(torch.tensor([3, 11]))
    with pytest.raises(IndexError, match="index 11 is out of bounds"):
        graph.replay()
    index.copy_(torch.tensor([3, 4]))
    graph.replay()
    assert y.tolist() == [6.0, 8.0]


def test_a_wrong_target() -> None:
    logits, target = torch.randn(2, 3), torch.tensor([0, 1])
    graph = Graph()
    with graph:
        loss = nn.functional.cross_entropy(logits, target)
    target.fill_(5)
    with pytest.raises(IndexError, match="Target 5 is out of bounds"):
        graph.replay()
    target.fill_(2)
    graph.replay()
    assert loss.item() == nn.functional.cross_entropy(logits, target).item()


def test_order_of_calls() -> None:
    graph = Graph()
    with pytest.raises(AcceleratorError, match="nothing was captured"):
        graph.replay()
    with pytest.raises(AcceleratorError, match="no capture is under way"):
        graph.capture_end()
    graph.capture_begin()
    with pytest.raises(AcceleratorError, match="captured already"):
        graph.capture_begin()
    with pytest.raises(AcceleratorError, match="under way already"):
        Graph().capture_begin()
    failures: list[BaseException] = []

    def end() -> None:
        try:
            graph.capture_end()
        except AcceleratorError as error:
            failures.append(error)

    thread = threading.Thread(target=end)
    thread.start()
    thread.join()
    assert "another thread records" in str(failures[0])
    y = X + 1
    graph.capture_end()
    with pytest.raises(AcceleratorError, match="captured already"):
        graph.capture_begin()
    graph.replay()
    graph.reset()
    graph.capture_begin()
    y = X + 2
    graph.capture_end()
    assert y.tolist() == [3.0, 4.0]
    with pytest.raises(ValueError, match="capture_error_mode must be one of"):
        Graph(capture_error_mode="strict")
    with pytest.raises(AcceleratorError, match="keep_graph"):
        graph.instantiate()


@pytest.mark.parametrize("name", ["Adam", "RMSprop", "Adagrad", "Adafactor"])
def test_steps_that_the_host_counts(name: str) -> None:
    p = torch.ones(4, 4, requires_grad=True)
    p.grad = torch.ones(4, 4)
    optimizer = getattr(torch.optim, name)([p])
    message = f"instance of {name} but param_groups' capturable is False"
    with pytest.raises(RuntimeError, match=message), Graph():
        optimizer.step()
    optimizer.step()


def test_first_step_with_dampening() -> None:
    p = torch.ones(4, requires_grad=True)
    p.grad = torch.ones(4)
    optimizer = torch.optim.SGD([p], lr=1.0, momentum=0.5, dampening=0.5)
    with pytest.raises(AcceleratorError, match="first step with dampening"), Graph():
        optimizer.step()
    optimizer.step()
    with Graph():
        optimizer.step()
    assert p.tolist() == [-1.0] * 4
