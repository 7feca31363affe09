"""Accesses of kernels to memory, written down on the simulated GPU, and which of them race.

Kernels are compiled with a note before every access in place of the bounds' check: address, place
in the kernel's text, element of the tensor. From the notes of a launch `conflicts` finds what a GPU
may do in another order than the CPU: accesses of two programs to one address, and accesses of two
elements (so, of two threads) of one program, at least one of them a store, without a barrier
(`tl.debug_barrier()`) between them. The same element at two places is taken for the same thread,
but a load after a store is told ("layouts"): Triton deals elements out anew for each access. Its
own barriers, around reductions and the like, are not known: what is found is to be judged.

`strays` finds accesses outside of the memory that is in use, and `with_garbage` gives lanes that
are masked out of a load without `other=` what they have on a GPU: anything.
"""

from __future__ import annotations

import ctypes
import math
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np

from tests.runtime.cuda.hazards import packed_arguments
from tritorch.runtime.target import Kernel
from tritorch.triton_cpu import cache, codegen
from tritorch.triton_cpu.analysis.shapes import is_tensor
from tritorch.triton_cpu.codegen import access_checks as checks
from tritorch.triton_cpu.codegen.address import address, pointer_vector
from tritorch.triton_cpu.codegen.builder import Builder, Vec
from tritorch.triton_cpu.codegen.context import Index, Loop, plan_walk
from tritorch.triton_cpu.codegen.generator import Generator
from tritorch.triton_cpu.codegen.lane_loop import Column, call_per_lane
from tritorch.triton_cpu.codegen.nest import Nest
from tritorch.triton_cpu.codegen.prepare import prepare
from tritorch.triton_cpu.codegen.walks import strip_lanes
from tritorch.triton_cpu.ir import Operation, Value

_BARRIERS = ("gpu.barrier", "ttg.barrier", "tt.debug_barrier")
LOAD, STORE, ATOMIC, BARRIER = range(4)
_KINDS = {"tt.load": LOAD, "tt.store": STORE, "tt.atomic_rmw": ATOMIC, "tt.atomic_cas": ATOMIC}
#: words of the table: the check's, how many notes there are; three words for each follow
_USED, _FIRST, _WORDS = 1, 8, 3
_ROOM = 1 << 20
#: of the compiled notes, for the cache
_VERSION = 1
#: of an address so many accesses are looked at, and of those that look alike so many addresses
_LOOKED, _ALIKE = 60, 20
#: programs whose accesses are told apart
_PROGRAMS = 4096
_WORD_NAMES = ("load", "store", "atomic operation", "barrier")


#: what masked lanes get where nothing is said; other types: nan
_GARBAGE = {"i1": 1, "i8": -1, "i16": -1, "i32": -1, "i64": -1}


def with_garbage(operations: Iterable[Operation]) -> None:
    """Give every masked load without `other` one: nan, -1, true."""
    for operation in operations:
        for block in (block for region in operation.regions for block in region):
            with_garbage(block.operations)
            for load in [o for o in block.operations if o.name == "tt.load"]:
                if len(load.operands) == 2:
                    constant = Operation("arith.constant", [], block)
                    kind = load.results[0].type
                    constant.results = [Value(kind, constant, 0, f"{load.results[0].name}_other")]
                    constant.attributes["value"] = _GARBAGE.get(kind.element, float("nan"))
                    constant.line = load.line
                    constant.results[0].uses.append(load)
                    load.operands.append(constant.results[0])
                    block.operations.insert(block.operations.index(load), constant)


def _site(operation: Operation, kind: int, number: int) -> int:
    """What a note says of its place: line, kind, argument and the shape of the tensor."""
    pointer = operation.operands[0] if operation.operands else None
    shape = 0
    if pointer is not None and is_tensor(pointer):
        shape = zlib.crc32(repr(pointer.type.shape).encode()) & 0xFFFF | 1
    return operation.line | kind << 20 | (number & 255) << 28 | shape << 40


