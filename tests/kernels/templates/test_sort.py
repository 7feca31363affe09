"""Sorting and binary search against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tritorch.kernels.templates import sort

KINDS = [
    "float32",
    "float64",
    "float16",
    "bfloat16",
    "int8",
    "uint8",
    "int16",
    "int32",
    "int64",
    "bool",
]


def numbers(rng: Any, shape: Any, kind: str) -> Any:
    """Few distinct values, so that stability shows; all signs, infinities and nan."""
    if kind == "bool":
        return rng.random(shape) < 0.5
    from tritorch.dtypes import BY_NAME

    numpy_kind = BY_NAME[kind].numpy
    if kind.startswith(("int", "uint")):
        limits = np.iinfo(numpy_kind)
        few = rng.integers(limits.min, limits.max, 50, numpy_kind, endpoint=True)
    else:
        few = np.concatenate([rng.standard_normal(50) * 100, [0.0, -0.0, np.inf, -np.inf, np.nan]])
    return few[rng.integers(0, len(few), shape)].astype(numpy_kind)


def reference(x: Any, dim: int, descending: bool) -> Any:
    """Stable order by (is nan, value); NumPy's float16 subclass has no order of its own."""
    wide = x.astype(np.float64) if x.dtype.kind not in "iub" else x
    if not descending:
        return np.argsort(wide, dim, kind="stable")
    if wide.dtype.kind in "iub":
        flipped = np.argsort(np.flip(wide, dim), dim, kind="stable")
        return np.flip(wide.shape[dim] - 1 - flipped, dim)
    rank = np.where(np.isnan(wide), -np.inf, -wide)
    first = np.where(np.isnan(wide), 0, 1)
    return np.lexsort((rank, first), axis=dim)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    ("shape", "dim"), [((70, 33), 1), ((33, 70), 0), ((5, 2500), 1), ((1,), 0)]
)
def test_stable_order(
    kind: str, descending: bool, shape: Any, dim: int, rng: Any, layout: Any, run: Any
) -> None:
    x = numbers(rng, shape, kind)
    values, indices = run(sort.plan_sort(layout(x), dim, descending=descending), x)
    expected = reference(x, dim, descending)
    np.testing.assert_array_equal(indices, expected)
    assert values.dtype == x.dtype
    sorted_x = np.take_along_axis(x, expected, dim)
    np.testing.assert_array_equal(values.view(np.uint8), sorted_x.copy().view(np.uint8))


def test_strided_rows(rng: Any, layout: Any, run: Any) -> None:
    x = rng.standard_normal((6, 40, 5)).astype(np.float32).transpose(2, 0, 1)[::2, :, ::-1][:, ::3]
    x = np.ascontiguousarray(x).transpose(1, 0, 2)
    for dim in range(3):
        values, indices = run(sort.plan_sort(layout(x), dim), x)
        np.testing.assert_array_equal(values, np.sort(x, dim))
        np.testing.assert_array_equal(indices, np.argsort(x, dim, kind="stable"))


def test_a_long_row(rng: Any, layout: Any, run: Any) -> None:
    x = rng.standard_normal(200_003).astype(np.float32)
    values, indices = run(sort.plan_sort(layout(x), 0), x)
    np.testing.assert_array_equal(values, np.sort(x))
    np.testing.assert_array_equal(indices, np.argsort(x, kind="stable"))


def test_empty_and_0d(layout: Any, run: Any) -> None:
    x = np.zeros((0, 3), np.float32)
    assert [a.shape for a in run(sort.plan_sort(layout(x), 1), x)] == [(0, 3), (0, 3)]
    x = np.array(5.0)
    assert [float(a) for a in run(sort.plan_sort(layout(x), 0), x)] == [5.0, 0.0]


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.int32, np.float16])
def test_search(right: bool, kind: Any, rng: Any, layout: Any, run: Any) -> None:
    side = "right" if right else "left"
    for n in (1, 2, 7, 64, 1000):
        row = np.sort(rng.integers(-20, 20, n).astype(kind))
        values = rng.integers(-25, 25, (3, 50)).astype(kind)
        (y,) = run(sort.plan_search(layout(row), layout(values), right=right), row, values)
        np.testing.assert_array_equal(y, np.searchsorted(row, values, side))
    rows = np.sort(rng.integers(-20, 20, (3, 9)).astype(kind), 1)
    (y,) = run(sort.plan_search(layout(rows), layout(values), right=right), rows, values)
    expected = [np.searchsorted(r, v, side) for r, v in zip(rows, values)]
    np.testing.assert_array_equal(y, expected)


def test_search_puts_nan_last(layout: Any, run: Any) -> None:
    row = np.array([1, 2, np.nan], np.float32)
    values = np.array([np.nan, np.inf], np.float32)
    for right, expected in ((False, [2, 2]), (True, [3, 2])):
        (y,) = run(sort.plan_search(layout(row), layout(values), right=right), row, values)
        np.testing.assert_array_equal(y, expected)


def test_search_in_nothing(layout: Any, run: Any) -> None:
    row, values = np.zeros(0, np.float32), np.ones(3, np.float32)
    (y,) = run(sort.plan_search(layout(row), layout(values)), row, values)
    assert not y.any()


def test_errors(layout: Any) -> None:
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(RuntimeError, match="boundaries tensor should be 1 dimension"):
        sort.plan_search(layout(x), layout(np.zeros((3, 3), np.float32)))
    with pytest.raises(RuntimeError, match="should have the same dtype"):
        sort.plan_search(layout(x), layout(x.astype(np.float64)))
