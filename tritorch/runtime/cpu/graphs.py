"""`CPUGraph`: launches recorded once and replayed by one call of machine code.

**Recording.** The work runs as it always does, so its results are valid; besides, the launcher
tells of each launch (`launcher_ir`, `@tritorch_recorder`): its header and its filled arguments.
Only the thread that began is recorded. Copies within memory are nodes too, and what the host gives
meanwhile (Python numbers, `tensor([...])`) is part of the recording. What the host would have to
look at (`.item()`, `nonzero`) is refused: a replay could not decide by it.

**Replaying** walks the nodes in machine code (`replay_ir`): the GIL is released once, no Python
runs for a launch, each goes to the pool as its own header says.

**Memory.** What the recording allocates is the graph's (`private_memory`). What it only reads or
writes (parameters, inputs) is kept alive by the graph, so a replay never meets memory of others.

**Random numbers.** A kernel that draws has parameters named `seed` and `offset`. Each replay
reserves as many numbers of each generator as the recording drew, and places the launches' offsets
relative to that: it draws what one more eager step would draw.

**Checks.** A wrong index and a failed assertion stop a replay where they occur and are raised.
"""

from __future__ import annotations

import ctypes
import gc
import os
import threading
from array import array
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

from tritorch.config import config
from tritorch.errors import AcceleratorError
from tritorch.once import once
from tritorch.runtime import recording
from tritorch.runtime.cpu import launcher_ir
from tritorch.runtime.cpu.native import symbols
from tritorch.runtime.cpu.private_memory import PrivatePool
from tritorch.runtime.cpu.replay_ir import Draw, Head, Node
from tritorch.runtime.native_function import NativeFunction
from tritorch.runtime.storage import Storage

if TYPE_CHECKING:
    from tritorch.runtime.cpu.target import CPUTarget
    from tritorch.runtime.target import Kernel

_ARGUMENTS = 16  # bytes of the grid, which the arguments follow
_HEADER = ctypes.sizeof(launcher_ir.Header)
#: how a kernel's parameters are named that a replay has to know
_CELL, _SEED, _OFFSET = "cell_ptr", "seed", "offset"


class _Launch(NamedTuple):
    payload: bytes  # of the bound launch: its header is alive, it may be measured still
    frame: bytes


class _Drawn(NamedTuple):
    generator: Any
    relative: int


@once
def _function() -> NativeFunction:
    return NativeFunction(
        b"replay", symbols()["tritorch_replay"], b"Run the launches of a recording again."
    )


@once
def _copy_header() -> bytes:
    """The header of a copy within memory: one program, on this thread."""
    name = ctypes.create_string_buffer(b"copy")
    _kept.append(name)
    return bytes(
        launcher_ir.Header(
            entry=symbols()["tritorch_copy"], programs=1, grain=1,
            counter=ctypes.addressof(_copies), name=ctypes.addressof(name),
            template_bytes=48, mode=launcher_ir.SERIAL,
        )
    )  # fmt: skip


_kept: list[Any] = []
_copies = ctypes.c_int64()  # they are no kernels; nobody reads how many were made


class _Recording:
    """What is under way between `begin` and `end`."""

    def __init__(self, target: CPUTarget, pool: PrivatePool) -> None:
        self.thread = threading.get_ident()
        self.paused = False
        self.launches: list[_Launch] = []
        self.held: list[Any] = []
        self.pool = pool
        self.tables: list[array[int]] = []
        self.generators: dict[Any, int] = {}  # generator -> how many numbers it gave
        self.drawn_at: dict[tuple[int, int], _Drawn] = {}
        self._target = target
        self._tell: Callable[..., None] | None = None
        # Nothing that a launch uses goes before the end.
        self.storages = _storages()

    def _told(self, payload: bytes, frame: bytes) -> None:
        if not self.paused and threading.get_ident() == self.thread:
            self.launches.append(_Launch(payload, frame))

    def install(self) -> None:
        """Hear of launches, copies and allocations from now on."""
        target = self._target
        target.begin_recording(self.pool, self._copied)
        recording.current = self
        self._tell = self._told  # kept: the machine code has its address
        _recorder().value = id(self._tell)

    def remove(self) -> None:
        """Everything is as it was before."""
        _recorder().value = self._tell = None
        recording.current = None
        self._target.end_recording()

    def _copied(self, destination: int, source: int, nbytes: int, constant: bool) -> None:
        """A copy is made; of a constant's bytes a replay writes the same again."""
        if recording.here() is None:
            return
        if constant:
            snapshot = ctypes.create_string_buffer(ctypes.string_at(source, nbytes), nbytes)
            self.held.append(snapshot)
            source = ctypes.addressof(snapshot)
        numbers = (1 | 1 << 32, 1, destination, source, nbytes, 0)
        self.launches.append(_Launch(_copy_header(), array("Q", numbers).tobytes()))

    def keep(self, held: Any) -> None:
        """Keep an object alive as long as the graph."""
        self.held.append(held)

    def table(self, addresses: array[int]) -> int:
        """The address of a copy of a table, kept as it is now."""
        kept = array("q", addresses)
        self.tables.append(kept)
        return kept.buffer_info()[0]

    def drawn(self, generator: Any, seed: int, offset: int, count: int) -> None:
        """A generator gave (seed, offset) for so many numbers.

        Raises:
            AcceleratorError: another one gave the same.
        """
        if not count:
            return
        known = self.drawn_at.get((seed, offset))
        if known is not None:
            raise AcceleratorError(
                f"Graph: two generators draw from seed {seed}, offset {offset} in one recording. "
                "Give them different seeds."
            )
        relative = self.generators.get(generator, 0)
        self.drawn_at[seed, offset] = _Drawn(generator, relative)
        self.generators[generator] = relative + count


