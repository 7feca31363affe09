"""Places and elements where a mask holds, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tritorch.kernels.templates import compact

SHAPES = [(1,), (20_000,), (3, 4), (100, 201), (3, 40, 5), (2, 3, 4, 5)]


def offsets_of(mask: Any, layout: Any, run: Any) -> Any:
    (offsets,) = run(compact.plan_count(layout(mask)), mask)
    assert offsets[-1] == np.count_nonzero(mask)
    return offsets


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_places(shape: Any, turned: bool, rng: Any, layout: Any, run: Any) -> None:
    mask = rng.standard_normal(shape).astype(np.float32) * (rng.random(shape) > 0.6)
    mask = (mask.T if turned else mask).astype(np.float32, copy=False)
    offsets = offsets_of(mask, layout, run)
    flat = np.full(offsets[-1] + 1, -7)
    plan = compact.plan_compact(layout(mask))
    plan.launch(flat.ctypes.data, offsets.ctypes.data, mask.ctypes.data)
    np.testing.assert_array_equal(flat[:-1], np.flatnonzero(mask))
    assert flat[-1] == -7
    rows = np.full(offsets[-1] * mask.ndim + 1, -7)
    plan = compact.plan_compact(layout(mask), coordinates=True)
    plan.launch(rows.ctypes.data, offsets.ctypes.data, mask.ctypes.data)
    np.testing.assert_array_equal(rows[:-1].reshape(mask.ndim, -1).T, np.argwhere(mask))
    assert rows[-1] == -7


@pytest.mark.parametrize("shape", SHAPES)
def test_elements(shape: Any, rng: Any, layout: Any, run: Any) -> None:
    x = rng.integers(-100, 100, shape[::-1]).astype(np.int16).T
    mask = rng.random(shape) > 0.5
    offsets = offsets_of(mask, layout, run)
    chosen = np.full(offsets[-1] + 1, 777, np.int16)
    plan = compact.plan_compact(layout(mask), layout(x))
    plan.launch(chosen.ctypes.data, offsets.ctypes.data, mask.ctypes.data, x.ctypes.data)
    np.testing.assert_array_equal(chosen[:-1], x[mask])
    assert chosen[-1] == 777
