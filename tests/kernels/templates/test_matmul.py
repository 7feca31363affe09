"""Matrix products against NumPy in float64 (integers: exactly)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tritorch import dtypes
from tritorch.config import config
from tritorch.kernels.templates import matmul

SIZES = [(1, 1, 1), (17, 33, 5), (64, 64, 64), (130, 70, 300), (3, 200, 1), (129, 257, 65)]


@pytest.mark.parametrize(("m", "n", "k"), SIZES)
@pytest.mark.parametrize("letters", ["nn", "nt", "tn", "tt"])
def test_sizes_and_transposes(
    m: int, n: int, k: int, letters: str, normal: Any, layout: Any, run: Any, close: Any
) -> None:
    order = {"n": (0, 1), "t": (1, 0)}
    a, b = normal(m, k, order=order[letters[0]]), normal(k, n, order=order[letters[1]])
    (c,) = run(matmul.plan(layout(a), layout(b)), a, b)
    close(c, a.astype(np.float64) @ b.astype(np.float64), k)


@pytest.mark.parametrize("kind", ["float64", "float16", "bfloat16"])
@pytest.mark.parametrize(("m", "n", "k"), [(70, 50, 40), (1, 50, 40), (50, 1, 40)])
def test_dtypes(
    kind: str, m: int, n: int, k: int, normal: Any, layout: Any, run: Any, close: Any
) -> None:
    a, b = normal(m, k, kind=kind), normal(k, n, kind=kind)
    plan = matmul.plan(layout(a), layout(b))
    assert plan.outputs[0].dtype.name == kind
    (c,) = run(plan, a, b)
    close(c, a.astype(np.float64) @ b.astype(np.float64), k if kind == "float64" else 1)
    if kind != "float64":  # the sum itself is float32
        (c,) = run(matmul.plan(layout(a), layout(b), out=dtypes.float32), a, b)
        close(c, a.astype(np.float64) @ b.astype(np.float64), k)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.int32, np.int64])
def test_integers_wrap(kind: Any, rng: Any, layout: Any, run: Any) -> None:
    limits = np.iinfo(kind)
    for m, n, k in ((20, 70, 30), (1, 5, 9), (5, 1, 9)):
        a = rng.integers(limits.min, limits.max, (m, k), kind, endpoint=True)
        b = rng.integers(limits.min, limits.max, (k, n), kind, endpoint=True)
        (c,) = run(matmul.plan(layout(a), layout(b)), a, b)
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(c, a @ b)


BATCHES = [
    ((3, 8, 16), (3, 16, 5)),
    ((2, 3, 8, 16), (3, 16, 5)),
    ((2, 1, 8, 16), (1, 3, 16, 5)),
    ((4, 8, 16), (16, 5)),
    ((8, 16), (4, 16, 5)),
    ((5, 1, 16), (5, 16, 9)),
    ((5, 9, 16), (5, 16, 1)),
    ((2, 3, 5, 7, 16), (16, 4)),
]


@pytest.mark.parametrize(("a_shape", "b_shape"), BATCHES)
def test_batches(
    a_shape: Any, b_shape: Any, normal: Any, layout: Any, run: Any, close: Any
) -> None:
    a, b = normal(*a_shape), normal(*b_shape)
    (c,) = run(matmul.plan(layout(a), layout(b)), a, b)
    close(c, a.astype(np.float64) @ b.astype(np.float64), a_shape[-1])


def test_strided_batches_and_slices(normal: Any, layout: Any, run: Any, close: Any) -> None:
    a, b = normal(7, 4, 20)[:, ::2, 3:15], normal(12, 30, 7)[:, ::3].transpose(2, 0, 1)
    (c,) = run(matmul.plan(layout(a), layout(b)), a, b)
    close(c, a.astype(np.float64) @ b.astype(np.float64), 12)


@pytest.mark.parametrize("bias_shape", [(30,), (20, 30), (20, 1), (), (3, 1, 30)])
@pytest.mark.parametrize("n", [30, 1])
def test_bias_and_scales(
    bias_shape: Any, n: int, normal: Any, layout: Any, run: Any, close: Any
) -> None:
    if bias_shape:
        bias_shape = (*bias_shape[:-1], min(bias_shape[-1], n))
    a, b, bias = normal(3, 20, 16), normal(16, n), normal(*bias_shape)
    product = a.astype(np.float64) @ b.astype(np.float64)
    (c,) = run(matmul.plan(layout(a), layout(b), layout(bias)), a, b, bias)
    close(c, product + bias, 16)
    plan = matmul.plan(layout(a), layout(b), layout(bias), scaled=True)
    (c,) = run(plan, a, b, bias, scalars=(0.5, -2.0))
    close(c, 0.5 * product - 2.0 * bias, 16)


def test_scale_without_bias(normal: Any, layout: Any, run: Any, close: Any) -> None:
    a, b = normal(20, 16), normal(16, 12)
    (c,) = run(matmul.plan(layout(a), layout(b), scaled=True), a, b, scalars=(0.25, 0.0))
    close(c, 0.25 * (a.astype(np.float64) @ b), 16)


def test_epilogue_is_pasted(normal: Any, layout: Any, run: Any, close: Any) -> None:
    text = "def epilogue(x):\n    return tl.where(x > 0, x, 0.0)\n"
    for m, n in ((20, 30), (1, 30), (20, 1)):
        a, b = normal(m, 16), normal(16, n)
        (c,) = run(matmul.plan(layout(a), layout(b), pasted_epilogue=text), a, b)
        close(c, np.maximum(a.astype(np.float64) @ b, 0), 16)


def test_long_dot_product(normal: Any, layout: Any, run: Any, close: Any) -> None:
    a, b = normal(1, 100_003), normal(100_003, 1)
    (c,) = run(matmul.plan(layout(a), layout(b)), a, b)
    expected = a.astype(np.float64) @ b.astype(np.float64)
    assert abs(c - expected) <= 2e-7 * np.sqrt(100_003) * 4


def test_nothing_to_add_up_gives_zeros(normal: Any, layout: Any, run: Any) -> None:
    for m, n in ((4, 5), (1, 5), (4, 1)):
        a, b, bias = normal(m, 0), normal(0, n), normal(n)
        (c,) = run(matmul.plan(layout(a), layout(b)), a, b)
        np.testing.assert_array_equal(c, np.zeros((m, n)))
        (c,) = run(matmul.plan(layout(a), layout(b), layout(bias)), a, b, bias)
        np.testing.assert_array_equal(c, np.broadcast_to(bias, (m, n)))
    a, b = normal(0, 3), normal(3, 4)
    assert run(matmul.plan(layout(a), layout(b)), a, b)[0].shape == (0, 4)


def test_nan_and_infinity_pass_through(layout: Any, run: Any, close: Any) -> None:
    a = np.array([[np.nan, 1.0], [np.inf, 1.0], [1.0, 1.0]], np.float32)
    b = np.ones((2, 20), np.float32)
    (c,) = run(matmul.plan(layout(a), layout(b)), a, b)
    close(c, np.broadcast_to([[np.nan], [np.inf], [2.0]], (3, 20)))


def test_errors(layout: Any) -> None:
    a, b = np.zeros((2, 3), np.float32), np.zeros((4, 5), np.float32)
    with pytest.raises(RuntimeError, match=r"matmul: cannot multiply \(2, 3\) with \(4, 5\)"):
        matmul.plan(layout(a), layout(b))
    with pytest.raises(RuntimeError, match="two operands of one numeric dtype, got"):
        matmul.plan(layout(a), layout(np.zeros((3, 5), np.int64)))
    bias = np.zeros((3, 2, 2), np.float32)
    with pytest.raises(RuntimeError, match=r"bias of shape \(3, 2, 2\) does not broadcast"):
        matmul.plan(layout(a), layout(a.T), layout(bias))


@pytest.mark.parametrize(("m", "n", "k"), [(200, 300, 700), (2000, 1, 300), (64, 200, 784)])
def test_the_number_of_threads_changes_no_bit(
    m: int, n: int, k: int, normal: Any, layout: Any, run: Any
) -> None:
    a, b = normal(m, k, order=(1, 0)), normal(k, n)
    results = []
    for threads in (1, 2, 16):
        with config(num_threads=threads):
            results.append(run(matmul.plan(layout(a), layout(b)), a, b)[0])
    for c in results[1:]:
        np.testing.assert_array_equal(c, results[0])


def test_rows_that_lie_packed_already_change_no_bit(normal: Any, layout: Any, run: Any) -> None:
    """Whole rows of 64 inner elements are read in place; masked or farther apart, packed first."""
    wide, b = normal(2, 130, 80), normal(2, 64, 128)
    apart = wide[:, :, :64]
    whole = np.ascontiguousarray(apart)
    for rows in (128, 130):
        (expected,) = run(matmul.plan(layout(apart[:, :rows]), layout(b)), apart[:, :rows], b)
        (c,) = run(matmul.plan(layout(whole[:, :rows]), layout(b)), whole[:, :rows], b)
        np.testing.assert_array_equal(c, expected)
        np.testing.assert_allclose(c, apart[:, :rows] @ b, rtol=1e-4, atol=1e-4)
