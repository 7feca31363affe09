"""Products summed in a loop: the first one replaces, and the sum may be formed where it is stored.

`for ...: acc = tl.dot(a, b, acc)` from zeros needs no zeros, since the first turn overwrites. If
all that happens to the sum is one store of it, whole tiles are summed in that memory: no copy. A
sum that starts from what is read (a bias) is too, and the first turn adds that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tritorch.triton_cpu.analysis.shapes import is_tensor, root_pointer
from tritorch.triton_cpu.analysis.sinks import has_side_effects
from tritorch.triton_cpu.codegen.bounds import mask_bounds, reach, whole_tile
from tritorch.triton_cpu.codegen.builder import BITS, LLVM_TYPE
from tritorch.triton_cpu.codegen.context import Base, Walk
from tritorch.triton_cpu.codegen.dot_operand import is_zero
from tritorch.triton_cpu.codegen.groups import write_each
from tritorch.triton_cpu.codegen.loops import two_ways
from tritorch.triton_cpu.codegen.operand import Rows, counted_loop
from tritorch.triton_cpu.codegen.scratch import Buffer
from tritorch.triton_cpu.ir import Block, Operation, Value

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.generator import Generator


@dataclass(slots=True, eq=False)
class Sum:
    """A carried sum of products.

    Attributes:
        buffer: where it is formed, unless in memory.
        is_first: i1 register in the loop, true in its first turn.
        in_memory: i1 register: the sum is formed in the tile that `store` would write.
        place, row_stride: where it is formed (elements), or None: in the buffer.
        starts_from: what is read to start from, where the sum is formed in memory; None: zeros.
        start: where that lies.
    """

    buffer: Buffer
    is_first: str = "false"
    in_memory: str = "false"
    place: str | None = None
    row_stride: Base = 0
    starts_from: Value | None = None
    start: Rows | None = None


def sums_in(g: Generator, loop: Operation, buffers: dict[Value, Buffer]) -> dict[Value, Sum]:
    """The carried arguments of a loop that only sum products, from zeros or from what is read."""
    body = loop.regions[0][0]
    found = {}
    for argument, initial, yielded, result in zip(
        body.arguments[1:], loop.operands[3:], body.operations[-1].operands, loop.results
    ):
        if not is_tensor(argument) or not _sums_products(argument, yielded, body):
            continue
        if is_zero(initial):
            found[argument] = Sum(buffers[argument])
        elif _is_read(g, initial, loop, yielded, _only_store(g, result, loop)):
            found[argument] = Sum(buffers[argument], starts_from=initial)
    return found


def _is_read(
    g: Generator, initial: Value, loop: Operation, product: Value, store: Operation | None
) -> bool:
    """Whether a whole tile of what a sum starts from can be read in the loop's first turn, row by
    row: only this loop wants it, and nothing is written meanwhile.
    """
    load = initial.operation
    if store is None or load is None or load.name != "tt.load" or initial in g.buffers:
        return False
    pointer = load.operands[0]
    form = g.affine.get(pointer)
    if form is None or len(form.strides) != 2 or form.strides[1] != 1:
        return False
    if len(load.operands) > 1 and load.operands[1] not in store.operands[2:]:
        return False
    assert product.operation is not None
    factors = product.operation.operands[:2]
    return (
        list(initial.uses) == [loop]
        and all(factor.type.element in ("f32", "f64") for factor in factors)
        and root_pointer(pointer) is not root_pointer(store.operands[0])
        and not any(has_side_effects(inner) for inner in _with_inner([loop])[1:])
    )


def _sums_products(argument: Value, yielded: Value, body: Block) -> bool:
    product = yielded.operation
    return (
        product is not None
        and product.name == "tt.dot"
        and product.block is body
        and product.operands[2] is argument
        and list(argument.uses) == [product]
        and list(yielded.uses) == [body.operations[-1]]
        and argument.type.element in ("f32", "f64", "i32")
    )


def choose_places(g: Generator, loop: Operation, sums: dict[Value, Sum], turns: str) -> None:
    """Form the sums in memory where that is possible.

    Args:
        turns: i1 register, whether the loop makes any turn.
    """
    body = loop.regions[0][0]
    for argument, result in zip(body.arguments[1:], loop.results):
        store = _only_store(g, result, loop)
        if argument in sums and store is not None:
            _choose_place(g, sums[argument], store, turns)


def _only_store(g: Generator, result: Value, loop: Operation) -> Operation | None:
    """The store that is all that happens to a loop's result, if its addresses are known now."""
    if len(result.uses) != 1 or not is_tensor(result):
        return None
    (store,) = result.uses
    if store.name != "tt.store" or store.operands[1] is not result or store.block is not loop.block:
        return None
    form = g.affine.get(store.operands[0])
    if form is None or len(form.strides) != 2 or form.strides[1] != 1:
        return None
    if len(store.operands) > 2 and g.masks.get(store.operands[2]) is None:
        return None
    assert loop.block is not None
    between = loop.block.operations[loop.block.operations.index(loop) :]
    for operation in _with_inner(between[: between.index(store)]):
        # What the tile holds is nobody's business until it is stored.
        if operation.name not in ("tt.load", "tt.store") and "atomic" not in operation.name:
            continue
        if root_pointer(operation.operands[0]) is root_pointer(store.operands[0]):
            return None
    return store


