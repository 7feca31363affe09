"""Factorizations and solutions of linear systems, with gradients of every order.

The factorizations themselves are in `tritorch.ops.factorization`; the gradients are formulas in
public operations, so they can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tritorch import dtypes
from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.grad_mode import no_grad
from tritorch.autograd.node import Node
from tritorch.errors import DtypeError, LinAlgError, ShapeError
from tritorch.layout import broadcast_shapes
from tritorch.ops import factorization as blocks
from tritorch.ops import return_types
from tritorch.ops.creation import arange, eye, from_numpy, zeros
from tritorch.ops.declare import method
from tritorch.ops.extrema import amax
from tritorch.ops.joining import cat, tril, triu
from tritorch.ops.memory import contiguous
from tritorch.ops.views import expand, unsqueeze
from tritorch.tensor import Tensor


def check_matrix(name: str, a: Tensor, *, square: bool = False) -> None:
    """Raise unless `a` is a batch of matrices of float32 or float64."""
    layout = a._layout
    if layout.ndim < 2:
        raise RuntimeError(
            f"linalg.{name}: The input tensor A must have at least 2 dimensions; it has shape "
            f"{list(layout.shape)}."
        )
    if square and layout.shape[-1] != layout.shape[-2]:
        raise RuntimeError(
            f"linalg.{name}: A must be batches of square matrices, but they are "
            f"{layout.shape[-2]} by {layout.shape[-1]} matrices."
        )
    if layout.dtype not in (dtypes.float32, dtypes.float64):
        raise DtypeError(
            f"linalg.{name}: expected float32 or float64, got {layout.dtype}. Cast with .to(dtype)."
        )


def _batch(a: Tensor) -> tuple[int, ...]:
    return a._layout.shape[:-2]


def record(
    kind: type[Node],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    saved: Sequence[Tensor] = (),
    kept: bool = True,
) -> Any:
    """Attach a node that saves inputs and, if `kept`, the outputs; the node, or None."""
    if not mode.enabled or not any(x._requires_grad for x in inputs):
        return None
    node = kind(tuple(edge(x) for x in inputs), tuple(o._layout for o in outputs))
    node.save(*saved)
    for number, output in enumerate(outputs):
        output._grad_fn, output._requires_grad, output._output_nr = node, True, number
    if kept:
        node.save_outputs(*outputs)
    return node


def _fail(name: str, info: Tensor, text: str) -> None:
    if info._layout.numel and int(amax(info)) > 0:
        failed = info.reshape(-1).tolist()
        place = next(i for i, code in enumerate(failed) if code)
        where = f"(Batch element {place}): " if info._layout.ndim else ""
        raise LinAlgError(f"linalg.{name}: {where}{text.format(failed[place])}")


# ---- Cholesky


class LinalgCholeskyExBackward0(Node):
    """l^-T phi(l^T g) l^-1, made symmetric; phi halves the diagonal of the lower triangle."""

    __slots__ = ("upper",)
    upper: bool

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient of the matrix."""
        (factor,) = self.unpack()
        g = grads[0]
        if self.upper:
            factor, g = factor.mT, g.mT
        product = tril(factor.mT @ g)
        phi = product - product.diagonal(dim1=-2, dim2=-1).diag_embed() * 0.5
        left = solve_triangular(factor.mT, phi, upper=True)
        right = solve_triangular(factor, left, upper=False, left=False)
        return ((right + right.mT) * 0.5,)


def cholesky_ex(
    A: Tensor, *, upper: bool = False, check_errors: bool = False
) -> return_types.cholesky_ex:
    """`cholesky` that reports failures in `info` (1 + the first bad column) instead of raising."""
    check_matrix("cholesky", A, square=True)
    with no_grad():
        source = A.mT if upper else A
        factor, info = blocks.cholesky(blocks.flat(source))
        factor = factor.reshape(*A._layout.shape)
        info = info.reshape(*_batch(A))
        if upper:
            factor = contiguous(factor.mT)
    if check_errors:
        _fail("cholesky", info, _NOT_DEFINITE)
    node = record(LinalgCholeskyExBackward0, [A], [factor])
    if node is not None:
        node.upper = upper
    return return_types.cholesky_ex(factor, info)


