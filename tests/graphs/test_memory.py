"""What a graph replays on is nobody else's: its own memory, and what it reads is kept alive."""

from __future__ import annotations

import gc
import os
import threading
from typing import Any

import pytest

import tritorch as torch
from tritorch.errors import AcceleratorError
from tritorch.runtime import get_target, recording

Graph = torch.accelerator.Graph
SIZES = [16, 300_000]  # elements: blocks of a slab, and mappings of their own


def in_use() -> int:
    gc.collect()
    statistics: Any = get_target("cpu")
    return int(statistics.memory_statistics().allocated)


@pytest.mark.parametrize("size", SIZES)
def test_others_never_get_it(size: int) -> None:
    """Results that the user let go of are written by replays all the same."""
    x, total = torch.ones(size), torch.zeros(())
    graph = Graph()
    with graph:
        middle = x + 1
        result = middle * 3
        total.copy_(result.sum())
    inside = {middle.data_ptr(), result.data_ptr()}
    del middle, result
    others = [torch.full((size,), 5.0) for _ in range(50)]
    assert not inside & {tensor.data_ptr() for tensor in others}
    graph.replay()
    assert all(bool((tensor == 5).all()) for tensor in others)
    assert total.item() == 6 * size


def test_the_recording_uses_its_blocks_again() -> None:
    x = torch.ones(1 << 20)
    graph = Graph()
    with graph:
        for _ in range(40):
            x = x + 1
    assert graph.pool().nbytes < 5 * x.nbytes
    assert x[:3].tolist() == [41.0] * 3


@pytest.mark.parametrize("size", SIZES)
def test_reset_gives_it_back(size: int) -> None:
    x = torch.ones(size)
    before = in_use()
    graph = Graph()
    with graph:
        y = (x + 1) * 2
    assert in_use() > before
    kept = y.data_ptr()
    graph.reset()
    assert y.tolist()[:2] == [4.0, 4.0]  # a tensor that is alive keeps its block
    assert all(torch.empty(size).data_ptr() != kept for _ in range(20))
    del y
    assert in_use() == before


def test_deletion_gives_it_back() -> None:
    x = torch.ones(300_000)
    before = in_use()
    graph = Graph()
    with graph:
        y = x + 1
    del graph, y
    assert in_use() == before


def test_what_it_reads_stays() -> None:
    """The graph keeps tensors of before the recording alive, those of optimizers' tables too."""
    p = torch.zeros(1000, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=1.0)
    p.grad = torch.ones(1000)
    x = torch.full((1000,), 2.0)
    graph = Graph()
    with graph:
        y = x + 1
        optimizer.step()
    places = {x.data_ptr(), p.grad.data_ptr()}
    del x
    p.grad = None
    others = [torch.full((1000,), 7.0) for _ in range(50)]
    assert not places & {tensor.data_ptr() for tensor in others}
    graph.replay()
    assert y[:2].tolist() == [3.0, 3.0]
    assert p[:2].tolist() == [-2.0, -2.0]


def test_tables_are_those_of_the_recording() -> None:
    """An eager step on other gradients does not lead the replays astray."""
    p = torch.zeros(4, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=1.0)
    first = p.grad = torch.ones(4)
    graph = Graph()
    with graph:
        optimizer.step()
    p.grad = torch.full((4,), 10.0)
    optimizer.step()
    graph.replay()
    assert first.tolist() == [1.0] * 4
    assert p.tolist() == [-12.0] * 4


def test_shared_pool() -> None:
    x = torch.ones(300_000)
    before = in_use()
    first, second = Graph(), None
    with first:
        a = (x + 1).sum()
    second = Graph(pool=first.pool())
    with second:
        b = (x + 2).sum()
    assert second.pool() is first.pool()
    assert first.pool().nbytes < 2 * x.nbytes
    first.replay()
    second.replay()
    assert (a.item(), b.item()) == (600_000, 900_000)
    first.reset()
    assert in_use() > before
    second.replay()
    second.reset()
    del a, b
    assert in_use() <= before + 64


def test_an_exception_leaves_everything_as_before() -> None:
    x = torch.ones(300_000)
    before = in_use()
    graph = Graph()
    with pytest.raises(ZeroDivisionError), graph:
        y = x + 1
        raise ZeroDivisionError
    assert recording.current is None
    y = None
    assert in_use() == before
    assert (x + 1).tolist()[0] == 2
    with pytest.raises(AcceleratorError, match="nothing was captured"):
        graph.replay()
    with graph:
        y = x * 3
    graph.replay()
    assert y.tolist()[0] == 3


def test_other_threads_get_common_memory() -> None:
    x = torch.ones(16)
    made: list[Any] = []
    graph = Graph()
    with graph:
        thread = threading.Thread(target=lambda: made.append(torch.full((16,), 3.0) + 1))
        thread.start()
        thread.join()
        y = x + 1
    assert not graph.pool().owns(made[0].data_ptr())
    assert graph.pool().owns(y.data_ptr())
    assert made[0].tolist() == [4.0] * 16


def forked(work: Any) -> int:
    """The exit status of a child that runs `work`."""
    child = os.fork()
    if not child:
        status = 1
        try:
            status = 0 if work() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_replay_in_the_child_of_a_fork() -> None:
    x = torch.zeros(1 << 18)
    graph = Graph()
    with graph:
        x.add_(1)

    def child() -> bool:
        graph.replay()
        return bool((x == 2).all())

    assert forked(child) == 0
    assert bool((x == 1).all())
    graph.replay()
    assert bool((x == 2).all())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_while_another_thread_records() -> None:
    begun, go_on = threading.Event(), threading.Event()
    x = torch.zeros(8)
    graph = Graph()

    def record() -> None:
        with graph:
            x.add_(1)
            begun.set()
            go_on.wait()

    thread = threading.Thread(target=record)
    thread.start()
    begun.wait()

    def child() -> bool:
        other = Graph()
        with other:
            y = x * 2
        other.replay()
        return recording.current is None and bool((y == 2).all())

    try:
        assert forked(child) == 0
    finally:
        go_on.set()
        thread.join()
    graph.replay()
    assert x.tolist() == [2.0] * 8
