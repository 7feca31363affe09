"""Kernels of matrix factorizations: the small blocks that the blocked algorithms rest on.

Each program takes one matrix of a batch (or a block of its columns) as a tile, and goes through its
columns one after the other; what is outside of these blocks is matrix products.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritorch.kernels.templates.template import helper, kernel

if TYPE_CHECKING:
    import triton.language as tl


@helper
def row_of(tile, rows, i):
    """Row i of a tile."""
    return tl.sum(tl.where(rows == i, tile, 0.0), 0)


@helper
def column_of(tile, columns, j):
    """Column j of a tile."""
    return tl.sum(tl.where(columns == j, tile, 0.0), 1)


@kernel()
def cholesky_block(l_ptr, info_ptr, a_ptr, n, SIZE: tl.constexpr):
    """a = l l^T by columns, from the lower triangle.

    info: 1 + the first column that fails, or 0.
    """
    batch = tl.program_id(0).to(tl.int64)
    line = tl.arange(0, SIZE)
    rows = line[:, None]
    columns = line[None, :]
    at = batch * n * n + rows * n + columns
    inside = (rows < n) & (columns < n)
    a = tl.load(a_ptr + at, mask=inside, other=0.0)
    a = tl.where(rows >= columns, a, tl.trans(a))
    failed = 0
    for j in range(n):
        row = row_of(a, rows, j)
        column = column_of(a, columns, j)
        pivot = tl.sum(tl.where(line == j, row, 0.0), 0)
        failed = tl.where((failed == 0) & ((pivot > 0) == 0), j + 1, failed)
        root = tl.sqrt(pivot)
        row = tl.where(line > j, row / root, 0.0)
        column = tl.where(line > j, column / root, 0.0)
        kept = tl.where(line == j, root, column)
        a = tl.where(columns == j, kept[:, None], a - column[:, None] * row[None, :])
    tl.store(l_ptr + at, tl.where(rows >= columns, a, 0.0), mask=inside)
    tl.store(info_ptr + batch, failed)


@kernel()
def triangular_block(
    x_ptr, a_ptr, b_ptr, n, m, a_batch_stride, a_row_stride, a_column_stride, n_blocks,
    UPPER: tl.constexpr, UNIT: tl.constexpr, SIZE: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """a x = b for a triangular a and WIDTH columns of b."""
    batch = (tl.program_id(0) // n_blocks).to(tl.int64)
    block = tl.program_id(0) % n_blocks
    line = tl.arange(0, SIZE)
    rows = line[:, None]
    columns = block * WIDTH + tl.arange(0, WIDTH)[None, :]
    at = batch * n * m + rows * m + columns
    inside = (rows < n) & (columns < m)
    a_ptr += batch * a_batch_stride
    x = tl.load(b_ptr + at, mask=inside, other=0.0)
    for step in range(n):
        i = n - 1 - step if UPPER else step
        row = row_of(x, rows, i)
        if not UNIT:
            row = row / tl.load(a_ptr + i * a_row_stride + i * a_column_stride)
        left = (line < i) if UPPER else ((line > i) & (line < n))
        factors = tl.load(a_ptr + line * a_row_stride + i * a_column_stride, mask=left, other=0.0)
        x = tl.where(rows == i, row[None, :], x - factors[:, None] * row[None, :])
    tl.store(x_ptr + at, x, mask=inside)


@kernel()
def lu_panel(
    lu_ptr, pivots_ptr, order_ptr, info_ptr, a_ptr, m, n,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """p a = l u with row exchanges, for few columns.

    pivots: the row (from 1) that each step exchanges with; order: which row of a each row is;
    info: 1 + the first column without a pivot, or 0.
    """
    batch = tl.program_id(0).to(tl.int64)
    line = tl.arange(0, ROWS)
    rows = line[:, None]
    columns = tl.arange(0, COLUMNS)[None, :]
    at = batch * m * n + rows * n + columns
    inside = (rows < m) & (columns < n)
    a = tl.load(a_ptr + at, mask=inside, other=0.0)
    order = line
    failed = 0
    steps = tl.minimum(m, n)
    for j in range(steps):
        size = tl.abs(column_of(a, columns, j))
        size = tl.where((line >= j) & (line < m), size, -1.0)
        p = tl.argmax(size, 0)
        tl.store(pivots_ptr + batch * steps + j, p + 1)
        upper = row_of(a, rows, p)
        lower = row_of(a, rows, j)
        a = tl.where(rows == j, upper[None, :], tl.where(rows == p, lower[None, :], a))
        moved = tl.sum(tl.where(line == p, order, 0), 0)
        other = tl.sum(tl.where(line == j, order, 0), 0)
        order = tl.where(line == j, moved, tl.where(line == p, other, order))
        column = column_of(a, columns, j)
        pivot = tl.sum(tl.where(line == j, column, 0.0), 0)
        failed = tl.where((failed == 0) & (pivot == 0), j + 1, failed)
        divisor = tl.where(pivot == 0, 1.0, pivot)
        factor = tl.where((line > j) & (line < m), column / divisor, 0.0)
        rest = tl.where(columns > j, upper[None, :], 0.0)
        a = tl.where((columns == j) & (rows > j), factor[:, None], a - factor[:, None] * rest)
    tl.store(lu_ptr + at, a, mask=inside)
    tl.store(order_ptr + batch * m + line, order.to(tl.int64), mask=line < m)
    tl.store(info_ptr + batch, failed)


@kernel()
def pivot_order(order_ptr, pivots_ptr, m, steps, ROWS: tl.constexpr):
    """The order of rows that exchanges (from 1) lead to."""
    batch = tl.program_id(0).to(tl.int64)
    line = tl.arange(0, ROWS)
    order = line
    for j in range(steps):
        p = tl.load(pivots_ptr + batch * steps + j) - 1
        there = tl.sum(tl.where(line == p, order, 0), 0)
        here = tl.sum(tl.where(line == j, order, 0), 0)
        order = tl.where(line == j, there, tl.where(line == p, here, order))
    tl.store(order_ptr + batch * m + line, order.to(tl.int64), mask=line < m)


@kernel()
def qr_panel(a_out_ptr, tau_ptr, a_ptr, m, n, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Householder's reflections for few columns, packed as LAPACK's geqrf packs them.

    Above and on the diagonal r; below it the vectors v (with a 1 on the diagonal that is not
    stored): q = (1 - tau_0 v_0 v_0^T) (1 - tau_1 v_1 v_1^T) ...
    """
    batch = tl.program_id(0).to(tl.int64)
    line = tl.arange(0, ROWS)
    rows = line[:, None]
    columns = tl.arange(0, COLUMNS)[None, :]
    at = batch * m * n + rows * n + columns
    inside = (rows < m) & (columns < n)
    a = tl.load(a_ptr + at, mask=inside, other=0.0)
    steps = tl.minimum(m, n)
    for j in range(steps):
        column = column_of(a, columns, j)
        alpha = tl.sum(tl.where(line == j, column, 0.0), 0)
        rest = tl.where((line > j) & (line < m), column, 0.0)
        # Scaled by the greatest element, so that squares neither overflow nor vanish.
        top = tl.maximum(tl.max(tl.abs(rest), 0), tl.abs(alpha))
        safe = tl.where(top > 0, top, 1.0)
        below = tl.sum((rest / safe) * (rest / safe), 0)
        length = safe * tl.sqrt((alpha / safe) * (alpha / safe) + below)
        done = below == 0
        beta = tl.where(done, alpha, tl.where(alpha < 0, length, -length))
        tau = tl.where(done, 0.0, (beta - alpha) / tl.where(done, 1.0, beta))
        v = rest / tl.where(done, 1.0, alpha - beta)
        v = tl.where(line == j, 1.0, v)
        w = tl.sum(v[:, None] * a, 0)
        kept = tl.where(line < j, column, tl.where(line == j, beta, v))
        changed = a - tau * (v[:, None] * w[None, :])
        a = tl.where(columns == j, kept[:, None], tl.where(columns > j, changed, a))
        tl.store(tau_ptr + batch * steps + j, tau)
    tl.store(a_out_ptr + at, a, mask=inside)


