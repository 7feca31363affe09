"""Dual numbers against `jvp` and against what they cannot do."""

from __future__ import annotations

import pytest

import tritorch as torch
import tritorch.autograd.forward_ad as fwAD


def test_tangents_are_products_with_the_jacobian() -> None:
    x, v = torch.tensor([0.5, -1.0, 2.0]), torch.tensor([1.0, 2.0, -0.5])
    w = torch.tensor([[1.0, 2.0, 3.0], [0.5, -1.0, 0.0]])

    def f(x: torch.Tensor) -> torch.Tensor:
        return (w @ x.sin()).exp() * x[0]

    value, wanted = torch.func.jvp(f, (x,), (v,))
    with fwAD.dual_level():
        dual = fwAD.make_dual(x, v)
        primal, tangent = fwAD.unpack_dual(f(dual))
        assert fwAD.unpack_dual(dual).tangent.tolist() == v.tolist()
        assert fwAD.unpack_dual(2 * dual).tangent.tolist() == (2 * v).tolist()
        assert fwAD.unpack_dual(x).tangent is None
        other = fwAD.make_dual(w, torch.ones_like(w))
        both = fwAD.unpack_dual(other @ dual).tangent
    assert primal.tolist() == pytest.approx(value.tolist())
    assert tangent.tolist() == pytest.approx(wanted.tolist())
    assert both.tolist() == pytest.approx((w @ v + x.sum()).tolist())
    assert fwAD.unpack_dual(dual).tangent is None


def test_tangents_have_gradients() -> None:
    x = torch.tensor([0.5, 2.0], requires_grad=True)
    with fwAD.dual_level():
        dual = fwAD.make_dual(x, torch.tensor([1.0, 3.0]))
        fwAD.unpack_dual(dual**3).tangent.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([6 * 0.5, 6 * 2.0 * 3.0])


def test_errors() -> None:
    x = torch.ones(2)
    with pytest.raises(RuntimeError, match="no level exists"):
        fwAD.make_dual(x, x)
    with pytest.raises(RuntimeError, match="no level was entered"):
        fwAD.exit_dual_level()
    with fwAD.dual_level():
        with pytest.raises(RuntimeError, match="Nested forward mode"):
            fwAD.enter_dual_level()
        with pytest.raises(RuntimeError, match="must be equal"):
            fwAD.make_dual(x, torch.ones(3))
        with pytest.raises(ValueError, match="tangent to be floating point"):
            fwAD.make_dual(x, torch.ones(2, dtype=torch.int64))
