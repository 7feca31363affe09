"""`tl.device_print` through libc's printf, and `tl.device_assert`."""

from __future__ import annotations

from tritorch.triton_cpu.analysis.shapes import is_tensor
from tritorch.triton_cpu.codegen.builder import BITS, LLVM_TYPE, Vec
from tritorch.triton_cpu.codegen.context import Loop, plan_walk
from tritorch.triton_cpu.codegen.convert import convert_float
from tritorch.triton_cpu.codegen.generator import Generator, lowers
from tritorch.triton_cpu.codegen.nest import Nest
from tritorch.triton_cpu.codegen.prepare import prepare, spills_of, store_spilled
from tritorch.triton_cpu.codegen.walks import strip_lanes
from tritorch.triton_cpu.ir import Operation, Value


@lowers("tt.print")
def print_(g: Generator, operation: Operation) -> None:
    """One line per element, as on a GPU: `pid (x, y, z) idx (i, j) prefix value`."""
    prefix = str(operation.attributes.get("prefix", "")).replace("%", "%%")
    as_hex = bool(operation.attributes.get("hex", False))
    signed = operation.attributes.get("isSigned") or []
    if not operation.operands:
        _printf(g, f"{prefix}\n", [])
        return
    store_spilled(g, operation.operands, g.position)
    for number, operand in enumerate(operation.operands):
        is_signed = bool(signed[number]) if number < len(signed) else True
        label = prefix if len(operation.operands) == 1 else f"{prefix}(operand {number}) "
        if not is_tensor(operand):
            _print_value(
                g, label, Vec(g.scalars[operand], 1, operand.type.element), (), is_signed, as_hex
            )
            continue
        shape = operand.type.shape or ()
        g.materialise(operand)

        def body(
            loop: Loop,
            carried: list[str] | None,
            operand: Value = operand,
            label: str = label,
            is_signed: bool = is_signed,
        ) -> list[str]:
            found = g.value_at(operand, loop.index, loop)
            position = tuple(base for base, _ in loop.index)
            _print_value(g, label, found, position, is_signed, as_hex)
            return []

        Nest(g, plan_walk(shape, 1), [operand], body).emit()


def _print_value(
    g: Generator,
    label: str,
    value: Vec,
    position: tuple[int | str, ...],
    is_signed: bool,
    as_hex: bool,
) -> None:
    builder, element = g.builder, value.element
    register = value.register
    if element == "ptr":
        code, argument = "%p", f"ptr {register}"
    elif element[0] in "fb":
        wide = convert_float(builder, register, element, "f64", 1, g.target)
        code, argument = "%f", f"double {wide}"
    else:
        code = "0x%0*llx" if as_hex else "%lld" if is_signed else "%llu"
        if element != "i64":
            op = "sext" if is_signed and element != "i1" and not as_hex else "zext"
            register = builder.define(f"{op} {LLVM_TYPE[element]} {register} to i64")
        argument = f"i64 {register}"
        if as_hex:
            argument = f"i32 {BITS[element] // 4}, {argument}"
    arguments = [f"i32 %program{axis}" for axis in range(3)]
    text = "pid (%d, %d, %d) "
    if position:
        text += f"idx ({', '.join(['%lld'] * len(position))}) "
        arguments += [f"i64 {base}" for base in position]
    _printf(g, f"{text}{label}{code}\n", [*arguments, argument])


def _printf(g: Generator, text: str, arguments: list[str]) -> None:
    g.builder.declarations.add("declare i32 @printf(ptr, ...)")
    place = c_string(g, text)
    g.builder.define(f"call i32 (ptr, ...) @printf({', '.join([f'ptr {place}', *arguments])})")


def c_string(g: Generator, text: str) -> str:
    """The address of a constant string."""
    data = [*text.encode(), 0]
    return g.builder.table("i8", data)


@lowers("tt.assert")
def assert_(g: Generator, operation: Operation) -> None:
    """Reports the message once per strip with a false element; the launcher raises it."""
    condition = operation.operands[0]
    message = str(operation.attributes.get("message", "")) or "tl.device_assert failed"
    place = c_string(g, f"{g.name}: {message}")
    if not is_tensor(condition):
        _assert(g, g.scalars[condition], place)
        return
    shape = condition.type.shape or ()
    position = g.plan.position[operation]
    prepare(g, [condition], shape, position)
    walk = plan_walk(shape, strip_lanes(g, [condition]))

    def body(loop: Loop, carried: list[str] | None) -> list[str]:
        found = g.value_at(condition, loop.index, loop)
        register = found.register
        if found.lanes > 1:
            kind = f"<{found.lanes} x i1>"
            register = g.builder.call(
                f"llvm.vector.reduce.and.v{found.lanes}i1", "i1", (kind, register)
            )
        _assert(g, register, place)
        return []

    spills = spills_of(g, [condition], shape, position)
    Nest(g, walk, [condition], body, spills=spills).emit()
    g.publish(spills)


def _assert(g: Generator, holds: str, message: str) -> None:
    builder = g.builder
    failed, passed = builder.label("failed"), builder.label("passed")
    builder.emit(f"br i1 {holds}, label %{passed}, label %{failed}")
    builder.start(failed)
    builder.call("tritorch_assert_failed", "void", ("ptr", message))
    builder.emit(f"br label %{passed}")
    builder.start(passed)
