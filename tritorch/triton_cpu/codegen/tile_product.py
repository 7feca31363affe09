"""Products of bfloat16 and of int8 by tile instructions (`amx`): C[M, N] += A[M, K] B[K, N].

The parts and the interface are those of `microkernel.Product`: B is packed once, then for each
panel of A's rows, packed too, all of B passes by.

Blocking. The kernel holds 2 x 2 tiles of C in registers (32 x 32 elements), two tiles of A and two
of B. A step along K (32 bfloat16 or 64 int8) is 4 loads and 4 products. Intel gives 16 cycles for a
product and 8 for a load from the first-level cache, so a step takes max(4 * 16, 4 * 8) = 64 cycles:
the products decide, 16 * 16 * 32 * 2 * 4 flop in 64 cycles = 1024 flop a cycle for bfloat16, 2048
operations for int8. With 1 x 1 the loads would take as long as the product, and its latency of 52
cycles would show; four independent sums (64 cycles a round) cover it. Where M has only one tile the
kernel is 1 x 4.

What a panel needs: 32 rows of A with K = 256 bfloat16 are 18 KiB and stay in the first-level cache
(48 KiB on these CPUs) while B streams by from the second level: 16 KiB for 32 columns in 8 * 64
cycles, 32 bytes a cycle, and C comes and goes with 16 bytes a cycle. That is near what the second
level delivers (48 bytes a cycle, sustained), so between 0.7 and 0.9 of the peak is predicted for
the kernel where K is 256, less for shorter K, since C is then moved more often. Packing A costs
about 3 cycles per line: 32 K / 32 lines, against N K / 16 cycles of products; a fifth with N = 256.
These are predictions: nothing here has been timed on a machine with AMX.

Layouts, in words of 32 bits (`words`): A in rows, `[32][K + padding]`, the padding an odd line, so
that 16 rows are in different sets of the cache. B in columns of one tile, `[N / 16][K + 1][16]`: 16
consecutive words along K are a tile.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from tritorch.triton_cpu.codegen import amx
from tritorch.triton_cpu.codegen.builder import Builder
from tritorch.triton_cpu.codegen.operand import EmitLoop, Operand, Position, counted_loop
from tritorch.triton_cpu.codegen.product import Extent, Product
from tritorch.triton_cpu.codegen.words import elements_in_word
from tritorch.triton_cpu.target import CPUTarget

#: element of A and B -> element of C
ACCUMULATORS = {"bf16": "f32", "i8": "i32"}


def fits(target: CPUTarget, a: str, b: str, accumulator: str, sizes: tuple[int, int, int]) -> bool:
    """Whether the target has the instruction for these elements, and M, N, K fill its tiles."""
    feature = amx.FEATURES.get(a)
    if a != b or feature is None or accumulator != ACCUMULATORS[a]:
        return False
    m, n, k = sizes
    inner = amx.WORDS * elements_in_word(a)
    has_tiles = target.has(feature) and target.vector_bytes == amx.ROW_BYTES
    return has_tiles and m >= amx.ROWS and n >= amx.WORDS and k >= inner


@dataclass(frozen=True)
class TileProduct:
    """C[M, N] += A[M, K] B[K, N] of one block; see `Product`, whose parameters these are.

    Args:
        element: of A and B, `bf16` or `i8`; operands must come as they are, not converted.
    """

    target: CPUTarget
    m: int
    n: int
    k: int
    element: str
    a_dimension: int = 1
    b_dimension: int = 1
    loop: EmitLoop = counted_loop
    extent: Extent | None = None

    # ---- shapes
    @property
    def size(self) -> int:
        """Elements in a word."""
        return elements_in_word(self.element)

    @property
    def tiles_down(self) -> int:
        return min(2, self.m // amx.ROWS)

    @property
    def tiles_across(self) -> int:
        return min(4 // self.tiles_down, self.n // amx.WORDS)

    @property
    def height(self) -> int:
        """Rows of a panel."""
        return self.tiles_down * amx.ROWS

    @property
    def width(self) -> int:
        """Columns of a block of C."""
        return self.tiles_across * amx.WORDS

    @cached_property
    def words(self) -> Product:
        """The same product on words: it packs B."""
        inner = self.k // self.size
        whole = Product(self.target, self.m, self.n, inner, "i32", compute="i32")
        return replace(whole, b_dimension=self.b_dimension, loop=self.loop)

    @property
    def row_words(self) -> int:
        """Words between neighbouring rows of a packed panel of A."""
        return self.k // self.size + amx.WORDS

    @property
    def panel_bytes(self) -> int:
        return 4 * self.height * self.row_words

    @property
    def a_bytes(self) -> int:
        """Scratch for a panel of A, with room for a transpose."""
        return self.panel_bytes + (amx.ROWS * amx.ROW_BYTES if self.a_dimension == 0 else 0)

    @property
    def b_bytes(self) -> int:
        return self.words.b_bytes

    def limits(self, builder: Builder) -> Extent:
        """Rows, columns, and words along K that count, rounded up to what is multiplied at once.

        What is packed beyond the extent is zeros, as a masked load gives them.
        """
        extent = self.extent or (self.m, self.n, self.k)

        def rounded(limit: Position, size: int, block: int) -> Position:
            if isinstance(limit, int):
                return size
            up = builder.integer("add", limit, block - 1)
            return builder.define(f"and i64 {up}, {-block}")

        rows = rounded(extent[0], self.m, self.height)
        columns = rounded(extent[1], self.n, self.width)
        inner = rounded(extent[2], self.k, amx.WORDS * self.size)
        if not isinstance(inner, int):
            return rows, columns, builder.define(f"udiv exact i64 {inner}, {self.size}")
        return rows, columns, inner // self.size


def plan_tiles(
    target: CPUTarget,
    sizes: tuple[int, int, int],
    a: Operand,
    b: Operand,
    loop: EmitLoop = counted_loop,
    extent: Extent | None = None,
) -> TileProduct:
    """The product of two operands that `fits`."""
    dimensions = a.vector_dimension, b.vector_dimension
    return TileProduct(target, *sizes, a.element, *dimensions, loop, extent)