@kernel()
def jacobi(
    w_ptr, v_ptr, sweeps_ptr, n, m, tolerance, ROW: tl.constexpr, VECTOR: tl.constexpr,
    SWEEPS: tl.constexpr, THREADS: tl.constexpr,
):  # fmt: skip
    """One-sided Jacobi: rotates pairs of the n rows of w (each of m) until all are orthogonal.

    v, which starts as the identity, takes the same rotations: w_after = v w_before. Works in place.
    sweeps: how many passes over all pairs it took; SWEEPS + 1 if it did not converge.
    THREADS: a GPU's, which must have read a row before it changes, and see it changed: several hold
    the same element of a short row, one of them writes it, and all decide by it.
    """
    batch = tl.program_id(0).to(tl.int64)
    w_ptr += batch * n * m
    v_ptr += batch * n * n
    columns = tl.arange(0, ROW)
    places = tl.arange(0, VECTOR)
    active = 1
    sweep = 0
    while (active > 0) & (sweep <= SWEEPS):
        active = 0
        for p in range(n - 1):
            x = tl.load(w_ptr + p * m + columns, mask=columns < m, other=0.0)
            for q in range(p + 1, n):
                y = tl.load(w_ptr + q * m + columns, mask=columns < m, other=0.0)
                xx = tl.sum(x * x, 0)
                yy = tl.sum(y * y, 0)
                xy = tl.sum(x * y, 0)
                if tl.abs(xy) > tolerance * tl.sqrt(xx) * tl.sqrt(yy):
                    active = 1
                    zeta = (yy - xx) / (2 * xy)
                    t = 1.0 / (tl.abs(zeta) + tl.sqrt(1.0 + zeta * zeta))
                    t = tl.where(zeta < 0, -t, t)
                    c = 1.0 / tl.sqrt(1.0 + t * t)
                    s = c * t
                    turned = c * x - s * y
                    f = tl.load(v_ptr + p * n + places, mask=places < n, other=0.0)
                    g = tl.load(v_ptr + q * n + places, mask=places < n, other=0.0)
                    if THREADS:
                        tl.debug_barrier()
                    tl.store(w_ptr + q * m + columns, s * x + c * y, mask=columns < m)
                    x = turned
                    tl.store(v_ptr + p * n + places, c * f - s * g, mask=places < n)
                    tl.store(v_ptr + q * n + places, s * f + c * g, mask=places < n)
                    if THREADS:
                        tl.debug_barrier()
            tl.store(w_ptr + p * m + columns, x, mask=columns < m)
            if THREADS:
                tl.debug_barrier()
        sweep += 1
    tl.store(sweeps_ptr + batch, sweep)
