"""Operations on scalars: program ids, pointers, single loads and stores, barriers."""

from __future__ import annotations

from tritorch.triton_cpu.analysis.affine import memory_type
from tritorch.triton_cpu.codegen import masked
from tritorch.triton_cpu.codegen.builder import Vec
from tritorch.triton_cpu.codegen.generator import Generator, lowers
from tritorch.triton_cpu.codegen.memory import memory_operands
from tritorch.triton_cpu.ir import Operation, Value


@lowers("tt.get_program_id")
def program_id(g: Generator, operation: Operation) -> None:
    g.scalars[operation.results[0]] = f"%program{operation.attributes['axis']}"


@lowers("tt.get_num_programs")
def num_programs(g: Generator, operation: Operation) -> None:
    g.scalars[operation.results[0]] = f"%programs{operation.attributes['axis']}"


@lowers("tt.addptr")
def add_pointer(g: Generator, operation: Operation) -> None:
    pointer, offset = operation.operands
    result = operation.results[0]
    moved = g.builder.extend(g.scalars[offset], offset.type.element)
    g.scalars[result] = g.builder.define(
        f"getelementptr {memory_type(result.type.pointee)}, ptr {g.scalars[pointer]}, i64 {moved}"
    )


def _scalar(g: Generator, value: Value | None) -> Vec | None:
    return None if value is None else Vec(g.scalars[value], 1, value.type.element)


@lowers("tt.load")
def load(g: Generator, operation: Operation) -> None:
    result = operation.results[0]
    element = result.type.element
    pointer, mask_operand, other_operand = memory_operands(operation)
    mask, other = _scalar(g, mask_operand), _scalar(g, other_operand)
    if mask is not None and other is None:
        other = Vec(g.zero(element), 1, element)
    found = masked.load_scalar(g, g.scalars[pointer], element, mask, other)
    g.scalars[result] = found.register


@lowers("tt.store")
def store(g: Generator, operation: Operation) -> None:
    pointer, value = operation.operands[:2]
    mask = _scalar(g, operation.operands[2] if len(operation.operands) > 2 else None)
    masked.store_scalar(g, g.scalars[pointer], value.type.element, g.scalars[value], mask)


@lowers("tt.unsplat")
def only_element(g: Generator, operation: Operation) -> None:
    """`tensor.item()`: the element of a tensor that has one."""
    source = operation.operands[0]
    buffer = g.materialise(source)
    found = masked.load_scalar(g, g.scratch.touch(buffer), source.type.element, None, None)
    g.scalars[operation.results[0]] = found.register


@lowers("gpu.barrier", "ttg.barrier", "tt.debug_barrier")
def barrier(g: Generator, operation: Operation) -> None:
    """A program is one thread here."""


@lowers("llvm.intr.assume")
def assume(g: Generator, operation: Operation) -> None:
    g.builder.call("llvm.assume", "void", ("i1", g.scalars[operation.operands[0]]))
