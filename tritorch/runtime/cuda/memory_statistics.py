"""The counters behind `tritorch.cuda.memory_stats()`, with PyTorch's names."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

from tritorch.runtime.cuda.quick import bound
from tritorch.runtime.cuda.quick_ir import QUANTITIES

POOLS = ("all", "small_pool", "large_pool")
_NUMBERS = 3  # of a counter


class Counter:
    """A quantity now, at its highest, and the sum of its increases: three numbers of an array."""

    __slots__ = ("_at", "_cells")

    def __init__(self, cells: ctypes.Array[ctypes.c_int64] | None = None, at: int = 0) -> None:
        self._cells = (ctypes.c_int64 * _NUMBERS)() if cells is None else cells
        self._at = at

    @property
    def current(self) -> int:
        return self._cells[self._at]

    @property
    def peak(self) -> int:
        return self._cells[self._at + 1]

    @property
    def allocated(self) -> int:
        return self._cells[self._at + 2]

    def add(self, amount: int) -> None:
        cells, at = self._cells, self._at
        now = cells[at] = cells[at] + amount
        cells[at + 2] += amount
        if now > cells[at + 1]:
            cells[at + 1] = now

    def subtract(self, amount: int) -> None:
        self._cells[self._at] -= amount

    def reset_peak(self) -> None:
        self._cells[self._at + 1] = self.current

    def reset_accumulated(self) -> None:
        self._cells[self._at + 2] = self.current  # so that what was freed is none

    def figures(self) -> Iterator[tuple[str, int]]:
        yield "current", self.current
        yield "peak", self.peak
        yield "allocated", self.allocated
        yield "freed", self.allocated - self.current


class Quantity:
    """Counters of all memory and of either pool."""

    __slots__ = ("all", "large", "small")

    def __init__(self, cells: ctypes.Array[ctypes.c_int64], at: int) -> None:
        self.all, self.small, self.large = (
            Counter(cells, at + _NUMBERS * pool) for pool in range(len(POOLS))
        )

    def add(self, small: bool, amount: int) -> None:
        self.all.add(amount)
        (self.small if small else self.large).add(amount)

    def subtract(self, small: bool, amount: int) -> None:
        self.all.subtract(amount)
        (self.small if small else self.large).subtract(amount)

    def counters(self) -> tuple[Counter, Counter, Counter]:
        """In the order of POOLS."""
        return self.all, self.small, self.large


class Figures:
    """What one device's allocator counts.

    allocation(s): blocks that somebody holds; `active` ones are held, or wait for another stream;
    `segment`s come from the driver; `inactive_split` are free pieces of split segments;
    `requested_bytes` are those asked for, before rounding.
    """

    allocation: Quantity
    segment: Quantity
    active: Quantity
    inactive_split: Quantity
    allocated_bytes: Quantity
    reserved_bytes: Quantity
    active_bytes: Quantity
    inactive_split_bytes: Quantity
    requested_bytes: Quantity

    def __init__(self) -> None:
        width = _NUMBERS * len(POOLS)
        #: where machine code counts
        self.cells = (ctypes.c_int64 * (width * len(QUANTITIES)))()
        for place, name in enumerate(QUANTITIES):
            setattr(self, name, Quantity(self.cells, width * place))
        address = self.address = ctypes.addressof(self.cells)
        #: (1 for small or 2 for large, size, requested): a block is handed out; taken back
        self.count_out = bound("count_out", address, self.cells)
        self.count_back = bound("count_back", address, self.cells)
        #: (1 or 2, size): it may be handed out again
        self.count_free = bound("count_free", address, self.cells)
        #: (1 or 2, size): a part of a split segment is free; is not any more
        self.count_piece = bound("count_piece", address, self.cells)
        self.count_no_piece = bound("count_no_piece", address, self.cells)
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
            elif name.startswith("num_"):
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
