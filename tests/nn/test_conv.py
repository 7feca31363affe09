"""Convolutional layers: values, names, texts, initialisation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch import nn
from tritorch.autograd.gradcheck import gradcheck
from tritorch.ops.convolution_reference import numpy_convolution, numpy_transposed

X = np.random.default_rng(0).standard_normal((2, 4, 7, 6))


def arrays(layer: Any) -> list[Any]:
    return [p.detach().numpy() for p in (layer.weight, layer.bias) if p is not None]


@pytest.mark.parametrize(
    ("mode", "name"),
    [("zeros", "constant"), ("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")],
)
@pytest.mark.parametrize("padding", [(2, 1), "same"])
def test_padding_modes(mode: str, name: str, padding: Any) -> None:
    layer = nn.Conv2d(4, 6, (3, 2), padding=padding, padding_mode=mode, dtype=torch.float64)
    frame = [(2, 2), (1, 1)] if padding != "same" else [(1, 1), (0, 1)]
    framed: Any = np.pad(X, [(0, 0), (0, 0), *frame], mode=name)  # type: ignore[call-overload]
    result = layer(torch.tensor(X))
    np.testing.assert_allclose(
        result.detach().numpy(), numpy_convolution(framed, *arrays(layer)), atol=1e-12
    )
    assert gradcheck(layer, (torch.tensor(X[:1, :, :4, :4], requires_grad=True),))


def test_layers_of_one_and_three_dimensions() -> None:
    flat = nn.Conv1d(4, 8, 3, stride=2, groups=4, bias=False, dtype=torch.float64)
    np.testing.assert_allclose(
        flat(torch.tensor(X[:, :, 0])).detach().numpy(),
        numpy_convolution(X[:, :, 0], *arrays(flat), stride=2, groups=4), atol=1e-12,
    )  # fmt: skip
    deep = nn.Conv3d(2, 3, (2, 3, 3), padding="valid", dtype=torch.float64)
    x = X[:1].reshape(2, 2, 7, 6)
    np.testing.assert_allclose(
        deep(torch.tensor(x)).detach().numpy(), numpy_convolution(x, *arrays(deep)), atol=1e-12
    )


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_transposed_layers(rank: int) -> None:
    kinds: list[Any] = [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d]
    x = X[:, :, :3, :2] if rank == 2 else X.reshape(2, 4, 42)[..., :5]
    x = x if rank < 3 else X.reshape(2, 4, 7, 3, 2)[:, :, :2]
    layer = kinds[rank - 1](4, 6, 3, 2, 1, 1, groups=2, dtype=torch.float64)
    expected = numpy_transposed(x, *arrays(layer), 2, 1, 1, 2)
    np.testing.assert_allclose(layer(torch.tensor(x)).detach().numpy(), expected, atol=1e-12)
    sizes = [n - 1 for n in expected.shape[2:]]
    found = layer(torch.tensor(x), output_size=sizes)
    assert list(found.shape[2:]) == sizes
    with pytest.raises(ValueError, match="requested an output size of"):
        layer(torch.tensor(x), output_size=[n + 1 for n in expected.shape[2:]])
    with pytest.raises(ValueError, match="output_size must have"):
        layer(torch.tensor(x), output_size=[1] * (rank + 1))


def test_initialisation() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 64, 3, groups=2)
    bound = 1 / math.sqrt(8 * 9)
    for found in arrays(layer):
        assert 0.9 * bound < np.abs(found).max() <= bound
        assert abs(found.mean()) < 0.1 * bound
    assert layer.weight.shape == (64, 8, 3, 3)
    assert nn.ConvTranspose2d(16, 64, 3, groups=2).weight.shape == (16, 32, 3, 3)


def test_names_and_texts() -> None:
    layer = nn.Conv2d(3, 8, 3, padding=1)
    assert list(layer.state_dict()) == ["weight", "bias"]
    assert list(nn.Conv2d(3, 8, 3, bias=False).state_dict()) == ["weight"]
    texts = {
        "Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))": layer,
        "Conv1d(4, 4, kernel_size=(5,), stride=(2,), dilation=(3,), groups=2, bias=False)": (
            nn.Conv1d(4, 4, 5, 2, dilation=3, groups=2, bias=False)
        ),
        "Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1), padding=same, padding_mode=circular)": (
            nn.Conv2d(3, 8, 3, padding="same", padding_mode="circular")
        ),
        "ConvTranspose3d(2, 4, kernel_size=(2, 2, 2), stride=(2, 2, 2), "
        "output_padding=(1, 1, 1))": nn.ConvTranspose3d(2, 4, 2, 2, output_padding=1),
    }
    for text, found in texts.items():
        assert repr(found) == text


def test_errors() -> None:
    for message, options in {
        "in_channels must be divisible by groups": {"groups": 2},
        "groups must be a positive integer": {"groups": 0},
        "Invalid padding string 'some'": {"padding": "some"},
        "padding='same' is not supported for strided": {"padding": "same", "stride": 2},
        "padding_mode must be one of": {"padding_mode": "mirror"},
    }.items():
        with pytest.raises(ValueError, match=message):
            nn.Conv2d(3, 4, 3, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='Only "zeros" padding mode is supported'):
        nn.ConvTranspose1d(3, 4, 3, padding_mode="reflect")


def test_a_small_network_learns() -> None:
    """Which half of an image is brighter, from one layer and a mean."""
    torch.manual_seed(0)
    x = torch.randn(64, 1, 8, 8)
    y = (x[:, 0, :, :4].sum((1, 2)) > x[:, 0, :, 4:].sum((1, 2))).long()
    net = nn.Sequential(nn.Conv2d(1, 8, (3, 4), 2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_windows() -> None:
    x = torch.tensor(X)
    unfold, fold = nn.Unfold((3, 2), padding=1, stride=2), nn.Fold((7, 6), (3, 2), 1, 1, 2)
    assert repr(unfold) == "Unfold(kernel_size=(3, 2), dilation=1, padding=1, stride=2)"
    assert repr(fold) == (
        "Fold(output_size=(7, 6), kernel_size=(3, 2), dilation=1, padding=1, stride=2)"
    )
    windows = unfold(x)
    counts = fold(unfold(torch.ones_like(x)))
    np.testing.assert_allclose(fold(windows).numpy(), X * counts.numpy())
    layer = nn.Conv2d(4, 5, (3, 2), 2, 1, bias=False, dtype=torch.float64)
    product = layer.weight.reshape(5, -1) @ windows
    np.testing.assert_allclose(
        product.detach().numpy(), layer(x).detach().numpy().reshape(2, 5, -1), atol=1e-12
    )
    with pytest.raises(RuntimeError, match=r"expected \(batch, channels \* 6, 16\)"):
        fold(windows[:, :-1])
    with pytest.raises(RuntimeError, match="Expected 3D or 4D"):
        unfold(x[0, 0])
