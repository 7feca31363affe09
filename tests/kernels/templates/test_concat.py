"""cat and stack against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tritorch import dtypes
from tritorch.kernels.templates import concat


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
@pytest.mark.parametrize("orders", [((0, 1, 2), (0, 1, 2)), ((2, 1, 0), (1, 2, 0))])
def test_cat(dim: int, orders: Any, normal: Any, layout: Any, run: Any) -> None:
    shapes = [[4, 5, 6], [4, 5, 6], [4, 5, 6]]
    shapes[1][dim] = 1
    shapes[2][dim] = 0
    inputs = [normal(*s, order=o) for s, o in zip(shapes, (*orders, (0, 1, 2)))]
    (y,) = run(concat.plan_cat([layout(x) for x in inputs], dim, dtypes.float32), *inputs)
    np.testing.assert_array_equal(y, np.concatenate(inputs, dim))


def test_cat_converts_and_skips_empty_vectors(normal: Any, layout: Any, run: Any) -> None:
    inputs = [normal(3, 4), np.zeros(0, np.float32), np.arange(8).reshape(2, 4)]
    (y,) = run(concat.plan_cat([layout(x) for x in inputs], 0, dtypes.float64), *inputs)
    np.testing.assert_array_equal(y, np.concatenate([inputs[0], inputs[2]], 0))


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_stack(dim: int, normal: Any, layout: Any, run: Any) -> None:
    inputs = [normal(3, 4), normal(3, 4, order=(1, 0)), normal(3, 4)]
    (y,) = run(concat.plan_stack([layout(x) for x in inputs], dim, dtypes.float32), *inputs)
    np.testing.assert_array_equal(y, np.stack(inputs, dim))


def test_stack_of_numbers(layout: Any, run: Any) -> None:
    inputs = [np.array(k, np.int64) for k in range(5)]
    (y,) = run(concat.plan_stack([layout(x) for x in inputs], 0, dtypes.int64), *inputs)
    np.testing.assert_array_equal(y, np.arange(5))


@pytest.mark.parametrize("kind", [np.bool_, np.int8, np.uint8, np.float16])
def test_dtypes(kind: Any, rng: Any, layout: Any, run: Any) -> None:
    inputs = [rng.integers(0, 2, (3, 5000)).astype(kind) for _ in range(2)]
    out = dtypes.from_numpy(np.dtype(kind))
    (y,) = run(concat.plan_cat([layout(x) for x in inputs], 1, out), *inputs)
    np.testing.assert_array_equal(y, np.concatenate(inputs, 1))


def test_errors(layout: Any, normal: Any) -> None:
    with pytest.raises(RuntimeError, match="Sizes of tensors must match except in dimension 0"):
        concat.plan_cat([layout(normal(2, 3)), layout(normal(2, 4))], 0, dtypes.float32)
    with pytest.raises(RuntimeError, match="stack expects each tensor to be equal size"):
        concat.plan_stack([layout(normal(2, 3)), layout(normal(2, 4))], 0, dtypes.float32)
