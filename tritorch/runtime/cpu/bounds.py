"""`TRITORCH_DEBUG=bounds`: which memory is known, and launches that raise for an access outside.

Kernels are compiled with a check before every access (`triton_cpu.codegen.access_checks`) and take
a table of ranges: for each pointer the allocation it points into. Known are the storages of tensors
(ours to the byte, borrowed ones as they were lent), workspaces, and arrays that `kernel[grid](...)`
gets. A pointer into memory that nobody knows is not checked.
"""

from __future__ import annotations

import gc
import threading
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from tritorch.config import config
from tritorch.errors import BoundsError
from tritorch.once import once
from tritorch.runtime.storage import Storage
from tritorch.triton_cpu.codegen import access_checks as checks

if TYPE_CHECKING:
    from tritorch.runtime.target import Kernel, Launch

_EVERYTHING = (0, (1 << 64) - 1)
_WORDS = {"tt.load": "load", "tt.store": "store"}


def enabled() -> bool:
    """Whether new kernels check their accesses."""
    return config.debug == "bounds"


class KnownMemory:
    """Ranges of memory that are in use; ranges that touch each other stay apart."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[int, int]] = Counter()
        self._sorted: list[tuple[int, int]] | None = None
        self._lock = threading.RLock()

    def add(self, begin: int, nbytes: int) -> None:
        with self._lock:
            self._counts[begin, begin + nbytes] += 1
            self._sorted = None

    def remove(self, begin: int, nbytes: int) -> None:
        key = (begin, begin + nbytes)
        with self._lock:
            self._counts[key] -= 1
            if self._counts[key] <= 0:
                del self._counts[key]
            self._sorted = None

    def ranges(self) -> list[tuple[int, int]]:
        """All ranges in order; those that overlap (views of one array) are one."""
        with self._lock:
            if self._sorted is None:
                merged: list[tuple[int, int]] = []
                for begin, end in sorted(self._counts):
                    if merged and begin < merged[-1][1]:
                        merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
                    else:
                        merged.append((begin, end))
                self._sorted = merged
            return self._sorted


def range_of(address: int, ranges: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The range that holds an address, or ends there; all of memory if there is none."""
    place = bisect_right(ranges, (address, _EVERYTHING[1])) - 1
    if place >= 0 and address <= ranges[place][1]:
        return ranges[place]
    return _EVERYTHING


@once
def known_memory() -> KnownMemory:
    """What is known; the first call lets storages and workspaces tell of themselves."""
    known = KnownMemory()
    _watch_storages(known)
    return known


@contextmanager
def arrays_known(values: Iterable[Any]) -> Iterator[None]:
    """Know the memory of NumPy arrays for the length of a launch."""
    known = known_memory()
    ranges = []
    for value in values:
        if isinstance(value, np.ndarray):
            while isinstance(value.base, np.ndarray):
                value = value.base
            reaches = [(n - 1) * step for n, step in zip(value.shape, value.strides)]
            begin = value.ctypes.data + sum(min(reach, 0) for reach in reaches)
            span = sum(map(abs, reaches)) + value.itemsize if value.size else 0
            ranges.append((begin, span))
    for begin, nbytes in ranges:
        known.add(begin, nbytes)
    try:
        yield
    finally:
        for begin, nbytes in ranges:
            known.remove(begin, nbytes)


def _watch_storages(known: KnownMemory) -> None:
    from tritorch.runtime import get_target

    target: Any = get_target("cpu")
    allocate, free = target.allocate, target.free
    borrow, forget = Storage.borrow.__func__, Storage.__del__  # type: ignore[attr-defined]
    for storage in gc.get_objects():
        if type(storage) is Storage:
            known.add(storage.address, storage.nbytes)

    def begin(self: Storage, nbytes: int, memory: Any) -> None:
        self.nbytes, self.version, self.owner = nbytes, 0, None
        self.address = allocate(nbytes) if memory is target else memory.allocate(nbytes)
        self._free = memory.free_list(nbytes)
        known.add(self.address, nbytes)

    def lent(cls: type[Storage], address: int, nbytes: int, owner: Any) -> Storage:
        storage: Storage = borrow(cls, address, nbytes, owner)
        known.add(address, nbytes)
        return storage

    def end(self: Storage) -> None:
        if hasattr(self, "_free"):
            known.remove(self.address, self.nbytes)
        forget(self)

    def taken(nbytes: int) -> int:
        address: int = allocate(nbytes)
        known.add(address, nbytes)
        return address

    def returned(address: int, nbytes: int) -> None:
        known.remove(address, nbytes)
        free(address, nbytes)

    Storage.__init__ = begin  # type: ignore[method-assign, assignment]
    Storage.__del__ = end  # type: ignore[method-assign]
    Storage.borrow = classmethod(lent)  # type: ignore[assignment]
    target.allocate, target.free = taken, returned


def checked_launch(
    kernel: Kernel, values: Sequence[Any], bind: Callable[[Sequence[Any]], Launch]
) -> Launch:
    """A launch that fills the table and raises what the kernel wrote into it.

    Args:
        values: as for `launcher.bind`, the table's left out.
        bind: binds values, the table's included.
    """
    types = kernel.parameter_types
    launch = bind([*values, None])
    pointers = [i for i, kind in enumerate(types) if kind.startswith("*")]
    dynamic = [i for i, value in enumerate(values) if value is None]
    places = {parameter: place for place, parameter in enumerate(dynamic)}
    memory = known_memory()

    def address(parameter: int, given: Sequence[Any]) -> int:
        value = given[places[parameter]] if parameter in places else values[parameter]
        return int(value if isinstance(value, int) else value.data_ptr())

    def checked(*given: Any) -> None:
        if len(given) != len(dynamic):
            launch(*given)  # raises for the number of arguments
            return
        ranges = memory.ranges()
        table = array("Q", bytes(8 * (checks.HEAD + 2 * len(types))))
        for parameter in pointers:
            place = checks.HEAD + 2 * parameter
            table[place : place + 2] = array("Q", range_of(address(parameter, given), ranges))
        table[checks.COUNT] = len(table) << 32 | len(ranges)
        for known in ranges:
            table.extend(known)
        launch(*given, table.buffer_info()[0])
        if table[checks.FAILED]:
            raise _violation(kernel, table, lambda parameter: address(parameter, given))

    return checked


def _violation(kernel: Kernel, table: array[int], address: Callable[[int], int]) -> BoundsError:
    number, size = table[checks.ARGUMENT], table[checks.SIZE]
    access = _WORDS.get(checks.ACCESSES[table[checks.ACCESS]], "atomic operation")
    names = [n for n, kind in kernel.signature.items() if kind != "constexpr"]
    if number >= len(kernel.parameter_types):
        return BoundsError(
            f"{kernel.name}: {access} at address {table[checks.ADDRESS]:#x}, which is in no known "
            "memory. The address derives from no argument; look at how the kernel computes it."
        )
    known = len(names) == len(kernel.parameter_types)
    name = names[number] if known else f"argument {number}"
    base = address(number)
    begin, end = table[checks.HEAD + 2 * number], table[checks.HEAD + 2 * number + 1]
    index = (table[checks.ADDRESS] - base) // size
    low, high = -((base - begin) // size), (end - base) // size
    return BoundsError(
        f"{kernel.name}: {access} of {name}[{index}] is out of bounds: its memory holds the "
        f"elements {low}..{high - 1} of {size} bytes. Mask the access, or correct the index."
    )
