"""Dropout of channels, random slopes, Gumbel's softmax, bags of embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tritorch as torch
import tritorch.nn.functional as F
from tritorch.autograd.gradcheck import gradcheck, gradgradcheck


@pytest.mark.parametrize("name, shape", [
    ("dropout1d", (40, 50, 3)), ("dropout2d", (40, 50, 2, 2)), ("dropout3d", (40, 50, 2, 1, 2)),
    ("dropout1d", (2000, 3)), ("dropout3d", (2000, 2, 1, 2)),
])  # fmt: skip
def test_channels_are_dropped_as_a_whole(name: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    made = getattr(F, name)(torch.ones(*shape), 0.25).numpy()
    channels = made.reshape(2000, -1)
    assert (channels == channels[:, :1]).all()
    np.testing.assert_allclose(np.unique(made), [0, 1 / 0.75], rtol=1e-6)
    assert abs((channels[:, 0] == 0).mean() - 0.25) < 0.05


def test_dropout_of_channels_in_evaluation_and_of_all() -> None:
    x = torch.randn(2, 3, 4)
    assert F.dropout1d(x, 0.5, False) is x
    assert not F.dropout1d(x, 1.0).any()
    with pytest.raises(ValueError, match="between 0 and 1"):
        F.dropout2d(x, 1.5)


@pytest.mark.parametrize("name", ["alpha_dropout", "feature_alpha_dropout"])
def test_alpha_dropout_keeps_mean_and_variance(name: str) -> None:
    torch.manual_seed(0)
    made = getattr(F, name)(torch.randn(200, 400), 0.3, True)
    assert abs(float(made.mean())) < 0.03
    assert abs(float(made.std()) - 1) < 0.03
    assert len(np.unique(made.numpy())) < 0.75 * made.numel()


def test_rrelu() -> None:
    torch.manual_seed(0)
    x = torch.linspace(-2, 2, 1001)
    made = F.rrelu(x, 0.1, 0.4, training=True)
    slopes = (made / x)[x < 0].numpy()
    assert slopes.min() >= 0.1 - 1e-6 and slopes.max() <= 0.4 + 1e-6
    assert abs(slopes.mean() - 0.25) < 0.02
    assert bool((made == x)[x > 0].all())
    np.testing.assert_allclose(F.rrelu(x, 0.1, 0.4).numpy(), F.leaky_relu(x, 0.25).numpy())


def test_gumbel_softmax_chooses_by_the_probabilities() -> None:
    torch.manual_seed(0)
    p = torch.tensor([0.1, 0.2, 0.7])
    logits = p.log().expand(20000, 3).clone().requires_grad_()
    made = F.gumbel_softmax(logits, hard=True)
    np.testing.assert_allclose(made.detach().mean(0).numpy(), p.numpy(), atol=0.02)
    assert made.detach().unique().numel() <= 4  # 0 and 1, up to rounding of (1 - y) + y
    made.sum().backward()
    assert logits.grad is not None


def weights() -> Any:
    x = np.random.default_rng(0).standard_normal((5, 3))
    return torch.tensor(x, dtype=torch.float64, requires_grad=True)


INDEX = torch.tensor([[0, 2, 1], [4, 3, 0]])


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags(mode: str) -> None:
    def bag(w: Any, **options: Any) -> Any:
        return F.embedding_bag(INDEX.flatten(), w, torch.tensor([0, 2, 2, 6]), mode=mode, **options)

    w = weights()
    rows = w.detach().numpy()
    reduced = getattr(np, mode)
    wanted = np.stack([reduced(rows[[0, 2]], 0), np.zeros(3), reduced(rows[[1, 4, 3, 0]], 0)])
    np.testing.assert_allclose(bag(w, include_last_offset=True).detach().numpy(), wanted)
    np.testing.assert_allclose(bag(w).detach().numpy()[:3], wanted)
    assert not bag(w).detach()[3].any()
    with torch.no_grad():  # a kernel of its own, where no gradient is wanted
        np.testing.assert_allclose(bag(w, include_last_offset=True).numpy(), wanted)
        np.testing.assert_allclose(bag(w.T.contiguous().T).numpy(), [*wanted, np.zeros(3)])
        with pytest.raises(IndexError, match="index"):
            bag(w[:4])
    padded = F.embedding_bag(INDEX, w, mode=mode, padding_idx=0).detach().numpy()
    np.testing.assert_allclose(padded, [reduced(rows[[2, 1]], 0), reduced(rows[[4, 3]], 0)])
    assert gradcheck(lambda w: F.embedding_bag(INDEX, w, mode=mode, padding_idx=0), (w,))
    assert gradgradcheck(lambda w: F.embedding_bag(INDEX, w, mode=mode) ** 2, (w,))


def test_bags_with_factors() -> None:
    factors = torch.rand(2, 3, dtype=torch.float64).requires_grad_()
    assert gradgradcheck(
        lambda w, f: F.embedding_bag(INDEX, w, mode="sum", per_sample_weights=f),
        (weights(), factors),
    )
    w, f, starts = weights(), factors.reshape(-1), torch.tensor([0, 2, 5], dtype=torch.int32)
    found = F.embedding_bag(INDEX.reshape(-1), w, starts, mode="sum", per_sample_weights=f)
    with torch.no_grad():
        again = F.embedding_bag(INDEX.reshape(-1), w, starts, mode="sum", per_sample_weights=f)
    np.testing.assert_allclose(again.numpy(), found.detach().numpy())
    with pytest.raises(NotImplementedError, match="only"):
        F.embedding_bag(INDEX, weights(), per_sample_weights=factors)


def test_embedding_limits_norms_and_divides_gradients() -> None:
    w = weights()
    index = torch.tensor([0, 0, 0, 2])
    F.embedding(index, w, scale_grad_by_freq=True).sum().backward()
    np.testing.assert_allclose(w.grad.numpy()[:, 0], [1, 0, 1, 0, 0], rtol=1e-12)
    long = torch.tensor(w.detach().numpy() * 10)
    before = long.numpy().copy()
    made = F.embedding(index, long, max_norm=2.0)
    np.testing.assert_allclose(made.norm(dim=-1).numpy(), 2.0, rtol=1e-6)
    np.testing.assert_array_equal(long.numpy()[[1, 3, 4]], before[[1, 3, 4]])
    np.testing.assert_array_equal(long.numpy()[index.numpy()], made.numpy())
