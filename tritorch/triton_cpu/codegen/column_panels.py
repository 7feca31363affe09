"""The walk of a product with few inner elements: a panel of B's columns at a time, past all of A.

The first tile packs the panel on its way, where B lies in rows.
See `Product.has_short_columns`. While the panel is in use, the next one's elements are asked for,
be it of this product or of the one after it.
"""

from __future__ import annotations

from tritorch.triton_cpu.codegen.builder import LLVM_TYPE, Builder
from tritorch.triton_cpu.codegen.microkernel import register_kernel
from tritorch.triton_cpu.codegen.operand import Memory, Operand, Position, Rows
from tritorch.triton_cpu.codegen.packing import pack_columns
from tritorch.triton_cpu.codegen.panels import filled, scaled, start_of_tile
from tritorch.triton_cpu.codegen.product import Product


def multiply(
    product: Product,
    builder: Builder,
    b: Operand,
    rows: str,
    panel: str,
    c: str,
    c_row_stride: Position | None = None,
    is_first: str | None = None,
    start: Rows | None = None,
    a_memory: Memory | None = None,
) -> None:
    """C += A B for A packed to `rows`; C is row-major, its row stride in elements (default N).

    With `is_first`, an i1 register, C = A B where that is true, or C = start + A B.

    Args:
        panel: scratch of `b_bytes`.
        a_memory: where A was read: that of the next product is asked for.
    """
    integer, stride = builder.integer, product.n if c_row_stride is None else c_row_stride
    element, accumulator = LLVM_TYPE[product.compute], LLVM_TYPE[product.accumulator]
    steps = product.steps(builder)
    asks_c = product.is_far(product.m * product.n) and product.k >= product.rows * product.unroll

    def columns(block: Position, width: int) -> None:
        column = integer("mul", block, product.lanes)
        raw = b.memory if _lies_in_rows(product, b) else None
        if raw is None:
            pack_columns(product, builder, b, panel, column, width * product.lanes)
        requests = _Requests(product, builder, a_memory, b.memory, column, width)

        def tile(row: Position, packed: bool = True) -> None:
            a_at = integer("mul", row, product.row_elements)
            c_at = integer("add", integer("mul", row, stride), column)
            of_a, of_c = (
                builder.define(f"getelementptr {kind}, ptr {pointer}, i64 {at}")
                for kind, pointer, at in ((element, rows, a_at), (accumulator, c, c_at))
            )
            of_b, packing = panel, ""
            if raw is not None and not packed:
                of_b, packing = raw.address(0, column), f", i64 {raw.strides[0]}, ptr {panel}"
            arguments = f"ptr {of_a}, ptr {of_b}, ptr {of_c}, i64 {stride}, i64 {steps}"
            if is_first is not None:
                arguments += f", i1 {is_first}"
            if start is not None:
                arguments += start_of_tile(product, builder, start, row, column)
            arguments += requests.of_a(row) + requests.of_b(row)
            if asks_c:
                arguments += f", ptr {requests.of_c(row, c, stride)}"
            kernel = register_kernel(
                product,
                builder,
                width,
                requests.lines_of_a,
                is_first is not None,
                start is not None,
                following=requests.lines_of_b,
                asks_c=asks_c,
                packs=bool(packing),
            )
            builder.emit(f"call void @{kernel}({arguments}{packing})")

        if raw is None:
            product.loop(builder, product.limits[0], product.rows, tile)
            return
        limit, height = product.limits[0], product.rows
        first: Position = height
        if not isinstance(limit, int):
            first = builder.intrinsic("smin", "i64", 1, limit, str(height))
        product.loop(builder, first, height, lambda row: tile(row, packed=False))
        rest = integer("sub", limit, height)
        product.loop(builder, rest, height, lambda row: tile(integer("add", row, height)))

    for first, width, count in product.chunks():
        end = filled(product, builder, product.limits[1], first, width * count)

        def chunk(j: Position, width: int = width, first: int = first) -> None:
            columns(integer("add", j, first), width)

        product.loop(builder, end, width, chunk)


def _lies_in_rows(product: Product, b: Operand) -> bool:
    """Whether the register kernel can read B in its place."""
    return (
        b.memory is not None
        and b.memory.whole
        and b.memory.strides[1] == product.bytes
        and b.element == product.compute
        and product.b_dimension == 1
    )


