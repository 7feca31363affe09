"""Matrix products of tiles, C[M, N] += A[M, K] B[K, N]: shapes, and where operands are packed.

`packing` copies the operands, converted to the element of computation, to scratch; `panels` or
`column_panels` walk them with the register kernel of `microkernel`.

Packed layouts (V = lanes of a hardware vector, less for narrower tiles):

- B in columns of one vector: `[N / V][K + padding][V]`.
- A with consecutive columns: rows, `[M][K + padding]`; A with consecutive rows:
  `[M / rows][K][rows]`, the rows those of a register tile, so that it reads whole cache lines.
  The kernel broadcasts single elements of A, so neither needs a transpose.
- B with consecutive rows (the transposed weight of a linear layer) passes through 8 x 8 register
  transposes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from tritorch.triton_cpu.codegen.builder import BITS, Builder
from tritorch.triton_cpu.codegen.operand import EmitLoop, Operand, Position, counted_loop
from tritorch.triton_cpu.codegen.pairs import by_pairs
from tritorch.triton_cpu.codegen.words import elements_in_word

#: rows, columns, inner elements
Extent = tuple[Position, Position, Position]

#: What is smaller than this stays in the first-level cache by itself.
NEAR_BYTES = 16384
#: A panel of B of up to so many bytes stays there beside one of A that is as long,
PANEL_BYTES = 16384
#: and packed A of up to so many in the second-level cache.
PACKED_BYTES = 131072

#: (avx512f, fma) -> rows of the register tile -> vectors in its rows. 32 registers with AVX-512,
#: else 16. Few rows get more vectors: it takes 8 independent sums to cover the latency of a fused
#: multiply-add.
TILES = {
    (True, True): {8: 3, 4: 6, 2: 8, 1: 8},
    (False, True): {4: 3, 2: 4, 1: 6},
    (False, False): {4: 2, 2: 4, 1: 6},
}


class ProductTarget(Protocol):
    """What a product asks of a CPU: see `tritorch.triton_cpu.target.CPUTarget`."""

    @property
    def avx512f(self) -> bool: ...
    @property
    def fma(self) -> bool: ...
    @property
    def vnni(self) -> bool: ...
    @property
    def avx512bf16(self) -> bool: ...
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
        in_word: so many elements along K are one 32-bit word, which k counts: four bytes (`quads`),
            two bfloat16 (`pairs`).
        columns_first: a panel of B's columns is packed at a time, past which all of A goes, instead
            of the other way round.
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
    in_word: int = 1
    columns_first: bool = False

    @property
    def quads(self) -> bool:
        return self.in_word == elements_in_word("i8")

    @property
    def pairs(self) -> bool:
        return self.in_word == elements_in_word("bf16")

    @property
    def sum_element(self) -> str:
        """Element of the sums that the register kernel forms."""
        return self.accumulator if self.in_word > 1 else self.compute

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
        return self.extent or (self.m, self.n, self.k * self.in_word)

    @property
    def strip(self) -> int:
        """Elements that packing loads at once along K."""
        return min(self.k, 4 * self.target.vector_bytes // self.bytes)

    # ---- layout of packed tiles
    @cached_property
    def panel_rows(self) -> int:
        """Rows of A that are packed at a time: two vectors of them where they are consecutive."""
        if self.a_dimension == 1:
            return self.rows
        # Two cache lines: of the second, which the CPU fetches with the first, nothing is lost.
        return max(self.rows, min(2 * self.target.vector_bytes // self.bytes, self.m))

    @cached_property
    def a_strides(self) -> tuple[int, int]:
        """Elements between neighbouring rows, and columns, of a register tile's part of A."""
        if self.a_dimension == 0:
            return 1, self.rows
        # Off the powers of two: rows 4 KiB apart would share one set of the L1 cache.
        padding = self.target.vector_bytes // self.bytes if self.k * self.bytes > 256 else 0
        return self.k + padding, 1

    @property
    def row_elements(self) -> int:
        """Elements of packed A from the first row of one register tile to the next, per row."""
        return self.a_strides[0] if self.a_dimension == 1 else self.k

    def part(self, inside: int) -> int:
        """Where the register tile's part of a panel of A begins that starts at row `inside`."""
        return inside * self.row_elements

    @property
    def has_short_columns(self) -> bool:
        """Whether the columns had better come first.

        With few inner elements a panel of B for the register kernel stays in the first-level cache
        together with one of A. All of B would not: it would take half of the misses that the cache
        can have under way, which C needs.
        """
        return (
            self.in_word == 1
            and self.is_far(self.k * self.n)
            and self.k * self.vectors * self.lanes * self.bytes <= PANEL_BYTES
            and self.m * self.k * self.bytes <= PACKED_BYTES
            and self.m // self.rows >= self.unroll
        )

    @property
    def a_bytes(self) -> int:
        """Scratch for a packed panel of A; where the next one is copied meanwhile, for two."""
        rows = self.m if self.columns_first else self.panel_rows * (1 + self.may_copy)
        return rows * self.row_elements * self.bytes

    @property
    def may_copy(self) -> bool:
        """Whether the register kernel could copy the next panel of A.

        One row of A transposed is one vector of a panel. Asking for it in advance would not do: a
        power of two apart, all of them go to a few sets of the caches.
        """
        return (
            self.a_dimension == 0
            and self.in_word == 1
            and not self.columns_first
            and self.panel_rows * self.bytes >= self.target.vector_bytes
            and self.m > self.panel_rows
            and self.is_far(self.m * self.k)
            and self.steps_for_copy >= self.unroll
        )

    @cached_property
    def copying_tiles(self) -> int:
        """Register tiles beside each other that copy: as many as there are, lest a few of them ask
        the memory for all of the panel at once.
        """
        tiles = min(self.chunks()[0][2], self.k * self.rows // self.panel_rows)
        return 1 << (tiles.bit_length() - 1) if tiles else 0

    @property
    def steps_for_copy(self) -> int:
        """Inner elements that a copying tile adds for each vector that it copies."""
        return self.copying_tiles * self.panel_rows // self.rows

    def copies(self, a: Operand) -> bool:
        memory = a.memory
        return (
            self.may_copy
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
        return self.packed_b_bytes + self._staging_bytes

    @property
    def packed_b_bytes(self) -> int:
        columns = self.n // self.lanes
        if self.columns_first:
            columns = min(columns, self.vectors)
        return columns * self.b_stride * self.bytes

    @property
    def _staging_bytes(self) -> int:
        return self.lanes * self.strip * self.bytes if self.b_dimension == 0 else 0

    # ---- the walk
    def inner(self, builder: Builder) -> Position:
        """Inner elements that count."""
        inner = self.limits[2]
        if self.in_word == 1:
            return inner
        if isinstance(inner, int):
            return -(-inner // self.in_word)
        inner = builder.integer("add", inner, self.in_word - 1)
        return builder.define(f"lshr i64 {inner}, {self.in_word.bit_length() - 1}")

    def steps(self, builder: Builder) -> Position:
        """Inner elements, rounded up to what the register kernel takes at once."""
        inner = self.inner(builder)
        if isinstance(inner, int):
            return self.k
        inner = builder.integer("add", inner, self.unroll - 1)
        return builder.define(f"and i64 {inner}, {-self.unroll}")

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

    def columns(self, builder: Builder) -> Position:
        """Columns of B that count, rounded up to whole register tiles, which read all of theirs."""
        columns = self.limits[1]
        if isinstance(columns, int):
            return self.n
        rounded, limit = "", 0
        for first, width, _ in reversed(self.chunks()):
            begin, block = first * self.lanes, width * self.lanes
            above = builder.integer("add", columns, block - 1 - begin)
            whole = builder.define(f"sdiv i64 {above}, {block}")
            end = builder.integer("add", builder.integer("mul", whole, block), begin)
            if rounded:
                inside = builder.define(f"icmp sle i64 {columns}, {limit}")
                end = builder.define(f"select i1 {inside}, i64 {end}, i64 {rounded}")
            rounded, limit = str(end), begin
        return rounded

    def is_far(self, elements: int) -> bool:
        """Whether so many elements leave the first-level cache."""
        return elements * self.bytes > NEAR_BYTES


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


def plan_dot(
    target: ProductTarget,
    sizes: tuple[int, int, int],
    a: Operand,
    b: Operand,
    accumulator: str,
    loop: EmitLoop = counted_loop,
    extent: Extent | None = None,
) -> Product:
    """The product of these operands."""
    m, n, k = sizes
    compute = compute_element(a.element, b.element, accumulator, k)
    in_word = 1
    if a.element == b.element == "i8" and accumulator == "i32" and target.vnni:
        in_word = elements_in_word("i8") if min(n, k) >= 4 else 1
    elif by_pairs(target.avx512bf16, (a.element, b.element), accumulator, n, k):
        in_word = elements_in_word("bf16")
    if in_word > 1:
        compute, k = "i32", k // in_word
    plan = Product(target, m, n, k, accumulator, a.vector_dimension, b.vector_dimension, compute)
    plan = replace(plan, loop=loop, extent=extent, in_word=in_word)
    return replace(plan, columns_first=plan.has_short_columns)
