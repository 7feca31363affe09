"""`tl.map_elementwise`: a scalar function, with control flow of its own, on every element."""

from __future__ import annotations

from tritorch.errors import UnsupportedOperation
from tritorch.triton_cpu.codegen.buffers import write_buffer
from tritorch.triton_cpu.codegen.builder import Vec
from tritorch.triton_cpu.codegen.context import Loop, plan_walk
from tritorch.triton_cpu.codegen.generator import Generator, lowers
from tritorch.triton_cpu.codegen.nest import Nest
from tritorch.triton_cpu.codegen.prepare import prepare, store_spilled
from tritorch.triton_cpu.ir import Operation


@lowers("tt.map_elementwise")
def map_elementwise(g: Generator, operation: Operation) -> None:
    region = operation.regions[0]
    if len(region) != 1 or operation.attributes.get("pack", 1) != 1:
        raise UnsupportedOperation(
            f"{g.name}: the CPU target maps functions of one element without early returns (line"
            f" {operation.line} of the Triton IR). Use pack=1 and one return at the end."
        )
    block = region[0]
    shape = operation.operands[0].type.shape or ()
    store_spilled(g, operation.operands, g.position)
    prepare(g, operation.operands, shape, g.position)
    buffers = [g.scratch.allocate(shape, result.type.element) for result in operation.results]

    def body(loop: Loop, carried: list[str] | None) -> list[str]:
        for argument, operand in zip(block.arguments, operation.operands):
            g.scalars[argument] = g.value_at(operand, loop.index, loop).register
        g.lower_block(block)
        for buffer, value in zip(buffers, block.operations[-1].operands):
            write_buffer(g, buffer, loop.index, Vec(g.scalars[value], 1, value.type.element))
        return []

    Nest(g, plan_walk(shape, 1), operation.operands, body).emit()
    for result, buffer in zip(operation.results, buffers):
        g.buffers[result] = buffer


@lowers("tt.map_elementwise.return")
def return_(g: Generator, operation: Operation) -> None:
    """The operation around reads the operands."""
