"""Reading and writing memory: addresses, vector loads, gathers, masked tails, scratch buffers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tritorch.triton_cpu.analysis.affine import memory_type
from tritorch.triton_cpu.analysis.shapes import is_tensor
from tritorch.triton_cpu.codegen import evaluate, masked
from tritorch.triton_cpu.codegen.builder import BITS, Vec
from tritorch.triton_cpu.codegen.constants import literal
from tritorch.triton_cpu.codegen.context import Base, Index, Loop, lane_count, linear_lanes
from tritorch.triton_cpu.codegen.scratch import Buffer
from tritorch.triton_cpu.ir import Operation, Value

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


# ---- addresses


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
            vector = _as_vector(g, offsets, lanes)
            moved = g.builder.define(
                f"getelementptr {pointee}, <{lanes} x ptr> {pointer.pointers}, <{lanes} x i64> {vector}"
            )
            return Address("", Offsets(), pointee, moved)
        if operation.name in evaluate.INDEX_OPERATIONS - {"tt.join", "tt.cat", "tt.split"}:
            moved_index = evaluate.operand_index(g, operation, index)
            return address(g, operation.operands[0], moved_index, loop)
        if operation.name == "tt.bitcast":
            source = address(g, operation.operands[0], index, loop)
            if source.is_uniform or source.pointee == pointee:
                source.pointee = pointee
                return source
            lanes = lane_count(index)
            return Address("", Offsets(), pointee, pointer_vector(g, source, index).register)
    found_value = evaluate.value_at(g, value, index, loop)
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
    return Offsets(base, constant, evaluate.lane_offsets(g, unknown, index, "i64"))


def offsets_of(g: Generator, value: Value, index: Index, loop: Loop) -> Offsets:
    """An integer tensor taken apart, so that `row * stride + column` is seen to be contiguous in columns."""
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
        if name in evaluate.INDEX_OPERATIONS - {"tt.join", "tt.cat", "tt.split"}:
            moved = evaluate.operand_index(g, operation, index)
            return offsets_of(g, operation.operands[0], moved, loop)
    found = evaluate.value_at(g, value, index, loop)
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


def _as_vector(g: Generator, offsets: Offsets, lanes: int) -> str:
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
    vector = _as_vector(g, found.offsets, lanes)
    register = g.builder.define(
        f"getelementptr {found.pointee}, ptr {found.base}, <{lanes} x i64> {vector}"
    )
    return Vec(register, lanes, "ptr")


# ---- loads and stores


def _mask(g: Generator, mask: Value | None, index: Index, loop: Loop) -> Vec | None:
    """None when every lane is active."""
    if mask is None:
        return None
    found = evaluate.value_at(g, mask, index, loop)
    return None if found.lanes == 1 and found.register in ("true", "1") else found


def memory_operands(operation: Operation) -> tuple[Value, Value | None, Value | None]:
    """(pointer, mask, other) of a load."""
    operands = operation.operands
    return (
        operands[0],
        operands[1] if len(operands) > 1 else None,
        operands[2] if len(operands) > 2 else None,
    )


def load(g: Generator, operation: Operation, index: Index, loop: Loop) -> Vec:
    pointer, mask_operand, other_operand = memory_operands(operation)
    element = operation.results[0].type.element
    mask = _mask(g, mask_operand, index, loop)
    where = address(g, pointer, index, loop)
    other = None
    if mask is not None:
        if other_operand is not None:
            other = evaluate.value_at(g, other_operand, index, loop)
        else:
            other = Vec(g.zero(element), 1, element)
    if mask is None and loop.true_masks is not None:
        _prefetch_rows(g, operation, where, index, loop)
    if _may_be_consecutive(g, pointer, where):
        return _load_if_consecutive(g, where, element, index, mask, other)
    return load_address(g, where, element, index, mask, other)


#: Rows ahead that a loop over distant rows asks for.
AHEAD = 4
#: Rows nearer than this many elements are fetched ahead by the hardware.
NEAR = 64


def _prefetch_rows(
    g: Generator, operation: Operation, where: Address, index: Index, loop: Loop
) -> None:
    """Ask for rows to come where the innermost loop steps from row to row: hardware does not look across pages.

    Summing the columns of 16 MiB takes 2.8 ms with it and 6.4 without.
    """
    walk = loop.walk
    form = g.affine.get(operation.operands[0])
    if walk.inner < 0 or walk.lanes[walk.inner] is not None or form is None:
        return
    if operation.results[0].type.shape != walk.shape or index != loop.index:
        return
    stride = form.strides[walk.inner]
    if isinstance(stride, int) and abs(stride) < NEAR:
        return
    offset = g.builder.integer("mul", stride, AHEAD)
    size = lane_count(index) * BITS[operation.results[0].type.element] // 8
    prefetch(g, where.base, offset, where.pointee, size)


def prefetch(g: Generator, base: str, offset: Base, pointee: str, size: int) -> None:
    """Ask for `size` bytes at `base + offset` elements."""
    builder = g.builder
    first = builder.define(f"getelementptr {pointee}, ptr {base}, i64 {offset}")
    for line in range(0, size, CACHE_LINE):
        place = builder.define(f"getelementptr i8, ptr {first}, i64 {line}")
        builder.call(
            "llvm.prefetch.p0", "void", ("ptr", place), ("i32", "0"), ("i32", "3"), ("i32", "1")
        )


CACHE_LINE = 64


def _may_be_consecutive(g: Generator, pointer: Value, where: Address) -> bool:
    """Whether the lanes' offsets come from index arithmetic that analysis gave up on (a remainder, say), not from data:
    then they mostly are consecutive.
    """
    if where.pointers is not None or where.offsets.vector is None:
        return False
    known = g.computed_indices.get(pointer)
    if known is None:
        known = True
        seen = set()
        stack = [pointer]
        while stack and known:
            operation = stack.pop().operation
            if operation is None or operation in seen:
                continue
            seen.add(operation)
            known = operation.name in INDEX_ARITHMETIC
            stack.extend(operand for operand in operation.operands if is_tensor(operand))
        known = known and any(op.name in ("arith.remsi", "arith.divsi") for op in seen)
        g.computed_indices[pointer] = known
    return known


#: Operations of indices that are computed rather than read.
INDEX_ARITHMETIC = frozenset(
    {
        "arith.addi", "arith.constant", "arith.divsi", "arith.extsi", "arith.muli", "arith.remsi", "arith.subi",
        "arith.trunci", "tt.addptr", "tt.broadcast", "tt.expand_dims", "tt.make_range", "tt.splat",
    }
)  # fmt: skip


def _consecutive(g: Generator, where: Address, lanes: int) -> tuple[str, str]:
    """(whether the lanes' addresses follow each other, the first one)."""
    builder = g.builder
    kind = f"<{lanes} x i64>"
    vector = _as_vector(g, where.offsets, lanes)
    first = builder.define(f"extractelement {kind} {vector}, i64 0")
    splat = builder.splat(first, "i64", lanes)
    expected = builder.define(f"add {kind} {splat}, {builder.lane_numbers('i64', lanes)}")
    equal = builder.define(f"icmp eq {kind} {vector}, {expected}")
    every = builder.call(f"llvm.vector.reduce.and.v{lanes}i1", "i1", (f"<{lanes} x i1>", equal))
    base = builder.define(f"getelementptr {where.pointee}, ptr {where.base}, i64 {first}")
    return every, base


def _load_if_consecutive(
    g: Generator, where: Address, element: str, index: Index, mask: Vec | None, other: Vec | None
) -> Vec:
    builder, lanes = g.builder, lane_count(index)
    every, base = _consecutive(g, where, lanes)
    together, apart, after = (builder.label(hint) for hint in ("together", "apart", "loaded"))
    builder.emit(f"br i1 {every}, label %{together}, label %{apart}")
    builder.start(together)
    first = masked.load_vector(g, base, element, lanes, mask, other).register
    first_end = builder.block
    builder.emit(f"br label %{after}")
    builder.start(apart)
    second = load_address(g, where, element, index, mask, other).register
    second_end = builder.block
    builder.emit(f"br label %{after}")
    builder.start(after)
    kind = builder.type(element, lanes)
    joined = builder.define(f"phi {kind} [{first}, %{first_end}], [{second}, %{second_end}]")
    return Vec(joined, lanes, element)


def load_address(
    g: Generator,
    where: Address,
    element: str,
    index: Index,
    mask: Vec | None = None,
    other: Vec | None = None,
) -> Vec:
    """Load what the lanes of an address point at, by the cheapest instruction."""
    lanes = lane_count(index)
    if where.is_uniform and (mask is None or mask.lanes == 1):
        return masked.load_scalar(g, where.base, element, mask, other)
    constant = where.offsets.constant
    if where.pointers is None and where.offsets.vector is None and constant is not None:
        if constant == tuple(range(constant[0], constant[0] + lanes)):
            base = _moved(g, where, constant[0])
            return masked.load_vector(g, base, element, lanes, mask, other)
        if constant == tuple(range(constant[0], constant[0] - lanes, -1)):
            return _load_reversed(g, where, constant[-1], element, lanes, mask, other)
        low, high = min(constant), max(constant)
        if mask is None and high - low < lanes:
            picked = masked.load_vector(
                g, _moved(g, where, low), element, lanes_up(high - low + 1), None, None
            )
            if picked.lanes == 1:
                return picked
            order = [offset - low for offset in constant]
            moved = g.builder.shuffle(picked.register, None, element, picked.lanes, order)
            return Vec(moved, lanes, element)
    pointers = pointer_vector(g, where, index)
    return masked.gather(g, g.builder.widen(pointers, lanes), element, lanes, mask, other)


def lanes_up(count: int) -> int:
    return 1 << (count - 1).bit_length()


def _moved(g: Generator, where: Address, offset: int) -> str:
    if offset == 0:
        return where.base
    return g.builder.define(f"getelementptr {where.pointee}, ptr {where.base}, i64 {offset}")


def _reversed(g: Generator, value: Vec, lanes: int) -> Vec:
    if value.lanes == 1:
        return value
    order = range(lanes - 1, -1, -1)
    return Vec(
        g.builder.shuffle(value.register, None, value.element, lanes, order), lanes, value.element
    )


def _load_reversed(
    g: Generator,
    where: Address,
    low: int,
    element: str,
    lanes: int,
    mask: Vec | None,
    other: Vec | None,
) -> Vec:
    if mask is not None and other is not None:
        mask, other = _reversed(g, mask, lanes), _reversed(g, other, lanes)
    found = masked.load_vector(g, _moved(g, where, low), element, lanes, mask, other)
    return _reversed(g, found, lanes)


def store(g: Generator, operation: Operation, index: Index, loop: Loop) -> None:
    pointer, value = operation.operands[:2]
    mask_operand = operation.operands[2] if len(operation.operands) > 2 else None
    element = value.type.element
    mask = _mask(g, mask_operand, index, loop)
    data = evaluate.value_at(g, value, index, loop)
    where = address(g, pointer, index, loop)
    lanes = lane_count(index)
    if lanes == 1:
        masked.store_scalar(g, where.base or where.pointers or "", element, data.register, mask)
        return
    constant = where.offsets.constant
    wide = Vec(g.builder.widen(data, lanes), lanes, element)
    if where.pointers is None and where.offsets.vector is None and constant is not None:
        if constant == tuple(range(constant[0], constant[0] + lanes)):
            masked.store_vector(g, _moved(g, where, constant[0]), wide, mask)
            return
        if constant == tuple(range(constant[0], constant[0] - lanes, -1)):
            mask = _reversed(g, mask, lanes) if mask is not None else None
            masked.store_vector(g, _moved(g, where, constant[-1]), _reversed(g, wide, lanes), mask)
            return
    after = None
    if _may_be_consecutive(g, pointer, where):
        every, base = _consecutive(g, where, lanes)
        together, apart, after = (g.builder.label(h) for h in ("together", "apart", "stored"))
        g.builder.emit(f"br i1 {every}, label %{together}, label %{apart}")
        g.builder.start(together)
        masked.store_vector(g, base, wide, mask)
        g.builder.emit(f"br label %{after}")
        g.builder.start(apart)
    pointers = pointer_vector(g, where, index)
    masked.scatter(g, g.builder.widen(pointers, lanes), wide, mask)
    if after is not None:
        g.builder.emit(f"br label %{after}")
        g.builder.start(after)


# ---- scratch buffers


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
