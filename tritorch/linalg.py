"""Linear algebra with torch.linalg's names: norms, factorizations, solutions, functions."""

from __future__ import annotations

from tritorch.errors import LinAlgError
from tritorch.ops.decomposition import (
    cholesky,
    cholesky_ex,
    det,
    inv,
    inv_ex,
    lu,
    lu_factor,
    lu_factor_ex,
    lu_solve,
    slogdet,
    solve,
    solve_ex,
    solve_triangular,
)
from tritorch.ops.extrema import vector_norm
from tritorch.ops.linalg import matmul
from tritorch.ops.matrix import (
    cond,
    cross,
    lstsq,
    matrix_exp,
    matrix_norm,
    matrix_power,
    matrix_rank,
    multi_dot,
    norm,
    pinv,
    tensorinv,
    tensorsolve,
    vander,
    vecdot,
)
from tritorch.ops.orthogonal import eigh, eigvalsh, householder_product, qr, svd, svdvals
from tritorch.ops.refusal import refuse as _refuse
from tritorch.ops.views import diagonal as _diagonal
from tritorch.tensor import Tensor

__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eigh",
    "eigvalsh", "householder_product", "inv", "inv_ex", "lstsq", "lu", "lu_factor",
    "lu_factor_ex", "lu_solve", "matmul", "matrix_exp", "matrix_norm", "matrix_power",
    "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet", "solve", "solve_ex",
    "solve_triangular", "svd", "svdvals", "tensorinv", "tensorsolve", "vander", "vecdot",
    "vector_norm",
]  # fmt: skip


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonals of the last two dimensions."""
    return _diagonal(A, offset, dim1, dim2)


_refuse(globals())
