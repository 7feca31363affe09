"""Distances of all pairs of points, and their gradients.

    d[i, j] = (sum over k of |x[i, k] - y[j, k]|^p)^(1/p)

Two ways. Directly, by any p: a tile of pairs stays in the first-level cache while the coordinates
go by, four at a time; three operations for a coordinate of a pair where p is 1 or 2. Euclidean ones
of many points by a product of matrices (`plan_by_products`), one operation for a coordinate of a
pair, which loses digits of distances that are small beside the points' lengths:

    |x - y|^2 = (-2x, |x|^2, 1) . (y, 1, |y|^2)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tritorch.kernels.plan import Plan, Step, nothing
from tritorch.kernels.templates import matmul
from tritorch.kernels.templates.rows import ceil_divide, next_power_of_2, to_compute
from tritorch.kernels.templates.template import helper, kernel
from tritorch.layout import Layout

if TYPE_CHECKING:
    import triton.language as tl

#: pairs, or points and coordinates, of a program
_TILES = {"cpu": (16, 64), "cuda": (32, 64)}
#: coordinates added at a time
_UNROLL = 4
_ROOT = "def epilogue(x):\n    return tl.sqrt(tl.where(x < 0, 0.0, x))\n"


def kind_of(p: float) -> str:
    """What is done with the differences."""
    return {0: "COUNT", 1: "SUM", 2: "SQUARES", math.inf: "GREATEST"}.get(p, "POWERS")


@helper
def power(x, exponent):
    """x^exponent for x >= 0."""
    return tl.exp2(tl.log2(x) * exponent.to(x.dtype))


@helper
def joined(total, x, y, p, KIND: tl.constexpr):
    """The total with one more coordinate of each pair."""
    size = tl.abs(x[:, None] - y[None, :])
    if KIND == "COUNT":
        total += tl.where(size != 0, 1.0, 0.0)
    elif KIND == "SUM":
        total += size
    elif KIND == "SQUARES":
        total += size * size
    elif KIND == "GREATEST":  # infinities that cancel do not count
        total = tl.where(size > total, size, total)
    else:
        total += power(size, p)
    return total


@kernel()
def distances(
    d_ptr, x_ptr, y_ptr, p, inverse, n, m, k, n_tiles_m, n_tiles,
    x_batch_stride, x_row_stride, x_column_stride, y_batch_stride, y_row_stride, y_column_stride,
    KIND: tl.constexpr, UNROLL: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    """One program: a tile of pairs (BLOCK_N of x, BLOCK_M of y) of a batch."""
    batch = (tl.program_id(0) // n_tiles).to(tl.int64)
    tile = tl.program_id(0) % n_tiles
    rows = (tile // n_tiles_m) * BLOCK_N + tl.arange(0, BLOCK_N)
    columns = (tile % n_tiles_m) * BLOCK_M + tl.arange(0, BLOCK_M)
    x_ptr += batch * x_batch_stride + rows.to(tl.int64) * x_row_stride
    y_ptr += batch * y_batch_stride + columns.to(tl.int64) * y_row_stride
    WIDE: tl.constexpr = d_ptr.dtype.element_ty.primitive_bitwidth == 64
    total = tl.zeros((BLOCK_N, BLOCK_M), dtype=tl.float64 if WIDE else tl.float32)
    for first in range(0, k // UNROLL * UNROLL, UNROLL):
        for step in tl.static_range(UNROLL):
            x = tl.load(x_ptr + (first + step) * x_column_stride, mask=rows < n, other=0)
            y = tl.load(y_ptr + (first + step) * y_column_stride, mask=columns < m, other=0)
            total = joined(total, to_compute(x), to_compute(y), p, KIND)
    for inner in range(k // UNROLL * UNROLL, k):
        x = tl.load(x_ptr + inner * x_column_stride, mask=rows < n, other=0)
        y = tl.load(y_ptr + inner * y_column_stride, mask=columns < m, other=0)
        total = joined(total, to_compute(x), to_compute(y), p, KIND)
    if KIND == "SQUARES":
        total = tl.sqrt(total)
    if KIND == "POWERS":
        total = power(total, inverse)
    places = batch * n * m + rows.to(tl.int64)[:, None] * m + columns[None, :]
    mask = (rows < n)[:, None] & (columns < m)[None, :]
    tl.store(d_ptr + places, total.to(d_ptr.dtype.element_ty), mask=mask)


@kernel()
def distance_gradient(
    own_ptr, weights_ptr, d_ptr, x_ptr, y_ptr, exponent, n, m, k, n_tiles_k, n_tiles,
    d_batch_stride, d_row_stride, d_column_stride,
    x_batch_stride, x_row_stride, x_column_stride, y_batch_stride, y_row_stride, y_column_stride,
    KIND: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """own[i, k] = sum over j of weights[i, j] * sign(x - y) * |x - y|^exponent.

    GREATEST: sign(x - y) where |x - y| is the distance. The weights lie as the distances do. One
    program: BLOCK_K coordinates of BLOCK_N points of x.
    """
    batch = (tl.program_id(0) // n_tiles).to(tl.int64)
    tile = tl.program_id(0) % n_tiles
    rows = (tile // n_tiles_k) * BLOCK_N + tl.arange(0, BLOCK_N)
    columns = (tile % n_tiles_k) * BLOCK_K + tl.arange(0, BLOCK_K)
    inside = (rows < n)[:, None] & (columns < k)[None, :]
    x_ptr += batch * x_batch_stride
    y_ptr += batch * y_batch_stride + columns.to(tl.int64) * y_column_stride
    at = batch * d_batch_stride + rows.to(tl.int64) * d_row_stride
    places = rows.to(tl.int64)[:, None] * x_row_stride + columns[None, :] * x_column_stride
    x = to_compute(tl.load(x_ptr + places, mask=inside, other=0))
    total = tl.zeros((BLOCK_N, BLOCK_K), dtype=x.dtype)
    for j in range(m):
        y = to_compute(tl.load(y_ptr + j * y_row_stride, mask=columns < k, other=0))
        weight = tl.load(weights_ptr + at + j * d_column_stride, mask=rows < n, other=0)
        weight = to_compute(weight)[:, None]
        difference = x - y[None, :]
        if KIND == "GREATEST":
            distance = tl.load(d_ptr + at + j * d_column_stride, mask=rows < n, other=0)
            least = to_compute(distance)[:, None]
            weight = tl.where(tl.abs(difference) == least, weight, 0.0)
        elif KIND == "POWERS":
            size = tl.abs(difference)
            weight *= tl.where(size == 0, 0.0, power(size, exponent))
        weight = tl.where(difference < 0, -weight, weight)
        total += tl.where(difference == 0, 0.0, weight)
    places = batch * n * k + rows.to(tl.int64)[:, None] * k + columns[None, :]
    tl.store(own_ptr + places, total.to(own_ptr.dtype.element_ty), mask=inside)


@kernel()
def lifted(
    out_ptr, x_ptr, n, k, width, x_batch_stride, x_row_stride, x_column_stride,
    FIRST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: a row, (-2x, |x|^2, 1) if it is FIRST, else (x, 1, |x|^2)."""
    batch = (tl.program_id(0) // n).to(tl.int64)
    row = (tl.program_id(0) % n).to(tl.int64)
    x_ptr += batch * x_batch_stride + row * x_row_stride
    out_ptr += tl.program_id(0).to(tl.int64) * width
    squares = tl.zeros((BLOCK,), dtype=out_ptr.dtype.element_ty)
    for start in range(0, k, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + columns * x_column_stride, mask=columns < k, other=0)
        squares += x * x
        tl.store(out_ptr + columns, -2 * x if FIRST else x, mask=columns < k)
    square = tl.sum(squares, 0)
    one = tl.full((), 1.0, dtype=square.dtype)
    tl.store(out_ptr + k, square if FIRST else one)
    tl.store(out_ptr + k + 1, one if FIRST else square)


def _strides(prefix: str, x: Layout) -> dict[str, int]:
    names = ("batch", "row", "column")
    return {f"{prefix}_{name}_stride": step for name, step in zip(names, x.strides)}


def plan_direct(x: Layout, y: Layout, p: float) -> Plan:
    """(d, x, y): distances by p of x (batch, n, k) and y (batch, m, k), of any strides."""
    batch, n, k = x.shape
    m = y.shape[1]
    d = Layout.contiguous(x.dtype, (batch, n, m), x.device)
    if not d.numel:
        return Plan((d,), nothing)
    height, width = _TILES[x.device.type]
    height, width = min(height, next_power_of_2(n)), min(width, next_power_of_2(m))
    n_tiles_m = ceil_divide(m, width)
    n_tiles = n_tiles_m * ceil_divide(n, height)
    kind = kind_of(p)
    values: dict[str, Any] = {
        "n": n, "m": m, "k": k, "n_tiles_m": n_tiles_m, "n_tiles": n_tiles,
        "p": p if kind == "POWERS" else None, "inverse": 1 / p if kind == "POWERS" else None,
        "KIND": kind, "UNROLL": _UNROLL, "BLOCK_N": height, "BLOCK_M": width,
        **_strides("x", x), **_strides("y", y),
    }  # fmt: skip
    operands = {"d_ptr": d, "x_ptr": x, "y_ptr": y}
    scalars = {"p": "fp64", "inverse": "fp64"} if kind == "POWERS" else {}
    grid = (batch * n_tiles,)
    launch, compiled = distances.bind(x.device, grid, operands, values, scalars=scalars)
    return Plan((d,), launch, (compiled,))


def plan_gradient(d: Layout, x: Layout, y: Layout, p: float) -> Plan:
    """(own, weights, d, x, y): what the distances' weights give the points of x.

    Weights are gradients over distances to the power of p - 1 and lie as the distances do.
    """
    batch, n, k = x.shape
    own = Layout.contiguous(x.dtype, x.shape, x.device)
    height, width = _TILES[x.device.type]
    height, width = min(height, next_power_of_2(n)), min(width, next_power_of_2(k))
    n_tiles_k = ceil_divide(k, width)
    n_tiles = n_tiles_k * ceil_divide(n, height)
    kind = kind_of(p)
    values: dict[str, Any] = {
        "n": n, "m": y.shape[1], "k": k, "n_tiles_k": n_tiles_k, "n_tiles": n_tiles,
        "exponent": p - 1 if kind == "POWERS" else None,
        "KIND": kind, "BLOCK_N": height, "BLOCK_K": width,
        **_strides("d", d), **_strides("x", x), **_strides("y", y),
    }  # fmt: skip
    operands = {"own_ptr": own, "weights_ptr": d, "d_ptr": d, "x_ptr": x, "y_ptr": y}
    scalars = {"exponent": "fp64"} if kind == "POWERS" else {}
    grid = (batch * n_tiles,)
    launch, compiled = distance_gradient.bind(x.device, grid, operands, values, scalars=scalars)
    return Plan((own,), launch, (compiled,))


def plan_by_products(x: Layout, y: Layout) -> Plan:
    """(d, x, y): Euclidean distances of float32 or float64 points."""
    from tritorch.runtime import get_target

    batch, _, k = x.shape
    m = y.shape[1]
    width = ceil_divide(k + 2, 16) * 16
    steps, sizes, kernels, parts = [], [], [], []
    for i, points in enumerate((x, y)):
        rows = points.shape[1]
        whole = Layout.contiguous(x.dtype, (batch, rows, width), x.device)
        values: dict[str, Any] = {
            "n": rows, "k": k, "width": width, "FIRST": i == 0,
            "BLOCK": min(64, next_power_of_2(k)), **_strides("x", points),
        }  # fmt: skip
        operands: dict[str, Any] = {"out_ptr": x.dtype, "x_ptr": points}
        launch, compiled = lifted.bind(x.device, (batch * rows,), operands, values)
        steps.append(Step(launch, (-1 - i, 1 + i)))
        sizes.append(whole.nbytes)
        kernels.append(compiled)
        parts.append(Layout.of(x.dtype, (batch, rows, k + 2), whole.strides, x.device))
    first, second = parts
    turned = Layout.of(
        x.dtype, (batch, k + 2, m), (second.strides[0], 1, second.strides[1]), x.device
    )
    product = matmul.plan(first, turned, pasted_epilogue=_ROOT)
    steps.append(Step(product.launch, (0, -1, -2)))
    target = get_target(x.device)
    return Plan.of_steps(product.outputs, target, steps, sizes, [*kernels, *product.kernels])
