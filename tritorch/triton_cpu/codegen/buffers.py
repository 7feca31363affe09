"""Reading and writing scratch buffers and constant tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tritorch.triton_cpu.analysis.affine import memory_type
from tritorch.triton_cpu.codegen import masked
from tritorch.triton_cpu.codegen.address import Address, Offsets, pointer_vector
from tritorch.triton_cpu.codegen.builder import Vec
from tritorch.triton_cpu.codegen.constants import literal
from tritorch.triton_cpu.codegen.context import Base, Index, lane_count, lanes_up, linear_lanes
from tritorch.triton_cpu.codegen.scratch import Buffer
from tritorch.triton_cpu.ir import Operation

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.generator import Generator


def buffer_address(
    g: Generator, buffer: Buffer, index: Index
) -> tuple[str, tuple[int, ...] | None]:
    strides = buffer.strides
    offset: Base = 0
    for stride, (position, _) in zip(strides, index):
        offset = g.builder.integer("add", offset, g.builder.integer("mul", position, stride))
    base = g.scratch.touch(buffer)
    if offset != 0:
        kind = memory_type(buffer.element)
        base = g.builder.define(f"getelementptr {kind}, ptr {base}, i64 {offset}")
    return base, linear_lanes(strides, index)


def read_buffer(g: Generator, buffer: Buffer, index: Index) -> Vec:
    base, offsets = buffer_address(g, buffer, index)
    element = buffer.element
    lanes = lane_count(index)
    if offsets is None:
        return masked.load_scalar(g, base, element, None, None)
    where = Address(base, Offsets(0, offsets), memory_type(element))
    low, high = min(offsets), max(offsets)
    if high - low < 2 * lanes and low == 0:
        span = lanes_up(high + 1)
        picked = masked.load_vector(g, base, element, span, None, None)
        if offsets == tuple(range(lanes)):
            return picked
        moved = g.builder.shuffle(picked.register, None, element, span, offsets)
        return Vec(moved, lanes, element)
    pointers = pointer_vector(g, where, index)
    return masked.gather(g, pointers.register, element, lanes, None, None)


def write_buffer(g: Generator, buffer: Buffer, index: Index, value: Vec) -> None:
    base, offsets = buffer_address(g, buffer, index)
    if offsets is None:
        masked.store_scalar(g, base, buffer.element, value.register, None)
        return
    lanes = len(offsets)
    wide = Vec(g.builder.widen(value, lanes), lanes, buffer.element)
    if offsets == tuple(range(lanes)):
        masked.store_vector(g, base, wide, None)
        return
    where = Address(base, Offsets(0, offsets), memory_type(buffer.element))
    pointers = pointer_vector(g, where, index)
    masked.scatter(g, pointers.register, wide, None)


def read_table(g: Generator, operation: Operation, data: list[Any], index: Index) -> Vec:
    """A constant tensor whose elements differ: a private global array."""
    kind = operation.results[0].type
    element = kind.element
    stored = memory_type(element)
    name = g.builder.table(stored, [literal(item, element) for item in data])
    buffer = Buffer(name, kind.shape or (), element, 0)
    return read_buffer(g, buffer, index)
