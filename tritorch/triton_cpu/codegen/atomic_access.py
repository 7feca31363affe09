"""`tl.atomic_load`, `tl.atomic_store` and `tl.atomic_poll`: single accesses in memory order."""

from __future__ import annotations

from tritorch.triton_cpu.analysis.shapes import is_tensor
from tritorch.triton_cpu.codegen.address import address, pointer_vector
from tritorch.triton_cpu.codegen.buffers import write_buffer
from tritorch.triton_cpu.codegen.builder import BITS, LLVM_TYPE, Builder, Vec
from tritorch.triton_cpu.codegen.context import Loop, plan_walk
from tritorch.triton_cpu.codegen.generator import Generator, lowers
from tritorch.triton_cpu.codegen.lane_loop import Column, Emit, call_per_lane
from tritorch.triton_cpu.codegen.nest import Nest
from tritorch.triton_cpu.codegen.prepare import prepare, spills_of
from tritorch.triton_cpu.codegen.walks import strip_lanes
from tritorch.triton_cpu.ir import Operation, Value

_ORDERINGS = {1: "monotonic", 2: "acquire", 3: "release"}


def _ordering(operation: Operation) -> str:
    return _ORDERINGS[operation.attributes["sem"]]


@lowers("tt.atomic_load")
def atomic_load(g: Generator, operation: Operation) -> None:
    pointer, *rest = operation.operands
    element, ordering = operation.results[0].type.element, _ordering(operation)

    def emit(builder: Builder, registers: list[str]) -> str:
        return _load(builder, registers[0], element, ordering)

    _each(g, operation, [pointer], rest[0] if rest else None, f"load_{element}_{ordering}", emit)


@lowers("tt.atomic_store")
def atomic_store(g: Generator, operation: Operation) -> None:
    pointer, value, *rest = operation.operands
    element, ordering = value.type.element, _ordering(operation)
    bits = f"i{BITS[element]}"

    def emit(builder: Builder, registers: list[str]) -> str:
        place, register = registers
        if LLVM_TYPE[element] != bits:
            register = builder.define(f"bitcast {LLVM_TYPE[element]} {register} to {bits}")
        align = BITS[element] // 8
        builder.emit(f"store atomic {bits} {register}, ptr {place} {ordering}, align {align}")
        return ""

    name = f"store_{element}_{ordering}"
    _each(g, operation, [pointer, value], rest[0] if rest else None, name, emit)


@lowers("tt.atomic_poll")
def atomic_poll(g: Generator, operation: Operation) -> None:
    """Spins, giving way to other threads; the time limit, where there is one, is in ns."""
    element, ordering = operation.operands[1].type.element, _ordering(operation)

    def emit(builder: Builder, registers: list[str]) -> str:
        place, expected, *limit = registers
        start = _nanoseconds(builder) if limit else ""
        again, waiting, done = (builder.label(n) for n in ("poll", "waiting", "polled"))
        builder.emit(f"br label %{again}")
        builder.start(again)
        found = _load(builder, place, element, ordering)
        equal = builder.define(f"icmp eq {LLVM_TYPE[element]} {found}, {expected}")
        builder.emit(f"br i1 {equal}, label %{done}, label %{waiting}")
        builder.start(waiting)
        builder.declarations.add("declare i32 @sched_yield()")
        builder.define("call i32 @sched_yield()")
        late = "false"
        if limit:
            passed = builder.define(f"sub i64 {_nanoseconds(builder)}, {start}")
            late = builder.define(f"icmp uge i64 {passed}, {limit[0]}")
        builder.emit(f"br i1 {late}, label %{done}, label %{again}")
        builder.start(done)
        return builder.define(f"phi i1 [true, %{again}], [false, %{waiting}]")

    limited = "_limited" if len(operation.operands) > 2 else ""
    name = f"poll_{element}_{ordering}{limited}"
    _each(g, operation, operation.operands, None, name, emit)


