"""Atomic operations: one shared function per kind loops over the lanes of a strip."""

from __future__ import annotations

from collections.abc import Callable

from tritorch.triton_cpu.analysis.shapes import is_tensor
from tritorch.triton_cpu.codegen.address import address, pointer_vector
from tritorch.triton_cpu.codegen.buffers import write_buffer
from tritorch.triton_cpu.codegen.builder import BITS, LLVM_TYPE, Builder, Vec
from tritorch.triton_cpu.codegen.combining import can_combine, combine
from tritorch.triton_cpu.codegen.context import Loop, plan_walk
from tritorch.triton_cpu.codegen.convert import convert_float
from tritorch.triton_cpu.codegen.generator import Generator, lowers
from tritorch.triton_cpu.codegen.lane_loop import Column, call_per_lane
from tritorch.triton_cpu.codegen.nest import Nest
from tritorch.triton_cpu.codegen.prepare import mask_clip, prepare, spills_of
from tritorch.triton_cpu.codegen.walks import strip_lanes
from tritorch.triton_cpu.ir import Operation, Value

_KINDS = {
    1: "and", 2: "or", 3: "xor", 4: "add", 5: "fadd", 6: "max", 7: "min", 8: "umax", 9: "umin",
    10: "xchg",
}  # fmt: skip
_ORDERINGS = {1: "monotonic", 2: "acquire", 3: "release", 4: "acq_rel"}


def _ordering(operation: Operation) -> str:
    return _ORDERINGS.get(operation.attributes.get("sem", 4), "acq_rel")


@lowers("tt.atomic_rmw")
def read_modify_write(g: Generator, operation: Operation) -> None:
    pointer, value = operation.operands[:2]
    mask = operation.operands[2] if len(operation.operands) > 2 else None
    element = value.type.element
    kind, ordering = _KINDS[operation.attributes["atomic_rmw_op"]], _ordering(operation)

    def emit(builder: Builder, address: str, registers: list[str]) -> str:
        return _emit_update(builder, g, kind, element, address, registers[0], ordering)

    name = f"atomic_{kind}_{element}_{ordering}"
    waits = not operation.results[0].uses and can_combine(g, operation, kind)

    def each(columns: list[Vec], active: Vec | None, lanes: int) -> None:
        combine(g, operation, kind, columns[0], columns[1], active, lanes, ordering)

    _lower(g, operation, pointer, [value], mask, name, emit, each if waits else None)


@lowers("tt.atomic_cas")
def compare_and_swap(g: Generator, operation: Operation) -> None:
    pointer, expected, desired = operation.operands[:3]
    element = expected.type.element
    ordering = _ordering(operation)
    failure = "monotonic" if ordering in ("monotonic", "release") else "acquire"

    def emit(builder: Builder, address: str, registers: list[str]) -> str:
        kind, bits = LLVM_TYPE[element], f"i{BITS[element]}"
        if kind != bits:  # cmpxchg takes integers
            registers = [builder.define(f"bitcast {kind} {r} to {bits}") for r in registers]
        pair = builder.define(
            f"cmpxchg ptr {address}, {bits} {registers[0]}, {bits} {registers[1]}"
            f" {ordering} {failure}"
        )
        old = builder.define(f"extractvalue {{ {bits}, i1 }} {pair}, 0")
        return old if kind == bits else builder.define(f"bitcast {bits} {old} to {kind}")

    name = f"atomic_cas_{element}_{ordering}"
    _lower(g, operation, pointer, [expected, desired], None, name, emit)


