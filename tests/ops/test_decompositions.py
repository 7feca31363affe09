"""Linear algebra: factorizations rebuild their matrices, solutions solve, gradients of both orders.

Sizes around the blocks (32 columns, panels of 16) take every way through the blocked algorithms on
GPUs; on CPUs they do where blocks are made small.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch import linalg
from tritorch.autograd.gradcheck import gradcheck, gradgradcheck
from tritorch.ops import factorization
from tritorch.tensor import Tensor

SIZES = (1, 2, 16, 17, 33, 70)
DTYPES = (torch.float64, torch.float32)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 5e-5}


def matrix(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def definite(n: int, *batch: int) -> np.ndarray:
    a = matrix(*batch, n, n)
    return a @ a.swapaxes(-1, -2) + n * np.eye(n)


def close(actual: Tensor, expected: Any, dtype: Any, scale: float = 1.0) -> None:
    assert actual.dtype is dtype
    expected = np.asarray(expected)
    assert tuple(actual.shape) == expected.shape
    bound = TOLERANCE[dtype] * scale * max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(actual.numpy().astype(np.float64), expected, rtol=0, atol=bound)


@pytest.mark.parametrize("columns", [1, 5])
def test_blocks(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Matrices of several blocks, square, tall and wide."""
    monkeypatch.setattr(factorization, "ROWS", 16)
    a, b = definite(70, 2), matrix(2, 70, columns, seed=1)
    double = torch.float64
    close(linalg.cholesky(torch.tensor(a)), np.linalg.cholesky(a), double)
    close(linalg.solve(torch.tensor(a), torch.tensor(b)), np.linalg.solve(a, b), double)
    for upper in (False, True):
        triangle = np.triu(a) if upper else np.tril(a)
        found = linalg.solve_triangular(torch.tensor(a), torch.tensor(b), upper=upper)
        close(found, np.linalg.solve(triangle, b), double)
    for m, n in ((70, 70), (70, 40), (40, 70)):
        general = matrix(2, m, n, seed=2)
        p, lower, up = linalg.lu(torch.tensor(general))
        close(p @ lower @ up, general, double)
        assert float(lower.abs().max()) == 1


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", SIZES)
class TestAgainstNumPy:
    def test_cholesky(self, n: int, dtype: Any) -> None:
        a = definite(n, 2)
        found = linalg.cholesky(torch.tensor(a, dtype=dtype))
        close(found, np.linalg.cholesky(a), dtype)
        upper = linalg.cholesky(torch.tensor(a, dtype=dtype), upper=True)
        close(upper, np.linalg.cholesky(a).swapaxes(-1, -2), dtype)

    def test_solve_and_inverse(self, n: int, dtype: Any) -> None:
        a, b = definite(n, 2), matrix(2, n, 3, seed=1)
        close(linalg.solve(torch.tensor(a, dtype=dtype), torch.tensor(b, dtype=dtype)),
              np.linalg.solve(a, b), dtype)  # fmt: skip
        close(linalg.inv(torch.tensor(a, dtype=dtype)), np.linalg.inv(a), dtype)
        general = matrix(n, n) + 3 * np.eye(n)[::-1]
        inverse = linalg.inv(torch.tensor(general, dtype=dtype)).numpy()
        scale = np.linalg.cond(general)
        np.testing.assert_allclose(general @ inverse, np.eye(n), atol=TOLERANCE[dtype] * scale)

    def test_triangular_in_every_orientation(self, n: int, dtype: Any) -> None:
        a = definite(n)
        for upper in (False, True):
            for unit in (False, True):
                triangle = np.triu(a) if upper else np.tril(a)
                if unit:
                    triangle = triangle / np.diag(triangle)[:, None]
                    triangle = triangle - np.diag(np.diag(triangle)) + np.eye(n)
                # What is outside of the triangle must not be read.
                given = torch.tensor(np.where(triangle == 0, np.nan, triangle), dtype=dtype)
                b = matrix(n, 70, seed=2)
                x = linalg.solve_triangular(
                    given, torch.tensor(b, dtype=dtype), upper=upper, unitriangular=unit
                )
                close(x, np.linalg.solve(triangle, b), dtype, scale=10)
                x = linalg.solve_triangular(
                    given, torch.tensor(b.T, dtype=dtype), upper=upper, left=False,
                    unitriangular=unit,
                )  # fmt: skip
                close(x, np.linalg.solve(triangle.T, b).T, dtype, scale=10)

    def test_lu(self, n: int, dtype: Any) -> None:
        for m in (n, n + 5, max(1, n - 5)):
            a = matrix(2, m, n)
            p, lower, upper = linalg.lu(torch.tensor(a, dtype=dtype))
            close(p @ lower @ upper, a, dtype, scale=4)
            assert np.abs(lower.numpy()).max() <= 1  # rows were exchanged
        packed, pivots = linalg.lu_factor(torch.tensor(a := definite(n, 2), dtype=dtype))
        b = matrix(2, n, 2)
        for adjoint in (False, True):
            x = linalg.lu_solve(packed, pivots, torch.tensor(b, dtype=dtype), adjoint=adjoint)
            close(x, np.linalg.solve(a.swapaxes(-1, -2) if adjoint else a, b), dtype)

    def test_qr(self, n: int, dtype: Any) -> None:
        for m in (n, n + 20, max(1, n - 5)):
            a = matrix(2, m, n)
            expected = np.linalg.qr(a)
            found = linalg.qr(torch.tensor(a, dtype=dtype))
            close(found.Q, expected.Q, dtype, scale=20)
            close(found.R, expected.R, dtype)
            whole = linalg.qr(torch.tensor(a, dtype=dtype), mode="complete")
            close(whole.Q @ whole.R, a, dtype, scale=4)
            close(whole.Q.mT @ whole.Q, np.broadcast_to(np.eye(m), (2, m, m)), dtype)

    def test_eigh(self, n: int, dtype: Any) -> None:
        a = matrix(2, n, n)
        a = a + a.swapaxes(-1, -2)  # indefinite
        for uplo in "LU":
            half = np.tril(a) if uplo == "L" else np.triu(a)
            values, vectors = linalg.eigh(torch.tensor(half, dtype=dtype), UPLO=uplo)
            close(values, np.linalg.eigvalsh(a), dtype, scale=10)
            close(vectors @ torch.diag_embed(values) @ vectors.mT, a, dtype, scale=20)
            close(vectors.mT @ vectors, np.broadcast_to(np.eye(n), a.shape), dtype)

    def test_svd(self, n: int, dtype: Any) -> None:
        for m in (n, n + 20, max(1, n - 1)):
            a = matrix(2, m, n)
            u, s, vh = linalg.svd(torch.tensor(a, dtype=dtype), full_matrices=False)
            close(s, np.linalg.svd(a, compute_uv=False), dtype, scale=10)
            close((u * s.unsqueeze(-2)) @ vh, a, dtype, scale=10)
            u, s, vh = linalg.svd(torch.tensor(a, dtype=dtype))
            close(u.mT @ u, np.broadcast_to(np.eye(m), (2, m, m)), dtype, scale=4)
            close(vh @ vh.mT, np.broadcast_to(np.eye(n), (2, n, n)), dtype, scale=4)

    def test_determinants(self, n: int, dtype: Any) -> None:
        a = matrix(2, n, n) / max(1, n) ** 0.5
        sign, size = np.linalg.slogdet(a)
        found = linalg.slogdet(torch.tensor(a, dtype=dtype))
        close(found.sign, sign, dtype)
        close(found.logabsdet, size, dtype, scale=1000)
        close(linalg.det(torch.tensor(a, dtype=dtype)), np.linalg.det(a), dtype, scale=100)


