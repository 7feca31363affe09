"""Optimizers on GPUs: whole blocks without masks, what is left with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tritorch as torch


@pytest.mark.parametrize("capturable", [False, True])
def test_steps_of_any_alignment(device_kind: str, capturable: bool) -> None:
    """Addresses that are no multiples of 16, too, and counts that are no multiples of anything."""
    rng = np.random.default_rng(0)
    numbers = [rng.standard_normal(count).astype(np.float32) for count in (5, 3000, 17_001, 2048)]
    results: list[list[Any]] = []
    for place in ("cpu", "cuda"):
        flat = torch.zeros(3001, device=place)
        parameters = [torch.from_numpy(x.copy()).to(place) for x in numbers]
        flat[1:].copy_(parameters[1])
        parameters[1] = flat[1:]
        assert parameters[1].data_ptr() % 16 == 4
        parameters = [p.detach().requires_grad_() for p in parameters]
        for parameter in parameters:
            parameter.grad = parameter.detach() * 0.5 + 1
        step = torch.optim.AdamW(parameters, lr=0.1, capturable=capturable).step
        step()
        step()
        results.append([p.detach().cpu().numpy() for p in parameters])
    for here, there, start in zip(*results, numbers):
        if device_kind == "cuda":  # which adds after it has multiplied, without rounding between
            np.testing.assert_allclose(there, here, rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(here, there)
        assert (np.abs(here - start) > 0.01).all()
