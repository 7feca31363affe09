"""Layer norm and RMS norm against NumPy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tritorch.dtypes import BY_NAME
from tritorch.kernels.templates import layer_norm

EPS = 1e-5


class Case:
    """Data of one case, and what must come out."""

    def __init__(
        self, normal: Any, shape: Any, n_dims: int, rms: bool, kind: str, order: Any
    ) -> None:
        inner = shape[-n_dims:]
        axes = tuple(range(-n_dims, 0))
        self.x = normal(*shape, kind=kind, order=order) + np.array(1, BY_NAME[kind].numpy)
        self.weight, self.bias = normal(*inner, kind=kind), normal(*inner, kind=kind)
        self.g = normal(*shape, kind=kind)
        x, g = self.x.astype(np.float64), self.g.astype(np.float64)
        w = self.weight.astype(np.float64)
        self.mean = x.mean(axes, keepdims=True)
        centre = 0 if rms else self.mean
        self.rstd = 1 / np.sqrt(((x - centre) ** 2).mean(axes, keepdims=True) + EPS)
        hat = (x - centre) * self.rstd
        self.y = hat * w + (0 if rms else self.bias.astype(np.float64))
        wg = w * g
        self.dx = wg - hat * (wg * hat).mean(axes, keepdims=True)
        if not rms:
            self.dx -= wg.mean(axes, keepdims=True)
        self.dx *= self.rstd
        self.scale = float(np.abs(wg * self.rstd).max())
        outer = tuple(range(len(shape) - n_dims))
        self.dweight, self.dbias = (g * hat).sum(outer), g.sum(outer)


CASES = [
    ((5, 7), 1, None),
    ((1, 1), 1, None),
    ((200, 3, 33), 1, None),
    ((70, 3, 33), 2, None),
    ((4, 1000), 1, None),
    ((6, 5, 30), 1, (1, 0, 2)),
    ((6, 30), 1, (1, 0)),
    ((3, 70_000), 1, None),
    ((20, 9000), 1, None),
]


@pytest.mark.parametrize("rms", [False, True], ids=["layer_norm", "rms_norm"])
@pytest.mark.parametrize(("shape", "n_dims", "order"), CASES)
def test_values_and_gradients(
    shape: Any, n_dims: int, order: Any, rms: bool, normal: Any, layout: Any, run: Any, close: Any
) -> None:
    check(Case(normal, shape, n_dims, rms, "float32", order), n_dims, rms, layout, run, close)


@pytest.mark.parametrize("rms", [False, True], ids=["layer_norm", "rms_norm"])
@pytest.mark.parametrize("kind", ["float64", "float16", "bfloat16"])
def test_dtypes(kind: str, rms: bool, normal: Any, layout: Any, run: Any, close: Any) -> None:
    check(Case(normal, (40, 50), 1, rms, kind, None), 1, rms, layout, run, close)


def check(case: Case, n_dims: int, rms: bool, layout: Any, run: Any, close: Any) -> None:
    x, weight, bias = case.x, case.weight, case.bias
    slack = 64 if x.dtype.itemsize >= 4 else 2
    length = slack + case.x.size // case.rstd.size // 64
    bias_layout = None if rms else layout(bias)
    plan = layer_norm.plan(layout(x), n_dims, layout(weight), bias_layout, EPS, rms=rms)
    y, *statistics = run(plan, x, weight, *([] if rms else [bias]))
    assert y.dtype == x.dtype
    close(y, case.y, length, name="y")
    close(statistics[-1], case.rstd, 64, name="rstd")
    if not rms:
        close(statistics[0], case.mean, 64, name="mean")
    bias_kind = None if rms else layout(bias).dtype
    plan = layer_norm.plan_backward(
        layout(case.g), layout(x), n_dims, layout(weight), bias_kind, rms=rms
    )
    dx, dweight, *dbias = run(plan, case.g, x, *statistics, weight)
    close(dx, case.dx, length, name="dx", scale=case.scale)
    close(dweight, case.dweight, length + case.rstd.size, name="dweight")
    if not rms:
        close(dbias[0], case.dbias, length + case.rstd.size, name="dbias")


def test_without_parameters(normal: Any, layout: Any, run: Any, close: Any) -> None:
    x, g = normal(6, 40), normal(6, 40)
    y, mean, rstd = run(layer_norm.plan(layout(x), 1, None, None, EPS), x)
    hat = (x - x.astype(np.float64).mean(1, keepdims=True)) * rstd
    close(y, hat, 64)
    plan = layer_norm.plan_backward(layout(g), layout(x), 1, None, None)
    (dx,) = run(plan, g, x, mean, rstd)
    expected = rstd * (g - g.mean(1, keepdims=True) - hat * (g * hat).mean(1, keepdims=True))
    close(dx, expected, 64)


def test_gradients_are_the_same_on_every_run(normal: Any, layout: Any, run: Any) -> None:
    case = Case(normal, (3000, 64), 1, False, "float32", None)
    x, weight = layout(case.x), layout(case.weight)
    _, mean, rstd = run(layer_norm.plan(x, 1, weight, weight, EPS), case.x, case.weight, case.bias)
    plan = layer_norm.plan_backward(layout(case.g), x, 1, weight, x.dtype)
    first = run(plan, case.g, case.x, mean, rstd, case.weight)
    for _ in range(4):
        for a, b in zip(run(plan, case.g, case.x, mean, rstd, case.weight), first):
            np.testing.assert_array_equal(a, b)


def test_large_mean_does_not_cancel(normal: Any, layout: Any, run: Any, close: Any) -> None:
    x = normal(4, 1000) + np.float32(1e4)
    y, *_ = run(layer_norm.plan(layout(x), 1, None, None, EPS), x)
    wide = x.astype(np.float64)
    centred = wide - wide.mean(1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(1, keepdims=True) + EPS)
    assert np.abs(y - expected).max() < 2e-3  # the mean itself is a float32: 1e4 * 2^-24


def test_no_rows_give_zero_gradients(layout: Any, run: Any) -> None:
    x = np.zeros((0, 6), np.float32)
    weight = np.ones(6, np.float32)
    plan = layer_norm.plan_backward(layout(x), layout(x), 1, layout(weight), layout(x).dtype)
    dx, dweight, dbias = run(plan, x, x, x, x, weight)
    assert dx.shape == (0, 6) and not dweight.any() and not dbias.any()


def test_errors(layout: Any) -> None:
    x = np.zeros((4, 6), np.float32)
    with pytest.raises(RuntimeError, match=r"expected weight of shape \(6,\), got \(4,\)"):
        layer_norm.plan(layout(x), 1, layout(np.zeros(4, np.float32)), None, EPS)
    with pytest.raises(RuntimeError, match="layer_norm: needs a floating-point dtype"):
        layer_norm.plan(layout(x.astype(np.int64)), 1, None, None, EPS)
    with pytest.raises(RuntimeError, match="do not merge into one"):
        layer_norm.plan(
            layout(np.zeros((2, 4, 6), np.float32).transpose(0, 2, 1)), 2, None, None, EPS
        )
