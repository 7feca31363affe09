"""Addresses of lanes: a pointer, and what each lane adds to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tritorch.triton_cpu.analysis.affine import memory_type
from tritorch.triton_cpu.codegen.builder import Vec
from tritorch.triton_cpu.codegen.context import Base, Index, Loop, lane_count, linear_lanes
from tritorch.triton_cpu.codegen.indices import MOVES, lane_offsets, operand_index
from tritorch.triton_cpu.ir import Value

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.generator import Generator


@dataclass(slots=True)
class Offsets:
    """A number of elements per lane: a scalar, plus constants, plus a vector register (i64)."""

    base: Base = 0
    constant: tuple[int, ...] | None = None
    vector: str | None = None


@dataclass(slots=True)
class Address:
    """One pointer and what the lanes add to it; or a vector of unrelated pointers."""

    base: str
    offsets: Offsets
    pointee: str
    pointers: str | None = None

    @property
    def is_uniform(self) -> bool:
        return self.pointers is None and not (self.offsets.constant or self.offsets.vector)


def address(g: Generator, value: Value, index: Index, loop: Loop) -> Address:
    """The address of each lane of a pointer tensor."""
    pointee = memory_type(value.type.pointee)
    form = g.affine.get(value)
    if form is not None:
        found = Address(str(form.base), affine_offsets(g, form.strides, 0, index), pointee)
        return _folded(g, found)
    operation = value.operation
    if operation is not None and value not in g.buffers:
        if operation.name == "tt.addptr":
            pointer = address(g, operation.operands[0], index, loop)
            offsets = offsets_of(g, operation.operands[1], index, loop)
            if pointer.pointers is None:
                total = add_offsets(g, pointer.offsets, offsets, lane_count(index))
                return _folded(g, Address(pointer.base, total, pointee))
            lanes = lane_count(index)
            vector = as_vector(g, offsets, lanes)
            moved = g.builder.define(
                f"getelementptr {pointee}, <{lanes} x ptr> {pointer.pointers},"
                f" <{lanes} x i64> {vector}"
            )
            return Address("", Offsets(), pointee, moved)
        if operation.name in MOVES:
            moved_index = operand_index(g, operation, index)
            return address(g, operation.operands[0], moved_index, loop)
        if operation.name == "tt.bitcast":
            source = address(g, operation.operands[0], index, loop)
            if source.is_uniform or source.pointee == pointee:
                source.pointee = pointee
                return source
            lanes = lane_count(index)
            return Address("", Offsets(), pointee, pointer_vector(g, source, index).register)
    found_value = g.value_at(value, index, loop)
    if found_value.lanes == 1:
        return Address(found_value.register, Offsets(), pointee)
    return Address("", Offsets(), pointee, found_value.register)


def affine_offsets(g: Generator, strides: tuple[Base, ...], base: Base, index: Index) -> Offsets:
    builder = g.builder
    for stride, (position, _) in zip(strides, index):
        base = builder.integer("add", base, builder.integer("mul", position, stride))
    known = tuple(stride if isinstance(stride, int) else 0 for stride in strides)
    constant = linear_lanes(known, index)
    unknown = tuple(0 if isinstance(stride, int) else stride for stride in strides)
    return Offsets(base, constant, lane_offsets(g, unknown, index, "i64"))


def offsets_of(g: Generator, value: Value, index: Index, loop: Loop) -> Offsets:
    """An integer tensor taken apart, so that `row * stride + column` is seen to be contiguous in
    columns.
    """
    builder = g.builder
    form = g.affine.get(value)
    if form is not None:
        form = g.affine.extended(form, "i64")
        return affine_offsets(g, form.strides, form.base, index)
    operation = value.operation
    lanes = lane_count(index)
    if operation is not None and value not in g.buffers and lanes > 1:
        name = operation.name
        if name == "arith.addi":
            a = offsets_of(g, operation.operands[0], index, loop)
            b = offsets_of(g, operation.operands[1], index, loop)
            return add_offsets(g, a, b, lanes)
        if name == "arith.extsi" and operation.operands[0].type.element != "i1":
            return offsets_of(g, operation.operands[0], index, loop)
        if name in MOVES:
            moved = operand_index(g, operation, index)
            return offsets_of(g, operation.operands[0], moved, loop)
    found = g.value_at(value, index, loop)
    element = value.type.element
    if found.lanes == 1:
        register = found.register
        if register.lstrip("-").isdigit():
            return Offsets(int(register))
        return Offsets(builder.extend(register, element))
    if element == "i64":
        return Offsets(0, None, found.register)
    op = "zext" if element == "i1" else "sext"
    kinds = builder.type(element, lanes), builder.type("i64", lanes)
    return Offsets(0, None, builder.define(f"{op} {kinds[0]} {found.register} to {kinds[1]}"))


def add_offsets(g: Generator, a: Offsets, b: Offsets, lanes: int) -> Offsets:
    builder = g.builder
    constant = a.constant or b.constant
    if a.constant and b.constant:
        constant = tuple(x + y for x, y in zip(a.constant, b.constant))
    vector = a.vector or b.vector
    if a.vector and b.vector:
        vector = builder.define(f"add <{lanes} x i64> {a.vector}, {b.vector}")
    return Offsets(builder.integer("add", a.base, b.base), constant, vector)


def scaled(g: Generator, value: Vec, factor: int, lanes: int) -> Offsets:
    """An integer vector times a known factor, as offsets."""
    builder = g.builder
    if value.lanes == 1:
        wide = builder.extend(value.register, value.element)
        return Offsets(builder.integer("mul", wide, factor))
    register = value.register
    kind = f"<{lanes} x i64>"
    if value.element != "i64":
        narrow = builder.type(value.element, lanes)
        register = builder.define(f"sext {narrow} {register} to {kind}")
    if factor != 1:
        splat = builder.splat(str(factor), "i64", lanes)
        register = builder.define(f"mul {kind} {register}, {splat}")
    return Offsets(0, None, register)


def _folded(g: Generator, found: Address) -> Address:
    """Move the scalar offset into the base pointer."""
    if found.offsets.base != 0:
        found.base = g.builder.define(
            f"getelementptr {found.pointee}, ptr {found.base}, i64 {found.offsets.base}"
        )
        found.offsets.base = 0
    return found


def as_vector(g: Generator, offsets: Offsets, lanes: int) -> str:
    builder = g.builder
    vector = offsets.vector
    kind = f"<{lanes} x i64>"
    if offsets.constant:
        constant = builder.constants("i64", offsets.constant)
        vector = constant if vector is None else builder.define(f"add {kind} {vector}, {constant}")
    if vector is None:
        return builder.splat(str(offsets.base), "i64", lanes)
    if offsets.base != 0:
        base = builder.splat(str(offsets.base), "i64", lanes)
        vector = builder.define(f"add {kind} {vector}, {base}")
    return vector


def pointer_vector(g: Generator, found: Address, index: Index) -> Vec:
    """The addresses as a vector of pointers (one pointer when they agree)."""
    if found.pointers is not None:
        return Vec(found.pointers, lane_count(index), "ptr")
    if found.is_uniform:
        return Vec(found.base, 1, "ptr")
    lanes = lane_count(index)
    vector = as_vector(g, found.offsets, lanes)
    register = g.builder.define(
        f"getelementptr {found.pointee}, ptr {found.base}, <{lanes} x i64> {vector}"
    )
    return Vec(register, lanes, "ptr")


def moved(g: Generator, where: Address, offset: int) -> str:
    if offset == 0:
        return where.base
    return g.builder.define(f"getelementptr {where.pointee}, ptr {where.base}, i64 {offset}")
