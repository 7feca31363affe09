"""Linear algebra: products (also in the main namespace) and the standard's `linalg` extension.

`eig` and `eigvals` have complex results and do not exist here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tritorch import linalg
from tritorch.array_api import reductions
from tritorch.array_api.data_types import operands
from tritorch.dtypes import dtype as Dtype
from tritorch.ops import linalg as products
from tritorch.ops import views
from tritorch.tensor import Tensor

__all__ = [
    "cholesky", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv", "matmul", "matrix_norm",
    "matrix_power", "matrix_rank", "matrix_transpose", "outer", "pinv", "qr", "slogdet", "solve",
    "svd", "svdvals", "tensordot", "trace", "vecdot", "vector_norm",
]  # fmt: skip


def matmul(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The product of matrices, or of stacks of them."""
    return products.matmul(*operands("matmul", x1, x2))


def tensordot(
    x1: Tensor, x2: Tensor, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2
) -> Tensor:
    """Sums of products over axes: the last of x1 with the first of x2, or these pairs."""
    return products.tensordot(*operands("tensordot", x1, x2), axes)


def matrix_transpose(x: Tensor, /) -> Tensor:
    """Rows for columns in the last two dimensions."""
    if x.ndim < 2:
        raise ValueError(
            f"matrix_transpose: expected two dimensions or more, got shape {tuple(x.shape)}."
        )
    return views.transpose(x, -2, -1)


def vecdot(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """Sums of products along an axis, counted from the end."""
    a, b = operands("vecdot", x1, x2)
    _check_from_end("vecdot", axis, a, b)
    if a.shape[axis] != b.shape[axis]:
        raise ValueError(
            f"vecdot: sizes along axis {axis} differ: {a.shape[axis]} and {b.shape[axis]}."
        )
    return linalg.vecdot(a, b, dim=axis)


def _check_from_end(name: str, axis: int, *tensors: Tensor) -> None:
    """Both operands must have it before they broadcast."""
    shortest = min(x.ndim for x in tensors)
    if not -shortest <= axis < 0:
        raise ValueError(
            f"{name}: axis must be from {-shortest} to -1 for operands of "
            f"{' and '.join(str(x.ndim) for x in tensors)} dimensions, got {axis}."
        )


def cholesky(x: Tensor, /, *, upper: bool = False) -> Tensor:
    """The triangular factor L of L @ L.mT, or its transpose."""
    return linalg.cholesky(x, upper=upper)


def cross(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """The cross product of vectors of three elements."""
    a, b = operands("cross", x1, x2)
    _check_from_end("cross", axis, a, b)
    return linalg.cross(a, b, dim=axis)


def det(x: Tensor, /) -> Tensor:
    """The determinant."""
    return linalg.det(x)


def diagonal(x: Tensor, /, *, offset: int = 0) -> Tensor:
    """The diagonals of the last two dimensions."""
    return linalg.diagonal(x, offset=offset)


def eigh(x: Tensor, /) -> Any:
    """Eigenvalues in rising order, and eigenvectors as columns, of a symmetric matrix."""
    return linalg.eigh(x)


def eigvalsh(x: Tensor, /) -> Tensor:
    """Eigenvalues of a symmetric matrix in rising order."""
    return linalg.eigvalsh(x)


def inv(x: Tensor, /) -> Tensor:
    """The inverse matrix."""
    return linalg.inv(x)


def matrix_norm(x: Tensor, /, *, keepdims: bool = False, ord: Any = "fro") -> Tensor:
    """The norm of matrices in the last two dimensions."""
    return linalg.matrix_norm(x, ord, (-2, -1), keepdims)


def matrix_power(x: Tensor, n: int, /) -> Tensor:
    """The product of n times the matrix."""
    return linalg.matrix_power(x, n)


def matrix_rank(x: Tensor, /, *, rtol: Any = None) -> Tensor:
    """How many singular values are above `rtol` times the greatest."""
    return linalg.matrix_rank(x, rtol=rtol)


def outer(x1: Tensor, x2: Tensor, /) -> Tensor:
    """All products of an element of x1 with one of x2."""
    return products.outer(*operands("outer", x1, x2))


def pinv(x: Tensor, /, *, rtol: Any = None) -> Tensor:
    """The pseudo-inverse; singular values below `rtol` times the greatest count as zero."""
    return linalg.pinv(x, rtol=rtol)


def qr(x: Tensor, /, *, mode: str = "reduced") -> Any:
    """Q with orthonormal columns and the triangular R of Q @ R."""
    return linalg.qr(x, mode)


def slogdet(x: Tensor, /) -> Any:
    """The sign of the determinant, and the logarithm of its size."""
    return linalg.slogdet(x)


def solve(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The x of x1 @ x = x2; x2 is a vector only if it has one dimension."""
    matrix, right = operands("solve", x1, x2)
    if right.ndim == 1:
        columns = views.unsqueeze(right, 1)
        columns = views.expand(columns, *matrix.shape[:-2], -1, -1)
        return views.squeeze(linalg.solve(matrix, columns), -1)
    batch = matrix.shape[:-2]
    if right.ndim - 2 < len(batch):
        right = views.expand(right, *batch[: len(batch) - right.ndim + 2], *right.shape)
    return linalg.solve(matrix, right)


def svd(x: Tensor, /, *, full_matrices: bool = True) -> Any:
    """U, the singular values S in falling order, and Vh of U @ diag(S) @ Vh."""
    return linalg.svd(x, full_matrices)


def svdvals(x: Tensor, /) -> Tensor:
    """The singular values in falling order."""
    return linalg.svdvals(x)


def trace(x: Tensor, /, *, offset: int = 0, dtype: Dtype | None = None) -> Tensor:
    """The sum of a diagonal of the last two dimensions."""
    return reductions.sum(linalg.diagonal(x, offset=offset), axis=-1, dtype=dtype)


def vector_norm(
    x: Tensor, /, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False,
    ord: float = 2,
) -> Tensor:  # fmt: skip
    """The norm over axes as of one vector, all of them for None."""
    return linalg.vector_norm(x, ord, axis, keepdims)
