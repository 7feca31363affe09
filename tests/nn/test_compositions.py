"""Functions of several operations: grouped products, linear cross entropy, adaptive softmax."""

from __future__ import annotations

from typing import Any

import pytest

import tritorch as torch
from tritorch import nn
from tritorch.runtime import statistics


def test_grouped_products() -> None:
    torch.manual_seed(0)
    ends = torch.tensor([2, 2, 5], dtype=torch.int32)
    spans = [(0, 2), (2, 2), (2, 5)]
    a, b = torch.randn(6, 4, requires_grad=True), torch.randn(3, 4, 7)
    found = nn.functional.grouped_mm(a, b, offs=ends)
    for group, (low, high) in enumerate(spans):
        assert torch.allclose(found[low:high], a[low:high] @ b[group], atol=1e-6)
    assert found[5:].tolist() == [[0.0] * 7]
    found.sum().backward()
    assert torch.allclose(a.grad[0], b[0].sum(1), atol=1e-6)
    columns = nn.functional.grouped_mm(b.mT, a.detach().t(), offs=ends)
    assert torch.allclose(columns, found.t(), atol=1e-6)
    x, y = torch.randn(3, 5), torch.randn(5, 2)
    summed = nn.functional.grouped_mm(x, y, offs=ends)
    assert summed.shape == (3, 3, 2)
    assert torch.allclose(summed.sum(0), x @ y, atol=1e-5)
    assert torch.allclose(nn.functional.grouped_mm(b.mT, b), b.mT @ b)
    with pytest.raises(RuntimeError, match="grouped_mm: operands of 2 and 2 dimensions, offs not"):
        nn.functional.grouped_mm(x, y)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("kind", ["classes", "weights", "probabilities"])
def test_linear_cross_entropy_in_chunks(reduction: str, kind: str) -> None:
    torch.manual_seed(0)
    weight = torch.rand(4) if kind == "weights" else None
    ignored = None if kind == "probabilities" else 1
    options: dict[str, Any] = {"reduction": reduction, "weight": weight, "ignore_index": ignored}
    target = torch.tensor([0, 1, 2, 3, 1, 0, 2])
    if kind == "probabilities":
        target = torch.randn(7, 4).softmax(1)
    layer = nn.LinearCrossEntropyLoss(3, 4, bias=True, label_smoothing=0.1, **options)
    results = []
    for chunks in (None, nn.LinearCrossEntropyOptions(batch_chunk_size=3)):
        layer.options = chunks
        x = torch.arange(21.0).reshape(7, 3).sin().requires_grad_(True)
        layer.zero_grad()
        loss = layer(x, target)
        loss.sum().backward()
        results.append([loss, x.grad, *(p.grad for p in layer.parameters())])
    for whole, parts in zip(*results, strict=True):
        assert whole is not None and parts is not None
        assert torch.allclose(whole, parts, atol=1e-6)


def test_rows_per_chunk() -> None:
    options = nn.LinearCrossEntropyOptions
    assert options(chunking_method="aspect_ratio").rows(1024, 64, 6400) == 16
    assert options().rows(1024, 64, 6400) == 8
    assert options(chunking_method=None).rows(1024, 64, 6400) == 1024
    assert options(batch_chunk_size=5).rows(1024, 64, 6400) == 5
    with pytest.raises(ValueError, match="chunking_method must be"):
        options(chunking_method="most").rows(1, 1, 1)


def test_adaptive_softmax_is_a_distribution() -> None:
    torch.manual_seed(0)
    layer = nn.AdaptiveLogSoftmaxWithLoss(8, 12, [3, 7], div_value=2.0)
    x, target = torch.randn(6, 8), torch.tensor([0, 11, 5, 3, 2, 7])
    whole = layer.log_prob(x)
    assert torch.allclose(whole.exp().sum(1), torch.ones(6), atol=1e-5)
    output, loss = layer(x, target)
    assert torch.allclose(output, whole.gather(1, target.unsqueeze(1)).squeeze(1), atol=1e-5)
    assert loss.item() == pytest.approx(-output.mean().item())
    assert layer.predict(x).tolist() == whole.argmax(1).tolist()
    with pytest.raises(RuntimeError, match=r"Target values should be in \[0, 11\]"):
        layer(x, target + 1)
    with pytest.raises(ValueError, match="cutoffs should be"):
        nn.AdaptiveLogSoftmaxWithLoss(8, 12, [7, 3])


def test_clipping_takes_three_launches() -> None:
    parameters = [nn.Parameter(torch.ones(n, 2)) for n in (1, 5, 700, 3)]
    for parameter in parameters:
        parameter.grad = torch.ones(parameter.shape)
    nn.utils.clip_grad_norm_(parameters, 1e9)
    before = statistics.snapshot().launches
    norm = nn.utils.clip_grad_norm_(parameters, 2.0)
    assert statistics.snapshot().launches - before <= 3
    assert norm.item() == pytest.approx(1418**0.5)
    assert parameters[2].grad[5].tolist() == pytest.approx([2 / 1418**0.5] * 2, rel=1e-5)
    before = statistics.snapshot().launches
    nn.utils.clip_grad_value_(parameters, 0.01)
    assert statistics.snapshot().launches - before == 1


def test_skip_init_draws_no_numbers() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2).tolist()
    torch.manual_seed(3)
    layer = nn.utils.skip_init(nn.Linear, 4, 5)
    assert torch.rand(2).tolist() == expected
    assert layer.weight.requires_grad
    with pytest.raises(RuntimeError, match="must support a 'device' arg"):
        nn.utils.skip_init(nn.ReLU)


def test_an_uninitialised_parameter_survives_pickle() -> None:
    import pickle

    layer = pickle.loads(pickle.dumps(nn.LazyLinear(3, dtype=torch.float64)))
    assert layer(torch.ones(2, 4, dtype=torch.float64)).shape == (2, 3)
    assert repr(layer) == "Linear(in_features=4, out_features=3, bias=True)"
    with pytest.raises(RuntimeError, match="only supported through state_dict"):
        pickle.dumps(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))
