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
from tritorch.runtime.cuda.quick_ir import List, State
from tritorch.runtime.native_function import NativeFunction

#: bytes that one list keeps at most, and how many blocks
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


class QuickList:
    """Free blocks of one requested size, as `Storage` takes them (see `FreeList`)."""

    __slots__ = ("_addresses", "_facts", "append", "park", "pop", "take")

    def __init__(self, state: State, size: int, nbytes: int, free: Callable[[int], None]) -> None:
        capacity = max(2, min(_KEPT_BYTES // size, _KEPT_BLOCKS))
        addresses = (ctypes.c_int64 * capacity)()
        facts = List(
            state=ctypes.addressof(state), size=size, requested=nbytes, capacity=capacity,
            addresses=ctypes.addressof(addresses), free=id(free),
        )  # fmt: skip
        self._facts, self._addresses = facts, addresses
        owner, place = (state, facts, addresses, free), ctypes.addressof(facts)
        self.pop: Callable[[], int] = bound("quick_pop", place, owner)
        self.append: Callable[[int], None] = bound("quick_append", place, owner)
        #: for the allocator: without counting; `park` tells whether there was room
        self.park: Callable[[int], int] = bound("quick_park", place, owner)
        self.take: Callable[[], int] = bound("quick_take", place, owner)

    def kept(self) -> list[int]:
        """The addresses in it."""
        return list(self._addresses[: self._facts.count])


class QuickLists:
    """Those of one device.

    Args:
        figures: the address of its counters.
        stream_key: where threads keep their current stream.
        free: the long way of a block.
        rounded: bytes of the block that serves a request.
    """

    def __init__(
        self,
        figures: int,
        stream_key: int,
        free: Callable[[int], None],
        rounded: Callable[[int], int],
    ) -> None:
        self.state = State(figures=figures, stream_key=stream_key)
        self._free = free
        self._rounded = rounded
        self._lists: dict[int, QuickList] = {}

    def of(self, nbytes: int) -> QuickList:
        """The list of blocks that were asked for with this many bytes."""
        found = self._lists.get(nbytes)
        if found is None:
            made = QuickList(self.state, self._rounded(nbytes), nbytes, self._free)
            found = self._lists.setdefault(nbytes, made)
        return found

    def drain(self) -> Iterator[int]:
        """Take all blocks out."""
        for one in list(self._lists.values()):
            while address := one.take():
                yield address

    def kept(self) -> list[int]:
        """The addresses of all blocks, which stay."""
        return [address for one in list(self._lists.values()) for address in one.kept()]
