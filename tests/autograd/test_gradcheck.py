"""gradcheck finds what is wrong and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

import tritorch
from tritorch.autograd import Function, GradcheckError, gradcheck, gradgradcheck


def double(*shape: int) -> Any:
    """A float64 leaf of different numbers."""
    count = 1
    for size in shape:
        count *= size
    values = [0.3 + 0.37 * i % 1.7 for i in range(count)]
    made = tritorch.tensor(values, dtype=tritorch.float64).reshape(shape)
    return made.clone().detach().requires_grad_()


def scaled(forward: float, backward: float, once: bool = False) -> Callable[[Any], Any]:
    """x * forward whose backward claims another factor."""

    class Scale(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * forward

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            result = g * backward
            return result.detach() if once else result

    return Scale.apply


@pytest.mark.parametrize("fast_mode", [False, True])
def test_right_gradients_pass(fast_mode: bool) -> None:
    def function(x: Any, y: Any, k: float) -> Any:
        return (x * y).exp() * k, (x @ y.t()).sum(), x.detach()

    x, y = double(2, 3), double(2, 3)
    assert gradcheck(function, (x, y, 0.5), fast_mode=fast_mode)
    assert gradgradcheck(function, (x, y, 0.5), fast_mode=fast_mode)


@pytest.mark.parametrize("fast_mode", [False, True])
def test_a_wrong_gradient_is_found(fast_mode: bool) -> None:
    wrong = scaled(2.0, 2.1)
    x = double(3)
    with pytest.raises(
        GradcheckError, match="Jacobian mismatch for output 0 with respect to input 0"
    ):
        gradcheck(wrong, x, fast_mode=fast_mode)
    assert gradcheck(wrong, x, fast_mode=fast_mode, raise_exception=False) is False
    assert gradcheck(wrong, x, fast_mode=fast_mode, rtol=0.2)
    assert gradcheck(scaled(2.0, 2.0), x, fast_mode=fast_mode)


def test_a_second_derivative_that_is_cut_off_is_found() -> None:
    def function(x: Any) -> Any:
        return scaled(2.0, 2.0, once=True)(x * x)

    x = double(3)
    assert gradcheck(function, x)
    with pytest.raises(GradcheckError, match="Jacobian mismatch"):
        gradgradcheck(function, x)


def test_inputs_are_left_as_they_were() -> None:
    x = double(2, 2)
    before = x.tolist()
    gradcheck(lambda x: x.sin(), x)
    gradcheck(lambda x: x.sin(), x, fast_mode=True)
    assert x.tolist() == before and x.grad is None


def test_a_backward_that_differs_each_time_is_found() -> None:
    count = itertools.count()

    class Unsteady(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2.0

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * (2.0 + 1e-9 * next(count))

    x = double(2)
    with pytest.raises(GradcheckError, match="Backward is not reentrant"):
        gradcheck(Unsteady.apply, x)
    assert gradcheck(Unsteady.apply, x, nondet_tol=1e-6)


def test_a_gradient_out_of_nothing_is_found() -> None:
    class Inventive(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.set_materialize_grads(False)
            return x * 2.0

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return tritorch.ones(2, dtype=tritorch.float64) if g is None else g * 2.0

    with pytest.raises(GradcheckError, match="grads to be undefined or zero"):
        gradcheck(Inventive.apply, double(2))
    assert gradcheck(Inventive.apply, double(2), check_undefined_grad=False)


def test_an_output_without_gradient_must_not_depend_on_the_inputs() -> None:
    assert gradcheck(lambda x: x.detach() * 0.0, double(2))
    with pytest.raises(GradcheckError, match="expected to be zero"):
        gradcheck(lambda x: x.detach() * 3.0, double(2))


def test_inputs_that_cannot_be_checked() -> None:
    with pytest.raises(ValueError, match="at least one input tensor to require gradient"):
        gradcheck(lambda x: x, tritorch.ones(2))
    with pytest.raises(RuntimeError, match="0th input has a dimension with stride 0"):
        gradcheck(lambda x: x * 2, double(1).detach().expand(3).requires_grad_())
    with pytest.warns(
        UserWarning, match="Input #0 requires gradient and is not a double precision"
    ):
        gradcheck(lambda x: x * 2, tritorch.ones(2, requires_grad=True), eps=1e-2, atol=1e-2)


def test_strided_inputs() -> None:
    x = double(3, 2).detach().t().requires_grad_()
    assert gradcheck(lambda x: x * x, x)
    assert gradgradcheck(lambda x: x * x, x, gen_non_contig_grad_outputs=True)
