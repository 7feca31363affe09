"""`DataLoader`: batches of a dataset, in the order of a sampler, made here or by workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from typing import Any

import tritorch
from tritorch.utils.data.dataset import IterableDataset
from tritorch.utils.data.fetch import FetcherOptions
from tritorch.utils.data.sampler import BatchSampler, RandomSampler, SequentialSampler

_DEFAULT_PREFETCH = 2
#: what the workers were told cannot be changed under them
_FIXED = frozenset(
    {"batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"}
)


class DataLoader:
    """Iterates over a dataset in batches, which this process or workers make.

    Args:
        dataset: map-style (`__getitem__` and `__len__`) or iterable.
        batch_size: items a batch; None gives single items.
        shuffle: visit in a new random order each time.
        sampler, batch_sampler: own order; exclusive with shuffle (and batch_size).
        num_workers: how many processes make batches; 0: this one does.
        collate_fn: makes a batch of a list of items; `default_collate` stacks. In a worker, large
            tensors and arrays it returns go through shared memory, without a copy if their size
            has come before.
        pin_memory: batches are in page-locked memory, which a GPU copies while the program goes on
            (`.to("cuda", non_blocking=True)`); without a GPU there is nothing to pin for.
        drop_last: leave out a last batch that is not full.
        timeout: wait so long for a batch of a worker (seconds); 0: for ever.
        worker_init_fn: called in each worker with its number, after seeding.
        multiprocessing_context: how workers are started: "fork", "spawn", "forkserver" or a context
            of multiprocessing; None: as the system does.
        generator: source of the random order and of the workers' seeds.
        prefetch_factor: batches that each worker makes ahead; 2 unless given.
        persistent_workers: keep the workers for the next pass.
        in_order: give batches in order; False gives each when it is ready.
    Raises:
        ValueError: options that exclude each other, or that need workers.

    While iterating, an exception in a worker is raised here, of its class and with the worker's
    traceback; RuntimeError when a worker was killed (with its pid and the signal) or the time is
    up.
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
        _check_workers(
            num_workers, timeout, prefetch_factor, persistent_workers, multiprocessing_context
        )
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None and (
            batch_size != 1 or shuffle or sampler is not None or drop_last
        ):
            raise ValueError(
                "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, "
                "and drop_last"
            )
        if batch_size is None and batch_sampler is None and drop_last:
            raise ValueError(
                "batch_size=None option disables auto-batching and is mutually exclusive with "
                "drop_last"
            )
        self.dataset = dataset
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.prefetch_factor = (
            _DEFAULT_PREFETCH if num_workers and prefetch_factor is None else prefetch_factor
        )
        self.persistent_workers = persistent_workers
        self.in_order = in_order
        self.drop_last = drop_last
        self.generator = generator
        self._streams = isinstance(dataset, IterableDataset)
        if self._streams:
            if shuffle or sampler is not None or batch_sampler is not None:
                raise ValueError(
                    "DataLoader with IterableDataset: expected unspecified shuffle, sampler and "
                    "batch_sampler"
                )
            if batch_size is not None:
                BatchSampler((), batch_size, drop_last)  # says what is wrong with them
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
        batched = batch_sampler is not None or self.batch_size is not None
        self._options = FetcherOptions(dataset, self.batch_size, drop_last, batched, collate_fn)
        self.collate_fn = self._options.collate
        self._iterator: Any = None
        self._complete = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and self.__dict__.get("_complete"):
            raise ValueError(
                f"{name} attribute should not be set after {type(self).__name__} is initialized"
            )
        object.__setattr__(self, name, value)

    def _index_iterator(self) -> Iterator[Any]:
        """What each batch is made of: indices, or nothing for a stream."""
        if self._streams:
            return repeat(None)
        order = self.sampler if self.batch_sampler is None else self.batch_sampler
        return iter(() if order is None else order)

    def __iter__(self) -> Iterator[Any]:
        # drawn without workers too, so that their number does not change the random order
        base_seed = int(tritorch.randint(0, 1 << 62, (1,), generator=self.generator).item())
        if not self.num_workers:
            return self._here()
        from tritorch.utils.data.pool import WorkerIterator

        if not self.persistent_workers:
            return WorkerIterator(self, base_seed)
        if self._iterator is None or not self._iterator.is_open:
            self._iterator = WorkerIterator(self, base_seed)
        else:
            self._iterator.restart()
        return self._iterator

    def _here(self) -> Iterator[Any]:
        """Batches made by this process."""
        fetcher = self._options.make()
        for indices in self._index_iterator():
            try:
                batch = fetcher.fetch(indices)
            except StopIteration:
                if self._streams:
                    return
                raise
            yield self._delivered(batch)

    def _delivered(self, batch: Any) -> Any:
        """A batch as the program gets it."""
        if not self.pin_memory or not tritorch.cuda.is_available():
            return batch
        from tritorch.utils.data.pinning import pinned

        return pinned(batch)

    def __len__(self) -> int:
        if self._streams:
            total = len(self.dataset)
            if self.batch_size is None:
                return total
            return total // self.batch_size if self.drop_last else -(-total // self.batch_size)
        # An empty sampler is falsy, so `or` would not do.
        order = self.sampler if self.batch_sampler is None else self.batch_sampler
        return len(order)  # type: ignore[arg-type]


def _check_workers(
    num_workers: int, timeout: float, prefetch: int | None, persistent: bool, context: Any
) -> None:
    if num_workers < 0:
        raise ValueError(
            "num_workers option should be non-negative; use num_workers=0 to disable "
            "multiprocessing."
        )
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if not num_workers:
        if prefetch is not None:
            raise ValueError(
                "prefetch_factor option could only be specified in multiprocessing: "
                "prefetch_factor option needs num_workers > 0"
            )
        if persistent:
            raise ValueError("persistent_workers option needs num_workers > 0")
        if context is not None:
            raise ValueError(
                "multiprocessing_context can only be used with multi-process loading "
                f"(num_workers > 0), but got num_workers={num_workers}"
            )
    elif prefetch is not None and prefetch < 1:
        raise ValueError(f"prefetch_factor option should be positive, got {prefetch}")
    if isinstance(context, str):
        import multiprocessing

        known = multiprocessing.get_all_start_methods()
        if context not in known:
            raise ValueError(
                "multiprocessing_context option should specify a valid start method in "
                f"{known!r}, but got multiprocessing_context={context!r}"
            )
