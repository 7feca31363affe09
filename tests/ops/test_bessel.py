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
