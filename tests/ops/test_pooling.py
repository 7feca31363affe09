"""Pooling beyond the cases of the declarations: layouts, dtypes, indices, edges, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch import Tensor
from tritorch.autograd.gradcheck import gradcheck, gradgradcheck
from tritorch.nn import functional as F
from tritorch.ops.declare import OPS

REFERENCE: dict[str, Any] = {op.name: op.numpy for op in OPS if op.kind == "pooling"}

#: name -> (function of a 4-D tensor, the same in NumPy)
POOLS: dict[str, tuple[str, dict[str, Any]]] = {
    "max 2": ("max_pool2d", {"kernel_size": 2}),
    "max 3/2": ("max_pool2d", {"kernel_size": 3, "stride": 2, "padding": 1}),
    "max ceil": ("max_pool2d", {"kernel_size": (2, 3), "stride": 3, "ceil_mode": True}),
    "max dilated": ("max_pool2d", {"kernel_size": 2, "stride": 1, "dilation": (2, 3)}),
    "max stride 5": ("max_pool2d", {"kernel_size": 3, "stride": 5, "padding": 1}),
    "max of 90": ("max_pool2d", {"kernel_size": (9, 10), "stride": 3, "padding": 2}),
    "max of 289": ("max_pool2d", {"kernel_size": 17, "stride": 4, "padding": 8}),
    "mean 2": ("avg_pool2d", {"kernel_size": 2}),
    "mean 3/2": ("avg_pool2d", {"kernel_size": 3, "stride": 2, "padding": 1}),
    "mean inside": (
        "avg_pool2d",
        {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False},
    ),
    "mean ceil": ("avg_pool2d", {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    "mean of 90": ("avg_pool2d", {"kernel_size": (9, 10), "stride": 3, "padding": 2}),
    "adaptive mean": ("adaptive_avg_pool2d", {"output_size": (5, 7)}),
    "adaptive max": ("adaptive_max_pool2d", {"output_size": (5, 7)}),
    "adaptive mean, larger": ("adaptive_avg_pool2d", {"output_size": (30, 50)}),
}
SHAPE = (2, 5, 21, 37)


def distinct(shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
    size = int(np.prod(shape))
    order = np.random.default_rng(size).permutation(size)
    return (order.reshape(shape) - size // 2).astype(dtype)


def layouts(x: np.ndarray) -> dict[str, Tensor]:
    """The same elements in several orders in memory."""
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::2] = x
    return {
        "contiguous": torch.tensor(x),
        "channels last": torch.tensor(np.moveaxis(x, 1, -1).copy()).movedim(-1, 1),
        "turned": torch.tensor(x.swapaxes(2, 3).copy()).transpose(2, 3),
        "strided": torch.tensor(wide)[..., ::2],
    }


@pytest.mark.parametrize("name", POOLS)
def test_layouts(name: str) -> None:
    """Values and gradients are those of the contiguous tensor; channels last stays so."""
    function, options = POOLS[name]
    x = distinct(SHAPE)
    expected = REFERENCE[function](x, **options)
    g = np.random.default_rng(0).standard_normal(expected.shape)
    gradients = {}
    for layout, tensor in layouts(x).items():
        leaf = tensor.detach().requires_grad_()
        y = getattr(F, function)(leaf, **options)
        np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-12, err_msg=layout)
        for kind, gradient in layouts(g).items():
            (dx,) = torch.autograd.grad(y, leaf, gradient, retain_graph=True)
            gradients[layout, kind] = dx.numpy()
        if layout == "channels last":
            assert y.stride(1) == 1 and dx.stride(1) == 1
    first = gradients["contiguous", "contiguous"]
    for key, found in gradients.items():
        np.testing.assert_allclose(found, first, rtol=1e-12, atol=1e-12, err_msg=str(key))
    # the gradient against the linear map itself: <g, pool(v)> = <pool'(g), v> for averages
    if "mean" in name:
        v = np.random.default_rng(1).standard_normal(SHAPE)
        product = (REFERENCE[function](v, **options) * g).sum()
        np.testing.assert_allclose((first * v).sum(), product, rtol=1e-10)
    else:
        np.testing.assert_allclose(first.sum(), g.sum(), rtol=1e-10)
        assert np.count_nonzero(first) <= g.size


@pytest.mark.parametrize("name", ["max 3/2", "mean inside", "adaptive max", "adaptive mean"])
def test_second_gradients_of_channels_last(name: str) -> None:
    function, options = POOLS[name]
    options = dict(options)
    if "output_size" in options:
        options["output_size"] = (2, 3)
    x = torch.tensor(distinct((1, 5, 4, 3)) / 4).movedim(-1, 1).requires_grad_()

    def pool(x: Tensor) -> Tensor:
        result: Tensor = getattr(F, function)(x, **options)
        return result * result

    assert gradcheck(pool, (x,))
    assert gradgradcheck(pool, (x,), atol=1e-4)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("name", ["max 3/2", "mean 3/2", "adaptive mean", "adaptive max"])
def test_floats(name: str, kind: str) -> None:
    function, options = POOLS[name]
    dtype = getattr(torch, kind)
    x = torch.tensor(distinct((1, 2, 9, 10)) / 8).to(dtype).requires_grad_()
    y = getattr(F, function)(x, **options)
    expected = REFERENCE[function](x.detach().double().numpy(), **options)
    tolerance = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 1e-6}[kind]
    assert y.dtype is dtype
    np.testing.assert_allclose(y.detach().double().numpy(), expected, tolerance, tolerance)
    y.sum().backward()
    assert x.grad is not None and x.grad.dtype is dtype
    wide = x.detach().double().requires_grad_()
    getattr(F, function)(wide, **options).sum().backward()
    assert wide.grad is not None
    np.testing.assert_allclose(x.grad.double().numpy(), wide.grad.numpy(), tolerance, tolerance)


@pytest.mark.parametrize("kind", ["uint8", "int8", "int16", "int32", "int64"])
def test_integers(kind: str) -> None:
    x = (distinct((2, 3, 8, 9)) % 120).astype(kind)
    expected = REFERENCE["max_pool2d"](x.astype(np.float64), 3, 2, 1)
    y = torch.nn.functional.max_pool2d(torch.tensor(x), 3, 2, 1)
    assert str(y.dtype) == f"torch.{kind}"
    np.testing.assert_array_equal(y.numpy(), expected)
    if kind == "int64":  # truncates, as C's division
        small = torch.tensor([[[-3, 0, 3, 4]]])
        assert F.avg_pool1d(small, 2).tolist() == [[[-1, 3]]]
    else:
        with pytest.raises(RuntimeError, match='"avg_pool2d" not implemented for'):
            F.avg_pool2d(torch.tensor(x), 2)


@pytest.mark.parametrize(
    ("function", "shape", "options"),
    [
        (F.max_pool1d, (2, 3, 40), {"kernel_size": 3, "stride": 2, "padding": 1}),
        (F.max_pool2d, SHAPE, {"kernel_size": 2}),
        (F.max_pool2d, SHAPE, {"kernel_size": (3, 2), "padding": 1, "dilation": 2}),
        (F.max_pool3d, (2, 4, 5, 6), {"kernel_size": 2, "ceil_mode": True}),
        (F.adaptive_max_pool1d, (3, 17), {"output_size": 5}),
        (F.adaptive_max_pool2d, SHAPE, {"output_size": (5, None)}),
        (F.adaptive_max_pool3d, (2, 4, 5, 6), {"output_size": (3, 2, 4)}),
    ],
)
def test_indices(function: Callable[..., Any], shape: Any, options: dict[str, Any]) -> None:
    """They are places in the plane, and where the values come from."""
    x = torch.tensor(distinct(shape))
    values, indices = function(x, **options, return_indices=True)
    assert indices.dtype is torch.int64 and torch.equal(values, function(x, **options))
    count = int(function.__name__[-2])
    lead = shape[: len(shape) - count]
    flat = x.numpy().reshape(*lead, -1)
    taken = np.take_along_axis(flat, indices.numpy().reshape(*lead, -1), -1)
    np.testing.assert_array_equal(taken.reshape(values.shape), values.numpy())
    leaf = x.clone().requires_grad_()
    both = function(leaf, **options, return_indices=True)
    assert both[0].requires_grad and not both[1].requires_grad
    both[0].sum().backward()
    counts = np.zeros(flat.shape)
    for place in np.ndindex(lead):
        np.add.at(counts[place], indices.numpy()[place].ravel(), 1)
    assert leaf.grad is not None
    np.testing.assert_array_equal(leaf.grad.numpy().reshape(flat.shape), counts)


def test_ties_and_nan() -> None:
    """The first of equals; nan wins."""
    x = torch.zeros(1, 4, 4)
    assert F.max_pool2d(x, 2, return_indices=True)[1].tolist() == [[[0, 2], [8, 10]]]
    low = torch.full((1, 4, 4), float("-inf"))
    values, indices = F.max_pool2d(low, 3, 2, 1, return_indices=True)
    assert indices.tolist() == [[[0, 1], [4, 5]]] and bool((values == float("-inf")).all())
    for dtype in (torch.float32, torch.float16):
        x = torch.arange(36.0).reshape(1, 6, 6).to(dtype)
        x[0, 0, 0] = x[0, 5, 3] = float("nan")
        for grad in (False, True):
            y = F.max_pool2d(x.clone().requires_grad_(grad), 2)
            nan = np.isnan(y.detach().float().numpy())
            assert nan.tolist() == [
                [[True, False, False], [False, False, False], [False, True, False]]
            ]
    x = torch.tensor([[[float("nan"), 1.0, float("nan"), 0.0]]])
    assert F.max_pool1d(x, 4, return_indices=True)[1].item() == 2


def test_unpool_is_the_inverse() -> None:
    x = torch.tensor(distinct((2, 3, 7, 9)) - 1000).requires_grad_()
    y, indices = F.max_pool2d(x, 2, return_indices=True)
    back = F.max_unpool2d(y, indices, 2, output_size=x.shape)
    assert back.shape == x.shape and torch.equal(F.max_pool2d(back.abs(), 2), y.abs())
    back.sum().backward()
    assert x.grad is not None and x.grad.sum().item() == y.numel()
    with pytest.raises(RuntimeError, match="Found an invalid max index: 63"):
        F.max_unpool2d(y, indices + 11, 2, stride=(2, 2), output_size=(6, 8))
    with pytest.raises(ValueError, match=r'invalid output_size "\(9, 9\)" \(dim 0'):
        F.max_unpool2d(y, indices, 2, output_size=(9, 9))
    with pytest.raises(RuntimeError, match="same as that of the input"):
        F.max_unpool2d(y, indices[:, :, 1:], 2)


def test_empty_batches() -> None:
    x = torch.zeros(0, 3, 8, 8, requires_grad=True)
    for pool in (lambda x: F.max_pool2d(x, 2), lambda x: F.adaptive_avg_pool2d(x, 3)):
        y = pool(x)
        assert y.shape[:2] == (0, 3)
        y.sum().backward()
        assert x.grad is not None and x.grad.shape == x.shape
    assert F.adaptive_avg_pool2d(torch.ones(2, 3, 8, 8), 0).shape == (2, 3, 0, 0)


def test_results_do_not_depend_on_threads() -> None:
    x = torch.tensor(np.random.default_rng(0).standard_normal((3, 7, 40, 50)).astype(np.float32))
    x.requires_grad_()
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            y = F.avg_pool2d(x, 3, 2, 1) + F.max_pool2d(x, 3, 2, 1)
            found.append((y.detach(), torch.autograd.grad(y, x, y.detach())[0]))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*found))


X = torch.ones(2, 4, 8, 8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.max_pool2d(X, 2, padding=2), "pad should be at most half of effective kernel"),
        (lambda: F.max_pool2d(X, 9), r"\(4x8x8\). Calculated output size: \(4x0x0\)"),
        (lambda: F.max_pool2d(X, 2, 0), "stride should not be zero"),
        (lambda: F.max_pool2d(X, (2, 2, 2)), "kernel_size must either be a single int, or a tuple"),
        (lambda: F.max_pool2d(X[0, 0], 2), "Expected 3D or 4D"),
        (lambda: F.max_pool2d(X[:, :0], 2), r"but got:\[2, 0, 8, 8\]"),
        (lambda: F.max_pool2d(X > 0, 2), "not implemented for torch.bool"),
        (lambda: F.max_pool1d(X[0].int(), 2), '"max_pool1d" not implemented for torch.int32'),
        (lambda: F.avg_pool2d(X, 2, divisor_override=0), "divisor must be not zero"),
        (lambda: F.avg_pool1d(X, 2), "Expected 2 to 3 dimensions, but got 4-dimensional"),
        (lambda: F.adaptive_avg_pool2d(X[0, 0], 2), "Expected 3D or 4D tensor, but got"),
        (lambda: F.adaptive_avg_pool2d(X, (2, 2, 2)), "output_size must be 2"),
        (lambda: F.adaptive_avg_pool2d(X, -1), "greater than or equal to 0 but received {-1, -1}"),
        (lambda: F.adaptive_max_pool2d(X.int(), 2), "not implemented for torch.int32"),
    ],
)
def test_errors(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        call()


def test_layers() -> None:
    """What they compute is the function's, what they print PyTorch's."""
    nn = torch.nn
    x = torch.tensor(distinct((2, 3, 8, 8)))
    pairs = [
        (nn.MaxPool2d((3, 2), 2, 1, ceil_mode=True), F.max_pool2d(x, (3, 2), 2, 1, 1, True)),
        (nn.AvgPool2d(2), F.avg_pool2d(x, 2)),
        (nn.AdaptiveAvgPool2d((1, None)), F.adaptive_avg_pool2d(x, (1, None))),
        (nn.AdaptiveMaxPool2d(3), F.adaptive_max_pool2d(x, 3)),
        (nn.LPPool2d(2, 3), F.lp_pool2d(x, 2, 3)),
        (nn.LocalResponseNorm(5), F.local_response_norm(x, 5)),
    ]
    printed = [
        "MaxPool2d(kernel_size=(3, 2), stride=2, padding=1, dilation=1, ceil_mode=True)",
        "AvgPool2d(kernel_size=2, stride=2, padding=0)",
        "AdaptiveAvgPool2d(output_size=(1, None))",
        "AdaptiveMaxPool2d(output_size=3)",
        "LPPool2d(norm_type=2, kernel_size=3, stride=None, ceil_mode=False)",
        "LocalResponseNorm(5, alpha=0.0001, beta=0.75, k=1.0)",
    ]
    for (layer, expected), text in zip(pairs, printed, strict=True):
        assert torch.equal(layer(x), expected) and repr(layer) == text
    assert repr(nn.AvgPool1d(2)) == "AvgPool1d(kernel_size=(2,), stride=(2,), padding=(0,))"
    unpool = nn.MaxUnpool2d(2)
    assert repr(unpool) == "MaxUnpool2d(kernel_size=(2, 2), stride=(2, 2), padding=(0, 0))"
    assert unpool(*nn.MaxPool2d(2, return_indices=True)(x)).shape == x.shape
