"""Blocked matrix factorizations without gradients: small blocks are kernels, the rest are products.

Everything here takes and gives dense batches (batch, rows, columns) of float32 or float64.
"""

from __future__ import annotations

from tritorch.dtypes import float64
from tritorch.errors import LinAlgError
from tritorch.kernels.templates import factorization as kernels
from tritorch.kernels.templates.factorization import BLOCK, PANEL
from tritorch.ops.comparison import eq, ne, where
from tritorch.ops.creation import arange, eye, zeros
from tritorch.ops.dispatch import Plans
from tritorch.ops.extrema import amax
from tritorch.ops.joining import cat, tril, triu
from tritorch.ops.linalg import matmul
from tritorch.ops.memory import clone, contiguous
from tritorch.ops.reduction import sum
from tritorch.ops.selection import gather
from tritorch.ops.views import expand, transpose, unsqueeze
from tritorch.tensor import Tensor, empty

_choleskys = Plans(kernels.plan_cholesky)
_triangulars = Plans(lambda key: kernels.plan_triangular(*key))
_lus = Plans(kernels.plan_lu)
_orders = Plans(lambda key: kernels.plan_order(*key))
_qrs = Plans(kernels.plan_qr)
_jacobis = Plans(lambda key: kernels.plan_jacobi(*key))