def _emit_update(
    builder: Builder,
    g: Generator,
    kind: str,
    element: str,
    address: str,
    value: str,
    ordering: str,
) -> str:
    if not (kind == "fadd" and element in ("f16", "bf16")):
        return builder.define(
            f"atomicrmw {kind} ptr {address}, {LLVM_TYPE[element]} {value} {ordering}"
        )
    # 16-bit floats: add in float32 until nobody came in between
    addend = convert_float(builder, value, element, "f32", 1, g.target)
    scalar = LLVM_TYPE[element]
    first = builder.define(f"load atomic i16, ptr {address} monotonic, align 2")
    before, again, done = builder.block, builder.label("again"), builder.label("added")
    builder.emit(f"br label %{again}")
    builder.start(again)
    old, place = builder.register(), builder.reserve()
    number = builder.define(f"bitcast i16 {old} to {scalar}")
    total = builder.define(
        f"fadd float {convert_float(builder, number, element, 'f32', 1, g.target)}, {addend}"
    )
    narrow = convert_float(builder, total, "f32", element, 1, g.target)
    bits = builder.define(f"bitcast {scalar} {narrow} to i16")
    failure = "monotonic" if ordering in ("monotonic", "release") else "acquire"
    pair = builder.define(f"cmpxchg ptr {address}, i16 {old}, i16 {bits} {ordering} {failure}")
    found = builder.define(f"extractvalue {{ i16, i1 }} {pair}, 0")
    success = builder.define(f"extractvalue {{ i16, i1 }} {pair}, 1")
    builder.lines[place] = f"  {old} = phi i16 [{first}, %{before}], [{found}, %{builder.block}]"
    builder.emit(f"br i1 {success}, label %{done}, label %{again}")
    builder.start(done)
    return number


def _lower(
    g: Generator,
    operation: Operation,
    pointer: Value,
    values: list[Value],
    mask: Value | None,
    name: str,
    emit: object,
    strip: Callable[[list[Vec], Vec | None, int], None] | None = None,
) -> None:
    """`emit` does one lane; `strip`, where it is given, all lanes of a strip."""
    assert callable(emit)
    result = operation.results[0]
    element = result.type.element
    if not is_tensor(pointer):
        _scalar(g, result, pointer, values, mask, emit)
        return
    shape = result.type.shape or ()
    position = g.plan.position[operation]
    roots = [operand for operand in operation.operands if is_tensor(operand)]
    prepare(g, roots, shape, position)
    walk = plan_walk(shape, min(strip_lanes(g, roots), g.target.strip_bytes // 4))
    wanted = bool(result.uses)
    buffer = g.scratch.allocate(shape, element) if wanted else None

    def body(loop: Loop, carried: list[str] | None) -> list[str]:
        index = loop.index
        active = None if mask is None else g.value_at(mask, index, loop)
        registers = [g.value_at(value, index, loop) for value in values]
        where = pointer_vector(g, address(g, pointer, index, loop), index)
        if strip is not None:
            strip([where, *registers], active, walk.count)
            return []
        columns = [Column(where), *(Column(register) for register in registers)]
        old = call_per_lane(
            g, name, columns, active, walk.count, element if wanted else None,
            lambda builder, items: emit(builder, items[0], items[1:]),
        )  # fmt: skip
        if buffer is not None and old is not None:
            write_buffer(g, buffer, index, old)
        return []

    spills = spills_of(g, roots, shape, position)
    clip = mask_clip(g, mask) if not wanted and not spills else []
    Nest(g, walk, roots, body, clip=clip, spills=spills).emit()
    g.publish(spills)
    if buffer is not None:
        g.buffers[result] = buffer


def _scalar(
    g: Generator,
    result: Value,
    pointer: Value,
    values: list[Value],
    mask: Value | None,
    emit: object,
) -> None:
    assert callable(emit)
    builder, element = g.builder, result.type.element
    registers = [g.scalars[value] for value in values]
    condition = "true" if mask is None else g.scalars[mask]
    if condition in ("true", "1"):
        g.scalars[result] = emit(builder, g.scalars[pointer], registers)
        return
    before, inside, after = builder.block, builder.label("atomic"), builder.label("done")
    builder.emit(f"br i1 {condition}, label %{inside}, label %{after}")
    builder.start(inside)
    old = emit(builder, g.scalars[pointer], registers)
    end = builder.block
    builder.emit(f"br label %{after}")
    builder.start(after)
    g.scalars[result] = builder.define(
        f"phi {LLVM_TYPE[element]} [{g.zero(element)}, %{before}], [{old}, %{end}]"
    )


__all__ = ["Vec", "compare_and_swap", "read_modify_write"]
