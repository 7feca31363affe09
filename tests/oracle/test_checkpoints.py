"""Checkpoints move both ways between here and an installed PyTorch, bit for bit."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

import tritorch
from tests.serialization.contents import contents, equal

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("zipped", [True, False])
def test_theirs_loads_here(tmp_path: Path, zipped: bool, protocol: int) -> None:
    path = tmp_path / "a.pt"
    options = {"_use_new_zipfile_serialization": zipped, "pickle_protocol": protocol}
    torch.save(contents(torch), path, **options)
    equal(tritorch.load(path), contents(torch))
    if zipped:
        equal(tritorch.load(path, mmap=True), contents(torch))


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
def test_ours_loads_there(tmp_path: Path, mapped: bool, protocol: int) -> None:
    path = tmp_path / "a.pt"
    tritorch.save(contents(tritorch), path, pickle_protocol=protocol)
    equal(contents(tritorch), torch.load(path, mmap=mapped, weights_only=protocol == 2))


def training(library: Any) -> Any:
    library.manual_seed(0)
    nn = library.nn
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    optimizer = library.optim.Adam(model.parameters(), lr=0.1)
    return model, optimizer


def step(library: Any, model: Any, optimizer: Any) -> None:
    optimizer.zero_grad()
    x = library.arange(32, dtype=library.float32).reshape(2, 1, 4, 4) / 32
    model(x).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("direction", ["to here", "to there"])
def test_training_goes_on_in_the_other_library(direction: str) -> None:
    first, second = (torch, tritorch) if direction == "to here" else (tritorch, torch)
    model, optimizer = training(first)
    step(first, model, optimizer)
    buffer = io.BytesIO()
    first.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, buffer)
    buffer.seek(0)
    state = second.load(buffer)
    other, other_optimizer = training(second)
    other.load_state_dict(state["model"])
    other_optimizer.load_state_dict(state["optimizer"])
    step(first, model, optimizer)
    step(second, other, other_optimizer)
    for (name, a), b in zip(model.state_dict().items(), other.state_dict().values()):
        difference = abs(a.double().numpy() - b.double().numpy()).max()
        assert difference < 1e-5, f"{name}: {difference}"


@pytest.mark.parametrize("zipped", [True, False])
def test_their_whole_module_loads_here(zipped: bool) -> None:
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv1d(4, 4, 3, padding=1, padding_mode="circular"),
        nn.BatchNorm1d(4),
        nn.TransformerEncoderLayer(4, 2, 8, batch_first=True),
        nn.LSTM(4, 3, bidirectional=True),
    ).eval()
    buffer = io.BytesIO()
    torch.save(model, buffer, _use_new_zipfile_serialization=zipped)
    buffer.seek(0)
    with pytest.raises(tritorch.serialization.LoadError, match="weights_only=False"):
        tritorch.load(buffer)
    buffer.seek(0)
    loaded = tritorch.load(buffer, weights_only=False)
    assert type(loaded[3]) is tritorch.nn.LSTM and repr(loaded) == repr(model)
    expected = model(torch.arange(16.0).view(1, 4, 4) / 16)[0]
    found = loaded(tritorch.arange(16.0).view(1, 4, 4) / 16)[0]
    assert abs(found.detach().numpy() - expected.detach().numpy()).max() < 1e-5
