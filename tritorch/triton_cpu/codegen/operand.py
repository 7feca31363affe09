"""Matrices that a product packs: from memory, or computed vector by vector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from tritorch.triton_cpu.codegen.builder import BITS, LLVM_TYPE, Builder

#: A position: a number known now, or an i64 register.
Position = int | str

#: Emits the vector of `lanes` elements (1: a scalar) from (row, column) on; returns its register.
LoadVector = Callable[[Position, Position, int], str]

#: Emits `for i in range(0, count, step): body(i)`.
EmitLoop = Callable[[Builder, Position, int, Callable[[Position], None]], None]


@dataclass(frozen=True)
class Memory:
    """Where a matrix lies, also beyond its edges: what is fetched ahead of its use.

    Args:
        address: emits the pointer to (row, column).
        strides: bytes between rows, and between columns.
        whole: whether all elements are what lies there, none of them masked.
        next: i64 register, bytes from this matrix to that of the product after this one, as far as
            can be guessed; None: nothing is known.
    """

    address: Callable[[Position, Position], str]
    strides: tuple[Position, Position]
    whole: bool = False
    next: str | None = None


class Rows(NamedTuple):
    """Rows of a matrix in memory, columns side by side; the row stride in elements."""

    place: str
    row_stride: Position


@dataclass(frozen=True)
class Operand:
    """A matrix to be multiplied.

    Args:
        element: of the vectors that `load` emits.
        load: emits consecutive elements along `vector_dimension`.
        vector_dimension: 0 if consecutive rows are cheap to load, 1 if consecutive columns are.
        memory: None if the matrix is computed, not read.
    """

    element: str
    load: LoadVector
    vector_dimension: int = 1
    memory: Memory | None = None


def operand_in_memory(
    builder: Builder, element: str, pointer: str, row_stride: Position, column_stride: Position
) -> Operand:
    """A matrix in memory, strides in elements; with none of 1, lanes are loaded one by one."""
    strides = (row_stride, column_stride)
    vector_dimension = 0 if row_stride == 1 and column_stride != 1 else 1
    scalar = LLVM_TYPE[element]

    def address(row: Position, column: Position) -> str:
        offset = builder.integer(
            "add",
            builder.integer("mul", row, row_stride),
            builder.integer("mul", column, column_stride),
        )
        return builder.define(f"getelementptr {scalar}, ptr {pointer}, i64 {offset}")

    def load(row: Position, column: Position, lanes: int) -> str:
        first = address(row, column)
        align = BITS[element] // 8
        if lanes == 1 or strides[vector_dimension] == 1:
            return builder.define(
                f"load {builder.type(element, lanes)}, ptr {first}, align {align}"
            )
        vector = "poison"
        for lane in range(lanes):
            at = builder.integer("mul", lane, strides[vector_dimension])
            place = builder.define(f"getelementptr {scalar}, ptr {first}, i64 {at}")
            value = builder.define(f"load {scalar}, ptr {place}, align {align}")
            kind = builder.type(element, lanes)
            vector = builder.define(f"insertelement {kind} {vector}, {scalar} {value}, i64 {lane}")
        return vector

    size = BITS[element] // 8
    in_bytes = (
        builder.integer("mul", row_stride, size),
        builder.integer("mul", column_stride, size),
    )
    return Operand(element, load, vector_dimension, Memory(address, in_bytes, whole=True))


def counted_loop(
    builder: Builder, count: Position, step: int, body: Callable[[Position], None]
) -> None:
    """`for i in range(0, count, step): body(i)`; one turn is emitted without a loop."""
    if isinstance(count, int) and count <= step:
        body(0)
        return
    before, start, done = builder.block, builder.label("loop"), builder.label("end")
    if isinstance(count, int):
        builder.emit(f"br label %{start}")
    else:
        any_turn = builder.define(f"icmp sgt i64 {count}, 0")
        builder.emit(f"br i1 {any_turn}, label %{start}, label %{done}")
    builder.start(start)
    counter = builder.register()
    place = builder.reserve()
    body(counter)
    following = builder.define(f"add nuw nsw i64 {counter}, {step}")
    again = builder.define(f"icmp ult i64 {following}, {count}")
    builder.lines[place] = (
        f"  {counter} = phi i64 [ 0, %{before} ], [ {following}, %{builder.block} ]"
    )
    builder.emit(f"br i1 {again}, label %{start}, label %{done}")
    builder.start(done)


def prefetch(builder: Builder, place: str, write: bool, near: int = 3) -> None:
    """Ask for the cache line at `place`: for all caches (3), or the second and further ones (2)."""
    builder.declarations.add("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
    builder.emit(f"call void @llvm.prefetch.p0(ptr {place}, i32 {int(write)}, i32 {near}, i32 1)")
