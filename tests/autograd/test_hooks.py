"""Hooks on tensors and nodes, saved-tensor hooks, anomaly mode, on Fake tensors."""

from __future__ import annotations

from typing import Any

import pytest

from tests.autograd.fake import Fake, made, recorded, tensor
from tritorch import autograd
from tritorch.autograd.anomaly import anomaly
from tritorch.autograd.edges import (
    register_hook,
    register_post_accumulate_grad_hook,
    retain_grad,
    retains_grad,
)
from tritorch.autograd.graph import disable_saved_tensors_hooks, saved_tensors_hooks
from tritorch.autograd.node import Node

pytestmark = pytest.mark.usefixtures("fakes")


def test_tensor_hooks_replace_the_gradient_in_their_order() -> None:
    x = tensor([1.0], True)
    y = x * 2.0
    register_hook(y, lambda g: g * 10.0)
    handle = register_hook(y, lambda g: g + tensor([1.0]))
    register_hook(x, lambda g: g * 3.0)
    autograd.backward(y, retain_graph=True)
    assert x.grad.tolist() == [66.0]
    handle.remove()
    handle.remove()
    x.grad = None
    autograd.backward(y)
    assert x.grad.tolist() == [60.0]


def test_a_hook_can_be_a_context() -> None:
    x = tensor([1.0], True)
    with register_hook(x, lambda g: g * 3.0):
        autograd.backward(x * 1.0)
    autograd.backward(x * 1.0)
    assert x.grad.tolist() == [4.0]


def test_order_of_all_kinds_of_hooks() -> None:
    events: list[str] = []

    def note(event: str) -> Any:
        return lambda *arguments: events.append(event)

    x = tensor([1.0], True)
    y = x * 2.0
    y.grad_fn.register_prehook(note("node before"))
    y.grad_fn.register_hook(note("node after"))
    register_hook(y, note("tensor"))
    register_hook(x, note("leaf"))
    register_post_accumulate_grad_hook(x, note("accumulated"))
    autograd.backward(y)
    assert events == ["tensor", "node before", "node after", "leaf", "accumulated"]


def test_a_retained_gradient_is_seen_after_the_tensor_hooks() -> None:
    x = tensor([1.0], True)
    y = x * 2.0
    retain_grad(y)
    register_hook(y, lambda g: g * 10.0)
    autograd.backward(y)
    assert retains_grad(y) and not retains_grad(x)
    assert y.grad.tolist() == [10.0]
    retain_grad(x)
    assert not retains_grad(x)


def test_node_hooks_see_and_replace() -> None:
    x, y = tensor([2.0], True), tensor([5.0], True)
    z = x * y
    seen: list[Any] = []
    z.grad_fn.register_prehook(lambda outputs: (outputs[0] * 10.0,))

    def after(inputs: Any, outputs: Any) -> Any:
        seen.append(([g.tolist() for g in inputs], [g.tolist() for g in outputs]))
        return inputs[0], None

    z.grad_fn.register_hook(after)
    autograd.backward(z)
    assert seen == [([[50.0], [20.0]], [[10.0]])]
    assert x.grad.tolist() == [50.0] and y.grad is None


def test_captured_gradients_and_hooks_as_in_pytorch() -> None:
    x = tensor([2.0], True)
    y = x * 3.0
    register_hook(y, lambda g: g * 10.0)
    (only,) = autograd.grad(y, [y], retain_graph=True)
    gx, gy = autograd.grad(y, [x, y])
    assert (only.tolist(), gx.tolist(), gy.tolist()) == ([10.0], [30.0], [1.0])


def test_what_hooks_may_not_do() -> None:
    x = tensor([1.0, 2.0], True)
    with pytest.raises(RuntimeError, match="cannot register a hook on a tensor that doesn't requi"):
        register_hook(tensor([1.0]), print)
    with pytest.raises(RuntimeError, match="can't retain_grad on Tensor that has requires_grad=F"):
        retain_grad(tensor([1.0]))
    with pytest.raises(RuntimeError, match="cannot be registered on non-leaf tensors"):
        register_post_accumulate_grad_hook(x * 2.0, print)
    with (
        register_hook(x, lambda g: g.sum()),
        pytest.raises(RuntimeError, match="hook has changed the size of value"),
    ):
        autograd.backward((x * 2.0).sum())
    with (
        register_hook(x, lambda g: 3),
        pytest.raises(TypeError, match="must return a Tensor or None, got int"),
    ):
        autograd.backward((x * 2.0).sum())
    y = x * 2.0
    y.grad_fn.register_hook(lambda inputs, outputs: (inputs[0],))
    with pytest.raises(RuntimeError, match=r"incorrect number of values \(got 1, but expected 2\)"):
        autograd.backward(y.sum())


