"""Softmax and log-softmax against NumPy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tritorch import dtypes
from tritorch.kernels.templates import softmax


def reference(x: Any, dim: int, log: bool) -> Any:
    x = x.astype(np.float64)
    with np.errstate(invalid="ignore"):
        shifted = x - x.max(dim, keepdims=True)
        result = shifted - np.log(np.exp(shifted).sum(dim, keepdims=True))
    return result if log else np.exp(result)


def reference_backward(g: Any, y: Any, dim: int, log: bool) -> Any:
    g, y = g.astype(np.float64), y.astype(np.float64)
    if log:
        return g - np.exp(y) * g.sum(dim, keepdims=True)
    return y * (g - (g * y).sum(dim, keepdims=True))


# shape, dim, axes from the outermost in memory
CASES = [
    ((5, 7), 1, None),
    ((1, 1), 1, None),
    ((3, 1000), -1, None),
    ((4, 3, 10), 1, None),
    ((4, 3, 10), 0, None),
    ((6, 5, 300), 1, None),
    ((6, 20, 5), 1, (2, 0, 1)),
    ((2, 3, 4, 5, 6), 2, (1, 4, 0, 3, 2)),
    ((2, 66_000), 1, None),
    ((9,), 0, None),
]


@pytest.mark.parametrize("log", [False, True], ids=["softmax", "log_softmax"])
@pytest.mark.parametrize(("shape", "dim", "order"), CASES)
def test_values_and_gradient(
    shape: Any, dim: int, order: Any, log: bool, normal: Any, layout: Any, run: Any, close: Any
) -> None:
    x = normal(*shape, order=order) * 3
    (y,) = run(softmax.plan(layout(x), dim, log=log), x)
    close(y, reference(x, dim, log), 16)
    g = normal(*shape)
    (dx,) = run(softmax.plan_backward(layout(g), layout(y), dim, log=log), g, y)
    close(dx, reference_backward(g, y, dim, log), 64 if shape[dim] < 10_000 else 1024)


@pytest.mark.parametrize("kind", ["float64", "float16", "bfloat16"])
@pytest.mark.parametrize("dim", [0, 1])
def test_dtypes(kind: str, dim: int, normal: Any, layout: Any, run: Any, close: Any) -> None:
    x = normal(33, 40, kind=kind)
    for log in (False, True):
        plan = softmax.plan(layout(x), dim, log=log)
        assert plan.outputs[0].dtype.name == kind
        (y,) = run(plan, x)
        close(y, reference(x, dim, log), 16 if kind == "float64" else 1)
    (y,) = run(softmax.plan(layout(x), dim, out=dtypes.float32), x)
    close(y, reference(x, dim, False), 16)


@pytest.mark.parametrize("n", [5, 70_000])
def test_infinities_and_nan(n: int, layout: Any, run: Any) -> None:
    x = np.zeros((4, n), np.float32)
    x[0, : n - 1] = -np.inf  # all weight on the last
    x[1, 0] = np.inf
    x[2, 0] = np.nan
    x[3, :] = -np.inf
    (y,) = run(softmax.plan(layout(x), 1), x)
    assert y[0, -1] == 1 and not y[0, :-1].any()
    assert np.isnan(y[1:]).all()


def test_large_numbers_do_not_overflow(layout: Any, run: Any, close: Any) -> None:
    x = np.array([[1e4, 1e4 - 1, -1e4], [-1e30, -1e30, -3e38]], np.float32)
    for log in (False, True):
        (y,) = run(softmax.plan(layout(x), 1, log=log), x)
        close(y, reference(x, 1, log), 4)


def test_empty_and_0d(layout: Any, run: Any) -> None:
    x = np.zeros((0, 3), np.float32)
    assert run(softmax.plan(layout(x), 1), x)[0].shape == (0, 3)
    x = np.zeros((3, 0), np.float32)
    assert run(softmax.plan(layout(x), 1), x)[0].shape == (3, 0)
    x = np.array(5.0, np.float32)
    assert run(softmax.plan(layout(x), 0), x)[0] == 1.0


def test_errors(layout: Any) -> None:
    with pytest.raises(RuntimeError, match="softmax: needs a floating-point dtype"):
        softmax.plan(layout(np.zeros((2, 2), np.int64)), 0)
    with pytest.raises(IndexError, match="Dimension out of range"):
        softmax.plan(layout(np.zeros((2, 2), np.float32)), 2)
