"""Tensors as operands of products: loads of them, where they lie, where their zeros begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tritorch.triton_cpu.codegen.address import address
from tritorch.triton_cpu.codegen.bounds import mask_bounds, maximum, minimum, reach, whole_tile
from tritorch.triton_cpu.codegen.builder import BITS
from tritorch.triton_cpu.codegen.context import Index, Loop, Walk, lanes_of
from tritorch.triton_cpu.codegen.convert import convert_float
from tritorch.triton_cpu.codegen.loops import two_ways
from tritorch.triton_cpu.codegen.operand import Memory, Operand, Position
from tritorch.triton_cpu.codegen.walks import contiguous_dimension
from tritorch.triton_cpu.ir import Operation, Value

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.generator import Generator


class PackedTensor:
    """A tensor as an operand of a product: loads of it, and the masks that full tiles do
    without.

    Args:
        widen: whether narrow floats are loaded as float32.
    """

    def __init__(
        self, g: Generator, value: Value, batch: tuple[Position, ...], widen: bool
    ) -> None:
        self.g = g
        self.value = value
        self.batch = batch
        shape = value.type.shape or ()
        best = contiguous_dimension(g, [value], shape)
        self.dimension = 0 if best == len(shape) - 2 else 1
        element = value.type.element
        narrow = element in ("f16", "bf16") or element.startswith("f8")
        self.element = "f32" if narrow and widen else element
        walk = Walk(shape, ((-1, 1),), (None,) * len(shape), 1)
        self.bounds = mask_bounds(g, reach(g, [value], len(shape)), walk)
        self.walk = walk
        self._next: str | None = None

    def expect_next(self) -> None:
        """Guess where the matrix of the next product lies: as far from this one as this is from
        the last one, be it the next turn of a loop or the next program.
        """
        memory = self._memory(None)
        if memory is None:
            return
        builder, slot = self.g.builder, self.g.scratch.memory()
        here = builder.define(f"ptrtoint ptr {memory.address(0, 0)} to i64")
        last = builder.define(f"load i64, ptr {slot}, align 8")
        builder.emit(f"store i64 {here}, ptr {slot}, align 8")
        is_first = builder.define(f"icmp eq i64 {last}, 0")
        moved = builder.define(f"sub i64 {here}, {last}")
        self._next = builder.define(f"select i1 {is_first}, i64 0, i64 {moved}")

    def operand(self, true_masks: frozenset[Value] | None) -> Operand:
        g, value = self.g, self.value
        source = value.type.element

        def load(row: Position, column: Position, lanes: int) -> str:
            offsets = lanes_of(tuple(range(lanes))) if lanes > 1 else None
            bases = [row, column]
            matrix = tuple(
                (base, offsets if at == self.dimension else None) for at, base in enumerate(bases)
            )
            index: Index = (*((base, None) for base in self.batch), *matrix)
            loop = Loop(self.walk, index, true_masks=true_masks)
            g.new_strip()
            found = g.value_at(value, index, loop)
            register = g.builder.widen(found, lanes)
            if source != self.element:
                register = convert_float(g.builder, register, source, self.element, lanes, g.target)
            return register

        return Operand(self.element, load, self.dimension, self._memory(true_masks))

    def whole(self) -> str | None:
        """A condition that no element is masked; None: always."""
        shape = self.value.type.shape or ()
        return whole_tile(self.g, self.bounds.constraints, shape, dict(enumerate(self.batch)))

    def _load(self) -> tuple[Operation | None, tuple[int, ...]]:
        """The load behind the tensor, if it is one or a transposed one; and which of the load's
        dimensions each dimension is.
        """
        g, value = self.g, self.value
        turned = tuple(range(len(value.type.shape or ())))
        if value not in g.buffers and _made_by(value, "tt.trans"):
            assert value.operation is not None
            turned = tuple(value.operation.attributes["order"])
            value = value.operation.operands[0]
        if value in g.buffers or not _made_by(value, "tt.load"):
            return None, turned
        return value.operation, turned

    def limit(self, side: int) -> Position:
        """Where the zeros of a masked load begin in the last dimension but one (0) or the last (1);
        the tensor's size if they do not.
        """
        g = self.g
        size = (self.value.type.shape or ())[side - 2]
        load, turned = self._load()
        if load is None or len(load.operands) < 3 or not is_zero(load.operands[2]):
            return size
        dimension = turned[side - 2]
        result: Position = size
        for constraint in g.masks.get(load.operands[1]) or ():
            others = [c for d, c in enumerate(constraint.coefficients) if d != dimension]
            if constraint.coefficients[dimension] == 1 and not any(others):
                result = minimum(g, result, g.builder.integer("sub", 0, constraint.base))
        return maximum(g, result, 0)

    def _memory(self, true_masks: frozenset[Value] | None) -> Memory | None:
        """Where the tensor lies, if it is read and not computed."""
        g, rank = self.g, len(self.value.type.shape or ())
        load, turned = self._load()
        if load is None:
            return None
        pointer = load.operands[0]
        form = g.affine.get(pointer)
        if form is None:
            return None
        size = BITS[load.results[0].type.element] // 8
        strides = [g.builder.integer("mul", form.strides[turned[d]], size) for d in (-2, -1)]

        def place(row: Position, column: Position) -> str:
            bases = (*self.batch, row, column)
            index: Index = tuple((bases[turned.index(d)], None) for d in range(rank))
            return address(g, pointer, index, Loop(self.walk, index)).base

        masked = len(load.operands) > 1 and load.operands[1] not in (true_masks or ())
        return Memory(place, (strides[0], strides[1]), whole=not masked, next=self._next)


def is_zero(value: Value) -> bool:
    """Whether the tensor is a constant of zeros."""
    operation = value.operation
    if operation is None or operation.name != "arith.constant":
        return False
    constant = operation.attributes["value"]
    return not isinstance(constant, list) and constant == 0


def _made_by(value: Value, name: str) -> bool:
    return value.operation is not None and value.operation.name == name


def with_and_without_masks(
    g: Generator, packed: PackedTensor, use: Callable[[Operand], None]
) -> None:
    """Use an operand; one without masked elements takes a path of its own."""

    def emit(full: bool) -> None:
        use(packed.operand(packed.bounds.true_masks if full else None))

    two_ways(g, packed.whole(), emit)
