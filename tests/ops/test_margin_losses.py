"""Losses that are no table rows: against plain loops in NumPy, and their gradients."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch.autograd.gradcheck import gradcheck, gradgradcheck
from tritorch.nn import functional as F
from tritorch.tensor import Tensor


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-2, 2, shape)


def test_multi_margin_loss() -> None:
    x, target, weight = numbers(4, 5), np.array([0, 4, 2, 2]), np.abs(numbers(5, seed=1))
    for p, margin in ((1, 1.0), (2, 0.5)):
        expected = [
            sum(
                weight[y] * max(0.0, margin - row[y] + row[c]) ** p for c in range(5) if c != y
            ) / 5
            for row, y in zip(x, target)
        ]  # fmt: skip
        found = F.multi_margin_loss(
            torch.tensor(x), torch.tensor(target), p=p, margin=margin,
            weight=torch.tensor(weight), reduction="none",
        )  # fmt: skip
        np.testing.assert_allclose(found.numpy(), expected)
    alone = F.multi_margin_loss(torch.tensor(x[0]), torch.tensor(target[0]), reduction="none")
    assert alone.shape == ()


def test_multilabel_margin_loss() -> None:
    x = numbers(3, 4)
    target = np.array([[3, 0, -1, 1], [1, -1, 0, 0], [-1, 2, 1, 0]])
    expected = []
    for row, labels in zip(x, target):
        wanted = list(itertools.takewhile(lambda label: label >= 0, labels))
        others = [c for c in range(4) if c not in wanted]
        expected.append(sum(max(0, 1 - (row[y] - row[c])) for y in wanted for c in others) / 4)
    found = F.multilabel_margin_loss(torch.tensor(x), torch.tensor(target), reduction="none")
    np.testing.assert_allclose(found.numpy(), expected)


def by_alignments(log_probs: np.ndarray, target: list[int], blank: int) -> float:
    """The negative log-likelihood, by trying every path."""
    times, classes = log_probs.shape
    total = 0.0
    for path in itertools.product(range(classes), repeat=times):
        merged = [c for c, _ in itertools.groupby(path)]
        if [c for c in merged if c != blank] == target:
            total += math.exp(sum(log_probs[t, c] for t, c in enumerate(path)))
    return -math.log(total) if total else math.inf


@pytest.mark.parametrize("blank", [0, 2])
def test_ctc_loss_is_the_sum_over_all_alignments(blank: int) -> None:
    logits = torch.tensor(numbers(5, 4, 3))
    log_probs = torch.log_softmax(logits, 2)
    first, second = (c for c in range(3) if c != blank)
    targets = [[first, second], [first, first], [second], []]
    inputs = [5, 4, 3, 2]
    expected = [
        by_alignments(log_probs.numpy()[:length, row], target, blank)
        for row, (length, target) in enumerate(zip(inputs, targets))
    ]
    lengths = [len(target) for target in targets]
    padded = torch.tensor([target + [first] * (2 - len(target)) for target in targets])
    flat = torch.tensor([label for target in targets for label in target])
    for given in (padded, flat):
        found = F.ctc_loss(log_probs, given, inputs, lengths, blank=blank, reduction="none")
        np.testing.assert_allclose(found.numpy(), expected)
    mean = F.ctc_loss(log_probs, padded, inputs, torch.tensor(lengths), blank=blank)
    shares = [loss / max(length, 1) for loss, length in zip(expected, lengths)]
    np.testing.assert_allclose(mean.item(), np.mean(shares))


def test_ctc_loss_without_an_alignment() -> None:
    log_probs = torch.log_softmax(torch.tensor(numbers(2, 1, 3)), 2).requires_grad_()
    # Two equal labels need a blank between them: three steps, there are two.
    targets = torch.tensor([[1, 1]])
    assert F.ctc_loss(log_probs, targets, [2], [2]).item() == math.inf
    loss = F.ctc_loss(log_probs, targets, [2], [2], zero_infinity=True)
    loss.backward()
    assert loss.item() == 0
    assert log_probs.grad is not None
    assert not log_probs.grad.isnan().any()


X = torch.tensor(numbers(3, 4), requires_grad=True)
Y = torch.tensor(numbers(3, 4, seed=1), requires_grad=True)
Z = torch.tensor(numbers(3, 4, seed=2), requires_grad=True)
LABELS = torch.tensor([3, 0, 2])

GRADIENTS: dict[str, tuple[Callable[..., Any], tuple[Tensor, ...]]] = {
    "multi margin": (lambda x: F.multi_margin_loss(x, LABELS, p=2), (X,)),
    "multilabel margin": (
        lambda x: F.multilabel_margin_loss(x, torch.tensor([[3, 0, -1, 1]] * 3)), (X,),
    ),
    "multilabel soft margin": (
        lambda x: F.multilabel_soft_margin_loss(x, (Y.detach() > 0).double()), (X,),
    ),
    "triplet": (lambda x, y, z: F.triplet_margin_loss(x, y, z, swap=True), (X, Y, Z)),
    "cosine": (lambda x, y: F.cosine_embedding_loss(x, y, torch.tensor([1, -1, 1])), (X, Y)),
    "pairwise": (F.pairwise_distance, (X, Y)),
    "weighted squares": (lambda x, y: F.mse_loss(x, y, weight=Z.detach().abs()), (X, Y)),
    "ctc": (
        lambda x: F.ctc_loss(
            torch.log_softmax(x, 1), torch.tensor([1, 3]), [3], [2], reduction="sum"
        ),
        (X,),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name: str) -> None:
    function, inputs = GRADIENTS[name]
    assert gradcheck(function, inputs)
    assert gradgradcheck(function, inputs)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: F.multi_margin_loss(X, LABELS, p=3), "p == 1 and p == 2"),
        (lambda: F.triplet_margin_loss(X, Y, Z, margin=0), "greater than 0"),
        (lambda: F.gaussian_nll_loss(X, Y, -Z.detach().abs()), "negative"),
        (lambda: F.gaussian_nll_loss(X, Y, Z[:, :2]), "incorrect size"),
        (lambda: F.ctc_loss(torch.zeros(2, 1, 3), LABELS, [3], [3]), "at most 2"),
        (lambda: F.ctc_loss(torch.zeros(2, 1, 3), LABELS, [2], [1], blank=5), "label range"),
        (lambda: F.ctc_loss(torch.zeros(2, 1, 3), LABELS, [2, 2], [1]), "must have 1 entries"),
    ],
)
def test_bad_input(call: Callable[[], Any], text: str) -> None:
    with pytest.raises((ValueError, RuntimeError), match=text):
        call()
