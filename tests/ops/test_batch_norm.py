"""Batch norm beyond the cases of the declaration: statistics, layouts, ways, layers, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch import Tensor, nn
from tritorch.autograd.gradcheck import gradcheck, gradgradcheck
from tritorch.nn import functional as F

RANDOM = np.random.default_rng(5)


def column(v: np.ndarray, ndim: int) -> np.ndarray:
    return v.reshape(-1, *(1,) * (ndim - 2))


class Expected:
    """What batch norm of x gives, in float64."""

    def __init__(self, x: np.ndarray, w: np.ndarray, b: np.ndarray, g: np.ndarray) -> None:
        x, w, b, g = (a.astype(np.float64) for a in (x, w, b, g))
        axes = tuple(d for d in range(x.ndim) if d != 1)
        n = x.size // x.shape[1]
        self.mean, var = x.mean(axes), x.var(axes)
        self.unbiased = var * n / (n - 1)
        rstd = column(1 / np.sqrt(var + 1e-5), x.ndim)
        hat = (x - column(self.mean, x.ndim)) * rstd
        self.y = hat * column(w, x.ndim) + column(b, x.ndim)
        self.db, self.dw = g.sum(axes), (g * hat).sum(axes)
        inner = g - column(self.db, x.ndim) / n - hat * column(self.dw, x.ndim) / n
        self.dx = inner * rstd * column(w, x.ndim)


def order(x: np.ndarray, layout: str) -> Tensor:
    if layout == "channels last":
        return torch.tensor(np.moveaxis(x, 1, -1).copy()).movedim(-1, 1)
    if layout == "turned":
        return torch.tensor(x.swapaxes(0, -1).copy()).transpose(0, -1)
    return torch.tensor(x)


#: shapes that take the fused and the split way, in planes and in columns
SHAPES = [(6, 3), (500, 33), (3, 5, 7), (40, 20, 9, 9), (8, 2, 70, 90), (2, 130, 5, 4), (1, 9, 99)]


@pytest.mark.parametrize("layout", ["contiguous", "channels last", "turned"])
@pytest.mark.parametrize("shape", SHAPES)
def test_training(shape: tuple[int, ...], layout: str) -> None:
    x, g = (RANDOM.standard_normal(shape).astype(np.float32) + 2 for _ in range(2))
    w, b = (RANDOM.uniform(0.5, 2, shape[1]).astype(np.float32) for _ in range(2))
    expected = Expected(x, w, b, g)
    input = order(x, layout).detach().requires_grad_()
    weight, bias = torch.tensor(w, requires_grad=True), torch.tensor(b, requires_grad=True)
    mean, var = torch.zeros(shape[1]), torch.ones(shape[1])
    y = F.batch_norm(input, mean, var, weight, bias, True, 0.25)
    np.testing.assert_allclose(y.detach().numpy(), expected.y, 1e-5, 2e-5)
    np.testing.assert_allclose(mean.numpy(), expected.mean / 4, 1e-5, 1e-6)
    np.testing.assert_allclose(var.numpy(), 0.75 + expected.unbiased / 4, 1e-5)
    if layout == "channels last":
        assert y.is_contiguous() if input.ndim < 4 else y.stride(1) == 1
    scale = np.abs(g).sum() / shape[1]  # of the terms of a sum
    for kind in ("contiguous", layout):
        dx, dw, db = torch.autograd.grad(
            y, [input, weight, bias], order(g, kind), retain_graph=True
        )
        np.testing.assert_allclose(dx.numpy(), expected.dx, 1e-4, 1e-4)
        np.testing.assert_allclose(dw.numpy(), expected.dw, 1e-5, 2e-6 * scale)
        np.testing.assert_allclose(db.numpy(), expected.db, 1e-5, 2e-6 * scale)


@pytest.mark.parametrize("shape", [(6, 3), (3, 5, 7), (8, 2, 70, 90)])
def test_evaluation(shape: tuple[int, ...]) -> None:
    x, g = RANDOM.standard_normal((2, *shape))
    w, b, m = RANDOM.standard_normal((3, shape[1]))
    v = RANDOM.uniform(0.5, 2, shape[1])
    input, weight, bias = (torch.tensor(a, requires_grad=True) for a in (x, w, b))
    mean, var = torch.tensor(m), torch.tensor(v)
    y = F.batch_norm(input, mean, var, weight, bias)
    rstd = column(1 / np.sqrt(v + 1e-5), x.ndim)
    hat = (x - column(m, x.ndim)) * rstd
    np.testing.assert_allclose(
        y.detach().numpy(), hat * column(w, x.ndim) + column(b, x.ndim), 1e-9
    )
    assert np.array_equal(mean.numpy(), m)
    y.backward(torch.tensor(g))
    axes = tuple(d for d in range(x.ndim) if d != 1)
    for leaf, value in (
        (input, g * rstd * column(w, x.ndim)),
        (weight, (g * hat).sum(axes)),
        (bias, g.sum(axes)),
    ):
        assert leaf.grad is not None
        np.testing.assert_allclose(leaf.grad.numpy(), value, 1e-9, 1e-9)


def test_evaluation_has_gradients_of_every_order() -> None:
    x, w, b, m, v = (torch.tensor(RANDOM.uniform(0.5, 2, n)) for n in ((3, 2, 4), 2, 2, 2, 2))

    def norm(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        result: Tensor = F.batch_norm(x, m, v, w, b)
        return result * result

    leaves = tuple(t.requires_grad_() for t in (x, w, b))
    assert gradcheck(norm, leaves) and gradgradcheck(norm, leaves, atol=1e-4)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_dtypes(kind: str) -> None:
    """Also half-precision inputs with parameters in float32."""
    dtype = getattr(torch, kind)
    x = torch.tensor(RANDOM.standard_normal((8, 6, 5, 5))).to(dtype)
    tolerance = {"float16": 3e-3, "bfloat16": 2e-2, "float64": 1e-12}[kind]
    for other in {dtype, torch.float32}:
        if other is torch.float32 and dtype is torch.float64:
            continue
        weight, bias = torch.full((6,), 1.5, dtype=other), torch.full((6,), -0.5, dtype=other)
        leaf = x.clone().requires_grad_()
        y = F.batch_norm(leaf, None, None, weight.requires_grad_(), bias, True)
        exact = Expected(x.double().numpy(), np.full(6, 1.5), np.full(6, -0.5), x.double().numpy())
        assert y.dtype is dtype
        np.testing.assert_allclose(y.detach().double().numpy(), exact.y, tolerance, tolerance)
        y.backward(x)
        assert leaf.grad is not None and leaf.grad.dtype is dtype and weight.grad is not None
        assert weight.grad.dtype is other
        np.testing.assert_allclose(weight.grad.double().numpy(), exact.dw, tolerance * 4)


def test_large_mean_does_not_cancel() -> None:
    x = RANDOM.standard_normal((4, 2, 64, 64)).astype(np.float32) + np.float32(1e4)
    y = F.batch_norm(torch.tensor(x), None, None, training=True).numpy()
    wide = x.astype(np.float64)
    exact = (wide - wide.mean((0, 2, 3), keepdims=True)) / wide.std((0, 2, 3), keepdims=True)
    assert np.abs(y - exact).max() < 3e-3  # the mean itself is a float32: 1e4 * 2^-24


@pytest.mark.parametrize("shape", [(16, 40, 30, 30), (16, 2, 90, 90), (3000, 50)])
def test_results_do_not_depend_on_threads(shape: tuple[int, ...]) -> None:
    x = torch.tensor(RANDOM.standard_normal(shape).astype(np.float32)).requires_grad_()
    layer = nn.BatchNorm1d(shape[1]) if len(shape) == 2 else nn.BatchNorm2d(shape[1])
    threads = torch.get_num_threads()
    found: list[Any] = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            y = layer(x)
            found.append((y, *torch.autograd.grad(y, [x, layer.weight, layer.bias], y.detach())))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*found))


def test_running_statistics_of_a_layer() -> None:
    """Momentum, the average of all batches, and evaluation with them."""
    batches = RANDOM.standard_normal((3, 10, 4)) + 1
    moving, average = nn.BatchNorm1d(4, dtype=torch.float64), nn.BatchNorm1d(4, momentum=None)
    for batch in batches:
        moving(torch.tensor(batch))
        average(torch.tensor(batch).float())
    mean = np.zeros(4)
    for batch in batches:
        mean = 0.9 * mean + 0.1 * batch.mean(0)
    assert moving.running_mean is not None and average.running_mean is not None
    np.testing.assert_allclose(moving.running_mean.numpy(), mean)
    np.testing.assert_allclose(
        average.running_mean.numpy(), batches.mean((0, 1)), rtol=1e-5, atol=1e-6
    )
    assert moving.num_batches_tracked is not None and int(moving.num_batches_tracked) == 3
    moving.eval()
    before = moving.running_mean.clone()
    y = moving(torch.tensor(batches[0])).detach().numpy()
    assert moving.running_var is not None and torch.equal(moving.running_mean, before)
    expected = (batches[0] - mean) / np.sqrt(moving.running_var.numpy() + 1e-5)
    np.testing.assert_allclose(y, expected)
    moving.reset_running_stats()
    assert moving.running_var.tolist() == [1.0] * 4 and int(moving.num_batches_tracked) == 0


def test_a_moved_running_statistic_is_noticed() -> None:
    layer = nn.BatchNorm1d(3).eval()
    y = layer(torch.ones(2, 3))
    layer.train()(torch.zeros(2, 3))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_state_and_printing() -> None:
    layer = nn.BatchNorm2d(3)
    names = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert list(layer.state_dict()) == names
    assert layer.state_dict()["num_batches_tracked"].dtype is torch.int64
    old = {name: value for name, value in layer.state_dict().items() if name in names[:4]}
    assert str(nn.Sequential(layer).load_state_dict({f"0.{k}": v for k, v in old.items()})) == (
        "<All keys matched successfully>"
    )
    assert repr(layer) == (
        "BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)"
    )
    bare = nn.BatchNorm1d(3, affine=False, track_running_stats=False, momentum=None)
    assert not list(bare.state_dict()) and bare.eval()(torch.ones(2, 3)).tolist() == [[0.0] * 3] * 2
    assert repr(nn.GroupNorm(2, 4)) == "GroupNorm(2, 4, eps=1e-05, affine=True, bias=True)"
    assert repr(nn.InstanceNorm2d(3)) == (
        "InstanceNorm2d(3, eps=1e-05, momentum=0.1, affine=False, bias=False, "
        "track_running_stats=False)"
    )
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4))
    sync = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert repr(sync[0]).startswith("SyncBatchNorm(4") and sync[0].weight is model[0].weight


def test_instance_norm_layer() -> None:
    x = RANDOM.standard_normal((3, 4, 5, 6))
    layer = nn.InstanceNorm2d(4, track_running_stats=True, dtype=torch.float64)
    y = layer(torch.tensor(x)).numpy()
    exact = (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, exact, rtol=1e-9)
    assert layer.running_mean is not None and layer.running_var is not None
    np.testing.assert_allclose(layer.running_mean.numpy(), 0.1 * x.mean((0, 2, 3)))
    var = x.var((2, 3), ddof=1).mean(0)
    np.testing.assert_allclose(layer.running_var.numpy(), 0.9 + 0.1 * var)
    np.testing.assert_allclose(
        layer.eval()(torch.tensor(x[0])).numpy(),
        (x[0] - 0.1 * x.mean((0, 2, 3))[:, None, None])
        / np.sqrt(0.9 + 0.1 * var + 1e-5)[:, None, None],
    )


def test_group_norm_layer() -> None:
    x = RANDOM.standard_normal((3, 6, 5))
    rows = x.reshape(3, 2, 15)
    exact = (rows - rows.mean(2, keepdims=True)) / np.sqrt(rows.var(2, keepdims=True) + 1e-5)
    layer = nn.GroupNorm(2, 6, dtype=torch.float64)
    np.testing.assert_allclose(layer(torch.tensor(x)).detach().numpy(), exact.reshape(x.shape))


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: nn.BatchNorm1d(3)(torch.ones(1, 3)), ValueError, "more than 1 value per channel"),
        (lambda: nn.BatchNorm2d(3)(torch.ones(2, 3)), ValueError, r"expected 4D input \(got 2D"),
        (lambda: nn.BatchNorm1d(3)(torch.ones(2, 3, 4, 4)), ValueError, "expected 2D or 3D input"),
        (
            lambda: nn.BatchNorm2d(3)(torch.ones(2, 4, 5, 5)),
            RuntimeError,
            "running_mean should contain 4 elements not 3",
        ),
        (lambda: F.batch_norm(torch.ones(2, 3), None, None), RuntimeError, "must be defined in"),
        (
            lambda: F.batch_norm(torch.ones(2, 3).int(), None, None, training=True),
            RuntimeError,
            '"batch_norm" not implemented for torch.int32',
        ),
        (lambda: nn.GroupNorm(3, 4), ValueError, r"num_channels \(4\) must be divisible"),
        (lambda: F.group_norm(torch.ones(2, 4, 3), 3), RuntimeError, "divisible by num_groups"),
        (
            lambda: F.instance_norm(torch.ones(2, 3, 1)),
            ValueError,
            "Expected more than 1 spatial element when training",
        ),
    ],
)
def test_errors(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
