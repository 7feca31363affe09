"""Factorizations, solves, distances between points: small batches, and single matrices."""

from __future__ import annotations

from typing import Any

from bench.cases.case import Case, Run, op


def _matrix(torch: Any, shape: tuple[int, ...], kind: str) -> Any:
    """Random numbers; `definite`: eigenvalues of 1 and more; `well`: can be inverted."""
    a = torch.randn(*shape)
    if kind == "definite":
        return a @ a.mT / shape[-1] + torch.eye(shape[-1])
    if kind == "symmetric":
        return a + a.mT
    return a + shape[-1] ** 0.5 * torch.eye(shape[-1]) if kind == "well" else a


def _of_matrix(name: str, kind: str, *shape: int) -> Case:
    """A function of torch.linalg of one matrix, or of a batch."""

    def program(torch: Any) -> Run:
        a, function = _matrix(torch, shape, kind), getattr(torch.linalg, name)
        return lambda: function(a)

    return op(f"{name}, {'x'.join(map(str, shape))}", program)


def _solve(columns: int, *shape: int) -> Case:
    def program(torch: Any) -> Run:
        a, b = _matrix(torch, shape, "well"), torch.randn(*shape[:-1], columns)
        return lambda: torch.linalg.solve(a, b)

    return op(f"solve, {'x'.join(map(str, shape))}, {columns} columns", program)


def _triangular(columns: int, n: int) -> Case:
    def program(torch: Any) -> Run:
        a = torch.linalg.cholesky(_matrix(torch, (n, n), "definite"))
        b = torch.randn(n, columns)
        return lambda: torch.linalg.solve_triangular(a, b, upper=False)

    return op(f"solve_triangular, {n}x{n}, {columns} columns", program)


def _distances(rows: int, others: int, columns: int, p: float = 2.0) -> Case:
    def program(torch: Any) -> Run:
        x, y = torch.randn(rows, columns), torch.randn(others, columns)
        return lambda: torch.cdist(x, y, p=p)

    return op(f"cdist p={p:g}, {rows}x{columns} to {others}", program)


def _distances_step(rows: int, others: int, columns: int, p: float = 2.0) -> Case:
    """Distances and the gradients of both sets of points."""

    def program(torch: Any) -> Run:
        x = torch.randn(rows, columns, requires_grad=True)
        y = torch.randn(others, columns, requires_grad=True)
        g = torch.randn(rows, others)

        def run() -> Any:
            return torch.autograd.grad(torch.cdist(x, y, p=p), (x, y), g)

        return run

    return op(f"cdist p={p:g}, {rows}x{columns} to {others}, with gradients", program)


def _pairs(rows: int, columns: int) -> Case:
    def program(torch: Any) -> Run:
        x = torch.randn(rows, columns)
        return lambda: torch.nn.functional.pdist(x)

    return op(f"pdist, {rows}x{columns}", program)


_SHAPES: list[tuple[int, ...]] = [(256, 8, 8), (64, 32, 32), (256, 256), (512, 512)]
_KINDS = {
    "cholesky": "definite", "lu_factor": "any", "qr": "any", "inv": "well", "det": "any",
    "eigh": "symmetric", "svd": "any",
}  # fmt: skip

ROWS: list[Case] = [
    *(_distances(*sizes) for sizes in ((16, 16, 8), (1000, 1000, 64), (4096, 128, 256))),
    *(_distances(1000, 1000, 64, p) for p in (1.0, 3.0, float("inf"))),
    *(_distances_step(500, 500, 64, p) for p in (2.0, 1.0)),
    _pairs(1000, 64),
    *(_of_matrix(name, kind, *shape) for name, kind in _KINDS.items() for shape in _SHAPES),
    *(_solve(1, *shape) for shape in _SHAPES),
    _solve(256, 256, 256),
    _triangular(256, 512),
]
