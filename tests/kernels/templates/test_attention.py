"""Attention on raw buffers: both backward ways, masks, dropout, any strides and threads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import ml_dtypes  # noqa: F401 - NumPy's bfloat16
import numpy as np
import pytest

from tests.kernels.templates.conftest import Array, compare, layout_of, run_plan
from tritorch.kernels.templates import attention as template
from tritorch.kernels.templates.attention import Attention
from tritorch.runtime import get_num_threads, set_num_threads

LOG2_E = math.log2(math.e)


def wide(*arrays: Any) -> list[Any]:
    return [None if a is None else a if a.dtype == bool else a.astype(np.float64) for a in arrays]


def reference(
    q: Array, k: Array, v: Array, g: Array, mask: Array | None, causal: bool, scale: float
) -> tuple[Array, list[Array]]:
    """The output, and the gradients of operands that do not broadcast."""
    scores = q @ np.swapaxes(k, -1, -2) * scale
    if causal:
        mask = np.tri(*scores.shape[-2:]) > 0
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    top = scores.max(-1, keepdims=True, initial=-np.inf)
    weights = np.exp(scores - np.where(np.isinf(top), 0, top))
    total = weights.sum(-1, keepdims=True)
    weights = weights / np.where(total == 0, 1, total)
    dp = g @ np.swapaxes(v, -1, -2)
    ds = weights * (dp - (dp * weights).sum(-1, keepdims=True)) * scale
    return weights @ v, [ds @ k, np.swapaxes(ds, -1, -2) @ q, np.swapaxes(weights, -1, -2) @ g]


def attend(
    of: Attention, operands: list[Array], g: Array, numbers: tuple[Any, ...]
) -> tuple[Array, list[Array]]:
    """Output and gradients of the kernels."""
    o, sums = run_plan(template.plan(of, sums=True), *operands, scalars=numbers)
    (alone,) = run_plan(template.plan(of), *operands, scalars=numbers)
    np.testing.assert_array_equal(o, alone)
    plan = template.plan_backward(of, layout_of(g))
    q, k, v, *mask = operands
    return o, run_plan(plan, g, q, k, v, o, sums, *mask, scalars=numbers)


def of_arrays(operands: list[Array], **options: Any) -> Attention:
    return Attention(*map(layout_of, operands), **options)


@pytest.fixture(params=["heads", "blocks"])
def way(request: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """A program per head for all gradients, or two kernels with programs per block."""
    monkeypatch.setattr(template._Backward, "_whole_heads", lambda _: request.param == "heads")
    return str(request.param)


CASES: list[tuple[tuple[int, ...], int, int, int, bool]] = [
    # batch, queries, keys, depth of queries and values, causal
    ((2, 3), 5, 5, 4, True),
    ((2,), 70, 130, 24, False),
    ((2,), 130, 70, 64, True),
    ((1,), 33, 600, 5, False),
    ((), 1, 40, 16, False),
    ((3,), 64, 1, 8, True),
]


@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients(case: Any, kind: str, way: str, normal: Any) -> None:
    batch, queries, keys, depth, causal = case
    q, g = normal(*batch, queries, depth, kind=kind), normal(*batch, queries, depth + 3, kind=kind)
    k, v = normal(*batch, keys, depth, kind=kind), normal(*batch, keys, depth + 3, kind=kind)
    scale = depth**-0.5
    o, found = attend(of_arrays([q, k, v], causal=causal), [q, k, v], g, (scale * LOG2_E,))
    expected, gradients = reference(*wide(q, k, v, g, None), causal, scale)
    compare(o, expected, keys, scale=3.0)
    for name, one, other in zip(("dq", "dk", "dv"), found, gradients):
        compare(one, other, 4 * max(queries, keys), name, scale=3.0)


def masks(shape: tuple[int, ...]) -> dict[str, Array]:
    """Masks for (2, 3, 37, 50), with a query that sees nothing."""
    rng = np.random.default_rng(2)
    some = rng.random((37, 50)) < 0.5
    some[3] = False
    added = rng.standard_normal((2, 1, 37, 50)).astype("f4")
    added[1, 0, 5] = -np.inf
    padding = np.arange(50) < np.array([50, 20])[:, None]
    return {
        "bool": some,
        "bool per head": rng.random(shape) < 0.5,
        "turned": np.ascontiguousarray(some.T).T,
        "added": added,
        "added row": np.ascontiguousarray(added[:, :, :1]),
        "padding": padding[:, None, None],
    }


@pytest.mark.parametrize("name", list(masks((2, 3, 37, 50))))
def test_masks(name: str, way: str, normal: Any) -> None:
    mask = masks((2, 3, 37, 50))[name]
    q, k, v, g = (
        normal(2, 3, 37, 16),
        normal(2, 3, 50, 16),
        normal(2, 3, 50, 16),
        normal(2, 3, 37, 16),
    )
    operands = [q, k, v, mask]
    o, found = attend(of_arrays(operands), operands, g, (0.3 * LOG2_E,))
    expected, gradients = reference(*wide(q, k, v, g, mask), False, 0.3)
    compare(o, expected, 50, name)
    for one, other in zip(found, gradients):
        compare(one, other, 100, name)


@pytest.mark.parametrize("causal", [False, True])
def test_views_of_one_projection_are_read_where_they_lie(
    causal: bool, way: str, normal: Any
) -> None:
    """(batch, rows, 3, heads, depth): results are ordered in memory as the operands."""
    packed, g = normal(2, 40, 3, 4, 16), normal(2, 40, 4, 16).transpose(0, 2, 1, 3)
    q, k, v = (packed[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
    of = of_arrays([q, k, v], causal=causal)
    plan = template.plan_backward(of, layout_of(g))
    wanted = (40 * 64, 16, 64, 1)
    assert all(out.strides == wanted for out in (*template.plan(of).outputs, *plan.outputs))
    o = np.empty((2, 40, 4, 16), "f4").transpose(0, 2, 1, 3)
    sums, scale = np.empty((2, 4, 40), "f4"), 0.25 * LOG2_E
    address = [a.ctypes.data for a in (o, sums, q, k, v)]
    template.plan(of, sums=True).launch(*address, scale)
    expected, gradients = reference(*wide(q, k, v, g, None), causal, 0.25)
    compare(o, expected, 40)
    found = [np.empty((2, 40, 4, 16), "f4").transpose(0, 2, 1, 3) for _ in range(3)]
    plan.launch(*[a.ctypes.data for a in (*found, g, q, k, v, o, sums)], scale)
    for one, other in zip(found, gradients):
        compare(one, other, 80)


@pytest.mark.parametrize("heads", [1, 2, 6])
def test_shared_heads(heads: int, way: str, normal: Any) -> None:
    """Six heads of queries share some of keys; gradients of keys are summed in the kernel."""
    q, g = normal(2, 6, 45, 16), normal(2, 6, 45, 8)
    k, v = normal(2, heads, 70, 16), normal(2, heads, 70, 8)
    mask = np.random.default_rng(3).random((2, 6, 45, 70)) < 0.7
    operands = [q, k, v, mask]
    o, found = attend(of_arrays(operands, grouped=True), operands, g, (0.25 * LOG2_E,))
    every_k, every_v = (np.repeat(x, 6 // heads, 1) for x in (k, v))
    expected, (dq, dk, dv) = reference(*wide(q, every_k, every_v, g, mask), False, 0.25)
    compare(o, expected, 70)
    compare(found[0], dq, 140)
    for one, other in zip(found[1:], (dk, dv)):
        split = other.reshape(2, heads, 6 // heads, *other.shape[2:])
        compare(one, split.sum(2), 140 * 6)


def test_batches_broadcast(way: str, normal: Any) -> None:
    q, k, v, g = normal(4, 1, 9, 8), normal(3, 20, 8), normal(1, 1, 20, 8), normal(4, 3, 9, 8)
    o, found = attend(of_arrays([q, k, v]), [q, k, v], g, (0.5 * LOG2_E,))
    q, k, v = np.broadcast_arrays(q, q)[0], k, v
    whole = [np.broadcast_to(x, (4, 3, *x.shape[-2:])) for x in (q, k, v)]
    expected, gradients = reference(*wide(*whole, g, None), False, 0.5)
    compare(o, expected, 20)
    for one, other in zip(found, gradients):
        compare(one, other, 40)


def test_dropout_is_the_same_in_the_backward(way: str, normal: Any) -> None:
    """The mask is found with V = 1 of a long sequence; gradients agree with it."""
    q, k, v, g = normal(2, 40, 8), normal(2, 64, 8), normal(2, 64, 64), normal(2, 40, 64)
    v[:] = np.eye(64)  # so that the output is the weights
    of = of_arrays([q, k, v], dropout=True)
    numbers = (0.3 * LOG2_E, 1234, 77, 0.25, 1 / 0.75)
    o, (dq, dk, dv) = attend(of, [q, k, v], g, numbers)
    weights, _ = reference(*wide(q, k, v, g, None), False, 0.3)
    kept = np.where(o == 0, 0.0, 1 / 0.75)
    assert abs((o == 0).mean() - 0.25) < 0.03
    compare(o, weights * kept, 64)
    dp = (g.astype("f8") @ np.swapaxes(v, -1, -2)) * kept
    ds = weights * (dp - (dp * weights).sum(-1, keepdims=True)) * 0.3
    compare(dq, ds @ k, 128)
    compare(dk, np.swapaxes(ds, -1, -2) @ q, 128)
    compare(dv, np.swapaxes(weights * kept, -1, -2) @ g, 128)
    other = attend(of, [q, k, v], g, (*numbers[:2], 78, *numbers[3:]))[0]
    assert ((other == 0) != (o == 0)).any()


@pytest.fixture
def threads() -> Iterator[None]:
    before = get_num_threads()
    yield
    set_num_threads(before)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_every_bit_is_the_same_for_any_number_of_threads(
    causal: bool, kind: str, normal: Any, threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And for both ways of the backward."""
    q, k, v, g = (normal(3, 200, 32, kind=kind) for _ in range(4))
    mask = np.random.default_rng(1).random((3, 200, 200)) < 0.8
    operands = [q, k, v] if causal else [q, k, v, mask]
    of = replace(of_arrays(operands, causal=causal), dropout=True)
    results = []
    for count in (1, 2):
        set_num_threads(count)
        for whole in (True, False):
            monkeypatch.setattr(template._Backward, "_whole_heads", lambda _, w=whole: w)
            o, found = attend(of, operands, g, (0.2 * LOG2_E, 5, 0, 0.1, 1 / 0.9))
            results.append([o, *found])
    for other in results[1:]:
        for one, two in zip(results[0], other):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("shape", [(2, 0, 5, 4), (2, 5, 0, 4), (0, 5, 5, 4)])
