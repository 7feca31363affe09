"""Layers, losses and initialisation against NumPy in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch import nn
from tritorch.autograd.gradcheck import gradcheck

X = np.random.default_rng(0).uniform(-4, 4, (6, 5))
X[0, 0], X[1, 1] = 0.0, -30.0


def erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf)(x)


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


LAYERS: list[tuple[nn.Module, Callable[[np.ndarray], np.ndarray]]] = [
    (nn.ReLU(), lambda x: np.maximum(x, 0)),
    (nn.ReLU6(), lambda x: np.clip(x, 0, 6)),
    (nn.GELU(), lambda x: x * 0.5 * (1 + erf(x / math.sqrt(2)))),
    (
        nn.GELU(approximate="tanh"),
        lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    ),
    (nn.Tanh(), np.tanh),
    (nn.Sigmoid(), lambda x: 1 / (1 + np.exp(-x))),
    (nn.SiLU(), lambda x: x / (1 + np.exp(-x))),
    (nn.Mish(), lambda x: x * np.tanh(np.logaddexp(x, 0))),
    (nn.LeakyReLU(0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
    (nn.ELU(0.7), lambda x: np.where(x > 0, x, 0.7 * np.expm1(x))),
    (nn.Hardtanh(-2, 1.5), lambda x: np.clip(x, -2, 1.5)),
    (nn.Softplus(beta=2.0), lambda x: np.logaddexp(2 * x, 0) / 2),
    (nn.Softmax(dim=1), lambda x: softmax(x, 1)),
    (nn.Softmax(dim=0), lambda x: softmax(x, 0)),
    (nn.LogSoftmax(dim=-1), lambda x: np.log(softmax(x, -1))),
    (nn.Identity(3, spare=1), lambda x: x),
    (nn.Flatten(0), lambda x: x.reshape(-1)),
    (nn.Unflatten(0, (2, 3)), lambda x: x.reshape(2, 3, 5)),
    (
        nn.LayerNorm(5, eps=1e-3, elementwise_affine=False),
        lambda x: (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-3),
    ),
    (
        nn.LayerNorm((6, 5), elementwise_affine=False),
        lambda x: (x - x.mean()) / np.sqrt(x.var() + 1e-5),
    ),
]


@pytest.mark.parametrize(("layer", "reference"), LAYERS, ids=[repr(layer) for layer, _ in LAYERS])
def test_layer(layer: nn.Module, reference: Callable[[np.ndarray], np.ndarray]) -> None:
    """Values in float32 and float64, and the gradient."""
    for dtype, tolerance in ((torch.float32, 3e-6), (torch.float64, 1e-9)):
        result = layer(torch.tensor(X, dtype=dtype))
        assert result.dtype is dtype
        np.testing.assert_allclose(result.numpy(), reference(X), rtol=tolerance, atol=tolerance)
    assert gradcheck(layer, (torch.tensor(X + 0.01, requires_grad=True),))


@pytest.mark.parametrize("inplace", [nn.ReLU, nn.ReLU6, nn.SiLU, nn.Mish, nn.LeakyReLU, nn.ELU])
def test_inplace_activations_write_into_the_input(inplace: Any) -> None:
    x = torch.tensor(X)
    expected = inplace()(x)
    assert inplace(inplace=True)(x) is x
    assert torch.allclose(x, expected)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5,), (6, 5), (2, 3, 5), (0, 5)])
def test_linear(shape: tuple[int, ...], bias: bool) -> None:
    layer = nn.Linear(5, 4, bias=bias, dtype=torch.float64)
    x = np.random.default_rng(1).standard_normal(shape)
    expected = x @ layer.weight.detach().numpy().T
    if layer.bias is not None:
        expected = expected + layer.bias.detach().numpy()
    np.testing.assert_allclose(layer(torch.tensor(x)).detach().numpy(), expected, atol=1e-12)


def test_layer_norm_affine() -> None:
    layer = nn.LayerNorm(5, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(5.0) + 1)
        layer.bias.copy_(torch.arange(5.0))
    normal = (X - X.mean(1, keepdims=True)) / np.sqrt(X.var(1, keepdims=True) + 1e-5)
    result = layer(torch.tensor(X))
    np.testing.assert_allclose(result.detach().numpy(), normal * (np.arange(5) + 1) + np.arange(5))
    assert gradcheck(
        lambda x, w, b: nn.functional.layer_norm(x, (5,), w, b),
        (torch.tensor(X, requires_grad=True), layer.weight, layer.bias),
    )


def test_embedding() -> None:
    table = nn.Embedding(7, 3, padding_idx=-5)
    assert table.padding_idx == 2 and table.weight[2].tolist() == [0.0, 0.0, 0.0]
    index = torch.tensor([[1, 2], [6, 1]])
    rows = table(index)
    assert rows.shape == (2, 2, 3) and torch.equal(rows[1, 0], table.weight[6])
    rows.sum().backward()
    assert table.weight.grad is not None
    assert table.weight.grad.sum(1).tolist() == [0, 6, 0, 0, 0, 0, 3]
    fixed = nn.Embedding.from_pretrained(torch.ones(2, 2))
    assert not fixed.weight.requires_grad
    with pytest.raises(ValueError, match="within num_embeddings"):
        nn.Embedding(3, 2, padding_idx=3)


def test_dropout() -> None:
    torch.manual_seed(0)
    layer = nn.Dropout(0.25)
    x = torch.ones(100_000, requires_grad=True)
    y = layer(x)
    kept = y.detach().numpy() != 0
    # Five standard deviations of a binomial count.
    assert abs(kept.mean() - 0.75) < 5 * math.sqrt(0.25 * 0.75 / 1e5)
    np.testing.assert_allclose(y.detach().numpy()[kept], 1 / 0.75, rtol=1e-6)
    y.sum().backward()
    assert x.grad is not None and np.array_equal(x.grad.numpy() != 0, kept)
    assert not torch.equal(layer(x), y)
    assert layer.eval()(x) is x
    with pytest.raises(ValueError, match="between 0 and 1"):
        nn.Dropout(1.5)


P = np.clip(1 / (1 + np.exp(-X)), 1e-3, 0.999)  # differences with a step of 1e-6 stay inside
T = np.random.default_rng(2).uniform(0, 1, X.shape)
C = np.array([0, 4, 2, 1, -100, 3])
W = np.array([1.0, 2.0, 0.5, 1.0, 3.0])
LOG = np.log(softmax(X, 1))


def picked(weight: np.ndarray, smoothing: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Losses of rows, and the weights that their mean is taken with; an ignored row is 0."""
    rows = np.arange(6)
    there = C >= 0
    classes = np.where(there, C, 0)
    hit = -LOG[rows, classes] * weight[classes]
    spread = -(LOG * weight).sum(1) / 5
    return ((1 - smoothing) * hit + smoothing * spread) * there, weight[classes] * there


