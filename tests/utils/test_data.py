"""Datasets, samplers, DataLoader."""

from __future__ import annotations

from collections import OrderedDict, deque, namedtuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tritorch as torch
from tritorch.utils.data import (
    BatchSampler,
    ChainDataset,
    ConcatDataset,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    default_convert,
    random_split,
)


class Numbers(Dataset[int]):
    """0 .. n-1."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __getitem__(self, index: int) -> int:
        return index

    def __len__(self) -> int:
        return self.n


def test_tensor_dataset_batches_are_rows() -> None:
    x, y = torch.arange(10).reshape(5, 2), torch.arange(5)
    data = TensorDataset(x, y)
    assert [v.tolist() for v in data[3]] == [[6, 7], 3]
    batches = [[v.tolist() for v in batch] for batch in DataLoader(data, batch_size=2)]
    assert batches == [[[[0, 1], [2, 3]], [0, 1]], [[[4, 5], [6, 7]], [2, 3]], [[[8, 9]], [4]]]
    with pytest.raises(ValueError, match="Size mismatch"):
        TensorDataset(x, torch.ones(4))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(1, 9), st.booleans(), st.booleans())
def test_every_item_comes_once(n: int, batch: int, drop_last: bool, shuffle: bool) -> None:
    loader = DataLoader(Numbers(n), batch, shuffle=shuffle, drop_last=drop_last)
    batches = [b.tolist() for b in loader]
    seen = sorted(i for b in batches for i in b)
    assert len(batches) == len(loader) == (n // batch if drop_last else -(-n // batch))
    assert len(seen) == len(set(seen)) == (n - n % batch if drop_last else n)
    if not shuffle:
        assert seen == [i for b in batches for i in b]


def test_shuffle_is_seeded_and_changes() -> None:
    def order(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        loader = DataLoader(Numbers(50), None, shuffle=True, generator=generator)
        return list(loader)

    assert order(1) == order(1) != order(2)
    assert sorted(order(1)) == list(range(50))


def test_samplers() -> None:
    data = Numbers(6)
    assert list(SequentialSampler(data)) == list(range(6))
    assert len(list(RandomSampler(data, replacement=True, num_samples=20))) == 20
    assert sorted(RandomSampler(data, num_samples=12)) == sorted([*range(6), *range(6)])
    assert list(BatchSampler(SequentialSampler(data), 4, False)) == [[0, 1, 2, 3], [4, 5]]
    drawn = list(WeightedRandomSampler([0.0, 1.0, 0.0, 3.0], 400))
    assert set(drawn) == {1, 3} and 240 < drawn.count(3) < 360


def test_more_samplers() -> None:
    assert sorted(SubsetRandomSampler([5, 7, 9])) == [5, 7, 9]
    assert sorted(WeightedRandomSampler([1.0, 2.0, 3.0], 3, replacement=False)) == [0, 1, 2]
    with pytest.raises(ValueError, match="weights should be a 1d sequence"):
        WeightedRandomSampler([[1.0]], 1)  # type: ignore[list-item]
    with pytest.raises(TypeError, match="replacement should be a boolean"):
        RandomSampler(Numbers(3), replacement=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(("n", "replicas"), [(10, 3), (9, 3), (2, 5)])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_distributed_sampler_shares_out(
    n: int, replicas: int, drop_last: bool, shuffle: bool
) -> None:
    parts = [
        DistributedSampler(Numbers(n), replicas, rank, shuffle, 3, drop_last)
        for rank in range(replicas)
    ]
    seen = [list(part) for part in parts]
    assert {len(part) for part in parts} == {len(part) for part in seen}
    assert len(seen[0]) == (n // replicas if drop_last else -(-n // replicas))
    visited = [i for part in seen for i in part]
    if drop_last:
        assert len(set(visited)) == len(visited)
    else:
        assert set(visited) == set(range(n))
    for part in parts:
        part.set_epoch(1)
    if shuffle and n == 10:
        assert [list(part) for part in parts] != seen


def test_distributed_sampler_errors() -> None:
    with pytest.raises(RuntimeError, match="Give num_replicas and rank"):
        DistributedSampler(Numbers(3))
    with pytest.raises(ValueError, match=r"Invalid rank 3.*interval \[0, 2\]"):
        DistributedSampler(Numbers(3), 3, 3)


def test_stack_and_chain() -> None:
    pair = StackDataset(Numbers(3), Subset(Numbers(9), [4, 5, 6]))
    assert (pair[1], len(pair), pair.__getitems__([0, 2])) == ((1, 5), 3, [(0, 4), (2, 6)])
    named = StackDataset(a=Numbers(2), b=Numbers(2))
    assert named[1] == {"a": 1, "b": 1} and named.__getitems__([0]) == [{"a": 0, "b": 0}]
    with pytest.raises(ValueError, match=r"lengths are \[1, 2\]"):
        StackDataset(Numbers(1), Numbers(2))
    with pytest.raises(ValueError, match="not both"):
        StackDataset(Numbers(1), a=Numbers(1))

    class Stream(IterableDataset[int]):
        def __iter__(self) -> Any:
            return iter(range(3))

        def __len__(self) -> int:
            return 3

    both = Stream() + Stream()
    assert isinstance(both, ChainDataset) and list(both) == [0, 1, 2, 0, 1, 2] and len(both) == 6
    assert len(DataLoader(both, 4)) == 2 and len(DataLoader(both, 4, drop_last=True)) == 1
    with pytest.raises(TypeError, match="only supports IterableDataset"):
        list(ChainDataset([Numbers(3)]))


def test_random_split_by_fractions() -> None:
    parts = random_split(Numbers(10), [0.35, 0.35, 0.3], torch.Generator().manual_seed(0))
    assert [len(part) for part in parts] == [4, 3, 3]
    again = random_split(Numbers(10), [0.35, 0.35, 0.3], torch.Generator().manual_seed(0))
    assert [part.indices for part in parts] == [part.indices for part in again]
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        random_split(Numbers(2), [0.9, 0.1])
    with pytest.raises(ValueError, match="Fraction at index 0 is not between 0 and 1"):
        random_split(Numbers(2), [-0.5, 1.5])


def test_collate_keeps_structure() -> None:
    Pair = namedtuple("Pair", "a b")
    batch: list[Any] = [
        {"x": Pair(1, 2.0), "s": "u", "n": np.float32(1)},
        {"x": Pair(3, 4.0), "s": "v", "n": np.float32(2)},
    ]
    result = default_collate(batch)
    assert isinstance(result["x"], Pair) and result["x"].a.tolist() == [1, 3]
    assert result["x"].b.dtype is torch.float64 and result["s"] == ["u", "v"]
    assert result["n"].dtype is torch.float32
    with pytest.raises(TypeError, match="Give the DataLoader a collate_fn"):
        default_collate([object()])
    with pytest.raises(RuntimeError, match="equal size"):
        default_collate([[1], [1, 2]])
    with pytest.raises(RuntimeError, match="of equal size, got"):
        default_collate([np.ones(2), np.ones(3)])
    mixed = default_collate([np.ones(2, np.float32), np.ones(2)])
    assert mixed.dtype is torch.float64 and mixed.shape == (2, 2)
    kept = default_collate([OrderedDict(a=1), OrderedDict(a=2)])
    assert type(kept) is OrderedDict and kept["a"].tolist() == [1, 2]
    assert type(default_convert(deque([np.float32(1)]))) is deque


def test_iterable_concat_subset_split() -> None:
    class Stream(IterableDataset[int]):
        def __iter__(self) -> Any:
            return iter(range(5))

    assert [b.tolist() for b in DataLoader(Stream(), batch_size=2)] == [[0, 1], [2, 3], [4]]
    both = Numbers(3) + Numbers(2)
    assert isinstance(both, ConcatDataset) and [both[i] for i in range(5)] == [0, 1, 2, 0, 1]
    assert both[-1] == 1
    with pytest.raises(IndexError, match="out of range"):
        both[5]
    assert Subset(Numbers(9), [4, 2])[1] == 2
    parts = random_split(Numbers(10), [0.7, 0.3])
    assert [len(p) for p in parts] == [7, 3]
    assert sorted(i for p in parts for i in p.indices) == list(range(10))
    with pytest.raises(ValueError, match="Sum of input lengths"):
        random_split(Numbers(10), [3, 3])


def test_loader_errors() -> None:
    with pytest.raises(ValueError, match="num_workers option should be non-negative"):
        DataLoader(Numbers(1), num_workers=-1)
    with pytest.raises(ValueError, match="timeout option should be non-negative"):
        DataLoader(Numbers(1), timeout=-1)
    with pytest.raises(ValueError, match="persistent_workers option needs num_workers > 0"):
        DataLoader(Numbers(1), persistent_workers=True)
    with pytest.raises(ValueError, match="prefetch_factor option should be positive, got 0"):
        DataLoader(Numbers(1), num_workers=1, prefetch_factor=0)
    with pytest.raises(ValueError, match=r"valid start method in .*'thread'"):
        DataLoader(Numbers(1), num_workers=1, multiprocessing_context="thread")
    with pytest.raises(ValueError, match="batch_size=None option disables auto-batching"):
        DataLoader(Numbers(1), None, drop_last=True)
    with pytest.raises(ValueError, match="batch_size attribute should not be set after"):
        DataLoader(Numbers(1)).batch_size = 3
    with pytest.raises(ValueError, match="mutually exclusive with shuffle"):
        DataLoader(Numbers(1), shuffle=True, sampler=[0])
    with pytest.raises(ValueError, match="batch_size should be a positive integer"):
        DataLoader(Numbers(1), batch_size=0)


def test_single_items_are_converted_and_strings_stay_tuples() -> None:
    items = [(np.array([1.0, 2.0], np.float32), "a", {"n": np.int64(3)})]
    ((array, text, numbers),) = DataLoader(items, batch_size=None)
    assert array.tolist() == [1.0, 2.0]
    assert (text, numbers["n"].item(), numbers["n"].dtype) == ("a", 3, torch.int64)
    assert next(iter(DataLoader([("a", 1), ("b", 2)], batch_size=2)))[0] == ("a", "b")


def test_options_of_workers() -> None:
    assert len(DataLoader(Numbers(4), 2, timeout=0, worker_init_fn=None, prefetch_factor=None)) == 2
    with pytest.raises(ValueError, match="prefetch_factor option needs num_workers > 0"):
        DataLoader(Numbers(4), 2, prefetch_factor=2)
