"""The engine on Fake tensors: order, accumulation, targets, errors, depth, threads."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from typing import Any

import numpy as np
import pytest

from tests.autograd.fake import Fake, made, recorded, tensor
from tritorch import autograd
from tritorch.autograd.edges import attach, edge, register_hook, retain_grad
from tritorch.autograd.grad_mode import grad_mode_state
from tritorch.autograd.node import AccumulateGrad, Node

pytestmark = pytest.mark.usefixtures("fakes")


def test_gradient_of_a_product() -> None:
    x, y = tensor([1.0, 2.0], True), tensor([3.0, 5.0], True)
    autograd.backward((x * y + x).sum())
    assert x.grad is not None and y.grad is not None
    assert x.grad.tolist() == [4.0, 6.0]
    assert y.grad.tolist() == [1.0, 2.0]


def test_gradients_accumulate_and_none_starts_afresh() -> None:
    x = tensor([1.0], True)
    for _ in range(3):
        autograd.backward((x * 2.0).sum())
    assert x.grad.tolist() == [6.0]
    x.grad = None
    autograd.backward((x * 2.0).sum())
    assert x.grad.tolist() == [2.0]


def test_two_leaves_never_share_the_memory_of_a_gradient() -> None:
    x, y = tensor([1.0, 2.0], True), tensor([3.0, 4.0], True)
    autograd.backward((x + y), tensor([1.0, 1.0]))
    autograd.backward((x * 3.0), tensor([1.0, 1.0]))
    assert x.grad.tolist() == [4.0, 4.0]
    assert y.grad.tolist() == [1.0, 1.0]


def test_the_callers_gradient_is_never_written() -> None:
    x = tensor([1.0, 2.0], True)
    seed = tensor([1.0, 1.0])
    autograd.backward(x + x, seed)
    autograd.backward(x * 1.0, seed)
    assert seed.tolist() == [1.0, 1.0]
    assert x.grad.tolist() == [3.0, 3.0]


def test_a_gradient_nobody_else_sees_becomes_the_leafs_without_a_copy() -> None:
    x = tensor([1.0, 2.0], True)
    given: list[int] = []

    class Remembering(Node):
        __slots__ = ()

        def apply(self, grads: Any) -> Any:
            result = made(grads[0].array * 2)
            given.append(id(result._storage.memory))
            return (result,)

    autograd.backward(recorded(Remembering, made(x.array), x).sum())
    assert id(x.grad._storage.memory) == given[0]


def test_three_gradients_are_added_in_one_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    from tritorch.autograd.protocol import operations

    count = {"add": 0, "accumulate": 0}
    for name in count:
        plain = getattr(operations, name)

        def counted(*arguments: Any, name: str = name, plain: Any = plain) -> Any:
            count[name] += 1
            return plain(*arguments)

        monkeypatch.setattr(operations, name, counted)
    x = tensor([1.0, 2.0], True)
    y = x * 2.0
    total = y * 3.0 + y * 5.0 + y * 7.0
    autograd.backward(total.sum())
    assert x.grad.tolist() == [30.0, 30.0]
    assert count == {"add": 0, "accumulate": 2}


def test_the_latest_node_runs_first_and_leaves_as_soon_as_ready() -> None:
    order: list[str] = []
    x, w = tensor([1.0], True), tensor([2.0], True)
    a = x * 2.0
    b = a * w
    c = a + b
    for name, t in (("a", a), ("b", b), ("c", c), ("x", x), ("w", w)):
        register_hook(t, lambda g, name=name: order.append(name))
    autograd.backward(c.sum())
    assert order == ["c", "b", "w", "a", "x"]


def test_several_roots_one_behind_the_other() -> None:
    x = tensor([1.0], True)
    a = x * 2.0
    b = a * 3.0
    autograd.backward([a, b], [tensor([1.0]), tensor([1.0])])
    assert x.grad.tolist() == [8.0]
    x.grad = None
    a = x * 2.0
    autograd.backward([a, a], [tensor([1.0]), tensor([10.0])])
    assert x.grad.tolist() == [22.0]


def test_grad_returns_and_touches_no_leaf() -> None:
    x, y = tensor([2.0], True), tensor([3.0], True)
    a = x * y
    b = a * a
    ga, gx = autograd.grad(b, [a, x], retain_graph=True)
    assert (ga.tolist(), gx.tolist()) == ([12.0], [36.0])
    assert x.grad is None and y.grad is None
    (only,) = autograd.grad(b, a)
    assert only.tolist() == [12.0]


def test_only_nodes_on_the_way_to_the_targets_run() -> None:
    ran: list[str] = []

    class Watched(Node):
        __slots__ = ("label",)

        def apply(self, grads: Any) -> Any:
            ran.append(self.label)
            return (grads[0],)

    def watched(t: Fake, label: str) -> Fake:
        result = recorded(Watched, made(t.array), t)
        result._grad_fn.label = label
        return result

    x, y = tensor([2.0], True), tensor([3.0], True)
    total = watched(x, "x") + watched(y, "y")
    autograd.grad(total, x)
    assert ran == ["x"]
    ran.clear()
    total = watched(x, "x") + watched(y, "y")
    autograd.backward(total, inputs=[y])
    assert ran == ["y"]
    assert x.grad is None and y.grad.tolist() == [1.0]


def test_nodes_are_told_which_gradients_are_wanted() -> None:
    x, y = tensor([2.0], True), tensor([3.0], True)
    product = x * y
    node = product._grad_fn
    seen: list[tuple[bool, bool]] = []
    register_hook(product, lambda g: seen.append((node.needs(0), node.needs(1))))
    autograd.grad(product, x, retain_graph=True)
    autograd.backward(product)
    assert seen == [(True, False), (True, True)]


def test_backward_with_inputs_that_are_no_leaves_keeps_their_gradient() -> None:
    x = tensor([2.0], True)
    a = x * 3.0
    autograd.backward(a * a, inputs=[a])
    assert a.grad.tolist() == [12.0]
    assert x.grad is None


def test_unused_inputs() -> None:
    x, y = tensor([2.0], True), tensor([3.0], True)
    with pytest.raises(RuntimeError, match="at index 1 appears to not have been used in the graph"):
        autograd.grad(x * 2.0, [x, y])
    assert autograd.grad(x * 2.0, [x, y], allow_unused=True)[1] is None
    unused = autograd.grad(x * 2.0, [x, y], materialize_grads=True)[1]
    assert (unused.tolist(), unused.requires_grad) == ([0.0], True)
    with pytest.raises(ValueError, match="Expected allow_unused to be True or not passed"):
        autograd.grad(x, x, allow_unused=False, materialize_grads=True)


def test_messages_of_wrong_calls() -> None:
    x, constant = tensor([1.0, 2.0], True), tensor([1.0])
    with pytest.raises(
        RuntimeError, match="grad can be implicitly created only for scalar outputs"
    ):
        autograd.backward(x * 2.0)
    with pytest.raises(
        RuntimeError,
        match="element 0 of tensors does not require grad and does not have a grad_fn",
    ):
        autograd.backward(constant)
    with pytest.raises(RuntimeError, match=r"Mismatch in shape: grad_output\[0\] has a shape of"):
        autograd.backward(x * 2.0, tensor([1.0, 2.0, 3.0]))
    with pytest.raises(RuntimeError, match="got 2 tensors and 1 gradients"):
        autograd.backward([x * 2.0, x * 2.0], [None])
    with pytest.raises(RuntimeError, match=r"`inputs` argument to `backward\(\)` cannot be empty"):
        autograd.backward((x * 2.0).sum(), inputs=[])
    with pytest.raises(RuntimeError, match="One of the differentiated Tensors does not require"):
        autograd.grad((x * 2.0).sum(), constant)
    with pytest.raises(TypeError, match="gradients can be either Tensors or None, but got int"):
        autograd.backward([x * 2.0], [3])


def test_a_second_backward_needs_retain_graph() -> None:
    x = tensor([2.0], True)
    y = x * x
    autograd.backward(y, retain_graph=True)
    autograd.backward(y)
    assert x.grad.tolist() == [8.0]
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        autograd.backward(y)


def test_second_and_third_derivative() -> None:
    x = tensor([2.0], True)
    y = x * x * x
    (first,) = autograd.grad(y, x, create_graph=True)
    (second,) = autograd.grad(first, x, create_graph=True)
    (third,) = autograd.grad(second, x)
    assert (first.tolist(), second.tolist(), third.tolist()) == ([12.0], [12.0], [6.0])


def test_create_graph_gives_leaves_a_gradient_with_history() -> None:
    x = tensor([3.0], True)
    autograd.backward(x * x, create_graph=True)
    assert x.grad.requires_grad
    (second,) = autograd.grad(x.grad, x)
    assert second.tolist() == [2.0]


def test_double_backward_through_a_saved_output() -> None:
    x = tensor([0.5], True)
    y = x.exp()
    (first,) = autograd.grad(y, x, create_graph=True)
    (second,) = autograd.grad(first, x)
    assert np.allclose(second.array, np.exp(0.5))


def test_broadcast_gradients_are_summed_and_cast() -> None:
    class Wide(Node):
        __slots__ = ()

        def apply(self, grads: Any) -> Any:
            return (tensor(np.ones((4, 3)), dtype=np.float64),)

    x = tensor([[1.0, 2.0, 3.0]], True, dtype=np.float32)
    autograd.backward(recorded(Wide, made(x.array), x).sum())
    assert x.grad._layout.dtype.name == "float32"
    assert x.grad.tolist() == [[4.0, 4.0, 4.0]]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda: (tensor([1.0, 2.0]),), r"Function Bad returned an invalid gradient at index 0 - "
         r"got \[2\] but expected shape compatible with \[3\]"),
        (lambda: (), r"Function Bad returned an incorrect number of gradients \(expected 1, got 0"),
    ],
)  # fmt: skip
def test_a_wrong_gradient_names_the_function(returned: Any, message: str) -> None:
    class Bad(Node):
        __slots__ = ()

        def apply(self, grads: Any) -> Any:
            return returned()

    x = tensor([1.0, 2.0, 3.0], True)
    with pytest.raises(RuntimeError, match=message):
        autograd.backward(recorded(Bad, made(x.array), x).sum())


def test_an_error_leaves_no_trace() -> None:
    class Failing(Node):
        __slots__ = ()

        def apply(self, grads: Any) -> Any:
            assert not grad_mode_state.enabled
            raise KeyError("mine")

    x = tensor([1.0], True)
    bad = recorded(Failing, made(x.array), x)
    with pytest.raises(KeyError, match="mine"):
        autograd.grad(bad, x)
    assert grad_mode_state.enabled
    assert grad_mode_state.depth == 0 and grad_mode_state.task is None
    autograd.backward(x * 2.0)
    assert x.grad.tolist() == [2.0]


def test_a_chain_of_100_000_nodes() -> None:
    class Pass(Node):
        __slots__ = ()

        def apply(self, grads: Any) -> Any:
            return grads

    x = tensor([1.0], True)
    y = x * 2.0
    first = weakref.ref(y._grad_fn)
    for _ in range(100_000):
        attach(y, Pass((edge(y),), (y._layout,)))
    autograd.backward(y)
    assert x.grad.tolist() == [2.0]
    del y
    assert first() is None


def test_graph_and_tensors_go_without_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        x = tensor([0.5, 1.0], True)
        y = x.exp()
        z = (y * y).exp().sum()
        references = [weakref.ref(t) for t in (x, y, z, z._grad_fn, y._grad_fn, edge(x)[0])]
        autograd.backward(z)
        del x, y, z
        assert [r() for r in references] == [None] * len(references)
    finally:
        gc.enable()


def test_backward_inside_a_backward() -> None:
    class Nested(Node):
        __slots__ = ()

        def apply(self, grads: Any) -> Any:
            inner = tensor([2.0], True)
            with autograd.enable_grad():
                squared = inner * inner
            autograd.backward(squared)
            assert not grad_mode_state.enabled
            return (grads[0] * inner.grad,)

    x = tensor([1.0], True)
    autograd.backward(recorded(Nested, made(x.array), x))
    assert x.grad.tolist() == [4.0]


def test_deeply_nested_backwards_do_not_exhaust_the_stack() -> None:
    deepest = 400

    class Nested(Node):
        __slots__ = ("level",)

        def apply(self, grads: Any) -> Any:
            if self.level < deepest:
                autograd.backward(nested(self.level + 1))
            return (grads[0],)

    x = tensor([1.0], True)

    def nested(level: int) -> Fake:
        with autograd.enable_grad():
            result = recorded(Nested, made(x.array), x)
        result._grad_fn.level = level
        return result

    autograd.backward(nested(0))
    assert x.grad.tolist() == [deepest + 1.0]


def test_threads_share_a_leaf() -> None:
    x = tensor([1.0], True)
    shared = x * 1.0

    def work() -> None:
        for _ in range(50):
            autograd.backward(shared * 1.0, retain_graph=True)
            time.sleep(0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert x.grad.tolist() == [200.0]


def test_edges_of_a_leaf_share_one_node_that_lives_as_long_as_it_is_used() -> None:
    x = tensor([1.0], True)
    first, second = edge(x)[0], edge(x)[0]
    assert isinstance(first, AccumulateGrad) and first is second
    assert first.variable is x
    gone = weakref.ref(first)
    del first, second
    assert gone() is None
    assert edge(tensor([1.0])) == (None, 0)


def test_callbacks_run_at_the_end() -> None:
    x = tensor([1.0], True)
    events: list[str] = []

    def hook(g: Fake) -> None:
        autograd.graph.queue_callback(lambda: events.append("end"))
        events.append("hook")

    a = x * 2.0
    register_hook(a, hook)
    register_hook(x, lambda g: events.append("leaf"))
    autograd.backward(a)
    assert events == ["hook", "leaf", "end"]
    with pytest.raises(RuntimeError, match="only be installed during backward pass"):
        autograd.graph.queue_callback(print)


def test_gradient_edges_stand_for_tensors() -> None:
    x = tensor([2.0], True)
    a = x * 3.0
    place = autograd.graph.get_gradient_edge(a)
    b = a * a
    assert autograd.grad(b, place, retain_graph=True)[0].tolist() == [12.0]
    end = autograd.graph.get_gradient_edge(b)
    assert autograd.grad(end, x)[0].tolist() == [36.0]


def test_batched_gradients_are_stacked() -> None:
    x = tensor([1.0, 2.0], True)
    (rows,) = autograd.grad(x * x, x, tensor(np.eye(2)), is_grads_batched=True)
    assert rows.tolist() == [[2.0, 0.0], [0.0, 4.0]]


def test_retained_gradient() -> None:
    x = tensor([2.0], True)
    a = x * 3.0
    retain_grad(a)
    retain_grad(a)
    autograd.backward(a * a, retain_graph=True)
    assert a.grad.tolist() == [12.0]
