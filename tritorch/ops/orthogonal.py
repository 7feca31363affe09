"""QR, eigenvalues of symmetric matrices and singular values, with gradients of every order.

The factorizations themselves are in `tritorch.ops.factorization`; the gradients are formulas in
public operations, so they can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tritorch import dtypes
from tritorch.autograd.grad_mode import no_grad
from tritorch.autograd.node import Node
from tritorch.errors import LinAlgError
from tritorch.ops import factorization as blocks
from tritorch.ops import return_types
from tritorch.ops.creation import zeros
from tritorch.ops.declare import method, takes, writes
from tritorch.ops.decomposition import (
    batch_of,
    check_matrix,
    identity_like,
    record,
    solve_triangular,
)
from tritorch.ops.extrema import amax
from tritorch.ops.joining import cat, tril, triu
from tritorch.ops.memory import contiguous
from tritorch.ops.views import expand, unsqueeze
from tritorch.tensor import Tensor

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
            last = q @ g2 if g2 is not None else zeros(*batch_of(r), m, n - m, dtype=r.dtype)
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


@writes
@takes("float32", "float64")
def qr(A: Tensor, mode: str = "reduced") -> return_types.qr:
    """(Q, R) with A = Q R, by Householder reflections.

    Shape: A (*, m, n); Q (*, m, k), R (*, k, n) with k = min(m, n), or m if `mode` is "complete".
    """
    check_matrix("qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"linalg.qr: unrecognized mode {mode!r}. Use 'reduced', 'complete' or 'r'."
        )
    batch = batch_of(A)
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
@writes
@takes("float32", "float64")
def geqrf(input: Tensor) -> return_types.geqrf:
    """Householder's reflections as LAPACK packs them: (a, tau)."""
    check_matrix("geqrf", input)
    batch = batch_of(input)
    with no_grad():
        packed, tau = blocks.qr(blocks.flat(input))
    k = min(input._layout.shape[-2:])
    return return_types.geqrf(packed.reshape(*input._layout.shape), tau.reshape(*batch, k))


@writes
@takes("float32", "float64")
def householder_product(A: Tensor, tau: Tensor) -> Tensor:
    """The first columns of the product of the reflections that `geqrf` packs."""
    check_matrix("householder_product", A)
    m, n = A._layout.shape[-2:]
    k = tau._layout.shape[-1]
    q: Any = expand(identity_like(A, m, n), *A._layout.shape)
    for j in reversed(range(k)):
        v = tril(A[..., j : j + 1], -j - 1) + identity_like(A, m)[:, j : j + 1]
        q = q - tau[..., j, None, None] * (v @ (v.mT @ q))
    return q


@method("orgqr")
@writes
@takes("float32", "float64")
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
            gaps = gaps + identity_like(values, n)
            turned = vectors.mT @ gv
            # Only this part changes a symmetric matrix, and it leaves the gradient symmetric.
            inner = (turned - turned.mT) / (2 * gaps) * (1 - identity_like(values, n))
        if gw is not None:
            inner = inner + gw.diag_embed()
        return (vectors @ inner @ vectors.mT,)


@writes
@takes("float32", "float64")
def eigh(A: Tensor, UPLO: str = "L") -> return_types.eigh:
    """(eigenvalues in ascending order, eigenvectors as columns) of symmetric matrices (*, n, n).

    By one-sided Jacobi rotations of the matrix moved by a bound of its norm.
    """
    check_matrix("eigh", A, square=True)
    _check_finite("eigh", A)
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"linalg.eigh: UPLO must be 'L' or 'U', got {UPLO!r}.")
    batch, n = batch_of(A), A._layout.shape[-1]
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
    moved = full + bound[:, None, None] * identity_like(full, n)
    _, rows = blocks.jacobi(moved, dtype is not dtypes.float64)
    values = ((rows @ full) * rows).sum(-1)
    order = values.argsort(-1)
    vectors = blocks.take_rows(rows, order).mT
    return values.gather(-1, order).to(dtype), contiguous(vectors.to(dtype))


@writes
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
        one = identity_like(s, k)
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


@writes
@takes("float32", "float64")
def svd(A: Tensor, full_matrices: bool = True) -> return_types.svd:
    """(U, S, Vh) with A = U diag(S) Vh, singular values descending, by one-sided Jacobi rotations.

    Shape: A (*, m, n); S (*, k) with k = min(m, n); U (*, m, m or k), Vh (*, n or k, n).
    """
    check_matrix("svd", A)
    _check_finite("svd", A)
    batch = batch_of(A)
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
        u = expand(identity_like(a, m, columns), count, m, columns)
        return u, zeros(count, n, dtype=dtype), expand(identity_like(a, n), count, n, n)
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


@writes
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
        u = zeros(*batch_of(input), m, m, dtype=s._layout.dtype, device=device)
        return return_types.svd_old(u, s, zeros(*batch_of(input), n, n, dtype=s._layout.dtype))
    return return_types.svd_old(u, s, vh.mT)
