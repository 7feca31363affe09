"""Operations whose result is indexed by data: `tl.gather`, `tl.histogram`."""

from __future__ import annotations

from tritorch.triton_cpu.analysis.affine import memory_type
from tritorch.triton_cpu.codegen.address import Address, add_offsets, affine_offsets, scaled
from tritorch.triton_cpu.codegen.buffers import write_buffer
from tritorch.triton_cpu.codegen.builder import Builder, Vec
from tritorch.triton_cpu.codegen.context import Loop, plan_walk
from tritorch.triton_cpu.codegen.generator import Generator, lowers
from tritorch.triton_cpu.codegen.groups import fill
from tritorch.triton_cpu.codegen.lane_loop import Column, call_per_lane
from tritorch.triton_cpu.codegen.memory import load_address
from tritorch.triton_cpu.codegen.nest import Nest
from tritorch.triton_cpu.codegen.prepare import mask_clip, prepare, store_spilled
from tritorch.triton_cpu.codegen.walks import strip_lanes
from tritorch.triton_cpu.ir import Operation


@lowers("tt.gather")
def gather(g: Generator, operation: Operation) -> None:
    """result[.., i, ..] = source[.., indices[.., i, ..], ..]"""
    source, indices = operation.operands[:2]
    axis = operation.attributes["axis"]
    store_spilled(g, [source, indices], g.position)
    stored = g.materialise(source)
    result = operation.results[0]
    shape = result.type.shape or ()
    prepare(g, [indices], shape, g.plan.position[operation])
    buffer = g.scratch.allocate(shape, result.type.element)
    strides = stored.strides

    def body(loop: Loop, carried: list[str] | None) -> list[str]:
        found = g.value_at(indices, loop.index, loop)
        lanes = walk.count
        elsewhere = tuple(0 if d == axis else stride for d, stride in enumerate(strides))
        offsets = affine_offsets(g, elsewhere, 0, loop.index)
        steps = scaled(g, found, strides[axis], lanes)
        where = Address(
            g.scratch.touch(stored),
            add_offsets(g, offsets, steps, lanes),
            memory_type(stored.element),
        )
        vector = load_address(g, where, stored.element, loop.index)
        write_buffer(g, buffer, loop.index, vector)
        return []

    walk = plan_walk(shape, strip_lanes(g, [indices, source]))
    Nest(g, walk, [indices], body).emit()
    g.buffers[result] = buffer


@lowers("tt.histogram")
def histogram(g: Generator, operation: Operation) -> None:
    """Counts of the values 0 .. bins - 1; others are not counted."""
    source = operation.operands[0]
    mask = operation.operands[1] if len(operation.operands) > 1 else None
    result = operation.results[0]
    shape = source.type.shape or ()
    roots = [source] if mask is None else [source, mask]
    store_spilled(g, roots, g.position)
    prepare(g, roots, shape, g.plan.position[operation])
    bins = g.scratch.allocate(result.type.shape or (), result.type.element)
    fill(g, bins, "0")
    walk = plan_walk(shape, strip_lanes(g, roots))
    element, counted = source.type.element, result.type.element
    count = result.type.numel

    def emit(builder: Builder, registers: list[str]) -> str:
        value, table = registers
        inside = builder.define(f"icmp ult {element} {value}, {count}")
        add, done = builder.label("count"), builder.label("counted")
        builder.emit(f"br i1 {inside}, label %{add}, label %{done}")
        builder.start(add)
        wide = value if element == "i64" else builder.define(f"zext {element} {value} to i64")
        place = builder.define(f"getelementptr {counted}, ptr {table}, i64 {wide}")
        old = builder.define(f"load {counted}, ptr {place}, align 4")
        builder.emit(
            f"store {counted} {builder.define(f'add {counted} {old}, 1')}, ptr {place}, align 4"
        )
        builder.emit(f"br label %{done}")
        builder.start(done)
        return ""

    def body(loop: Loop, carried: list[str] | None) -> list[str]:
        active = None if mask is None else g.value_at(mask, loop.index, loop)
        found = g.value_at(source, loop.index, loop)
        table = Column(Vec(g.scratch.touch(bins), 1, "ptr"), is_shared=True)
        name = f"histogram_{element}_{counted}_{count}"
        call_per_lane(g, name, [Column(found), table], active, walk.count, None, emit)
        return []

    Nest(g, walk, roots, body, clip=mask_clip(g, mask)).emit()
    g.buffers[result] = bins
