"""Operands of a product copied to scratch, converted to the element of computation.

The source is an `Operand`: a callback that emits the vector at (row, column), so a masked,
converted or computed tile is packed straight from where it comes.
"""

from __future__ import annotations

from tritorch.errors import UnsupportedOperation
from tritorch.triton_cpu.codegen.builder import BITS, LLVM_TYPE, Builder
from tritorch.triton_cpu.codegen.operand import Operand, Position, prefetch
from tritorch.triton_cpu.codegen.product import Product
from tritorch.triton_cpu.codegen.quads import column_sums
from tritorch.triton_cpu.codegen.transpose import transpose_helper
from tritorch.triton_cpu.codegen.words import as_words

#: Consecutive columns of B are packed row by row: what comes next is asked for so many rows before.
#: Rows of a tile are far apart, so the CPU does not see it coming.
ROWS_AHEAD = 6


def _converted(
    product: Product, builder: Builder, operand: Operand, register: str, lanes: int
) -> str:
    if operand.element == product.compute:
        return register
    source, wanted = operand.element, product.compute
    opcode = {
        (True, True): "fpext" if BITS[source] < BITS[wanted] else "fptrunc",
        (False, True): "sitofp",
        (False, False): "sext",
    }.get((source[0] in "fb", wanted[0] == "f"))
    if opcode is None or source.startswith("f8"):
        raise UnsupportedOperation(
            f"tl.dot: cannot compute in {wanted} from {source}. Convert the operand first."
        )
    return builder.define(
        f"{opcode} {builder.type(source, lanes)} {register} to {builder.type(wanted, lanes)}"
    )


def _store(
    product: Product, builder: Builder, register: str, lanes: int, pointer: str, at: Position
) -> None:
    kind = builder.type(product.compute, lanes)
    place = builder.define(f"getelementptr {LLVM_TYPE[product.compute]}, ptr {pointer}, i64 {at}")
    builder.emit(f"store {kind} {register}, ptr {place}, align {product.bytes}")


def _copy(
    product: Product,
    builder: Builder,
    operand: Operand,
    at: tuple[Position, Position],
    lanes: int,
    pointer: str,
    to: Position,
) -> None:
    vector = _converted(product, builder, operand, operand.load(*at, lanes), lanes)
    _store(product, builder, vector, lanes, pointer, to)


def pack_rows(
    product: Product,
    builder: Builder,
    a: Operand,
    row: Position,
    pointer: str,
    done: str | None = None,
) -> None:
    """Copy `panel_rows` rows of A to scratch of `a_bytes`, unless `done` is true."""
    if a.vector_dimension != product.a_dimension:
        raise ValueError(
            f"dot: A was planned with vectors along {product.a_dimension}, "
            f"got them along {a.vector_dimension}."
        )
    integer, height = builder.integer, product.panel_rows
    if product.a_dimension == 0:

        def column(k: Position) -> None:
            vector = _converted(product, builder, a, a.load(row, k, height), height)
            to = integer("mul", k, product.rows)
            for inside, part in parts_of_rows(product, builder, vector):
                at = integer("add", to, product.part(inside))
                _store(product, builder, part, product.rows, pointer, at)

        steps = product.steps(builder)
        if done is not None:
            steps = builder.define(f"select i1 {done}, i64 0, i64 {steps}")
        product.loop(builder, steps, 1, column)
        return

    inner = product.inner(builder)

    def strip(i: Position, k: Position) -> None:
        to = integer("add", integer("mul", i, product.a_strides[0]), k)
        _copy(product, builder, a, (integer("add", row, i), k), product.strip, pointer, to)

    product.loop(
        builder,
        height,
        1,
        lambda i: product.loop(builder, inner, product.strip, lambda k: strip(i, k)),
    )


def parts_of_rows(product: Product, builder: Builder, vector: str) -> list[tuple[int, str]]:
    """A vector along a panel's rows, cut into register tiles: (first row, part)."""
    height, rows = product.panel_rows, product.rows
    if rows == height:
        return [(0, vector)]
    return [
        (at, builder.shuffle(vector, vector, product.compute, height, list(range(at, at + rows))))
        for at in range(0, height, rows)
    ]


