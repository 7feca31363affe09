"""Programs that take whichever device there is: `torch.accelerator`, `torch.cpu`."""

from __future__ import annotations

from typing import Any

import pytest

import tritorch as torch
from tests.runtime.cuda.simulated import simulated_gpu


def test_without_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    accelerator: Any = torch.accelerator
    assert accelerator.current_accelerator() is None and not accelerator.is_available()
    assert accelerator.memory_allocated() == accelerator.max_memory_reserved() == 0
    assert accelerator.memory_stats() == {}
    for harmless in ("synchronize", "empty_cache", "reset_peak_memory_stats"):
        getattr(accelerator, harmless)()
    for needed in ("current_device_index", "current_stream", "get_memory_info"):
        with pytest.raises(RuntimeError, match=f"accelerator.{needed}: there is no accelerator"):
            getattr(accelerator, needed)()
    assert torch.get_device_module() is torch.cpu


def test_with_two() -> None:
    with simulated_gpu():
        accelerator: Any = torch.accelerator
        assert accelerator.device_count() == 2 and accelerator.current_device_index() == 0
        with accelerator.device_index(1):
            assert accelerator.current_device_idx() == torch.cuda.current_device() == 1
            with accelerator.device_index(None):
                assert accelerator.current_device_index() == 1
        assert accelerator.current_device_index() == 0
        accelerator.set_device_index(1)
        assert torch.ones(1, device="cuda").get_device() == 1
        accelerator.set_device_idx(0)
        before = accelerator.memory_allocated()
        kept = torch.empty(1 << 18, device="cuda")
        assert accelerator.memory_allocated() - before == kept.numel() * 4
        assert accelerator.max_memory_allocated() >= accelerator.memory_allocated()
        free, whole = accelerator.get_memory_info()
        assert 0 < free <= whole
        side = torch.cuda.Stream()
        default = accelerator.current_stream()
        accelerator.set_stream(side)
        assert torch.cuda.current_stream() == side
        accelerator.set_stream(default)
        assert torch.get_device_module() is torch.get_device_module("cuda:1") is torch.cuda
        assert torch.bfloat16 in accelerator.get_device_capability()["supported_dtypes"]
        with pytest.raises(RuntimeError):
            accelerator.get_device_capability(7)


def test_the_processor_by_the_same_names() -> None:
    device: Any = torch.get_device_module("cpu")
    assert device is torch.cpu and device.is_available() and device.device_count() == 1
    assert device.current_device() == "cpu"
    device.set_device("cpu")
    event = device.Event()
    with device.stream(device.Stream()):
        event.record(device.current_stream())
    device.synchronize()
    assert event.query()
    with pytest.raises(RuntimeError, match=r"no module|Expected one of|device"):
        torch.get_device_module("meta")
