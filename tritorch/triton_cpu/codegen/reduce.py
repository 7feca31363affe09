"""`tt.reduce`: accumulators per lane, combined by vector instructions, then across the lanes by
shuffles.

The reduced dimension may be a loop, part of a strip, or both; any rank, any axis, any combine
region made of element by element operations. The region is taken to be associative and
commutative, as GPUs take it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritorch.triton_cpu.codegen.buffers import write_buffer
from tritorch.triton_cpu.codegen.builder import Vec
from tritorch.triton_cpu.codegen.combine import combine, identity_of
from tritorch.triton_cpu.codegen.context import Index, Lanes, Loop, Walk, lanes_of
from tritorch.triton_cpu.ir import Operation

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.generator import Generator


class Reduction:
    """One reduction inside a nest."""

    def __init__(self, g: Generator, operation: Operation, walk: Walk) -> None:
        self.g = g
        self.operation = operation
        self.walk = walk
        self.axis: int = operation.attributes["axis"]
        self.elements = [operand.type.element for operand in operation.operands]
        #: whether the innermost loop runs over the reduced dimension
        self.is_single = walk.inner < 0
        self.is_carried = walk.inner == self.axis or self.is_single
        self.kinds = (
            [g.builder.type(element, walk.count) for element in self.elements]
            if self.is_carried
            else []
        )
        found = [identity_of(operation, element) for element in self.elements]
        self.identity: list[str] | None = None
        if self.is_single:  # the only strip gives the result
            self.identity = ["poison"] * len(found)
        elif None not in found:
            self.identity = [
                g.builder.splat(str(item), element, walk.count)
                for item, element in zip(found, self.elements)
            ]
        shape = operation.results[0].type.shape
        self.buffers = (
            None
            if shape is None
            else [g.scratch.allocate(shape, result.type.element) for result in operation.results]
        )

    def strip(self, loop: Loop, carried: list[str] | None) -> list[str]:
        """One strip; returns the new accumulators, if they are carried."""
        g, count = self.g, self.walk.count
        values = [
            g.builder.widen(g.value_at(operand, loop.index, loop), count)
            for operand in self.operation.operands
        ]
        if not self.is_carried:
            self.finish(values, loop.index)
            return []
        if carried is None or self.is_single:
            return values
        return combine(g, self.operation, carried, values, count)

    def finish(self, registers: list[str], index: Index) -> None:
        """Combine the lanes of the reduced dimension, and keep the result."""
        g, walk = self.g, self.walk
        count = walk.count
        lanes = walk.lanes[self.axis]
        remaining: list[tuple[int | str, Lanes | None]] = [
            part for dimension, part in enumerate(index) if dimension != self.axis
        ]
        if lanes is not None:
            registers, kept = self._across(registers, lanes)
            remaining = [
                (base, None if found is None else lanes_of(tuple(found.offsets[k] for k in kept)))
                for base, found in remaining
            ]
            count = len(kept)
        results = self.operation.results
        if self.buffers is None:
            for result, register in zip(results, registers):
                g.scalars[result] = register
            return
        for buffer, register, element in zip(self.buffers, registers, self.elements):
            write_buffer(g, buffer, tuple(remaining), Vec(register, count, element))

    def _across(self, registers: list[str], lanes: Lanes) -> tuple[list[str], list[int]]:
        """Halve the reduced dimension's lanes until one is left: (vectors, lanes of the strip that
        they hold).
        """
        g = self.g
        kept = list(range(len(lanes.offsets)))
        distance = max(lanes.offsets)
        size = distance + 1
        while size > 1:
            size //= 2
            low = [at for at, lane in enumerate(kept) if lanes.offsets[lane] < size]
            partner = {
                (lanes.offsets[lane], self._elsewhere(lane)): at for at, lane in enumerate(kept)
            }
            high = [
                partner[(lanes.offsets[kept[at]] + size, self._elsewhere(kept[at]))] for at in low
            ]
            count = len(kept)
            a = [self._pick(r, e, count, low) for r, e in zip(registers, self.elements)]
            b = [self._pick(r, e, count, high) for r, e in zip(registers, self.elements)]
            kept = [kept[at] for at in low]
            registers = combine(g, self.operation, a, b, len(kept))
        return registers, kept

    def _elsewhere(self, lane: int) -> tuple[int, ...]:
        """The lane's place in all other dimensions."""
        return tuple(
            0 if lanes is None else lanes.offsets[lane]
            for dimension, lanes in enumerate(self.walk.lanes)
            if dimension != self.axis
        )

    def _pick(self, register: str, element: str, count: int, lanes: list[int]) -> str:
        builder = self.g.builder
        if len(lanes) == 1:
            kind = builder.type(element, count)
            return builder.define(f"extractelement {kind} {register}, i64 {lanes[0]}")
        return builder.shuffle(register, None, element, count, lanes)

    def publish(self) -> None:
        """The results may be read."""
        if self.buffers is not None:
            for result, buffer in zip(self.operation.results, self.buffers):
                self.g.buffers[result] = buffer
