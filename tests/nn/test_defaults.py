"""Defaults and state of normalizing layers and losses, against NumPy and PyTorch's words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch import nn


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (
            nn.BatchNorm2d(3),
            "BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, bias=True, "
            "track_running_stats=True)",
        ),
        (
            nn.InstanceNorm1d(3),
            "InstanceNorm1d(3, eps=1e-05, momentum=0.1, affine=False, bias=False, "
            "track_running_stats=False)",
        ),
        (nn.GroupNorm(1, 3), "GroupNorm(1, 3, eps=1e-05, affine=True, bias=True)"),
    ],
)
def test_words(module: nn.Module, words: str) -> None:
    assert repr(module) == words


@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_statistics(momentum: float | None) -> None:
    norm = nn.BatchNorm1d(2, momentum=momentum)
    assert norm.running_mean.tolist() == [0.0, 0.0] and norm.running_var.tolist() == [1.0, 1.0]
    batches = np.random.default_rng(0).normal(2.0, 3.0, (2, 5, 2)).astype(np.float32)
    mean, var = np.zeros(2), np.ones(2)
    for i, batch in enumerate(batches):
        norm(torch.tensor(batch))
        part = 1 / (i + 1) if momentum is None else momentum
        mean = (1 - part) * mean + part * batch.mean(0)
        var = (1 - part) * var + part * batch.var(0, ddof=1)
    assert norm.num_batches_tracked.item() == 2
    np.testing.assert_allclose(norm.running_mean.numpy(), mean, 1e-5)
    np.testing.assert_allclose(norm.running_var.numpy(), var, 1e-5)
    found = norm.eval()(torch.tensor(batches[0])).detach().numpy()
    np.testing.assert_allclose(found, (batches[0] - mean) / np.sqrt(var + 1e-5), 1e-4, 1e-5)
    norm.reset_running_stats()
    assert norm.running_var.tolist() == [1.0, 1.0] and norm.num_batches_tracked.item() == 0


def test_dimensions_and_weights() -> None:
    for norm, wrong in (
        (nn.BatchNorm2d(3), torch.ones(2, 3)),
        (nn.InstanceNorm2d(3), torch.ones(3, 4)),
    ):
        with pytest.raises(ValueError, match=r"[Ee]xpected"):
            norm(wrong)
    assert nn.InstanceNorm2d(3)(torch.ones(3, 4, 4)).shape == (3, 4, 4)  # without a batch
    group = nn.GroupNorm(1, 3)
    group.weight.data.fill_(5.0)
    group.reset_parameters()
    assert group.weight.tolist() == [1.0] * 3 and group.bias.tolist() == [0.0] * 3
    bare = nn.GroupNorm(1, 3, affine=False)
    bare.reset_parameters()
    assert bare.weight is None


A, B, C = np.array([[1.0, 2.0]]), np.array([[2.0, 0.5]]), np.array([[0.5, 2.5]])
FAR, NEAR = np.linalg.norm(A - B + 1e-6), np.linalg.norm(A - C + 1e-6)


@pytest.mark.parametrize(
    ("loss", "given", "wanted"),
    [
        (nn.TripletMarginLoss(), (A, B, C), FAR - NEAR + 1.0),
        (nn.TripletMarginWithDistanceLoss(), (A, B, C), FAR - NEAR + 1.0),
        (nn.MarginRankingLoss(), (A, B, -np.ones((1, 2))), (0.0 + 1.5) / 2),
        (nn.CosineEmbeddingLoss(), (A, B, -np.ones(1)), 3 / np.sqrt(5 * 4.25)),
        (nn.PoissonNLLLoss(), (A, B), (np.exp(A) - B * A).mean()),
        (nn.GaussianNLLLoss(), (A, B, C), 0.5 * (np.log(C) + (A - B) ** 2 / C).mean()),
        (nn.HuberLoss(), (A, B), (0.5 + 1.5 - 0.5) / 2),
        (nn.SmoothL1Loss(), (A, B), (0.5 + 1.5 - 0.5) / 2),
        (nn.HingeEmbeddingLoss(), (A, np.array([[1.0, -1.0]])), 0.5),
    ],
    ids=lambda value: type(value).__name__,
)
def test_losses_by_default(loss: nn.Module, given: tuple[Any, ...], wanted: float) -> None:
    found = loss(*(torch.tensor(x, dtype=torch.float64) for x in given))
    np.testing.assert_allclose(found.item(), wanted, 1e-6)


def test_margins_above_zero() -> None:
    with pytest.raises(ValueError, match="margin"):
        nn.TripletMarginWithDistanceLoss(margin=0.0)
    with pytest.raises(ValueError, match="margin"):
        nn.TripletMarginLoss(margin=0.0)
