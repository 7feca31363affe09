"""Scaled dot-product attention as an operation: its graph, dropout, masks that want gradients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch.autograd.gradcheck import gradcheck, gradgradcheck
from tritorch.ops.attention import _weights

attend = torch.nn.functional.scaled_dot_product_attention


def operands(
    *shape: int, count: int = 3, dtype: Any = torch.float64, grad: bool = True
) -> list[torch.Tensor]:
    random = np.random.default_rng(11)
    return [
        torch.tensor(random.standard_normal(shape), dtype=dtype, requires_grad=grad)
        for _ in range(count)
    ]


def by_products(q: Any, k: Any, v: Any, p: float, scale: float) -> torch.Tensor:
    """The same from the matrix of weights, which draws the same numbers."""
    weights = _weights(q, k, None, True, scale)
    return torch.nn.functional.dropout(weights, p) @ v


@pytest.mark.parametrize("p", [0.0, 0.3])
def test_fused_is_what_products_give(p: float) -> None:
    """Values and gradients; dropout drops the same weights as `dropout` of the weights does."""
    results = []
    for function in (attend, by_products):
        q, k, v = operands(2, 3, 70, 16)
        torch.manual_seed(4)
        options = {"dropout_p": p, "is_causal": True} if function is attend else {"p": p}
        y = function(q, k, v, scale=0.3, **options)
        y.backward(operands(2, 3, 70, 16)[0].detach().cos())
        results.append([y, q.grad, k.grad, v.grad])
    for one, other in zip(*results):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("p", [0.3, 1.0])
def test_gradients_of_both_orders_with_dropout(p: float) -> None:
    def function(*tensors: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(9)
        return attend(*tensors, dropout_p=p)

    inputs = operands(2, 5, 4)
    assert gradcheck(function, inputs)
    assert gradgradcheck(function, inputs, atol=1e-4)
    if p == 1.0:
        assert not function(*inputs).any()


def test_draws_advance_the_generator() -> None:
    q, k, v = operands(1, 40, 16, dtype=torch.float32, grad=False)
    torch.manual_seed(1)
    first, second = (attend(q, k, v, dropout_p=0.5) for _ in range(2))
    torch.manual_seed(1)
    assert torch.equal(attend(q, k, v, dropout_p=0.5), first)
    assert not torch.equal(first, second)
    with pytest.raises(RuntimeError, match=r"dropout probability has to be between 0 and 1.*1\.5"):
        attend(q, k, v, dropout_p=1.5)


@pytest.mark.parametrize("grouped", [False, True])
def test_a_mask_that_is_learned(grouped: bool) -> None:
    q, k, v = operands(2, 4, 5, 3)
    if grouped:
        k, v = (x.detach()[:, :2].clone().requires_grad_() for x in (k, v))
    (mask,) = operands(4, 1, 5, count=1)

    def function(*tensors: torch.Tensor) -> torch.Tensor:
        return attend(*tensors, enable_gqa=grouped)

    assert gradcheck(function, (q, k, v, mask))
    fused = attend(q, k, v, mask.detach(), enable_gqa=grouped)
    assert torch.allclose(function(q, k, v, mask), fused)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_rows_that_see_nothing_are_zero(dtype: Any) -> None:
    q, k, v = operands(3, 4, dtype=dtype)
    visible = torch.tensor([[True, False, True], [False] * 3, [False, False, True]])
    added = torch.zeros(3, 3, dtype=dtype).masked_fill(~visible, -math.inf)
    for mask in (visible, added):
        y = attend(q, k, v, mask)
        assert y.dtype is dtype and not y[1].any() and torch.equal(y[2], v[2])
        found = torch.autograd.grad(y.sum(), (q, k, v))
        assert all(bool(g.isfinite().all()) for g in found)
        assert not found[0][1].any()


def test_only_what_wants_a_gradient_gets_one() -> None:
    q, k, v = operands(2, 6, 4)
    y = attend(q, k.detach(), v)
    y.sum().backward()
    assert q.grad is not None and v.grad is not None and k.grad is None
    assert attend(q.detach(), k.detach(), v.detach()).grad_fn is None
    with torch.no_grad():
        assert not attend(q, k, v).requires_grad


def test_the_result_must_not_be_written_to() -> None:
    """It is kept for the backward, as are the operands."""
    q, k, v = operands(2, 6, 4)
    for written in (lambda y: y.mul_(2), lambda _: v.detach().mul_(2)):
        y = attend(q, k, v)
        written(y)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()


def test_broadcast_operands_get_summed_gradients() -> None:
    q, k, v = operands(3, 2, 5, 4)
    one = k.detach()[:1, :1].clone().requires_grad_()
    attend(q, one, v).square().sum().backward()
    whole = one.detach().expand(3, 2, 5, 4).clone().requires_grad_()
    attend(q.detach(), whole, v.detach()).square().sum().backward()
    assert torch.allclose(one.grad, whole.grad.sum((0, 1), keepdim=True))


def test_heads_of_a_projection_come_back_without_copies() -> None:
    """(batch, rows, heads * depth) in, the same out: the transposed result is contiguous."""
    x = torch.randn(2, 10, 3 * 12, requires_grad=True)
    q, k, v = (part.view(2, 10, 4, 3).transpose(1, 2) for part in x.split(12, 2))
    y = attend(q, k, v, is_causal=True)
    assert y.transpose(1, 2).is_contiguous() and not y.is_contiguous()
    y.sum().backward()
    assert x.grad.shape == x.shape and bool(x.grad.abs().sum() > 0)