def _note(builder: Builder, lane: list[str]) -> str:
    """Write one access down, unless the table is full."""
    pointer, offset, base, site, table = lane
    used = builder.define(f"getelementptr i64, ptr {table}, i64 {_USED}")
    count = builder.define(f"load i64, ptr {used}, align 8")
    builder.emit(f"store i64 {builder.define(f'add i64 {count}, 1')}, ptr {used}, align 8")
    fits = builder.define(f"icmp ult i64 {count}, {_ROOM}")
    write, done = builder.label("write"), builder.label("noted")
    builder.emit(f"br i1 {fits}, label %{write}, label %{done}")
    builder.start(write)
    at = builder.define(f"mul i64 {count}, {_WORDS}")
    at = builder.define(f"add i64 {at}, {_FIRST}")
    element = builder.define(f"add i64 {base}, {offset}")
    place = builder.define(f"ptrtoint ptr {pointer} to i64")
    for word, value in enumerate((place, site, element)):
        here = builder.define(f"add i64 {at}, {word}")
        here = builder.define(f"getelementptr i64, ptr {table}, i64 {here}")
        builder.emit(f"store i64 {value}, ptr {here}, align 8")
    builder.emit(f"br label %{done}")
    builder.start(done)
    return ""


def _element(g: Generator, index: Index, shape: Sequence[int], lanes: int) -> tuple[str, Vec]:
    """The number of an element: what all lanes share, and each lane's own part."""
    builder, stride = g.builder, 1
    base, offsets = "0", [0] * lanes
    for (start, own), size in zip(reversed(index), reversed(shape)):
        part = builder.define(f"mul i64 {start}, {stride}")
        base = builder.define(f"add i64 {base}, {part}")
        if own is not None:
            offsets = [o + stride * more for o, more in zip(offsets, own.offsets, strict=True)]
        stride *= size
    if lanes == 1:
        return base, Vec(str(offsets[0]), 1, "i64")
    listed = ", ".join(f"i64 {offset}" for offset in offsets)
    return base, Vec(f"<{listed}>", lanes, "i64")


def _noted(g: Generator, where: Vec, offset: Vec, base: str, site: int, active: Vec | None) -> None:
    lanes = max(where.lanes, offset.lanes, 1 if active is None else active.lanes)
    columns = [
        Column(where), Column(offset), Column(Vec(base, 1, "i64"), True),
        Column(Vec(str(site), 1, "i64"), True), Column(Vec(checks.TABLE, 1, "ptr"), True),
    ]  # fmt: skip
    call_per_lane(g, "note", columns, active, lanes, None, _note)


