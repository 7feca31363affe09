"""Samplers: in which order the items of a dataset are visited."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import tritorch


class Sampler:
    """Base class: implement `__iter__` (indices) and `__len__`."""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError("Subclasses of Sampler should implement __iter__.")


class SequentialSampler(Sampler):
    """0, 1, 2, ..."""

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler):
    """A random permutation, or `num_samples` independent draws with `replacement`."""

    def __init__(
        self,
        data_source: Any,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Any = None,
    ) -> None:
        if num_samples is not None and num_samples <= 0:
            raise ValueError(
                f"num_samples should be a positive integer value, but got num_samples={num_samples}"
            )
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator

    @property
    def num_samples(self) -> int:
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        total = len(self.data_source)
        if self.replacement:
            draws = tritorch.randint(0, total, (self.num_samples,), generator=self.generator)
            yield from draws.tolist()
            return
        left = self.num_samples
        while left > 0:
            order = tritorch.randperm(total, generator=self.generator).tolist()
            yield from order[:left]
            left -= total

    def __len__(self) -> int:
        return self.num_samples


class WeightedRandomSampler(Sampler):
    """`num_samples` indices drawn with the given weights (with replacement)."""

    def __init__(self, weights: Sequence[float], num_samples: int, generator: Any = None) -> None:
        if num_samples <= 0:
            raise ValueError(f"num_samples should be a positive integer value, got {num_samples}")
        self.weights = tritorch.as_tensor(weights, dtype=tritorch.float64)
        self.num_samples = num_samples
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        # Inverse of the cumulative distribution, a draw at a time on the host: index metadata.
        import bisect
        import itertools

        bounds = list(itertools.accumulate(self.weights.tolist()))
        draws = tritorch.rand(
            self.num_samples, dtype=tritorch.float64, generator=self.generator
        ).tolist()
        for draw in draws:
            yield min(bisect.bisect_right(bounds, draw * bounds[-1]), len(bounds) - 1)

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler):
    """Lists of `batch_size` indices from another sampler."""

    def __init__(self, sampler: Iterable[Any], batch_size: int, drop_last: bool) -> None:
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0:
            raise ValueError(
                f"batch_size should be a positive integer value, but got batch_size={batch_size}"
            )
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[Any]]:
        batch: list[Any] = []
        for index in self.sampler:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self) -> int:
        total = len(self.sampler)  # type: ignore[arg-type]
        return total // self.batch_size if self.drop_last else -(-total // self.batch_size)
