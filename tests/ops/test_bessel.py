"""Bessel's, Airy's and the incomplete gamma functions at points known to 17 digits (mpmath)."""

from __future__ import annotations

import numpy as np
import pytest

import tritorch as torch
from tritorch.autograd.gradcheck import gradcheck, gradgradcheck

POINTS = {
    "bessel_y0": {
        0.1: -1.5342386513503668,
        1.0: 0.088256964215676958,
        1.9: 0.49681997128382019,
        2.1: 0.51829373751376073,
        3.0: 0.37685001001279038,
        7.9: 0.20652094814437577,
        8.1: 0.23809132870223481,
        25.0: -0.12724943226800614,
    },
    "bessel_y1": {
        0.1: -6.4589510947020266,
        1.0: -0.78121282130028872,
        1.9: -0.16440577233159531,
        2.1: -0.051678612130423534,
        3.0: 0.32467442479179998,
        7.9: -0.18172107728057313,
        8.1: -0.13314879595249593,
        25.0: -0.09882996478323741,
    },
    "airy_ai": {
        -12.0: -0.066555175054373129,
        -5.0: 0.35076100902411432,
        -2.25: 0.061598658777005278,
        -1.9: 0.28680005627949089,
        0.0: 0.35502805388781724,
        1.0: 0.13529241631288142,
        2.1: 0.029952602115866522,
        6.0: 9.9476943602528896e-6,
    },
}


@pytest.mark.parametrize("name", POINTS)
def test_values(name: str) -> None:
    x = torch.tensor(list(POINTS[name]), dtype=torch.float64)
    made = getattr(torch.special, name)(x).numpy()
    np.testing.assert_allclose(made, list(POINTS[name].values()), rtol=2e-12)


@pytest.mark.parametrize("name", ["bessel_y0", "modified_bessel_k0", "scaled_modified_bessel_k1"])
def test_outside_of_the_domain(name: str) -> None:
    made = getattr(torch.special, name)(torch.tensor([0.0, -1.0, float("nan")])).numpy()
    assert np.isinf(made[0]) and np.isnan(made[1:]).all()


@pytest.mark.parametrize("name", [
    "bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "modified_bessel_k0", "modified_bessel_k1",
    "scaled_modified_bessel_k0", "scaled_modified_bessel_k1",
])  # fmt: skip
def test_gradients(name: str) -> None:
    x = torch.tensor([0.5, 1.5, 2.5, 7.0, 9.0], dtype=torch.float64, requires_grad=True)
    function = getattr(torch.special, name)
    assert gradcheck(function, (x,))
    assert gradgradcheck(function, (x,))


GAMMA = {
    (0.3, 0.1): (0.5459128495917965, 0.4540871504082035),
    (0.5, 2.0): (0.95449973610364159, 0.045500263896358414),
    (3.0, 1.0): (0.080301397071394196, 0.9196986029286058),
    (3.0, 10.0): (0.99723060428448842, 0.0027693957155115759),
    (20.0, 18.0): (0.34908387201929826, 0.65091612798070174),
    (20.0, 40.0): (0.99982369710226143, 0.00017630289773856828),
    (500.0, 505.0): (0.59396684905226404, 0.40603315094773596),
    (0.001, 0.5): (0.99943993334352925, 0.00056006665647074989),
}


def test_incomplete_gamma() -> None:
    a, x = (torch.tensor(k, dtype=torch.float64) for k in zip(*GAMMA))
    lower, upper = zip(*GAMMA.values())
    np.testing.assert_allclose(torch.special.gammainc(a, x).numpy(), lower, rtol=1e-11)
    np.testing.assert_allclose(torch.special.gammaincc(a, x).numpy(), upper, rtol=1e-11)
    single = torch.special.gammaincc(a.float(), x.float()).numpy()
    # The smaller one of both is a difference where the series gives the greater one.
    np.testing.assert_allclose(single, upper, rtol=2e-4, atol=3e-7)
    edges = torch.special.gammainc(torch.tensor([0.0, 2.0, 2.0, -1.0]),
                                   torch.tensor([1.0, 0.0, float("inf"), 1.0])).numpy()  # fmt: skip
    np.testing.assert_array_equal(edges, [1.0, 0.0, 1.0, np.nan])


def test_gradient_of_incomplete_gamma() -> None:
    x = torch.tensor([0.5, 1.5, 2.5, 7.0], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: torch.special.gammainc(2.5, x), (x,))
    assert gradgradcheck(lambda x: torch.special.gammaincc(2.5, x), (x,))
