"""Embedding layers hand everything they were given to the lookup, and say what they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch import nn

TABLE = np.array([[3.0, -4.0], [0.3, 0.4], [6.0, 8.0], [1.0, 0.0]])
INDEX = np.array([[0, 1, 2], [2, 0, 0]])


def shortened(p: float, longest: float) -> np.ndarray:
    """Rows no longer than `longest` by the norm p, as PyTorch has it (1e-7 added)."""
    norms = np.linalg.norm(TABLE, p, axis=1, keepdims=True)
    return np.where(norms > longest, TABLE * longest / (norms + 1e-7), TABLE)


def given(kind: Any, **options: Any) -> Any:
    return kind.from_pretrained(torch.tensor(TABLE), **options)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, float("inf")])
def test_norms(p: float) -> None:
    rows = shortened(p, 2.0)
    one = given(nn.Embedding, max_norm=2.0, norm_type=p)
    np.testing.assert_allclose(one(torch.tensor(INDEX)).numpy(), rows[INDEX], 1e-6)
    np.testing.assert_array_equal(one.weight.numpy()[3], TABLE[3])  # not asked for
    bag = given(nn.EmbeddingBag, max_norm=2.0, norm_type=p)
    np.testing.assert_allclose(bag(torch.tensor(INDEX)).numpy(), rows[INDEX].mean(1), 1e-6)


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_gradients(kind: Any) -> None:
    counts = np.array([3.0, 1, 2, 0])
    options = {"mode": "sum"} if kind is nn.EmbeddingBag else {}
    for by_frequency in (False, True):
        layer = given(kind, freeze=False, scale_grad_by_freq=by_frequency, **options)
        layer(torch.tensor(INDEX)).sum().backward()
        wanted = (counts > 0) if by_frequency else counts
        np.testing.assert_allclose(layer.weight.grad.numpy(), np.repeat(wanted, 2).reshape(4, 2))
    padded = given(kind, freeze=False, padding_idx=-4, **options)
    assert padded.padding_idx == 0
    padded(torch.tensor(INDEX)).sum().backward()
    np.testing.assert_allclose(padded.weight.grad.numpy()[:, 0], [0, 1, 2, 0])
    assert not given(kind).weight.requires_grad


def test_offsets() -> None:
    flat = torch.tensor(INDEX.ravel())
    rows = TABLE[INDEX.ravel()]
    bag = given(nn.EmbeddingBag, mode="max")
    found = bag(flat, torch.tensor([0, 4])).numpy()
    np.testing.assert_array_equal(found, [rows[:4].max(0), rows[4:].max(0)])
    last = given(nn.EmbeddingBag, mode="sum", include_last_offset=True)
    np.testing.assert_allclose(last(flat, torch.tensor([0, 4, 6])).numpy()[1], rows[4:].sum(0))


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.Embedding(4, 2), "Embedding(4, 2)"),
        (
            nn.Embedding(4, 2, 1, 2.0, 3.0, True, True),
            "Embedding(4, 2, padding_idx=1, max_norm=2.0, norm_type=3.0, "
            "scale_grad_by_freq=True, sparse=True)",
        ),
        (nn.EmbeddingBag(4, 2), "EmbeddingBag(4, 2, mode='mean')"),
        (
            nn.EmbeddingBag(4, 2, 2.0, 1.0, mode="sum", padding_idx=3),
            "EmbeddingBag(4, 2, max_norm=2.0, norm_type=1.0, mode='sum', padding_idx=3)",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_words(layer: nn.Module, words: str) -> None:
    assert repr(layer) == words


def test_padding_rows() -> None:
    layer = nn.Embedding(4, 2, padding_idx=3)
    assert not layer.weight[3].detach().numpy().any() and layer.weight[0].detach().numpy().all()
    with pytest.raises(ValueError, match="padding_idx 4 must be within num_embeddings 4"):
        nn.Embedding(4, 2, padding_idx=4)
    with pytest.raises(ValueError, match=r"shape \(4, 2\), expected \(4, 3\)"):
        nn.Embedding(4, 3, _weight=torch.tensor(TABLE))
    for kind in (nn.Embedding, nn.EmbeddingBag):
        with pytest.raises(ValueError, match=r"shape \(4,\), expected \(rows, elements\)"):
            kind.from_pretrained(torch.ones(4))
