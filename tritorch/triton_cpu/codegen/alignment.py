"""Long rows that start anywhere: strips that store whole cache lines.

A vector store across the boundary of two lines costs two, and where rows are as long as 50257
elements nearly all of them do. A nest over such a row starts with a strip that stores only up to
the first aligned address; the full strips follow on from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritorch.triton_cpu.codegen.address import address
from tritorch.triton_cpu.codegen.builder import BITS
from tritorch.triton_cpu.codegen.context import Base, Index, Loop, Walk
from tritorch.triton_cpu.ir import Operation, Value

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.bounds import Reach
    from tritorch.triton_cpu.codegen.generator import Generator

CACHE_LINE = 64
#: Shorter rows stay as they are: the strips at their ends would cost as much as is won.
LONG_BYTES = 32768

#: Operations that take indices apart, and so want strips that start at a multiple of their length.
_TAKES_APART = frozenset(
    {
        "arith.divsi", "arith.divui", "arith.remsi", "arith.remui", "tt.cat", "tt.gather",
        "tt.join", "tt.reshape", "tt.split", "tt.trans",
    }
)  # fmt: skip


def pointer_to_align(
    g: Generator, sinks: list[Operation], walk: Walk, reached: Reach
) -> Value | None:
    """The addresses by which a nest's strips should be aligned: those of its first store to
    neighbours.
    """
    if len(walk.shape) != 1 or walk.inner != 0 or any(s.name != "tt.store" for s in sinks):
        return None
    for value in reached.maps:
        operation = value.operation
        if len(value.type.shape or ()) != 1:
            return None
        if operation is not None and operation.name in _TAKES_APART and value not in g.buffers:
            return None
    for sink in sinks:
        pointer = sink.operands[0]
        form = g.affine.get(pointer)
        size = BITS[pointer.type.pointee or "i8"] // 8
        if form is not None and form.strides == (1,) and walk.extent * size > LONG_BYTES:
            return pointer
    return None


def elements_to_alignment(g: Generator, pointer: Value, index: Index, loop: Loop) -> Base:
    """How many elements there are from an index to the first aligned address."""
    builder = g.builder
    start = address(g, pointer, index, loop).base
    number = builder.define(f"ptrtoint ptr {start} to i64")
    missing = builder.define(f"sub i64 0, {number}")
    missing = builder.define(f"and i64 {missing}, {CACHE_LINE - 1}")
    size = BITS[pointer.type.pointee or "i8"] // 8
    return builder.define(f"lshr i64 {missing}, {size.bit_length() - 1}")
