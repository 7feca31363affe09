"""Lists of free small blocks that machine code takes from and gives to (see `quick_ir`).

A block gets here when it is freed the first time; from then on results of its size are made without
the allocator, until that wants all of them back. It stays among the allocator's blocks all the
time. There are lists for the default stream only: blocks of others go the allocator's way.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

from tritorch.once import once
from tritorch.runtime.cuda import quick_ir
from tritorch.runtime.cuda.quick_ir import Kept, List, State
from tritorch.runtime.native_function import NativeFunction

#: bytes of one size that are kept at most, and how many blocks
_KEPT_BYTES, _KEPT_BLOCKS = 4 << 20, 1024


@once
def machine_code() -> dict[str, NativeFunction]:
    """The builtins, by the ends of their names: `count_out`, `quick_pop`."""
    from tritorch.triton_cpu import llvm
    from tritorch.triton_cpu.compile import compile_text
    from tritorch.triton_cpu.target import host

    llvm.supply_symbols(
        {
            name: ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, name))
            for name in quick_ir.PYTHON_NAMES
        }
    )
    code = compile_text(quick_ir.quick_text(), host(), "cuda_quick")
    entries = llvm.load_object(code, quick_ir.NAMES)
    return {
        name.removeprefix("tritorch_"): NativeFunction(name.encode(), entry, b"See quick_ir.")
        for name, entry in entries.items()
    }


def bound(name: str, address: int, owner: Any) -> Callable[..., Any]:
    """A builtin that works on what is at `address`, which `owner` keeps there."""
    return machine_code()[name].bound(address.to_bytes(8, "little"), owner)


class KeptBlocks:
    """Free blocks of one size."""

    __slots__ = ("_addresses", "facts", "owner", "park", "take")

    def __init__(self, size: int) -> None:
        capacity = max(2, min(_KEPT_BYTES // size, _KEPT_BLOCKS))
        self._addresses = (ctypes.c_int64 * capacity)()
        place = ctypes.addressof(self._addresses)
        self.facts = Kept(capacity=capacity, addresses=place)
        self.owner = (self.facts, self._addresses)
        #: for the allocator: without counting; `park` tells whether there was room
        self.park: Callable[[int], int] = bound("quick_park", self.address, self.owner)
        self.take: Callable[[], int] = bound("quick_take", self.address, self.owner)

    @property
    def address(self) -> int:
        """Where machine code finds it."""
        return ctypes.addressof(self.facts)

    def all(self) -> list[int]:
        """The addresses in it."""
        return list(self._addresses[: self.facts.count])


class QuickList:
    """Free blocks for requests of one number of bytes, as `Storage` takes them (see `FreeList`)."""

    __slots__ = ("append", "pop")

    def __init__(
        self, state: State, kept: KeptBlocks, size: int, nbytes: int, free: Callable[[int], None]
    ) -> None:
        facts = List(
            state=ctypes.addressof(state), kept=kept.address, size=size, requested=nbytes,
            free=id(free),
        )  # fmt: skip
        owner, place = (state, facts, kept.owner, free), ctypes.addressof(facts)
        self.pop: Callable[[], int] = bound("quick_pop", place, owner)
        self.append: Callable[[int], None] = bound("quick_append", place, owner)


class QuickLists:
    """Those of one device.

    Args:
        figures: the address of its counters.
        stream_key: where threads keep their current stream.
        free: the long way of a block: (address, bytes that were asked for).
        rounded: bytes of the block that serves a request.
    """

    def __init__(
        self,
        figures: int,
        stream_key: int,
        free: Callable[[int, int], None],
        rounded: Callable[[int], int],
    ) -> None:
        self.state = State(figures=figures, stream_key=stream_key)
        self._free = free
        self._rounded = rounded
        self._lists: dict[int, QuickList] = {}
        self._kept: dict[int, KeptBlocks] = {}

    def of(self, nbytes: int) -> QuickList:
        """The list for requests of this many bytes."""
        found = self._lists.get(nbytes)
        if found is None:
            size, free = self._rounded(nbytes), self._free
            kept = self.blocks(size)
            made = QuickList(self.state, kept, size, nbytes, lambda address: free(address, nbytes))
            found = self._lists.setdefault(nbytes, made)
        return found

    def blocks(self, size: int) -> KeptBlocks:
        """The free blocks of a size."""
        found = self._kept.get(size)
        return self._kept.setdefault(size, KeptBlocks(size)) if found is None else found

    def drain(self) -> Iterator[int]:
        """Take all blocks out."""
        for blocks in list(self._kept.values()):
            while address := blocks.take():
                yield address

    def kept(self) -> list[int]:
        """The addresses of all blocks, which stay."""
        return [address for blocks in list(self._kept.values()) for address in blocks.all()]
