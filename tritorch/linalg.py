"""Norms and products of vectors and matrices, with torch.linalg's names."""

from __future__ import annotations

from typing import Any

from tritorch.ops.extrema import vector_norm
from tritorch.tensor import Tensor

__all__ = ["norm", "vector_norm"]


def norm(
    A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The norm of vectors; of matrices for `ord="fro"`.

    Args:
        ord: 2 for None. dim: one dimension (a vector), several, or all for None.
    Raises:
        NotImplementedError: another norm of a matrix.
    """
    if ord is None or ord == "fro":
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    matrix = A.ndim == 2 if dim is None else not isinstance(dim, int) and len(dim) == 2
    if matrix or isinstance(ord, str):
        raise NotImplementedError(
            f"linalg.norm: ord={ord!r} of a matrix is not there yet. Use 'fro', or vector_norm."
        )
    return vector_norm(A, ord, dim, keepdim, dtype=dtype)
