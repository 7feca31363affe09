"""How the items of one batch are taken from a dataset, in this process or in a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from tritorch.utils.data.collate import default_collate, default_convert
from tritorch.utils.data.dataset import IterableDataset, TensorDataset


class Fetcher(Protocol):
    """Makes the batch of some indices; StopIteration where a stream has ended."""

    def fetch(self, indices: Any) -> Any: ...


class IndexFetcher:
    """Of a dataset with items by index; `batched` is whether `indices` are a list of them."""

    def __init__(self, dataset: Any, batched: bool, collate: Callable[[Any], Any]) -> None:
        self._dataset = dataset
        self._batched = batched
        self._collate = collate
        self._several = getattr(dataset, "__getitems__", None)
        # rows of tensors are gathered at once instead of cut apart and stacked again
        self._stacked = None
        if type(dataset) is TensorDataset and batched and collate is default_collate:
            self._stacked = dataset.stacked

    def fetch(self, indices: Any) -> Any:
        if self._stacked is not None:
            return list(self._stacked(indices))
        if not self._batched:
            return self._collate(self._dataset[indices])
        if self._several is not None:
            return self._collate(self._several(indices))
        return self._collate([self._dataset[index] for index in indices])


class StreamFetcher:
    """Of a dataset that is iterated; each batch takes the next `batch_size` items, None: one."""

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None,
        drop_last: bool,
        collate: Callable[[Any], Any],
    ) -> None:
        self._items: Iterator[Any] = iter(dataset)
        self._batch_size = batch_size
        self._drop_last = drop_last
        self._collate = collate
        self._ended = False

    def fetch(self, indices: Any) -> Any:
        if self._ended:
            raise StopIteration
        if self._batch_size is None:
            return self._collate(next(self._items))
        batch: list[Any] = []
        while len(batch) < self._batch_size:
            try:
                batch.append(next(self._items))
            except StopIteration:
                self._ended = True
                if not batch or self._drop_last:
                    raise
                break
        return self._collate(batch)


class FetcherOptions:
    """What a loader tells its fetchers; made again for each pass over a stream."""

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None,
        drop_last: bool,
        batched: bool,
        collate: Callable[[Any], Any] | None,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.batched = batched
        self.collate = collate or (default_collate if batched else default_convert)
        self.streams = isinstance(dataset, IterableDataset)

    def make(self) -> Fetcher:
        """A fetcher at the beginning."""
        if self.streams:
            return StreamFetcher(self.dataset, self.batch_size, self.drop_last, self.collate)
        return IndexFetcher(self.dataset, self.batched, self.collate)
