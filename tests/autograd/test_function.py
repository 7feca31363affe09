"""Custom Functions on Fake tensors, as PyTorch has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.autograd.fake import Fake, made, tensor
from tritorch import autograd
from tritorch.autograd import Function
from tritorch.autograd.function import once_differentiable
from tritorch.autograd.grad_mode import grad_mode_state

pytestmark = pytest.mark.usefixtures("fakes")


class Square(Function):
    @staticmethod
    def forward(ctx: Any, x: Fake) -> Fake:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Fake) -> Fake:
        (x,) = ctx.saved_tensors
        return g * x * 2.0


class Exponential(Function):
    @staticmethod
    def forward(ctx: Any, x: Fake) -> Fake:
        result = x.exp()
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, g: Fake) -> Fake:
        (y,) = ctx.saved_tensors
        assert y.requires_grad and y.grad_fn is ctx
        return g * y


def test_forward_backward_and_names() -> None:
    x = tensor([3.0], True)
    y = Square.apply(x)
    assert type(y.grad_fn).__name__ == y.grad_fn.name() == "SquareBackward"
    assert y.grad_fn.next_functions[0][0].variable is x
    assert y.grad_fn.needs_input_grad == (True,)
    autograd.backward(y)
    assert x.grad.tolist() == [6.0]
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        autograd.backward(y)
    with pytest.raises(RuntimeError, match="already been freed"):
        _ = y.grad_fn.saved_tensors


def test_double_backward() -> None:
    x = tensor([3.0], True)
    (first,) = autograd.grad(Square.apply(Square.apply(x)), x, create_graph=True)
    (second,) = autograd.grad(first, x)
    assert (first.tolist(), second.tolist()) == ([108.0], [108.0])


def test_double_backward_through_a_saved_output() -> None:
    x = tensor([0.5], True)
    (first,) = autograd.grad(Exponential.apply(x), x, create_graph=True)
    (second,) = autograd.grad(first, x)
    assert np.allclose(second.array, np.exp(0.5))


def test_a_changed_output_is_noticed() -> None:
    x = tensor([0.5, 1.0, 2.0], True, dtype=np.float32)
    y = Exponential.apply(x)
    y.mul_(tensor([2.0, 2.0, 2.0], dtype=np.float32))
    with pytest.raises(
        RuntimeError,
        match=r"modified by an inplace operation: \[torch.FloatTensor \[3\]\], which is output 0 "
        r"of Exponential, is at version 1; expected version 0 instead. Hint: enable anomaly",
    ):
        autograd.backward(y.sum())


def test_nothing_is_recorded_without_need() -> None:
    seen: list[Any] = []

    class Watch(Square):
        @staticmethod
        def forward(ctx: Any, x: Fake) -> Fake:
            seen.append((ctx.needs_input_grad, grad_mode_state.enabled))
            return Square.forward(ctx, x)

    x = tensor([3.0], True)
    with autograd.no_grad():
        assert not Watch.apply(x).requires_grad
    assert not Watch.apply(tensor([3.0])).requires_grad
    Watch.apply(x)
    assert seen == [((True,), False), ((False,), False), ((True,), False)]


class Scale(Function):
    @staticmethod
    def forward(ctx: Any, x: Any, k: Any, y: Any = None) -> Any:
        ctx.k = k
        return x * k

    @staticmethod
    def backward(ctx: Any, g: Fake) -> Any:
        return ctx.returned(g) if hasattr(ctx, "returned") else (g * ctx.k, None, None)


def test_arguments_that_are_no_tensors_and_keywords() -> None:
    x = tensor([3.0], True)
    autograd.backward(Scale.apply(x, 2.0, None))
    autograd.backward(Scale.apply(x, k=5.0))
    assert x.grad.tolist() == [7.0]
    assert len(Scale.apply(x, 2.0).grad_fn.next_functions) == 1


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (lambda g: g, RuntimeError, r"function ScaleBackward returned an incorrect number of "
         r"gradients \(expected 2, got 1\)"),
        (lambda g: (g, None, g), RuntimeError, r"incorrect number of gradients \(expected 2, got"),
        (lambda g: (g, g), RuntimeError, "function ScaleBackward returned a gradient different "
         "than None at position 2, but the corresponding forward input was not a Variable"),
        (lambda g: (3, None), RuntimeError, r"expected Variable or None \(got int\)"),
        (lambda g: (g, None, None, None), None, ""),
    ],
)  # fmt: skip
def test_what_backward_may_return(returned: Any, error: Any, message: str) -> None:
    x = tensor([3.0], True)
    y = Scale.apply(x, 2.0)
    y.grad_fn.returned = returned
    if error is None:
        autograd.backward(y)
        assert x.grad.tolist() == [1.0]
    else:
        with pytest.raises(error, match=message):
            autograd.backward(y)


def test_backward_is_required() -> None:
    class Half(Function):
        @staticmethod
        def forward(ctx: Any, x: Fake) -> Fake:
            return x * 0.5

    with pytest.raises(NotImplementedError, match="must implement either the backward or vjp"):
        autograd.backward(Half.apply(tensor([1.0], True)))


def test_only_tensors_can_be_saved() -> None:
    class Wrong(Square):
        @staticmethod
        def forward(ctx: Any, x: Fake) -> Fake:
            ctx.save_for_backward(x, 3)
            return x * 1.0

    with pytest.raises(TypeError, match="can only save variables, but argument 1 is of type int"):
        Wrong.apply(tensor([1.0], True))


def test_setup_context() -> None:
    class Power(Function):
        @staticmethod
        def forward(x: Fake, k: float = 2.0) -> Fake:
            return x * k

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.k = inputs[1]
            ctx.save_for_backward(output)

        @staticmethod
        def backward(ctx: Any, g: Fake) -> Any:
            return g * ctx.k, None

    x = tensor([3.0], True)
    autograd.backward(Power.apply(x))
    autograd.backward(Power.apply(x, k=5.0))
    assert x.grad.tolist() == [7.0]


class Two(Function):
    materialize = True
    received: Any = None

    @staticmethod
    def forward(ctx: Any, x: Fake) -> Any:
        ctx.set_materialize_grads(Two.materialize)
        mask = made(x.array > 0)
        ctx.mark_non_differentiable(mask)
        return x * 2.0, x * 3.0, mask, "text", None

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        Two.received = [g.tolist() if isinstance(g, Fake) else g for g in grads]
        return grads[0]


@pytest.mark.parametrize("materialize", [True, False])
def test_several_outputs(materialize: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Two, "materialize", materialize)
    x = tensor([1.0, -1.0], True)
    first, second, mask, text, nothing = Two.apply(x)
    assert (text, nothing, mask.requires_grad) == ("text", None, False)
    assert (first._output_nr, second._output_nr) == (0, 1)
    autograd.backward(first.sum())
    zeros = [0.0, 0.0] if materialize else None
    no_mask = [False, False] if materialize else None
    assert Two.received == [[1.0, 1.0], zeros, no_mask, None, None]


class Same(Function):
    @staticmethod
    def forward(ctx: Any, x: Fake) -> Fake:
        return x

    @staticmethod
    def backward(ctx: Any, g: Fake) -> Fake:
        return g * 5.0


def test_an_input_returned_as_it_is_becomes_a_view() -> None:
    x = tensor([1.0, 2.0], True)
    y = Same.apply(x)
    assert y is not x and y._view.base is x and x._grad_fn is None
    with pytest.raises(RuntimeError, match="Output 0 of Same is a view and is being modified inpl"):
        y.mul_(2.0)
    autograd.backward(y.sum())
    assert x.grad.tolist() == [5.0, 5.0]


class DoubleInPlace(Function):
    @staticmethod
    def forward(ctx: Any, x: Fake) -> Fake:
        x.mul_(2.0)
        ctx.mark_dirty(x)
        return x

    @staticmethod
    def backward(ctx: Any, g: Fake) -> Fake:
        return g * 2.0


def test_a_function_that_writes_to_its_input() -> None:
    x = tensor([1.0, 2.0], True)
    c = x * 1.0
    assert DoubleInPlace.apply(c) is c
    assert c.grad_fn.name() == "DoubleInPlaceBackward"
    autograd.backward(c.sum())
    assert x.grad.tolist() == [2.0, 2.0]
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad has been used"):
        DoubleInPlace.apply(x)


def test_a_function_that_writes_to_a_view() -> None:
    x = tensor([1.0, 2.0, 3.0], True)
    c = x * 1.0
    v = c[:2]
    assert DoubleInPlace.apply(v) is v
    assert c.grad_fn.name() == "CopySlices"
    autograd.backward(c.sum())
    assert x.grad.tolist() == [2.0, 2.0, 1.0]


def test_what_is_marked_dirty_must_be_returned() -> None:
    class Forgetful(Same):
        @staticmethod
        def forward(ctx: Any, x: Fake) -> Fake:
            ctx.mark_dirty(x)
            return x * 1.0

    with pytest.raises(RuntimeError, match="modified inplace must all be outputs"):
        Forgetful.apply(tensor([1.0], True) * 1.0)


def test_once_differentiable() -> None:
    class Once(Square):
        @staticmethod
        @once_differentiable
        def backward(ctx: Any, g: Fake) -> Fake:
            (x,) = ctx.saved_tensors
            assert not grad_mode_state.enabled
            return g * x * 2.0

    x = tensor([3.0], True)
    seed = tensor([1.0], True)
    (first,) = autograd.grad(Once.apply(x), x, seed, create_graph=True)
    assert first.tolist() == [6.0]
    with pytest.raises(RuntimeError, match="trying to differentiate twice a function that was"):
        autograd.backward(first)
    (plain,) = autograd.grad(Once.apply(x), x, create_graph=True)
    assert not plain.requires_grad


def test_instances_are_discouraged() -> None:
    with pytest.warns(DeprecationWarning, match="should not be instantiated"):
        Square()
