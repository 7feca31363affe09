"""Matrix products of tiles: C[M, N] += A[M, K] B[K, N], for `tl.dot`.

Three parts, joined by `emit_dot`, also to be called one by one (to pack an invariant operand
once):

- `Product.pack_a`, `Product.pack_b` copy the operands, converted to the element of computation, to
  scratch. The source is an `Operand`: a callback that emits the vector at (row, column), so a
  masked, converted or computed tile is packed straight from where it comes.
- `Product.multiply` walks the packed tiles with a register-tiled kernel, an internal function in
  `builder.helpers`: `rows` x `vectors` accumulators, K unrolled by 4.

Packed layouts (V = lanes of a hardware vector, less for narrower tiles):

- B in columns of one vector: `[N / V][K + padding][V]`.
- A with consecutive columns: rows, `[M][K + padding]`; A with consecutive rows: `[M / V][K][V]`.
  The kernel broadcasts single elements of A, so neither needs a transpose.
- B with consecutive rows (the transposed weight of a linear layer) passes through 8 x 8 register
  transposes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from tritorch.errors import UnsupportedOperation
from tritorch.triton_cpu.codegen.builder import BITS, LLVM_TYPE, Builder
from tritorch.triton_cpu.codegen.operand import (
    EmitLoop,
    Memory,
    Operand,
    Position,
    counted_loop,
)
from tritorch.triton_cpu.codegen.quads import SIZE, as_quads, column_sums, multiply_add
from tritorch.triton_cpu.codegen.transpose import transpose_helper

#: rows, columns, inner elements
Extent = tuple[Position, Position, Position]
#: (row, column)
Place = tuple[Position, Position]


class ProductTarget(Protocol):
    """What a product asks of a CPU: see `tritorch.triton_cpu.target.CPUTarget`."""

    @property
    def avx512f(self) -> bool: ...
    @property
    def fma(self) -> bool: ...
    @property
    def vnni(self) -> bool: ...
    @property
    def vector_bytes(self) -> int: ...


@dataclass(frozen=True)
class Product:
    """C[M, N] += A[M, K] B[K, N] of one tile; sizes are powers of two, C's element `accumulator`.

    Args:
        a_dimension, b_dimension: the operands' `vector_dimension`.
        compute: element of the packed operands; None chooses it from the accumulator.
        loop: emits the packing loops (a code generator may have to know of them).
        extent: rows, columns and inner elements that are not known to be zeros; numbers or i64
            registers. The rest is left out, and C's rows and columns there may stay as they are.
        quads: elements are four bytes along K, see `quads`; k counts them.
    """

    target: ProductTarget
    m: int
    n: int
    k: int
    accumulator: str
    a_dimension: int = 1
    b_dimension: int = 1
    compute: str = "f32"
    loop: EmitLoop = counted_loop
    extent: Extent | None = None
    quads: bool = False

    # ---- shapes of the kernel
    @property
    def bytes(self) -> int:
        return BITS[self.compute] // 8

    @cached_property
    def lanes(self) -> int:
        """Columns in a vector."""
        return min(self.target.vector_bytes // self.bytes, self.n)

    @cached_property
    def rows(self) -> int:
        """Rows of the register tile."""
        return min(8 if self.target.avx512f else 4, self.m)

    @cached_property
    def vectors(self) -> int:
        """Vectors in a row of the register tile, at most; see `TILES`."""
        return TILES[self.target.avx512f, self.target.fma or self.target.avx512f].get(self.rows, 8)

    @property
    def unroll(self) -> int:
        return min(4, self.k)

    @property
    def limits(self) -> Extent:
        return self.extent or (self.m, self.n, self.k * (SIZE if self.quads else 1))

    def _inner(self, builder: Builder) -> Position:
        """Inner elements that count."""
        inner = self.limits[2]
        if not self.quads:
            return inner
        if isinstance(inner, int):
            return -(-inner // SIZE)
        inner = builder.integer("add", inner, SIZE - 1)
        return builder.define(f"lshr i64 {inner}, 2")

    @property
    def strip(self) -> int:
        """Elements that packing loads at once along K."""
        return min(self.k, 4 * self.target.vector_bytes // self.bytes)

    # ---- layout of packed tiles
    @cached_property
    def panel_rows(self) -> int:
        """Rows of A that are packed at a time: a vector of them where they are consecutive."""
        if self.a_dimension == 1:
            return self.rows
        return max(self.rows, min(self.target.vector_bytes // self.bytes, self.m))

    @cached_property
    def a_strides(self) -> tuple[int, int]:
        """Elements between neighbouring rows, and columns, of a packed panel of A."""
        if self.a_dimension == 0:
            return 1, self.panel_rows
        # Off the powers of two: rows 4 KiB apart would share one set of the L1 cache.
        padding = self.target.vector_bytes // self.bytes if self.k >= 64 else 0
        return self.k + padding, 1

    @property
    def a_bytes(self) -> int:
        """Scratch for a packed panel of A; where the next one is copied meanwhile, for two."""
        columns = self.a_strides[0] if self.a_dimension == 1 else self.k
        return self.panel_rows * columns * self.bytes * (1 + self._may_copy)

    @property
    def _may_copy(self) -> bool:
        """Whether the register kernel could copy the next panel of A.

        One row of A transposed is one vector of a panel. Asking for it in advance would not do: a
        power of two apart, all of them go to a few sets of the caches.
        """
        return (
            self.a_dimension == 0
            and not self.quads
            and self.panel_rows * self.bytes == self.target.vector_bytes
            and self.m > self.panel_rows
            and self.m * self.k * self.bytes > NEAR_BYTES
            and self.chunks()[0][2] >= self._copying_tiles
        )

    @property
    def _copying_tiles(self) -> int:
        """Register tiles beside each other that copy: a vector at each step of their loop."""
        return max(self.unroll * self.rows // self.panel_rows, 1)

    def _copies(self, a: Operand) -> bool:
        memory = a.memory
        return (
            self._may_copy
            and a.element == self.compute
            and memory is not None
            and memory.whole
            and memory.strides[0] == self.bytes
        )

    @cached_property
    def b_stride(self) -> int:
        """Elements between neighbouring columns of vectors in packed B."""
        # A line more than needed, lest a row of B goes to one set of the L1 cache.
        # With quads it holds the sums over the column.
        return (self.k + (self.k >= 32 or self.quads)) * self.lanes

    @property
    def b_bytes(self) -> int:
        """Scratch for packed B, with room for the transposes."""
        return self._packed_b_bytes + self._staging_bytes

    @property
    def _packed_b_bytes(self) -> int:
        return self.n // self.lanes * self.b_stride * self.bytes

    @property
    def _staging_bytes(self) -> int:
        return self.lanes * self.strip * self.bytes if self.b_dimension == 0 else 0

    # ---- packing
    def _converted(self, builder: Builder, operand: Operand, register: str, lanes: int) -> str:
        if operand.element == self.compute:
            return register
        source, wanted = operand.element, self.compute
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
        self, builder: Builder, register: str, lanes: int, pointer: str, at: Position
    ) -> None:
        place = builder.define(f"getelementptr {LLVM_TYPE[self.compute]}, ptr {pointer}, i64 {at}")
        builder.emit(
            f"store {builder.type(self.compute, lanes)} {register}, ptr {place}, align {self.bytes}"
        )

    def _copy(
        self,
        builder: Builder,
        operand: Operand,
        at: tuple[Position, Position],
        lanes: int,
        pointer: str,
        to: Position,
    ) -> None:
        vector = self._converted(builder, operand, operand.load(*at, lanes), lanes)
        self._store(builder, vector, lanes, pointer, to)

    def pack_rows(
        self, builder: Builder, a: Operand, row: Position, pointer: str, done: str | None = None
    ) -> None:
        """Copy `panel_rows` rows of A to scratch of `a_bytes`, unless `done` is true."""
        if a.vector_dimension != self.a_dimension:
            raise ValueError(
                f"dot: A was planned with vectors along {self.a_dimension}, "
                f"got them along {a.vector_dimension}."
            )
        integer, height = builder.integer, self.panel_rows
        if self.a_dimension == 0:

            def column(k: Position) -> None:
                to = integer("mul", k, height)
                self._copy(builder, a, (row, k), height, pointer, to)

            steps = self._steps(builder)
            if done is not None:
                steps = builder.define(f"select i1 {done}, i64 0, i64 {steps}")
            self.loop(builder, steps, 1, column)
            return

        inner = self._inner(builder)

        def strip(i: Position, k: Position) -> None:
            to = integer("add", integer("mul", i, self.a_strides[0]), k)
            self._copy(builder, a, (integer("add", row, i), k), self.strip, pointer, to)

        self.loop(
            builder,
            height,
            1,
            lambda i: self.loop(builder, inner, self.strip, lambda k: strip(i, k)),
        )

    def _steps(self, builder: Builder) -> Position:
        """Inner elements, rounded up to what the register kernel takes at once."""
        inner = self._inner(builder)
        if isinstance(inner, int):
            return self.k
        inner = builder.integer("add", inner, self.unroll - 1)
        return builder.define(f"and i64 {inner}, {-self.unroll}")

    def pack_b(self, builder: Builder, b: Operand, pointer: str) -> None:
        """Copy B to scratch of `b_bytes`."""
        if not self.quads:
            self._pack_b(builder, b, pointer)
            return
        self._pack_b(builder, as_quads(builder, b, 0, offset=False), pointer)
        sums, steps = column_sums(builder, self.lanes), self._steps(builder)

        def column(j: Position) -> None:
            start = builder.integer("mul", j, self.b_stride // self.lanes)
            place = builder.define(f"getelementptr i32, ptr {pointer}, i64 {start}")
            to = builder.define(f"getelementptr i32, ptr {place}, i64 {self.k * self.lanes}")
            builder.emit(f"call void @{sums}(ptr {place}, i64 {steps}, ptr {to})")

        self.loop(builder, self.limits[1], self.lanes, column)

    def _pack_b(self, builder: Builder, b: Operand, pointer: str) -> None:
        columns, steps = self.limits[1], self._steps(builder)
        if b.vector_dimension != self.b_dimension:
            raise ValueError(
                f"dot: B was planned with vectors along {self.b_dimension}, "
                f"got them along {b.vector_dimension}."
            )
        integer, lanes = builder.integer, self.lanes
        if self.b_dimension == 1:

            def row(k: Position) -> None:
                start = integer("mul", k, lanes)

                def vector(j: Position) -> None:
                    to = integer("add", integer("mul", j, self.b_stride // lanes), start)
                    self._copy(builder, b, (k, j), lanes, pointer, to)

                self.loop(builder, columns, lanes, vector)

            self.loop(builder, steps, 1, row)
            return
        strip = self.strip
        staging = builder.define(f"getelementptr i8, ptr {pointer}, i64 {self._packed_b_bytes}")

        def block(j: Position, k: Position) -> None:
            self.loop(
                builder,
                lanes,
                1,
                lambda i: self._copy(
                    builder,
                    b,
                    (k, integer("add", j, i)),
                    strip,
                    staging,
                    integer("mul", i, strip),
                ),
            )
            start = integer("mul", j, self.b_stride // lanes)
            start = integer("add", start, integer("mul", k, lanes))
            self._transpose(builder, staging, strip, pointer, start)

        self.loop(
            builder,
            columns,
            lanes,
            lambda j: self.loop(builder, steps, strip, lambda k: block(j, k)),
        )

    def _transpose(
        self, builder: Builder, staging: str, strip: int, pointer: str, start: Position
    ) -> None:
        """[lanes][strip] in staging to [strip][lanes] from element `start` on."""
        # 16 x 16 saves 2 % of a product, and takes 10 ms more to compile.
        size = min(8, self.lanes, strip)
        name = transpose_helper(builder, self.compute, size)
        element = LLVM_TYPE[self.compute]
        for row in range(0, self.lanes, size):
            for column in range(0, strip, size):
                source = builder.define(
                    f"getelementptr {element}, ptr {staging}, i64 {row * strip + column}"
                )
                to = builder.integer("add", start, column * self.lanes + row)
                place = builder.define(f"getelementptr {element}, ptr {pointer}, i64 {to}")
                builder.emit(
                    f"call void @{name}(ptr {source}, i64 {strip}, ptr {place}, i64 {self.lanes})"
                )

    # ---- multiplication
    def multiply(
        self,
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

        A panel of A's rows is packed to `panel` (of `a_bytes`), where it stays in the first-level
        cache while all of B passes by. Where the kernel copies the next panel (see `_may_copy`),
        two halves of the scratch take turns.
        """
        stride = self.n if c_row_stride is None else c_row_stride
        integer = builder.integer
        element, accumulator = LLVM_TYPE[self.compute], LLVM_TYPE[self.accumulator]

        if self.quads:
            a = as_quads(builder, a, 1, offset=True)
        steps = self._steps(builder)
        ahead = a.memory if self.m * self.k * self.bytes > NEAR_BYTES else None
        copies = self._copies(a)
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
            column = integer("mul", block, self.lanes)
            c_at = integer("add", integer("mul", integer("add", row, inside), stride), column)
            places = [
                builder.define(f"getelementptr {kind}, ptr {pointer}, i64 {at}")
                for kind, pointer, at in (
                    (element, panel, inside * self.a_strides[0]),
                    (element, b, integer("mul", block, self.b_stride)),
                    (accumulator, c, c_at),
                )
            ]
            arguments = ", ".join(f"ptr {place}" for place in places)
            arguments += f", i64 {stride}, i64 {steps}"
            if is_first is not None:
                arguments += f", i1 {is_first}"
            fetched = 0
            if ahead is not None:
                fetched = self._fetched(width)
                arguments += self._ahead(builder, ahead, upcoming, inside, block)
            kernel = self._kernel_helper(
                builder, width, fetched, is_first is not None, bool(copied)
            )
            builder.emit(f"call void @{kernel}({arguments}{copied})")

        def rows(row: Position) -> None:
            if copies:
                copying_rows(row)
                return
            self.pack_rows(builder, a, row, panel)
            upcoming = self._upcoming(builder, row)
            for inside in range(0, self.panel_rows, self.rows):
                for first, width, _ in self.chunks():

                    def columns(
                        j: Position, width: int = width, first: int = first, at: int = inside
                    ) -> None:
                        tile(width, row, at, integer("add", j, first), upcoming, panel)

                    self.loop(builder, ends[first], width, columns)

        def copying_rows(row: Position) -> None:
            copying = self._copying_tiles
            _, wide, _ = self.chunks()[0]
            size = self.panel_rows * self.k
            odd = builder.define(f"and i64 {row}, {self.panel_rows}")
            here, there = (
                builder.define(f"getelementptr {element}, ptr {panel}, i64 {at}")
                for at in (
                    integer("mul", odd, self.k),
                    integer("sub", size, integer("mul", odd, self.k)),
                )
            )
            done = builder.define(f"icmp sgt i64 {row}, 0")
            if not isinstance(ends[0], int):
                enough = builder.define(f"icmp sge i64 {ends[0]}, {copying * wide}")
                done = builder.define(f"and i1 {done}, {enough}")
            self.pack_rows(builder, a, row, here, done)
            following = builder.define(f"add nuw nsw i64 {row}, {self.panel_rows}")
            last = builder.define(f"icmp uge i64 {following}, {self.m}")
            following = builder.define(f"select i1 {last}, i64 {row}, i64 {following}")
            share = _scaled(builder, steps, 1, self.unroll)
            assert a.memory is not None
            for inside in range(0, self.panel_rows, self.rows):
                for turn in range(copying):
                    column = integer("mul", share, inside // self.rows * copying + turn)
                    at_to = integer("mul", column, self.panel_rows)
                    to = builder.define(f"getelementptr {element}, ptr {there}, i64 {at_to}")
                    place = a.memory.address(following, column)
                    copied = f", ptr {place}, i64 {a.memory.strides[1]}, ptr {to}"
                    once: Position = 1
                    if not isinstance(ends[0], int):
                        more = builder.define(f"icmp sgt i64 {ends[0]}, {turn * wide}")
                        once = builder.define(f"zext i1 {more} to i64")

                    def one(
                        _: Position,
                        at: int = inside,
                        block: int = turn * wide,
                        copied: str = copied,
                    ) -> None:
                        tile(wide, row, at, block, (0, 0), here, copied)

                    self.loop(builder, once, 1, one)
                for first, width, count in self.chunks():
                    begin = 0 if first else copying * wide

                    def others(
                        j: Position,
                        width: int = width,
                        at: int = inside,
                        first: int = first + begin,
                    ) -> None:
                        tile(width, row, at, integer("add", j, first), (0, 0), here)

                    if width * count > begin:
                        self.loop(builder, integer("sub", ends[first], begin), width, others)

        limits = self.limits
        ends = {
            first: self._end(builder, limits[1], first, width * count)
            for first, width, count in self.chunks()
        }
        self.loop(builder, limits[0], self.panel_rows, rows)

    def _end(self, builder: Builder, columns: Position, first: int, vectors: int) -> Position:
        """How many of `vectors`, the first of which is number `first`, have columns of B."""
        if isinstance(columns, int):
            return vectors
        filled = builder.integer("add", columns, self.lanes - 1)
        filled = builder.define(f"sdiv i64 {filled}, {self.lanes}")
        mine = builder.integer("sub", filled, first)
        return builder.intrinsic("smin", "i64", 1, str(mine), str(vectors))

    def _upcoming(self, builder: Builder, row: Position) -> Place:
        """Where the panel of A that comes next begins: (row, column).

        After the last panel that is the first one of the tile beside this one: most products are
        in a loop over K.
        """
        following = builder.integer("add", row, self.panel_rows)
        if isinstance(following, int):
            return (following, 0) if following < self.m else (0, self.k)
        more = builder.define(f"icmp ult i64 {following}, {self.m}")
        return (
            builder.define(f"select i1 {more}, i64 {following}, i64 0"),
            builder.define(f"select i1 {more}, i64 0, i64 {self.k}"),
        )

    def _fetched(self, width: int) -> int:
        """Lines of the next panel of A that a register tile asks for at each step of its loop."""
        if self.a_dimension == 0:
            return 1
        return -(-self.panel_rows * width * self.lanes // self.n)

    def _ahead(
        self,
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
        total = self.n // self.lanes
        if self.a_dimension == 1:
            share = _scaled(builder, block, self.panel_rows, total)
            row = integer("add", row, share)
            step: Position = integer("mul", memory.strides[1], self.unroll)
        else:
            parts = self.panel_rows // self.rows
            share = _scaled(builder, block, self.k // parts, total)
            share = integer("add", share, inside // self.rows * (self.k // parts))
            column = integer("add", column, share)
            step = memory.strides[1]
        place = memory.address(row, column)
        return f", ptr {place}, i64 {step}, i64 {memory.strides[0]}"

    def chunks(self) -> list[tuple[int, int, int]]:
        """Columns as (first vector, vectors per register tile, number of tiles)."""
        total = self.n // self.lanes
        tiles = -(-total // self.vectors)
        small, wide = divmod(total, tiles)
        result, first = [], 0
        for width, count in ((small + 1, wide), (small, tiles - wide)):
            if count and width:
                result.append((first, width, count))
                first += width * count
        return result

    @property
    def _suffix(self) -> str:
        layout = f"{'rc'[self.a_dimension == 0]}{self.a_strides[self.a_dimension == 0]}"
        far = f"{'b' * self._far(self.k * self.n)}{'c' * self._far(self.m * self.n)}"
        kind = "quads" if self.quads else self.compute
        return f"{kind}_{self.accumulator}_{layout}_{self.k}_{self.lanes}{far}"

    def _kernel_helper(
        self,
        builder: Builder,
        vectors: int,
        fetched: int = 0,
        may_replace: bool = False,
        copies: bool = False,
    ) -> str:
        """The register kernel: `rows` x `vectors` accumulators over the whole of K.

        `fetched` lines, a row apart, are prefetched at each step of the loop. If it `may_replace`,
        an argument says whether C is to be replaced. If it `copies`, a vector is copied at each
        step.
        """
        flags = "r" * may_replace + "m" * copies
        name = f"dot_kernel_{self._suffix}_{self.rows}x{vectors}_{fetched}{flags}"
        if name in builder.helpers:
            return name
        inner = builder.child()
        kind, element = inner.type(self.compute, self.lanes), LLVM_TYPE[self.compute]
        row_stride, column_stride = self.a_strides
        tile = [(i, v) for i in range(self.rows) for v in range(vectors)]
        align = self.bytes
        zero = "zeroinitializer" if self.lanes > 1 else ("0.0" if self.compute[0] == "f" else "0")

        if self._far(self.m * self.n):
            self._prefetch_c(inner, vectors)
        begin = dict.fromkeys(range(vectors), zero)
        if self.quads:
            for v in range(vectors):
                at_sums = v * self.b_stride + self.k * self.lanes
                place = inner.define(f"getelementptr i32, ptr %b, i64 {at_sums}")
                found = inner.define(f"load {kind}, ptr {place}, align {align}")
                begin[v] = inner.define(f"sub {kind} zeroinitializer, {found}")
        start, done = inner.label("loop"), inner.label("done")
        distance = inner.define(f"mul i64 %from_step, {AHEAD}") if copies else ""
        inner.emit(f"br label %{start}")
        inner.start(start)
        counter, a, b, ahead = (inner.register() for _ in range(4))
        source, to = inner.register(), inner.register()
        sums = {place: inner.register() for place in tile}
        phis = {
            name: inner.reserve() for name in (counter, a, b, ahead, source, to, *sums.values())
        }

        def at(pointer: str, offset: int, scalar: str = element) -> str:
            if offset == 0:
                return pointer
            return inner.define(f"getelementptr {scalar}, ptr {pointer}, i64 {offset}")

        partial = dict(sums)
        next_source = next_to = "null"
        if copies:
            moved = inner.define(f"load {kind}, ptr {source}, align {align}")
            inner.emit(f"store {kind} {moved}, ptr {to}, align {align}")
            later = inner.define(f"getelementptr i8, ptr {source}, i64 {distance}")
            _prefetch(inner, later, write=False)
            next_source = inner.define(f"getelementptr i8, ptr {source}, i64 %from_step")
            next_to = inner.define(f"getelementptr {kind}, ptr {to}, i64 1")
        place = ahead
        for line in range(fetched):
            if line:
                place = inner.define(f"getelementptr i8, ptr {place}, i64 %ahead_row")
            _prefetch(inner, place, write=False)
        for u in range(self.unroll):
            right = []
            for v in range(vectors):
                place = at(b, v * self.b_stride + u * self.lanes)
                right.append(inner.define(f"load {kind}, ptr {place}, align {align}"))
                if self._far(self.k * self.n):
                    later = at(b, v * self.b_stride + (u + AHEAD) * self.lanes)
                    _prefetch(inner, later, write=False)
            for i in range(self.rows):
                place = at(a, i * row_stride + u * column_stride)
                scalar = inner.define(f"load {element}, ptr {place}, align {align}")
                left = inner.splat(scalar, self.compute, self.lanes)
                for v in range(vectors):
                    partial[i, v] = self._multiply_add(inner, left, right[v], partial[i, v])
        next_a = at(a, self.unroll * column_stride)
        next_b = at(b, self.unroll * self.lanes)
        next_ahead = "null"
        if fetched:
            next_ahead = inner.define(f"getelementptr i8, ptr {ahead}, i64 %ahead_step")
        following = inner.define(f"add nuw nsw i64 {counter}, {self.unroll}")
        again = inner.define(f"icmp ult i64 {following}, %steps")
        inner.emit(f"br i1 {again}, label %{start}, label %{done}")
        loop = [
            (counter, "i64", "0", following),
            (a, "ptr", "%a", next_a),
            (b, "ptr", "%b", next_b),
            (ahead, "ptr", "%ahead" if fetched else "null", next_ahead),
            (source, "ptr", "%from" if copies else "null", next_source),
            (to, "ptr", "%to" if copies else "null", next_to),
            *((sums[place], kind, begin[place[1]], partial[place]) for place in tile),
        ]
        for register, what, initial, updated in loop:
            inner.lines[phis[register]] = (
                f"  {register} = phi {what} [ {initial}, %entry ], [ {updated}, %{start} ]"
            )
        inner.start(done)
        if may_replace:
            replace, add = inner.label("replace"), inner.label("add")
            inner.emit(f"br i1 %is_first, label %{replace}, label %{add}")
            inner.start(replace)
            self._put(inner, vectors, partial, add=False)
            inner.emit("ret void")
            inner.start(add)
        self._put(inner, vectors, partial, add=True)
        inner.emit("ret void")
        parameters = [*KERNEL_PARAMETERS, *([("i1", "%is_first")] if may_replace else [])]
        parameters = [*parameters, *(AHEAD_PARAMETERS if fetched else [])]
        parameters = [*parameters, *(COPY_PARAMETERS if copies else [])]
        builder.helpers[name] = inner.function(name, "void", parameters)
        return name

    def _far(self, elements: int) -> bool:
        """Whether so many elements leave the first-level cache."""
        return elements * self.bytes > NEAR_BYTES

    def _prefetch_c(self, builder: Builder, vectors: int) -> None:
        element, row = LLVM_TYPE[self.accumulator], "%c"
        for i in range(self.rows):
            if i:
                row = builder.define(f"getelementptr {element}, ptr {row}, i64 %stride")
            for v in range(vectors):
                place = builder.define(f"getelementptr {element}, ptr {row}, i64 {v * self.lanes}")
                _prefetch(builder, place, write=True)

    def _multiply_add(self, builder: Builder, a: str, b: str, c: str) -> str:
        kind = builder.type(self.compute, self.lanes)
        if self.quads:
            return multiply_add(builder, a, b, c, self.lanes)
        if self.compute[0] == "i":
            product = builder.define(f"mul {kind} {a}, {b}")
            return builder.define(f"add {kind} {c}, {product}")
        if self.target.fma:
            return builder.intrinsic("fma", self.compute, self.lanes, a, b, c)
        product = builder.define(f"fmul {kind} {a}, {b}")
        return builder.define(f"fadd {kind} {c}, {product}")

    def _put(
        self, builder: Builder, vectors: int, partial: dict[tuple[int, int], str], add: bool
    ) -> None:
        """Add the register tile to C, or replace C by it."""
        element, align = LLVM_TYPE[self.accumulator], BITS[self.accumulator] // 8
        kind = builder.type(self.accumulator, self.lanes)
        opcode = "fadd" if self.accumulator[0] == "f" else "add"
        row: str = "%c"
        for i in range(self.rows):
            if i:
                row = builder.define(f"getelementptr {element}, ptr {row}, i64 %stride")
            for v in range(vectors):
                place = builder.define(f"getelementptr {element}, ptr {row}, i64 {v * self.lanes}")
                value = partial[i, v]
                if self.compute != self.accumulator:
                    value = builder.define(
                        f"fptosi {builder.type(self.compute, self.lanes)} {value} to {kind}"
                    )
                if add:
                    old = builder.define(f"load {kind}, ptr {place}, align {align}")
                    value = builder.define(f"{opcode} {kind} {old}, {value}")
                builder.emit(f"store {kind} {value}, ptr {place}, align {align}")


def _scaled(builder: Builder, position: Position, numerator: int, denominator: int) -> Position:
    """position * numerator / denominator, rounded down; both are powers of two."""
    if isinstance(position, int):
        return position * numerator // denominator
    if numerator >= denominator:
        return builder.integer("mul", position, numerator // denominator)
    return builder.define(f"lshr i64 {position}, {(denominator // numerator).bit_length() - 1}")


def _prefetch(builder: Builder, place: str, write: bool) -> None:
    builder.declarations.add("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
    builder.emit(f"call void @llvm.prefetch.p0(ptr {place}, i32 {int(write)}, i32 3, i32 1)")


#: The register kernel asks for B so many steps of K ahead.
AHEAD = 8
#: What is smaller than this stays in the first-level cache by itself.
NEAR_BYTES = 16384

#: (BLOCK_M, BLOCK_N, BLOCK_K) of a float32 product, best first, with the speed relative to MKL.
#: Measured with 1024^3 on one core with 1 MB of L2, MKL restricted to the same instructions.
#: Packing from L3 is what is lost (tiles of 256 x 256 pack every element of A and B four times;
#: the register kernel alone runs at 1.17 of MKL's whole product): larger tiles win until C
#: leaves L2.
TILE_SIZES = {
    "avx512": {
        (512, 512, 128): 0.85,
        (512, 256, 128): 0.84,
        (256, 512, 128): 0.83,
        (256, 256, 128): 0.80,
        (256, 256, 256): 0.79,
        (128, 256, 128): 0.76,
        (128, 128, 128): 0.71,
    },
    "avx2": {
        (256, 256, 256): 0.82,
        (256, 256, 128): 0.81,
        (128, 256, 256): 0.79,
        (128, 128, 128): 0.77,
    },
}

KERNEL_PARAMETERS = [
    ("ptr noalias readonly", "%a"),
    ("ptr noalias readonly", "%b"),
    ("ptr noalias", "%c"),
    ("i64", "%stride"),
    ("i64", "%steps"),
]
COPY_PARAMETERS = [("ptr noalias readonly", "%from"), ("i64", "%from_step"), ("ptr noalias", "%to")]
AHEAD_PARAMETERS = [("ptr", "%ahead"), ("i64", "%ahead_step"), ("i64", "%ahead_row")]

#: (avx512f, fma) -> rows of the register tile -> vectors in its rows. 32 registers with AVX-512,
#: else 16. Few rows get more vectors: it takes 8 independent sums to cover the latency of a fused
#: multiply-add.
TILES = {
    (True, True): {8: 3, 4: 6, 2: 8, 1: 8},
    (False, True): {4: 3, 2: 4, 1: 6},
    (False, False): {4: 2, 2: 4, 1: 6},
}


def compute_element(a: str, b: str, accumulator: str, k: int) -> str:
    """The element in which products are formed.

    Products of int8 summed over K <= 1024 are exact in float32, whose multiply-add is several times
    as fast as int32's.
    """
    if accumulator == "f64":
        return "f64"
    if accumulator[0] == "f":
        return "f32"
    return "f32" if a == b == "i8" and k <= 1024 else accumulator


def emit_dot(
    builder: Builder,
    target: ProductTarget,
    sizes: tuple[int, int, int],
    a: Operand,
    b: Operand,
    accumulator: str,
    c: str,
    scratch: tuple[str, str],
    c_row_stride: Position | None = None,
    loop: EmitLoop = counted_loop,
) -> None:
    """C[M, N] += A[M, K] B[K, N].

    Args:
        sizes: M, N, K, powers of two.
        accumulator: element of C, "f32", "f64" or "i32"; C is row-major in memory at `c`.
        scratch: addresses of `a_bytes` and `b_bytes` of the same product's `plan_dot`.
        c_row_stride: in elements, a number or an i64 register; N by default.
    """
    product = plan_dot(target, sizes, a, b, accumulator, loop)
    product.pack_b(builder, b, scratch[1])
    product.multiply(builder, a, *scratch, c, c_row_stride)


def plan_dot(
    target: ProductTarget,
    sizes: tuple[int, int, int],
    a: Operand,
    b: Operand,
    accumulator: str,
    loop: EmitLoop = counted_loop,
    extent: Extent | None = None,
) -> Product:
    """The product that `emit_dot` emits: its scratch sizes, and its parts."""
    m, n, k = sizes
    compute = compute_element(a.element, b.element, accumulator, k)
    quads = (
        a.element == b.element == "i8" and accumulator == "i32" and target.vnni
        and n >= SIZE and k >= SIZE
    )  # fmt: skip
    if quads:
        compute, k = "i32", k // SIZE
    plan = Product(target, m, n, k, accumulator, a.vector_dimension, b.vector_dimension, compute)
    return replace(plan, loop=loop, extent=extent, quads=quads)
