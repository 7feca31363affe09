"""The walk of a product over its packed tiles: a panel of A's rows at a time, past all of B."""

from __future__ import annotations

from tritorch.triton_cpu.codegen.builder import LLVM_TYPE, Builder
from tritorch.triton_cpu.codegen.microkernel import register_kernel
from tritorch.triton_cpu.codegen.operand import (
    Memory,
    Operand,
    Position,
    Rows,
)
from tritorch.triton_cpu.codegen.packing import pack_rows
from tritorch.triton_cpu.codegen.product import Product
from tritorch.triton_cpu.codegen.quads import as_unsigned_quads
from tritorch.triton_cpu.codegen.words import as_words

#: (row, column)
Place = tuple[Position, Position]


def multiply(
    product: Product,
    builder: Builder,
    a: Operand,
    panel: str,
    b: str,
    c: str,
    c_row_stride: Position | None = None,
    is_first: str | None = None,
    start: Rows | None = None,
) -> None:
    """C += A B for packed B; C is row-major, its row stride in elements (default N).

    With `is_first`, an i1 register, C = A B where that is true, or C = start + A B.

    A panel of A's rows is packed to `panel` (of `a_bytes`), where it stays in the first-level
    cache while all of B passes by. Where the kernel copies the next panel (see `may_copy`),
    two halves of the scratch take turns.
    """
    stride = product.n if c_row_stride is None else c_row_stride
    integer = builder.integer
    element, accumulator = LLVM_TYPE[product.compute], LLVM_TYPE[product.accumulator]

    if product.quads:
        a = as_unsigned_quads(builder, a, 1)
    elif product.pairs:
        a = as_words(builder, a, 1)
    steps = product.steps(builder)
    ahead = a.memory if product.is_far(product.m * product.k) else None
    copies = product.copies(a)
    # Late, and one by one: more requests than the CPU can have under way would hold it up.
    asks_c = product.is_far(product.m * product.n) and product.k >= 16 * product.rows
    if copies:
        ahead = None

    def tile(
        width: int,
        row: Position,
        inside: int,
        block: Position,
        upcoming: Place,
        panel: str,
        copied: str = "",
    ) -> None:
        column = integer("mul", block, product.lanes)
        c_at = integer("add", integer("mul", integer("add", row, inside), stride), column)
        places = [
            builder.define(f"getelementptr {kind}, ptr {pointer}, i64 {at}")
            for kind, pointer, at in (
                (element, panel, product.part(inside)),
                (element, b, integer("mul", block, product.b_stride)),
                (accumulator, c, c_at),
            )
        ]
        arguments = ", ".join(f"ptr {place}" for place in places)
        arguments += f", i64 {stride}, i64 {steps}"
        if is_first is not None:
            arguments += f", i1 {is_first}"
        if start is not None:
            arguments += start_of_tile(product, builder, start, integer("add", row, inside), column)
        fetched = 0
        if ahead is not None:
            fetched = _fetched(product, width)
            arguments += _ahead(product, builder, ahead, upcoming, inside, block)
        if asks_c:
            arguments += f", ptr {places[2]}"
        kernel = register_kernel(
            product,
            builder,
            width,
            fetched,
            is_first is not None,
            start is not None,
            bool(copied),
            asks_c=asks_c,
        )
        builder.emit(f"call void @{kernel}({arguments}{copied})")

    def rows(row: Position) -> None:
        if copies:
            copying_rows(row)
            return
        pack_rows(product, builder, a, row, panel)
        upcoming = _upcoming(product, builder, row)
        for inside in range(0, product.panel_rows, product.rows):
            for first, width, _ in product.chunks():

                def columns(
                    j: Position, width: int = width, first: int = first, at: int = inside
                ) -> None:
                    tile(width, row, at, integer("add", j, first), upcoming, panel)

                product.loop(builder, ends[first], width, columns)

    def copying_rows(row: Position) -> None:
        copying = product.copying_tiles
        _, wide, _ = product.chunks()[0]
        size = product.panel_rows * product.k
        odd = builder.define(f"and i64 {row}, {product.panel_rows}")
        here, there = (
            builder.define(f"getelementptr {element}, ptr {panel}, i64 {at}")
            for at in (
                integer("mul", odd, product.k),
                integer("sub", size, integer("mul", odd, product.k)),
            )
        )
        done = builder.define(f"icmp sgt i64 {row}, 0")
        if not isinstance(ends[0], int):
            enough = builder.define(f"icmp sge i64 {ends[0]}, {copying * wide}")
            done = builder.define(f"and i1 {done}, {enough}")
        pack_rows(product, builder, a, row, here, done)
        following = builder.define(f"add nuw nsw i64 {row}, {product.panel_rows}")
        last = builder.define(f"icmp uge i64 {following}, {product.m}")
        following = builder.define(f"select i1 {last}, i64 {row}, i64 {following}")
        every = product.steps_for_copy
        share = scaled(builder, integer("add", steps, every - 1), 1, every)
        memory = a.memory
        assert memory is not None
        turns: Position = copying
        if not isinstance(ends[0], int):
            tiles = builder.define(f"sdiv i64 {integer('add', ends[0], wide - 1)}, {wide}")
            turns = builder.intrinsic("smin", "i64", 1, tiles, str(copying))
        for inside in range(0, product.panel_rows, product.rows):
            before = integer("mul", share, inside // product.rows * copying)

            def one(turn: Position, at: int = inside, before: Position = before) -> None:
                column = integer("add", before, integer("mul", share, turn))
                at_to = integer("mul", column, product.rows)
                to = builder.define(f"getelementptr {element}, ptr {there}, i64 {at_to}")
                place = memory.address(following, column)
                copied = f", ptr {place}, i64 {memory.strides[1]}, ptr {to}"
                tile(wide, row, at, integer("mul", turn, wide), (0, 0), here, copied)

            product.loop(builder, turns, 1, one)
            for first, width, count in product.chunks():
                begin = 0 if first else copying * wide

                def others(
                    j: Position,
                    width: int = width,
                    at: int = inside,
                    first: int = first + begin,
                ) -> None:
                    tile(width, row, at, integer("add", j, first), (0, 0), here)

                if width * count > begin:
                    product.loop(builder, integer("sub", ends[first], begin), width, others)

    limits = product.limits
    ends = {
        first: filled(product, builder, limits[1], first, width * count)
        for first, width, count in product.chunks()
    }
    product.loop(builder, limits[0], product.panel_rows, rows)


def start_of_tile(
    product: Product, builder: Builder, start: Rows, row: Position, column: Position
) -> str:
    """Arguments of the register kernel: what the sums of its tile start from."""
    at = builder.integer("add", builder.integer("mul", row, start.row_stride), column)
    element = LLVM_TYPE[product.accumulator]
    place = builder.define(f"getelementptr {element}, ptr {start.place}, i64 {at}")
    return f", ptr {place}, i64 {start.row_stride}"


def filled(
    product: Product, builder: Builder, columns: Position, first: int, vectors: int
) -> Position:
    """How many of `vectors`, the first of which is number `first`, have columns of B."""
    if isinstance(columns, int):
        return vectors
    filled = builder.integer("add", columns, product.lanes - 1)
    filled = builder.define(f"sdiv i64 {filled}, {product.lanes}")
    mine = builder.integer("sub", filled, first)
    return builder.intrinsic("smin", "i64", 1, str(mine), str(vectors))


def _upcoming(product: Product, builder: Builder, row: Position) -> Place:
    """Where the panel of A that comes next begins: (row, column).

    After the last panel that is the first one of the tile beside this one: most products are
    in a loop over K.
    """
    following = builder.integer("add", row, product.panel_rows)
    if isinstance(following, int):
        return (following, 0) if following < product.m else (0, product.k)
    more = builder.define(f"icmp ult i64 {following}, {product.m}")
    return (
        builder.define(f"select i1 {more}, i64 {following}, i64 0"),
        builder.define(f"select i1 {more}, i64 0, i64 {product.k}"),
    )


def _fetched(product: Product, width: int) -> int:
    """Lines of the next panel of A that a register tile asks for at each step of its loop."""
    if product.a_dimension == 0:
        return 1
    return -(-product.panel_rows * width * product.lanes // product.n)


def _ahead(
    product: Product,
    builder: Builder,
    memory: Memory,
    upcoming: Place,
    inside: int,
    block: Position,
) -> str:
    """Arguments of the register kernel: what part of the next panel it asks for.

    A tile at column n asks for its share: rows from n / N of the panel on (as it walks along K,
    so do they), or columns, where these are contiguous.
    """
    integer, (row, column) = builder.integer, upcoming
    total = product.n // product.lanes
    if product.a_dimension == 1:
        share = scaled(builder, block, product.panel_rows, total)
        row = integer("add", row, share)
        step: Position = integer("mul", memory.strides[1], product.unroll)
    else:
        parts = product.panel_rows // product.rows
        share = scaled(builder, block, product.k // parts, total)
        share = integer("add", share, inside // product.rows * (product.k // parts))
        column = integer("add", column, share)
        step = memory.strides[1]
    place = memory.address(row, column)
    return f", ptr {place}, i64 {step}, i64 {memory.strides[0]}"


def scaled(builder: Builder, position: Position, numerator: int, denominator: int) -> Position:
    """position * numerator / denominator, rounded down; both are powers of two."""
    if isinstance(position, int):
        return position * numerator // denominator
    if numerator >= denominator:
        return builder.integer("mul", position, numerator // denominator)
    return builder.define(f"lshr i64 {position}, {(denominator // numerator).bit_length() - 1}")