def test_a_deficient_rank() -> None:
    a = matrix(6, 2) @ matrix(2, 5, seed=1)
    found = linalg.svd(torch.tensor(a))
    np.testing.assert_allclose(found.S.numpy()[2:], 0, atol=1e-14)
    close(found.U.mT @ found.U, np.eye(6), torch.float64)
    close((found.U[:, :5] * found.S) @ found.Vh, a, torch.float64)
    assert linalg.matrix_rank(torch.tensor(a)).item() == 2
    close(linalg.pinv(torch.tensor(a)), np.linalg.pinv(a), torch.float64, scale=10)
    b = matrix(6, 2, seed=3)
    found_x = linalg.lstsq(torch.tensor(a), torch.tensor(b)).solution
    close(found_x, np.linalg.lstsq(a, b, rcond=None)[0], torch.float64, scale=100)


def test_empty_and_zero_matrices() -> None:
    assert linalg.inv(torch.zeros(0, 0)).shape == (0, 0)
    assert linalg.det(torch.zeros(0, 0)).item() == 1.0
    assert linalg.svd(torch.zeros(0, 3)).Vh.shape == (3, 3)
    assert linalg.eigh(torch.zeros(2, 0, 0)).eigenvalues.shape == (2, 0)
    assert linalg.svdvals(torch.zeros(3, 2)).tolist() == [0.0, 0.0]
    assert linalg.eigvalsh(torch.zeros(3, 3)).tolist() == [0.0, 0.0, 0.0]