def test_nothing_to_attend(shape: tuple[int, ...], way: str, normal: Any) -> None:
    batch, queries, keys, depth = shape
    q, g = normal(batch, queries, depth), normal(batch, queries, depth)
    k, v = normal(batch, keys, depth), normal(batch, keys, depth)
    o, found = attend(of_arrays([q, k, v]), [q, k, v], g, (1.0,))
    for one in (o, *found):
        np.testing.assert_array_equal(one, np.zeros_like(one))


def test_the_weights_are_never_stored(normal: Any) -> None:
    """No workspace grows with queries times keys."""
    x = layout_of(normal(2, 2000, 16))
    plan = template.plan_backward(Attention(x, x, x, None, True), x)
    assert sum(plan.workspaces) <= 2 * 2000 * 4 * 17


def test_refusals(normal: Any) -> None:
    x, y = layout_of(normal(2, 5, 4)), layout_of(normal(2, 5, 3))
    double = layout_of(normal(2, 5, 4, kind="float64"))
    mask = layout_of(np.zeros((5, 6), bool))
    for wrong, message in [
        (Attention(x, y, y), "need the same last size"),
        (Attention(x, x, double), "to have the same floating-point dtype"),
        (Attention(x, x, x, mask), "broadcast"),
        (Attention(x, x, x, double), "match query dtype"),
        (Attention(x, layout_of(normal(3, 5, 4)), x, None, False, True), "must divide"),
    ]:
        with pytest.raises((RuntimeError, TypeError, ValueError), match=message):
            template.plan(wrong)
