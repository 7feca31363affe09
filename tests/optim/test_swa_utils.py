"""Averaged models: formulas, launches, buffers, statistics, the rate's way down."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch import nn
from tritorch.optim import multi_tensor, swa_utils
from tritorch.runtime.statistics import snapshot

AVERAGES: list[tuple[dict[str, Any], Any]] = [
    ({}, lambda values: np.mean(values, 0)),
    ({"avg_fn": swa_utils.get_swa_avg_fn()}, lambda values: np.mean(values, 0)),
    ({"multi_avg_fn": swa_utils.get_swa_multi_avg_fn()}, lambda values: np.mean(values, 0)),
    ({"avg_fn": swa_utils.get_ema_avg_fn(0.75)}, None),
    ({"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.75)}, None),
]


def ema(values: list[np.ndarray]) -> np.ndarray:
    average = values[0]
    for value in values[1:]:
        average = 0.75 * average + 0.25 * value
    return average


@pytest.mark.parametrize(("options", "expected"), AVERAGES, ids=range(len(AVERAGES)))
def test_averages(options: dict[str, Any], expected: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2).double())
    averaged = swa_utils.AveragedModel(model, **options)
    seen: list[list[np.ndarray]] = [[] for _ in model.parameters()]
    for _ in range(4):
        with torch.no_grad():
            for p, values in zip(model.parameters(), seen):
                p.add_(torch.randn_like(p))
                values.append(p.detach().numpy().copy())
        averaged.update_parameters(model)
    for p, values in zip(averaged.parameters(), seen):
        wanted = (expected or ema)(values)
        np.testing.assert_allclose(p.detach().numpy(), wanted, rtol=1e-5, atol=1e-6)
    assert averaged.n_averaged.item() == 4
    x = torch.ones(1, 3)
    assert averaged.module[0](x).tolist() == averaged.get_submodule("module.0")(x).tolist()
    other = swa_utils.AveragedModel(model, **options)
    other.load_state_dict(averaged.state_dict())
    assert other.n_averaged.item() == 4


@pytest.mark.parametrize("layers", [1, 6])
@pytest.mark.parametrize("multi_avg_fn", [None, swa_utils.get_ema_multi_avg_fn()])
def test_an_update_is_one_launch_whose_table_is_kept(
    layers: int, multi_avg_fn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Sequential(
        *[nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)) for _ in range(layers)]
    )
    averaged = swa_utils.AveragedModel(model, multi_avg_fn=multi_avg_fn)
    for _ in range(2):
        averaged.update_parameters(model)
    made: list[int] = []
    monkeypatch.setattr(multi_tensor, "TensorTable", lambda *_: made.append(1))
    before = snapshot()
    averaged.update_parameters(model)
    launched = (snapshot() - before).launches_by_kernel
    assert sum(n for name, n in launched.items() if "average_toward" in name) == 1
    assert sum(launched.values()) == 2  # and the count
    assert not made


@pytest.mark.parametrize("use_buffers", [False, True])
def test_buffers_are_copied_or_averaged(use_buffers: bool) -> None:
    model = nn.BatchNorm1d(2)
    averaged = swa_utils.AveragedModel(model, use_buffers=use_buffers)
    for value in (1.0, 3.0):
        model.running_mean.fill_(value)
        averaged.update_parameters(model)
    assert averaged.module.running_mean.tolist() == [2.0 if use_buffers else 3.0] * 2


def test_statistics_are_computed_anew() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2, momentum=0.3))
    data = torch.randn(12, 2)
    model(torch.full((4, 2), 100.0))
    model.eval()
    batches = [(data[:4], None), (data[4:8], None), (data[8:], None)]
    swa_utils.update_bn(batches, model)
    means = data.reshape(3, 4, 2).mean(1).mean(0)
    assert model[0].running_mean.tolist() == pytest.approx(means.tolist(), abs=1e-6)
    assert model[0].momentum == 0.3 and not model.training
    swa_utils.update_bn(batches, nn.Linear(2, 2))


def test_rates_and_wrong_use() -> None:
    p = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([p], lr=1.0)
    scheduler = swa_utils.SWALR(optimizer, 0.2, anneal_epochs=4, anneal_strategy="linear")
    rates = []
    for _ in range(6):
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.2, 0.2])
    with pytest.raises(ValueError, match="anneal_strategy must by one of"):
        swa_utils.SWALR(optimizer, 0.2, anneal_strategy="steps")
    with pytest.raises(ValueError, match="anneal_epochs must be equal or greater than 0"):
        swa_utils.SWALR(optimizer, 0.2, anneal_epochs=-1)
    with pytest.raises(ValueError, match="Invalid decay value"):
        swa_utils.get_ema_multi_avg_fn(1.5)
    with pytest.raises(AssertionError, match="Only one of avg_fn and multi_avg_fn"):
        swa_utils.AveragedModel(
            nn.Linear(1, 1),
            avg_fn=swa_utils.get_swa_avg_fn(),
            multi_avg_fn=swa_utils.get_swa_multi_avg_fn(),
        )