def test_norms_conditions_and_powers() -> None:
    a = matrix(4, 4)
    t = torch.tensor(a)
    for order in ("fro", "nuc", 2, -2, 1, -1, np.inf, -np.inf):
        close(linalg.matrix_norm(t, order), np.linalg.norm(a, order), torch.float64, 10)
        close(linalg.norm(t, order), np.linalg.norm(a, order), torch.float64, 10)
    for order in (None, 2, -2, "fro", 1, np.inf):
        close(linalg.cond(t, order), np.linalg.cond(a, order), torch.float64, 100)
    for power in (-3, -1, 0, 1, 5):
        expected = np.linalg.matrix_power(a, power)
        close(linalg.matrix_power(t, power), expected, torch.float64, 100)
    parts = [matrix(3, 9), matrix(9, 2), matrix(2, 7), matrix(7, 4)]
    found = linalg.multi_dot([torch.tensor(part) for part in parts])
    close(found, np.linalg.multi_dot(parts), torch.float64, 10)
    # exp(A) exp(-A) = 1, at every number of squarings
    for scale in (1e-3, 1.0, 30.0):
        product = torch.matrix_exp(t * scale) @ torch.matrix_exp(-t * scale)
        if scale < 30:
            close(product, np.eye(4), torch.float64, 1e3)
    rotation = torch.tensor([[0.0, -8.0], [8.0, 0.0]], dtype=torch.float64)
    expected = [[np.cos(8), -np.sin(8)], [np.sin(8), np.cos(8)]]
    close(torch.matrix_exp(rotation), expected, torch.float64, 10)


def _symmetric(a: Tensor) -> Tensor:
    return (a + a.mT) / 2


