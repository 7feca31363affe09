"""The counters behind `tritorch.cuda.memory_stats()`, with PyTorch's names."""

from __future__ import annotations

from collections.abc import Iterator

POOLS = ("all", "small_pool", "large_pool")


class Counter:
    """A quantity now, at its highest, and the sum of its increases."""

    __slots__ = ("allocated", "current", "peak")

    def __init__(self) -> None:
        self.current = self.peak = self.allocated = 0

    def add(self, amount: int) -> None:
        self.current += amount
        self.allocated += amount
        if self.current > self.peak:
            self.peak = self.current

    def subtract(self, amount: int) -> None:
        self.current -= amount

    def reset_peak(self) -> None:
        self.peak = self.current

    def reset_accumulated(self) -> None:
        self.allocated = self.current  # so that what was freed is none

    def figures(self) -> Iterator[tuple[str, int]]:
        yield "current", self.current
        yield "peak", self.peak
        yield "allocated", self.allocated
        yield "freed", self.allocated - self.current


class Quantity:
    """Counters of all memory and of either pool."""

    __slots__ = ("all", "large", "small")

    def __init__(self) -> None:
        self.all, self.small, self.large = Counter(), Counter(), Counter()

    def add(self, small: bool, amount: int) -> None:
        self.all.add(amount)
        (self.small if small else self.large).add(amount)

    def subtract(self, small: bool, amount: int) -> None:
        self.all.current -= amount
        (self.small if small else self.large).current -= amount

    def counters(self) -> tuple[Counter, Counter, Counter]:
        """In the order of POOLS."""
        return self.all, self.small, self.large


class Figures:
    """What one device's allocator counts.

    allocation(s): blocks that somebody holds; `active` ones are held, or wait for another stream;
    `segment`s come from the driver; `inactive_split` are free pieces of split segments;
    `requested_bytes` are those asked for, before rounding.
    """

    def __init__(self) -> None:
        self.allocation = Quantity()
        self.segment = Quantity()
        self.active = Quantity()
        self.inactive_split = Quantity()
        self.allocated_bytes = Quantity()
        self.reserved_bytes = Quantity()
        self.active_bytes = Quantity()
        self.inactive_split_bytes = Quantity()
        self.requested_bytes = Quantity()
        self.num_alloc_retries = 0
        self.num_ooms = 0
        self.num_device_alloc = 0
        self.num_device_free = 0
        self.num_sync_all_streams = 0

    def as_dict(self) -> dict[str, int]:
        """Every figure under PyTorch's name, such as `allocated_bytes.all.peak`, in order."""
        found: dict[str, int] = {}
        for name, value in vars(self).items():
            if isinstance(value, Quantity):
                for pool, counter in zip(POOLS, value.counters(), strict=True):
                    found |= {f"{name}.{pool}.{kind}": n for kind, n in counter.figures()}
            else:
                found[name] = value
        # Every size may be split here, so there are no blocks beyond it.
        found["max_split_size"] = -1
        for name in ("oversize_allocations", "oversize_segments"):
            found |= {f"{name}.{kind}": n for kind, n in Counter().figures()}
        return dict(sorted(found.items()))

    def _counters(self) -> Iterator[Counter]:
        for value in vars(self).values():
            if isinstance(value, Quantity):
                yield from value.counters()

    def reset_peak(self) -> None:
        """Highest values count from now on."""
        for counter in self._counters():
            counter.reset_peak()

    def reset_accumulated(self) -> None:
        """Sums count from now on."""
        for counter in self._counters():
            counter.reset_accumulated()
        self.num_alloc_retries = self.num_ooms = 0
        self.num_device_alloc = self.num_device_free = self.num_sync_all_streams = 0
