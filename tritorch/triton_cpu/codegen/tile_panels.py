"""The walk of a `TileProduct`: operands packed, then one block of C after the other."""

from __future__ import annotations

from dataclasses import replace

from tritorch.triton_cpu.codegen import amx, packing
from tritorch.triton_cpu.codegen.builder import BITS, Builder
from tritorch.triton_cpu.codegen.operand import Operand, Position
from tritorch.triton_cpu.codegen.tile_product import TileProduct
from tritorch.triton_cpu.codegen.transpose import transpose_helper
from tritorch.triton_cpu.codegen.words import as_words

_PARAMETERS = [
    ("ptr noalias readonly", "%a"),
    ("ptr noalias readonly", "%b"),
    ("ptr noalias", "%c"),
    ("i64", "%stride"),
    ("i64", "%steps"),
]


# ---- packing
def pack_b(product: TileProduct, builder: Builder, b: Operand, pointer: str) -> None:
    """Copy B to scratch of `b_bytes`."""
    plan = replace(product.words, extent=product.limits(builder))
    packing.pack_b(plan, builder, as_words(builder, b, 0), pointer)


def _pack_a(
    product: TileProduct, builder: Builder, a: Operand, row: Position, inner: Position, pointer: str
) -> None:
    """Copy a panel of A, from `row` on, to scratch of `a_bytes`; `inner` words of each row."""
    if product.a_dimension == 0:
        _pack_turned(product, builder, as_words(builder, a, 1), row, inner, pointer)
        return
    strip = min(product.k, 4 * amx.ROW_BYTES * 8 // BITS[product.element])
    kind = builder.type(product.element, strip)

    def copy(i: Position, word: Position) -> None:
        at = builder.integer("add", builder.integer("mul", i, product.row_words), word)
        place = builder.define(f"getelementptr i32, ptr {pointer}, i64 {at}")
        column = builder.integer("mul", word, product.size)
        vector = a.load(builder.integer("add", row, i), column, strip)
        builder.emit(f"store {kind} {vector}, ptr {place}, align 4")

    def one_row(i: Position) -> None:
        product.loop(builder, inner, strip // product.size, lambda word: copy(i, word))

    product.loop(builder, product.height, 1, one_row)


def _pack_turned(
    product: TileProduct, builder: Builder, a: Operand, row: Position, inner: Position, pointer: str
) -> None:
    """The same of an A whose rows are consecutive: blocks of 16 x 16 words are transposed."""
    integer = builder.integer
    staging = builder.define(f"getelementptr i8, ptr {pointer}, i64 {product.panel_bytes}")
    kind, half = builder.type("i32", amx.ROWS), amx.ROWS // 2
    transpose = transpose_helper(builder, "i32", half)

    def block(i: Position, word: Position) -> None:
        def one_word(at: Position) -> None:
            vector = a.load(integer("add", row, i), integer("add", word, at), amx.ROWS)
            place = integer("mul", at, amx.ROWS)
            to = builder.define(f"getelementptr i32, ptr {staging}, i64 {place}")
            builder.emit(f"store {kind} {vector}, ptr {to}, align 4")

        product.loop(builder, amx.WORDS, 1, one_word)
        start = integer("add", integer("mul", i, product.row_words), word)
        for at in range(0, amx.WORDS, half):
            for inside in range(0, amx.ROWS, half):
                source, to = (
                    builder.define(f"getelementptr i32, ptr {base}, i64 {offset}")
                    for base, offset in (
                        (staging, at * amx.ROWS + inside),
                        (pointer, integer("add", start, inside * product.row_words + at)),
                    )
                )
                builder.emit(
                    f"call void @{transpose}(ptr {source}, i64 {amx.ROWS}, "
                    f"ptr {to}, i64 {product.row_words})"
                )

    def rows(i: Position) -> None:
        product.loop(builder, inner, amx.WORDS, lambda word: block(i, word))

    product.loop(builder, product.height, amx.ROWS, rows)


# ---- multiplication
def multiply(
    product: TileProduct,
    builder: Builder,
    a: Operand,
    panel: str,
    b: str,
    c: str,
    c_row_stride: Position | None = None,
    is_first: str | None = None,
) -> None:
    """C += A B for packed B; C is row-major, its row stride in elements (default N).

    With `is_first`, an i1 register, C = A B where that is true.
    """
    integer = builder.integer
    stride = product.n if c_row_stride is None else c_row_stride
    rows, columns, inner = product.limits(builder)
    steps = (
        inner // amx.WORDS
        if isinstance(inner, int)
        else builder.define(f"udiv exact i64 {inner}, {amx.WORDS}")
    )
    kernel = tile_kernel(product, builder, is_first is not None)

    def block(row: Position, column: Position) -> None:
        at = integer("mul", integer("mul", column, product.words.b_stride // amx.WORDS), 4)
        right = builder.define(f"getelementptr i8, ptr {b}, i64 {at}")
        at = integer("add", integer("mul", row, stride), column)
        place = builder.define(f"getelementptr i32, ptr {c}, i64 {at}")
        arguments = f"ptr {panel}, ptr {right}, ptr {place}, "
        arguments += f"i64 {integer('mul', stride, 4)}, i64 {steps}"
        if is_first is not None:
            arguments += f", i1 {is_first}"
        builder.emit(f"call void @{kernel}({arguments})")

    def panel_rows(row: Position) -> None:
        _pack_a(product, builder, a, row, inner, panel)
        product.loop(builder, columns, product.width, lambda column: block(row, column))

    product.loop(builder, rows, product.height, panel_rows)


def tile_kernel(product: TileProduct, builder: Builder, may_replace: bool) -> str:
    """`void kernel(a, b, c, bytes between rows of C, steps[, is_first])` for one block of C."""
    down, across = product.tiles_down, product.tiles_across
    name = f"tile_kernel_{product.element}_{down}x{across}_{product.k}{'r' * may_replace}"
    if name in builder.helpers:
        return name
    inner = builder.child()
    count = down * across
    left, right = range(count, count + down), range(count + down, amx.TILES)
    places = _places(inner, down, across)
    loop, done = inner.label("loop"), inner.label("done")
    ready = [inner.block]
    if may_replace:
        replaced, added = inner.label("replace"), inner.label("add")
        inner.emit(f"br i1 %is_first, label %{replaced}, label %{added}")
        inner.start(replaced)
        for tile in range(count):
            amx.clear(inner, tile)
        inner.emit(f"br label %{loop}")
        inner.start(added)
        ready = [replaced, added]
    for tile, place in enumerate(places):
        amx.load(inner, tile, place, "%stride")
    inner.emit(f"br label %{loop}")
    inner.start(loop)
    counter, a, b = (inner.register() for _ in range(3))
    phis = [inner.reserve() for _ in range(3)]
    row_bytes, column_bytes = 4 * product.row_words, 4 * product.words.b_stride
    for i in range(down):
        place = inner.define(f"getelementptr i8, ptr {a}, i64 {i * amx.ROWS * row_bytes}")
        amx.load(inner, left[i], place, row_bytes)
    for j in range(across):
        used = right[j % len(right)]
        place = inner.define(f"getelementptr i8, ptr {b}, i64 {j * column_bytes}")
        amx.load(inner, used, place, amx.ROW_BYTES)
        for i in range(down):
            amx.multiply_add(inner, product.element, i * across + j, left[i], used)
    following = inner.define(f"add nuw nsw i64 {counter}, 1")
    next_a = inner.define(f"getelementptr i8, ptr {a}, i64 {amx.ROW_BYTES}")
    next_b = inner.define(f"getelementptr i8, ptr {b}, i64 {amx.WORDS * amx.ROW_BYTES}")
    again = inner.define(f"icmp ult i64 {following}, %steps")
    inner.emit(f"br i1 {again}, label %{loop}, label %{done}")
    carried = ((counter, "i64", "0", following), (a, "ptr", "%a", next_a),
               (b, "ptr", "%b", next_b))  # fmt: skip
    for at, (register, kind, initial, updated) in zip(phis, carried):
        incoming = "".join(f"[ {initial}, %{block} ], " for block in ready)
        inner.lines[at] = f"  {register} = phi {kind} {incoming}[ {updated}, %{loop} ]"
    inner.start(done)
    for tile, place in enumerate(places):
        amx.store(inner, tile, place, "%stride")
    inner.emit("ret void")
    parameters = [*_PARAMETERS, *([("i1", "%is_first")] if may_replace else [])]
    builder.helpers[name] = inner.function(name, "void", parameters)
    return name


def _places(builder: Builder, down: int, across: int) -> list[str]:
    """Where the tiles of a block of C are, row by row."""
    places, row = [], "%c"
    for i in range(down):
        if i:
            step = builder.integer("mul", "%stride", amx.ROWS)
            row = builder.define(f"getelementptr i8, ptr {row}, i64 {step}")
        for j in range(across):
            places.append(builder.define(f"getelementptr i8, ptr {row}, i64 {j * amx.ROW_BYTES}"))
    return places