#: functions of a well-conditioned (2, 4, 4) matrix; factors are used where signs do not matter
GRADIENTS: dict[str, Callable[[Tensor], Any]] = {
    "cholesky": lambda a: linalg.cholesky(_symmetric(a)),
    "cholesky upper": lambda a: linalg.cholesky(_symmetric(a), upper=True),
    "inv": linalg.inv,
    "det": linalg.det,
    "slogdet": lambda a: linalg.slogdet(a).logabsdet,
    "solve": lambda a: linalg.solve(a, a.mT @ a),
    "solve vector": lambda a: linalg.solve(a[0], a[1, 0]),
    "triangular": lambda a: linalg.solve_triangular(a, a.mT, upper=True),
    "triangular unit": lambda a: linalg.solve_triangular(a, a, upper=False, unitriangular=True),
    "lu": lambda a: linalg.lu(a)[1:],
    "lu tall": lambda a: linalg.lu(a[:, :, :2])[1:],
    "lu wide": lambda a: linalg.lu(a[:, :2])[1:],
    "qr": lambda a: tuple(linalg.qr(a)),
    "qr tall": lambda a: tuple(linalg.qr(a[:, :, :2])),
    "qr wide": lambda a: tuple(linalg.qr(a[:, :2])),
    "eigh": lambda a: linalg.eigh(_symmetric(a)).eigenvalues,
    "eigh squared vectors": lambda a: linalg.eigh(_symmetric(a)).eigenvectors ** 2,
    "svd": lambda a: linalg.svd(a, full_matrices=False).S,
    "svd tall": lambda a: linalg.svd(a[:, :, :3], full_matrices=False).U ** 2,
    "svd wide": lambda a: linalg.svd(a[:, :3], full_matrices=False).Vh ** 2,
    "pinv": lambda a: linalg.pinv(a[:, :3]),
    "lstsq": lambda a: linalg.lstsq(a[:, :, :2], a).solution,
    "matrix_exp": lambda a: torch.matrix_exp(a / 4),
    "matrix_power": lambda a: linalg.matrix_power(a, -2),
    "nuclear norm": lambda a: linalg.matrix_norm(a, "nuc"),
    "cross": lambda a: linalg.cross(a[:, :3, :3], a[:, 1:, :3], dim=1),
    "householder": lambda a: linalg.householder_product(a[:, :, :2], a[:, 3, :2]),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_of_both_orders(name: str) -> None:
    a = torch.tensor(definite(4, 2) / 4 + matrix(2, 4, 4, seed=5) / 3, requires_grad=True)
    assert gradcheck(GRADIENTS[name], (a,))
    assert gradgradcheck(GRADIENTS[name], (a,), atol=1e-4)


def test_the_determinant_of_a_singular_matrix_has_its_gradient() -> None:
    a = matrix(4, 4)
    a[3] = a[0] + a[1]
    t = torch.tensor(a, requires_grad=True)
    linalg.det(t).backward()
    cofactors = np.array([
        [(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(a, i, 0), j, 1)) for j in range(4)]
        for i in range(4)
    ])  # fmt: skip
    np.testing.assert_allclose(t.grad.numpy(), cofactors, atol=1e-10)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: linalg.cholesky(-torch.eye(3)), linalg.LinAlgError, "leading minor of order 1"),
        (lambda: linalg.inv(torch.zeros(2, 2)), linalg.LinAlgError, "singular"),
        (lambda: linalg.solve(torch.zeros(2, 2), torch.ones(2)), linalg.LinAlgError, "singular"),
        (lambda: linalg.inv(torch.zeros(2, 3)), RuntimeError, "square matrices"),
        (lambda: linalg.inv(torch.zeros(3)), RuntimeError, "at least 2 dimensions"),
        (lambda: linalg.inv(torch.eye(2).long()), RuntimeError, "float32 or float64"),
        (lambda: linalg.solve(torch.eye(2), torch.ones(3, 1)), RuntimeError, "Incompatible"),
        (lambda: linalg.svd(torch.full((2, 2), float("nan"))), linalg.LinAlgError, "non-finite"),
        (lambda: linalg.qr(torch.eye(2), mode="thin"), RuntimeError, "unrecognized mode"),
        (lambda: linalg.cross(torch.ones(4), torch.ones(4)), RuntimeError, "length 3"),
    ],
)
def test_bad_input(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_failures_can_be_asked_for_instead() -> None:
    a = torch.stack([torch.eye(2), torch.tensor([[1.0, 2.0], [2.0, 1.0]])])
    assert linalg.cholesky_ex(a).info.tolist() == [0, 2]
    assert linalg.inv_ex(torch.zeros(2, 2)).info.item() == 1
    with pytest.raises(linalg.LinAlgError, match=r"Batch element 1"):
        linalg.cholesky(a)
