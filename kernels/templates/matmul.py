"""Matrix products of strided, batched operands: C = alpha * (A @ B) + beta * bias, then an
epilogue.

    C[m, n] = epilogue(sum_k A[m, k] * B[k, n] + bias[m, n])

2 * M * N * K operations; a tile program reads (BLOCK_M + BLOCK_N) * K elements. float16 and
bfloat16 are multiplied exactly and summed in float32; float64 in float64; integers wrap in at least
32 bits and are cut to the output's width, as PyTorch's.

Four kernels: `matmul_tile` (tl.dot; on CPUs also of int8), `matmul_integer` (rank-1 updates: tl.dot
takes no wide integers), and for a single column `matrix_vector_rows` / `matrix_vector_columns`,
which stream the matrix along its contiguous dimension. A single row is a single column of the
transposed product.

Source: Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008 (blocks); the
    group order of programs is Triton's matrix multiplication tutorial's.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from tritorch import dtypes
from tritorch.config import config
from tritorch.dtypes import dtype as Dtype
from tritorch.errors import DtypeError, ShapeError
from tritorch.kernels.plan import Launch, Plan, nothing
from tritorch.kernels.templates.rows import (
    Rows,
    ceil_divide,
    levels,
    next_power_of_2,
    row_offset,
    to_compute,
)
from tritorch.kernels.templates.template import helper, kernel
from tritorch.layout import Layout, Shape, broadcast_shapes, broadcast_strides, collapse

if TYPE_CHECKING:
    import triton.language as tl


# Nanoseconds on one AVX-512 core, fitted to products of 128 to 2048: per multiply-add; per packed
# element of A and of B, where B comes from the second-level cache or from beyond it; per element
# of C and block of K, and once more where edge tiles are summed elsewhere and copied; per tile.
_MULTIPLY, _PACK_A, _PACK_B, _PACK_FAR_B = 0.0125, 0.07, 0.15, 0.5
_ACCUMULATE, _COPY, _PROGRAM = 0.06, 0.4, 300.0
#: nanoseconds of work from which a launch is shared out
_SHARED = 12_000.0
#: the second-level cache keeps so many bytes of packed B
_PACKED_BYTES = 512 * 1024
_HEIGHTS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
_WIDTHS = (16, 32, 64, 128, 256, 512)
#: columns of a tile -> time of a multiply-add: only multiples of 48 fill the registers
_UNEVEN = {16: 1.7, 32: 1.15, 64: 1.1, 128: 1.06, 256: 1.03, 512: 1.0}


@cache
def _cpu_tile(m: int, n: int, k: int, batch: int, itemsize: int, threads: int) -> dict[str, int]:
    """The cheapest tile by the model above, threads sharing the tiles.

    BLOCK_K depends on k alone: so do the order of additions and with it every bit of the result.
    """
    # Four int8 are one element of the microkernel.
    multiply = _MULTIPLY if itemsize > 1 else _MULTIPLY / 4
    block_k = min(max(next_power_of_2(k), 16), 256 if itemsize > 1 else 512)
    turns = ceil_divide(k, block_k)
    if batch * m * n * k * multiply < _SHARED:
        threads = 1
    pack_b = _PACK_B if n * k * itemsize <= _PACKED_BYTES else _PACK_FAR_B

    def cost(block: tuple[int, int]) -> float:
        height, width = block
        down, across = ceil_divide(m, height), ceil_divide(n, width)
        rows, columns = min(height, ceil_divide(m, 8) * 8), min(width, ceil_divide(n, 16) * 16)
        one = _PROGRAM + rows * columns * (k * multiply * _UNEVEN[width] + turns * _ACCUMULATE)
        one += k * (rows * _PACK_A + columns * pack_b)
        if m % height or n % width:
            edges = 1 - (m // height) * (n // width) / (down * across)
            one += edges * rows * columns * _COPY
        return ceil_divide(batch * down * across, threads) * one

    blocks = [
        (height, width)
        for height in _HEIGHTS
        for width in _WIDTHS
        if width * block_k * (itemsize if itemsize in (1, 8) else 4) <= _PACKED_BYTES
        and (height < 2 * m or height == _HEIGHTS[0])
        and (width < 2 * n or width == _WIDTHS[0])
    ]
    height, width = min(blocks, key=cost)
    return {"BLOCK_M": height, "BLOCK_N": width, "BLOCK_K": block_k, "GROUP_M": 8}


def _tile(*, target: str, m: int, n: int, k: int, batch: int, dtype: str) -> dict[str, Any]:
    """CPU: by a model of packing, multiplying and sharing out. GPU: 128x128 tiles of halves on the
    tensor cores, 64x64 of wider types, which run on the ordinary units."""
    itemsize = dtypes.BY_NAME[dtype].itemsize
    if target == "cpu":
        return dict(_cpu_tile(m, n, k, batch, itemsize, config.num_threads))
    if itemsize <= 2:
        block_m, block_n, block_k = 128, 128, 64
    else:
        block_m, block_n, block_k = 64, 64, 32 if itemsize == 4 else 16
    return {
        "BLOCK_M": max(16, min(block_m, next_power_of_2(m))),
        "BLOCK_N": max(16, min(block_n, next_power_of_2(n))),
        "BLOCK_K": max(16, min(block_k, next_power_of_2(k))),
        "GROUP_M": 8,
    }


def _fits(
    *, BLOCK_M: int, BLOCK_N: int, BLOCK_K: int, num_warps: int | None = None, **_: Any
) -> bool:
    """A GPU's registers hold a tile's sums, 256 a thread; a CPU's second-level cache packed B."""
    if num_warps is not None:
        return 32 * 128 * num_warps >= BLOCK_M * BLOCK_N
    return BLOCK_N * BLOCK_K * 4 <= _PACKED_BYTES


