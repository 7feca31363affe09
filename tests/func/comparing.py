"""Inputs and comparisons that the tests of func share."""

from __future__ import annotations

from typing import Any

import numpy as np

import tritorch as torch


def double(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random numbers of float64 in [-1, 1)."""
    return torch.tensor(np.random.default_rng(seed).uniform(-1, 1, shape))


def close(found: Any, expected: Any, tolerance: float = 1e-9) -> None:
    """Check dtype, shape and values, in containers too."""
    if isinstance(expected, (tuple, list)):
        assert len(found) == len(expected)
        for a, b in zip(found, expected):
            close(a, b, tolerance)
        return
    assert found.dtype is expected.dtype
    assert found.shape == expected.shape
    np.testing.assert_allclose(
        found.detach().numpy(), expected.detach().numpy(), tolerance, tolerance
    )
