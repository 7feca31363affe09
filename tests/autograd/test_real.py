"""What only real tensors show: lifetimes, depth, memory of gradients, threads."""

from __future__ import annotations

import doctest
import gc
import importlib
import threading
import weakref
from typing import Any

import pytest

import tritorch
from tritorch.autograd.graph import save_on_cpu


def test_graphs_go_without_the_garbage_collector() -> None:
    class Cube(tritorch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            y = x * x * x
            ctx.save_for_backward(x, y)
            return y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x, _ = ctx.saved_tensors
            return 3 * g * x * x

    gc.collect()
    gc.disable()
    try:
        x = tritorch.tensor([0.5, 1.0], requires_grad=True)
        y = Cube.apply(x).exp()
        z = y.softmax(0).sigmoid() + 1
        z[1:].mul_(2)
        loss = z.sum()
        references = [weakref.ref(t) for t in (x, y, z, loss, loss.grad_fn, y.grad_fn)]
        loss.backward()
        del x, y, z, loss
        assert [r() for r in references] == [None] * len(references)
    finally:
        gc.enable()


def test_a_deep_chain_and_its_end() -> None:
    x = tritorch.tensor([1.0], requires_grad=True)
    y = x
    for _ in range(20_000):
        y = y + x
    y.backward()
    assert x.grad.tolist() == [20_001.0]
    del y


def test_a_fresh_gradient_is_not_copied() -> None:
    x = tritorch.ones(1000, requires_grad=True)
    addresses = []
    # The node's gradients are seen where they leave it; nothing but the leaf keeps them.
    y = x * 2
    y.grad_fn.register_hook(lambda gi, go: addresses.append(gi[0].data_ptr()))
    (y * 3).sum().backward()
    assert x.grad.data_ptr() == addresses[0]
    assert x.grad.is_contiguous() and x.grad.grad_fn is None


def test_gradients_that_are_views_of_something_are_copied() -> None:
    x, y = (tritorch.ones(2, 3, requires_grad=True) for _ in range(2))
    seed = tritorch.ones(3, 2)
    (x.t() + y.t()).backward(seed)
    x.grad.add_(1)
    assert y.grad.tolist() == [[1.0] * 3] * 2
    assert seed.tolist() == [[1.0] * 2] * 3
    assert x.grad.stride() == (3, 1)


def test_gradient_of_an_expanded_sum_is_dense() -> None:
    x = tritorch.ones(2, 3, requires_grad=True)
    x.sum().backward()
    assert x.grad.stride() == (3, 1)
    x.grad.mul_(2)
    assert x.grad.tolist() == [[2.0] * 3] * 2


def test_threads_share_a_leaf() -> None:
    x = tritorch.ones(64, requires_grad=True)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                (x * 2).exp().log().sum().backward()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert x.grad.tolist() == pytest.approx([160.0] * 64, rel=1e-5)


def test_saved_on_the_host() -> None:
    x = tritorch.tensor([0.5, 1.0], requires_grad=True)
    with save_on_cpu():
        y = (x * x).sum()
    y.backward()
    assert x.grad.tolist() == [1.0, 2.0]


def test_anomaly_mode_names_this_line() -> None:
    x = tritorch.tensor([0.0], requires_grad=True)
    with tritorch.autograd.set_detect_anomaly(True):
        y = (x.sqrt() * 0).sum()  # this very line
        with (
            pytest.warns(UserWarning, match=r"(?s)Error detected in SqrtBackward0.*this very line"),
            pytest.raises(RuntimeError, match="Function 'SqrtBackward0' returned nan values in"),
        ):
            y.backward()


def test_in_place_on_a_parameter_between_steps() -> None:
    w = tritorch.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(3):
        loss = (w * w).sum()
        w.grad = None
        loss.backward()
        with tritorch.no_grad():
            w -= 0.25 * w.grad
    assert w.tolist() == [0.125, 0.25]
    assert w.is_leaf and w.requires_grad


def test_gradients_of_low_precision_leaves() -> None:
    x = tritorch.tensor([1.0, 2.0], dtype=tritorch.bfloat16, requires_grad=True)
    y = tritorch.tensor([3.0, 4.0], requires_grad=True)
    (x * y).sum().backward()
    assert x.grad.dtype is tritorch.bfloat16 and y.grad.dtype is tritorch.float32
    assert x.grad.tolist() == [3.0, 4.0]


@pytest.mark.parametrize("module", ["function", "grad_mode"])
def test_examples_in_the_documentation(module: str) -> None:
    found = doctest.testmod(importlib.import_module(f"tritorch.autograd.{module}"))
    assert found.attempted > 0 and found.failed == 0