def _integer_tile(*, target: str, m: int, n: int) -> dict[str, Any]:
    """Rank-1 updates of a tile that stays in the first-level cache or in registers."""
    return {"BLOCK_M": min(16, next_power_of_2(m)), "BLOCK_N": min(64, next_power_of_2(n))}


def _vector_rows(*, target: str, k: int) -> dict[str, Any]:
    """One program per row; a long row is walked in blocks of 4096."""
    return {"BLOCK_K": min(4096, next_power_of_2(k))}


def _vector_columns(*, target: str, m: int, k: int) -> dict[str, Any]:
    """CPU: 8 KiB of a row at a time, for the sake of pages and prefetching, as long as every thread
    has its part (narrow blocks of 16 KiB strides ran at half the speed)."""
    if target != "cpu":
        return {"BLOCK_M": min(next_power_of_2(m), 64), "BLOCK_K": min(next_power_of_2(k), 32)}
    share = next_power_of_2(ceil_divide(m, config.num_threads))
    return {"BLOCK_M": max(min(share, 2048), 16), "BLOCK_K": min(16, next_power_of_2(k))}


@helper
def epilogue(x):
    """What is pasted here works on every element of the sum before it is stored."""
    return x


@helper
def add_bias(total, bias_ptr, offsets, mask, alpha, beta, BIAS: tl.constexpr, SCALED: tl.constexpr):
    """alpha * total + beta * bias, as far as there are scales and a bias."""
    if SCALED:
        total = total * alpha.to(total.dtype)
    if BIAS:
        bias = tl.load(bias_ptr + offsets, mask=mask).to(total.dtype)
        if SCALED:
            bias = bias * beta.to(total.dtype)
        total += bias
    return total