def note_access(g: checks.CheckedGenerator, operation: Operation) -> None:
    """Emit the notes of one operation; takes the place of `access_checks.check_access`."""
    pointer, mask = operation.operands[0], checks._mask_of(operation)
    site = _site(operation, _KINDS[operation.name], checks._argument_number(g, pointer))
    if not is_tensor(pointer):
        active = None if mask is None else Vec(g.scalars[mask], 1, "i1")
        where, nothing = Vec(g.scalars[pointer], 1, "ptr"), Vec("0", 1, "i64")
        _noted(g, where, nothing, "0", site, active)
        return
    shape = pointer.type.shape or ()
    roots = [pointer] if mask is None else [pointer, mask]
    prepare(g, roots, shape, g.position)
    walk = plan_walk(shape, min(strip_lanes(g, roots), g.target.strip_bytes // 8))

    def body(loop: Loop, carried: list[str] | None) -> list[str]:
        active = None if mask is None else g.value_at(mask, loop.index, loop)
        where = pointer_vector(g, address(g, pointer, loop.index, loop), loop.index)
        base, offset = _element(g, loop.index, shape, walk.count)
        _noted(g, where, offset, base, site, active)
        return []

    Nest(g, walk, roots, body).emit()


@contextmanager
def noting() -> Iterator[None]:
    """Kernels with the option `check_bounds` note their accesses; masked lanes are garbage."""
    lower, generate = checks.CheckedGenerator._lower, codegen.generate
    entry_key = cache.entry_key

    def lowered(g: checks.CheckedGenerator, operation: Operation) -> None:
        if operation.name in _BARRIERS:
            g.flush()
            zero = Vec("0", 1, "i64")
            _noted(g, Vec("null", 1, "ptr"), zero, "0", _site(operation, BARRIER, 255), None)
        lower(g, operation)

    def generated(functions: list[Operation], target: Any, name: str, check: bool = False) -> str:
        if check:
            with_garbage(functions)
        return generate(functions, target, name, check)

    def key_of(digest: str, signature: Any, constants: Any, options: Any, maker: str) -> str:
        mark = f"notes {_VERSION}" if options.get("check_bounds") else ""
        return entry_key(digest + mark, signature, constants, options, maker)

    with (
        mock.patch.object(checks, "check_access", note_access),
        mock.patch.object(checks.CheckedGenerator, "_lower", lowered),
        mock.patch.object(codegen, "generate", generated),
        mock.patch.object(cache, "entry_key", key_of),
    ):
        yield


@dataclass(frozen=True)
class Access:
    """One place in a kernel's text."""

    line: int
    kind: int
    argument: int  # 255: the address comes from no argument
    shape: int  # 0: a scalar's

    @classmethod
    def of(cls, site: int) -> Access:
        return cls(site & 0xFFFFF, site >> 20 & 255, site >> 28 & 255, site >> 40 & 0xFFFF)

    def named(self, names: Sequence[str]) -> str:
        name = names[self.argument] if self.argument < len(names) else "an address"
        return f"{_WORD_NAMES[self.kind]} of {name} (line {self.line})"


@dataclass(frozen=True)
class Conflict:
    """Two places that touch one address; the first of them in a program's order is `first`."""

    kernel: str
    between: str  # "programs", "threads" or "layouts"
    first: Access
    then: Access
    words: str


_entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


@dataclass(frozen=True)
class Notes:
    """What a launch did to memory, access by access, and which program did it."""

    kernel: Kernel
    values: Sequence[Any]
    notes: np.ndarray  # of each access its address, place in the text, element
    programs: np.ndarray


def run(kernel: Kernel, grid: Sequence[int], values: Sequence[Any]) -> Notes:
    """Run all programs of a launch and note their accesses, up to `_ROOM` of them."""
    table = np.zeros(_FIRST + _WORDS * _ROOM, np.int64)
    packed = packed_arguments(kernel, grid, values, table.ctypes.data)
    entry = _entry(kernel.entry)
    ends = array("q")
    programs = math.prod(grid)
    for program in range(min(programs, _PROGRAMS)):
        entry(packed.address, program, program + 1)
        ends.append(int(table[_USED]))
    count = min(int(table[_USED]), _ROOM)
    entry(packed.address, min(programs, _PROGRAMS), programs)
    notes = table[_FIRST : _FIRST + _WORDS * count].reshape(count, _WORDS)
    owners = np.searchsorted(np.asarray(ends), np.arange(count), side="right")
    return Notes(kernel, values, notes, owners)


def strays(launch: Notes, known: Sequence[tuple[int, int]]) -> set[str]:
    """Accesses outside of the block that their argument points into, or of all blocks.

    Nothing is said of an argument that points into no block: graphs keep memory that is free.

    Args:
        known: (begin, end) of the blocks in use.
    """
    begins = np.array([begin for begin, _ in known] or [0])
    ends = np.array([end for _, end in known] or [0])
    kinds = launch.notes[:, 1] >> 20 & 255
    notes = launch.notes[kinds != BARRIER]
    at = np.searchsorted(begins, notes[:, 0], side="right") - 1
    outside = (at < 0) | (notes[:, 0] >= ends[at])
    names = list(launch.kernel.signature)
    for number, value in enumerate(launch.values):
        if launch.kernel.parameter_types[number].startswith("*"):
            home = np.searchsorted(begins, value, side="right") - 1
            mine = notes[:, 1] >> 28 & 255 == number
            outside[mine] |= at[mine] != home
            if home < 0 or value > ends[home]:
                outside[mine] = False
    found: dict[int, str] = {}
    for where, site, element in notes[outside]:
        access = Access.of(int(site))
        base = launch.values[access.argument] if access.argument < len(names) else 0
        found.setdefault(
            int(site),
            f"{launch.kernel.name}: {access.named(names)} outside of its memory: {where - base} "
            f"bytes from there, element {element}, arguments {dict(zip(names, launch.values))}",
        )
    return set(found.values())


def conflicts(launch: Notes) -> set[Conflict]:
    """Pairs of places whose accesses race."""
    kernel, notes, programs = launch.kernel, launch.notes, launch.programs
    kinds = notes[:, 1] >> 20 & 255
    epochs = np.cumsum(kinds == BARRIER)
    real = kinds != BARRIER
    written = np.unique(notes[real & (kinds != LOAD), 0])
    places = np.flatnonzero(real & np.isin(notes[:, 0], written))
    found: set[Conflict] = set()
    if not len(places):
        return found
    places = places[np.argsort(notes[places, 0], kind="stable")]
    starts = np.flatnonzero(np.diff(notes[places, 0], prepend=-1))
    # Where one element of one program is all that comes there, there is nothing to look at.
    shapes = notes[places, 1] >> 40
    busy = np.zeros(len(starts), bool)
    for column in (programs[places], notes[places, 2], shapes):
        busy |= np.minimum.reduceat(column, starts) != np.maximum.reduceat(column, starts)
    busy |= np.minimum.reduceat(shapes, starts) == 0
    busy |= np.minimum.reduceat(kinds[places], starts) != np.maximum.reduceat(kinds[places], starts)
    ends = [*starts[1:], len(places)]
    looked: Counter[bytes] = Counter()
    for start, end in ((starts[at], ends[at]) for at in np.flatnonzero(busy)):
        group = places[start : min(end, start + _LOOKED)]
        key = notes[group, 1].tobytes()
        looked[key] += 1
        if looked[key] <= _ALIKE:
            _of_address(kernel, notes, programs, epochs, group, found)
    return found


def _of_address(
    kernel: Kernel, notes: np.ndarray, programs: np.ndarray, epochs: np.ndarray,
    group: np.ndarray, found: set[Conflict],
) -> None:  # fmt: skip
    """The races at one address."""
    names = list(kernel.signature)
    # Each kind of access once, and once more where it comes behind a store of its program.
    seen: dict[tuple[int, int, int, int, bool], None] = {}
    stored: set[int] = set()
    for at in group:
        site, element, program = int(notes[at, 1]), int(notes[at, 2]), int(programs[at])
        seen[site, element, program, int(epochs[at]), program in stored] = None
        if Access.of(site).kind == STORE:
            stored.add(program)
    every = [(Access.of(key[0]), *key[1:4]) for key in seen]
    for number, (first, element, program, epoch) in enumerate(every):
        for then, other, second, later in every[number + 1 :]:
            if {first.kind, then.kind} in ({LOAD}, {ATOMIC}):
                continue
            if program != second:
                between = "programs"
            elif epoch == later and (element != other or first.shape != then.shape):
                between = "threads"
            elif epoch == later and not first.shape and first.kind != LOAD:
                between = "threads"  # one thread writes a scalar, all read it
            elif epoch == later and first.kind == STORE and then.kind == LOAD:
                between = "layouts"  # threads, if the two accesses are dealt out otherwise
            else:
                continue
            words = f"{first.named(names)}, then {then.named(names)}"
            found.add(Conflict(kernel.name, between, first, then, words))