LOSSES: list[tuple[str, Any, tuple[np.ndarray, ...], Any]] = [
    ("MSE", nn.MSELoss, (X, T), (X - T) ** 2),
    ("L1", nn.L1Loss, (X, T), np.abs(X - T)),
    (
        "SmoothL1",
        nn.SmoothL1Loss,
        (X, T),
        np.where(np.abs(X - T) < 1, 0.5 * (X - T) ** 2, np.abs(X - T) - 0.5),
    ),
    (
        "BCE",
        nn.BCELoss,
        (P, T),
        -(T * np.maximum(np.log(P), -100) + (1 - T) * np.maximum(np.log(1 - P), -100)),
    ),
    (
        "BCEWithLogits",
        nn.BCEWithLogitsLoss,
        (X, T),
        np.maximum(X, 0) - X * T + np.log1p(np.exp(-np.abs(X))),
    ),
    ("NLL", nn.NLLLoss, (LOG, C), picked(np.ones(5))),
    ("CrossEntropy", nn.CrossEntropyLoss, (X, C), picked(np.ones(5))),
    (
        "CrossEntropy smoothed",
        lambda **o: nn.CrossEntropyLoss(label_smoothing=0.1, **o),
        (X, C),
        picked(np.ones(5), 0.1),
    ),
    (
        "CrossEntropy weighted",
        lambda **o: nn.CrossEntropyLoss(weight=torch.tensor(W), **o),
        (X, C),
        picked(W),
    ),
]


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(("name", "make", "inputs", "expected"), LOSSES, ids=[e[0] for e in LOSSES])
def test_loss(name: str, make: Any, inputs: Any, expected: Any, reduction: str) -> None:
    """Values, and the gradient of the input."""
    loss = make(reduction=reduction)
    tensors = [torch.tensor(a) for a in inputs]
    each, weights = expected if isinstance(expected, tuple) else (expected, np.ones_like(expected))
    total = {"none": each, "sum": each.sum(), "mean": each.sum() / weights.sum()}[reduction]
    np.testing.assert_allclose(loss(*tensors).numpy(), total, rtol=1e-9)
    first = tensors[0].requires_grad_()
    assert gradcheck(lambda x: loss(x, tensors[1]), (first,))


