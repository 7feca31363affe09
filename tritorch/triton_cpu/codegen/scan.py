"""`tt.scan`: log-step shuffles across the lanes of a strip, a carry from strip to strip; any axis,
both directions.
"""

from __future__ import annotations

from tritorch.triton_cpu.codegen.buffers import write_buffer
from tritorch.triton_cpu.codegen.builder import Vec
from tritorch.triton_cpu.codegen.combine import combine
from tritorch.triton_cpu.codegen.context import Index, Loop, Walk
from tritorch.triton_cpu.codegen.generator import Generator, lowers
from tritorch.triton_cpu.codegen.nest import Accumulation, Nest
from tritorch.triton_cpu.codegen.prepare import prepare, spills_of
from tritorch.triton_cpu.codegen.walks import choose_walk
from tritorch.triton_cpu.ir import Operation


@lowers("tt.scan")
def scan(g: Generator, operation: Operation) -> None:
    shape = operation.operands[0].type.shape or ()
    prepare(g, operation.operands, shape, g.plan.position[operation])
    walk = choose_walk(g, operation.operands, shape, operation.attributes["axis"])
    _Scan(g, operation, walk).emit()


class _Scan:
    def __init__(self, g: Generator, operation: Operation, walk: Walk) -> None:
        self.g = g
        self.operation = operation
        self.walk = walk
        self.axis: int = operation.attributes["axis"]
        self.reverse = bool(operation.attributes.get("reverse", False))
        self.elements = [operand.type.element for operand in operation.operands]
        self.is_carried = walk.inner == self.axis
        shape = operation.operands[0].type.shape or ()
        self.buffers = [
            g.scratch.allocate(shape, result.type.element) for result in operation.results
        ]

    def emit(self) -> None:
        g, walk, operation = self.g, self.walk, self.operation
        accumulation = None
        if self.is_carried:
            kinds = [g.builder.type(element, walk.count) for element in self.elements]
            accumulation = Accumulation(None, kinds, lambda carried, index: None)
        spills = spills_of(g, operation.operands, walk.shape, g.plan.position[operation])
        Nest(
            g,
            walk,
            operation.operands,
            self._strip,
            accumulation=accumulation,
            spills=spills,
            backwards=self.reverse,
        ).emit()
        g.publish(spills)
        for result, buffer in zip(operation.results, self.buffers):
            g.buffers[result] = buffer

    def _strip(self, loop: Loop, carried: list[str] | None) -> list[str]:
        g, count = self.g, self.walk.count
        registers = [
            g.builder.widen(g.value_at(operand, loop.index, loop), count)
            for operand in self.operation.operands
        ]
        registers = self._across(registers)
        if carried:
            before = [
                self._pick(register, element, self._last_lanes())
                for register, element in zip(carried, self.elements)
            ]
            registers = combine(g, self.operation, before, registers, count)
        self._write(registers, loop.index)
        return registers if self.is_carried else []

    def _write(self, registers: list[str], index: Index) -> None:
        for buffer, register, element in zip(self.buffers, registers, self.elements):
            vector = Vec(register, self.walk.count, element)
            write_buffer(self.g, buffer, index, vector)

    def _pick(self, register: str, element: str, lanes: list[int]) -> str:
        if len(lanes) == 1:
            return register
        return self.g.builder.shuffle(register, None, element, self.walk.count, lanes)

    def _places(self) -> dict[tuple[int, ...], int]:
        """Offsets in every dimension -> lane."""
        patterns = [
            lanes.offsets if lanes is not None else (0,) * self.walk.count
            for lanes in self.walk.lanes
        ]
        return {place: lane for lane, place in enumerate(zip(*patterns))}

    def _last_lanes(self) -> list[int]:
        """For each lane, the one at the end of the scanned dimension, all else equal."""
        end = 0 if self.reverse else self.walk.reach(self.axis)
        places = self._places()
        return [places[(*place[: self.axis], end, *place[self.axis + 1 :])] for place in places]

    def _across(self, registers: list[str]) -> list[str]:
        """The inclusive scan within a strip: after the step of distance d, each lane holds 2d
        elements.
        """
        g, builder, count = self.g, self.g.builder, self.walk.count
        size = self.walk.reach(self.axis) + 1
        places = self._places()
        distance = 1
        while distance < size:
            sources, active = [], []
            for place, lane in places.items():
                at = place[self.axis] + (distance if self.reverse else -distance)
                inside = 0 <= at < size
                moved = (*place[: self.axis], at, *place[self.axis + 1 :])
                sources.append(places[moved] if inside else lane)
                active.append("true" if inside else "false")
            earlier = [self._pick(r, e, sources) for r, e in zip(registers, self.elements)]
            both = combine(g, self.operation, earlier, registers, count)
            mask = builder.constants("i1", active)
            registers = [
                builder.define(
                    f"select <{count} x i1> {mask}, {builder.type(e, count)} {new},"
                    f" {builder.type(e, count)} {old}"
                )
                for e, new, old in zip(self.elements, both, registers)
            ]
            distance *= 2
        return registers
