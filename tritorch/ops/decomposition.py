"""Cholesky and LU factorizations, linear systems, determinants; gradients of every order.

The factorizations themselves are in `tritorch.ops.factorization`; the gradients are formulas in
public operations, so they can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tritorch import dtypes
from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.grad_mode import no_grad
from tritorch.autograd.node import Node
from tritorch.errors import DtypeError, LinAlgError, ShapeError
from tritorch.layout import broadcast_shapes
from tritorch.ops import factorization as blocks
from tritorch.ops import return_types
from tritorch.ops.creation import arange, eye
from tritorch.ops.declare import method, takes, writes
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


def batch_of(a: Tensor) -> tuple[int, ...]:
    """The dimensions in front of the matrices."""
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


@writes
@takes("float32", "float64")
def cholesky_ex(
    A: Tensor, *, upper: bool = False, check_errors: bool = False
) -> return_types.cholesky_ex:
    """`cholesky` that reports failures in `info` (1 + the first bad column) instead of raising."""
    check_matrix("cholesky", A, square=True)
    with no_grad():
        source = A.mT if upper else A
        factor, info = blocks.cholesky(blocks.flat(source))
        factor = factor.reshape(*A._layout.shape)
        info = info.reshape(*batch_of(A))
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


@writes
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
@writes
def cholesky_solve(B: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """X with A X = B, from the Cholesky factor of A."""
    lower = L.mT if upper else L
    half = solve_triangular(lower, B, upper=False)
    return solve_triangular(lower.mT, half, upper=True)


@method("cholesky_inverse")
@writes
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


@writes
@takes("float32", "float64")
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
    batch = broadcast_shapes("linalg.solve_triangular", batch_of(A), batch_of(B))
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
@writes
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
        shape = (*batch_of(packed), m, n)
        index = expand(unsqueeze(back, -1), *shape)
        return (inner.gather(-2, index),)


def _lu(A: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(packed, pivots, order, info), with the batch of A; the gradient goes through packed."""
    batch = batch_of(A)
    m, n = A._layout.shape[-2:]
    with no_grad():
        packed, pivots, order, info = blocks.lu(blocks.flat(A))
        packed = packed.reshape(*A._layout.shape)
        pivots = pivots.reshape(*batch, min(m, n))
        order = order.reshape(*batch, m)
        info = info.reshape(*batch)
    record(LinalgLuFactorExBackward0, [A], [packed], [order])
    return packed, pivots, order, info


@writes
@takes("float32", "float64")
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


@writes
@takes("float32", "float64")
def lu_factor(A: Tensor, *, pivot: bool = True) -> return_types.lu_factor:
    """L and U packed into one matrix, and the exchanges of rows (from 1) as LAPACK gives them."""
    check_matrix("lu_factor", A)
    _need_pivot("lu_factor", pivot)
    packed, pivots, _, info = _lu(A)
    _fail("lu_factor", info, _SINGULAR_LU)
    return return_types.lu_factor(packed, pivots)


def identity_like(a: Tensor, *shape: int) -> Tensor:
    """An identity of the same dtype and device."""
    return eye(*shape, dtype=a._layout.dtype, device=a._layout.device)


@writes
@takes("float32", "float64")
def lu(A: Tensor, *, pivot: bool = True) -> return_types.lu:
    """(P, L, U) with A = P L U: P a permutation, L unit lower, U upper triangular."""
    check_matrix("lu", A)
    _need_pivot("lu", pivot)
    packed, _, order, _ = _lu(A)
    m, n = A._layout.shape[-2:]
    k = min(m, n)
    lower = tril(packed[..., :k], -1) + identity_like(A, m, k)
    upper = triu(packed[..., :k, :])
    rows = arange(m, device=A._layout.device)
    permutation = (unsqueeze(order, -2) == unsqueeze(rows, -1)).to(A._layout.dtype)
    return return_types.lu(permutation, lower, upper)


@writes
@takes("float32", "float64")
def lu_solve(
    LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False
) -> Tensor:
    """X with A X = B (or X A = B; with `adjoint` A^T instead of A), from `lu_factor` of A."""
    check_matrix("lu_solve", LU, square=True)
    if not left:
        return lu_solve(LU, pivots, B.mT, adjoint=not adjoint).mT
    n = LU._layout.shape[-1]
    with no_grad():
        order = blocks.order_of(pivots.reshape(-1, n), n).reshape(*pivots._layout.shape)
    return _solved(LU, order, B, adjoint)


@method("lu_solve")
def _lu_solve(b: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """`linalg.lu_solve` with the right-hand side first."""
    return lu_solve(LU_data, LU_pivots, b)


def _solved(packed: Tensor, order: Tensor, b: Tensor, adjoint: bool = False) -> Tensor:
    batch = broadcast_shapes("linalg.solve", batch_of(packed), batch_of(b))
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


@takes("float32", "float64")
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
    batch = broadcast_shapes("linalg.solve", batch_of(A), batch_of(b))
    a = expand(A, *batch, n, n)
    b = expand(b, *batch, *b._layout.shape[-2:])
    with no_grad():
        packed, _, order, info = _lu(A)
        x = _solved(packed, order, b)
    if check_errors:
        _fail("solve", info, _SINGULAR)
    record(LinalgSolveExBackward0, [a, b], [x], [a])
    return return_types.solve_ex(x[..., 0] if vector else x, info)


@writes
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


@writes
@takes("float32", "float64")
def inv_ex(A: Tensor, *, check_errors: bool = False) -> return_types.inv_ex:
    """`inv` that reports singular matrices in `info` instead of raising."""
    check_matrix("inv", A, square=True)
    n = A._layout.shape[-1]
    with no_grad():
        packed, _, order, info = _lu(A)
        inverse = contiguous(_solved(packed, order, expand(identity_like(A, n), *A._layout.shape)))
    if check_errors:
        _fail("inv", info, _SINGULAR_INVERSE)
    record(LinalgInvExBackward0, [A], [inverse])
    return return_types.inv_ex(inverse, info)


_SINGULAR_INVERSE = (
    "The diagonal element {0} is zero, the inversion could not be completed because the input"
    " matrix is singular."
)


@writes
def inv(A: Tensor) -> Tensor:
    """The inverse of square matrices (*, n, n). Raises LinAlgError where one is singular."""
    found = inv_ex(A)
    _fail("inv", found.info, _SINGULAR_INVERSE)
    return found.inverse


@method("inverse")
@writes
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
    from tritorch.ops.orthogonal import svd

    left, values, right = svd(a)
    n = a._layout.shape[-1]
    ones = identity_like(a, n)
    # The product of the values other than one, each by leaving that one out.
    others = (unsqueeze(values, -2) * (1 - ones) + ones).prod(-1)
    sign = (slogdet(left.detach())[0] * slogdet(right.detach())[0])[..., None, None]
    return sign * (left * unsqueeze(others, -2)) @ right


@writes
@takes("float32", "float64")
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
@writes
@takes("float32", "float64")
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
