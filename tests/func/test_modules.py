"""Layers under vmap and grad: gradients of each sample equal those of the sample alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import tritorch as torch
from tests.func.comparing import close
from tritorch import nn
from tritorch.func import functional_call, grad, stack_module_state, vmap

F = nn.functional


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(4, 3, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0]


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "perceptron": (lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), (1, 4)),
    "convolution": (
        lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        (1, 2, 6, 6),
    ),
    "groups": (lambda: nn.Conv1d(4, 4, 3, groups=2), (1, 4, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(2, 3, 3, stride=2), (1, 2, 4, 4)),
    "normalization": (
        lambda: nn.Sequential(nn.GroupNorm(2, 4), nn.LayerNorm(6), nn.GELU()),
        (1, 4, 6),
    ),
    "statistics": (lambda: nn.BatchNorm1d(4).eval(), (2, 4)),
    "instances": (lambda: nn.InstanceNorm1d(3, affine=True), (1, 3, 5)),
    "attention": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True),
        (1, 4, 8),
    ),
    "recurrent": (Recurrent, (1, 5, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_each_sample(name: str) -> None:
    torch.manual_seed(1)
    make, shape = LAYERS[name]
    model = make().double()
    parameters = {n: p.detach() for n, p in model.named_parameters()}
    samples = torch.randn(3, *shape, dtype=torch.float64)

    def objective(values: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return (functional_call(model, values, (x,)) ** 2).mean()

    together = vmap(grad(objective), in_dims=(None, 0))(parameters, samples)
    for k in range(3):
        alone = grad(objective)(parameters, samples[k])
        for n, expected in alone.items():
            close(together[n][k], expected)


def test_lookups_and_losses() -> None:
    table = torch.randn(7, 4, dtype=torch.float64)
    words = torch.tensor([[1, 2, 3], [0, 6, 6]])
    targets = torch.tensor([[1, 0, 2], [3, 3, -100]])

    def objective(rows: torch.Tensor, index: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        scores = F.embedding(index, rows, padding_idx=6)
        return F.cross_entropy(scores, target, label_smoothing=0.1)

    found = vmap(grad(objective), in_dims=(None, 0, 0))(table, words, targets)
    for k in range(2):
        close(found[k], grad(objective)(table, words[k], targets[k]))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
def test_class_losses(reduction: str, weighted: bool) -> None:
    scores = torch.randn(2, 3, 5, dtype=torch.float64)
    targets = torch.tensor([[1, 0, 2], [4, 4, 1]])
    weight = torch.rand(5, dtype=torch.float64) + 0.5 if weighted else None
    options: dict[str, Any] = {"weight": weight, "reduction": reduction, "ignore_index": 2}
    for loss in (F.cross_entropy, F.nll_loss):
        f = lambda s, t, loss=loss: loss(s, t, **options)  # noqa: E731
        close(vmap(f)(scores, targets), torch.stack([f(*row) for row in zip(scores, targets)]))
        single = vmap(f)(scores[:, 0], targets[:, 0])
        close(single, torch.stack([f(*row) for row in zip(scores[:, 0], targets[:, 0])]))


def test_batch_norm_with_statistics_of_each_sample() -> None:
    x = torch.randn(3, 6, 2, 4, dtype=torch.float64)
    means, variances = torch.zeros(3, 2).double(), torch.ones(3, 2).double()

    def train(rows: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(rows, mean, variance, training=True)

    m, v = means.clone(), variances.clone()
    expected = torch.stack([train(*row) for row in zip(x, m, v)])
    close(vmap(train)(x, means, variances), expected)
    close((means, variances), (m, v))


def test_an_ensemble_runs_at_once() -> None:
    torch.manual_seed(2)
    models = [nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval() for _ in range(3)]
    parameters, buffers = stack_module_state(models)
    assert parameters["0.weight"].shape == (3, 3, 4) and parameters["0.weight"].requires_grad
    assert parameters["0.weight"].is_leaf
    assert buffers["1.running_mean"].shape == (3, 3)
    x = torch.randn(5, 4)

    def call(p: Any, b: Any, rows: torch.Tensor) -> torch.Tensor:
        return functional_call(models[0], (p, b), (rows,))

    found = vmap(call, in_dims=(0, 0, None))(parameters, buffers, x)
    close(found, torch.stack([model(x) for model in models]), 1e-6)
    found.sum().backward()
    assert parameters["0.weight"].grad is not None
    with pytest.raises(RuntimeError, match="at least one model"):
        stack_module_state([])
    with pytest.raises(RuntimeError, match="same class"):
        stack_module_state([nn.Linear(2, 2), nn.Tanh()])
    with pytest.raises(RuntimeError, match="training/eval mode"):
        stack_module_state([nn.Linear(2, 2), nn.Linear(2, 2).eval()])