def test_loss_options() -> None:
    with pytest.raises(ValueError, match="not a valid value for reduction"):
        nn.MSELoss(reduction="avg")
    weight = torch.tensor(W)
    loss = nn.BCEWithLogitsLoss(weight=weight, pos_weight=weight * 2, reduction="none")
    softplus = np.logaddexp(-X, 0)
    expected = W * ((1 - T) * X + (1 + (2 * W - 1) * T) * softplus)
    np.testing.assert_allclose(loss(torch.tensor(X), torch.tensor(T)).numpy(), expected, rtol=1e-9)
    assert list(loss.state_dict()) == ["weight", "pos_weight"]


@pytest.mark.parametrize(
    ("fill", "mean", "std"),
    [
        (lambda t: nn.init.uniform_(t, -1, 3), 1.0, 4 / math.sqrt(12)),
        (lambda t: nn.init.normal_(t, 2.0, 0.5), 2.0, 0.5),
        (nn.init.xavier_uniform_, 0.0, math.sqrt(2 / 1100)),
        (lambda t: nn.init.xavier_normal_(t, gain=2.0), 0.0, 2 * math.sqrt(2 / 1100)),
        (lambda t: nn.init.kaiming_uniform_(t, nonlinearity="relu"), 0.0, math.sqrt(2 / 800)),
        (
            lambda t: nn.init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu"),
            0.0,
            math.sqrt(2 / 300),
        ),
        (nn.init.ones_, 1.0, 0.0),
        (lambda t: nn.init.constant_(t, 0.3), 0.3, 0.0),
    ],
)
def test_init(fill: Any, mean: float, std: float) -> None:
    """Mean and deviation of 240,000 draws, within five standard errors."""
    torch.manual_seed(1)
    weight = nn.Parameter(torch.empty(300, 800))
    assert fill(weight) is weight and weight.requires_grad and weight.is_leaf
    values = weight.detach().numpy().astype(np.float64)
    error = 5 / math.sqrt(values.size)
    assert abs(values.mean() - mean) <= error * std + 1e-6
    assert abs(values.std() - std) <= error * std + 1e-6


def test_init_special() -> None:
    assert torch.equal(nn.init.eye_(torch.empty(2, 3)), torch.eye(2, 3))
    values = nn.init.trunc_normal_(torch.empty(20_000), std=1.0, a=-0.5, b=1.0).numpy()
    assert values.min() >= -0.5 and values.max() <= 1.0 and 0.1 < values.mean() < 0.3
    with pytest.raises(ValueError, match="fewer than 2 dimensions"):
        nn.init.xavier_uniform_(torch.empty(3))
    with pytest.raises(ValueError, match="Unsupported nonlinearity"):
        nn.init.calculate_gain("cube")
    layer = nn.Linear(100, 400)
    for parameter in layer.parameters():
        values = parameter.detach().numpy()
        assert np.abs(values).max() <= 0.1 and np.abs(values).max() > 0.09


@pytest.mark.parametrize(
    ("old", "reduction"),
    [
        ({"size_average": False}, "sum"),
        ({"size_average": True}, "mean"),
        ({"reduce": False}, "none"),
        ({"reduce": False, "size_average": False}, "none"),
        ({"reduce": True}, "mean"),
    ],
)
def test_deprecated_reductions(old: dict[str, bool], reduction: str) -> None:
    """`size_average` and `reduce` override `reduction`, as in PyTorch."""
    pairs = [
        (nn.functional.mse_loss, (X, T)),
        (nn.functional.cross_entropy, (X, C)),
        (nn.functional.nll_loss, (LOG, C)),
    ]
    for function, inputs in pairs:
        values = [torch.tensor(a) for a in inputs]
        assert torch.equal(function(*values, **old), function(*values, reduction=reduction))
