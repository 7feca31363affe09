"""DataLoader with worker processes: what they give, how they fail, how they end."""

from __future__ import annotations

import gc
import os
import pickle
import random
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tests.utils.conftest import children, named_memory, shared_maps
from tritorch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    TensorDataset,
    get_worker_info,
)

#: floats of an item that is large enough to go through shared memory in a batch of 4
LARGE = 2000


class Items(Dataset[Any]):
    """Item i is made by a function of i."""

    def __init__(self, count: int, make: Callable[[int], Any]) -> None:
        self.count = count
        self.make = make

    def __getitem__(self, index: int) -> Any:
        return self.make(index)

    def __len__(self) -> int:
        return self.count


def row(index: int) -> torch.Tensor:
    return torch.full((LARGE,), float(index))


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("prefetch", [1, 3])
def test_batches_are_those_of_one_process(in_order: bool, prefetch: int) -> None:
    make: Callable[[int], Any] = lambda i: {"x": row(i), "i": i, "s": str(i), "a": np.ones(2) * i}  # noqa: E731
    loader = DataLoader(
        Items(10, make), 4, num_workers=2, prefetch_factor=prefetch, in_order=in_order
    )
    batches = sorted(loader, key=lambda batch: int(batch["i"][0]))
    assert [batch["i"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    for batch in batches:
        assert bool((batch["x"] == batch["i"].reshape(-1, 1)).all())
        assert batch["s"] == [str(i) for i in batch["i"].tolist()]
        assert batch["a"].dtype is torch.float64


def test_order_is_kept_when_workers_are_not_equally_fast() -> None:
    def slow(index: int) -> int:
        time.sleep(0.03 if index % 4 == 0 else 0)
        return index

    loader = DataLoader(Items(16, slow), 2, num_workers=3)
    assert [i for batch in loader for i in batch.tolist()] == list(range(16))
    hasty = DataLoader(Items(16, slow), 2, num_workers=3, in_order=False)
    assert sorted(i for batch in hasty for i in batch.tolist()) == list(range(16))


def test_large_tensors_borrow_blocks_which_are_used_again() -> None:
    def make(index: int) -> Any:
        return row(index), np.full(LARGE, index, np.int16)

    def collate(items: list[Any]) -> Any:
        tensors, arrays = zip(*items)
        return torch.stack(list(tensors)), np.stack(arrays)

    loader = DataLoader(Items(64, make), 8, num_workers=1, collate_fn=collate)
    count, most = 0, 0
    for tensor, array in loader:
        assert type(tensor.untyped_storage().owner).__name__ == "Lease"
        assert tensor[:, 7].tolist() == array[:, 5].tolist() == list(range(count, count + 8))
        count += 8
        most = max(most, shared_maps())
    assert 2 <= most <= 10


def test_batches_stay_valid_when_they_are_kept() -> None:
    loader = DataLoader(Items(40, row), 4, num_workers=2)
    kept = list(loader)
    views = [batch[1:3, ::2].numpy() for batch in kept]
    del kept
    gc.collect()
    for number, view in enumerate(views):
        assert view.shape == (2, LARGE // 2)
        assert (view == [[4 * number + 1], [4 * number + 2]]).all()


def test_a_tensor_that_the_worker_keeps_is_not_overwritten() -> None:
    kept: list[Any] = []

    def collate(items: list[Any]) -> Any:
        stacked = torch.stack(items)
        if get_worker_info() is not None and len(kept) < 3:
            kept.append(stacked)
        return [stacked, *kept]

    for number, batch in enumerate(
        DataLoader(Items(48, row), 4, num_workers=1, collate_fn=collate)
    ):
        firsts = [int(tensor[0, 0].item()) for tensor in batch]
        assert firsts == [4 * number, *range(0, 4 * min(3, number + 1), 4)]


def test_layouts_and_kinds_of_tensors() -> None:
    def collate(items: list[Any]) -> Any:
        x = torch.arange(20_000.0).reshape(100, 200)
        return {
            "turned": x.t(), "part": x[10:, ::2], "expanded": x[:1].expand(50, 200),
            "low": x.to(torch.bfloat16), "flags": x > 3, "small": x[0, :3].t(),
            "leaf": torch.ones(9000, requires_grad=True), "empty": torch.empty(0, 3),
            "text": "x" * 100_000, "nothing": None,
        }  # fmt: skip

    loader = DataLoader(Items(3, row), 1, num_workers=1, collate_fn=collate)
    wanted: Any = collate([])
    for batch in loader:
        for name, value in wanted.items():
            if not isinstance(value, torch.Tensor):
                assert batch[name] == value
                continue
            assert batch[name].dtype is value.dtype and batch[name].shape == value.shape
            assert batch[name].requires_grad == value.requires_grad
            assert torch.equal(batch[name].detach(), value.detach()), name
        assert batch["turned"].stride() == (1, 200)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_ways_to_start(method: str) -> None:
    data = TensorDataset(torch.arange(40_000.0).reshape(8, 5000), torch.arange(8))
    loader = DataLoader(data, 4, num_workers=1, multiprocessing_context=method)
    assert [y.tolist() for _, y in loader] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    stop_forkserver()


def stop_forkserver() -> None:
    """It and the resource tracker are multiprocessing's own, and stay until the end otherwise."""
    from multiprocessing import forkserver, resource_tracker

    for keeper in (forkserver._forkserver, resource_tracker._resource_tracker):
        keeper._stop()


def test_workers_know_themselves_and_have_seeds_of_their_own() -> None:
    def make(index: int) -> Any:
        info = get_worker_info()
        assert info is not None and torch.get_num_threads() == 1
        return (
            info.id, info.num_workers, info.seed - info.id, type(info.dataset).__name__,
            random.random(), float(np.random.rand()), float(torch.rand(1).item()),
        )  # fmt: skip

    def run(seed: int) -> list[Any]:
        generator = torch.Generator().manual_seed(seed)
        return list(DataLoader(Items(4, make), None, num_workers=2, generator=generator))

    first = run(1)
    assert first == run(1) != run(2)
    assert [item[0] for item in first] == [0, 1, 0, 1]
    assert {item[1] for item in first} == {2} and len({item[2] for item in first}) == 1
    assert {item[3] for item in first} == {"Items"}
    assert len({number for item in first for number in item[4:]}) == 12
    assert get_worker_info() is None


def test_random_order_does_not_depend_on_the_number_of_workers() -> None:
    def order(workers: int) -> list[int]:
        torch.manual_seed(5)
        loader = DataLoader(Items(20, lambda i: i), 3, shuffle=True, num_workers=workers)
        return [i for batch in loader for i in batch.tolist()]

    assert order(0) == order(1) == order(2) != list(range(20))


class Stream(IterableDataset[int]):
    """Each worker gives its own part of 0 .. n-1."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        info = get_worker_info()
        assert info is not None
        return iter(range(info.id, self.count, info.num_workers))


@pytest.mark.parametrize("drop_last", [False, True])
def test_streams(drop_last: bool) -> None:
    loader = DataLoader(Stream(11), 3, num_workers=2, drop_last=drop_last)
    wanted = [[0, 2, 4], [1, 3, 5], [6, 8, 10], [7, 9]]
    assert [b.tolist() for b in loader] == wanted[: 3 if drop_last else 4]
    assert [int(i) for i in DataLoader(Stream(5), None, num_workers=3)] == [0, 1, 2, 3, 4]


def test_workers_persist() -> None:
    loader = DataLoader(Items(8, lambda _: os.getpid()), 1, num_workers=2, persistent_workers=True)
    first = {int(pid) for pid in loader}
    assert first == {int(pid) for pid in loader} == children()
    next(iter(loader))  # a pass that is left early
    assert len(list(loader)) == 8
    streams = DataLoader(Stream(6), 2, num_workers=2, persistent_workers=True)
    for _ in range(2):
        assert [b.tolist() for b in streams] == [[0, 2], [1, 3], [4], [5]]
    del loader, streams
    gc.collect()
    assert not children()


def test_leaving_early_ends_the_workers() -> None:
    for _batch in DataLoader(Items(1000, row), 4, num_workers=2):
        break
    del _batch
    gc.collect()
    assert not children()


def test_nothing_has_a_name() -> None:
    """Neither here nor in the workers, large batches under way included."""
    mine = named_memory()
    iterator = iter(DataLoader(Items(40, row), 4, num_workers=2))
    kept = [next(iterator) for _ in range(3)]
    assert shared_maps() and len(workers := children()) == 2
    assert all(named_memory(pid) == mine for pid in workers) and named_memory() == mine
    del iterator, kept


# ---- failures


class Unusual(Exception):
    """Cannot be made from a text alone."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(first, second)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (ValueError("bad item"), ValueError, "ValueError: bad item"),
        (KeyError("name"), KeyError, "KeyError: 'name'"),
        (StopIteration(), StopIteration, "StopIteration"),
        (Unusual(1, 2), RuntimeError, r"Unusual: \(1, 2\)"),
    ],
)
def test_an_exception_keeps_its_class_and_traceback(error: Any, kind: Any, text: str) -> None:
    def make(index: int) -> int:
        if index == 5:
            raise error
        return index

    iterator = iter(DataLoader(Items(12, make), 2, num_workers=2))
    assert [next(iterator).tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(kind) as caught:
        next(iterator)
    message = str(caught.value)
    name = type(error).__name__
    assert message.startswith(f"Caught {name} in DataLoader worker process 0.\nOriginal Traceback")
    assert "in make" in message
    caught.match(text)
    assert [batch.tolist() for batch in iterator] == [[6, 7], [8, 9], [10, 11]]


def test_a_failing_init_function() -> None:
    def init(number: int) -> None:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        next(iter(DataLoader(Items(3, row), worker_init_fn=init, num_workers=1)))


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_a_killed_worker_is_one_error(name: str) -> None:
    number = getattr(signal, name)

    def make(index: int) -> torch.Tensor:
        if index == 9:
            os.kill(os.getpid(), number)
        return row(index)

    loader = DataLoader(Items(100, make), 2, num_workers=2)
    with pytest.raises(RuntimeError, match=rf"worker \(pid \d+\) is killed by signal: {name}"):
        for _batch in loader:
            pass
    _batch = None
    assert not children()


def test_a_worker_that_exits() -> None:
    with pytest.raises(RuntimeError, match="exited unexpectedly with exit code 3"):
        list(DataLoader(Items(4, lambda _: os._exit(3)), num_workers=1))
    assert not children()


def test_a_worker_is_killed_while_others_wait_for_the_parent() -> None:
    iterator = iter(DataLoader(Items(1000, row), 4, num_workers=2, prefetch_factor=4))
    kept = [next(iterator) for _ in range(3)]
    os.kill(min(children()), signal.SIGKILL)
    with pytest.raises(RuntimeError, match="SIGKILL"):
        for _ in range(20):
            kept.append(next(iterator))
    assert not children()
    assert [int(batch[0, 0].item()) for batch in kept] == list(range(0, 4 * len(kept), 4))


def test_timeout() -> None:
    with pytest.raises(RuntimeError, match=r"DataLoader timed out after 0\.3 seconds"):
        list(DataLoader(Items(2, lambda _: time.sleep(1000)), num_workers=1, timeout=0.3))
    assert not children()


PROGRAM = """
import os, sys, time
import tritorch as torch
from tritorch.utils.data import DataLoader, Dataset

class Slow(Dataset):
    def __len__(self):
        return 1000
    def __getitem__(self, index):
        if index >= 20:
            sum(range(10**12)) if sys.argv[1] == "busy" else time.sleep(1000)
        return torch.ones(5000)

if __name__ == "__main__":
    iterator = iter(DataLoader(Slow(), 4, num_workers=2))
    kept = [next(iterator) for _ in range(5)]
    print(*open(f"/proc/self/task/{os.getpid()}/children").read().split(), flush=True)
    next(iterator)
"""


def running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone_within(pids: list[int], seconds: float) -> bool:
    limit = time.monotonic() + seconds
    while any(map(running, pids)) and time.monotonic() < limit:
        time.sleep(0.02)
    return not any(map(running, pids))


@pytest.mark.parametrize("how", ["sleeping", "busy"])
@pytest.mark.parametrize("end", ["SIGINT", "SIGKILL"])
def test_the_end_of_the_parent_is_the_end_of_all(how: str, end: str) -> None:
    """Ctrl-C goes to the whole group, as a terminal sends it; SIGKILL to the parent alone."""
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, how], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    assert program.stdout is not None
    workers = [int(pid) for pid in program.stdout.readline().split()]
    assert len(workers) == 2 and all(map(running, workers))
    if end == "SIGINT":
        os.killpg(program.pid, signal.SIGINT)
    else:
        program.kill()
    try:
        _, errors = program.communicate(timeout=120)  # what it waits for takes 1000 s
        assert gone_within(workers, 120)
    finally:
        for pid in filter(running, workers):
            os.kill(pid, signal.SIGKILL)
    assert program.returncode == -getattr(signal, end)
    if end == "SIGINT":
        assert errors.count("Traceback") == 1 and errors.rstrip().endswith("KeyboardInterrupt")


def test_a_worker_that_cannot_start_leaves_no_socket_open() -> None:
    loader = DataLoader(Items(2, lambda i: i), num_workers=1, multiprocessing_context="spawn")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
            iter(loader)
        gc.collect()
    stop_forkserver()
    assert not [str(warning.message) for warning in said]
