"""Matrix products on GPUs: which tiles, and the parts of `matmul_tile` that only GPUs run.

Three ways, of which a configuration names one:
- programs for one tile each, operands through the ordinary loads, several blocks under way
  (`num_stages`): any strides, every GPU;
- COPIED, from sm_90 on: as many programs as multiprocessors, each walks over tiles, and the copy
  engine fetches blocks by descriptors that the program makes; with SPECIALIZED some warps only
  copy while the others multiply. The result leaves through the copy engine too, in two halves, so
  that the shared memory holds more blocks;
- SPLIT_K: few tiles and a long inner dimension: programs sum parts of it, in float32, and
  `matmul_finish` adds the parts in a fixed order.

Source: Triton's tutorial of persistent matrix multiplication; Osama et al., Stream-K, 2023 (why the
    inner dimension is split).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tritorch import dtypes
from tritorch.kernels.templates.rows import ceil_divide, next_power_of_2, row_offset
from tritorch.kernels.templates.template import helper, kernel

if TYPE_CHECKING:
    import triton.language as tl

#: the smallest shared memory of a block among the GPUs with copy engines, and before them
_SHARED_BYTES, _SHARED_BYTES_BEFORE = 227 << 10, 163 << 10
_COPY_ENGINES = 90


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
    bias_column_stride, BATCHED: tl.constexpr, BIAS: tl.constexpr, SCALED: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Scale, add the bias, apply the epilogue and store a tile by its descriptor."""
    if BIAS:
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
    SCALED: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr, SPECIALIZED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """All tiles whose number is that of the program, modulo the number of programs."""
    HALF: tl.constexpr = BLOCK_N // 2
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
        halves = tl.permute(tl.reshape(total, (BLOCK_M, 2, HALF)), (0, 2, 1))
        left, right = tl.split(halves)
        copied_out(
            c_tiles, left, own_bias, alpha, beta, batch, row, column, m, n, bias_row_stride,
            bias_column_stride, BATCHED, BIAS, SCALED, BLOCK_M, HALF,
        )  # fmt: skip
        copied_out(
            c_tiles, right, own_bias, alpha, beta, batch, row, column + HALF, m, n,
            bias_row_stride, bias_column_stride, BATCHED, BIAS, SCALED, BLOCK_M, HALF,
        )  # fmt: skip


@kernel(default={"BLOCK": 1024})
def matmul_finish(
    c_ptr, parts_ptr, bias_ptr, alpha, beta, numel, m, n, n_splits,
    bias_row_stride, bias_column_stride, size1, size2, size3,
    bias_stride0, bias_stride1, bias_stride2, bias_stride3,
    BIAS: tl.constexpr, SCALED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK elements of C, which lie one behind the other, from their n_splits
    parts."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < numel
    total = tl.zeros((BLOCK,), parts_ptr.dtype.element_ty)
    for _ in range(n_splits):
        total += tl.load(parts_ptr + at, mask=mask, other=0.0)
        parts_ptr += numel
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


def gpu_tile(
    m: int, n: int, k: int, batch: int, dtype: str, *, multiprocessors: int = 108,
    copies: bool = False, precision: str = "ieee", **_: Any,
) -> dict[str, Any]:  # fmt: skip
    """A GPU's configuration by its facts; not measured, but what fits registers and shared memory
    without spilling, with enough tiles for the multiprocessors.

    Args:
        copies: whether the copy engine can reach the operands.
        precision: of float32: "ieee" or "tf32".
    """
    itemsize = dtypes.BY_NAME[dtype].itemsize
    tensor_cores = itemsize <= 2 or precision == "tf32"
    if not tensor_cores:
        tiles = [(128, 128, 16, 8), (64, 64, 16, 4)] if itemsize == 4 else [(64, 64, 16, 4)]
    else:
        block_k = 128 // itemsize  # a whole line of shared memory
        tiles = [(128, 128, block_k, 8), (64, 128, block_k, 4), (64, 64, block_k, 4)]
        if copies:
            tiles.insert(0, (128, 256, block_k, 8))
    height, width = max(16, next_power_of_2(m)), max(16, next_power_of_2(n))

    def programs(tile: tuple[int, int, int, int]) -> int:
        return batch * ceil_divide(m, tile[0]) * ceil_divide(n, tile[1])

    fitting = [t for t in tiles if t[0] <= height and t[1] <= width] or tiles[-1:]
    # The largest tile of which every multiprocessor gets one; else the smallest.
    chosen = next((t for t in fitting if programs(t) >= multiprocessors), fitting[-1])
    block_m, block_n = min(chosen[0], height), min(chosen[1], width)
    block_k = max(min(chosen[2], next_power_of_2(k)), 32 if itemsize == 1 else 16)
    split = 1
    idle = multiprocessors // max(programs(chosen), 1)
    if idle >= 2 and dtype not in ("float64",):
        split = max(min(idle, 16, k // (8 * block_k)), 1)
        split = 1 << (split.bit_length() - 1)
    copied = copies and split == 1 and block_m >= 64 and block_n >= 64
    stages = 3 if tensor_cores else 2
    if copied and (block_m, block_n) != (128, 256):
        stages = 4
    return {
        "BLOCK_M": block_m, "BLOCK_N": block_n, "BLOCK_K": block_k, "GROUP_M": 8,
        "COPIED": copied, "SPECIALIZED": False, "SPLIT_K": split,
        "num_warps": chosen[3], "num_stages": stages,
    }  # fmt: skip


def gpu_fits(
    *, BLOCK_M: int, BLOCK_N: int, BLOCK_K: int, COPIED: bool, SPECIALIZED: bool, SPLIT_K: int,
    num_warps: int, num_stages: int = 3, dtype: str = "float32", **_: Any,
) -> bool:  # fmt: skip
    """Registers hold a tile's sums, 128 of a thread's 255; the shared memory holds the blocks that
    are under way. Warps that only copy come from the four of a warp group."""
    itemsize = dtypes.BY_NAME[dtype].itemsize
    room = num_stages * (BLOCK_M + BLOCK_N) * BLOCK_K * itemsize
    if COPIED:
        room += BLOCK_M * BLOCK_N // 2 * itemsize
        if SPLIT_K > 1 or BLOCK_N < 32 or max(BLOCK_M, BLOCK_N, BLOCK_K) > 256:
            return False
    if SPECIALIZED and not (COPIED and num_warps == 4):
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