_NOT_DEFINITE = (
    "The factorization could not be completed because the input is not positive-definite (the"
    " leading minor of order {} is not positive-definite)."
)


def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """The lower (or upper) triangular l with l l^T = A for symmetric positive-definite A.

    Shape: A (*, n, n). Raises LinAlgError where a matrix is not positive-definite.
    """
    found = cholesky_ex(A, upper=upper)
    _fail("cholesky", found.info, _NOT_DEFINITE)
    return found.L


@method("cholesky")
def _cholesky(input: Tensor, upper: bool = False) -> Tensor:
    return cholesky(input, upper=upper)


@method("cholesky_solve")
def cholesky_solve(B: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """X with A X = B, from the Cholesky factor of A."""
    lower = L.mT if upper else L
    half = solve_triangular(lower, B, upper=False)
    return solve_triangular(lower.mT, half, upper=True)


@method("cholesky_inverse")
def cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:
    """The inverse of A, from its Cholesky factor."""
    n = L._layout.shape[-1]
    identity = eye(n, dtype=L._layout.dtype, device=L._layout.device)
    return cholesky_solve(expand(identity, *L._layout.shape), L, upper)


# ---- triangular systems


class LinalgSolveTriangularBackward0(Node):
    """A^-T g, and -(A^-T g) x^T in the triangle."""

    __slots__ = ("unit", "upper")
    upper: bool
    unit: bool

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """Gradients of the matrix and of the right-hand side."""
        a, x = self.unpack()
        gb = solve_triangular(a.mT, grads[0], upper=not self.upper, unitriangular=self.unit)
        ga = None
        if self.needs(0):
            offset = int(self.unit)
            product = -(gb @ x.mT)
            ga = triu(product, offset) if self.upper else tril(product, -offset)
        return ga, gb if self.needs(1) else None


def solve_triangular(
    A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """X with A X = B (or X A = B), for a triangular A; the other triangle is not read.

    Shape: A (*, n, n), B (*, n, k); batches broadcast.
    """
    check_matrix("solve_triangular", A, square=True)
    check_matrix("solve_triangular", B)
    if not left:
        return solve_triangular(A.mT, B.mT, upper=not upper, unitriangular=unitriangular).mT
    n = A._layout.shape[-1]
    if B._layout.shape[-2] != n:
        raise ShapeError(
            f"linalg.solve_triangular: Incompatible shapes of A and B for the equation AX = B "
            f"({n}x{n} and {B._layout.shape[-2]}x{B._layout.shape[-1]})."
        )
    if A._layout.dtype is not B._layout.dtype:
        raise DtypeError(
            f"linalg.solve_triangular: A is {A._layout.dtype} and B {B._layout.dtype}. Cast one."
        )
    batch = broadcast_shapes("linalg.solve_triangular", _batch(A), _batch(B))
    a = expand(A, *batch, n, n)
    b = expand(B, *batch, *B._layout.shape[-2:])
    with no_grad():
        count = _count(batch)
        flat_a = a.reshape(count, n, n)
        x = blocks.solve_triangular(flat_a, blocks.flat(b), upper=upper, unit=unitriangular)
        x = x.reshape(*b._layout.shape)
        if x is B or x._storage is B._storage:
            x = x.clone()
    node = record(LinalgSolveTriangularBackward0, [a, b], [x], [a])
    if node is not None:
        node.upper, node.unit = upper, unitriangular
    return x


def _count(batch: Sequence[int]) -> int:
    count = 1
    for extent in batch:
        count *= extent
    return count


@method("triangular_solve")
def triangular_solve(
    b: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> return_types.triangular_solve:
    """`linalg.solve_triangular` under its old name and argument order."""
    matrix, above = (A.mT, not upper) if transpose else (A, upper)
    solution = solve_triangular(matrix, b, upper=above, unitriangular=unitriangular)
    return return_types.triangular_solve(solution, A.clone())


# ---- LU


class LinalgLuFactorExBackward0(Node):
    """For square and tall or wide matrices alike: through the leading square block."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient of the matrix."""
        order, packed = self.unpack()[:2]
        g = grads[0]
        m, n = packed._layout.shape[-2:]
        k = min(m, n)
        square = packed[..., :k, :k]
        lower = tril(square, -1)
        upper = triu(square)
        unit = lower + eye(k, dtype=packed._layout.dtype, device=packed._layout.device)
        gl = tril(g[..., :, :k], -1)
        gu = triu(g[..., :k, :])
        phi = tril(unit.mT @ gl[..., :k, :], -1) + triu(gu[..., :, :k] @ upper.mT)
        if m > k:
            # A2 = L2 U: the gradient of L2 goes through U^-1 and comes back by U.
            below = packed[..., k:, :k]
            g2 = solve_triangular(upper.mT, gl[..., k:, :], upper=False, left=False)
            phi = phi - triu(below.mT @ gl[..., k:, :])
        if n > k:
            # U2 = L^-1 A2.
            beside = packed[..., :k, k:]
            g3 = solve_triangular(unit.mT, gu[..., :, k:], upper=True, unitriangular=True)
            phi = phi - tril(gu[..., :, k:] @ beside.mT, -1)
        inner = solve_triangular(unit.mT, phi, upper=True, unitriangular=True)
        inner = solve_triangular(upper.mT, inner, upper=False, left=False)
        if m > k:
            inner = cat([inner, g2], -2)
        if n > k:
            inner = cat([inner, g3], -1)
        back = order.argsort(-1)
        shape = (*_batch(packed), m, n)
        index = expand(unsqueeze(back, -1), *shape)
        return (inner.gather(-2, index),)


def _lu(A: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(packed, pivots, order, info), with the batch of A; the gradient goes through packed."""
    batch = _batch(A)
    m, n = A._layout.shape[-2:]
    with no_grad():
        packed, pivots, order, info = blocks.lu(blocks.flat(A))
        packed = packed.reshape(*A._layout.shape)
        pivots = pivots.reshape(*batch, min(m, n))
        order = order.reshape(*batch, m)
        info = info.reshape(*batch)
    record(LinalgLuFactorExBackward0, [A], [packed], [order])
    return packed, pivots, order, info


def lu_factor_ex(
    A: Tensor, *, pivot: bool = True, check_errors: bool = False
) -> return_types.lu_factor_ex:
    """`lu_factor` that reports a zero pivot in `info` instead of raising."""
    check_matrix("lu_factor_ex", A)
    _need_pivot("lu_factor_ex", pivot)
    packed, pivots, _, info = _lu(A)
    if check_errors:
        _fail("lu_factor_ex", info, _SINGULAR_LU)
    return return_types.lu_factor_ex(packed, pivots, info)


def _need_pivot(name: str, pivot: bool) -> None:
    if not pivot:
        raise NotImplementedError(
            f"linalg.{name}: pivot=False is not there. Rows are exchanged for accuracy."
        )


_SINGULAR_LU = "U[{0},{0}] is zero and using it on lu_solve would result in a division by zero."


def lu_factor(A: Tensor, *, pivot: bool = True) -> return_types.lu_factor:
    """L and U packed into one matrix, and the exchanges of rows (from 1) as LAPACK gives them."""
    check_matrix("lu_factor", A)
    _need_pivot("lu_factor", pivot)
    packed, pivots, _, info = _lu(A)
    _fail("lu_factor", info, _SINGULAR_LU)
    return return_types.lu_factor(packed, pivots)


def _identity(a: Tensor, *shape: int) -> Tensor:
    return eye(*shape, dtype=a._layout.dtype, device=a._layout.device)


def lu(A: Tensor, *, pivot: bool = True) -> return_types.lu:
    """(P, L, U) with A = P L U: P a permutation, L unit lower, U upper triangular."""
    check_matrix("lu", A)
    _need_pivot("lu", pivot)
    packed, _, order, _ = _lu(A)
    m, n = A._layout.shape[-2:]
    k = min(m, n)
    lower = tril(packed[..., :k], -1) + _identity(A, m, k)
    upper = triu(packed[..., :k, :])
    rows = arange(m, device=A._layout.device)
    permutation = (unsqueeze(order, -2) == unsqueeze(rows, -1)).to(A._layout.dtype)
    return return_types.lu(permutation, lower, upper)


def _order_of(pivots: Tensor, m: int) -> Tensor:
    """The order of rows that exchanges lead to: host metadata, small and sequential."""
    steps = pivots.numpy()
    order = np.broadcast_to(np.arange(m), (*steps.shape[:-1], m)).copy()
    for j in range(steps.shape[-1]):
        other = steps[..., j : j + 1].astype(np.int64) - 1
        here = order[..., j : j + 1].copy()
        order[..., j : j + 1] = np.take_along_axis(order, other, -1)
        np.put_along_axis(order, other, here, -1)
    return from_numpy(order).to(pivots._layout.device)


def lu_solve(
    LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False
) -> Tensor:
    """X with A X = B (or X A = B; with `adjoint` A^T instead of A), from `lu_factor` of A."""
    check_matrix("lu_solve", LU, square=True)
    if not left:
        return lu_solve(LU, pivots, B.mT, adjoint=not adjoint).mT
    order = _order_of(pivots, LU._layout.shape[-1])
    return _solved(LU, order, B, adjoint)


@method("lu_solve")
def _lu_solve(b: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """`linalg.lu_solve` with the right-hand side first."""
    return lu_solve(LU_data, LU_pivots, b)


def _solved(packed: Tensor, order: Tensor, b: Tensor, adjoint: bool = False) -> Tensor:
    batch = broadcast_shapes("linalg.solve", _batch(packed), _batch(b))
    n, m = b._layout.shape[-2:]
    b = expand(b, *batch, n, m)
    order = expand(order, *batch, n)
    if adjoint:
        half = solve_triangular(packed.mT, b, upper=False)
        x = solve_triangular(packed.mT, half, upper=True, unitriangular=True)
        back = expand(unsqueeze(order.argsort(-1), -1), *batch, n, m)
        return x.gather(-2, back)
    moved = b.gather(-2, expand(unsqueeze(order, -1), *batch, n, m))
    half = solve_triangular(packed, moved, upper=False, unitriangular=True)
    return solve_triangular(packed, half, upper=True)


class LinalgSolveExBackward0(Node):
    """A^-T g, and -(A^-T g) x^T."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """Gradients of the matrix and of the right-hand side."""
        a, x = self.unpack()
        gb = solve(a.mT, grads[0])
        ga = -(gb @ x.mT) if self.needs(0) else None
        return ga, gb if self.needs(1) else None


_SINGULAR = "The solver failed because the input matrix is singular."


def solve_ex(
    A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False
) -> return_types.solve_ex:
    """`solve` that reports singular matrices in `info` instead of raising."""
    check_matrix("solve", A, square=True)
    if A._layout.dtype is not B._layout.dtype:
        raise DtypeError(
            f"linalg.solve: Expected A and B to have the same dtype, but found A of type "
            f"{A._layout.dtype} and B of type {B._layout.dtype} instead. Cast one."
        )
    n = A._layout.shape[-1]
    vector = B._layout.ndim == 1 or (
        B._layout.ndim == A._layout.ndim - 1 and B._layout.shape == A._layout.shape[:-1]
    )
    b = unsqueeze(B, -1) if vector else B
    if not left and not vector:
        found = solve_ex(A.mT, B.mT, check_errors=check_errors)
        return return_types.solve_ex(found.result.mT, found.info)
    if b._layout.shape[-2] != n:
        raise ShapeError(
            f"linalg.solve: Incompatible shapes of A and B for the equation AX = B ({n}x{n} and "
            f"{b._layout.shape[-2]}x{b._layout.shape[-1]})."
        )
    batch = broadcast_shapes("linalg.solve", _batch(A), _batch(b))
    a = expand(A, *batch, n, n)
    b = expand(b, *batch, *b._layout.shape[-2:])
    with no_grad():
        packed, _, order, info = _lu(A)
        x = _solved(packed, order, b)
    if check_errors:
        _fail("solve", info, _SINGULAR)
    record(LinalgSolveExBackward0, [a, b], [x], [a])
    return return_types.solve_ex(x[..., 0] if vector else x, info)


def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X with A X = B (or X A = B), by LU with row exchanges.

    Shape: A (*, n, n); B (*, n, k), or (*, n) for a vector. Raises LinAlgError if A is singular.
    """
    found = solve_ex(A, B, left=left)
    _fail("solve", found.info, _SINGULAR)
    return found.result


class LinalgInvExBackward0(Node):
    """-A^-T g A^-T."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient of the matrix."""
        (inverse,) = self.unpack()
        return (-(inverse.mT @ grads[0] @ inverse.mT),)


def inv_ex(A: Tensor, *, check_errors: bool = False) -> return_types.inv_ex:
    """`inv` that reports singular matrices in `info` instead of raising."""
    check_matrix("inv", A, square=True)
    n = A._layout.shape[-1]
    with no_grad():
        packed, _, order, info = _lu(A)
        inverse = contiguous(_solved(packed, order, expand(_identity(A, n), *A._layout.shape)))
    if check_errors:
        _fail("inv", info, _SINGULAR_INVERSE)
    record(LinalgInvExBackward0, [A], [inverse])
    return return_types.inv_ex(inverse, info)


_SINGULAR_INVERSE = (
    "The diagonal element {0} is zero, the inversion could not be completed because the input"
    " matrix is singular."
)


def inv(A: Tensor) -> Tensor:
    """The inverse of square matrices (*, n, n). Raises LinAlgError where one is singular."""
    found = inv_ex(A)
    _fail("inv", found.info, _SINGULAR_INVERSE)
    return found.inverse


@method("inverse")
def inverse(input: Tensor) -> Tensor:
    """`linalg.inv`."""
    return inv(input)


# ---- determinants


class LinalgDetBackward0(Node):
    """g det(A) A^-T."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient of the matrix, by the cofactors where it is singular."""
        a, result = self.unpack()
        (g,) = grads
        if int((result.detach() == 0).any()):
            return (g[..., None, None] * _cofactors(a),)
        return ((g * result)[..., None, None] * inv(a).mT,)


def _cofactors(a: Tensor) -> Tensor:
    """The derivatives of the determinant of any square matrix: det(U) det(V) U adj(S) V^T."""
    left, values, right = svd(a)
    n = a._layout.shape[-1]
    ones = _identity(a, n)
    # The product of the values other than one, each by leaving that one out.
    others = (unsqueeze(values, -2) * (1 - ones) + ones).prod(-1)
    sign = (slogdet(left.detach())[0] * slogdet(right.detach())[0])[..., None, None]
    return sign * (left * unsqueeze(others, -2)) @ right


def det(A: Tensor) -> Tensor:
    """The determinant of square matrices (*, n, n)."""
    check_matrix("det", A, square=True)
    with no_grad():
        packed, pivots, _, _ = _lu(A)
        diagonal = packed.diagonal(dim1=-2, dim2=-1)
        odd = blocks.swaps_of(pivots) % 2
        result = diagonal.prod(-1) * (1 - 2 * odd).to(A._layout.dtype)
    record(LinalgDetBackward0, [A], [result], [A])
    return result


method("det")(det)


class LinalgSlogdetBackward0(Node):
    """g A^-T; the sign has no gradient."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient of the matrix."""
        (a,) = self.unpack()
        if grads[1] is None:
            return (None,)
        return (grads[1][..., None, None] * inv_ex(a).inverse.mT,)


@method("slogdet")
def slogdet(A: Tensor) -> return_types.slogdet:
    """(sign, log of the absolute value) of the determinant of square matrices."""
    check_matrix("slogdet", A, square=True)
    with no_grad():
        packed, pivots, _, _ = _lu(A)
        diagonal = packed.diagonal(dim1=-2, dim2=-1)
        odd = blocks.swaps_of(pivots) % 2
        sign = diagonal.sign().prod(-1) * (1 - 2 * odd).to(A._layout.dtype)
        size = diagonal.abs().log().sum(-1)
    record(LinalgSlogdetBackward0, [A], [sign, size], [A], kept=False)
    return return_types.slogdet(sign, size)


@method("logdet")
def logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinant; nan where that is negative."""
    sign, size = slogdet(input)
    return size.masked_fill(sign.detach() < 0, float("nan"))


# ---- QR


class LinalgQrBackward0(Node):
    """The gradient through the leading square block of R."""

    __slots__ = ("mode",)
    mode: str

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient of the matrix."""
        q, r = self.unpack()
        gq, gr = grads
        m, n = q._layout.shape[-2], r._layout.shape[-1]
        if self.mode == "r":
            raise RuntimeError(
                "linalg.qr: The derivative of linalg.qr depends on Q, which is not computed when"
                " mode='r'. Use mode='reduced'."
            )
        if self.mode == "complete" and m > n:
            raise RuntimeError(
                "linalg.qr: The QR decomposition is not differentiable when mode='complete' and"
                " nrows > ncols. Use mode='reduced'."
            )
        if m < n:
            # A = Q (R1 R2): R2 = Q^T A2 depends on Q and on A2.
            r1, r2 = r[..., :m], r[..., m:]
            g1 = g2 = None
            if gr is not None:
                g1, g2 = gr[..., :m], gr[..., m:]
                through = q @ r2 @ g2.mT
                gq = through if gq is None else gq + through
            first = _qr_square(q, r1, gq, g1)
            last = q @ g2 if g2 is not None else zeros(*_batch(r), m, n - m, dtype=r.dtype)
            return (cat([first, last], -1),)
        return (_qr_square(q, r, gq, gr),)


def _qr_square(q: Tensor, r: Tensor, gq: Any, gr: Any) -> Tensor:
    """For m >= n: (gq + q copyltu(r gr^T - gq^T q)) r^-T."""
    inner: Any = 0
    if gr is not None:
        inner = r @ triu(gr).mT
    if gq is not None:
        inner = inner - gq.mT @ q
    lower = tril(inner)
    both = lower + tril(inner, -1).mT
    total = q @ both if gq is None else gq + q @ both
    return solve_triangular(r.mT, total, upper=False, left=False)


def qr(A: Tensor, mode: str = "reduced") -> return_types.qr:
    """(Q, R) with A = Q R, by Householder reflections.

    Shape: A (*, m, n); Q (*, m, k), R (*, k, n) with k = min(m, n), or m if `mode` is "complete".
    """
    check_matrix("qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"linalg.qr: unrecognized mode {mode!r}. Use 'reduced', 'complete' or 'r'."
        )
    batch = _batch(A)
    m, n = A._layout.shape[-2:]
    k = m if mode == "complete" else min(m, n)
    with no_grad():
        packed, tau = blocks.qr(blocks.flat(A))
        r = triu(packed[:, :k]) if k <= m else packed
        r = contiguous(r).reshape(*batch, k, n)
        if mode == "r":
            q = zeros(0, dtype=A._layout.dtype, device=A._layout.device)
        else:
            q = blocks.reflected(packed, tau, k).reshape(*batch, m, k)
    node = record(LinalgQrBackward0, [A], [q, r])
    if node is not None:
        node.mode = mode
    return return_types.qr(q, r)


@method("qr")
def _qr_method(input: Tensor, some: bool = True) -> return_types.qr:
    """`linalg.qr` under its old name: `some=False` is mode "complete"."""
    return qr(input, "reduced" if some else "complete")


@method("geqrf")
def geqrf(input: Tensor) -> return_types.geqrf:
    """Householder's reflections as LAPACK packs them: (a, tau)."""
    check_matrix("geqrf", input)
    batch = _batch(input)
    with no_grad():
        packed, tau = blocks.qr(blocks.flat(input))
    k = min(input._layout.shape[-2:])
    return return_types.geqrf(packed.reshape(*input._layout.shape), tau.reshape(*batch, k))


def householder_product(A: Tensor, tau: Tensor) -> Tensor:
    """The first columns of the product of the reflections that `geqrf` packs."""
    check_matrix("householder_product", A)
    m, n = A._layout.shape[-2:]
    k = tau._layout.shape[-1]
    q: Any = expand(_identity(A, m, n), *A._layout.shape)
    for j in reversed(range(k)):
        v = tril(A[..., j : j + 1], -j - 1) + _identity(A, m)[:, j : j + 1]
        q = q - tau[..., j, None, None] * (v @ (v.mT @ q))
    return q


@method("orgqr")
def orgqr(input: Tensor, input2: Tensor) -> Tensor:
    """`linalg.householder_product`."""
    return householder_product(input, input2)


# ---- eigenvalues and singular values


def _check_finite(name: str, a: Tensor) -> None:
    if a._layout.numel and not bool(a.detach().isfinite().all()):
        raise LinAlgError(
            f"linalg.{name}: The algorithm failed to converge because the input matrix contained"
            " non-finite values. Remove nan and infinity."
        )


class LinalgEighBackward0(Node):
    """V (diag(gw) + (V^T gv) / (w_j - w_i)) V^T."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient of the matrix."""
        values, vectors = self.unpack()
        gw, gv = grads
        inner: Any = 0
        if gv is not None:
            gaps = unsqueeze(values, -2) - unsqueeze(values, -1)
            n = values._layout.shape[-1]
            gaps = gaps + _identity(values, n)
            inner = (vectors.mT @ gv) / gaps * (1 - _identity(values, n))
        if gw is not None:
            inner = inner + gw.diag_embed()
        return (vectors @ inner @ vectors.mT,)


def eigh(A: Tensor, UPLO: str = "L") -> return_types.eigh:
    """(eigenvalues in ascending order, eigenvectors as columns) of symmetric matrices (*, n, n).

    By one-sided Jacobi rotations of the matrix moved by a bound of its norm.
    """
    check_matrix("eigh", A, square=True)
    _check_finite("eigh", A)
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"linalg.eigh: UPLO must be 'L' or 'U', got {UPLO!r}.")
    batch, n = _batch(A), A._layout.shape[-1]
    with no_grad():
        values, vectors = _eigh(blocks.flat(A), UPLO.upper() == "U")
        values, vectors = values.reshape(*batch, n), vectors.reshape(*batch, n, n)
    record(LinalgEighBackward0, [A], [values, vectors])
    return return_types.eigh(values, vectors)


def _eigh(a: Tensor, upper: bool) -> tuple[Tensor, Tensor]:
    count, n, _ = a._layout.shape
    dtype = a._layout.dtype
    if not a._layout.numel:
        return zeros(count, n, dtype=dtype), zeros(count, n, n, dtype=dtype)
    a = a.double()
    half = triu(a) if upper else tril(a)
    full = half + half.mT - a.diagonal(dim1=-2, dim2=-1).diag_embed()
    bound = amax(full.abs().sum(-1), -1)
    moved = full + bound[:, None, None] * _identity(full, n)
    _, rows = blocks.jacobi(moved, dtype is not dtypes.float64)
    values = ((rows @ full) * rows).sum(-1)
    order = values.argsort(-1)
    vectors = blocks.take_rows(rows, order).mT
    return values.gather(-1, order).to(dtype), contiguous(vectors.to(dtype))


def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """The eigenvalues of symmetric matrices, ascending."""
    return eigh(A, UPLO).eigenvalues


class LinalgSvdBackward0(Node):
    """The thin SVD's gradient; invariant under the signs of the vectors."""

    __slots__ = ("full",)
    full: bool

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient of the matrix."""
        u, s, vh = self.unpack()
        gu, gs, gvh = grads
        k = s._layout.shape[-1]
        if self.full and (gu is not None or gvh is not None):
            m, n = u._layout.shape[-1], vh._layout.shape[-2]
            if m > k or n > k:
                raise RuntimeError(
                    "svd_backward: The singular vectors in the svd are not differentiable with"
                    " full_matrices=True for matrices that are not square. Use"
                    " full_matrices=False."
                )
        u, vh = u[..., :k], vh[..., :k, :]
        inner: Any = gs.diag_embed() if gs is not None else 0
        if gu is None and gvh is None:
            return (u @ inner @ vh,)
        one = _identity(s, k)
        squares = s * s
        gaps = (unsqueeze(squares, -2) - unsqueeze(squares, -1)) + one
        mask = 1 - one
        result: Any = 0
        if gu is not None:
            gu = gu[..., :k]
            product = u.mT @ gu
            inner = inner + ((product - product.mT) / gaps * mask) * unsqueeze(s, -2)
        if gvh is not None:
            gv = gvh[..., :k, :].mT
            product = vh @ gv
            inner = inner + unsqueeze(s, -1) * ((product - product.mT) / gaps * mask)
        result = u @ inner @ vh
        m, n = u._layout.shape[-2], vh._layout.shape[-1]
        if gu is not None and m > k:
            outside = gu / unsqueeze(s, -2)
            result = result + (outside - u @ (u.mT @ outside)) @ vh
        if gvh is not None and n > k:
            outside = (gv / unsqueeze(s, -2)).mT
            result = result + u @ (outside - (outside @ vh.mT) @ vh)
        return (result,)


def svd(A: Tensor, full_matrices: bool = True) -> return_types.svd:
    """(U, S, Vh) with A = U diag(S) Vh, singular values descending, by one-sided Jacobi rotations.

    Shape: A (*, m, n); S (*, k) with k = min(m, n); U (*, m, m or k), Vh (*, n or k, n).
    """
    check_matrix("svd", A)
    _check_finite("svd", A)
    batch = _batch(A)
    m, n = A._layout.shape[-2:]
    k = min(m, n)
    with no_grad():
        flat = blocks.flat(A)
        if m >= n:
            u, s, v = _svd(flat, full_matrices)
        else:
            v, s, u = _svd(blocks.flat(A.mT), full_matrices)
        vh = contiguous(v.mT)
        u = contiguous(u).reshape(*batch, m, u._layout.shape[-1])
        s = s.reshape(*batch, k)
        vh = vh.reshape(*batch, vh._layout.shape[-2], n)
    node = record(LinalgSvdBackward0, [A], [u, s, vh])
    if node is not None:
        node.full = full_matrices
    return return_types.svd(u, s, vh)


def _svd(a: Tensor, full: bool) -> tuple[Tensor, Tensor, Tensor]:
    """(u, s, v) for m >= n; v is square."""
    count, m, n = a._layout.shape
    dtype = a._layout.dtype
    if not a._layout.numel:
        columns = m if full else n
        u = expand(_identity(a, m, columns), count, m, columns)
        return u, zeros(count, n, dtype=dtype), expand(_identity(a, n), count, n, n)
    # R has the singular values of A, and rotating its rows converges in fewer passes.
    packed, tau = blocks.qr(a.double())
    r = contiguous(triu(packed[:, :n]))
    rows, v = blocks.jacobi(r.mT, dtype is not dtypes.float64)
    s = (rows * rows).sum(-1).sqrt()
    order = s.argsort(-1, descending=True)
    s = s.gather(-1, order)
    rows, v = blocks.take_rows(rows, order), blocks.take_rows(v, order)
    # u r = rows^T / s; where s vanishes, QR completes the basis.
    small = s <= amax(s, -1, True) * 1e-300
    directions = (rows / (s + small.double())[..., None]).mT
    inner, taus = blocks.qr(contiguous(directions))
    signs = inner.diagonal(dim1=-2, dim2=-1).sign()
    signs = signs + (signs == 0).double()
    basis = blocks.reflected(inner, taus, n) * unsqueeze(signs, -2)
    columns = m if full else n
    q = blocks.reflected(packed, tau, columns)
    u = q[..., :n] @ basis
    if full and m > n:
        u = cat([u, q[..., n:]], -1)
    return u.to(dtype), s.to(dtype), v.mT.to(dtype)


def svdvals(A: Tensor) -> Tensor:
    """The singular values, descending."""
    return svd(A, full_matrices=False).S


@method("svd")
def _svd_method(input: Tensor, some: bool = True, compute_uv: bool = True) -> return_types.svd_old:
    """`linalg.svd` under its old name; gives V, not V^T."""
    u, s, vh = svd(input, full_matrices=not some)
    if not compute_uv:
        m, n = input._layout.shape[-2:]
        device = input._layout.device
        u = zeros(*_batch(input), m, m, dtype=s._layout.dtype, device=device)
        return return_types.svd_old(u, s, zeros(*_batch(input), n, n, dtype=s._layout.dtype))
    return return_types.svd_old(u, s, vh.mT)
