"""Scratch memory of one function: buffers whose lifetimes do not overlap share an address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tritorch.triton_cpu.analysis.shapes import row_major
from tritorch.triton_cpu.codegen.builder import BITS, Builder

#: Up to this many bytes live on the stack; more is asked of the runtime once per call.
STACK_BYTES = 16384
ALIGNMENT = 64
#: A buffer of up to this many bytes has an allocation of its own, which LLVM turns into registers
#: if it is only used at constant offsets: a carried vector then costs no memory access.
REGISTER_BYTES = 256


@dataclass(slots=True, eq=False)
class Buffer:
    """A dense array in scratch; `register` is its address. Row major unless `strides` say
    otherwise.
    """

    register: str
    shape: tuple[int, ...]
    element: str
    size: int
    first: int = 0
    last: int = 0
    strides: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.strides = self.strides or row_major(self.shape)


@dataclass(slots=True)
class Frame:
    """Lines of a function: for its entry block (only there LLVM promotes an `alloca`), for its
    start, for its end.
    """

    allocas: list[str] = field(default_factory=list)
    definitions: list[str] = field(default_factory=list)
    release: list[str] = field(default_factory=list)


class Scratch:
    """Allocates buffers while code is emitted; addresses are fixed at the end, when lifetimes are
    known.

    A lifetime is a range of lines of the emitted text; inside a loop it is extended to the loop's
    end for what came from outside.
    """

    def __init__(self, builder: Builder, reuse: bool = True) -> None:
        self._builder = builder
        self._buffers: list[Buffer] = []
        self._reuse = reuse
        self._zeroed: list[str] = []

    def allocate(
        self, shape: tuple[int, ...], element: str, order: tuple[int, ...] | None = None
    ) -> Buffer:
        """A new buffer; `order` lists the dimensions from the slowest to the fastest."""
        count = 1
        for extent in shape:
            count *= extent
        size = -(-count * max(8, BITS[element]) // 8 // ALIGNMENT) * ALIGNMENT
        now = len(self._builder.lines)
        name = f"%buffer{len(self._buffers)}"
        strides: tuple[int, ...] = ()
        if order is not None:
            by_place = row_major(tuple(shape[d] for d in order))
            strides = tuple(by_place[order.index(d)] for d in range(len(shape)))
        buffer = Buffer(name, shape, element, size, now, now, strides)
        self._buffers.append(buffer)
        return buffer

    def memory(self) -> str:
        """The address of eight bytes, zeros when the function starts, that nobody else uses."""
        buffer = self.allocate((8,), "i8")
        self._zeroed.append(f"  store i64 0, ptr {buffer.register}, align 8")
        return buffer.register

    def touch(self, buffer: Buffer) -> str:
        """Note a use at this place; returns the address."""
        buffer.last = len(self._builder.lines)
        return buffer.register

    @contextmanager
    def repeated(self) -> Iterator[None]:
        """The code emitted inside runs many times: what it uses from outside lives until the end
        of it.
        """
        start = len(self._builder.lines)
        yield
        end = len(self._builder.lines)
        for buffer in self._buffers:
            if buffer.first < start <= buffer.last:
                buffer.last = max(buffer.last, end)

    def place(self) -> tuple[int, list[str]]:
        """(bytes in all, lines that define the buffers' registers from `%scratch`)."""
        placed: list[tuple[int, Buffer]] = []
        total = 0
        for buffer in sorted(self._buffers, key=lambda b: (-b.size, b.first, b.register)):
            rivals = sorted(
                (offset, offset + other.size)
                for offset, other in placed
                if not self._reuse or (other.first <= buffer.last and buffer.first <= other.last)
            )
            offset = 0
            for begin, end in rivals:
                if offset + buffer.size <= begin:
                    break
                offset = max(offset, end)
            placed.append((offset, buffer))
            total = max(total, offset + buffer.size)
        lines = [
            f"  {buffer.register} = getelementptr i8, ptr %scratch, i64 {offset}"
            for offset, buffer in sorted(placed, key=lambda p: int(p[1].register[7:]))
        ]
        return total, lines

    def frame(self, declarations: set[str]) -> Frame:
        """The lines that get the memory, define the buffers, and give the memory back."""
        small = [buffer for buffer in self._buffers if buffer.size <= REGISTER_BYTES]
        frame = Frame()
        for buffer in small:
            self._buffers.remove(buffer)
            frame.allocas.append(_alloca(buffer.register, buffer.size))
        size, frame.definitions = self.place()
        frame.definitions += self._zeroed
        if 0 < size <= STACK_BYTES:
            frame.allocas.append(_alloca("%scratch", size))
        elif size:
            declarations.add("declare ptr @tritorch_scratch_acquire(i64)")
            declarations.add("declare void @tritorch_scratch_release(ptr)")
            acquire = f"  %scratch = call ptr @tritorch_scratch_acquire(i64 {size})"
            frame.definitions.insert(0, acquire)
            frame.release.append("  call void @tritorch_scratch_release(ptr %scratch)")
        return frame


def _alloca(register: str, size: int) -> str:
    return f"  {register} = alloca [{size} x i8], align {ALIGNMENT}"
