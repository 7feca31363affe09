"""Matrix products on GPUs: which tiles, and the parts of `matmul_tile` that only GPUs run.

Three ways, of which a configuration names one:
- programs for one tile each, operands through the ordinary loads, several blocks under way
  (`num_stages`): any strides, every GPU;
- COPIED, from sm_90 on: as many programs as fit on the multiprocessors, each walks over tiles, and
  the copy engine fetches blocks by descriptors that the program makes. The result leaves through
  the copy engine too, in two halves where the shared memory does not hold it whole (HALVED). With
  SPECIALIZED four warps only copy while two groups of four multiply: on sm_90 Triton 3.6 and 3.9
  make that of `num_warps=4` alone, and 3.6 only where the result leaves whole;
- SPLIT_K: few tiles and a long inner dimension: programs sum parts of it, in float32, and
  `matmul_finish` adds the parts in a fixed order.

sm_90 multiplies float32 (as tf32) and float8 only from blocks with the inner dimension side by
side in memory. Triton turns other blocks in the loop, through registers and into shared memory with
16 lanes on one bank, and multiplies only when that is done; `turned_first` says when `matmul`
copies an operand turned beforehand. Sums of float8 have the tensor cores' own accuracy on sm_90,
about 14 bits, as cuBLAS's with `use_fast_accum=True`: results in float8 have 3 or 4.

Which configuration is best is predicted by `gpu_tile`, not measured.

Source: Triton's tutorial of persistent matrix multiplication; Osama et al., Stream-K, 2023 (why the
    inner dimension is split); NVIDIA H100 Tensor Core GPU Architecture, 2022 (rates).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tritorch import dtypes
from tritorch.kernels.templates.rows import ceil_divide, next_power_of_2, row_offset
from tritorch.kernels.templates.template import helper, kernel

if TYPE_CHECKING:
    import triton.language as tl

#: the smallest shared memory of a block among the GPUs with copy engines, and before them
_SHARED_BYTES, _SHARED_BYTES_BEFORE = 227 << 10, 163 << 10
_COPY_ENGINES = 90
#: what descriptors, barriers and their alignment take of the shared memory
_BARRIERS = 2 << 10


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


@helper
def operand_tiles(
    ptr, n_batches, rows, columns, batch_stride, row_stride, column_stride,
    BATCHED: tl.constexpr, TURNED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """A descriptor of ROWS x COLUMNS tiles of a matrix; TURNED: of the transposed matrix, whose
    rows lie one behind the other."""
    if TURNED:
        if BATCHED:
            return tl.make_tensor_descriptor(
                ptr, [n_batches, columns, rows], [batch_stride, column_stride, 1],
                [1, COLUMNS, ROWS],
            )  # fmt: skip
        else:
            return tl.make_tensor_descriptor(
                ptr, [columns, rows], [column_stride, 1], [COLUMNS, ROWS]
            )
    elif BATCHED:
        return tl.make_tensor_descriptor(
            ptr, [n_batches, rows, columns], [batch_stride, row_stride, 1], [1, ROWS, COLUMNS]
        )
    else:
        return tl.make_tensor_descriptor(ptr, [rows, columns], [row_stride, 1], [ROWS, COLUMNS])


@helper
def fetched(
    tiles, batch, row, column, BATCHED: tl.constexpr, TURNED: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """A tile by its descriptor, upright."""
    if TURNED:
        if BATCHED:
            return tiles.load([batch, column, row]).reshape(COLUMNS, ROWS).T
        else:
            return tiles.load([column, row]).T
    elif BATCHED:
        return tiles.load([batch, row, column]).reshape(ROWS, COLUMNS)
    else:
        return tiles.load([row, column])


@helper
def copied_out(
    tiles, total, bias_ptr, alpha, beta, batch, row, column, m, n, bias_row_stride,
    bias_column_stride, BATCHED: tl.constexpr, BIAS: tl.constexpr, SAME_BIAS: tl.constexpr,
    SCALED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Scale, add the bias, apply the epilogue and store a tile by its descriptor.

    SAME_BIAS: for every row; read as one row, it needs no exchange between threads.
    """
    if BIAS and SAME_BIAS:
        columns = column + tl.arange(0, COLUMNS)
        row_of_bias = tl.load(bias_ptr + columns * bias_column_stride, mask=columns < n, other=0.0)
        row_of_bias = row_of_bias.to(total.dtype)
        if SCALED:
            total = total * alpha.to(total.dtype)
            row_of_bias = row_of_bias * beta.to(total.dtype)
        total += row_of_bias[None, :]
    elif BIAS:
        rows = row + tl.arange(0, ROWS)
        columns = column + tl.arange(0, COLUMNS)
        mask = (rows < m)[:, None] & (columns < n)[None, :]
        offsets = rows[:, None] * bias_row_stride + columns[None, :] * bias_column_stride
        total = add_bias(total, bias_ptr, offsets, mask, alpha, beta, BIAS, SCALED)
    elif SCALED:
        total = total * alpha.to(total.dtype)
    result = epilogue(total).to(tiles.dtype)
    if BATCHED:
        tiles.store([batch, row, column], result.reshape(1, ROWS, COLUMNS))
    else:
        tiles.store([row, column], result)


