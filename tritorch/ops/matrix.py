"""Functions of matrices that are compositions: norms, powers, pseudo-inverses, least squares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any

from tritorch import dtypes
from tritorch.autograd.grad_mode import no_grad
from tritorch.autograd.node import Node
from tritorch.errors import ShapeError
from tritorch.layout import normalize_dim
from tritorch.ops import return_types
from tritorch.ops.comparison import where
from tritorch.ops.creation import eye, zeros
from tritorch.ops.declare import in_place, method, takes, without_gradient, writes
from tritorch.ops.decomposition import (
    check_matrix,
    inv,
    record,
    solve,
    solve_triangular,
)
from tritorch.ops.extrema import amax, amin, vector_norm
from tritorch.ops.joining import stack
from tritorch.ops.linalg import bmm, matmul
from tritorch.ops.memory import contiguous, to_dtype
from tritorch.ops.orthogonal import eigh, qr, svd, svdvals
from tritorch.ops.views import movedim, reshape, unsqueeze
from tritorch.tensor import Tensor

# ---- norms


@writes
@takes("floating", "float8")
def matrix_norm(
    A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The norm of matrices over two dimensions.

    Args:
        ord: "fro", "nuc" (the sum of the singular values), 2, -2 (their extremes), 1, -1 (extremes
            of the columns' sums), inf, -inf (of the rows').
    """
    if dtype is not None:
        A = to_dtype(A, dtype)
    ndim = A._layout.ndim
    if ndim < 2:
        raise RuntimeError(
            "linalg.matrix_norm: The input tensor A must have at least 2 dimensions."
        )
    if not isinstance(dim, list | tuple) or len(dim) != 2:
        raise RuntimeError(
            f"linalg.matrix_norm: dim must be a tuple of two dimensions, got {dim!r}. Use "
            "vector_norm for another number of them."
        )
    first, second = (normalize_dim("linalg.matrix_norm", d, ndim) for d in dim)
    if first == second:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different, got {tuple(dim)}.")
    if ord == "fro":
        return vector_norm(A, 2, (first, second), keepdim)
    if ord in ("nuc", 2, -2):
        values = svdvals(movedim(A, (first, second), (-2, -1)))
        if ord == "nuc":
            result = values.sum(-1)
        else:
            result = amax(values, -1) if ord == 2 else amin(values, -1)
        return (
            result.unsqueeze(min(first, second)).unsqueeze(max(first, second))
            if keepdim
            else result
        )
    if ord not in (1, -1, math.inf, -math.inf):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord!r} not supported.")
    summed, kept = (first, second) if ord in (1, -1) else (second, first)
    sums = A.abs().sum(summed, keepdim=True)
    result = (amax if ord > 0 else amin)(sums, kept, True)
    if keepdim:
        return result
    high, low = max(first, second), min(first, second)
    return result.squeeze(high).squeeze(low)


