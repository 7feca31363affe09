"""Matrix products of tiles: C[M, N] += A[M, K] B[K, N], for `tl.dot`.

Three parts, joined by `emit_dot`, also to be called one by one (to pack an invariant operand
once):

- `Product.pack_a`, `Product.pack_b` copy the operands, converted to the element of computation, to
  scratch. The source is an `Operand`: a callback that emits the vector at (row, column), so a
  masked, converted or computed tile is packed straight from where it comes.
- `Product.multiply` walks the packed tiles with a register-tiled kernel, an internal function in
  `builder.helpers`: `rows` x `vectors` accumulators, K unrolled by 4.

Packed layouts (V = lanes of a hardware vector, less for narrower tiles):

- B in columns of one vector: `[N / V][K][V]`.
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
from tritorch.triton_cpu.codegen.operand import EmitLoop, Operand, Position, counted_loop
from tritorch.triton_cpu.codegen.transpose import transpose_helper


class ProductTarget(Protocol):
    """What a product asks of a CPU: see `tritorch.triton_cpu.target.CPUTarget`."""

    @property
    def avx512f(self) -> bool: ...
    @property
    def fma(self) -> bool: ...
    @property
    def vector_bytes(self) -> int: ...


@dataclass(frozen=True)
class Product:
    """C[M, N] += A[M, K] B[K, N] of one tile; sizes are powers of two, C's element `accumulator`.

    Args:
        a_dimension, b_dimension: the operands' `vector_dimension`.
        compute: element of the packed operands; None chooses it from the accumulator.
        loop: emits the packing loops (a code generator may have to know of them).
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
    def strip(self) -> int:
        """Elements that packing loads at once along K."""
        return min(self.k, 4 * self.target.vector_bytes // self.bytes)

    # ---- layout of packed tiles
    @cached_property
    def a_lanes(self) -> int:
        """Rows that lie side by side in packed A, when its rows are consecutive."""
        return max(self.rows, min(self.target.vector_bytes // self.bytes, self.m))

    @cached_property
    def a_strides(self) -> tuple[int, int]:
        """Elements between neighbouring rows, and columns, of one register tile of packed A."""
        if self.a_dimension == 0:
            return 1, self.a_lanes
        # Off the powers of two: rows 4 KiB apart would share one set of the L1 cache.
        padding = self.target.vector_bytes // self.bytes if self.k >= 64 else 0
        return self.k + padding, 1

    @property
    def a_bytes(self) -> int:
        """Scratch for packed A."""
        columns = self.a_strides[0] if self.a_dimension == 1 else self.k
        return self.m * columns * self.bytes

    @property
    def b_bytes(self) -> int:
        """Scratch for packed B, with room for the transposes."""
        return self.n * self.k * self.bytes + self._staging_bytes

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

    def pack_a(self, builder: Builder, a: Operand, pointer: str) -> None:
        """Copy A to scratch of `a_bytes`."""
        if a.vector_dimension != self.a_dimension:
            raise ValueError(
                f"dot: A was planned with vectors along {self.a_dimension}, "
                f"got them along {a.vector_dimension}."
            )
        integer = builder.integer
        if self.a_dimension == 1:
            stride = self.a_strides[0]

            def row(i: Position) -> None:
                start = integer("mul", i, stride)
                self.loop(
                    builder,
                    self.k,
                    self.strip,
                    lambda k: self._copy(
                        builder, a, (i, k), self.strip, pointer, integer("add", start, k)
                    ),
                )

            self.loop(builder, self.m, 1, row)
            return
        lanes = self.a_lanes

        def column(k: Position) -> None:
            start = integer("mul", k, lanes)
            self.loop(
                builder,
                self.m,
                lanes,
                lambda i: self._copy(
                    builder,
                    a,
                    (i, k),
                    lanes,
                    pointer,
                    integer("add", integer("mul", i, self.k), start),
                ),
            )

        self.loop(builder, self.k, 1, column)

    def pack_b(self, builder: Builder, b: Operand, pointer: str) -> None:
        """Copy B to scratch of `b_bytes`."""
        if b.vector_dimension != self.b_dimension:
            raise ValueError(
                f"dot: B was planned with vectors along {self.b_dimension}, "
                f"got them along {b.vector_dimension}."
            )
        integer, lanes = builder.integer, self.lanes
        if self.b_dimension == 1:

            def row(k: Position) -> None:
                start = integer("mul", k, lanes)
                self.loop(
                    builder,
                    self.n,
                    lanes,
                    lambda j: self._copy(
                        builder,
                        b,
                        (k, j),
                        lanes,
                        pointer,
                        integer("add", integer("mul", j, self.k), start),
                    ),
                )

            self.loop(builder, self.k, 1, row)
            return
        strip = self.strip
        staging = builder.define(
            f"getelementptr i8, ptr {pointer}, i64 {self.n * self.k * self.bytes}"
        )

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
            start = integer("add", integer("mul", j, self.k), integer("mul", k, lanes))
            self._transpose(builder, staging, strip, pointer, start)

        self.loop(
            builder,
            self.n,
            lanes,
            lambda j: self.loop(builder, self.k, strip, lambda k: block(j, k)),
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
        a: str,
        b: str,
        c: str,
        c_row_stride: Position | None = None,
    ) -> None:
        """C += A B for packed A and B; C is row-major, its row stride in elements (default N)."""
        stride = self.n if c_row_stride is None else c_row_stride
        integer = builder.integer
        element, accumulator = LLVM_TYPE[self.compute], LLVM_TYPE[self.accumulator]

        def tile(kernel: str, i: Position, block: Position, width: int) -> None:
            column = integer("mul", block, self.lanes)
            a_at = self._a_offset(builder, i)
            b_at = integer("mul", column, self.k)
            c_at = integer("add", integer("mul", i, stride), column)
            places = [
                builder.define(f"getelementptr {kind}, ptr {pointer}, i64 {at}")
                for kind, pointer, at in (
                    (element, a, a_at),
                    (element, b, b_at),
                    (accumulator, c, c_at),
                )
            ]
            arguments = ", ".join(f"ptr {place}" for place in places)
            builder.emit(f"call void @{kernel}({arguments}, i64 {stride})")

        for first, width, count in self.chunks():
            kernel = self._kernel_helper(builder, width)

            def columns(
                j: Position, kernel: str = kernel, first: int = first, width: int = width
            ) -> None:
                block = integer("add", j, first)
                self.loop(builder, self.m, self.rows, lambda i: tile(kernel, i, block, width))

            self.loop(builder, count * width, width, columns)

    def _a_offset(self, builder: Builder, i: Position) -> Position:
        """Where the register tile of rows from i on begins in packed A."""
        if self.a_dimension == 1:
            return builder.integer("mul", i, self.a_strides[0])
        if self.a_lanes == self.rows:
            return builder.integer("mul", i, self.k)
        if isinstance(i, int):
            inside: Position = i % self.a_lanes
        else:
            inside = builder.define(f"and i64 {i}, {self.a_lanes - 1}")
        block = builder.integer("sub", i, inside)
        return builder.integer("add", builder.integer("mul", block, self.k), inside)

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
        return f"{self.compute}_{self.accumulator}_{layout}_{self.k}_{self.lanes}"

    def _kernel_helper(self, builder: Builder, vectors: int) -> str:
        """The register kernel: `rows` x `vectors` accumulators over the whole of K."""
        name = f"dot_kernel_{self._suffix}_{self.rows}x{vectors}"
        if name in builder.helpers:
            return name
        inner = builder.child()
        kind, element = inner.type(self.compute, self.lanes), LLVM_TYPE[self.compute]
        row_stride, column_stride = self.a_strides
        tile = [(i, v) for i in range(self.rows) for v in range(vectors)]
        align = self.bytes
        zero = "zeroinitializer" if self.lanes > 1 else ("0.0" if self.compute[0] == "f" else "0")

        start, done = inner.label("loop"), inner.label("done")
        inner.emit(f"br label %{start}")
        inner.start(start)
        counter, a, b = inner.register(), inner.register(), inner.register()
        sums = {place: inner.register() for place in tile}
        phis = {name: inner.reserve() for name in (counter, a, b, *sums.values())}

        def at(pointer: str, offset: int, scalar: str = element) -> str:
            if offset == 0:
                return pointer
            return inner.define(f"getelementptr {scalar}, ptr {pointer}, i64 {offset}")

        partial = dict(sums)
        for u in range(self.unroll):
            right = []
            for v in range(vectors):
                place = at(b, (v * self.k + u) * self.lanes)
                right.append(inner.define(f"load {kind}, ptr {place}, align {align}"))
            for i in range(self.rows):
                place = at(a, i * row_stride + u * column_stride)
                scalar = inner.define(f"load {element}, ptr {place}, align {align}")
                left = inner.splat(scalar, self.compute, self.lanes)
                for v in range(vectors):
                    partial[i, v] = self._multiply_add(inner, left, right[v], partial[i, v])
        next_a = at(a, self.unroll * column_stride)
        next_b = at(b, self.unroll * self.lanes)
        following = inner.define(f"add nuw nsw i64 {counter}, {self.unroll}")
        again = inner.define(f"icmp ult i64 {following}, {self.k}")
        inner.emit(f"br i1 {again}, label %{start}, label %{done}")
        loop = [
            (counter, "i64", "0", following),
            (a, "ptr", "%a", next_a),
            (b, "ptr", "%b", next_b),
            *((sums[place], kind, zero, partial[place]) for place in tile),
        ]
        for register, what, initial, updated in loop:
            inner.lines[phis[register]] = (
                f"  {register} = phi {what} [ {initial}, %entry ], [ {updated}, %{start} ]"
            )
        inner.start(done)
        self._accumulate(inner, vectors, partial)
        inner.emit("ret void")
        builder.helpers[name] = inner.function(name, "void", KERNEL_PARAMETERS)
        return name

    def _multiply_add(self, builder: Builder, a: str, b: str, c: str) -> str:
        kind = builder.type(self.compute, self.lanes)
        if self.compute[0] == "i":
            product = builder.define(f"mul {kind} {a}, {b}")
            return builder.define(f"add {kind} {c}, {product}")
        if self.target.fma:
            return builder.intrinsic("fma", self.compute, self.lanes, a, b, c)
        product = builder.define(f"fmul {kind} {a}, {b}")
        return builder.define(f"fadd {kind} {c}, {product}")

    def _accumulate(
        self, builder: Builder, vectors: int, partial: dict[tuple[int, int], str]
    ) -> None:
        """Add the register tile to C."""
        element, align = LLVM_TYPE[self.accumulator], BITS[self.accumulator] // 8
        kind = builder.type(self.accumulator, self.lanes)
        add = "fadd" if self.accumulator[0] == "f" else "add"
        row: str = "%c"
        for i in range(self.rows):
            if i:
                row = builder.define(f"getelementptr {element}, ptr {row}, i64 %stride")
            for v in range(vectors):
                place = builder.define(f"getelementptr {element}, ptr {row}, i64 {v * self.lanes}")
                old = builder.define(f"load {kind}, ptr {place}, align {align}")
                value = partial[i, v]
                if self.compute != self.accumulator:
                    value = builder.define(
                        f"fptosi {builder.type(self.compute, self.lanes)} {value} to {kind}"
                    )
                total = builder.define(f"{add} {kind} {old}, {value}")
                builder.emit(f"store {kind} {total}, ptr {place}, align {align}")


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
]

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
    product.pack_a(builder, a, scratch[0])
    product.pack_b(builder, b, scratch[1])
    product.multiply(builder, *scratch, c, c_row_stride)


def plan_dot(
    target: ProductTarget,
    sizes: tuple[int, int, int],
    a: Operand,
    b: Operand,
    accumulator: str,
    loop: EmitLoop = counted_loop,
) -> Product:
    """The product that `emit_dot` emits: its scratch sizes, and its parts."""
    m, n, k = sizes
    compute = compute_element(a.element, b.element, accumulator, k)
    plan = Product(target, m, n, k, accumulator, a.vector_dimension, b.vector_dimension, compute)
    return replace(plan, loop=loop)