@kernel(
    space={
        "BLOCK_M": [16, 32, 64, 128, 256, 512, 1024],
        "BLOCK_N": [16, 32, 64, 128, 256, 512],
        "BLOCK_K": [32, 64, 128, 256, 512],
        "GROUP_M": [1, 4, 8],
        "num_warps": [4, 8],
        "num_stages": [2, 3, 4],
    },
    keep=_fits,
    default=_tile,
    key=("m", "n", "k", "batch", "dtype", "a_turned", "b_turned"),
)
def matmul_tile(
    c_ptr, a_ptr, b_ptr, bias_ptr, alpha, beta, n_tiles, m, n, k,
    c_row_stride, c_column_stride, a_row_stride, a_column_stride,
    b_row_stride, b_column_stride, bias_row_stride, bias_column_stride,
    size1, size2, size3,
    c_stride0, c_stride1, c_stride2, c_stride3, a_stride0, a_stride1, a_stride2, a_stride3,
    b_stride0, b_stride1, b_stride2, b_stride3,
    bias_stride0, bias_stride1, bias_stride2, bias_stride3,
    BIAS: tl.constexpr, SCALED: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """One program: a BLOCK_M x BLOCK_N tile of one matrix of the batch.

    EARLY: where C lies is known before the loop, so the CPU sums in place; a GPU would have to keep
    it in registers meanwhile.
    """
    batch = tl.program_id(0) // n_tiles
    program = tl.program_id(0) % n_tiles
    c_ptr += row_offset(batch, size1, size2, size3, c_stride0, c_stride1, c_stride2, c_stride3)
    a_ptr += row_offset(batch, size1, size2, size3, a_stride0, a_stride1, a_stride2, a_stride3)
    b_ptr += row_offset(batch, size1, size2, size3, b_stride0, b_stride1, b_stride2, b_stride3)
    # Programs that run together share rows of A and columns of B in the cache.
    n_tiles_m = tl.cdiv(m, BLOCK_M)
    n_tiles_n = tl.cdiv(n, BLOCK_N)
    group = program // (GROUP_M * n_tiles_n)
    first = group * GROUP_M
    height = tl.minimum(n_tiles_m - first, GROUP_M)
    within = program % (GROUP_M * n_tiles_n)
    tile_m = first + within % height
    tile_n = within // height
    rows = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    if a_ptr.dtype.element_ty == tl.int8:
        ACCUMULATE: tl.constexpr = tl.int32
    else:
        ACCUMULATE: tl.constexpr = (  # type: ignore[no-redef]
            tl.float64 if a_ptr.dtype.element_ty == tl.float64 else tl.float32
        )
    if EARLY:
        places = c_ptr + rows[:, None] * c_row_stride + columns[None, :] * c_column_stride
        mask = (rows < m)[:, None] & (columns < n)[None, :]
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=ACCUMULATE)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a = tl.load(
            a_ptr + rows[:, None] * a_row_stride + inner[None, :] * a_column_stride,
            mask=(rows < m)[:, None] & (inner < k)[None, :],
            other=0,
        )
        b = tl.load(
            b_ptr + inner[:, None] * b_row_stride + columns[None, :] * b_column_stride,
            mask=(inner < k)[:, None] & (columns < n)[None, :],
            other=0,
        )
        total = tl.dot(a, b, total, input_precision="ieee", out_dtype=ACCUMULATE)
    if not EARLY:
        places = c_ptr + rows[:, None] * c_row_stride + columns[None, :] * c_column_stride
        mask = (rows < m)[:, None] & (columns < n)[None, :]
    if BIAS:
        bias_ptr += row_offset(
            batch, size1, size2, size3, bias_stride0, bias_stride1, bias_stride2, bias_stride3
        )
        bias_offsets = rows[:, None] * bias_row_stride + columns[None, :] * bias_column_stride
        total = add_bias(total, bias_ptr, bias_offsets, mask, alpha, beta, BIAS, SCALED)
    elif SCALED:
        total = total * alpha.to(total.dtype)
    tl.store(places, epilogue(total).to(c_ptr.dtype.element_ty), mask=mask)


