"""`DistributedSampler`: each of several processes visits its own part of a dataset."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import tritorch
from tritorch.utils.data.sampler import Sampler


class DistributedSampler(Sampler[int]):
    """Every `num_replicas`-th index from `rank` on, of an order that all processes share.

    Args:
        dataset: with a length.
        num_replicas: how many processes there are.
        rank: which of them this is, from 0.
        shuffle: a new random order for each epoch (call `set_epoch`), else 0, 1, 2, ...
        seed: of the order; the same in all processes.
        drop_last: leave out the tail that does not divide evenly; otherwise items come twice.
    Raises:
        RuntimeError: num_replicas or rank is not given.
        ValueError: the rank is not one of the processes.
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if num_replicas is None or rank is None:
            raise RuntimeError(
                "DistributedSampler: Requires distributed package to be available. Give "
                "num_replicas and rank."
            )
        if not 0 <= rank < num_replicas:
            raise ValueError(
                f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]"
            )
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        total = len(dataset)
        self.num_samples = total // num_replicas if drop_last else math.ceil(total / num_replicas)
        self.total_size = self.num_samples * num_replicas

    def __iter__(self) -> Iterator[int]:
        total = len(self.dataset)
        if self.shuffle:
            generator = tritorch.Generator().manual_seed(self.seed + self.epoch)
            order = tritorch.randperm(total, generator=generator).tolist()
        else:
            order = list(range(total))
        if order:
            order = (order * math.ceil(self.total_size / total))[: self.total_size]
        return iter(order[self.rank :: self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the random order of this epoch."""
        self.epoch = epoch