@writes
@takes("floating", "float8")
def norm(
    A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The norm of vectors (one dimension) or of matrices (two).

    Args:
        ord: None is the root of the sum of squares; a number or a name, see `vector_norm` and
            `matrix_norm`.
        dim: one dimension, two, or None for all of them.
    """
    if ord is None:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    if dim is None:
        if A._layout.ndim not in (1, 2):
            raise RuntimeError(
                f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got "
                f"{A._layout.ndim}D."
            )
        dim = tuple(range(A._layout.ndim)) if A._layout.ndim == 2 else (0,)
    if isinstance(dim, int) or len(dim) == 1:
        return vector_norm(A, ord, dim, keepdim, dtype=dtype)
    return matrix_norm(A, ord, dim, keepdim, dtype=dtype)


@writes
def cond(A: Tensor, p: Any = None) -> Tensor:
    """The condition number for inversion: norm(A) norm(A^-1), by singular values for 2 and -2."""
    if p in (None, 2, -2):
        check_matrix("cond", A)
        values = svdvals(A)
        first, last = values[..., 0], values[..., -1]
        return last / first if p == -2 else first / last
    check_matrix("cond", A, square=True)
    return matrix_norm(A, p) * matrix_norm(inv(A), p)


@writes
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """The sum of the products along a dimension."""
    return (x * y).sum(dim)


# ---- products


@writes
def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """The product of two or more matrices in the cheapest order; the ends may be vectors."""
    if len(tensors) < 2:
        raise RuntimeError(
            f"linalg.multi_dot: multi_dot(): expected at least 2 tensors but got {len(tensors)}."
        )
    parts = list(tensors)
    row, column = parts[0]._layout.ndim == 1, parts[-1]._layout.ndim == 1
    if row:
        parts[0] = unsqueeze(parts[0], 0)
    if column:
        parts[-1] = unsqueeze(parts[-1], 1)
    for part in parts:
        if part._layout.ndim != 2:
            raise RuntimeError(
                "linalg.multi_dot: multi_dot(): tensors must be 2D (the first and last may be 1D);"
                f" got shape {list(part._layout.shape)}."
            )
    result = _chained(parts)
    if row:
        result = result[0]
    return result[..., 0] if column else result


def _chained(parts: list[Tensor]) -> Tensor:
    """By the classic table of costs."""
    count = len(parts)
    sizes = [parts[0]._layout.shape[0], *(part._layout.shape[1] for part in parts)]
    cost = [[0] * count for _ in parts]
    cut = [[0] * count for _ in parts]
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            options = [
                (cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            ]
            cost[i][j], cut[i][j] = min(options)

    def product(i: int, j: int) -> Tensor:
        if i == j:
            return parts[i]
        k = cut[i][j]
        return matmul(product(i, k), product(k + 1, j))

    return product(0, count - 1)


@method("chain_matmul")
@writes
def chain_matmul(*matrices: Tensor) -> Tensor:
    """The product of matrices in the cheapest order."""
    if len(matrices) == 1 and isinstance(matrices[0], Tensor):
        return matrices[0]
    return multi_dot(matrices)


def _check_square(name: str, A: Tensor) -> None:
    shape = A._layout.shape
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise RuntimeError(
            f"linalg.{name}: A must be batches of square matrices, but it has shape {list(shape)}."
        )


@method("matrix_power")
@writes
def matrix_power(A: Tensor, n: int) -> Tensor:
    """A square matrix multiplied with itself n times; of its inverse for a negative n."""
    _check_square("matrix_power", A)
    if n < 0:
        A, n = inv(A), -n
    if n == 0:
        return (
            eye(A._layout.shape[-1], dtype=A._layout.dtype, device=A._layout.device)
            .expand(*A._layout.shape)
            .clone()
        )
    result: Tensor | None = None
    power = A
    while n:
        if n & 1:
            result = power if result is None else matmul(result, power)
        n >>= 1
        if n:
            power = matmul(power, power)
    assert result is not None
    return result.clone() if result is A else result


#: The numerators of Padé's approximations of exp and the 1-norms up to which they are exact enough
#: (N. Higham, "The Scaling and Squaring Method for the Matrix Exponential Revisited", 2005).
_PADE = (
    64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0,
    129060195264000.0, 10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0, 40840800.0,
    960960.0, 16380.0, 182.0, 1.0,
)  # fmt: skip
_PADE_LIMIT = 5.371920351148152


@method("matrix_exp")
@takes("floating")
def matrix_exp(A: Tensor) -> Tensor:
    """The exponential of square matrices: Padé's approximation of order 13, scaled and squared."""
    _check_square("matrix_exp", A)
    if A._layout.dtype in (dtypes.float16, dtypes.bfloat16):
        return matrix_exp(A.float()).to(A._layout.dtype)
    check_matrix("matrix_exp", A)
    n = A._layout.shape[-1]
    if not A._layout.numel:
        return A.clone()
    with no_grad():
        greatest = float(amax(matrix_norm(A.detach(), 1)))
    squarings = max(0, math.ceil(math.log2(greatest / _PADE_LIMIT))) if greatest > 0 else 0
    a = A * 0.5**squarings
    one = eye(n, dtype=A._layout.dtype, device=A._layout.device)
    b = _PADE
    a2 = matmul(a, a)
    a4 = matmul(a2, a2)
    a6 = matmul(a4, a2)
    odd = matmul(a6, b[13] * a6 + b[11] * a4 + b[9] * a2)
    odd = matmul(a, odd + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * one)
    even = matmul(a6, b[12] * a6 + b[10] * a4 + b[8] * a2)
    even = even + b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * one
    result = solve(even - odd, even + odd)
    for _ in range(squarings):
        result = matmul(result, result)
    return result


@method("cross")
@writes
def _cross_method(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The vector product; without `dim` along the first dimension of size 3."""
    if dim is None:
        places = [d for d, size in enumerate(input._layout.shape) if size == 3]
        if not places:
            raise RuntimeError("cross: no dimension of size 3 in input.")
        dim = places[0]
    return cross(input, other, dim=dim)


@writes
def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The vector product of vectors of 3 elements along a dimension."""
    for x in (input, other):
        size = x._layout.shape[dim] if x._layout.ndim else 0
        if size != 3:
            raise RuntimeError(
                f"linalg.cross: inputs dimension {dim} must have length 3. Got {size}."
            )
    a, b = (input.roll(-1, dim), input.roll(-2, dim)), (other.roll(-1, dim), other.roll(-2, dim))
    return a[0] * b[1] - a[1] * b[0]


def vander(x: Tensor, *, N: int | None = None) -> Tensor:
    """Powers 0 to N - 1 of each element, in a new last dimension."""
    count = x._layout.shape[-1] if N is None else N
    if count == 0:
        return zeros(*x._layout.shape, 0, dtype=x._layout.dtype)
    columns = [x**0, *([x] if count > 1 else [])]
    while len(columns) < count:
        columns.append(columns[-1] * x)
    return stack(columns[:count], -1)


# ---- pseudo-inverses and least squares


class LinalgPinvBackward0(Node):
    """The differential of the pseudo-inverse at constant rank (Golub and Pereyra, 1973)."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient of the matrix."""
        a, p = self.unpack()
        (g,) = grads
        first = -(p.mT @ g @ p.mT)
        left = g.mT @ p @ p.mT
        right = p.mT @ p @ g.mT
        return (first + (left - a @ (p @ left)) + (right - (right @ p) @ a),)


def _rank_bound(A: Tensor, values: Tensor, atol: Any, rtol: Any, tol: Any = None) -> Tensor:
    """Singular values up to this are taken for zero."""
    largest = amax(values, -1, True) if values._layout.shape[-1] else values.sum(-1, True)
    if rtol is None:
        epsilon = dtypes.finfo(A._layout.dtype).eps
        given = atol is not None and not (isinstance(atol, (int, float)) and atol == 0)
        rtol = 0.0 if given else epsilon * max(A._layout.shape[-2:])
    bound = largest * _spread(rtol)
    if atol is None:
        return bound
    absolute = _spread(atol)
    return bound.maximum(absolute) if isinstance(absolute, Tensor) else bound.clamp(min=absolute)


def _spread(tolerance: Any) -> Any:
    if isinstance(tolerance, Tensor) and tolerance._layout.ndim:
        return unsqueeze(tolerance, -1)
    return tolerance


@writes
def pinv(
    A: Tensor, rcond: Any = None, *, atol: Any = None, rtol: Any = None, hermitian: bool = False
) -> Tensor:
    """The Moore-Penrose inverse (*, n, m) of matrices (*, m, n), by singular values.

    Args:
        atol, rtol: singular values up to max(atol, rtol * the greatest) count as zero; `rtol` is
            epsilon * max(m, n) by default. rcond: an old name of `rtol`.
        hermitian: A is symmetric; its eigenvalues serve instead.
    """
    check_matrix("pinv", A, square=hermitian)
    rtol = rcond if rtol is None else rtol
    with no_grad():
        if not A._layout.numel:
            result = zeros(*A._layout.shape[:-2], *A._layout.shape[:-3:-1], dtype=A._layout.dtype)
        else:
            if hermitian:
                values, vectors = eigh(A)
                left, right, sizes = vectors, vectors.mT, values.abs()
            else:
                left, values, right = svd(A, full_matrices=False)
                sizes = values
            kept = sizes > _rank_bound(A, sizes, atol, rtol)
            factors = kept.to(values._layout.dtype) / values.where(kept, 1.0)
            result = (right.mT * unsqueeze(factors, -2)) @ left.mT
    record(LinalgPinvBackward0, [A], [result], [A])
    return result


@method("pinverse")
def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """`linalg.pinv`."""
    return pinv(input, rtol=rcond)


@writes
@without_gradient
def matrix_rank(
    A: Tensor, tol: Any = None, *, atol: Any = None, rtol: Any = None, hermitian: bool = False
) -> Tensor:
    """How many singular values are greater than max(atol, rtol * the greatest one)."""
    check_matrix("matrix_rank", A, square=hermitian)
    with no_grad():
        values = eigh(A).eigenvalues.abs() if hermitian else svdvals(A)
        if tol is not None:
            bound: Any = _spread(tol)
        else:
            bound = _rank_bound(A, values, atol, rtol)
        return (values > bound).sum(-1)


@writes
def lstsq(
    A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None
) -> return_types.lstsq:
    """X that minimises |A X - B|: by QR for tall or square A of full rank, else the shortest one.

    Args:
        rcond: singular values up to rcond * the greatest count as zero (drivers gelsy, gelsd).
        driver: gelsy (the default), gels, gelsd or gelss, as LAPACK's are called; all but gels
            allow for a deficient rank.
    """
    check_matrix("lstsq", A)
    vector = B._layout.ndim == 1 or B._layout.shape == A._layout.shape[:-1]
    b = unsqueeze(B, -1) if vector else B
    m, n = A._layout.shape[-2:]
    if b._layout.shape[-2] != m:
        raise ShapeError(
            f"linalg.lstsq: input.size(-2) should match other.size(-2): {m} and "
            f"{b._layout.shape[-2]}."
        )
    driver = driver or "gelsy"
    device, dtype = A._layout.device, A._layout.dtype
    nothing = zeros(0, dtype=dtype, device=device)
    rank = matrix_rank(A, rtol=rcond) if driver != "gels" else zeros(0, dtype=dtypes.int64)
    full = driver == "gels" or not rank._layout.numel or int(amin(rank)) == min(m, n)
    if m >= n and full:
        q, r = qr(A)
        x = solve_triangular(r, q.mT @ b, upper=True)
    else:
        x = pinv(A, rtol=rcond) @ b
    residuals = nothing
    if m > n and full:
        residuals = ((A @ x - b) ** 2).sum(-2)
    values = svdvals(A) if driver in ("gelsd", "gelss") else nothing
    return return_types.lstsq(x[..., 0] if vector else x, residuals, rank, values)


# ---- tensors as matrices


def _product(sizes: Sequence[int]) -> int:
    return reduce(lambda a, b: a * b, sizes, 1)


@writes
def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The tensor that `tensordot(_, A, ind)` undoes."""
    shape = A._layout.shape
    if ind <= 0:
        raise RuntimeError(f"linalg.tensorinv: Expected a strictly positive ind, got {ind}.")
    first, last = shape[:ind], shape[ind:]
    if _product(first) != _product(last):
        raise RuntimeError(
            f"linalg.tensorinv: the products of {list(first)} and {list(last)} must be equal."
        )
    return reshape(inv(reshape(A, _product(first), -1)), *last, *first)


@writes
def tensorsolve(A: Tensor, B: Tensor, dims: Sequence[int] | None = None) -> Tensor:
    """X with tensordot(A, X, X.ndim) = B."""
    if dims is not None:
        A = movedim(A, tuple(dims), tuple(range(-len(dims), 0)))
    shape = A._layout.shape[B._layout.ndim :]
    if _product(shape) != B._layout.numel:
        raise RuntimeError(
            f"linalg.tensorsolve: A of shape {list(A._layout.shape)} is no square system for B of "
            f"shape {list(B._layout.shape)}."
        )
    return reshape(solve(reshape(A, -1, _product(shape)), reshape(B, -1)), *shape)


# ---- limits of norms, sums of products


def _norm_factors(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    dim = normalize_dim("renorm", dim, input._layout.ndim)
    others = tuple(d for d in range(input._layout.ndim) if d != dim)
    norms = vector_norm(input, p, others, True)
    return where(norms > maxnorm, maxnorm / (norms + 1e-7), 1.0)


@method("renorm")
@writes
@takes("floating", "float8")
def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """The slices along `dim`, scaled where needed to a p-norm of at most `maxnorm`."""
    return contiguous(input * _norm_factors(input, p, dim, maxnorm))


@method("renorm_")
def renorm_(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """In-place version of `renorm`."""
    return input.mul_(_norm_factors(input.clone(), p, dim, maxnorm))


@method("addbmm")
@in_place
@writes
def addbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """beta * input + alpha * the sum of batch1[i] @ batch2[i]."""
    total = bmm(batch1, batch2).sum(0)
    total = total if alpha == 1 else total * alpha
    return total if beta == 0 else (input if beta == 1 else input * beta) + total
