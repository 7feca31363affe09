"""Kernels of matrix products and how their tiles are chosen; `matmul` plans them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from tritorch import dtypes
from tritorch.config import config
from tritorch.kernels.templates.matmul_gpu import (
    add_bias,
    copied_tiles,
    epilogue,
    gpu_fits,
    gpu_tile,
)
from tritorch.kernels.templates.rows import ceil_divide, next_power_of_2, row_offset, to_compute
from tritorch.kernels.templates.template import kernel

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


#: what a CPU has no use for
_PLAIN = {"COPIED": False, "SPECIALIZED": False, "SPLIT_K": 1}


def _tile(
    *, target: str, m: int, n: int, k: int, batch: int, dtype: str, **hardware: Any
) -> dict[str, Any]:
    """CPU: by a model of packing, multiplying and sharing out. GPU: see `matmul_gpu`."""
    if target == "cpu":
        itemsize = dtypes.BY_NAME[dtype].itemsize
        return _cpu_tile(m, n, k, batch, itemsize, config.num_threads) | _PLAIN
    return gpu_tile(m, n, k, batch, dtype, **hardware)


def _fits(
    *, BLOCK_N: int, BLOCK_K: int, COPIED: bool = False, SPECIALIZED: bool = False,
    SPLIT_K: int = 1, num_warps: int | None = None, **rest: Any,
) -> bool:  # fmt: skip
    """What a GPU's registers and shared memory hold; a CPU's second-level cache packed B."""
    if num_warps is not None:
        return gpu_fits(
            BLOCK_N=BLOCK_N, BLOCK_K=BLOCK_K, COPIED=COPIED, SPECIALIZED=SPECIALIZED,
            SPLIT_K=SPLIT_K, num_warps=num_warps, **rest,
        )  # fmt: skip
    plain = not COPIED and not SPECIALIZED and SPLIT_K == 1
    return plain and BLOCK_N * BLOCK_K * 4 <= _PACKED_BYTES


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


@kernel(
    space={
        "BLOCK_M": [16, 32, 64, 128, 256, 512, 1024],
        "BLOCK_N": [16, 32, 64, 128, 256, 512],
        "BLOCK_K": [32, 64, 128, 256, 512],
        "GROUP_M": [1, 4, 8],
        "COPIED": [False, True],
        "SPECIALIZED": [False, True],
        "SPLIT_K": [1, 2, 4, 8, 16, 64],
        "num_warps": [4, 8],
        "num_stages": [2, 3, 4, 5],
    },
    keep=_fits,
    default=_tile,
    key=("m", "n", "k", "batch", "dtype", "a_turned", "b_turned", "precision"),
)
def matmul_tile(
    c_ptr, a_ptr, b_ptr, bias_ptr, alpha, beta, n_tiles, n_batches, split_stride, m, n, k,
    c_row_stride, c_column_stride, a_row_stride, a_column_stride,
    b_row_stride, b_column_stride, bias_row_stride, bias_column_stride,
    size1, size2, size3,
    c_stride0, c_stride1, c_stride2, c_stride3, a_stride0, a_stride1, a_stride2, a_stride3,
    b_stride0, b_stride1, b_stride2, b_stride3,
    bias_stride0, bias_stride1, bias_stride2, bias_stride3,
    BIAS: tl.constexpr, SCALED: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr, EARLY: tl.constexpr, COPIED: tl.constexpr,
    SPECIALIZED: tl.constexpr, SPLIT_K: tl.constexpr, PRECISION: tl.constexpr,
    BATCHED: tl.constexpr, A_TURNED: tl.constexpr, B_TURNED: tl.constexpr, HALVED: tl.constexpr,
    SAME_BIAS: tl.constexpr, FILLED: tl.constexpr,
):  # fmt: skip
    """One program: a BLOCK_M x BLOCK_N tile of one matrix of the batch.

    EARLY: where C lies is known before the loop, so the CPU sums in place, from the bias if there
    is one; a GPU would have to keep it in registers meanwhile. COPIED: several tiles, see
    `matmul_gpu`. SPLIT_K: the sum over one block of A and B in SPLIT_K, stored at split_stride.
    FILLED: there is such a block for each.
    """
    if COPIED:
        copied_tiles(
            c_ptr, a_ptr, b_ptr, bias_ptr, alpha, beta, n_tiles, n_batches, m, n, k,
            c_row_stride, c_stride0, a_row_stride, a_column_stride, a_stride0,
            b_row_stride, b_column_stride, b_stride0, bias_row_stride, bias_column_stride,
            size1, size2, size3, bias_stride0, bias_stride1, bias_stride2, bias_stride3,
            BATCHED, A_TURNED, B_TURNED, BIAS, SAME_BIAS, SCALED, BLOCK_M, BLOCK_N, BLOCK_K,
            GROUP_M, SPECIALIZED, HALVED, PRECISION,
        )  # fmt: skip
    else:
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
        if BIAS and EARLY and not SCALED:
            STARTS: tl.constexpr = (
                bias_ptr.dtype.element_ty == ACCUMULATE and c_ptr.dtype.element_ty == ACCUMULATE
            )
        else:
            STARTS: tl.constexpr = False  # type: ignore[no-redef]
        if STARTS:
            bias_ptr += row_offset(
                batch, size1, size2, size3, bias_stride0, bias_stride1, bias_stride2, bias_stride3
            )
            bias_offsets = rows[:, None] * bias_row_stride + columns[None, :] * bias_column_stride
            total = tl.load(bias_ptr + bias_offsets, mask=mask, other=0)
        else:
            total = tl.zeros((BLOCK_M, BLOCK_N), dtype=ACCUMULATE)
        begin = 0
        if SPLIT_K > 1:
            begin = tl.program_id(1) * BLOCK_K
            c_ptr += tl.program_id(1) * split_stride
        if FILLED:  # else ptxas may wait for every product of a warp group
            tl.assume(begin < k)
        for start in range(begin, k, BLOCK_K * SPLIT_K):
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
            total = tl.dot(a, b, total, input_precision=PRECISION, out_dtype=ACCUMULATE)
        if not EARLY:
            places = c_ptr + rows[:, None] * c_row_stride + columns[None, :] * c_column_stride
            mask = (rows < m)[:, None] & (columns < n)[None, :]
        if BIAS and not STARTS:
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
