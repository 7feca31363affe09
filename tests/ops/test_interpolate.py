"""Interpolation, sampling and shuffles beyond the cases of the declarations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch import nn
from tritorch.autograd.gradcheck import gradcheck, gradgradcheck
from tritorch.nn import functional as F

RANDOM = np.random.default_rng(7)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic", "area"])
def test_channels_last_and_half(mode: str) -> None:
    """The same values and gradients; channels last stays so."""
    x = RANDOM.standard_normal((2, 5, 6, 7))
    found = []
    for tensor in (torch.tensor(x), torch.tensor(np.moveaxis(x, 1, -1).copy()).movedim(-1, 1)):
        leaf = tensor.detach().requires_grad_()
        y = F.interpolate(leaf, size=(11, 4), mode=mode)
        (dx,) = torch.autograd.grad((y * y).sum(), leaf)
        found.append((y.detach().numpy(), dx.numpy()))
    assert y.stride(1) == 1 and dx.stride(1) == 1
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    half = F.interpolate(torch.tensor(x).half(), size=(11, 4), mode=mode)
    assert half.dtype is torch.float16
    np.testing.assert_allclose(half.double().numpy(), found[0][0], atol=4e-3)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_antialias(mode: str) -> None:
    """Weights sum to 1; a constant stays; reducing by 2 filters over 4 (8) elements."""
    x = torch.ones(1, 1, 9, 8, dtype=torch.float64)
    y = F.interpolate(x, size=(4, 3), mode=mode, antialias=True)
    np.testing.assert_allclose(y.numpy(), np.ones((1, 1, 4, 3)), rtol=1e-12)
    line = torch.zeros(1, 1, 1, 16, dtype=torch.float64)
    line[..., 7] = 1
    y = F.interpolate(line, size=(1, 8), mode=mode, antialias=True).numpy()[0, 0, 0]
    if mode == "bilinear":
        np.testing.assert_allclose(y, [0, 0, 0, 3 / 8, 1 / 8, 0, 0, 0])
    else:
        assert np.count_nonzero(y) == 4 and abs(y.sum() - 0.5) < 1e-12
    leaf = torch.tensor(RANDOM.standard_normal((1, 2, 7, 5)), requires_grad=True)

    def reduced(x: Any) -> Any:
        return F.interpolate(x, size=(3, 4), mode=mode, antialias=True) ** 2

    assert gradcheck(reduced, (leaf,)) and gradgradcheck(reduced, (leaf,), atol=1e-4)


def test_integers_keep_their_values() -> None:
    for kind in ("uint8", "int64"):
        x = torch.tensor([[[[1, 2], [3, 250]]]], dtype=getattr(torch, kind))
        y = F.interpolate(x, scale_factor=2)
        assert y.dtype is x.dtype
        assert y.tolist()[0][0] == [[1, 1, 2, 2]] * 2 + [[3, 3, 250, 250]] * 2
    with pytest.raises(NotImplementedError, match=r"not implemented for torch\.uint8"):
        F.interpolate(x.to(torch.uint8), scale_factor=2, mode="bilinear")


def test_outside_does_not_leak() -> None:
    """inf beside an element does not spoil it: padded taps of the gradient's tables are no taps."""
    x = torch.zeros(1, 1, 4, 4, requires_grad=True)
    g = torch.zeros(1, 1, 9, 9)
    g[0, 0, 8, 8] = float("inf")
    (dx,) = torch.autograd.grad(F.interpolate(x, size=9, mode="nearest"), x, g)
    expected = np.zeros((4, 4))
    expected[3, 3] = np.inf
    np.testing.assert_array_equal(dx.numpy()[0, 0], expected)


def test_nan_positions_are_outside() -> None:
    x = torch.ones(1, 1, 3, 3)
    grid = torch.full((1, 1, 2, 2), float("nan"))
    grid[0, 0, 1] = 0
    y = F.grid_sample(x, grid, mode="nearest", align_corners=True)
    assert y.flatten().tolist() == [0.0, 1.0]


def test_the_identity_of_affine_grid() -> None:
    x = torch.tensor(RANDOM.standard_normal((2, 3, 4, 5)))
    identity = torch.tensor([[1.0, 0, 0], [0, 1, 0]], dtype=torch.float64).expand(2, 2, 3)
    for align in (True, False):
        grid = F.affine_grid(identity, x.shape, align)
        y = F.grid_sample(x, grid, align_corners=align)
        np.testing.assert_allclose(y.numpy(), x.numpy(), atol=1e-12)


