"""Indices of operands from indices of results, and lane offsets as vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritorch.triton_cpu.analysis.reshape import reshape_groups, squeeze_map
from tritorch.triton_cpu.analysis.shapes import row_major
from tritorch.triton_cpu.codegen.builder import BITS
from tritorch.triton_cpu.codegen.context import Base, Index, Lanes, lanes_of, linear_lanes
from tritorch.triton_cpu.ir import Operation

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.generator import Generator

#: Virtual operations that are not element by element.
INDEX_OPERATIONS = frozenset(
    {"tt.broadcast", "tt.cat", "tt.expand_dims", "tt.join", "tt.reshape", "tt.split", "tt.trans"}
)

#: Those among them with one operand, each of whose elements they move or repeat.
MOVES = INDEX_OPERATIONS - {"tt.cat", "tt.join", "tt.split"}


def operand_index(g: Generator, operation: Operation, index: Index) -> Index:
    """Where the (only) operand of an index-moving operation is read for this index of its
    result.
    """
    name = operation.name
    if name == "tt.expand_dims":
        axis = operation.attributes["axis"]
        return index[:axis] + index[axis + 1 :]
    if name == "tt.broadcast":
        shape = operation.operands[0].type.shape or ()
        return tuple(position if size > 1 else (0, None) for position, size in zip(index, shape))
    if name == "tt.trans":
        order = operation.attributes["order"]
        moved: list[tuple[Base, Lanes | None]] = [(0, None)] * len(order)
        for position, dimension in enumerate(order):
            moved[dimension] = index[position]
        return tuple(moved)
    assert name == "tt.reshape", name
    source = operation.operands[0].type.shape or ()
    target = operation.results[0].type.shape or ()
    return reshape_index(g, source, target, index)


def reshape_index(
    g: Generator, source: tuple[int, ...], target: tuple[int, ...], index: Index
) -> Index:
    """An index of a tensor of shape `target` as one of the tensor of shape `source` it was
    reshaped from.
    """
    mapping = squeeze_map(target, source)
    if mapping is not None:
        return tuple((0, None) if d is None else index[d] for d in mapping)
    key = (source, target, index)
    found = g.reshaped.get(key)
    if found is not None:
        return found
    builder = g.builder
    result: list[tuple[Base, Lanes | None]] = [(0, None)] * len(source)
    for before, after in reshape_groups(source, target):
        if len(before) == 1 and len(after) == 1:
            result[before[0]] = index[after[0]]
            continue
        part = tuple(index[d] for d in after)
        strides = row_major(tuple(target[d] for d in after))
        linear: Base = 0
        for stride, (position, _) in zip(strides, part):
            linear = builder.integer("add", linear, builder.integer("mul", position, stride))
        offsets = linear_lanes(strides, part)
        sizes = tuple(source[d] for d in before)
        for dimension, size, stride in zip(before, sizes, row_major(sizes)):
            if size == 1:
                continue
            result[dimension] = digit(g, linear, offsets, size, stride, before)
    moved = g.reshaped[key] = tuple(result)
    return moved


def digit(
    g: Generator,
    linear: Base,
    offsets: tuple[int, ...] | None,
    size: int,
    stride: int,
    dimensions: tuple[int, ...],
) -> tuple[Base, Lanes | None]:
    """One dimension of a linear index: sizes are powers of two, so division is a shift."""
    builder = g.builder
    base: Base
    if isinstance(linear, int):
        base = linear // stride % size
    else:
        shift = stride.bit_length() - 1
        shifted = linear if shift == 0 else builder.define(f"lshr i64 {linear}, {shift}")
        base = builder.define(f"and i64 {shifted}, {size - 1}")
    lanes = None
    if offsets is not None:
        lanes = lanes_of(tuple(offset // stride % size for offset in offsets))
    return base, lanes


def exchange_order(index: Index, axis: int) -> list[int]:
    """For each lane, the one whose index differs in the bit of `axis` alone."""
    patterns = [lanes.offsets for _, lanes in index if lanes is not None]
    bit = [lanes for _, lanes in index if lanes is not None].index(index[axis][1])  # type: ignore[arg-type]
    places = list(zip(*patterns))
    lane_of = {place: lane for lane, place in enumerate(places)}
    return [lane_of[(*place[:bit], 1 - place[bit], *place[bit + 1 :])] for place in places]


def wrapped(number: int, element: str) -> int:
    """The number as a signed integer of this width."""
    half = 1 << (BITS[element] - 1)
    return (number + half) % (2 * half) - half


def lane_offsets(g: Generator, strides: tuple[Base, ...], index: Index, element: str) -> str | None:
    """The sum of stride x lane offset as a vector register or literal; None when all lanes
    agree.
    """
    builder = g.builder
    known = tuple(stride if isinstance(stride, int) else 0 for stride in strides)
    constant = linear_lanes(known, index)
    vector = None
    if constant is not None:
        vector = builder.constants(element, [wrapped(offset, element) for offset in constant])
    for stride, (_, lanes) in zip(strides, index):
        if lanes is None or isinstance(stride, int):
            continue
        count = len(lanes.offsets)
        kind = builder.type(element, count)
        offsets = builder.constants(element, lanes.offsets)
        term = builder.define(f"mul {kind} {offsets}, {builder.splat(stride, element, count)}")
        vector = term if vector is None else builder.define(f"add {kind} {vector}, {term}")
    return vector
