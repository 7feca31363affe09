"""Tensors that a loop carries: address tensors that only advance, and buffers that are updated in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritorch.triton_cpu.analysis.affine import Affine
from tritorch.triton_cpu.analysis.shapes import is_tensor
from tritorch.triton_cpu.analysis.stability import adds_zero_outside
from tritorch.triton_cpu.codegen import groups
from tritorch.triton_cpu.codegen.builder import LLVM_TYPE
from tritorch.triton_cpu.codegen.loops import reach
from tritorch.triton_cpu.codegen.scratch import Buffer
from tritorch.triton_cpu.ir import Block, Value

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.generator import Generator


class InductionTensor:
    """An affine tensor whose base moves by a uniform amount: `pointers += BLOCK`. Only the base is carried."""

    def __init__(self, argument: Value, initial: Affine, result: Value) -> None:
        self.argument = argument
        self.initial = initial
        self.result = result
        self.kind = "ptr" if argument.type.element == "ptr" else LLVM_TYPE[initial.element]
        self.register = ""
        self.place = 0
        self.following: int | str = 0

    def begin(self, g: Generator) -> None:
        self.place = g.builder.reserve()
        self.register = g.builder.register()
        g.affine.set(
            self.argument, Affine(self.register, self.initial.strides, self.initial.element)
        )

    def advance(self, g: Generator) -> None:
        form = g.affine.get(self.result)
        assert form is not None and form.strides == self.initial.strides
        self.following = form.base

    def finish(self, g: Generator, before: str, latch: str) -> None:
        g.builder.lines[self.place] = (
            f"  {self.register} = phi {self.kind} [{self.initial.base}, %{before}],"
            f" [{self.following}, %{latch}]"
        )


def induction_tensors(
    g: Generator, arguments: list[Value], initial: list[Value], yielded: list[Value]
) -> dict[Value, InductionTensor]:
    """The carried tensors of a loop that stay affine with the strides they start with."""
    found = {}
    for argument, start, result in zip(arguments, initial, yielded):
        if not is_tensor(argument) or argument.type.element == "i1":
            continue
        form = g.affine.get(start)
        if form is not None and (result is argument or _advances(g, result, argument)):
            found[argument] = InductionTensor(argument, form, result)
    return found


def _advances(g: Generator, value: Value, argument: Value) -> bool:
    """Whether the value is the argument plus tensors whose elements are all equal."""
    if value is argument:
        return True
    operation = value.operation
    if operation is None or operation.name not in ("tt.addptr", "arith.addi", "arith.subi"):
        return False
    first, second = operation.operands
    if _advances(g, first, argument):
        return _is_uniform(second)
    return operation.name == "arith.addi" and _is_uniform(first) and _advances(g, second, argument)


def _is_uniform(value: Value) -> bool:
    """Whether all elements are equal, as far as the operations show."""
    operation = value.operation
    if operation is None:
        return False
    if operation.name == "tt.splat":
        return True
    if operation.name == "arith.constant":
        return not isinstance(operation.attributes["value"], list)
    if operation.name in ("arith.addi", "arith.subi", "arith.muli", "arith.extsi", "tt.broadcast"):
        return all(_is_uniform(operand) for operand in operation.operands)
    return False


def lower_region(g: Generator, block: Block, pairs: list[tuple[Value, Buffer]]) -> None:
    """Lower a block, then write what it yields to buffers that nothing in the block reads."""
    from tritorch.triton_cpu.codegen.control import write_each

    g.lower_block(block, lambda: write_each(g, pairs))


def lower_body(g: Generator, block: Block, updates: list[tuple[Value, Value, Buffer]]) -> None:
    """Lower a loop's body, then update the carried buffers: (argument, yielded value, buffer).

    Every yielded value is made of old values. Those that read another carried buffer, or their own at another
    index, are first stored elsewhere.
    """
    from tritorch.triton_cpu.codegen.control import write_each

    def update() -> None:
        arguments = {argument for argument, _, _ in updates}
        for argument, value, _ in updates:
            if value is argument or (value in g.buffers and value not in arguments):
                continue
            if value in arguments or _reads_elsewhere(g, value, argument, arguments):
                copy_aside(g, value)
        clips = {v: adds_zero_outside(g.masks, v, a) for a, v, _ in updates if v not in g.buffers}
        write_each(g, [(v, buffer) for a, v, buffer in updates if v is not a], clips)

    g.lower_block(block, update)


def copy_aside(g: Generator, value: Value) -> None:
    """Store a value in a buffer of its own, even if it is stored in one that will be overwritten."""
    if value in g.buffers:
        buffer = g.scratch.allocate(value.type.shape or (), value.type.element)
        groups.write_tensors(g, [(value, buffer)])
        g.buffers[value] = buffer
    else:
        g.materialise(value)


def _reads_elsewhere(g: Generator, value: Value, argument: Value, arguments: set[Value]) -> bool:
    """Whether computing the value element by element would read carried buffers being updated meanwhile."""
    shape = value.type.shape or ()
    reached = reach(g, [value], len(shape))
    identity = tuple(range(len(shape)))
    for other in sorted(arguments, key=lambda a: a.index):
        mappings = reached.maps.get(other)
        if mappings and (other.type.shape != shape or list(mappings) != [identity]):
            return True
    return False
