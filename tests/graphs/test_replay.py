"""A replay does what the same Python would have done, without Python."""

from __future__ import annotations

import copy
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

import tritorch as torch
from tritorch import nn, optim
from tritorch.nn import functional
from tritorch.runtime import statistics

Graph = torch.accelerator.Graph


def same(first: Any, second: Any) -> None:
    """Bit for bit."""
    assert first.dtype == second.dtype
    assert first.tolist() == second.tolist()


def recorded(function: Callable[[], Any]) -> tuple[Any, Any]:
    graph = Graph()
    with graph:
        results = function()
    return graph, results


def test_pointwise() -> None:
    a, b = torch.randn(3, 70), torch.randn(3, 70)
    graph, y = recorded(lambda: (a + b) * a - b)
    same(y, (a + b) * a - b)
    a.copy_(torch.randn(3, 70))
    b.fill_(0.5)
    graph.replay()
    same(y, (a + b) * a - b)


def mlp(model: Any, x: Any, y: Any) -> Any:
    return functional.cross_entropy(model(x), y)


def lstm(model: Any, x: Any, y: Any) -> Any:
    rows, _ = model[0](x.view(len(x), 4, 4))
    return functional.cross_entropy(model[1](rows[:, -1]), y)


def cnn(model: Any, x: Any, y: Any) -> Any:
    return functional.cross_entropy(model(x.view(len(x), 1, 4, 4)), y)


MODELS = {
    "mlp": (mlp, lambda: nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 5))),
    "lstm": (lstm, lambda: nn.Sequential(nn.LSTM(4, 8, batch_first=True), nn.Linear(8, 5))),
    "cnn": (
        cnn,
        lambda: nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3),
            nn.Flatten(), nn.Linear(96, 5),
        ),
    ),
}  # fmt: skip
OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    "AdamW": lambda p: optim.AdamW(p, lr=0.01, capturable=True),
}


@pytest.mark.parametrize(
    ("name", "rule"), [("mlp", "SGD"), ("mlp", "AdamW"), ("lstm", "AdamW"), ("cnn", "SGD")]
)
def test_training(name: str, rule: str) -> None:
    """Twenty steps: the same losses, parameters, running statistics and random numbers."""
    loss_of, build = MODELS[name]
    batches = [(torch.randn(8, 16), torch.randint(0, 5, (8,))) for _ in range(20)]
    eager = build()
    replayed = copy.deepcopy(eager)

    def step_of(model: Any, x: Any, y: Any) -> Callable[[], Any]:
        optimizer = OPTIMIZERS[rule](model.parameters())

        def step() -> Any:
            optimizer.zero_grad()
            loss = loss_of(model, x, y)
            loss.backward()
            optimizer.step()
            return loss.detach()

        return step

    x, y = torch.empty(8, 16), torch.empty(8, dtype=torch.int64)
    step = step_of(eager, x, y)
    losses = []
    torch.manual_seed(5)
    for inputs, targets in batches:
        x.copy_(inputs)
        y.copy_(targets)
        losses.append(step().item())

    torch.manual_seed(5)
    x.copy_(batches[0][0])
    y.copy_(batches[0][1])
    graph, loss = recorded(step_of(replayed, x, y))
    found = [loss.item()]
    for inputs, targets in batches[1:]:
        x.copy_(inputs)
        y.copy_(targets)
        graph.replay()
        found.append(loss.item())
    assert found == losses
    assert losses[-1] != losses[0]
    state = replayed.state_dict()
    for key, value in eager.state_dict().items():
        same(state[key], value)
    same(torch.rand(3), torch.manual_seed(5) and _after(step))


def _after(step: Callable[[], Any]) -> Any:
    """What is drawn behind twenty eager steps."""
    for _ in range(20):
        step()
    return torch.rand(3)


def test_views_and_writes_in_place() -> None:
    x = torch.zeros(4, 6)

    def work() -> Any:
        x[1:3, ::2] += 1
        x.t()[0].mul_(2)
        x[0, 1] = 7
        return x.sum(0)

    graph, total = recorded(work)
    graph.replay()
    graph.replay()
    expected = torch.zeros(4, 6)
    expected[1:3, ::2] = 3
    expected[1:3, 0] = 14  # ((0 + 1) * 2 + 1) * 2 + 1, doubled
    expected[0, 1] = 7
    same(x, expected)
    same(total, expected.sum(0))


def test_host_data_is_part_of_the_recording() -> None:
    x = torch.ones(3)
    data = [1.0, 2.0, 3.0]
    graph, y = recorded(lambda: x * torch.tensor(data) + 1)
    data[0] = 9.0
    x.fill_(2)
    graph.replay()
    assert y.tolist() == [3.0, 5.0, 7.0]


def test_no_python_for_a_launch() -> None:
    """A replay makes as many calls with 2 launches as with 200."""

    def calls(count: int) -> tuple[int, int]:
        x = torch.zeros(5)
        noisy = nn.Dropout(0.5)

        def work() -> None:
            for _ in range(count):
                x.copy_(noisy(x + 1))

        graph, _ = recorded(work)
        seen = []
        before = statistics.snapshot()
        sys.setprofile(lambda _frame, event, _argument: seen.append(event))
        try:
            graph.replay()
        finally:
            sys.setprofile(None)
        return len(seen), (statistics.snapshot() - before).launches

    few, few_launches = calls(1)
    many, many_launches = calls(100)
    assert few == many
    assert (few_launches, many_launches) == (2, 200)


def test_launches_are_counted_by_kernel() -> None:
    x = torch.ones(9)
    graph, _ = recorded(lambda: (x + 1).exp())
    before = statistics.snapshot()
    for _ in range(3):
        graph.replay()
    counts = (statistics.snapshot() - before).launches_by_kernel
    assert sorted(counts.values()) == [3, 3]


def test_long_launches_go_to_the_pool() -> None:
    from tritorch.runtime.cpu.pool import pool

    x = torch.ones(1 << 20)
    with torch.config(num_threads=2):
        x.exp().exp()
        graph, y = recorded(lambda: x.exp().exp())
        graph.replay()
        before = pool().state.parallel_jobs
        graph.replay()
        assert pool().state.parallel_jobs == before + 2
    same(y, x.exp().exp())


def test_other_threads_are_not_recorded() -> None:
    x, mine = torch.ones(4), torch.zeros(4)

    def other() -> None:
        mine.add_(1)
        results.append((mine * 2).tolist())

    results: list[Any] = []

    def work() -> Any:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        return x + 1

    graph, y = recorded(work)
    x.fill_(4)
    graph.replay()
    assert results == [[2.0] * 4]
    assert mine.tolist() == [1.0] * 4
    assert y.tolist() == [5.0] * 4


def test_replays_in_another_thread() -> None:
    x = torch.zeros(4)
    graph, _ = recorded(lambda: x.add_(1))
    threads = [threading.Thread(target=lambda: [graph.replay() for _ in range(50)]) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert x.tolist() == [101.0] * 4