def test_grid_sample_to_second_order() -> None:
    x = torch.tensor(RANDOM.standard_normal((1, 2, 4, 3)), requires_grad=True)
    grid = torch.tensor(RANDOM.uniform(-0.9, 0.9, (1, 2, 2, 2)), requires_grad=True)
    for mode in ("bilinear", "bicubic"):

        def sample(x: Any, grid: Any, mode: str = mode) -> Any:
            return F.grid_sample(x, grid, mode, "border", True) ** 2

        assert gradcheck(sample, (x, grid)) and gradgradcheck(sample, (x, grid), atol=1e-4)


def test_shuffles_are_inverse() -> None:
    x = torch.tensor(RANDOM.standard_normal((2, 8, 4, 6)))
    assert torch.equal(F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2), x)
    assert torch.equal(F.channel_shuffle(F.channel_shuffle(x, 2), 4), x)
    assert F.pixel_shuffle(x, 2).is_contiguous()


def test_layers() -> None:
    x = torch.tensor(RANDOM.standard_normal((1, 4, 3, 3)))
    layers: list[tuple[nn.Module, Any, str]] = [
        (
            nn.Upsample(scale_factor=2),
            F.interpolate(x, scale_factor=2),
            "Upsample(scale_factor=2.0, mode='nearest')",
        ),
        (
            nn.Upsample(size=(2, 3), mode="bilinear", align_corners=True),
            F.interpolate(x, (2, 3), mode="bilinear", align_corners=True),
            "Upsample(size=(2, 3), mode='bilinear')",
        ),
        (
            nn.UpsamplingBilinear2d(size=3),
            x,
            "UpsamplingBilinear2d(size=3, mode='bilinear')",
        ),
        (nn.PixelShuffle(2), F.pixel_shuffle(x, 2), "PixelShuffle(upscale_factor=2)"),
        (nn.PixelUnshuffle(3), F.pixel_unshuffle(x, 3), "PixelUnshuffle(downscale_factor=3)"),
        (nn.ChannelShuffle(2), F.channel_shuffle(x, 2), "ChannelShuffle(groups=2)"),
    ]
    for layer, expected, text in layers:
        assert torch.equal(layer(x), expected) and repr(layer) == text


X = torch.ones(2, 4, 5, 6)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: F.interpolate(X), ValueError, "either size or scale_factor should be defined"),
        (lambda: F.interpolate(X, 3, 2), ValueError, "only one of size or scale_factor"),
        (lambda: F.interpolate(X, 3, align_corners=True), ValueError, "align_corners option can"),
        (lambda: F.interpolate(X, (3, 3, 3)), ValueError, r"\[5, 6\] and output size of \(3, 3"),
        (lambda: F.interpolate(X, 3, recompute_scale_factor=True), ValueError, "not meaningful"),
        (lambda: F.interpolate(X, 3, mode="linear"), NotImplementedError, "needs 3D input"),
        (lambda: F.interpolate(X, 3, mode="cubic"), NotImplementedError, r"\(got cubic\)"),
        (lambda: F.interpolate(X, (0, 3)), RuntimeError, "should be greater than 0"),
        (lambda: F.pixel_shuffle(X, 3), RuntimeError, r"input.size\(-3\)=4 is not divisible by 9"),
        (lambda: F.pixel_unshuffle(X, 3), RuntimeError, r"input.size\(-2\)=5 is not divisible"),
        (lambda: F.pixel_shuffle(X, 0), RuntimeError, "positive upscale_factor, but got 0"),
        (lambda: F.channel_shuffle(X, 3), RuntimeError, "Got 4 channels and 3 groups"),
        (
            lambda: F.grid_sample(X, torch.zeros(2, 3, 3, 3)),
            RuntimeError,
            "expected grid to have size 2 in last dimension",
        ),
        (
            lambda: F.grid_sample(X, torch.zeros(3, 3, 3, 2)),
            RuntimeError,
            "expected grid and input to have same batch size",
        ),
        (lambda: F.grid_sample(X, X, mode="cubic"), ValueError, "expected mode to be"),
        (lambda: F.grid_sample(X, X, padding_mode="wrap"), ValueError, "expected padding_mode"),
        (
            lambda: F.affine_grid(torch.zeros(2, 2, 2), (2, 3, 4, 5)),
            ValueError,
            "Expected a batch of 2D affine matrices of shape Nx2x3",
        ),
    ],
)
def test_errors(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
