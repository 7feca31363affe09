"""`DataLoader`: batches of a dataset, in the order of a sampler."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

import tritorch
from tritorch.tensor import Tensor
from tritorch.utils.data.dataset import IterableDataset, TensorDataset
from tritorch.utils.data.sampler import BatchSampler, RandomSampler, SequentialSampler


def default_collate(batch: Sequence[Any]) -> Any:
    """Stack the items of a batch: tensors, arrays and numbers become tensors, containers stay.

    Raises:
        TypeError: an item is of a type that cannot be stacked.
        RuntimeError: items differ in length.
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return tritorch.stack(list(batch))
    if isinstance(first, np.ndarray):
        return tritorch.stack([tritorch.as_tensor(item) for item in batch])
    if isinstance(first, np.generic):
        return tritorch.as_tensor(np.asarray(batch))
    if isinstance(first, float):
        return tritorch.tensor(batch, dtype=tritorch.float64)
    if isinstance(first, int):
        return tritorch.tensor(batch)
    if isinstance(first, str | bytes):
        return batch
    if isinstance(first, Mapping):
        return {key: default_collate([item[key] for item in batch]) for key in first}
    if isinstance(first, Sequence):
        if any(len(item) != len(first) for item in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        columns = [default_collate(column) for column in zip(*batch)]  # strings stay a tuple
        return type(first)(*columns) if hasattr(first, "_fields") else columns
    raise TypeError(
        "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
        f"found {type(first)}. Give the DataLoader a collate_fn."
    )


def default_convert(data: Any) -> Any:
    """Arrays and numbers of NumPy as tensors, inside dictionaries, lists and tuples too."""
    if isinstance(data, np.ndarray | np.generic):
        array = np.asarray(data)
        return data if array.dtype.kind in "SUO" else tritorch.as_tensor(array)
    if isinstance(data, Tensor | str | bytes):
        return data
    if isinstance(data, Mapping):
        return {key: default_convert(value) for key, value in data.items()}
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*map(default_convert, data))
    if isinstance(data, Sequence):
        return [default_convert(item) for item in data]
    return data


def get_worker_info() -> None:
    """What a worker process knows of itself: None, since items are loaded in the main process."""


class DataLoader:
    """Iterates over a dataset in batches, loading in this process.

    Args:
        dataset: map-style (`__getitem__` and `__len__`) or iterable.
        batch_size: items a batch; None gives single items.
        shuffle: visit in a new random order each time.
        sampler, batch_sampler: own order; exclusive with shuffle (and batch_size).
        collate_fn: makes a batch of a list of items; `default_collate` stacks.
        drop_last: leave out a last batch that is not full.
        generator: source of the random order.
        num_workers: only 0 so far, loading in this process; the options of workers (timeout,
            worker_init_fn, multiprocessing_context, in_order) then have no effect.
    Raises:
        ValueError: options that exclude each other, or that need workers.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[list[int]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        if num_workers != 0:
            raise ValueError(
                f"DataLoader: num_workers={num_workers} is not supported yet. Use 0: items are "
                "loaded in this process."
            )
        if prefetch_factor is not None or persistent_workers:
            option = "persistent_workers" if persistent_workers else "prefetch_factor"
            raise ValueError(f"{option} option needs num_workers > 0")
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None and (
            batch_size != 1 or shuffle or sampler is not None or drop_last
        ):
            raise ValueError(
                "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, "
                "and drop_last"
            )
        self.dataset = dataset
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.drop_last = drop_last
        self.generator = generator
        self.collate_fn = collate_fn
        self._iterable = isinstance(dataset, IterableDataset)
        if self._iterable:
            if shuffle or sampler is not None or batch_sampler is not None:
                raise ValueError(
                    "DataLoader with IterableDataset: expected unspecified shuffle, sampler and "
                    "batch_sampler"
                )
        elif sampler is None and batch_sampler is None:
            sampler = (
                RandomSampler(dataset, generator=generator)
                if shuffle
                else SequentialSampler(dataset)
            )
        self.sampler = sampler
        self.batch_size = None if batch_sampler is not None else batch_size
        if batch_sampler is None and batch_size is not None and sampler is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_sampler = batch_sampler

    def __iter__(self) -> Iterator[Any]:
        collate = self.collate_fn or default_collate
        if self._iterable:
            yield from self._iterate_stream(collate)
        elif self.batch_sampler is None:
            for index in self.sampler or ():
                yield (self.collate_fn or default_convert)(self.dataset[index])
        else:
            stacked = None
            if type(self.dataset) is TensorDataset and self.collate_fn is None:
                stacked = self.dataset.stacked
            several = getattr(self.dataset, "__getitems__", None)
            for indices in self.batch_sampler:
                if stacked is not None:
                    yield list(stacked(indices))
                elif several is not None:
                    yield collate(several(indices))
                else:
                    yield collate([self.dataset[index] for index in indices])

    def _iterate_stream(self, collate: Callable[[list[Any]], Any]) -> Iterator[Any]:
        if self.batch_size is None:
            yield from map(self.collate_fn or default_convert, self.dataset)
            return
        batch: list[Any] = []
        for item in self.dataset:
            batch.append(item)
            if len(batch) == self.batch_size:
                yield collate(batch)
                batch = []
        if batch and not self.drop_last:
            yield collate(batch)

    def __len__(self) -> int:
        if self._iterable:
            raise TypeError("object of type 'IterableDataset' has no len()")
        # An empty sampler is falsy, so `or` would not do.
        order = self.sampler if self.batch_sampler is None else self.batch_sampler
        return len(order)  # type: ignore[arg-type]
