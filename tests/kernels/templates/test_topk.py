"""The k greatest of rows against a stable sort by NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tritorch.kernels.templates import topk


def expected(x: Any, dim: int, k: int, largest: bool) -> tuple[Any, Any]:
    """Equal elements in the order of their indices, nan the greatest."""
    ranks = np.apply_along_axis(lambda row: np.unique(row, return_inverse=True)[1], dim, x)
    order = np.argsort(-ranks if largest else ranks, axis=dim, kind="stable")
    order = np.take(order, range(k), axis=dim)
    return np.take_along_axis(x, order, dim), order


def check(run: Any, layout: Any, x: Any, dim: int, k: int, largest: bool) -> None:
    assert topk.serves(layout(x), dim, k)
    values, indices = run(topk.plan_topk(layout(x), dim, k, largest=largest), x)
    wanted, order = expected(x, dim, k, largest)
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_array_equal(values.astype(np.float64), wanted.astype(np.float64))


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize(("size", "k"), [(65, 1), (300, 50), (1000, 5), (2049, 300)])
def test_random(size: int, k: int, largest: bool, normal: Any, layout: Any, run: Any) -> None:
    check(run, layout, normal(3, size), 1, k, largest)
    check(run, layout, normal(size, 2), 0, k, largest)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("kind", ["float64", "float16", "int64", "int8", "uint8"])
def test_few_distinct_values_of_any_dtype(
    kind: str, largest: bool, rng: Any, layout: Any, run: Any
) -> None:
    """More elements reach the bound than there is room for."""
    x = rng.integers(0, 3, (2, 500)).astype(kind)
    check(run, layout, x, 1, 20, largest)


def test_all_equal_and_all_least(layout: Any, run: Any) -> None:
    for value in (0.0, -np.inf):
        x = np.full((2, 400), value, np.float32)
        for largest in (True, False):
            check(run, layout, x, 1, 7, largest)


def test_great_elements_in_one_group(layout: Any, run: Any) -> None:
    x = np.zeros((1, 64 * 100), np.float32)
    x[0, ::64] = np.arange(1, 101)
    check(run, layout, x, 1, 10, True)


def test_nan_is_the_greatest(normal: Any, layout: Any, run: Any) -> None:
    x = normal(1, 500)
    x[0, 100:400:50] = np.nan
    values, indices = run(topk.plan_topk(layout(x), 1, 8, largest=True), x)
    assert list(indices[0, :6]) == [100, 150, 200, 250, 300, 350]
    assert np.isnan(values[0, :6]).all() and not np.isnan(values[0, 6:]).any()
    values, _ = run(topk.plan_topk(layout(x), 1, 8, largest=False), x)
    assert not np.isnan(values).any()
