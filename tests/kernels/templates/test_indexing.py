"""Gather, scatter and advanced indexing against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tritorch.kernels.templates import indexing


def along(rng: Any, x: Any, dim: int, length: int = 9) -> Any:
    """An index for gather and scatter, shorter than x in the other dimensions."""
    shape = [max(1, s - 1) for s in x.shape]
    shape[dim] = length
    return rng.integers(-x.shape[dim], x.shape[dim], shape)


@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("kind", ["float32", "float64", "bfloat16"])
def test_gather(
    dim: int, order: Any, kind: str, rng: Any, normal: Any, layout: Any, run: Any
) -> None:
    x = normal(5, 6, 7, order=order, kind=kind)
    index = along(rng, x, dim)
    cut = x[tuple(slice(0, None if d == dim else s) for d, s in enumerate(index.shape))]
    (y,) = run(indexing.plan_gather(layout(x), dim, layout(index)), x, index)
    expected = np.take_along_axis(cut, index, dim)
    np.testing.assert_array_equal(y.astype(np.float64), expected.astype(np.float64))


MEET = {
    "set": lambda old, new: new,
    "add": lambda old, new: old + new,
    "multiply": lambda old, new: old * new,
    "amax": max,
    "amin": min,
}


@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("mode", indexing.MODES)
def test_scatter(dim: int, mode: str, rng: Any, normal: Any, layout: Any, close: Any) -> None:
    x, index = normal(5, 6, 7), along(rng, normal(5, 6, 7), dim)
    source = normal(*index.shape)
    expected = x.astype(np.float64)
    for place in np.ndindex(*index.shape):
        to = (*place[:dim], index[place], *place[dim + 1 :])
        expected[to] = MEET[mode](expected[to], float(source[place]))
    plan = indexing.plan_scatter(layout(x), dim, layout(index), layout(source), mode=mode)
    plan.launch(x.ctypes.data, index.ctypes.data, source.ctypes.data)
    close(x, expected, 16)


@pytest.mark.parametrize("kind", [np.int64, np.int8, np.float64, np.float16])
def test_scatter_add_dtypes_and_a_scalar_source(kind: Any, rng: Any, layout: Any) -> None:
    x = np.zeros(10, kind)
    index = rng.integers(0, 10, 40)
    one = np.ones((), kind)
    source = np.broadcast_to(one, (40,))
    plan = indexing.plan_scatter(layout(x), 0, layout(index), layout(source), mode="add")
    plan.launch(x.ctypes.data, index.ctypes.data, one.ctypes.data)
    np.testing.assert_array_equal(x, np.bincount(index, minlength=10))


#: shapes of the index tensors for x (5, 6, 7, 8); None is a whole slice
KEYS = [
    ((3,),),
    ((2, 3), None),
    (None, (3,)),
    ((3, 1), None, (4,)),
    (None, (2,), (3, 1)),
    ((20,), (20,), (20,), (20,)),
    (None, None, None, (2, 2)),
    ((), (3,)),
    ((0,),),
]


@pytest.mark.parametrize("shapes", KEYS)
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_advanced_indexing(
    shapes: Any, order: Any, rng: Any, normal: Any, layout: Any, run: Any, close: Any
) -> None:
    x = normal(5, 6, 7, 8, order=order)
    indices = [
        None if s is None else np.asarray(rng.integers(-x.shape[d], x.shape[d], s))
        for d, s in enumerate(shapes)
    ]
    given = [index for index in indices if index is not None]
    layouts = [None if index is None else layout(index) for index in indices]
    key = tuple(slice(None) if index is None else index for index in indices)
    (y,) = run(indexing.plan_index(layout(x), layouts), x, *given)
    np.testing.assert_array_equal(y, x[key])

    values = normal(*x[key].shape)
    addresses = [a.ctypes.data for a in (*given, values)]
    summed = x.astype(np.float64)
    np.add.at(summed, key, values)
    target = np.copy(x)
    plan = indexing.plan_index_put(layout(target), layouts, layout(values), mode="add")
    plan.launch(target.ctypes.data, *addresses)
    close(target, summed, 16)

    target, expected = np.copy(x), np.copy(x)
    expected[key] = values
    plan = indexing.plan_index_put(layout(target), layouts, layout(values))
    plan.launch(target.ctypes.data, *addresses)
    np.testing.assert_array_equal(target, expected)


def test_put_broadcasts_its_values(rng: Any, normal: Any, layout: Any) -> None:
    x, index, value = normal(5, 6), rng.permutation(5)[:3], normal(3, 1)
    expected = x.copy()
    expected[index] = value
    plan = indexing.plan_index_put(layout(x), [layout(index)], layout(value))
    plan.launch(x.ctypes.data, index.ctypes.data, value.ctypes.data)
    np.testing.assert_array_equal(x, expected)


def test_sums_are_the_same_on_every_run(rng: Any, normal: Any, layout: Any) -> None:
    index, values = rng.integers(0, 4, 20_000), normal(20_000, 70)
    results = []
    for _ in range(4):
        x = np.zeros((4, 70), np.float32)
        plan = indexing.plan_index_put(layout(x), [layout(index)], layout(values), mode="add")
        plan.launch(x.ctypes.data, index.ctypes.data, values.ctypes.data)
        results.append(x)
    for x in results[1:]:
        np.testing.assert_array_equal(x, results[0])


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_index_select(dim: int, rng: Any, normal: Any, layout: Any, run: Any) -> None:
    x = normal(4, 5, 40)
    index = rng.integers(0, 4, 7)
    (y,) = run(indexing.plan_index_select(layout(x), dim, layout(index)), x, index)
    np.testing.assert_array_equal(y, np.take(x, index, dim))


def test_take(rng: Any, normal: Any, layout: Any, run: Any) -> None:
    x, index = normal(4, 5), rng.integers(-20, 20, (2, 6))
    (y,) = run(indexing.plan_take(layout(x), layout(index)), x, index)
    np.testing.assert_array_equal(y, x.reshape(-1)[index])


@pytest.mark.parametrize("wrong", [5, -6])
def test_an_index_out_of_bounds_raises_and_writes_nothing(
    wrong: int, normal: Any, layout: Any, run: Any
) -> None:
    x, index = normal(5, 6), np.array([0, wrong, 2])
    other = np.array([0, 1, 2])
    text = f"index {wrong} is out of bounds for dimension 0 with size 5"
    for layouts, given in (
        ([layout(index)], [index]),
        ([layout(index), layout(other)], [index, other]),
    ):
        with pytest.raises(IndexError, match=text):
            run(indexing.plan_index(layout(x), layouts), x, *given)
    column = np.broadcast_to(index[:, None], (3, 6)).copy()
    with pytest.raises(IndexError, match=text):
        run(indexing.plan_gather(layout(x), 0, layout(column)), x, column)
    before, source = x.copy(), np.ones((3, 6), np.float32)
    plan = indexing.plan_scatter(layout(x), 0, layout(column), layout(source))
    with pytest.raises(IndexError, match=text):
        plan.launch(x.ctypes.data, column.ctypes.data, source.ctypes.data)
    np.testing.assert_array_equal(x[[1, 3, 4]], before[[1, 3, 4]])


def test_errors(layout: Any, normal: Any) -> None:
    x, index = layout(normal(5, 6)), layout(np.zeros((2, 3), np.int64))
    with pytest.raises(IndexError, match="too many indices for tensor of dimension 2"):
        indexing.plan_index(x, [index, index, index])
    with pytest.raises(IndexError, match="indexing tensors could not be broadcast together"):
        indexing.plan_index(x, [index, layout(np.zeros(4, np.int64))])
    with pytest.raises(RuntimeError, match="gather: expected an index of int64"):
        indexing.plan_gather(x, 0, layout(normal(2, 3)))
    with pytest.raises(RuntimeError, match="gather: Size does not match"):
        indexing.plan_gather(x, 0, layout(np.zeros((2, 7), np.int64)))
    with pytest.raises(ValueError, match="mode must be one of set, add"):
        indexing.plan_scatter(x, 0, index, index, mode="plus")
