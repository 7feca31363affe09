"""Cross entropy and negative log-likelihood against NumPy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tritorch.kernels.templates import cross_entropy as losses

IGNORED = -100


class Case:
    """Scores, targets, weights; rows' losses, the sum of weights, and gradients of the rows'
    losses.
    """

    def __init__(
        self,
        rng: Any,
        normal: Any,
        shape: Any,
        weighted: bool,
        smoothing: float,
        kind: str = "float32",
    ) -> None:
        self.x = normal(*shape, kind=kind)
        self.dim = 1 if len(shape) > 1 else 0
        n_classes = shape[self.dim]
        outer = shape[: self.dim] + shape[self.dim + 1 :]
        self.target = np.asarray(rng.integers(0, n_classes, outer))
        if self.target.size > 1:
            self.target.reshape(-1)[1] = IGNORED
        self.weight = rng.random(n_classes).astype(self.x.dtype) if weighted else None
        self.weights = [] if self.weight is None else [self.weight]
        x = np.moveaxis(self.x.astype(np.float64), self.dim, -1)
        w = np.ones(n_classes) if self.weight is None else self.weight.astype(np.float64)
        shifted = x - x.max(-1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
        counts = self.target != IGNORED
        classes = np.where(counts, self.target, 0)
        chosen = np.arange(n_classes) == classes[..., None]
        at = w[classes]
        smooth = smoothing / n_classes
        one = (1 - smoothing) * at
        self.losses = -(one * (log_p * chosen).sum(-1) + smooth * (log_p * w).sum(-1)) * counts
        self.share = float((at * counts).sum())
        d = (
            (one + smooth * w.sum())[..., None] * np.exp(log_p)
            - one[..., None] * chosen
            - smooth * w
        )
        self.dx = np.moveaxis(d * counts[..., None], -1, self.dim)
        self.nll = -at * (x * chosen).sum(-1) * counts
        self.dnll = np.moveaxis(-(at * counts)[..., None] * chosen, -1, self.dim)

    def reduced(self, losses: Any, reduction: str) -> Any:
        if reduction == "none":
            return losses
        return losses.sum() / (self.share if reduction == "mean" else 1.0)

    def gradient(self, d: Any, g: Any, reduction: str) -> Any:
        if reduction == "none":
            return d * np.expand_dims(g.astype(np.float64), self.dim)
        return d * float(g) / (self.share if reduction == "mean" else 1.0)


SHAPES = [(6, 11), (9,), (2, 5, 3, 4), (4, 1000), (1, 1)]


@pytest.mark.parametrize("reduction", losses.REDUCTIONS)
@pytest.mark.parametrize(("smoothing", "weighted"), [(0.0, False), (0.1, False), (0.1, True)])
@pytest.mark.parametrize("shape", SHAPES)
def test_cross_entropy(
    shape: Any, weighted: bool, smoothing: float, reduction: str,
    rng: Any, normal: Any, layout: Any, run: Any, close: Any,
) -> None:  # fmt: skip
    case = Case(rng, normal, shape, weighted, smoothing)
    check(case, reduction, smoothing, normal, layout, run, close)


@pytest.mark.parametrize("kind", ["float64", "float16", "bfloat16"])
def test_dtypes(kind: str, rng: Any, normal: Any, layout: Any, run: Any, close: Any) -> None:
    case = Case(rng, normal, (30, 20), True, 0.1, kind)
    check(case, "mean", 0.1, normal, layout, run, close)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_classes_that_do_not_fit_in_a_block(
    smoothing: float, rng: Any, normal: Any, layout: Any, run: Any, close: Any
) -> None:
    check(
        Case(rng, normal, (3, 70_000), True, smoothing),
        "mean",
        smoothing,
        normal,
        layout,
        run,
        close,
    )


def check(
    case: Case, reduction: str, smoothing: float, normal: Any, layout: Any, run: Any, close: Any
) -> None:
    x, target, weights = case.x, case.target, case.weights
    layouts = [layout(a) for a in (x, target, *weights)]
    options = {"reduction": reduction, "ignore_index": IGNORED, "label_smoothing": smoothing}
    loss, lse, *share = run(losses.plan(*layouts, **options), x, target, *weights)
    assert loss.dtype == x.dtype
    length = 256 if x.dtype.itemsize > 2 else 1
    close(loss, case.reduced(case.losses, reduction), length, scale=float(np.abs(x).max()))
    kind = layouts[0].dtype.name
    g = normal(*(target.shape if reduction == "none" else ()), kind=kind)
    g = np.asarray(g)
    plan = losses.plan_backward(layout(g), *layouts, **options)
    (dx,) = run(plan, g, x, lse, target, *weights, *share)
    scale = float(np.abs(g).max(initial=0.0)) / (case.share if reduction == "mean" else 1.0)
    length = 64 if x.dtype.itemsize > 2 else 2
    close(dx, case.gradient(case.dx, g, reduction), length, scale=scale)


@pytest.mark.parametrize("reduction", losses.REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_nll(
    shape: Any, weighted: bool, reduction: str,
    rng: Any, normal: Any, layout: Any, run: Any, close: Any,
) -> None:  # fmt: skip
    case = Case(rng, normal, shape, weighted, 0.0)
    layouts = [layout(a) for a in (case.x, case.target, *case.weights)]
    options = {"reduction": reduction, "ignore_index": IGNORED}
    loss, *share = run(losses.plan_nll(*layouts, **options), case.x, case.target, *case.weights)
    close(loss, case.reduced(case.nll, reduction), 16)
    g = np.asarray(normal(*(case.target.shape if reduction == "none" else ())))
    plan = losses.plan_nll_backward(layout(g), *layouts, **options)
    (dx,) = run(plan, g, case.target, *case.weights, *share)
    close(dx, case.gradient(case.dnll, g, reduction), 4)


def test_only_ignored_rows(normal: Any, layout: Any, run: Any) -> None:
    x, target = normal(3, 5), np.full(3, IGNORED)
    loss, lse, share = run(losses.plan(layout(x), layout(target)), x, target)
    assert np.isnan(loss) and share == 0
    loss, lse = run(losses.plan(layout(x), layout(target), reduction="sum"), x, target)
    assert loss == 0
    g = np.asarray(np.float32(1))
    plan = losses.plan_backward(layout(g), layout(x), layout(target), reduction="sum")
    assert not run(plan, g, x, lse, target)[0].any()


def test_strided_scores(rng: Any, normal: Any, layout: Any, run: Any, close: Any) -> None:
    x = normal(6, 11, order=(1, 0))[:, 1:10]
    target = rng.integers(0, 9, 12)[::2]
    loss, *_ = run(losses.plan(layout(x), layout(target), reduction="none"), x, target)
    wide = x.astype(np.float64)
    expected = np.log(np.exp(wide).sum(1)) - wide[np.arange(6), target]
    close(loss, expected, 16)


def test_no_rows(layout: Any, run: Any) -> None:
    x, target = np.zeros((0, 5), np.float32), np.zeros(0, np.int64)
    assert np.isnan(run(losses.plan(layout(x), layout(target)), x, target)[0])
    assert run(losses.plan(layout(x), layout(target), reduction="sum"), x, target)[0] == 0
    assert run(losses.plan(layout(x), layout(target), reduction="none"), x, target)[0].shape == (0,)


@pytest.mark.parametrize("wrong", [11, -1])
@pytest.mark.parametrize("reduction", losses.REDUCTIONS)
def test_a_target_out_of_bounds_raises(
    wrong: int, reduction: str, normal: Any, layout: Any, run: Any
) -> None:
    x, target = normal(3, 11), np.array([1, wrong, 2])
    for plan in (losses.plan, losses.plan_nll):
        with pytest.raises(IndexError, match=f"Target {wrong} is out of bounds"):
            run(plan(layout(x), layout(target), reduction=reduction), x, target)


def test_errors(layout: Any, normal: Any) -> None:
    x, target = layout(normal(3, 11)), layout(np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="'men' is not a valid value for reduction"):
        losses.plan(x, target, reduction="men")
    with pytest.raises(
        RuntimeError, match=r"scores \(3, 11\) need targets of shape \(3,\), got \(4,\)"
    ):
        losses.plan(x, layout(np.zeros(4, np.int64)))
    with pytest.raises(RuntimeError, match="expected targets of int64"):
        losses.plan(x, layout(normal(3)))
    with pytest.raises(RuntimeError, match="defined either for all 11 classes"):
        losses.plan(x, target, layout(normal(3)))