def _split(n: int, block: int) -> int:
    """Where to halve n columns: at a multiple of the block."""
    return max(block, n // 2 // block * block)


def _block(x: Tensor, rows: slice, columns: slice) -> Tensor:
    """A part of each matrix, dense."""
    return contiguous(x[:, rows, columns])


def cholesky(a: Tensor) -> tuple[Tensor, Tensor]:
    """l with l l^T = a, and for each matrix 1 + the first column that fails, or 0."""
    batch, n, _ = a._layout.shape
    if n <= BLOCK:
        plan = _choleskys[a._layout]
        factor, info = (empty(out) for out in plan.outputs)
        plan.launch(factor._address, info._address, a._address)
        return factor, info
    h = _split(n, BLOCK)
    head, tail = slice(0, h), slice(h, n)
    first, info = cholesky(_block(a, head, head))
    below = transpose(
        solve_triangular(first, _block(transpose(a, 1, 2), head, tail), upper=False), 1, 2
    )
    rest = a[:, tail, tail] - matmul(below, transpose(below, 1, 2))
    second, more = cholesky(rest)
    factor = zeros(batch, n, n, dtype=a._layout.dtype, device=a._layout.device)
    factor[:, head, head] = first
    factor[:, tail, head] = below
    factor[:, tail, tail] = second
    info = where(eq(info, 0), where(eq(more, 0), more, more + h), info)
    return factor, info


def solve_triangular(a: Tensor, b: Tensor, *, upper: bool, unit: bool = False) -> Tensor:
    """x with a x = b; only the named triangle of a is read, and with `unit` not its diagonal."""
    _, n, m = b._layout.shape
    if not n or not m or not b._layout.shape[0]:
        return b
    if n <= BLOCK:
        b = contiguous(b)
        plan = _triangulars[a._layout, b._layout, upper, unit]
        x = empty(plan.outputs[0])
        plan.launch(x._address, a._address, b._address)
        return x
    h = _split(n, BLOCK)
    head, tail = slice(0, h), slice(h, n)
    if upper:
        last = solve_triangular(a[:, tail, tail], b[:, tail], upper=True, unit=unit)
        rest = b[:, head] - matmul(a[:, head, tail], last)
        return cat([solve_triangular(a[:, head, head], rest, upper=True, unit=unit), last], 1)
    first = solve_triangular(a[:, head, head], b[:, head], upper=False, unit=unit)
    rest = b[:, tail] - matmul(a[:, tail, head], first)
    return cat([first, solve_triangular(a[:, tail, tail], rest, upper=False, unit=unit)], 1)


def take_rows(x: Tensor, order: Tensor) -> Tensor:
    """Rows of each matrix of a batch, by an index (batch, rows)."""
    batch, rows = order._layout.shape
    return gather(x, 1, expand(unsqueeze(order, 2), batch, rows, x._layout.shape[2]))


def lu(a: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(l and u packed, pivots from 1, the order of rows, info): a[order] = l u."""
    _, m, n = a._layout.shape
    if n <= PANEL:
        a = contiguous(a)
        plan = _lus[a._layout]
        packed, pivots, order, info = (empty(out) for out in plan.outputs)
        plan.launch(packed._address, pivots._address, order._address, info._address, a._address)
        return packed, pivots, order, info
    h = min(_split(n, PANEL), m)
    head, tail = slice(0, h), slice(h, n)
    left, pivots, order, info = lu(_block(a, slice(0, m), head))
    right = take_rows(_block(a, slice(0, m), tail), order)
    upper = solve_triangular(left[:, :h], right[:, :h], upper=False, unit=True)
    if m == h:
        return cat([left, upper], 2), pivots, order, info
    below = left[:, h:]
    rest = right[:, h:] - matmul(below, upper)
    packed, pivots2, order2, info2 = lu(rest)
    below = take_rows(contiguous(below), order2)
    order = cat([order[:, :h], gather(order[:, h:], 1, order2)], 1)
    whole = cat([cat([left[:, :h], upper], 2), cat([below, packed], 2)], 1)
    info = where(eq(info, 0), where(eq(info2, 0), info2, info2 + h), info)
    return whole, cat([pivots, pivots2 + h], 1), order, info


def order_of(pivots: Tensor, m: int) -> Tensor:
    """The order of m rows (batch, m) that exchanges (batch, steps), counted from 1, lead to."""
    pivots = contiguous(pivots)
    plan = _orders[pivots._layout, m]
    order = empty(plan.outputs[0])
    plan.launch(order._address, pivots._address)
    return order


def swaps_of(pivots: Tensor) -> Tensor:
    """How many rows each matrix really exchanged."""
    places = arange(1, pivots._layout.shape[-1] + 1, device=pivots._layout.device)
    return sum(ne(pivots, places), -1)


def _reflections(packed: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
    """(v, t) of a panel: the product of its reflections is 1 - v t v^T."""
    _, m, k = packed._layout.shape
    device, dtype = packed._layout.device, packed._layout.dtype
    v = tril(packed, -1) + eye(m, k, dtype=dtype, device=device)
    products = triu(matmul(transpose(v, 1, 2), v), 1)
    scales = unsqueeze(tau, 2)
    diagonal = eye(k, dtype=dtype, device=device) * scales
    t = solve_triangular(scales * products, diagonal, upper=True, unit=True)
    return v, t


def qr(a: Tensor) -> tuple[Tensor, Tensor]:
    """(r and the reflections packed as LAPACK's geqrf does, tau)."""
    _, m, n = a._layout.shape
    if n <= PANEL:
        a = contiguous(a)
        plan = _qrs[a._layout]
        packed, tau = (empty(out) for out in plan.outputs)
        plan.launch(packed._address, tau._address, a._address)
        return packed, tau
    a = clone(a)
    taus = []
    for start in range(0, min(m, n), PANEL):
        stop = min(start + PANEL, min(m, n))
        packed, tau = qr(_block(a, slice(start, m), slice(start, stop)))
        a[:, start:, start:stop] = packed
        taus.append(tau)
        if stop < n:
            v, t = _reflections(packed, tau)
            rest = a[:, start:, stop:]
            change = matmul(transpose(t, 1, 2), matmul(transpose(v, 1, 2), rest))
            a[:, start:, stop:] = rest - matmul(v, change)
    return a, cat(taus, 1)


def reflected(packed: Tensor, tau: Tensor, columns: int) -> Tensor:
    """The first columns of q."""
    batch, m, _ = packed._layout.shape
    k = tau._layout.shape[1]
    device, dtype = packed._layout.device, packed._layout.dtype
    q = contiguous(expand(eye(m, columns, dtype=dtype, device=device), batch, m, columns))
    for start in reversed(range(0, k, PANEL)):
        stop = min(start + PANEL, k)
        v, t = _reflections(
            _block(packed, slice(start, m), slice(start, stop)), contiguous(tau[:, start:stop])
        )
        part = q[:, start:]
        q[:, start:] = part - matmul(v, matmul(t, matmul(transpose(v, 1, 2), part)))
    return q


def jacobi(a: Tensor, single: bool) -> tuple[Tensor, Tensor]:
    """(w, v) of a float64 a: the rows of w = v a are orthogonal, v is orthogonal.

    `single`: as exact as float32 needs it.
    """
    batch, n, _ = a._layout.shape
    device = a._layout.device
    w = clone(contiguous(a))
    v = clone(contiguous(expand(eye(n, dtype=float64, device=device), batch, n, n)))
    plan = _jacobis[w._layout, single]
    sweeps = empty(plan.outputs[2])
    plan.launch(w._address, v._address, sweeps._address)
    if batch and int(amax(sweeps)) > kernels.SWEEPS:
        raise LinAlgError(
            "linalg: the singular values did not converge. The input may have nan or infinity."
        )
    return w, v


def flat(x: Tensor) -> Tensor:
    """All batch dimensions as one, dense."""
    rows, columns = x._layout.shape[-2:]
    count = 1
    for extent in x._layout.shape[:-2]:
        count *= extent
    return contiguous(x.reshape(count, rows, columns))
