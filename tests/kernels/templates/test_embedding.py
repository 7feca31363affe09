"""Row lookup and its gradient against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tritorch.kernels.templates import embedding


@pytest.mark.parametrize(
    ("kind", "shape", "columns"),
    [
        ("float32", (27,), 70),
        ("float32", (3, 9), 1),
        ("float32", (), 5000),
        ("float32", (0,), 70),
        ("float64", (2, 3, 4), 70),
        ("float16", (40,), 600),
        ("bfloat16", (27,), 70),
        ("int64", (27,), 5),
    ],
)
def test_lookup(
    kind: str, shape: Any, columns: int, rng: Any, normal: Any, layout: Any, run: Any
) -> None:
    w = normal(50, columns, kind=kind)
    index = np.asarray(rng.integers(0, 50, shape))
    (y,) = run(embedding.plan(layout(w), layout(index)), w, index)
    np.testing.assert_array_equal(y.astype(np.float64), w[index].astype(np.float64))


def test_lookup_with_strides_and_int32(rng: Any, normal: Any, layout: Any, run: Any) -> None:
    w = normal(33, 50, order=(1, 0))[::2]
    index = rng.integers(0, 17, (4, 6), np.int32).T[::2]
    (y,) = run(embedding.plan(layout(w), layout(index)), w, index)
    np.testing.assert_array_equal(y, w[index])


def reference(g: Any, index: Any, n_rows: int, skipped: int | None) -> Any:
    dw = np.zeros((n_rows, g.shape[-1]))
    np.add.at(dw, index.reshape(-1), g.reshape(-1, g.shape[-1]).astype(np.float64))
    if skipped is not None:
        dw[skipped] = 0
    return dw


@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("skipped", [None, 0, 7])
def test_gradient(
    kind: str, skipped: int | None, rng: Any, normal: Any, layout: Any, run: Any, close: Any
) -> None:
    index = rng.integers(0, 9, (30, 20))
    g = normal(30, 20, 70, kind=kind)
    padding = -1 if skipped is None else skipped
    plan = embedding.plan_backward(layout(g), layout(index), 11, padding_idx=padding)
    assert plan.outputs[0].dtype.name == ("float64" if kind == "float64" else "float32")
    (dw,) = run(plan, g, index)
    close(dw, reference(g, index, 11, skipped), 600)


def test_gradient_is_the_same_on_every_run(rng: Any, normal: Any, layout: Any, run: Any) -> None:
    index, g = rng.integers(0, 3, 5000), normal(5000, 300)
    plan = embedding.plan_backward(layout(g), layout(index), 3)
    first = run(plan, g, index)[0]
    for _ in range(5):
        np.testing.assert_array_equal(run(plan, g, index)[0], first)


def test_gradient_of_nothing_is_zero(normal: Any, layout: Any, run: Any) -> None:
    index, g = np.zeros(0, np.int64), normal(0, 6)
    (dw,) = run(embedding.plan_backward(layout(g), layout(index), 4), g, index)
    np.testing.assert_array_equal(dw, np.zeros((4, 6)))


@pytest.mark.parametrize("wrong", [50, -1, 2**40])
def test_an_index_out_of_bounds_raises_once(
    wrong: int, rng: Any, normal: Any, layout: Any, run: Any
) -> None:
    w, index = normal(50, 6), rng.integers(0, 50, 9)
    plan = embedding.plan(layout(w), layout(index))
    backward = embedding.plan_backward(layout(w[:9]), layout(index), 50)
    good = index.copy()
    index[4] = wrong
    text = f"index {wrong} is out of bounds for dimension 0 with size 50"
    with pytest.raises(IndexError, match=text):
        run(plan, w, index)
    with pytest.raises(IndexError, match=text):
        run(backward, w[:9].copy(), index)
    np.testing.assert_array_equal(run(plan, w, good)[0], w[good])


def test_zeros(layout: Any, run: Any) -> None:
    for kind in (np.float32, np.int8, np.int64, np.float16):
        (x,) = run(embedding.plan_zero(layout(np.ones((3, 2500), kind))))
        assert not x.any()


def test_an_index_of_floats_is_refused(layout: Any, normal: Any) -> None:
    with pytest.raises(RuntimeError, match="embedding: expected an index of int32 or int64"):
        embedding.plan(layout(normal(3, 3)), layout(normal(3)))
