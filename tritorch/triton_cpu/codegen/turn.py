"""Values whose memory runs along another dimension than the loop: turned in blocks of registers,
once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tritorch.triton_cpu.analysis.masks import DimensionMap, operand_maps
from tritorch.triton_cpu.analysis.shapes import is_tensor
from tritorch.triton_cpu.analysis.sinks import is_virtual
from tritorch.triton_cpu.codegen import masked
from tritorch.triton_cpu.codegen.address import address
from tritorch.triton_cpu.codegen.bounds import mask_bounds, reach, whole_tile
from tritorch.triton_cpu.codegen.buffers import buffer_address, write_buffer
from tritorch.triton_cpu.codegen.builder import BITS
from tritorch.triton_cpu.codegen.context import Base, Index, Loop, Walk, lanes_of
from tritorch.triton_cpu.codegen.loops import counted_loop, two_ways
from tritorch.triton_cpu.codegen.prepare import prepare
from tritorch.triton_cpu.codegen.scratch import Buffer
from tritorch.triton_cpu.codegen.transpose import transpose_helper
from tritorch.triton_cpu.codegen.walks import contiguous_dimension
from tritorch.triton_cpu.ir import Operation, Value

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.generator import Generator

#: Smaller dimensions are not worth it.
SMALLEST = 8


def straighten(g: Generator, roots: list[Value], shape: tuple[int, ...]) -> None:
    """Store, turned, what a nest over `shape` would have to gather."""
    if sum(size >= SMALLEST for size in shape) < 2:
        return
    fast = fast_dimension(g, roots, shape)
    identity: DimensionMap = tuple(range(len(shape)))
    seen: set[Value] = set()
    stack = [root for root in reversed(roots) if is_tensor(root)]
    while stack:
        value = stack.pop()
        if value in seen or value.type.shape != shape or not _has_data(g, value):
            continue
        seen.add(value)
        operation = value.operation
        if value in g.buffers or (
            operation is not None and operation.name in ("tt.load", "tt.trans")
        ):
            natural = fast_dimension(g, [value], shape)
            if natural != fast and min(shape[natural], shape[fast]) >= SMALLEST:
                turn(g, value, natural, fast)
            continue
        if operation is None or not is_virtual(operation):
            continue
        maps = operand_maps(operation, identity)
        stack.extend(o for o, m in zip(operation.operands, maps) if is_tensor(o) and m == identity)


def turned(g: Generator, value: Value) -> None:
    """Store a value so that it is contiguous along its last dimension, if it is along another."""
    shape = value.type.shape or ()
    natural = fast_dimension(g, [value], shape)
    last = len(shape) - 1
    if natural != last and min(shape[natural], shape[last]) >= SMALLEST and _has_data(g, value):
        turn(g, value, natural, last)


def fast_dimension(g: Generator, roots: list[Value], shape: tuple[int, ...]) -> int:
    """The dimension in which memory is contiguous for most of what is read and written."""
    best = contiguous_dimension(g, roots, shape)
    if best is not None:
        return best
    return max((d for d, size in enumerate(shape) if size > 1), default=len(shape) - 1)


def _has_data(g: Generator, value: Value) -> bool:
    """Whether the value is more than an index, an address or a mask."""
    if value.type.element in ("i1", "ptr"):
        return False
    return g.affine.get(value) is None


def turn(g: Generator, value: Value, natural: int, fast: int) -> None:
    """Store a value that is cheap to read along `natural` so that it is contiguous along `fast`."""
    shape = value.type.shape or ()
    element = masked.stored_element(value.type.element)
    bits = BITS[element]
    size = min(shape[natural], shape[fast], max(1, g.target.vector_bytes * 8 // bits))
    g.flush()
    prepare(g, [value], shape, g.plan.position.get(value.operation, 0), skip=value)  # type: ignore[arg-type]
    order = (*(d for d in range(len(shape)) if d != fast), fast)
    target = g.scratch.allocate(shape, value.type.element, order)
    staging = g.scratch.allocate((size, size), value.type.element)
    helper = transpose_helper(g.builder, element, size)
    others = [d for d in range(len(shape)) if d not in (natural, fast)]
    direct = _memory_of(g, value, natural)
    whole = None
    if direct is not None:
        reached = reach(g, [value], len(shape))
        walk = Walk(shape, ((-1, 1),), (None,) * len(shape), 1)
        whole = mask_bounds(g, reached, walk)

    def block(bases: dict[int, Base], from_memory: bool) -> None:
        builder = g.builder
        corner = tuple((bases.get(d, 0), None) for d in range(len(shape)))
        to, _ = buffer_address(g, target, corner)
        stride: Base = size
        if from_memory and direct is not None:
            inner = tuple(corner[direct.order.index(d)] for d in range(len(shape)))
            loop = Loop(
                _point(tuple(shape[direct.order.index(d)] for d in range(len(shape)))), inner
            )
            source = address(g, direct.pointer, inner, loop).base
            form = g.affine.get(direct.pointer)
            assert form is not None
            stride = form.strides[direct.order[fast]]
        else:
            source = _stage(g, value, staging, bases, natural, fast, size)
        builder.emit(
            f"call void @{helper}(ptr {source}, i64 {stride}, ptr {to},"
            f" i64 {target.strides[natural]})"
        )
        g.scratch.touch(staging)
        g.scratch.touch(target)

    def walk_blocks(dimensions: list[int], bases: dict[int, Base], from_memory: bool) -> None:
        if not dimensions:
            block(bases, from_memory)
            return
        dimension, *rest = dimensions
        step = size if dimension in (natural, fast) else 1

        def body(counter: Base, carried: list[str]) -> list[str]:
            walk_blocks(rest, {**bases, dimension: counter}, from_memory)
            return []

        counted_loop(g, 0, shape[dimension], step, [], body)

    dimensions = [*others, natural, fast]
    if whole is None:
        walk_blocks(dimensions, {}, False)
    else:
        full = whole_tile(g, whole.constraints, shape, {})
        if direct is not None and not _masks_covered(direct.load, whole.true_masks):
            full = "false"
        two_ways(g, full, lambda is_full: walk_blocks(dimensions, {}, is_full))
    g.buffers[value] = target


def _point(shape: tuple[int, ...]) -> Walk:
    return Walk(shape, ((-1, 1),), (None,) * len(shape), 1)


def _stage(
    g: Generator,
    value: Value,
    staging: Buffer,
    bases: dict[int, Base],
    natural: int,
    fast: int,
    size: int,
) -> str:
    """Evaluate a block row by row into scratch; returns its address."""
    shape = value.type.shape or ()
    lanes = lanes_of(tuple(range(size)))

    def row(counter: Base, carried: list[str]) -> list[str]:
        g.new_strip()
        place = dict(bases)
        place[fast] = g.builder.integer("add", bases.get(fast, 0), counter)
        index: Index = tuple(
            (place.get(d, 0), lanes if d == natural else None) for d in range(len(shape))
        )
        found = g.value_at(value, index, Loop(_point(shape), index))
        write_buffer(g, staging, ((counter, None), (0, lanes)), found)
        return []

    counted_loop(g, 0, size, 1, [], row)
    return g.scratch.touch(staging)


@dataclass(frozen=True)
class Memory:
    """Where a value lies as it is: dimension d of the value is dimension `order[d]` of the load."""

    load: Operation
    order: tuple[int, ...]

    @property
    def pointer(self) -> Value:
        return self.load.operands[0]


def _memory_of(g: Generator, value: Value, natural: int) -> Memory | None:
    """The load, or the load behind a transpose, that can be turned straight from memory."""
    operation = value.operation
    order = tuple(range(len(value.type.shape or ())))
    if operation is not None and operation.name == "tt.trans" and value not in g.buffers:
        order = tuple(operation.attributes["order"])
        value = operation.operands[0]
        operation = value.operation
    if value in g.buffers or operation is None or operation.name != "tt.load":
        return None
    form = g.affine.get(operation.operands[0])
    if form is None or form.strides[order[natural]] != 1:
        return None
    if masked.stored_element(value.type.element) != value.type.element:
        return None
    return Memory(operation, order)


def _masks_covered(load: Operation, true_masks: frozenset[Value]) -> bool:
    return len(load.operands) < 2 or load.operands[1] in true_masks
