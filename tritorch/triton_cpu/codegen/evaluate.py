"""The elements of a virtual tensor at an index, emitted on demand inside a strip (this is what
fuses operations).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tritorch.triton_cpu.analysis.affine import Affine
from tritorch.triton_cpu.analysis.masks import Constraint
from tritorch.triton_cpu.analysis.sinks import exchange_of
from tritorch.triton_cpu.codegen import memory
from tritorch.triton_cpu.codegen.address import address, pointer_vector
from tritorch.triton_cpu.codegen.buffers import read_buffer, read_table, write_buffer
from tritorch.triton_cpu.codegen.builder import Vec
from tritorch.triton_cpu.codegen.combine import combine
from tritorch.triton_cpu.codegen.constants import literal
from tritorch.triton_cpu.codegen.context import (
    Base,
    Index,
    Lanes,
    Loop,
    lane_count,
    linear_lanes,
)
from tritorch.triton_cpu.codegen.division import divide_consecutive, emit_division
from tritorch.triton_cpu.codegen.elementwise import emit_elementwise
from tritorch.triton_cpu.codegen.indices import digit, exchange_order, lane_offsets, operand_index
from tritorch.triton_cpu.ir import Operation, Value

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.generator import Generator


def value_at(g: Generator, value: Value, index: Index, loop: Loop) -> Vec:
    """The value's elements at `index`: one lane if they all agree, else as many as the index
    has.
    """
    shape = value.type.shape
    if shape is None:
        return Vec(g.scalars[value], 1, value.type.element)
    key = (value, index)
    found = loop.lookup(key)
    if found is None:
        found = _evaluate(g, value, index, loop)
        loop.memo[key] = found
        if value in loop.spills and index == loop.index:
            write_buffer(g, g.pending_buffer(value), index, found)
            g.written.add(value)
    return found


def _evaluate(g: Generator, value: Value, index: Index, loop: Loop) -> Vec:
    buffer = g.buffers.get(value)
    if buffer is not None:
        return read_buffer(g, buffer, index)
    element = value.type.element
    form = g.affine.get(value)
    if form is not None and element != "ptr":
        return affine_value(g, form, element, index)
    if element == "i1":
        constraints = g.masks.get(value)
        if constraints is not None:
            if loop.true_masks is not None and value in loop.true_masks:
                return Vec("true", 1, "i1")
            return mask_value(g, constraints, index)
    operation = value.operation
    assert operation is not None, f"{value} is neither virtual nor stored"
    special = _SPECIAL.get(operation.name)
    if special is not None:
        return special(g, operation, value, index, loop)
    if element == "ptr" and operation.name == "tt.addptr":
        return pointer_vector(g, address(g, value, index, loop), index)
    arguments = [value_at(g, operand, index, loop) for operand in operation.operands]
    lanes = max([argument.lanes for argument in arguments], default=1)
    registers = [g.builder.widen(argument, lanes) for argument in arguments]
    return Vec(emit_elementwise(g, operation, registers, lanes, element), lanes, element)


# ---- affine integers and masks


def affine_value(g: Generator, form: Affine, element: str, index: Index) -> Vec:
    builder, kind = g.builder, form.element
    base = form.base
    for stride, (position, _) in zip(form.strides, index):
        if stride != 0 and position != 0:
            narrow = builder.extend(position, "i64", kind)
            base = builder.integer("add", base, builder.integer("mul", narrow, stride, kind), kind)
    lanes = lane_count(index)
    vector = lane_offsets(g, form.strides, index, kind)
    if vector is None:
        return Vec(str(base), 1, element)
    if base == 0:
        return Vec(vector, lanes, element)
    splat = builder.splat(str(base), element, lanes)
    return Vec(builder.define(f"add {builder.type(kind, lanes)} {splat}, {vector}"), lanes, element)


def mask_value(g: Generator, constraints: tuple[Constraint, ...], index: Index) -> Vec:
    builder = g.builder
    result: Vec | None = None
    for constraint in constraints:
        current = _constraint_value(g, constraint, index)
        if result is None:
            result = current
            continue
        lanes = max(result.lanes, current.lanes)
        a, b = builder.widen(result, lanes), builder.widen(current, lanes)
        both = builder.define(f"and {builder.type('i1', lanes)} {a}, {b}")
        result = Vec(both, lanes, "i1")
    return result or Vec("true", 1, "i1")


def _constraint_value(g: Generator, constraint: Constraint, index: Index) -> Vec:
    """`base + sum < 0`: lanes compare their constant offset with a clamped scalar."""
    builder = g.builder
    total = constraint.base
    for coefficient, (position, _) in zip(constraint.coefficients, index):
        total = builder.integer("add", total, builder.integer("mul", position, coefficient))
    offsets = linear_lanes(constraint.coefficients, index)
    if offsets is None:
        if isinstance(total, int):
            return Vec("true" if total < 0 else "false", 1, "i1")
        return Vec(builder.define(f"icmp slt i64 {total}, 0"), 1, "i1")
    lanes = len(offsets)
    low, high = min(offsets), max(offsets) + 1
    limit = builder.integer("sub", 0, total)
    if isinstance(limit, int):
        return Vec(builder.constants("i1", [str(o < limit).lower() for o in offsets]), lanes, "i1")
    limit = builder.intrinsic("smin", "i64", 1, str(limit), str(high))
    limit = builder.intrinsic("smax", "i64", 1, limit, str(low))
    short = builder.define(f"trunc i64 {limit} to i32")
    numbers = builder.constants("i32", offsets)
    compared = builder.define(
        f"icmp slt <{lanes} x i32> {numbers}, {builder.splat(short, 'i32', lanes)}"
    )
    return Vec(compared, lanes, "i1")


# ---- operations that move indices


def _moved(g: Generator, operation: Operation, value: Value, index: Index, loop: Loop) -> Vec:
    return value_at(g, operation.operands[0], operand_index(g, operation, index), loop)


def _broadcast(g: Generator, operation: Operation, value: Value, index: Index, loop: Loop) -> Vec:
    reduction = exchange_of(operation)
    if reduction is None:
        return _moved(g, operation, value, index, loop)
    inner = operation.operands[0].operation
    assert inner is not None
    return _exchange(g, reduction, inner.operands[0].index, index, loop)


def _exchange(g: Generator, operation: Operation, result: int, index: Index, loop: Loop) -> Vec:
    """Each element combined with its neighbour: a shuffle inside a strip, else the other strip."""
    builder, axis = g.builder, operation.attributes["axis"]
    key = (operation.results[result], index)
    found = loop.lookup(key)
    if found is not None:
        return found
    mine = [value_at(g, operand, index, loop) for operand in operation.operands]
    lanes = max(vector.lanes for vector in mine)
    own = [builder.widen(vector, lanes) for vector in mine]
    base, offsets = index[axis]
    if offsets is not None and lanes > 1:
        order = exchange_order(index, axis)
        other = [builder.shuffle(r, None, v.element, lanes, order) for r, v in zip(own, mine)]
    elif offsets is not None:
        other = own
    else:
        flipped: Base = 1 - base if isinstance(base, int) else builder.define(f"xor i64 {base}, 1")
        there = (*index[:axis], (flipped, None), *index[axis + 1 :])
        theirs = [value_at(g, operand, there, loop) for operand in operation.operands]
        other = [builder.widen(vector, lanes) for vector in theirs]
    registers = combine(g, operation, own, other, lanes)
    for value, register in zip(operation.results, registers):
        loop.memo[value, index] = Vec(register, lanes, value.type.element)
    return loop.memo[key]


def _constant(g: Generator, operation: Operation, value: Value, index: Index, loop: Loop) -> Vec:
    element, data = value.type.element, operation.attributes["value"]
    if not isinstance(data, list):
        return Vec(literal(data, element), 1, element)
    return read_table(g, operation, data, index)


def _splat(g: Generator, operation: Operation, value: Value, index: Index, loop: Loop) -> Vec:
    return Vec(g.scalars[operation.operands[0]], 1, value.type.element)


def _load(g: Generator, operation: Operation, value: Value, index: Index, loop: Loop) -> Vec:
    return memory.load(g, operation, index, loop)


def _join(g: Generator, operation: Operation, value: Value, index: Index, loop: Loop) -> Vec:
    """The last dimension chooses the operand."""
    return _choose(g, operation, index[-1], index[:-1], index[:-1], loop)


def _cat(g: Generator, operation: Operation, value: Value, index: Index, loop: Loop) -> Vec:
    """The first operand below its size along dimension 0, the second above."""
    size = (operation.operands[0].type.shape or (1,))[0]
    base, lanes = index[0]
    bit = digit(g, base, lanes.offsets if lanes else None, 2, size, ())
    inside = (
        digit(g, base, lanes.offsets if lanes else None, size, 1, ()) if size > 1 else (0, None)
    )
    moved = (inside, *index[1:])
    return _choose(g, operation, bit, moved, moved, loop)


def _choose(
    g: Generator,
    operation: Operation,
    bit: tuple[Base, Lanes | None],
    first: Index,
    second: Index,
    loop: Loop,
) -> Vec:
    """Operand 0 where the bit is 0, operand 1 where it is 1."""
    builder = g.builder
    base, lanes = bit
    element = operation.results[0].type.element
    if lanes is None and isinstance(base, int):
        return value_at(g, operation.operands[base], second if base else first, loop)
    a = value_at(g, operation.operands[0], first, loop)
    b = value_at(g, operation.operands[1], second, loop)
    if lanes is None:
        count = max(a.lanes, b.lanes)
        condition = builder.define(f"icmp ne i64 {base}, 0")
        kind = builder.type(element, count)
        chosen = builder.define(
            f"select i1 {condition}, {kind} {builder.widen(b, count)},"
            f" {kind} {builder.widen(a, count)}"
        )
        return Vec(chosen, count, element)
    count = len(lanes.offsets)
    wide_a, wide_b = builder.widen(a, count), builder.widen(b, count)
    order = [lane + (count if offset else 0) for lane, offset in enumerate(lanes.offsets)]
    return Vec(builder.shuffle(wide_a, wide_b, element, count, order), count, element)


def _split(g: Generator, operation: Operation, value: Value, index: Index, loop: Loop) -> Vec:
    return value_at(g, operation.operands[0], (*index, (value.index, None)), loop)


def _divide(g: Generator, operation: Operation, value: Value, index: Index, loop: Loop) -> Vec:
    """Index arithmetic divides consecutive numbers by one number: both results come from one
    division.
    """
    builder = g.builder
    name = operation.name.removeprefix("arith.")
    a, b = (value_at(g, operand, index, loop) for operand in operation.operands)
    element = value.type.element
    lanes = max(a.lanes, b.lanes)
    dividend = operation.operands[0]
    form = g.affine.get(dividend)
    consecutive = None
    if form is not None and all(isinstance(stride, int) for stride in form.strides):
        strides = tuple(stride for stride in form.strides if isinstance(stride, int))
        consecutive = linear_lanes(strides, index)
    known = b.register.lstrip("-").isdigit()
    if (
        b.lanes > 1 or lanes == 1 or known or element not in ("i32", "i64") or name[-2:] != "si"
        or consecutive != tuple(range(lanes))
    ):  # fmt: skip
        registers = [builder.widen(a, lanes), builder.widen(b, lanes)]
        return Vec(emit_elementwise(g, operation, registers, lanes, element), lanes, element)
    pair = (dividend, operation.operands[1], index)
    found = g.divided.get(pair)
    if found is None:
        corner = tuple((base, None) for base, _ in index)
        first = affine_value(g, form, element, corner).register  # type: ignore[arg-type]

        def general() -> tuple[str, str]:
            wide = builder.widen(b, lanes)
            return (
                emit_division(builder, "sdiv", a.register, wide, element, lanes),
                emit_division(builder, "srem", a.register, wide, element, lanes),
            )

        found = divide_consecutive(builder, first, b.register, element, lanes, general)
        g.divided[pair] = found
    return Vec(found[0] if name == "divsi" else found[1], lanes, element)


_Special = Callable[["Generator", Operation, Value, Index, Loop], Vec]
_SPECIAL: dict[str, _Special] = {
    "arith.constant": _constant,
    "arith.divsi": _divide,
    "arith.remsi": _divide,
    "tt.broadcast": _broadcast,
    "tt.cat": _cat,
    "tt.expand_dims": _moved,
    "tt.join": _join,
    "tt.load": _load,
    "tt.reshape": _moved,
    "tt.splat": _splat,
    "tt.split": _split,
    "tt.trans": _moved,
}