def _recorder() -> ctypes.c_void_p:
    return ctypes.c_void_p.from_address(symbols()["tritorch_recorder"])


def _storages() -> list[Storage]:
    return [found for found in gc.get_objects() if type(found) is Storage]


class CPUGraph:
    """A graph of the CPU target: empty, recording, or ready to be replayed."""

    def __init__(self, target: CPUTarget) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._recording: _Recording | None = None
        self._pool: PrivatePool | None = None
        self._replay: Callable[..., int | None] | None = None
        self._forget()
        _graphs.add(self)

    def _forget(self) -> None:
        self._held: list[Any] = []
        self._draws: list[tuple[Any, int]] = []
        self._cells: dict[int, Any] = {}
        self.launches = 0

    # The holder's side of `recording.keep`
    def keep(self, held: Any) -> None:
        """Keep an object alive as long as the graph."""
        if self._recording is not None:
            self._recording.keep(held)
        elif self._replay is not None:
            self._held.append(held)

    @property
    def pool(self) -> PrivatePool | None:
        """Its memory, for graphs that are never replayed at the same time and may share it."""
        return self._pool

    def begin(self, pool: PrivatePool | None = None, mode: str = "global") -> None:
        """Record what this thread does from now on.

        Args:
            pool: memory to share.
            mode: for other targets; here other threads are never disturbed.
        Raises:
            AcceleratorError: it holds a recording already, or another one is under way; kernels
                check their accesses (`TRITORCH_DEBUG=bounds`), which a replay cannot.
        """
        if self._replay is not None or self._recording is not None:
            raise AcceleratorError("Graph: it captured already. Call reset() first.")
        if config.debug == "bounds":
            raise AcceleratorError(
                "Graph: TRITORCH_DEBUG=bounds checks every launch in Python. Unset it to record."
            )
        pool = pool or PrivatePool(self._target.allocator)
        with _lock:
            if recording.current is not None:
                raise AcceleratorError(
                    "Graph: a recording is under way already. End it before another begins."
                )
            found = _Recording(self._target, pool)
            found.install()
        pool.users += 1
        self._recording, self._pool = found, pool
        recording.holders.add(self)

    def abandon(self) -> None:
        """Forget a recording that is under way; without one, nothing happens."""
        found, self._recording = self._recording, None
        if found is not None:
            found.remove()
            self._leave_pool()
            self._forget()

    def end(self) -> None:
        """The recording is complete.

        Raises:
            AcceleratorError: none is under way in this thread, or it drew random numbers in a way
                that cannot be replayed. The recording is forgotten in the last case.
        """
        found = self._recording
        if found is None:
            raise AcceleratorError("Graph: no capture is under way. Call capture_begin().")
        if found.thread != threading.get_ident():
            raise AcceleratorError("Graph: another thread records. End the capture there.")
        self._recording = None
        found.remove()
        try:
            self._assemble(found)
        except BaseException:
            self._leave_pool()
            self._forget()
            raise

    def replay(self) -> None:
        """Do it all again.

        Raises:
            AcceleratorError: nothing was captured. DeviceAssertError, IndexError: as the launches.
        """
        with self._lock:
            if self._replay is None:
                raise AcceleratorError("Graph: nothing was captured. Capture before replay().")
            numbers: list[int] = []
            for generator, count in self._draws:
                numbers += generator.reserve(count)
            cell = self._replay(*numbers)
        if cell is not None:
            self._cells[cell].fail()

    def reset(self) -> None:
        """Forget the graph; its memory goes back to the allocator."""
        self.abandon()
        with self._lock:
            self._replay = None
            self._forget()
            self._leave_pool()

    def __del__(self) -> None:
        if getattr(self, "_pool", None) is not None:
            self.abandon()
            self._leave_pool()

    def _leave_pool(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.leave()

    def renew_lock(self) -> None:
        """In the child of a fork: whoever held the lock is not there."""
        self._lock = threading.Lock()

    def _assemble(self, found: _Recording) -> None:
        kernels = {kernel.counter_address: kernel for kernel in self._target.kernels()}
        names: dict[int, ctypes.Array[ctypes.c_char]] = {}
        generators = {generator: i for i, generator in enumerate(found.generators)}
        nodes = bytearray()
        draws = bytearray()
        matched = set()
        pool = False
        for payload, frame in found.launches:
            node = Node(header=launcher_ir.Header.from_buffer_copy(payload))
            header = node.header
            pool |= header.mode != launcher_ir.SERIAL
            if header.name not in names:
                names[header.name] = ctypes.create_string_buffer(ctypes.string_at(header.name))
            header.name = ctypes.addressof(names[header.name])
            places = _places(kernels.get(header.counter))
            address = _slot(frame, places[_CELL]) if _CELL in places else 0
            cell = self._target.error_cells.get(address)  # a LSTM's `cell_ptr` is none
            if cell is not None:
                node.cell = address
                self._cells[address] = cell
            start = ctypes.sizeof(Head) + len(nodes) + ctypes.sizeof(Node)
            if _SEED in places and _OFFSET in places:
                key = _slot(frame, places[_SEED]), _slot(frame, places[_OFFSET])
                drawn = found.drawn_at.get(key)
                if drawn is not None:  # else drawn before the recording: the same in each replay
                    matched.add(key)
                    draws += Draw(
                        seed=start + places[_SEED], offset=start + places[_OFFSET],
                        relative=drawn.relative, generator=generators[drawn.generator],
                    )  # fmt: skip
            nodes += node
            nodes += frame
        if len(matched) < len(found.drawn_at):
            raise AcceleratorError(
                f"Graph: {len(found.drawn_at) - len(matched)} draws of random numbers went to no "
                "kernel with parameters named seed and offset, so a replay would repeat them. "
                "Draw them outside."
            )
        head = Head(nodes_bytes=len(nodes), draws=len(draws) // ctypes.sizeof(Draw), pool=int(pool))
        self._held = [*found.held, *found.tables, names, *_used(found)]
        self._draws = list(found.generators.items())
        self.launches = len(found.launches)
        self._replay = _function().bound(bytes(head) + bytes(nodes) + bytes(draws), self._held)


def _places(kernel: Kernel | None) -> dict[str, int]:
    """Parameters of a kernel that a replay has to know -> where their slots are."""
    if kernel is None:  # a user's own: nobody draws for it
        return {}
    names = [name for name, kind in kernel.signature.items() if kind != "constexpr"]
    return {
        name: _ARGUMENTS + 8 * names.index(name)
        for name in (_CELL, _SEED, _OFFSET)
        if name in names
    }


def _slot(frame: bytes, at: int) -> int:
    return int.from_bytes(frame[at : at + 8], "little", signed=True)


def _used(found: _Recording) -> list[Storage]:
    """The storages that launches or tables have addresses in, without the graph's own memory."""
    storages = {id(storage): storage for storage in (*found.storages, *_storages())}
    ordered = sorted(storages.values(), key=lambda storage: storage.address)
    begins = [storage.address for storage in ordered]
    # Where all up to here end: borrowed storages lie within others.
    ends = list(accumulate((s.address + s.nbytes for s in ordered), max))
    numbers: set[int] = set()
    for launch in found.launches:
        numbers.update(array("Q", launch.frame[_ARGUMENTS:]))
    for table in found.tables:
        numbers.update(table)
    used = {}
    for number in numbers:
        place = bisect_right(begins, number) - 1
        while place >= 0 and ends[place] >= number:
            storage = ordered[place]
            inside = number <= storage.address + storage.nbytes
            if inside and not found.pool.owns(storage.address):
                used[id(storage)] = storage
            place -= 1
    return list(used.values())


_lock = threading.Lock()
_graphs: WeakSet[CPUGraph] = WeakSet()


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()
    for graph in list(_graphs):
        graph.renew_lock()
        under_way = graph._recording
        if under_way is not None and under_way.thread != threading.get_ident():
            graph.abandon()  # who recorded is not there


os.register_at_fork(after_in_child=_after_fork_in_child)