@kernel(
    space={"BLOCK_M": [4, 8, 16, 32], "BLOCK_N": [32, 64, 128]},
    default=_integer_tile,
    key=("m", "n", "k", "dtype"),
)
def matmul_integer(
    c_ptr, a_ptr, b_ptr, bias_ptr, alpha, beta, n_tiles, m, n, k,
    c_row_stride, c_column_stride, a_row_stride, a_column_stride,
    b_row_stride, b_column_stride, bias_row_stride, bias_column_stride,
    size1, size2, size3,
    c_stride0, c_stride1, c_stride2, c_stride3, a_stride0, a_stride1, a_stride2, a_stride3,
    b_stride0, b_stride1, b_stride2, b_stride3,
    bias_stride0, bias_stride1, bias_stride2, bias_stride3,
    BIAS: tl.constexpr, SCALED: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """One program: a tile, the sum over the products of a column of A and a row of B."""
    batch = tl.program_id(0) // n_tiles
    program = tl.program_id(0) % n_tiles
    c_ptr += row_offset(batch, size1, size2, size3, c_stride0, c_stride1, c_stride2, c_stride3)
    a_ptr += row_offset(batch, size1, size2, size3, a_stride0, a_stride1, a_stride2, a_stride3)
    b_ptr += row_offset(batch, size1, size2, size3, b_stride0, b_stride1, b_stride2, b_stride3)
    n_tiles_n = tl.cdiv(n, BLOCK_N)
    rows = (program // n_tiles_n) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = (program % n_tiles_n) * BLOCK_N + tl.arange(0, BLOCK_N)
    WIDE: tl.constexpr = c_ptr.dtype.element_ty.primitive_bitwidth == 64
    ACCUMULATE: tl.constexpr = tl.int64 if WIDE else tl.int32
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=ACCUMULATE)
    for inner in range(k):
        a = tl.load(a_ptr + rows * a_row_stride + inner * a_column_stride, mask=rows < m, other=0)
        b = tl.load(
            b_ptr + columns * b_column_stride + inner * b_row_stride, mask=columns < n, other=0
        )
        total += a.to(ACCUMULATE)[:, None] * b.to(ACCUMULATE)[None, :]
    mask = (rows < m)[:, None] & (columns < n)[None, :]
    if BIAS:
        bias_ptr += row_offset(
            batch, size1, size2, size3, bias_stride0, bias_stride1, bias_stride2, bias_stride3
        )
        bias_offsets = rows[:, None] * bias_row_stride + columns[None, :] * bias_column_stride
        total = add_bias(total, bias_ptr, bias_offsets, mask, alpha, beta, BIAS, SCALED)
    elif SCALED:
        total = total * alpha.to(total.dtype)
    c = epilogue(total).to(c_ptr.dtype.element_ty)
    tl.store(
        c_ptr + rows[:, None] * c_row_stride + columns[None, :] * c_column_stride, c, mask=mask
    )


@kernel(space={"BLOCK_K": [256, 1024, 4096, 16_384]}, default=_vector_rows, key=("m", "k", "dtype"))
def matrix_vector_rows(
    c_ptr, a_ptr, b_ptr, bias_ptr, alpha, beta, n_tiles, m, k,
    c_row_stride, a_row_stride, a_column_stride, b_row_stride, bias_row_stride,
    size1, size2, size3,
    c_stride0, c_stride1, c_stride2, c_stride3, a_stride0, a_stride1, a_stride2, a_stride3,
    b_stride0, b_stride1, b_stride2, b_stride3,
    bias_stride0, bias_stride1, bias_stride2, bias_stride3,
    BIAS: tl.constexpr, SCALED: tl.constexpr, LOOPED: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One program: one element, the dot product of a row of A with b."""
    batch = tl.program_id(0) // n_tiles
    row = tl.program_id(0) % n_tiles
    c_ptr += row_offset(batch, size1, size2, size3, c_stride0, c_stride1, c_stride2, c_stride3)
    a_ptr += row_offset(batch, size1, size2, size3, a_stride0, a_stride1, a_stride2, a_stride3)
    b_ptr += row_offset(batch, size1, size2, size3, b_stride0, b_stride1, b_stride2, b_stride3)
    if LOOPED:
        ACCUMULATE: tl.constexpr = (
            tl.float64 if a_ptr.dtype.element_ty == tl.float64 else tl.float32
        )
        total = tl.full((), 0.0, ACCUMULATE)
        for start in range(0, k, BLOCK_K):
            inner = start + tl.arange(0, BLOCK_K)
            a = tl.load(a_ptr + row * a_row_stride + inner * a_column_stride, inner < k, other=0.0)
            b = tl.load(b_ptr + inner * b_row_stride, mask=inner < k, other=0.0)
            total += tl.sum(to_compute(a) * to_compute(b), 0)
    else:
        inner = tl.arange(0, BLOCK_K)
        a = tl.load(a_ptr + row * a_row_stride + inner * a_column_stride, inner < k, other=0.0)
        b = tl.load(b_ptr + inner * b_row_stride, mask=inner < k, other=0.0)
        total = tl.sum(to_compute(a) * to_compute(b), 0)
    if BIAS:
        bias_ptr += row_offset(
            batch, size1, size2, size3, bias_stride0, bias_stride1, bias_stride2, bias_stride3
        )
        total = add_bias(total, bias_ptr, row * bias_row_stride, None, alpha, beta, BIAS, SCALED)
    elif SCALED:
        total = total * alpha.to(total.dtype)
    tl.store(c_ptr + row * c_row_stride, epilogue(total).to(c_ptr.dtype.element_ty))


@kernel(
    space={"BLOCK_M": [64, 128, 256, 512], "BLOCK_K": [4, 8, 16, 32]},
    default=_vector_columns,
    key=("m", "k", "dtype"),
)
def matrix_vector_columns(
    c_ptr, a_ptr, b_ptr, bias_ptr, alpha, beta, n_tiles, m, k,
    c_row_stride, a_row_stride, a_column_stride, b_row_stride, bias_row_stride,
    size1, size2, size3,
    c_stride0, c_stride1, c_stride2, c_stride3, a_stride0, a_stride1, a_stride2, a_stride3,
    b_stride0, b_stride1, b_stride2, b_stride3,
    bias_stride0, bias_stride1, bias_stride2, bias_stride3,
    BIAS: tl.constexpr, SCALED: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK_M elements, side by side in A's memory."""
    batch = tl.program_id(0) // n_tiles
    program = tl.program_id(0) % n_tiles
    c_ptr += row_offset(batch, size1, size2, size3, c_stride0, c_stride1, c_stride2, c_stride3)
    a_ptr += row_offset(batch, size1, size2, size3, a_stride0, a_stride1, a_stride2, a_stride3)
    b_ptr += row_offset(batch, size1, size2, size3, b_stride0, b_stride1, b_stride2, b_stride3)
    rows = program * BLOCK_M + tl.arange(0, BLOCK_M)
    ACCUMULATE: tl.constexpr = tl.float64 if a_ptr.dtype.element_ty == tl.float64 else tl.float32
    total = tl.zeros((BLOCK_M,), dtype=ACCUMULATE)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a = tl.load(
            a_ptr + inner[:, None] * a_column_stride + rows[None, :] * a_row_stride,
            mask=(inner < k)[:, None] & (rows < m)[None, :],
            other=0.0,
        )
        b = tl.load(b_ptr + inner * b_row_stride, mask=inner < k, other=0.0)
        total += tl.sum(to_compute(a) * to_compute(b)[:, None], 0)
    if BIAS:
        bias_ptr += row_offset(
            batch, size1, size2, size3, bias_stride0, bias_stride1, bias_stride2, bias_stride3
        )
        total = add_bias(
            total, bias_ptr, rows * bias_row_stride, rows < m, alpha, beta, BIAS, SCALED
        )
    elif SCALED:
        total = total * alpha.to(total.dtype)
    tl.store(c_ptr + rows * c_row_stride, epilogue(total).to(c_ptr.dtype.element_ty), mask=rows < m)


def plan(
    a: Layout,
    b: Layout,
    bias: Layout | None = None,
    *,
    out: Dtype | None = None,
    scaled: bool = False,
    pasted_epilogue: str | None = None,
) -> Plan:
    """C = epilogue(alpha * (A @ B) + beta * bias); launch(c, a, b[, bias][, alpha, beta]).

    Args:
        a: (*batch, m, k), any strides. b: (*batch, k, n); the batches broadcast.
        bias: broadcasts to (*batch, m, n); its dtype may differ.
        out: dtype of C (default: a's); C is contiguous.
        scaled: the launch takes alpha and beta (floats; integers for integer dtypes).
        pasted_epilogue: text of `def epilogue(x): ...` in the Triton language; x has the
            accumulator's dtype.
    Raises:
        ShapeError: the inner sizes differ, or the batches do not broadcast.
        DtypeError: the dtypes differ or are bool.
    """
    product = _Product(a, b, bias, out or a.dtype)
    if product.c.numel == 0:
        return Plan((product.c,), nothing)
    launch, compiled = product.launch(scaled, pasted_epilogue)
    return Plan((product.c,), launch, [compiled])


class _Product:
    """The operands of one product, broadcast, folded and oriented."""

    def __init__(self, a: Layout, b: Layout, bias: Layout | None, out: Dtype) -> None:
        if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
            raise ShapeError(
                f"matmul: cannot multiply {a.shape} with {b.shape}: needs (*batch, m, k) and "
                "(*batch, k, n) "
                "with the same k. Transpose or reshape an operand."
            )
        if a.dtype is not b.dtype or not a.dtype.category:
            raise DtypeError(
                f"matmul: expected two operands of one numeric dtype, got {a.dtype} and {b.dtype}. "
                "Cast one of them."
            )
        self.a, self.b, self.bias = a, b, bias
        self.m, self.k, self.n = a.shape[-2], a.shape[-1], b.shape[-1]
        batch = broadcast_shapes("matmul", a.shape[:-2], b.shape[:-2])
        shape = (*batch, self.m, self.n)
        self.c = Layout.contiguous(out, shape, a.device)
        self.batch = batch
        self.strides = {
            "c": self.c.strides,
            "a": broadcast_strides(a.shape[:-2], a.strides[:-2], batch) + a.strides[-2:],
            "b": broadcast_strides(b.shape[:-2], b.strides[:-2], batch) + b.strides[-2:],
        }
        if bias is not None:
            if broadcast_shapes("matmul", bias.shape, shape) != shape:
                raise ShapeError(
                    f"matmul: a bias of shape {bias.shape} does not broadcast to {shape}."
                )
            self.strides["bias"] = broadcast_strides(bias.shape, bias.strides, shape)
        self._fold_batch()

    def _fold_batch(self) -> None:
        """(batch, m, k) @ (k, n) is one product of batch * m rows, where the strides allow it."""
        rest = [name for name in self.strides if name != "b"]
        if not self.batch or any(self.strides["b"][:-2]):
            return
        sizes, merged = collapse((*self.batch, self.m), [self.strides[name][:-1] for name in rest])
        if len(sizes) > 1:
            return
        for name, strides in zip(rest, merged):
            step = strides[0] if strides else 0
            self.strides[name] = (step, self.strides[name][-1])
        self.strides["b"] = self.strides["b"][-2:]
        self.m = sizes[0] if sizes else 1
        self.batch = ()

    def _transpose(self) -> None:
        """C^T = B^T A^T, to make a single row a single column."""
        flipped = {name: (*s[:-2], s[-1], s[-2]) for name, s in self.strides.items()}
        flipped["a"], flipped["b"] = flipped["b"], flipped["a"]
        self.strides = flipped
        self.a, self.b = self.b, self.a
        self.m, self.n = self.n, self.m
        self.swapped = not self.swapped

    swapped = False

    def launch(self, scaled: bool, pasted: str | None) -> tuple[Launch, Any]:
        floating = self.a.dtype.is_floating_point
        if floating and self.m == 1 and self.n > 1:
            self._transpose()
        rows = self._batches()
        target = self.a.device.type
        m, n, k = self.m, self.n, self.k
        if not floating and not (target == "cpu" and self.a.dtype.name == "int8" and n > 1):
            template = matmul_integer
            choice = template.choose(target, m=m, n=n, k=k, dtype=self.a.dtype.name)
        elif n > 1:
            template = matmul_tile
            choice = template.choose(
                target, m=m, n=n, k=k, batch=rows.count, dtype=self.a.dtype.name,
                a_turned=abs(self.strides["a"][-1]) > 1, b_turned=abs(self.strides["b"][-1]) > 1,
            )  # fmt: skip
            choice["EARLY"] = target == "cpu"
        elif abs(self.strides["a"][-1]) <= abs(self.strides["a"][-2]) or m == 1:
            template = matrix_vector_rows
            choice = template.choose(target, m=m, k=k, dtype=self.a.dtype.name)
            choice["LOOPED"] = choice["BLOCK_K"] < k
        else:
            template = matrix_vector_columns
            choice = template.choose(target, m=m, k=k, dtype=self.a.dtype.name)
        if "BLOCK_N" in choice:
            tiles = ceil_divide(m, choice["BLOCK_M"]) * ceil_divide(n, choice["BLOCK_N"])
        else:
            tiles = ceil_divide(m, choice.get("BLOCK_M", 1))
        values: dict[str, Any] = {
            "n_tiles": tiles,
            "m": m,
            "n": n,
            "k": k,
            "BIAS": self.bias is not None,
            "SCALED": scaled,
        }
        values |= choice | rows.values(*self.strides)
        for name, strides in self.strides.items():
            values[f"{name}_row_stride"], values[f"{name}_column_stride"] = strides[-2:]
        operands = {"c_ptr": self.c, "a_ptr": self.a, "b_ptr": self.b}
        if self.bias is not None:
            operands["bias_ptr"] = self.bias
        else:
            values |= dict.fromkeys(
                (name for name in template.parameters if name.startswith("bias_")), None
            )
        scalars: dict[str, str] = {}
        if scaled:
            scalar = "i64" if not floating else "fp64" if self.a.dtype.itemsize == 8 else "fp32"
            scalars = {"alpha": scalar, "beta": scalar}
        else:
            values |= {"alpha": None, "beta": None}
        values = {name: value for name, value in values.items() if name in template.parameters}
        bound, compiled = template.bind(
            self.c.device,
            (tiles * rows.count,),
            operands,
            values,
            scalars=scalars,
            pasted={"epilogue": pasted} if pasted else {},
        )
        if not self.swapped:
            return bound, compiled

        def launch(c: int, a: int, b: int, *rest: Any) -> None:
            bound(c, b, a, *rest)

        return launch, compiled

    def _batches(self) -> Rows:
        return levels("matmul", self.batch, [_lead(s) for s in self.strides.values()])


def _lead(strides: Shape) -> Shape:
    return strides[:-2]
