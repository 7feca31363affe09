"""Calls of functions that are not inlined: tensors and results travel in scratch buffers."""

from __future__ import annotations

from tritorch.errors import UnsupportedOperation
from tritorch.triton_cpu.analysis.shapes import is_tensor, row_major
from tritorch.triton_cpu.codegen import masked
from tritorch.triton_cpu.codegen.access_checks import TABLE, CheckedGenerator
from tritorch.triton_cpu.codegen.builder import LLVM_TYPE
from tritorch.triton_cpu.codegen.generator import Generator, lowers
from tritorch.triton_cpu.codegen.groups import write_each, write_tensors
from tritorch.triton_cpu.codegen.prepare import store_spilled
from tritorch.triton_cpu.codegen.scratch import Buffer
from tritorch.triton_cpu.ir import Block, Operation, Type, Value

_PROGRAM = [f"%program{axis}" for axis in range(3)] + [f"%programs{axis}" for axis in range(3)]


@lowers("tt.call")
def call(g: Generator, operation: Operation) -> None:
    name = str(operation.attributes["callee"])
    function = g.module.functions.get(name)
    if function is None:
        raise UnsupportedOperation(f"{g.name}: the called function {name} is not in the module.")
    helper = _helper(g, function, name)
    store_spilled(g, operation.operands, g.position)
    arguments = [f"i32 {register}" for register in _PROGRAM]
    if g.module.check_bounds:
        arguments.append(f"ptr {TABLE}")
    for operand in operation.operands:
        if is_tensor(operand):
            arguments.append(f"ptr {g.scratch.touch(_row_major(g, operand))}")
        else:
            kind = LLVM_TYPE[operand.type.element]
            arguments.append(f"{kind} {g.scalars[operand]}")
    buffers = []
    for result in operation.results:
        buffers.append(g.scratch.allocate(result.type.shape or (1,), result.type.element))
        arguments.append(f"ptr {buffers[-1].register}")
    for operand in operation.operands:
        if is_tensor(operand):
            g.scratch.touch(g.buffers[operand])
    g.builder.emit(f"call void @{helper}({', '.join(arguments)})")
    for result, buffer in zip(operation.results, buffers):
        place = g.scratch.touch(buffer)
        if is_tensor(result):
            g.buffers[result] = buffer
        else:
            element = result.type.element
            g.scalars[result] = masked.load_scalar(g, place, element, None, None).register


def _row_major(g: Generator, value: Value) -> Buffer:
    """The value in a dense row-major buffer."""
    buffer = g.materialise(value)
    if buffer.strides != row_major(buffer.shape):
        copy = g.scratch.allocate(buffer.shape, buffer.element)
        write_tensors(g, [(value, copy)])
        buffer = g.buffers[value] = copy
    return buffer


def _helper(g: Generator, function: Operation, name: str) -> str:
    """The LLVM function of a `tt.func`; emitted at the first call."""
    helper = "function_" + "".join(c if c.isalnum() else "_" for c in name)
    if helper in g.builder.helpers:
        return helper
    g.builder.helpers[helper] = ""
    blocks = function.regions[0]
    parameters = [("i32", register) for register in _PROGRAM]
    inner = Generator(g.module, function, g.name)
    if g.module.check_bounds:
        parameters.append(("ptr", TABLE))
        inner = CheckedGenerator(g.module, function, g.name)
        inner.ended_label = inner.return_label
    for number, argument in enumerate(blocks[0].arguments):
        register = f"%argument{number}"
        kind = argument.type
        if is_tensor(argument):
            parameters.append(("ptr", register))
            inner.buffers[argument] = Buffer(register, kind.shape or (), kind.element, 0)
        else:
            parameters.append((LLVM_TYPE[kind.element], register))
            inner.scalars[argument] = register
    for number, kind in enumerate(_result_types(blocks)):
        parameters.append(("ptr", f"%result{number}"))
        inner.results.append(Buffer(f"%result{number}", kind.shape or (1,), kind.element, 0))
    inner.lower_function(blocks)
    frame = inner.scratch.frame(g.module.declarations)
    lines = [*frame.allocas, *frame.definitions, "  br label %body", *inner.builder.lines]
    lines += [f"{inner.return_label}:", *frame.release, "  ret void"]
    inner.builder.lines = lines
    g.builder.helpers[helper] = inner.builder.function(
        helper, "void", parameters, "noinline nounwind"
    )
    return helper


def _result_types(blocks: list[Block]) -> list[Type]:
    for block in blocks:
        for operation in block.operations:
            if operation.name == "tt.return":
                return [operand.type for operand in operation.operands]
    return []


@lowers("tt.return")
def return_(g: Generator, operation: Operation) -> None:
    pairs = list(zip(operation.operands, g.results))
    write_each(g, [(value, buffer) for value, buffer in pairs if is_tensor(value)])
    for value, buffer in pairs:
        if not is_tensor(value):
            masked.store_scalar(g, buffer.register, value.type.element, g.scalars[value], None)
    g.builder.emit(f"br label %{g.return_label}")