def pack_a(product: Product, builder: Builder, a: Operand, pointer: str) -> None:
    """Copy all of A, panel by panel."""

    def rows(row: Position) -> None:
        at = builder.integer("mul", row, product.row_elements)
        place = builder.define(
            f"getelementptr {LLVM_TYPE[product.compute]}, ptr {pointer}, i64 {at}"
        )
        pack_rows(product, builder, a, row, place)

    product.loop(builder, product.limits[0], product.panel_rows, rows)


def pack_b(product: Product, builder: Builder, b: Operand, pointer: str) -> None:
    """Copy B to scratch of `b_bytes`."""
    b = as_words(builder, b, 0) if product.in_word > 1 else b
    pack_columns(product, builder, b, pointer, 0, product.columns(builder), ahead=True)
    if not product.quads:
        return
    sums, steps = column_sums(builder, product.lanes), product.steps(builder)

    def column(j: Position) -> None:
        start = builder.integer("mul", j, product.b_stride // product.lanes)
        place = builder.define(f"getelementptr i32, ptr {pointer}, i64 {start}")
        to = builder.define(f"getelementptr i32, ptr {place}, i64 {product.k * product.lanes}")
        builder.emit(f"call void @{sums}(ptr {place}, i64 {steps}, ptr {to})")

    product.loop(builder, product.columns(builder), product.lanes, column)


def pack_columns(
    product: Product,
    builder: Builder,
    b: Operand,
    pointer: str,
    first: Position,
    columns: Position,
    ahead: bool = False,
) -> None:
    """Copy so many columns of B, beginning with number `first`.

    Args:
        ahead: whether to ask for what comes next; nobody else has.
    """
    steps = product.steps(builder)
    if b.vector_dimension != product.b_dimension:
        raise ValueError(
            f"dot: B was planned with vectors along {product.b_dimension}, "
            f"got them along {b.vector_dimension}."
        )
    integer, lanes = builder.integer, product.lanes
    if product.b_dimension == 1:

        def row(k: Position) -> None:
            start = integer("mul", k, lanes)

            def vector(j: Position) -> None:
                if ahead and b.memory is not None:
                    place = b.memory.address(
                        integer("add", k, ROWS_AHEAD), integer("add", first, j)
                    )
                    prefetch(builder, place, write=False)
                to = integer("add", integer("mul", j, product.b_stride // lanes), start)
                _copy(product, builder, b, (k, integer("add", first, j)), lanes, pointer, to)

            product.loop(builder, columns, lanes, vector)

        product.loop(builder, steps, 1, row)
        return
    strip = product.strip
    staging = builder.define(f"getelementptr i8, ptr {pointer}, i64 {product.packed_b_bytes}")

    def block(j: Position, k: Position) -> None:
        column = integer("add", first, j)
        below = integer("add", column, lanes)

        def row(i: Position) -> None:
            if ahead and b.memory is not None:
                for at in range(0, strip, product.target.vector_bytes // product.bytes):
                    place = b.memory.address(integer("add", k, at), integer("add", below, i))
                    prefetch(builder, place, write=False, near=2)
            to = integer("mul", i, strip)
            _copy(product, builder, b, (k, integer("add", column, i)), strip, staging, to)

        product.loop(builder, lanes, 1, row)
        start = integer("mul", j, product.b_stride // lanes)
        start = integer("add", start, integer("mul", k, lanes))
        _transpose(product, builder, staging, strip, pointer, start)

    product.loop(
        builder,
        columns,
        lanes,
        lambda j: product.loop(builder, steps, strip, lambda k: block(j, k)),
    )


def _transpose(
    product: Product, builder: Builder, staging: str, strip: int, pointer: str, start: Position
) -> None:
    """[lanes][strip] in staging to [strip][lanes] from element `start` on."""
    # 16 x 16 saves 2 % of a product, and takes 10 ms more to compile.
    size = min(8, product.lanes, strip)
    name = transpose_helper(builder, product.compute, size)
    element = LLVM_TYPE[product.compute]
    for row in range(0, product.lanes, size):
        for column in range(0, strip, size):
            source = builder.define(
                f"getelementptr {element}, ptr {staging}, i64 {row * strip + column}"
            )
            to = builder.integer("add", start, column * product.lanes + row)
            place = builder.define(f"getelementptr {element}, ptr {pointer}, i64 {to}")
            builder.emit(
                f"call void @{name}(ptr {source}, i64 {strip}, ptr {place}, i64 {product.lanes})"
            )