def _load(builder: Builder, place: str, element: str, ordering: str) -> str:
    kind, bits = LLVM_TYPE[element], f"i{BITS[element]}"
    found = builder.define(
        f"load atomic {bits}, ptr {place} {ordering}, align {BITS[element] // 8}"
    )
    return found if kind == bits else builder.define(f"bitcast {bits} {found} to {kind}")


#: The monotonic clock in nanoseconds: CLOCK_MONOTONIC is 1, its two 64-bit fields are seconds and
#: the nanoseconds beyond them.
_CLOCK = """\
define internal i64 @nanoseconds() #0 {
  %time = alloca [2 x i64], align 8
  %status = call i32 @clock_gettime(i32 1, ptr %time)
  %place = getelementptr i8, ptr %time, i64 8
  %seconds = load i64, ptr %time, align 8
  %rest = load i64, ptr %place, align 8
  %whole = mul i64 %seconds, 1000000000
  %all = add i64 %whole, %rest
  ret i64 %all
}
"""


def _nanoseconds(builder: Builder) -> str:
    builder.declarations.add("declare i32 @clock_gettime(i32, ptr)")
    builder.helpers["nanoseconds"] = _CLOCK
    return builder.define("call i64 @nanoseconds()")


def _each(
    g: Generator,
    operation: Operation,
    values: list[Value],
    mask: Value | None,
    name: str,
    emit: Emit,
) -> None:
    """Run `emit` for every lane where the mask is true; the first value is the pointer."""
    pointer = values[0]
    if not is_tensor(pointer):
        _scalar(g, operation, values, mask, emit)
        return
    shape = pointer.type.shape or ()
    position = g.plan.position[operation]
    roots = [operand for operand in operation.operands if is_tensor(operand)]
    prepare(g, roots, shape, position)
    walk = plan_walk(shape, min(strip_lanes(g, roots), g.target.strip_bytes // 4))
    result = operation.results[0] if operation.results else None
    element = None if result is None else result.type.element
    buffer = None if element is None else g.scratch.allocate(shape, element)
    each = emit if element != "i1" else _in_bytes(emit)

    def body(loop: Loop, carried: list[str] | None) -> list[str]:
        index = loop.index
        active = None if mask is None else g.value_at(mask, index, loop)
        columns = [Column(pointer_vector(g, address(g, pointer, index, loop), index))]
        for value in values[1:]:
            if is_tensor(value):
                columns.append(Column(g.value_at(value, index, loop)))
            else:
                shared = Vec(g.scalars[value], 1, value.type.element)
                columns.append(Column(shared, is_shared=True))
        found = call_per_lane(g, f"atomic_{name}", columns, active, walk.count, element, each)
        if buffer is not None and found is not None:
            write_buffer(g, buffer, index, found)
        return []

    spills = spills_of(g, roots, shape, position)
    Nest(g, walk, roots, body, spills=spills).emit()
    g.publish(spills)
    if buffer is not None and result is not None:
        g.buffers[result] = buffer


def _in_bytes(emit: Emit) -> Emit:
    """Booleans as memory has them."""
    return lambda builder, registers: builder.define(f"zext i1 {emit(builder, registers)} to i8")


def _scalar(
    g: Generator, operation: Operation, values: list[Value], mask: Value | None, emit: Emit
) -> None:
    builder = g.builder
    registers = [g.scalars[value] for value in values]
    result = operation.results[0] if operation.results else None
    condition = "true" if mask is None else g.scalars[mask]
    if condition in ("true", "1"):
        found = emit(builder, registers)
        if result is not None:
            g.scalars[result] = found
        return
    before, inside, after = builder.block, builder.label("atomic"), builder.label("done")
    builder.emit(f"br i1 {condition}, label %{inside}, label %{after}")
    builder.start(inside)
    found = emit(builder, registers)
    end = builder.block
    builder.emit(f"br label %{after}")
    builder.start(after)
    if result is not None:
        element = result.type.element
        g.scalars[result] = builder.define(
            f"phi {LLVM_TYPE[element]} [{g.zero(element)}, %{before}], [{found}, %{end}]"
        )
