"""Exponents, neighbours, quantiles, histograms and weighted covariances, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import tritorch as torch
from tritorch.autograd.gradcheck import gradcheck, gradgradcheck

EDGES = np.array([0.0, -0.0, 1.0, -1.0, 0.75, 1e-310, 3e300, np.inf, -np.inf, np.nan])


def test_frexp_and_back() -> None:
    mantissa, exponent = torch.frexp(torch.tensor(EDGES))
    wanted = np.frexp(EDGES)
    assert exponent.dtype is torch.int32
    np.testing.assert_array_equal(mantissa.numpy(), wanted[0])
    np.testing.assert_array_equal(exponent.numpy(), wanted[1])
    finite = torch.tensor(EDGES[:7])
    np.testing.assert_array_equal(torch.ldexp(*torch.frexp(finite)).numpy(), EDGES[:7])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_nextafter(dtype: type) -> None:
    info = np.finfo(dtype)
    edges = np.array([0, -0.0, 1, -1, 0.75, info.tiny, info.max, np.inf, -np.inf, np.nan], dtype)
    x, y = (a.ravel() for a in np.meshgrid(edges, edges))
    made = torch.nextafter(torch.tensor(x), torch.tensor(y)).numpy()
    assert made.dtype == dtype
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(made, np.nextafter(x, y))


def test_nextafter_of_bfloat16_is_one_step_of_its_bits() -> None:
    x = torch.tensor([1.0, 2.0, -1.0, 0.0], dtype=torch.bfloat16)
    made = torch.nextafter(x, torch.tensor([2.0, 1.0, -2.0, -1.0], dtype=torch.bfloat16))
    steps = (made.view(torch.int16) - x.view(torch.int16)).tolist()
    assert steps == [1, -1, 1, -0x7FFF]


def test_common_divisors_of_every_integer_dtype() -> None:
    numbers = np.arange(-12, 13)
    a, b = (grid.ravel() for grid in np.meshgrid(numbers, numbers))
    for dtype in (np.int8, np.int16, np.int32, np.int64):
        x, y = a.astype(dtype), b.astype(dtype)
        for name in ("gcd", "lcm"):
            made = getattr(torch, name)(torch.tensor(x), torch.tensor(y)).numpy()
            np.testing.assert_array_equal(made, getattr(np, name)(x, y))
    x, y = np.abs(a).astype(np.uint8), np.abs(b).astype(np.uint8)
    np.testing.assert_array_equal(torch.gcd(torch.tensor(x), torch.tensor(y)).numpy(), np.gcd(x, y))


@pytest.mark.parametrize("method", ["linear", "lower", "higher", "midpoint", "nearest"])
def test_quantiles(method: str) -> None:
    x = np.random.default_rng(0).standard_normal((5, 7))
    x[1, 2] = np.nan
    q = np.array([0.0, 0.1, 0.5, 0.77, 1.0])
    for dim in (0, 1, None):
        for keep in (False, True):
            for name in ("quantile", "nanquantile"):
                made = getattr(torch, name)(
                    torch.tensor(x), torch.tensor(q), dim, keep, interpolation=method
                )
                wanted = getattr(np, name)(x, q, dim, keepdims=keep, method=method)
                assert tuple(made.shape) == wanted.shape
                np.testing.assert_allclose(made.numpy(), wanted, rtol=1e-12)
    with pytest.raises(RuntimeError, match="range"):
        torch.quantile(torch.tensor(x), 1.5)


def test_nanmedian() -> None:
    x = torch.tensor([[3.0, float("nan"), 1.0, 2.0], [float("nan")] * 4])
    values, indices = torch.nanmedian(x, 1)
    assert values.tolist()[0] == 2.0 and bool(values[1].isnan()) and indices[0] == 3
    assert torch.nanmedian(x).item() == 2.0


def test_histogram() -> None:
    x = np.random.default_rng(0).standard_normal(100)
    x[:3] = -2.0, 0.0, 2.0
    w = np.random.default_rng(1).uniform(size=100)
    for options in ({"bins": 7}, {"bins": 4, "range": (-2.0, 2.0)}):
        for weight in (None, w):
            for density in (False, True):
                made = torch.histogram(
                    torch.tensor(x), **options, density=density,
                    weight=None if weight is None else torch.tensor(weight),
                )  # fmt: skip
                wanted = np.histogram(x, **options, weights=weight, density=density)
                np.testing.assert_allclose(made.hist.numpy(), wanted[0], rtol=1e-12)
                np.testing.assert_allclose(made.bin_edges.numpy(), wanted[1], rtol=1e-12)


def test_weighted_covariance() -> None:
    x = np.random.default_rng(0).standard_normal((3, 6))
    f, a = np.array([1, 0, 2, 1, 3, 1]), np.random.default_rng(1).uniform(size=6)
    for fweights in (None, f):
        for aweights in (None, a):
            for correction in (0, 1):
                made = torch.cov(
                    torch.tensor(x), correction=correction,
                    fweights=None if fweights is None else torch.tensor(fweights),
                    aweights=None if aweights is None else torch.tensor(aweights),
                )  # fmt: skip
                wanted = np.cov(x, ddof=correction, fweights=fweights, aweights=aweights)
                np.testing.assert_allclose(made.numpy(), wanted, rtol=1e-10)
    with pytest.raises(RuntimeError, match="integral"):
        torch.cov(torch.tensor(x), fweights=torch.tensor(a))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.logcumsumexp(x, 1),
        lambda x: torch.cov(x),
        lambda x: torch.quantile(x * x, 0.3, 1),
        lambda x: torch.float_power(x.abs() + 1, 2.5),
        lambda x: torch.ldexp(x, x * 0.5),
        lambda x: torch.trapezoid(x * x, dim=0),
        lambda x: torch.logit(x.sigmoid(), 0.3),
    ],
)
def test_gradients(function: object) -> None:
    x = torch.tensor(
        np.random.default_rng(0).standard_normal((3, 4)), dtype=torch.float64, requires_grad=True
    )
    assert gradcheck(function, (x,))
    assert gradgradcheck(function, (x,))


def test_renorm_and_addbmm() -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 2))
    made = torch.renorm(torch.tensor(x), 2, 1, 1.0)
    norms = np.sqrt((x * x).sum((0, 2), keepdims=True))
    np.testing.assert_allclose(made.numpy(), x * np.minimum(1, 1 / norms), rtol=1e-6)
    np.testing.assert_allclose(torch.tensor(x).renorm_(2, 1, 1.0).numpy(), made.numpy())
    total = torch.ones(4, 4, dtype=torch.float64)
    made = torch.addbmm(total, torch.tensor(x), torch.tensor(x).mT, beta=2, alpha=3)
    np.testing.assert_allclose(made.numpy(), 2 + 3 * (x @ x.swapaxes(1, 2)).sum(0), rtol=1e-12)
