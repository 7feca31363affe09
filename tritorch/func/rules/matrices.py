"""Decompositions and their kin: they know batches of matrices, so samples are one more batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tritorch.func.batched import Level, batched
from tritorch.func.dispatch import at, expanded, front, rewrapped
from tritorch.func.rules.declaring import family, rule
from tritorch.ops import decomposition, distance, matrix, orthogonal, sorting, views
from tritorch.tensor import Tensor

Matrices = Callable[..., Any]


@family(
    decomposition.cholesky, decomposition.cholesky_ex, decomposition._cholesky,
    decomposition.cholesky_inverse,
    decomposition.det, decomposition.slogdet, decomposition.inv, decomposition.inv_ex,
    decomposition.lu, decomposition.lu_factor, decomposition.lu_factor_ex,
    orthogonal.qr, orthogonal.geqrf, orthogonal.eigh, orthogonal.eigvalsh, orthogonal.svd,
    orthogonal.svdvals, orthogonal._qr_method, orthogonal._svd_method,
    matrix.pinv, matrix.matrix_rank,
)  # fmt: skip
def _of_one(level: Level, function: Matrices, A: Tensor, *args: Any, **options: Any) -> Any:
    """Functions of matrices (*, m, n)."""
    if A._layout.ndim < 2 or not at(A, level) or _more((args, options)):
        return NotImplemented
    return rewrapped(function(front(A, level), *args, **options), level)


@family(
    decomposition.solve_triangular, decomposition.solve, decomposition.solve_ex,
    decomposition.cholesky_solve, decomposition.triangular_solve,
    orthogonal.householder_product,
)  # fmt: skip
def _of_two(
    level: Level, function: Matrices, A: Tensor, B: Tensor, *args: Any, **options: Any
) -> Any:
    """Functions of two batches of matrices of one shape."""
    vector = B._layout.ndim == A._layout.ndim - 1 and B._layout.shape == A._layout.shape[:-1]
    if function is decomposition.solve and vector:
        return views.squeeze(function(A, views.unsqueeze(B, -1), *args, **options), -1)
    if function is orthogonal.householder_product:
        fits = A._layout.ndim == B._layout.ndim + 1
    else:
        fits = A._layout.ndim == B._layout.ndim
    if A._layout.ndim < 2 or not fits or _more((args, options)):
        return NotImplemented
    return rewrapped(function(expanded(A, level), expanded(B, level), *args, **options), level)


def _more(values: tuple[tuple[Any, ...], dict[str, Any]]) -> bool:
    return any(isinstance(value, Tensor) for value in (*values[0], *values[1].values()))


@rule(distance.cdist)
def _cdist(
    level: Level, x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = None
) -> Any:
    if x1._layout.ndim != x2._layout.ndim:
        return NotImplemented
    made = distance.cdist(expanded(x1, level), expanded(x2, level), p, compute_mode)
    return batched(made, 0, level)


@rule(sorting.searchsorted)
def _searchsorted(
    level: Level, sorted_sequence: Tensor, input: Any, *args: Any, **options: Any
) -> Any:
    if options.get("sorter") is not None or not isinstance(input, Tensor):
        return NotImplemented
    if sorted_sequence._layout.ndim == 1 and not at(sorted_sequence, level):
        made = sorting.searchsorted(sorted_sequence, front(input, level), *args, **options)
        return batched(made, 0, level)
    if sorted_sequence._layout.ndim == 1:
        rows = views.reshape(expanded(input, level), level.size, -1)
        made = sorting.searchsorted(front(sorted_sequence, level), rows, *args, **options)
        return batched(views.reshape(made, level.size, *input._layout.shape), 0, level)
    made = sorting.searchsorted(
        expanded(sorted_sequence, level), expanded(input, level), *args, **options
    )
    return batched(made, 0, level)
