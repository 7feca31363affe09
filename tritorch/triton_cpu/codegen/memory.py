"""Loads and stores of a strip: by vectors or gathers, whichever the addresses allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritorch.triton_cpu.analysis.shapes import is_tensor
from tritorch.triton_cpu.codegen import masked
from tritorch.triton_cpu.codegen.address import Address, address, as_vector, moved, pointer_vector
from tritorch.triton_cpu.codegen.builder import BITS, Vec
from tritorch.triton_cpu.codegen.context import Base, Index, Loop, lane_count, lanes_up
from tritorch.triton_cpu.ir import Operation, Value

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.generator import Generator


def _mask(g: Generator, mask: Value | None, index: Index, loop: Loop) -> Vec | None:
    """None when every lane is active."""
    if mask is None:
        return None
    found = g.value_at(mask, index, loop)
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
            other = g.value_at(other_operand, index, loop)
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
    """Ask for rows to come where the innermost loop steps from row to row: hardware does not look
    across pages.

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
    """Whether the lanes' offsets come from index arithmetic that analysis gave up on (a remainder,
    say), not from data: then they mostly are consecutive.
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
        "arith.addi", "arith.constant", "arith.divsi", "arith.extsi", "arith.muli",
        "arith.remsi", "arith.subi", "arith.trunci", "tt.addptr", "tt.broadcast",
        "tt.expand_dims", "tt.make_range", "tt.splat",
    }
)  # fmt: skip


def _consecutive(g: Generator, where: Address, lanes: int) -> tuple[str, str]:
    """(whether the lanes' addresses follow each other, the first one)."""
    builder = g.builder
    kind = f"<{lanes} x i64>"
    vector = as_vector(g, where.offsets, lanes)
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
            base = moved(g, where, constant[0])
            return masked.load_vector(g, base, element, lanes, mask, other)
        if constant == tuple(range(constant[0], constant[0] - lanes, -1)):
            return _load_reversed(g, where, constant[-1], element, lanes, mask, other)
        step = _spacing(constant)
        if step and g.target.avx512f:
            return _load_spaced(g, moved(g, where, constant[0]), step, element, lanes, mask, other)
        low, high = min(constant), max(constant)
        if mask is None and high - low < lanes:
            picked = masked.load_vector(
                g, moved(g, where, low), element, lanes_up(high - low + 1), None, None
            )
            if picked.lanes == 1:
                return picked
            order = [offset - low for offset in constant]
            picked_lanes = g.builder.shuffle(picked.register, None, element, picked.lanes, order)
            return Vec(picked_lanes, lanes, element)
    pointers = pointer_vector(g, where, index)
    return masked.gather(g, g.builder.widen(pointers, lanes), element, lanes, mask, other)


#: Elements this far apart at most are picked out of whole vectors: a gather costs as much as four.
WIDEST_SPACING = 4


def _spacing(constant: tuple[int, ...]) -> int:
    """How far apart the lanes are, if all the same and few elements; else 0."""
    if len(constant) < 4:
        return 0
    step = constant[1] - constant[0]
    evenly = constant == tuple(range(constant[0], constant[0] + step * len(constant), step or 1))
    return step if 1 < step <= WIDEST_SPACING and evenly else 0


def _load_spaced(
    g: Generator,
    pointer: str,
    step: int,
    element: str,
    lanes: int,
    mask: Vec | None,
    other: Vec | None,
) -> Vec:
    """Every step-th element: whole vectors, without touching what lies between, then shuffles."""
    builder, wide = g.builder, lanes * step
    if mask is None:
        active = builder.constants("i1", [int(lane % step == 0) for lane in range(wide)])
    else:
        order = [lane // step if lane % step == 0 else lanes for lane in range(wide)]
        register = builder.widen(mask, lanes)
        active = builder.shuffle(register, "zeroinitializer", "i1", lanes, order)
    found = masked.load_vector(
        g, pointer, element, wide, Vec(active, wide, "i1"), Vec(g.zero(element), 1, element)
    )
    picked = builder.shuffle(found.register, None, element, wide, range(0, wide, step))
    if mask is not None and other is not None:
        kind = builder.type(element, lanes)
        default = builder.widen(other, lanes)
        chosen = builder.widen(mask, lanes)
        picked = builder.define(
            f"select <{lanes} x i1> {chosen}, {kind} {picked}, {kind} {default}"
        )
    return Vec(picked, lanes, element)


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
    found = masked.load_vector(g, moved(g, where, low), element, lanes, mask, other)
    return _reversed(g, found, lanes)


def _storing(g: Generator, mask: Vec | None, loop: Loop, lanes: int) -> Vec | None:
    """A store's mask, less the lanes that another strip stores."""
    if loop.storing is None:
        return mask
    if mask is None:
        return Vec(loop.storing, lanes, "i1")
    own = g.builder.widen(mask, lanes)
    return Vec(g.builder.define(f"and <{lanes} x i1> {own}, {loop.storing}"), lanes, "i1")


def store(g: Generator, operation: Operation, index: Index, loop: Loop) -> None:
    pointer, value = operation.operands[:2]
    mask_operand = operation.operands[2] if len(operation.operands) > 2 else None
    element = value.type.element
    mask = _mask(g, mask_operand, index, loop)
    data = g.value_at(value, index, loop)
    where = address(g, pointer, index, loop)
    lanes = lane_count(index)
    mask = _storing(g, mask, loop, lanes)
    if lanes == 1:
        masked.store_scalar(g, where.base or where.pointers or "", element, data.register, mask)
        return
    constant = where.offsets.constant
    wide = Vec(g.builder.widen(data, lanes), lanes, element)
    if where.pointers is None and where.offsets.vector is None and constant is not None:
        if constant == tuple(range(constant[0], constant[0] + lanes)):
            masked.store_vector(g, moved(g, where, constant[0]), wide, mask)
            return
        if constant == tuple(range(constant[0], constant[0] - lanes, -1)):
            mask = _reversed(g, mask, lanes) if mask is not None else None
            masked.store_vector(g, moved(g, where, constant[-1]), _reversed(g, wide, lanes), mask)
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
