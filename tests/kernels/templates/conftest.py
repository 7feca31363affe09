"""Plans on raw NumPy buffers: layouts of arrays, launches, comparison in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from tritorch import dtypes
from tritorch.kernels.plan import Plan
from tritorch.layout import Layout

Array = np.ndarray[Any, np.dtype[Any]]

#: relative to the largest element of the reference, per rounding; times sqrt of the reduced length
TOLERANCE = {"float64": 4e-16, "float32": 2.5e-7, "float16": 1e-3, "bfloat16": 8e-3}


def layout_of(x: Array) -> Layout:
    strides = tuple(s // x.itemsize for s in x.strides)
    return Layout.of(dtypes.from_numpy(x.dtype), x.shape, strides)


def run_plan(plan: Plan, *inputs: Array, scalars: Sequence[Any] = ()) -> list[Array]:
    """Launch on fresh outputs (dense, filled with something wrong) and return them."""
    outputs = [
        np.ndarray(
            out.shape, out.dtype.numpy, np.full(max(out.numel, 1), 77, out.dtype.numpy),
            strides=tuple(step * out.dtype.itemsize for step in out.strides),
        )
        for out in plan.outputs
    ]  # fmt: skip
    addresses = [a.ctypes.data for a in (*outputs, *inputs)]
    plan.launch(*addresses, *scalars)
    return outputs


def compare(
    actual: Array, expected: Any, length: int = 1, name: str = "", scale: float = 0.0
) -> None:
    """Compare shape, then values.

    Args:
        length: of the sums behind an element.
        scale: of the terms behind an element, where it is more than that of the elements.
    """
    expected = np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, name
    if not expected.size:
        return
    values = actual.astype(np.float64)
    np.testing.assert_array_equal(np.isnan(values), np.isnan(expected), err_msg=name)
    finite = np.isfinite(expected)
    scale = max(float(np.abs(expected[finite]).max(initial=0.0)), scale)
    tolerance = TOLERANCE[actual.dtype.name] * scale * math.sqrt(max(length, 1))
    worst = float(np.abs(values[finite] - expected[finite]).max(initial=0.0))
    assert worst <= tolerance, f"{name}: off by {worst:.3g}, allowed {tolerance:.3g}"
    infinite = np.isinf(expected)
    np.testing.assert_array_equal(values[infinite], expected[infinite], err_msg=name)


@pytest.fixture
def layout() -> Callable[[Array], Layout]:
    return layout_of


@pytest.fixture
def run() -> Callable[..., list[Array]]:
    return run_plan


@pytest.fixture
def close() -> Callable[..., None]:
    return compare


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1234)


@pytest.fixture
def normal(rng: np.random.Generator) -> Callable[..., Array]:
    """Random numbers of a shape and dtype name; `order`: axes from the outermost in memory."""

    def make(*shape: int, kind: str = "float32", order: Sequence[int] | None = None) -> Array:
        order = list(order) if order is not None else list(range(len(shape)))
        memory = tuple(shape[d] for d in order)
        x = rng.standard_normal(memory).astype(dtypes.BY_NAME[kind].numpy)
        return x.transpose(np.argsort(order))

    return make
