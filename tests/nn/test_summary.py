"""`tritorch.summary`: shapes, parameters, bytes and launches of each layer."""

from __future__ import annotations

from typing import Any

import pytest

import tritorch as torch
from tritorch import nn


class Model(nn.Module):
    """A layer that is used twice, one that is never called, two that share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU())
        self.unused = nn.Linear(2, 3)
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.body[0].weight

    def forward(self, x: Any, times: int = 2) -> dict[str, Any]:
        for _ in range(times):
            x = self.body(x)
        return {"sum": (self.tied(x) + 1).sum(), "all": [x]}


def test_figures() -> None:
    model = Model().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = torch.summary(model, torch.ones(3, 4))
    layers = {layer.name: layer for layer in found.layers}
    assert list(layers) == [
        "", "body", "body.0", "body.1", "body.2", "unused", "tied",
    ]  # fmt: skip
    assert [layer.depth for layer in found.layers] == [0, 1, 2, 2, 2, 1, 1]
    assert layers["body.0"].parameters == 20 and layers["body.0"].nbytes == 80
    assert layers["body.1"].parameters == 8
    assert layers["body.1"].nbytes == 4 * 16 + 8  # with the running statistics and an int64
    assert layers["tied"].parameters == 0  # counted where it was seen first
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert layers["body.0"].shapes == [(3, 4)] and layers["body.0"].calls == 2
    assert layers["body.0"].output_nbytes == 2 * 48
    assert layers["body.0"].launches == layers["body.2"].launches == 2
    assert layers["body"].launches == 0  # its layers' are theirs
    assert layers[""].shapes == [(), (3, 4)] and layers[""].launches == 2  # + 1, sum
    assert layers["unused"].calls == 0
    assert set(layers["body.2"].kernels) == {name for name in found.kernels if "relu" in name}
    assert found.launches == sum(found.kernels.values())

    assert all(module.training for module in model.modules())
    after = model.state_dict()
    assert all(value.tolist() == after[name].tolist() for name, value in before.items())
    assert not model.body._forward_hooks and not model.body._forward_pre_hooks


def test_arguments() -> None:
    model, x = Model(), torch.ones(3, 4)
    once = torch.summary(model, {"x": x, "times": 1}).launches
    assert torch.summary(model, (x, 2)).launches == torch.summary(model, x).launches > once
    alone = torch.summary(model)
    assert alone.launches == 0 and alone.parameters == 37
    with pytest.raises(TypeError):
        torch.summary(model, (x, 1, 2, 3))
    assert not model._forward_hooks
    lazy = nn.LazyLinear(5)
    assert torch.summary(lazy).parameters == 0
    assert torch.summary(lazy, torch.ones(2, 3)).parameters == 20


def test_text() -> None:
    text = str(
        torch.summary(nn.Sequential(nn.Linear(300, 7), nn.LSTM(7, 2)), torch.ones(5, 1, 300))
    )
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ["layer", "output", "parameters", "bytes", "output", "bytes", "launches"]
    linear = next(line for line in lines if "Linear" in line)
    assert linear == ["0:", "Linear", "(5,", "1,", "7)", "2,107", "8.2", "KiB", "140", "B", "1"]
    lstm = next(line for line in text.splitlines() if "LSTM" in line)
    assert "(5, 1, 2), (1, 1, 2), (1, 1, 2)" in lstm
    assert lines[-1][:2] == ["in", "all"] and "2,195" in lines[-1]


def test_html() -> None:
    page = torch.summary(nn.ReLU(), torch.ones(2))._repr_html_()
    assert page.startswith("<table>") and "ReLU" in page and "(2,)" in page


def test_modules_in_notebooks() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.LazyLinear(4)))
    page = model._repr_html_()
    assert page.count("<details") == 2 and "9 parameters" in page
    assert "in_features=2, out_features=3, bias=True" in page and "LazyLinear" in page
    assert "UninitializedParameter" in nn.LazyLinear(4).weight._repr_html_()
    assert "<script" not in torch.nn.Softplus(beta="<script>")._repr_html_()  # type: ignore[arg-type]
