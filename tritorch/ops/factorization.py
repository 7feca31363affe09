"""Matrix factorizations in blocks, without gradients: blocks are kernels, products lie between.

On CPUs blocks are factored where they lie, row by row; on GPUs, smaller ones, as tiles.

Everything here takes and gives dense batches (batch, rows, columns) of float32 or float64.
"""

from __future__ import annotations

from tritorch.dtypes import float64
from tritorch.errors import LinAlgError
from tritorch.kernels.templates import factorization as kernels
from tritorch.kernels.templates import factorization_rows as in_place
from tritorch.kernels.templates import matmul as matmul_kernels
from tritorch.kernels.templates.factorization import BLOCK, PANEL
from tritorch.kernels.templates.factorization_rows import FEW, ROWS, WIDE
from tritorch.layout import contiguous_format
from tritorch.ops.comparison import eq, ne, where
from tritorch.ops.creation import arange, eye
from tritorch.ops.dispatch import Plans
from tritorch.ops.extrema import amax
from tritorch.ops.joining import cat, tril, triu
from tritorch.ops.linalg import matmul
from tritorch.ops.memory import clone, contiguous, copy_into
from tritorch.ops.reduction import sum
from tritorch.ops.selection import gather
from tritorch.ops.views import expand, transpose, unsqueeze
from tritorch.tensor import Tensor, empty

_cholesky_rows = Plans(in_place.plan_cholesky)
_lu_rows = Plans(in_place.plan_lu)
_triangular_rows = Plans(lambda key: in_place.plan_triangular(*key))
_exchanges = Plans(lambda key: in_place.plan_exchange(*key))
_updates = Plans(lambda key: matmul_kernels.plan(*key, scaled=True))
_choleskys = Plans(kernels.plan_cholesky)
_triangulars = Plans(lambda key: kernels.plan_triangular(*key))
_lus = Plans(kernels.plan_lu)
_orders = Plans(lambda key: kernels.plan_order(*key))
_qrs = Plans(kernels.plan_qr)
_jacobis = Plans(lambda key: kernels.plan_jacobi(*key))


#: matrices that are tiles of a program on CPUs, too: to transpose them would take longer
SMALL = 16