def _with_inner(operations: list[Operation]) -> list[Operation]:
    found = list(operations)
    for operation in found:
        for region in operation.regions:
            for block in region:
                found += block.operations
    return found


def _choose_place(g: Generator, total: Sum, store: Operation, turns: str) -> None:
    builder = g.builder
    pointer = store.operands[0]
    shape = pointer.type.shape or ()
    full: str | None = None
    if len(store.operands) > 2:
        mask = store.operands[2]
        walk = Walk(shape, ((-1, 1),), (None,) * len(shape), 1)
        bounds = mask_bounds(g, reach(g, [mask], len(shape)), walk)
        if mask not in bounds.true_masks:
            return
        full = whole_tile(g, bounds.constraints, shape, {})
    form = g.affine.get(pointer)
    assert form is not None
    total.in_memory = turns if full is None else builder.define(f"and i1 {turns}, {full}")
    scratch = g.scratch.touch(total.buffer)
    total.place = builder.define(f"select i1 {total.in_memory}, ptr {form.base}, ptr {scratch}")
    total.row_stride = builder.define(
        f"select i1 {total.in_memory}, i64 {form.strides[0]}, i64 {shape[1]}"
    )
    if total.starts_from is not None:
        assert total.starts_from.operation is not None
        read = g.affine.get(total.starts_from.operation.operands[0])
        assert read is not None
        total.start = Rows(str(read.base), read.strides[0])
    g.stored_sums[store] = total


def write_starts(g: Generator, sums: list[tuple[Value, Sum]], turns: str) -> None:
    """Write what the sums start from to their buffers, where the first turn will not.

    Args:
        turns: i1 register, whether the loop makes any turn.
    """
    for condition, group in (
        (turns, [(initial, total.buffer) for initial, total in sums if not total.starts_from]),
        *((total.in_memory, [(v, total.buffer)]) for v, total in sums if total.starts_from),
    ):
        if not group:
            continue

        def begin(overwritten: bool, group: list[tuple[Value, Buffer]] = group) -> None:
            if not overwritten:
                write_each(g, group)

        two_ways(g, condition, begin)


def replaces(g: Generator, total: Sum, is_first_turn: str) -> str:
    """i1 register: this turn overwrites the sum."""
    if total.starts_from is None:
        return is_first_turn
    return g.builder.define(f"and i1 {is_first_turn}, {total.in_memory}")


def begin_rows(
    g: Generator, element: str, shape: tuple[int, int], to: Rows, start: Rows | None
) -> None:
    """Write zeros, or what a sum starts from, to where it is formed."""
    builder, (rows, columns) = g.builder, shape
    lanes = min(g.target.vector_bytes * 8 // BITS[element], columns)
    kind, align = builder.type(element, lanes), BITS[element] // 8

    def at(where: Rows, row: Base, column: Base) -> str:
        offset = builder.integer("add", builder.integer("mul", row, where.row_stride), column)
        return builder.define(
            f"getelementptr {LLVM_TYPE[element]}, ptr {where.place}, i64 {offset}"
        )

    def vector(row: Base, column: Base) -> None:
        value = "zeroinitializer" if lanes > 1 else g.zero(element)
        if start is not None:
            place = at(start, row, column)
            value = builder.define(f"load {kind}, ptr {place}, align {align}")
        builder.emit(f"store {kind} {value}, ptr {at(to, row, column)}, align {align}")

    counted_loop(
        builder,
        rows,
        1,
        lambda row: counted_loop(builder, columns, lanes, lambda column: vector(row, column)),
    )


def store_sum(g: Generator, store: Operation) -> None:
    """The store of a sum that may be in place already."""
    total = g.stored_sums.pop(store)

    def emit(in_memory: bool) -> None:
        if not in_memory:
            g.emit_sink(store)

    two_ways(g, total.in_memory, emit)
    g.scratch.touch(total.buffer)