def test_post_accumulate_hooks_see_each_addition_and_may_free() -> None:
    x = tensor([1.0], True)
    seen: list[float] = []

    def take(leaf: Fake) -> None:
        seen.append(leaf.grad.tolist()[0])
        leaf.grad = None

    register_post_accumulate_grad_hook(x, take)
    for k in (2.0, 3.0):
        autograd.backward(x * k)
    assert seen == [2.0, 3.0] and x.grad is None
    register_post_accumulate_grad_hook(x, lambda leaf: 1)
    with pytest.raises(RuntimeError, match="must return None"):
        autograd.backward(x * 1.0)


def test_saved_tensors_are_packed_and_unpacked() -> None:
    events: list[str] = []

    def pack(t: Fake) -> list[float]:
        assert not t.requires_grad
        events.append("pack")
        return t.tolist()

    def unpack(values: list[float]) -> Fake:
        events.append("unpack")
        return tensor(values)

    x = tensor([0.5], True)
    with saved_tensors_hooks(pack, unpack):
        y = (x * x).exp()
    z = y * 2.0
    assert events == ["pack"] * 3
    (first,) = autograd.grad(z, x, create_graph=True)
    assert events == ["pack"] * 3 + ["unpack"] * 3
    (second,) = autograd.grad(first, x)
    value = y.tolist()[0]
    assert first.tolist()[0] == pytest.approx(2 * value)
    assert second.tolist()[0] == pytest.approx((2 + 4 * 0.25) * value * 2)


def test_saved_tensor_hooks_misused() -> None:
    x = tensor([0.5], True)
    with (
        saved_tensors_hooks(lambda t: t.mul_(2.0), lambda p: p),
        pytest.raises(RuntimeError, match="pack hook is modifying its input in place"),
    ):
        x * x
    with saved_tensors_hooks(lambda t: t, lambda p: 3):
        y = x * x
    with pytest.raises(TypeError, match="unpack_hook expected to be a Tensor but got result of ty"):
        autograd.backward(y)
    with (
        disable_saved_tensors_hooks("not here"),
        pytest.raises(RuntimeError, match="not here"),
        saved_tensors_hooks(lambda t: t, lambda p: p),
    ):
        pass


def test_anomaly_mode_names_the_forward_line() -> None:
    class Failing(Node):
        __slots__ = ()

        def apply(self, grads: Any) -> Any:
            raise KeyError("mine")

    x = tensor([1.0], True)

    def the_guilty_line() -> Fake:
        return recorded(Failing, made(x.array), x)

    with pytest.warns(UserWarning, match="Anomaly Detection has been enabled"):
        mode = autograd.detect_anomaly()
    with mode:
        y = the_guilty_line()
        with (
            pytest.warns(UserWarning, match=r"(?s)Error detected in Failing.*the_guilty_line"),
            pytest.raises(KeyError, match="mine"),
        ):
            autograd.backward(y)
    assert not anomaly.enabled
    y = the_guilty_line()
    with autograd.set_detect_anomaly(True):
        with (
            pytest.warns(UserWarning, match="No forward pass information available"),
            pytest.raises(KeyError, match="mine"),
        ):
            autograd.backward(y)
        assert autograd.is_anomaly_enabled()
    assert not autograd.is_anomaly_enabled()


def test_anomaly_mode_finds_nan_and_the_forward_of_the_backward() -> None:
    class Nan(Node):
        __slots__ = ()

        def apply(self, grads: Any) -> Any:
            return (grads[0] * float("nan"),)

    class Twice(Node):
        __slots__ = ()

        def apply(self, grads: Any) -> Any:
            return (recorded(Nan, made(grads[0].array), grads[0]),)

    x = tensor([1.0], True)
    seed = tensor([1.0], True)
    with autograd.set_detect_anomaly(True):
        y = recorded(Twice, made(x.array), x)
        (first,) = autograd.grad(y, x, seed, create_graph=True)
        with (
            pytest.warns(UserWarning, match="Previous calculation was induced by Twice"),
            pytest.raises(
                RuntimeError, match="Function 'Nan' returned nan values in its 0th output"
            ),
        ):
            autograd.backward(first)
    autograd.backward(recorded(Nan, made(x.array), x))


def test_metadata_of_a_node() -> None:
    node = (tensor([1.0], True) * 2.0).grad_fn
    node.metadata["key"] = 3
    assert node.metadata == {"key": 3}
    assert node.name() in repr(node)
