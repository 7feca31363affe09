"""Random counts: moments, the ends of the ranges, seeds, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tritorch as torch

MANY = 8000


@pytest.mark.parametrize("rate", [0.3, 4.0, 60.0, 5000.0])
def test_poisson(rate: float) -> None:
    torch.manual_seed(1)
    x = torch.poisson(torch.full((MANY,), rate, dtype=torch.float64)).numpy()
    assert np.all(x == np.floor(x))
    error = math.sqrt(rate / MANY)
    assert abs(x.mean() - rate) < 5 * error
    assert abs(x.var() / rate - 1) < 0.1
    if rate == 4.0:  # the shape, not only two moments
        expected = np.array([math.exp(-rate) * rate**k / math.factorial(k) for k in range(12)])
        shares = np.array([(x == k).mean() for k in range(12)])
        np.testing.assert_allclose(shares, expected, atol=5 * math.sqrt(0.25 / MANY))


@pytest.mark.parametrize(("n", "p"), [(7, 0.4), (50, 0.95), (10000, 0.5)])
def test_binomial(n: int, p: float) -> None:
    torch.manual_seed(2)
    x = torch.binomial(torch.full((MANY,), float(n)), torch.tensor(p)).numpy()
    assert x.min() >= 0 and x.max() <= n
    deviation = math.sqrt(n * p * (1 - p))
    assert abs(x.mean() - n * p) < 5 * deviation / math.sqrt(MANY)
    assert abs(x.std() / deviation - 1) < 0.06


def test_ends() -> None:
    assert torch.poisson(torch.zeros(3)).tolist() == [0.0] * 3
    assert torch.poisson(torch.empty(0)).shape == (0,)
    n = torch.tensor([4.0, 5.0, 0.0])
    assert torch.binomial(n, torch.tensor([1.0, 0.0, 0.5])).tolist() == [4.0, 0.0, 0.0]


def test_seeds_repeat() -> None:
    rates = torch.full((50,), 9.0)
    torch.manual_seed(3)
    first = torch.poisson(rates)
    torch.manual_seed(3)
    assert torch.equal(first, torch.poisson(rates))
    assert not torch.equal(first, torch.poisson(rates))


def test_in_place() -> None:
    torch.manual_seed(4)
    tries = torch.empty(MANY).geometric_(0.25).numpy()
    assert tries.min() >= 1 and abs(tries.mean() - 4) < 0.3
    cauchy = torch.empty(MANY).cauchy_(2.0, 0.5).numpy()
    np.testing.assert_allclose(np.quantile(cauchy, [0.25, 0.5, 0.75]), [1.5, 2, 2.5], atol=0.1)
    logarithms = np.log(torch.empty(MANY).log_normal_(0.5, 0.25).numpy())
    assert abs(logarithms.mean() - 0.5) < 0.02 and abs(logarithms.std() - 0.25) < 0.02


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: torch.poisson(torch.tensor([-1.0])), "at least 0"),
        (lambda: torch.poisson(torch.tensor([1])), "floating-point"),
        (lambda: torch.binomial(torch.ones(1), torch.tensor([1.5])), r"\[0, 1\]"),
        (lambda: torch.empty(2).geometric_(1.0), "geometric_"),
        (lambda: torch.empty(2).cauchy_(0, 0), "cauchy_"),
        (lambda: torch.empty(2).log_normal_(0, -1), "log_normal_"),
    ],
)
def test_errors(call: object, match: str) -> None:
    with pytest.raises(RuntimeError, match=match):
        call()  # type: ignore[operator]
