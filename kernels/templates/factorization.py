"""Plans of the blocks of matrix factorizations; see `factorization_kernels`.

All matrices are float32 or float64, dense batches (batch, rows, columns); only the triangular
matrix of a solve may have strides.
"""

from __future__ import annotations

from tritorch import dtypes
from tritorch.kernels.plan import Plan
from tritorch.kernels.templates.factorization_kernels import (
    cholesky_block,
    jacobi,
    lu_panel,
    pivot_order,
    qr_panel,
    triangular_block,
)
from tritorch.kernels.templates.rows import ceil_divide
from tritorch.layout import Layout

#: the greatest matrices that are factored or solved as one tile, and panels' greatest widths
BLOCK = 32
PANEL = 16
#: columns of the right-hand side a program solves for
WIDTH = 64
#: passes over all pairs after which Jacobi's method is given up
SWEEPS = 60


def _power(n: int) -> int:
    return 1 << max(n - 1, 0).bit_length()


def plan_cholesky(a: Layout) -> Plan:
    """(l, info, a): l l^T = a, n <= BLOCK."""
    batch, n, _ = a.shape
    info = Layout.contiguous(dtypes.int32, (batch,), a.device)
    values = {"n": n, "SIZE": max(_power(n), 2)}
    operands = {"l_ptr": a, "info_ptr": info, "a_ptr": a}
    launch, compiled = cholesky_block.bind(a.device, (batch,), operands, values)
    return Plan((a, info), launch, (compiled,))


def plan_triangular(a: Layout, b: Layout, upper: bool, unit: bool) -> Plan:
    """(x, a, b): a x = b for a triangular a, n <= BLOCK."""
    batch, n, m = b.shape
    n_blocks = ceil_divide(m, WIDTH)
    values = {
        "n": n, "m": m, "n_blocks": n_blocks, "UPPER": upper, "UNIT": unit,
        "SIZE": max(_power(n), 2), "WIDTH": min(WIDTH, max(_power(m), 2)),
        "a_batch_stride": a.strides[0], "a_row_stride": a.strides[1],
        "a_column_stride": a.strides[2],
    }  # fmt: skip
    operands = {"x_ptr": b, "a_ptr": a, "b_ptr": b}
    launch, compiled = triangular_block.bind(a.device, (batch * n_blocks,), operands, values)
    return Plan((b,), launch, (compiled,))


def plan_lu(a: Layout) -> Plan:
    """(lu, pivots, order, info, a), for n <= PANEL columns or fewer rows."""
    batch, m, n = a.shape
    pivots = Layout.contiguous(dtypes.int32, (batch, min(m, n)), a.device)
    order = Layout.contiguous(dtypes.int64, (batch, m), a.device)
    info = Layout.contiguous(dtypes.int32, (batch,), a.device)
    values = {"m": m, "n": n, "ROWS": max(_power(m), 2), "COLUMNS": max(_power(n), 2)}
    operands = {
        "lu_ptr": a, "pivots_ptr": pivots, "order_ptr": order, "info_ptr": info, "a_ptr": a,
    }  # fmt: skip
    launch, compiled = lu_panel.bind(a.device, (batch,), operands, values)
    return Plan((a, pivots, order, info), launch, (compiled,))


def plan_order(pivots: Layout, m: int) -> Plan:
    """(order, pivots): which row each of m rows is after the exchanges."""
    batch, steps = pivots.shape
    order = Layout.contiguous(dtypes.int64, (batch, m), pivots.device)
    values = {"m": m, "steps": steps, "ROWS": max(_power(m), 2)}
    operands = {"order_ptr": order, "pivots_ptr": pivots}
    launch, compiled = pivot_order.bind(pivots.device, (batch,), operands, values)
    return Plan((order,), launch, (compiled,))


def plan_qr(a: Layout) -> Plan:
    """(packed, tau, a), for n <= PANEL columns."""
    batch, m, n = a.shape
    tau = Layout.contiguous(a.dtype, (batch, min(m, n)), a.device)
    values = {"m": m, "n": n, "ROWS": max(_power(m), 2), "COLUMNS": max(_power(n), 2)}
    operands = {"a_out_ptr": a, "tau_ptr": tau, "a_ptr": a}
    launch, compiled = qr_panel.bind(a.device, (batch,), operands, values)
    return Plan((a, tau), launch, (compiled,))


def plan_jacobi(w: Layout, single: bool) -> Plan:
    """(w, v, sweeps): rotates the rows of w (float64) in place; v holds the identity before.

    Thousands of rotations touch a row, so the work is done in float64 for float32 matrices too
    (`single`), to a tolerance that is enough for them.
    """
    batch, n, m = w.shape
    v = Layout.contiguous(w.dtype, (batch, n, n), w.device)
    sweeps = Layout.contiguous(dtypes.int32, (batch,), w.device)
    values = {
        "n": n, "m": m, "ROW": max(_power(m), 2), "VECTOR": max(_power(n), 2), "SWEEPS": SWEEPS,
        "THREADS": w.device.type != "cpu",
        "tolerance": 1e-10 if single else 2.0**-52 * max(10.0, m**0.5),
    }  # fmt: skip
    operands = {"w_ptr": w, "v_ptr": v, "sweeps_ptr": sweeps}
    scalars = {"tolerance": "fp64"}
    launch, compiled = jacobi.bind(w.device, (batch,), operands, values, scalars=scalars)
    return Plan((w, v, sweeps), launch, (compiled,))