@helper
def copied_tiles(
    c_ptr, a_ptr, b_ptr, bias_ptr, alpha, beta, n_tiles, n_batches, m, n, k,
    c_row_stride, c_batch_stride, a_row_stride, a_column_stride, a_batch_stride,
    b_row_stride, b_column_stride, b_batch_stride, bias_row_stride, bias_column_stride,
    size1, size2, size3, bias_stride0, bias_stride1, bias_stride2, bias_stride3,
    BATCHED: tl.constexpr, A_TURNED: tl.constexpr, B_TURNED: tl.constexpr, BIAS: tl.constexpr,
    SAME_BIAS: tl.constexpr, SCALED: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr, SPECIALIZED: tl.constexpr, HALVED: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """All tiles whose number is that of the program, modulo the number of programs."""
    HALF: tl.constexpr = BLOCK_N // 2 if HALVED else BLOCK_N
    # Descriptors count in 32 bits, however large the matrices.
    n_tiles, n_batches = n_tiles.to(tl.int32), n_batches.to(tl.int32)
    m, n, k = m.to(tl.int32), n.to(tl.int32), k.to(tl.int32)
    a_tiles = operand_tiles(
        a_ptr, n_batches, m, k, a_batch_stride, a_row_stride, a_column_stride,
        BATCHED, A_TURNED, BLOCK_M, BLOCK_K,
    )  # fmt: skip
    b_tiles = operand_tiles(
        b_ptr, n_batches, k, n, b_batch_stride, b_row_stride, b_column_stride,
        BATCHED, B_TURNED, BLOCK_K, BLOCK_N,
    )  # fmt: skip
    c_tiles = operand_tiles(
        c_ptr, n_batches, m, n, c_batch_stride, c_row_stride, 1, BATCHED, False, BLOCK_M, HALF
    )
    n_tiles_m = tl.cdiv(m, BLOCK_M)
    n_tiles_n = tl.cdiv(n, BLOCK_N)
    # Copying and multiplying by different warps needs the two loops as they are; otherwise they
    # become one, so that the copies for the next tile begin during the last blocks of this one.
    for place in tl.range(
        tl.program_id(0), n_tiles * n_batches, tl.num_programs(0),
        flatten=not SPECIALIZED, warp_specialize=SPECIALIZED,
    ):  # fmt: skip
        batch = place // n_tiles
        program = place % n_tiles
        group = program // (GROUP_M * n_tiles_n)
        first = group * GROUP_M
        height = tl.minimum(n_tiles_m - first, GROUP_M)
        within = program % (GROUP_M * n_tiles_n)
        row = (first + within % height) * BLOCK_M
        column = (within // height) * BLOCK_N
        total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        for start in range(0, k, BLOCK_K):
            a = fetched(a_tiles, batch, row, start, BATCHED, A_TURNED, BLOCK_M, BLOCK_K)
            b = fetched(b_tiles, batch, start, column, BATCHED, B_TURNED, BLOCK_K, BLOCK_N)
            total = tl.dot(a, b, total, input_precision=PRECISION, out_dtype=tl.float32)
        own_bias = bias_ptr
        if BIAS:
            own_bias += row_offset(
                batch, size1, size2, size3, bias_stride0, bias_stride1, bias_stride2, bias_stride3
            )
        if HALVED:
            halves = tl.permute(tl.reshape(total, (BLOCK_M, 2, HALF)), (0, 2, 1))
            left, right = tl.split(halves)
            copied_out(
                c_tiles, left, own_bias, alpha, beta, batch, row, column, m, n, bias_row_stride,
                bias_column_stride, BATCHED, BIAS, SAME_BIAS, SCALED, BLOCK_M, HALF,
            )  # fmt: skip
            copied_out(
                c_tiles, right, own_bias, alpha, beta, batch, row, column + HALF, m, n,
                bias_row_stride, bias_column_stride, BATCHED, BIAS, SAME_BIAS, SCALED, BLOCK_M,
                HALF,
            )  # fmt: skip
        else:
            copied_out(
                c_tiles, total, own_bias, alpha, beta, batch, row, column, m, n, bias_row_stride,
                bias_column_stride, BATCHED, BIAS, SAME_BIAS, SCALED, BLOCK_M, BLOCK_N,
            )  # fmt: skip


def finish(*, target: str, numel: int, n_splits: int, multiprocessors: int) -> dict[str, int]:
    """Two programs for each multiprocessor or more, at most 4096 numbers at once."""
    block = min(max(next_power_of_2(ceil_divide(numel, 2 * multiprocessors)), 64), 256)
    return {"BLOCK": block, "PARTS": min(next_power_of_2(n_splits), 4096 // block)}


@kernel(default=finish)
def matmul_finish(
    c_ptr, parts_ptr, bias_ptr, alpha, beta, numel, m, n, n_splits,
    bias_row_stride, bias_column_stride, size1, size2, size3,
    bias_stride0, bias_stride1, bias_stride2, bias_stride3,
    BIAS: tl.constexpr, SCALED: tl.constexpr, BLOCK: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK elements of C, which lie one behind the other, from their n_splits parts,
    of which PARTS are read at once."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < numel
    total = tl.zeros((BLOCK,), parts_ptr.dtype.element_ty)
    for first in range(0, n_splits, PARTS):
        part = first + tl.arange(0, PARTS)
        some = tl.load(
            parts_ptr + part.to(tl.int64)[:, None] * numel + at[None, :],
            mask=(part < n_splits)[:, None] & mask[None, :],
            other=0,
        )
        total += tl.sum(some, 0)
    if BIAS:
        rows = at // n
        offsets = (rows % m) * bias_row_stride + (at % n) * bias_column_stride
        offsets += row_offset(
            rows // m, size1, size2, size3, bias_stride0, bias_stride1, bias_stride2, bias_stride3
        )
        total = add_bias(total, bias_ptr, offsets, mask, alpha, beta, BIAS, SCALED)
    elif SCALED:
        total = total * alpha.to(total.dtype)
    tl.store(c_ptr + at, epilogue(total).to(c_ptr.dtype.element_ty), mask=mask)


class _Rates(NamedTuple):
    """What a multiprocessor does in a cycle, as its maker says: operations on numbers of 16 bits by
    tensor cores, on float32 without them; bytes it can read from the L2, and its share of the
    memory's."""

    tensor: int
    plain: int
    near: float
    far: float


#: by the first capability; GPUs after Hopper are taken for one
_RATES = {80: _Rates(2048, 128, 40, 13), 90: _Rates(4096, 256, 48, 19)}
#: cycles until a read arrives when there are many, of a tile's ends, and of one more launch
_LATENCY, _TILE_ENDS, _LAUNCH = 2000, 1500, 4000
#: (rows, columns, lines of 128 bytes of the inner dimension, warps, blocks under way)
_TENSOR_TILES = (
    (128, 256, 1, 8, 3), (256, 128, 1, 8, 3), (128, 128, 1, 8, 3), (64, 256, 1, 4, 3),
    (64, 128, 1, 4, 4), (64, 64, 1, 4, 4), (64, 64, 2, 4, 5),
)  # fmt: skip
#: (rows, columns, inner, warps, blocks under way), by the bytes of a number
_PLAIN_TILES = {4: ((128, 128, 16, 8, 2), (64, 64, 16, 4, 2)), 8: ((64, 64, 16, 4, 2),)}
_SPLITS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 32, 64, 128, 256)
_Tile = tuple[int, int, int, int, int]


def _tiles(m: int, n: int, k: int, itemsize: int, tensor_cores: bool) -> Iterator[_Tile]:
    """Those that are no larger than the matrices, in powers of two, the largest first."""
    height, width = max(16, next_power_of_2(m)), max(16, next_power_of_2(n))
    least = 32 if itemsize == 1 else 16
    seen = set()
    for rows, columns, inner, warps, stages in (
        _TENSOR_TILES if tensor_cores else _PLAIN_TILES[8 if itemsize == 8 else 4]
    ):
        inner = inner * 128 // itemsize if tensor_cores else inner
        sides = min(rows, height), min(columns, width)
        tile = (*sides, max(min(inner, next_power_of_2(k)), least), warps, stages)
        if tile not in seen:
            seen.add(tile)
            yield tile


def gpu_tile(
    m: int, n: int, k: int, batch: int, dtype: str, *, multiprocessors: int = 108,
    copies: bool = False, precision: str = "ieee", capability: int = 80, **_: Any,
) -> dict[str, Any]:  # fmt: skip
    """The configuration of which a model of cycles says that it is the fastest; not measured.

    A multiprocessor has so many tiles to go through; a step along the inner dimension takes as long
    as multiplying does, or reading, which is slow where few bytes are under way. Nothing is faster
    than reading every operand once.

    Args:
        copies: whether the copy engine can reach the operands.
        precision: of float32: "ieee" or "tf32".
    """
    itemsize = dtypes.BY_NAME[dtype].itemsize
    tensor_cores = itemsize <= 2 or precision == "tf32"
    rates = _RATES[90 if capability >= 90 else 80]
    far = rates.far * multiprocessors
    once = batch * (m * k + k * n + m * n) * itemsize

    def cost(tile: _Tile, split: int) -> float:
        rows, columns, inner, warps, stages = tile
        tiles = batch * ceil_divide(m, rows) * ceil_divide(n, columns) * split
        mine = ceil_divide(tiles, multiprocessors)
        read = (rows + columns) * inner * itemsize
        there = min(mine, max(_SHARED_BYTES // (stages * read + (8 << 10)), 1), 16 // warps)
        speed = rates.plain * 4 // itemsize
        if tensor_cores:
            speed = rates.tensor * 2 // itemsize
            if capability >= 90 and rows < 64:
                speed //= 2  # the older instructions
        step = max(
            2 * rows * columns * inner / speed,
            read / min(rates.near, there * (stages - 1) * read / _LATENCY),
        )
        # A few multiprocessors cannot use all of the memory's bandwidth.
        reached = min(far, 1.5 * rates.far * tiles)
        cycles = max(mine * ceil_divide(k, inner * split) * step, once / reached)
        cycles += mine * _TILE_ENDS / there
        if split > 1:
            cycles += _LAUNCH + 8 * split * batch * m * n / far
        return cycles

    found: list[tuple[float, dict[str, Any]]] = []
    for tile in _tiles(m, n, k, itemsize, tensor_cores):
        for split in _SPLITS if dtype != "float64" else (1,):
            if split > 1 and k < 4 * split * tile[2]:
                break
            names = ("BLOCK_M", "BLOCK_N", "BLOCK_K", "num_warps", "num_stages")
            chosen: dict[str, Any] = dict(zip(names, tile))
            chosen |= {"GROUP_M": 8, "SPECIALIZED": False, "SPLIT_K": split}
            chosen["COPIED"] = (
                copies and split == 1 and min(tile[:2]) >= 64 and max(tile[:3]) <= 256
            )
            if gpu_fits(**chosen, dtype=dtype):
                found.append((cost(tile, split), chosen))
    return min(found, key=lambda each: each[0])[1]


def halved(
    *, BLOCK_M: int, BLOCK_N: int, BLOCK_K: int, SPECIALIZED: bool, num_stages: int, itemsize: int,
    out_itemsize: int, **_: Any,
) -> bool:  # fmt: skip
    """Whether the shared memory holds the blocks under way and half of a tile of the result, but
    not the whole of it."""
    blocks = num_stages * (BLOCK_M + BLOCK_N) * BLOCK_K * itemsize
    whole = blocks + BLOCK_M * BLOCK_N * out_itemsize + _BARRIERS <= _SHARED_BYTES
    return not whole and not SPECIALIZED


def residents(
    *, BLOCK_M: int, BLOCK_N: int, BLOCK_K: int, num_warps: int, num_stages: int, HALVED: bool,
    itemsize: int, out_itemsize: int, **_: Any,
) -> int:  # fmt: skip
    """How many programs with descriptors a multiprocessor holds; two that multiply with sixteen
    warps in all keep the tensor cores busy while one stores."""
    room = num_stages * (BLOCK_M + BLOCK_N) * BLOCK_K * itemsize
    room += BLOCK_M * BLOCK_N * out_itemsize // (2 if HALVED else 1) + _BARRIERS
    return max(min(_SHARED_BYTES // room, 16 // num_warps), 1)


def turned_first(capability: int, precision: str, itemsize: int, others: int) -> bool:
    """Whether to copy an operand whose inner dimension is not side by side so that it is.

    Args:
        others: rows or columns of the other operand, each of which multiplies it.
    """
    return 90 <= capability < 100 and (precision == "tf32" or itemsize == 1) and others >= 256


def gpu_fits(
    *, BLOCK_M: int, BLOCK_N: int, BLOCK_K: int, COPIED: bool, SPECIALIZED: bool, SPLIT_K: int,
    num_warps: int, num_stages: int = 3, dtype: str = "float32", **_: Any,
) -> bool:  # fmt: skip
    """Registers hold a tile's sums, 128 of a thread's 255; the shared memory holds the blocks that
    are under way and the result, or half of it. Where warps specialise, others multiply than the
    four of a warp group."""
    itemsize = dtypes.BY_NAME[dtype].itemsize
    room = num_stages * (BLOCK_M + BLOCK_N) * BLOCK_K * itemsize
    if COPIED:
        room += BLOCK_M * BLOCK_N * itemsize // (1 if SPECIALIZED else 2) + _BARRIERS
        if SPLIT_K > 1 or BLOCK_N < 32 or max(BLOCK_M, BLOCK_N, BLOCK_K) > 256:
            return False
    if SPECIALIZED and not (COPIED and num_warps == 4 and BLOCK_M >= 128):
        return False
    warps = 2 * num_warps if SPECIALIZED else num_warps
    limit = _SHARED_BYTES if COPIED else _SHARED_BYTES_BEFORE
    return room <= limit and 32 * 128 * warps >= BLOCK_M * BLOCK_N


def copies(
    capability: int, strides: Mapping[str, tuple[int, ...]], itemsize: int, out_itemsize: int
) -> bool:
    """Whether descriptors can describe the operands: one dimension without gaps, steps of the other
    that are multiples of 16 bytes, batches in one step.

    Args:
        strides: of "c", "a" and "b": (batch, row, column); a batch of 0 is no batch.
    """
    if capability < _COPY_ENGINES:
        return False
    for name, (batch, row, column) in strides.items():
        size = out_itemsize if name == "c" else itemsize
        near, far = (column, row) if name == "c" or column == 1 else (row, column)
        if near != 1 or far <= 0 or far * size % 16 or batch * size % 16 or batch < 0:
            return False
    return True
