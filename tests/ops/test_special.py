"""Special functions that no table row of NumPy's covers, and the names of torch.special."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch.autograd.gradcheck import gradcheck, gradgradcheck


def zeta_of(x: Any, q: Any) -> Any:
    """The same sum with many more terms and no corrections but the first two."""
    x, q = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(q, np.float64))
    k = np.arange(20000.0)
    with np.errstate(all="ignore"):
        total = ((q[..., None] + k) ** -x[..., None]).sum(-1)
        a = q + 20000.0
        total = total + a ** (1 - x) / (x - 1) + 0.5 * a**-x + x / 12 * a ** (-x - 1)
        total = np.where(x > 1, total, np.where(x == 1, np.inf, np.nan))
        pole = (q <= 0) & (q == np.floor(q))
        return np.where(pole, np.inf, np.where((q < 0) & (x != np.floor(x)), np.nan, total))


def test_zeta() -> None:
    x, q = np.meshgrid(np.linspace(1.2, 12, 17), np.linspace(0.1, 30, 23))
    found = torch.special.zeta(torch.tensor(x), torch.tensor(q))
    np.testing.assert_allclose(found.numpy(), zeta_of(x, q), rtol=1e-11)
    assert torch.special.zeta(torch.tensor([1.0, 0.5]), 1.0).tolist()[0] == math.inf
    assert math.isnan(torch.special.zeta(torch.tensor(0.5), 1.0).item())
    np.testing.assert_allclose(torch.special.zeta(2.0, torch.tensor(1.0)).item(), math.pi**2 / 6)


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_polygamma(n: int) -> None:
    x = np.linspace(0.05, 20, 37)
    expected = (-1) ** (n + 1) * math.factorial(n) * zeta_of(n + 1.0, x)
    np.testing.assert_allclose(torch.polygamma(n, torch.tensor(x)).numpy(), expected, rtol=1e-11)
    np.testing.assert_allclose(torch.tensor(x).polygamma(n).numpy(), expected, rtol=1e-11)


def test_trigamma_of_negative_numbers() -> None:
    # psi'(1 - x) + psi'(x) = (pi / sin(pi x))^2
    x = torch.tensor([-0.3, -1.7, -4.5, 0.2], dtype=torch.float64)
    total = torch.polygamma(1, x) + torch.polygamma(1, 1 - x)
    np.testing.assert_allclose(
        total.numpy(), (math.pi / np.sin(math.pi * x.numpy())) ** 2, rtol=1e-11
    )


def test_the_tails_of_the_normal_distribution() -> None:
    p = torch.tensor([1e-300, 1e-40, 1e-9, 0.3, 0.5], dtype=torch.float64)
    x = torch.special.ndtri(p)
    np.testing.assert_allclose(torch.special.log_ndtr(x).exp().numpy(), p.numpy(), rtol=1e-11)
    np.testing.assert_allclose(torch.special.ndtri(1 - p[2:]).numpy(), -x[2:].numpy(), rtol=1e-7)
    far = torch.tensor([-1e4, -100.0], dtype=torch.float64)
    tail = -0.5 * far**2 - torch.log(-far) - 0.5 * math.log(2 * math.pi)
    np.testing.assert_allclose(torch.special.log_ndtr(far).numpy(), tail.numpy(), rtol=1e-7)


X = torch.tensor([0.3, 1.7, 4.2, 11.0], dtype=torch.float64, requires_grad=True)
U = torch.tensor([0.001, 0.3, 0.5, 0.98], dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(
    ("function", "x"),
    [
        (torch.digamma, X),
        (torch.lgamma, X),
        (lambda x: torch.polygamma(2, x), X),
        (lambda x: torch.special.zeta(3.0, x), X),
        (lambda x: torch.mvlgamma(x + 2, 3), X),
        (torch.special.i0, X),
        (torch.special.i1e, X - 2),
        (torch.special.erfcx, X - 2),
        (torch.special.log_ndtr, X - 3),
        (torch.special.ndtri, U),
        (torch.special.entr, X),
    ],
)
def test_gradients(function: Any, x: Any) -> None:
    assert gradcheck(function, (x,))
    assert gradgradcheck(function, (x,), atol=1e-4)


def test_names_and_refusals() -> None:
    assert torch.special.expit(torch.tensor(0.0)).item() == 0.5
    assert all(callable(getattr(torch.special, name)) for name in torch.special.__all__)
    with pytest.raises(RuntimeError, match="negative n"):
        torch.polygamma(-1, X)
    with pytest.raises(RuntimeError, match="greater than or equal to 1"):
        torch.mvlgamma(X, 0)
