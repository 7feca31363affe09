"""`tt.dot`: operands are packed to scratch straight from where they come, C is accumulated in
memory.

A carried accumulator (`acc = tl.dot(a, b, acc)`) is updated in its loop's own buffer, without a
copy.
"""

from __future__ import annotations

from collections.abc import Callable

from tritorch.triton_cpu.analysis.shapes import is_tensor
from tritorch.triton_cpu.codegen import column_panels, in_place, order, tile_panels
from tritorch.triton_cpu.codegen.bounds import maximum, minimum, reach
from tritorch.triton_cpu.codegen.buffers import read_buffer, write_buffer
from tritorch.triton_cpu.codegen.builder import Builder, Vec
from tritorch.triton_cpu.codegen.context import Loop, plan_walk
from tritorch.triton_cpu.codegen.convert import convert_float
from tritorch.triton_cpu.codegen.dot_operand import PackedTensor, with_and_without_masks
from tritorch.triton_cpu.codegen.generator import Generator, lowers
from tritorch.triton_cpu.codegen.groups import write_tensors
from tritorch.triton_cpu.codegen.loops import counted_loop, two_ways
from tritorch.triton_cpu.codegen.nest import Nest
from tritorch.triton_cpu.codegen.operand import Operand, Position, Rows
from tritorch.triton_cpu.codegen.packing import pack_a, pack_b
from tritorch.triton_cpu.codegen.pairs import by_pairs
from tritorch.triton_cpu.codegen.panels import multiply as multiply_panels
from tritorch.triton_cpu.codegen.prepare import prepare, store_spilled
from tritorch.triton_cpu.codegen.product import Product, plan_dot
from tritorch.triton_cpu.codegen.scratch import Buffer
from tritorch.triton_cpu.codegen.tile_product import TileProduct, fits, plan_tiles
from tritorch.triton_cpu.codegen.walks import choose_walk
from tritorch.triton_cpu.ir import Operation, Value


@lowers("tt.dot")
def dot(g: Generator, operation: Operation) -> None:
    a, b, c = operation.operands[:3]
    result = operation.results[0]
    element = result.type.element
    accumulator = element if element in ("f32", "f64", "i32") else "f32"
    for operand in (a, b):
        store_spilled(g, [operand], g.position)
        prepare(g, [operand], operand.type.shape or (), g.position)
    target = _accumulator_buffer(g, operation) if accumulator == element else None
    shape = result.type.shape or ()
    buffer = target or g.scratch.allocate(shape, accumulator)
    if g.buffers.get(c) is not buffer:
        _initialise(g, c, buffer, accumulator)
    if len(shape) == 2:
        _multiply(g, a, b, buffer, (), accumulator)
    else:
        counted_loop(
            g, 0, shape[0], 1, [], lambda i, _: _multiply(g, a, b, buffer, (i,), accumulator)
        )
    if accumulator != element:
        buffer = _narrowed(g, buffer, element)
    g.buffers[result] = buffer


def _accumulator_buffer(g: Generator, operation: Operation) -> Buffer | None:
    """The buffer of the loop-carried argument that the result will replace, if nobody needs its
    old value.
    """
    block, result = operation.block, operation.results[0]
    if block is None or block.parent.name != "scf.for":
        return None
    terminator = block.operations[-1]
    places = [at for at, value in enumerate(terminator.operands) if value is result]
    if len(places) != 1:
        return None
    argument = block.arguments[1 + places[0]]
    buffer = g.buffers.get(argument)
    if buffer is None:
        return None
    position = g.plan.position[operation]
    for other in block.operations:
        if g.plan.position[other] <= position:
            continue
        if argument in order.closure_with_stored(g, _inputs(other)):
            return None
    if operation in _users_in_regions(argument, block):
        return None
    c = operation.operands[2]
    if argument in order.closure_with_stored(g, list(operation.operands[:2])):
        return None
    if c is not argument:
        shape = result.type.shape or ()
        mappings = reach(g, [c], len(shape)).maps.get(argument)
        if mappings and list(mappings) != [tuple(range(len(shape)))]:
            return None
    return buffer