def _split(n: int, block: int) -> int:
    """Where to halve n columns: at a multiple of the block."""
    return max(block, n // 2 // block * block)


def _block(x: Tensor, rows: slice, columns: slice) -> Tensor:
    """A part of each matrix, dense."""
    return contiguous(x[:, rows, columns])


def _in_rows(x: Tensor) -> bool:
    """Whether blocks are factored in place, row by row, instead of as tiles of a program."""
    return x._layout.device.type == "cpu"


def _leaf(x: Tensor, tile: int) -> int:
    """The greatest number of columns that one kernel takes; `tile`: as a tile.

    In place, a block of columns stays in the second-level cache.
    """
    if not _in_rows(x):
        return tile
    return max(PANEL, min(ROWS, ROWS * 4 * ROWS // max(x._layout.shape[1], 1) // PANEL * PANEL))


def _minus_product(target: Tensor, a: Tensor, b: Tensor) -> None:
    """target -= a b, where target lies."""
    plan = _updates[a._layout, b._layout, target._layout]
    result = empty(plan.outputs[0])
    plan.launch(result._address, a._address, b._address, target._address, -1.0, 1.0)
    copy_into(target, result)


def cholesky(a: Tensor) -> tuple[Tensor, Tensor]:
    """l with l l^T = a, from the lower triangle, and for each matrix 1 + the first column that
    fails, or 0.
    """
    if a._layout.shape[1] <= SMALL:
        return _cholesky_tile(a)
    # The transposed factor: its rows are what changes the rows below.
    upper = clone(transpose(a, 1, 2), memory_format=contiguous_format)
    info = _cholesky(upper)
    return contiguous(tril(transpose(upper, 1, 2))), info


def _cholesky(u: Tensor) -> Tensor:
    """The upper triangle of u becomes the factor with u^T u = what it was; gives info."""
    n = u._layout.shape[1]
    if n <= _leaf(u, BLOCK):
        if not _in_rows(u):
            factor, info = _cholesky_tile(contiguous(transpose(u, 1, 2)))
            copy_into(u, transpose(factor, 1, 2))
            return info
        plan = _cholesky_rows[u._layout]
        info = empty(plan.outputs[0])
        plan.launch(u._address, info._address)
        return info
    h = _split(n, _leaf(u, BLOCK))
    first, beside, second = u[:, :h, :h], u[:, :h, h:], u[:, h:, h:]
    info = _cholesky(first)
    _solve(transpose(first, 1, 2), beside, upper=False, unit=False)
    _minus_product(second, transpose(beside, 1, 2), beside)
    more = _cholesky(second)
    return where(eq(info, 0), where(eq(more, 0), more, more + h), info)


def _cholesky_tile(a: Tensor) -> tuple[Tensor, Tensor]:
    plan = _choleskys[a._layout]
    factor, info = (empty(out) for out in plan.outputs)
    plan.launch(factor._address, info._address, a._address)
    return factor, info


def solve_triangular(a: Tensor, b: Tensor, *, upper: bool, unit: bool = False) -> Tensor:
    """x with a x = b; only the named triangle of a is read, and with `unit` not its diagonal."""
    _, n, m = b._layout.shape
    if not n or not m or not b._layout.shape[0]:
        return b
    x = clone(b, memory_format=contiguous_format)
    _solve(a, x, upper=upper, unit=unit)
    return x


def _solve(a: Tensor, x: Tensor, *, upper: bool, unit: bool) -> None:
    """x becomes a^-1 x, where it lies."""
    _, n, m = x._layout.shape
    block = min(ROWS, WIDE) if _in_rows(x) else BLOCK
    if not _in_rows(x) and n <= block:
        _solve_tile(a, x, upper, unit)
        return
    if _in_rows(x) and (n <= block or m < FEW):
        plan = _triangular_rows[a._layout, x._layout, upper, unit]
        plan.launch(x._address, a._address)
        return
    h = _split(n, block)
    first, last = (slice(h, n), slice(0, h)) if upper else (slice(0, h), slice(h, n))
    known, rest = x[:, first], x[:, last]
    _solve(a[:, first, first], known, upper=upper, unit=unit)
    _minus_product(rest, a[:, last, first], known)
    _solve(a[:, last, last], rest, upper=upper, unit=unit)


def _solve_tile(a: Tensor, x: Tensor, upper: bool, unit: bool) -> None:
    b = contiguous(x)
    plan = _triangulars[a._layout, b._layout, upper, unit]
    found = empty(plan.outputs[0])
    plan.launch(found._address, a._address, b._address)
    copy_into(x, found)


def take_rows(x: Tensor, order: Tensor) -> Tensor:
    """Rows of each matrix of a batch, by an index (batch, rows)."""
    batch, rows = order._layout.shape
    return gather(x, 1, expand(unsqueeze(order, 2), batch, rows, x._layout.shape[2]))


def lu(a: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(l and u packed, pivots from 1, the order of rows, info): a[order] = l u."""
    packed = clone(a, memory_format=contiguous_format)
    pivots, info = _lu(packed)
    return packed, pivots, order_of(pivots, a._layout.shape[1]), info


def _lu(a: Tensor) -> tuple[Tensor, Tensor]:
    """a becomes l and u, where it lies; gives the pivots and info."""
    _, m, n = a._layout.shape
    leaf = _leaf(a, PANEL)
    if n <= leaf:
        if not _in_rows(a):
            return _lu_tile(a)
        plan = _lu_rows[a._layout]
        pivots, info = (empty(out) for out in plan.outputs)
        plan.launch(a._address, pivots._address, info._address)
        return pivots, info
    h = min(_split(n, leaf), m)
    left, right = a[:, :, :h], a[:, :, h:]
    pivots, info = _lu(left)
    _exchange(right, pivots)
    upper = right[:, :h]
    _solve(left[:, :h], upper, upper=False, unit=True)
    if m == h:
        return pivots, info
    below, rest = left[:, h:], right[:, h:]
    _minus_product(rest, below, upper)
    more, info2 = _lu(rest)
    _exchange(below, more)
    info = where(eq(info, 0), where(eq(info2, 0), info2, info2 + h), info)
    return cat([pivots, more + h], 1), info


def _lu_tile(a: Tensor) -> tuple[Tensor, Tensor]:
    dense = contiguous(a)
    plan = _lus[dense._layout]
    packed, pivots, order, info = (empty(out) for out in plan.outputs)
    plan.launch(packed._address, pivots._address, order._address, info._address, dense._address)
    copy_into(a, packed)
    return pivots, info


def _exchange(a: Tensor, pivots: Tensor) -> None:
    """The rows of each matrix change their places as pivots say."""
    if _in_rows(a):
        plan = _exchanges[a._layout, pivots._layout]
        plan.launch(a._address, pivots._address)
    else:
        copy_into(a, take_rows(contiguous(a), order_of(pivots, a._layout.shape[1])))


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
