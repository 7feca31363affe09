"""Convolutions as users call them: arguments, gradients of every order, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tests.ops.compare import check
from tritorch.autograd.gradcheck import gradcheck, gradgradcheck
from tritorch.nn import functional as F
from tritorch.ops.convolution_reference import numpy_convolution, numpy_transposed


def numbers(*shape: int, seed: int = 0, dtype: Any = np.float64) -> Any:
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(dtype)


def leaves(*arrays: Any) -> tuple[torch.Tensor, ...]:
    return tuple(torch.tensor(a, requires_grad=True) for a in arrays)


CALLS: list[tuple[Any, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    (F.conv1d, (2, 4, 9), (6, 4, 3), {"stride": 2, "padding": 1}),
    (F.conv1d, (4, 9), (4, 1, 4), {"padding": "same", "groups": 4, "dilation": 2}),
    (F.conv2d, (2, 4, 5, 6), (4, 2, 3, 2), {"stride": (2, 1), "padding": (1, 0), "groups": 2}),
    (F.conv2d, (1, 3, 6, 5), (5, 3, 2, 3), {"padding": "same", "dilation": (1, 2)}),
    (F.conv2d, (1, 4, 5, 5), (4, 1, 3, 3), {"padding": [1], "groups": 4, "stride": [2, 2]}),
    (F.conv2d, (2, 3, 4, 4), (4, 3, 1, 1), {"stride": 3}),
    (F.conv3d, (1, 2, 3, 4, 4), (4, 2, 2, 3, 3), {"padding": 1, "stride": (1, 2, 2)}),
]
TRANSPOSED: list[tuple[Any, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    (F.conv_transpose1d, (2, 4, 5), (4, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    (F.conv_transpose2d, (4, 4, 3), (4, 2, 3, 2), {"groups": 2, "stride": (2, 3)}),
    (F.conv_transpose2d, (1, 4, 4, 3), (4, 4, 3, 3), {"dilation": 2, "padding": (2, 1)}),
    (F.conv_transpose3d, (1, 2, 2, 3, 2), (2, 3, 2, 2, 3), {"stride": (1, 2, 1)}),
]


@pytest.mark.parametrize(("function", "x", "w", "options"), CALLS + TRANSPOSED)
@pytest.mark.parametrize("biased", [True, False])
def test_values(function: Any, x: Any, w: Any, options: dict[str, Any], biased: bool) -> None:
    transposed = "transpose" in function.__name__
    reference = numpy_transposed if transposed else numpy_convolution
    outputs = w[1] * options.get("groups", 1) if transposed else w[0]
    for dtype in (torch.float32, torch.float64):
        arrays = [numbers(*x), numbers(*w)] + ([numbers(outputs)] if biased else [])
        arrays = [a.astype(dtype.numpy) for a in arrays]
        result = function(*map(torch.tensor, arrays), **options)
        wide = [a.astype(np.float64) for a in arrays]
        check(result, reference(*wide, **options), dtype, combined=4 * int(np.prod(w[1:])))


@pytest.mark.parametrize(("function", "x", "w", "options"), CALLS + TRANSPOSED)
def test_gradients(function: Any, x: Any, w: Any, options: dict[str, Any]) -> None:
    transposed = "transpose" in function.__name__
    outputs = w[1] * options.get("groups", 1) if transposed else w[0]
    inputs = leaves(numbers(*x), numbers(*w), numbers(outputs))
    assert gradcheck(lambda *t: function(*t, **options), inputs)
    assert gradgradcheck(lambda *t: function(*t, **options), inputs, atol=1e-4)


def test_third_derivatives() -> None:
    """The square makes every order depend on input and weights."""

    def hessian_trace(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        y = (F.conv2d(x, w, stride=2, padding=1) ** 2).sum()
        first = torch.autograd.grad(y, (x, w), create_graph=True)
        return sum(((g * g).sum() for g in first), torch.zeros((), dtype=torch.float64))

    inputs = leaves(numbers(1, 2, 4, 4), numbers(2, 2, 3, 3))
    assert gradcheck(hessian_trace, inputs)
    assert gradgradcheck(hessian_trace, inputs, atol=1e-3, rtol=1e-3)


def test_only_the_gradients_asked_for() -> None:
    x, w = torch.tensor(numbers(1, 2, 5, 5)), torch.tensor(numbers(3, 2, 3, 3), requires_grad=True)
    F.conv2d(x, w).sum().backward()
    assert x.grad is None and w.grad is not None
    assert type(F.conv2d(x, w).grad_fn).__name__ == "ConvolutionBackward0"
    assert F.conv2d(x, w.detach()).grad_fn is None
    with torch.no_grad():
        assert F.conv2d(x, w).grad_fn is None


def test_views_and_expanded_gradients() -> None:
    """Channels last, a transposed weight, and the gradient of a sum, which is one number."""
    x = numbers(2, 7, 6, 4).transpose(0, 3, 1, 2)
    w, b = numbers(4, 3, 3, 5).transpose(3, 0, 1, 2), numbers(10)[::2]
    inputs = leaves(x, w, b)
    y = F.conv2d(*inputs, padding=1)
    check(y, numpy_convolution(x, w, b, padding=1), torch.float64, combined=36)
    y.sum().backward()
    dense = leaves(*(np.ascontiguousarray(a) for a in (x, w, b)))
    F.conv2d(*dense, padding=1).backward(torch.ones(2, 5, 7, 6, dtype=torch.float64))
    for a, c in zip(inputs, dense):
        assert a.grad is not None and c.grad is not None
        np.testing.assert_allclose(a.grad.numpy(), c.grad.numpy(), atol=1e-12)


def test_empty_batch() -> None:
    x, w = leaves(numbers(0, 2, 5, 5), numbers(3, 2, 3, 3))
    y = F.conv2d(x, w)
    assert y.shape == (0, 3, 3, 3)
    y.sum().backward()
    assert x.grad is not None and x.grad.shape == (0, 2, 5, 5)
    assert w.grad is not None and not w.grad.abs().sum().item()


ERRORS: list[tuple[Any, tuple[Any, ...], dict[str, Any], str]] = [
    (F.conv2d, ((4, 4), (1, 1, 1, 1)), {}, r"Expected 3D \(unbatched\) or 4D \(batched\) input to"),
    (F.conv2d, ((1, 4, 5, 5), (8, 3, 3, 3)), {},
     r"Given groups=1, weight of size \[8, 3, 3, 3\], expected input\[1, 4, 5, 5\] to have 3 "
     "channels, but got 4 channels instead"),
    (F.conv2d, ((1, 4, 2, 5), (8, 4, 3, 3)), {},
     r"Calculated padded input size per channel: \(2 x 5\). Kernel size: \(3 x 3\). Kernel size "
     "can't be greater than actual input size"),
    (F.conv2d, ((1, 4, 5, 5), (8, 4, 3, 3)), {"stride": 0}, "non-positive stride"),
    (F.conv2d, ((1, 4, 5, 5), (8, 4, 3, 3)), {"dilation": 0}, "dilation should be greater than"),
    (F.conv2d, ((1, 4, 5, 5), (8, 4, 3, 3)), {"padding": -1}, "negative padding is not supported"),
    (F.conv2d, ((1, 4, 5, 5), (8, 4, 3, 3)), {"stride": (1, 1, 1)},
     r"expected stride to be a single integer value or a list of 2 values"),
    (F.conv2d, ((1, 4, 5, 5), (8, 2, 3, 3)), {"groups": 3}, "divisible by 3 at dimension 0"),
    (F.conv2d, ((1, 4, 5, 5), (8, 4, 3, 3), (7,)), {}, "1-dimensional with 8 elements"),
    (F.conv2d, ((1, 4, 5, 5), (8, 4, 3, 3)), {"padding": "some"}, "Invalid padding string: 'some'"),
    (F.conv2d, ((1, 4, 5, 5), (8, 4, 3, 3)), {"padding": "same", "stride": 2},
     "padding='same' is not supported for strided convolutions"),
    (F.conv_transpose2d, ((1, 3, 5, 5), (4, 2, 3, 3)), {}, "Given transposed=1, weight of size"),
    (F.conv_transpose2d, ((1, 4, 5, 5), (4, 2, 3, 3)), {"output_padding": 1},
     "output padding must be smaller than either stride or dilation"),
    (F.conv_transpose2d, ((1, 4, 1, 5), (4, 2, 3, 3)), {"padding": 2}, "Output size is too small"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "shapes", "options", "message"), ERRORS)
def test_errors(function: Any, shapes: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        function(*(torch.zeros(*shape) for shape in shapes), **options)


def test_errors_of_types() -> None:
    x, w = torch.zeros(1, 2, 4), torch.zeros(2, 2, 1)
    with pytest.raises(RuntimeError, match=r"Input type \(torch.float32\) and weight type"):
        F.conv1d(x, w.double())
    with pytest.raises(TypeError, match="must be Tensor, not list"):
        F.conv1d([[1.0]], w)