class _Requests:
    """What the register kernels of a panel of B ask for: the next panel, and the next product's A.

    A kernel asks for so many lines at each step of its loop. As it walks along K, so do they.
    """

    def __init__(
        self,
        product: Product,
        builder: Builder,
        a: Memory | None,
        b: Memory | None,
        column: Position,
        width: int,
    ) -> None:
        self.product = product
        self.builder = builder
        self.column = column
        self.a = a if product.a_dimension == 1 and product.is_far(product.m * product.k) else None
        self.b = b
        following = builder.integer("add", column, width * product.lanes)
        inside = builder.define(f"icmp slt i64 {following}, {product.limits[1]}")
        self.next_column = builder.define(f"select i1 {inside}, i64 {following}, i64 0")
        self.lines_of_a = self.lines_of_b = 0
        if self.a is not None:
            self.lines_of_a = -(-product.rows * width * product.lanes // product.n)
        if b is None:
            return
        #: a step's part of the panel: `unroll` rows of `width` lines, or a part of a line each in
        #: `width * lanes` columns; the tiles above one another share it
        self.slots = width * (product.unroll if product.b_dimension == 1 else product.lanes)
        self.slots = 1 << (self.slots - 1).bit_length()
        self.tiles = product.m // product.rows
        self.lines_of_b = max(self.slots // self.tiles, 1)
        #: or whole rows of the next product's B, which the CPU soon fetches by itself: so many
        #: lines at a step, so many rows in a tile
        self.width = width * product.lanes
        self.in_row = product.n // product.lanes // (product.k // product.unroll)
        rows = -(-product.k * self.width // (product.n * self.tiles))
        self.in_rows = product.b_dimension == 1 and min(self.in_row, rows) == 1
        if self.in_rows:
            self.lines_of_b = max(self.in_row, rows)
        self.beyond = builder.define(f"select i1 {inside}, i64 0, i64 {b.next or 0}")

    def of_a(self, row: Position) -> str:
        """Arguments of a kernel: its share of the rows of the next product's A."""
        if self.a is None:
            return ""
        product, integer = self.product, self.builder.integer
        share = scaled(self.builder, self.column, product.rows, product.n)
        place = self.a.address(integer("add", row, share), 0)
        place = self.builder.define(f"getelementptr i8, ptr {place}, i64 {self.a.next or 0}")
        step = integer("mul", self.a.strides[1], product.unroll)
        return f", ptr {place}, i64 {step}, i64 {self.a.strides[0]}"

    def of_c(self, row: Position, c: str, stride: Position) -> str:
        """The tile of C after this one."""
        integer, builder = self.builder.integer, self.builder
        following = integer("add", row, self.product.rows)
        inside = builder.define(f"icmp slt i64 {following}, {self.product.limits[0]}")
        below = integer("add", integer("mul", following, stride), self.column)
        at = builder.define(f"select i1 {inside}, i64 {below}, i64 {self.next_column}")
        element = LLVM_TYPE[self.product.accumulator]
        return builder.define(f"getelementptr {element}, ptr {c}, i64 {at}")

    def of_b(self, row: Position) -> str:
        """Arguments of a kernel: its share of the lines of the next panel."""
        if self.b is None:
            return ""
        product, builder, tiles = self.product, self.builder, self.tiles
        integer, (along, across) = builder.integer, self.b.strides
        if self.in_rows:
            share = integer("mul", self.column, product.m)
            share = integer("add", share, integer("mul", row, self.width))
            share = scaled(builder, share, product.k, product.n * product.m)
            place = self.b.address(share, 0)
            place = builder.define(f"getelementptr i8, ptr {place}, i64 {self.b.next or 0}")
            apart = along if self.in_row == 1 else integer("mul", across, product.n // self.in_row)
            return f", ptr {place}, i64 {integer('mul', across, product.lanes)}, i64 {apart}"
        slot = scaled(builder, row, min(self.slots, tiles), product.m)
        k: Position = 0
        column, apart = slot, integer("mul", across, tiles)
        if product.b_dimension == 1:
            last = product.unroll - 1
            k = slot & last if isinstance(slot, int) else builder.define(f"and i64 {slot}, {last}")
            column = integer("mul", scaled(builder, slot, 1, product.unroll), product.lanes)
            apart = integer("mul", across, product.lanes * tiles // product.unroll)
        place = self.b.address(k, integer("add", self.next_column, column))
        place = builder.define(f"getelementptr i8, ptr {place}, i64 {self.beyond}")
        return f", ptr {place}, i64 {integer('mul', along, product.unroll)}, i64 {apart}"
