"""Tensors that a loop carries: buffers that are updated in place at the end of its body."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritorch.triton_cpu.analysis.stability import adds_zero_outside
from tritorch.triton_cpu.codegen.bounds import reach
from tritorch.triton_cpu.codegen.groups import write_each, write_tensors
from tritorch.triton_cpu.codegen.scratch import Buffer
from tritorch.triton_cpu.ir import Block, Value

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.generator import Generator


def lower_region(g: Generator, block: Block, pairs: list[tuple[Value, Buffer]]) -> None:
    """Lower a block, then write what it yields to buffers that nothing in the block reads."""
    g.lower_block(block, lambda: write_each(g, pairs))


def lower_body(g: Generator, block: Block, updates: list[tuple[Value, Value, Buffer]]) -> None:
    """Lower a loop's body, then update the carried buffers: (argument, yielded value, buffer).

    Every yielded value is made of old values. Those that read another carried buffer, or their own
    at another index, are first stored elsewhere.
    """

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
    """Store a value in a buffer of its own, even if it is stored in one that will be
    overwritten.
    """
    if value in g.buffers:
        buffer = g.scratch.allocate(value.type.shape or (), value.type.element)
        write_tensors(g, [(value, buffer)])
        g.buffers[value] = buffer
    else:
        g.materialise(value)


def _reads_elsewhere(g: Generator, value: Value, argument: Value, arguments: set[Value]) -> bool:
    """Whether computing the value element by element would read carried buffers being updated
    meanwhile.
    """
    shape = value.type.shape or ()
    reached = reach(g, [value], len(shape))
    identity = tuple(range(len(shape)))
    for other in sorted(arguments, key=lambda a: a.index):
        mappings = reached.maps.get(other)
        if mappings and (other.type.shape != shape or list(mappings) != [identity]):
            return True
    return False