def _inputs(operation: Operation) -> list[Value]:
    """What an operation reads, itself or in its regions."""
    values = list(operation.operands)
    for region in operation.regions:
        for block in region:
            for inner in block.operations:
                values += _inputs(inner)
    return [value for value in values if is_tensor(value)]


def _users_in_regions(value: Value, block: object) -> list[Operation]:
    return [user for user in value.uses if user.block is not block]


def _initialise(g: Generator, c: Value, buffer: Buffer, accumulator: str) -> None:
    source = c.type.element
    if source == accumulator:
        write_tensors(g, [(c, buffer)])
        return
    shape = c.type.shape or ()
    walk = choose_walk(g, [c], shape, None)
    store_spilled(g, [c], g.position)
    prepare(g, [c], shape, g.position)

    def body(loop: Loop, carried: list[str] | None) -> list[str]:
        found = g.value_at(c, loop.index, loop)
        register = convert_float(
            g.builder, found.register, source, accumulator, found.lanes, g.target
        )
        write_buffer(g, buffer, loop.index, Vec(register, found.lanes, accumulator))
        return []

    Nest(g, walk, [c], body).emit()


def _narrowed(g: Generator, buffer: Buffer, element: str) -> Buffer:
    """A float32 buffer rounded to a narrower element."""
    result = g.scratch.allocate(buffer.shape, element)
    walk = plan_walk(buffer.shape, g.target.strip_bytes // 4)

    def body(loop: Loop, carried: list[str] | None) -> list[str]:
        found = read_buffer(g, buffer, loop.index)
        register = convert_float(
            g.builder, found.register, buffer.element, element, found.lanes, g.target
        )
        write_buffer(g, result, loop.index, Vec(register, found.lanes, element))
        return []

    Nest(g, walk, [], body).emit()
    return result


def _multiply(
    g: Generator, a: Value, b: Value, c: Buffer, batch: tuple[Position, ...], accumulator: str
) -> list[str]:
    builder = g.builder
    (m, k), n = (a.type.shape or ())[-2:], (b.type.shape or ())[-1]

    def emit_loop(_: Builder, count: Position, step: int, body: Callable[[Position], None]) -> None:
        def turn(counter: Position, carried: list[str]) -> list[str]:
            body(counter)
            return []

        if isinstance(count, int) and count <= step:
            body(0)
        else:
            counted_loop(g, 0, count, step, [], turn)

    elements, sizes = (a.type.element, b.type.element), (m, n, k)
    tiles = fits(g.target, *elements, accumulator, sizes)
    widen = not tiles and not by_pairs(g.target.avx512bf16, elements, accumulator, n, k)
    packed = [PackedTensor(g, value, batch, widen) for value in (a, b)]
    inner = maximum(g, minimum(g, packed[0].limit(1), packed[1].limit(0)), 1)
    limits = packed[0].limit(0), packed[1].limit(1), inner
    product: Product | TileProduct
    operands = packed[0].operand(None), packed[1].operand(None)
    if tiles:
        g.module.use_tiles()
        product = plan_tiles(g.target, sizes, *operands, emit_loop, limits)
    else:
        product = plan_dot(g.target, sizes, *operands, accumulator, emit_loop, limits)
    scratch = [g.scratch.allocate((size,), "i8") for size in (product.a_bytes, product.b_bytes)]
    base = g.scratch.touch(c)
    total = g.sums.get(c)
    row_stride: Position | None = None
    if total is not None and total.place is not None:
        base, row_stride = total.place, total.row_stride
    if batch:
        offset = builder.integer("mul", batch[0], m * n)
        base = builder.define(
            f"getelementptr {builder.type(accumulator, 1)}, ptr {base}, i64 {offset}"
        )

    is_first = None if total is None else total.is_first
    start = None if total is None else total.start
    if is_first is not None and limits[:2] != (m, n):
        rows_of_c = Rows(base, n if row_stride is None else row_stride)

        def begin() -> None:
            in_place.begin_rows(g, accumulator, (m, n), rows_of_c, start)

        is_first = _unless_cut(g, is_first, limits[:2], (m, n), begin)

    def pack(operand: Operand) -> None:
        place = g.scratch.touch(scratch[1])
        if isinstance(product, TileProduct):
            tile_panels.pack_b(product, builder, operand, place)
        else:
            pack_b(product, builder, operand, place)

    def multiply(operand: Operand) -> None:
        panel, columns = (g.scratch.touch(used) for used in scratch)
        rest = panel, columns, base, row_stride, is_first
        if isinstance(product, TileProduct):
            tile_panels.multiply(product, builder, operand, *rest)
        else:
            multiply_panels(product, builder, operand, *rest, start)
        for used in (*scratch, c):
            g.scratch.touch(used)

    def multiply_columns(operand: Operand) -> None:
        assert isinstance(product, Product)
        rest = rows, g.scratch.touch(scratch[1]), base, row_stride, is_first, start
        memory = packed[0].operand(None).memory
        column_panels.multiply(product, builder, operand, *rest, a_memory=memory)
        for used in (*scratch, c):
            g.scratch.touch(used)

    if isinstance(product, Product) and product.columns_first:
        for tensor in packed:
            tensor.expect_next()
        rows = _rows(g, product, packed[0], scratch[0])
        with_and_without_masks(g, packed[1], multiply_columns)
    else:
        with_and_without_masks(g, packed[1], pack)
        with_and_without_masks(g, packed[0], multiply)
    for used in (*scratch, c):
        g.scratch.touch(used)
    return []


def _rows(g: Generator, product: Product, a: PackedTensor, scratch: Buffer) -> str:
    """Where all of A lies packed; it may have lain so from the start."""
    builder = g.builder
    operand = a.operand(a.bounds.true_masks)
    memory = operand.memory
    if memory is None or operand.element != product.compute or product.a_dimension == 0:
        with_and_without_masks(
            g, a, lambda used: pack_a(product, builder, used, g.scratch.touch(scratch))
        )
        return g.scratch.touch(scratch)
    in_place = a.whole() or "true"
    for stride, packed in zip(memory.strides, product.a_strides):
        same = builder.define(f"icmp eq i64 {stride}, {packed * product.bytes}")
        in_place = builder.define(f"and i1 {in_place}, {same}")

    def emit(lies_there: bool) -> None:
        if not lies_there:
            pack_a(product, builder, a.operand(None), g.scratch.touch(scratch))

    two_ways(g, in_place, emit)
    place = g.scratch.touch(scratch)
    return builder.define(f"select i1 {in_place}, ptr {memory.address(0, 0)}, ptr {place}")


def _unless_cut(
    g: Generator,
    is_first: str,
    limits: tuple[Position, Position],
    sizes: tuple[int, int],
    begin: Callable[[], None],
) -> str:
    """The condition to overwrite C: `begin` writes what the sums start from where rows and columns
    beyond `limits`, which are left out of the product, would not be written.
    """
    builder = g.builder
    cut = "false"
    for limit, size in zip(limits, sizes):
        if limit != size:
            shorter = builder.define(f"icmp slt i64 {limit}, {size}")
            cut = shorter if cut == "false" else builder.define(f"or i1 {cut}, {shorter}")
    clear = builder.define(f"and i1 {is_first}, {cut}")

    def emit(cleared: bool) -> None:
        if cleared:
            begin()

    two_ways(g, clear, emit)
    whole = builder.define(f"xor i1 {cut}, true")
    return builder.define(f"and i1 {is_first}, {whole}")
