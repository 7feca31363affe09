"""Checkpoints: the gradients of the plain run, less memory, the same random numbers, errors."""

from __future__ import annotations

import contextlib
import gc
from typing import Any

import pytest

import tritorch as torch
from tritorch import nn
from tritorch.utils.checkpoint import (
    CheckpointError,
    checkpoint,
    checkpoint_sequential,
    set_checkpoint_early_stop,
)


def model(depth: int = 3, width: int = 8) -> Any:
    torch.manual_seed(0)
    layers: list[Any] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), nn.GELU()]
    return nn.Sequential(*layers)


def gradients(network: Any, x: Any, loss: Any) -> list[Any]:
    loss.backward()
    found = [x.grad.tolist(), *(p.grad.tolist() for p in network.parameters())]
    x.grad = None
    network.zero_grad()
    return found


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradients_are_those_of_the_plain_run(reentrant: bool) -> None:
    network = model()
    x = torch.randn(4, 8, requires_grad=True)
    expected = gradients(network, x, network(x).square().sum())
    once = checkpoint(network, x, use_reentrant=reentrant)
    assert gradients(network, x, once.square().sum()) == expected
    parts = checkpoint_sequential(network, 3, x, use_reentrant=reentrant)
    assert gradients(network, x, parts.square().sum()) == expected


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("preserve", [True, False])
def test_dropout_draws_the_same_numbers_again(reentrant: bool, preserve: bool) -> None:
    x = torch.ones(2000, requires_grad=True)

    def drop(x: Any) -> Any:
        return nn.functional.dropout(x, 0.5) * x

    torch.manual_seed(1)
    y = checkpoint(drop, x, use_reentrant=reentrant, preserve_rng_state=preserve)
    torch.rand(1)
    after = torch.get_rng_state()
    y.sum().backward()
    # d/dx of mask * 2 * x * x is twice the value where it was kept.
    agrees = x.grad.tolist() == (2 * y).tolist()
    assert agrees == preserve
    assert (torch.get_rng_state().tolist() == after.tolist()) == preserve


def peak(run: Any) -> int:
    """Bytes taken from the system at most while it runs, beyond what was taken before."""
    from tritorch.runtime import get_target

    allocator = get_target("cpu").allocator
    gc.collect()
    allocator.empty_cache()
    allocator.reset_peak()
    before = allocator.statistics().reserved
    run()
    return allocator.statistics().peak_reserved - before


def test_a_deep_network_needs_less_memory() -> None:
    """32 tensors of 1 MiB are saved; in 4 segments at most 8 of them, and 4 inputs, at once."""
    network = model(depth=16, width=64)
    x = torch.randn(4096, 64, requires_grad=True)

    def plain() -> None:
        network(x).sum().backward()

    def saving() -> None:
        checkpoint_sequential(network, 4, x, use_reentrant=False).sum().backward()

    plain()  # compiles; the gradients are there from now on
    much, little = peak(plain), peak(saving)
    assert much > 30 << 20
    assert little < 0.55 * much, (little, much)


def test_nested_and_retained() -> None:
    x = torch.tensor([0.3, -0.7], requires_grad=True)

    def inner(x: Any) -> Any:
        return x.sin().exp()

    def outer(x: Any) -> Any:
        return checkpoint(inner, x * 2, use_reentrant=False).tanh().sum()

    y = checkpoint(outer, x, use_reentrant=False)
    (first,) = torch.autograd.grad(y, x, retain_graph=True)
    (second,) = torch.autograd.grad(y, x)
    (expected,) = torch.autograd.grad((x * 2).sin().exp().tanh().sum(), x)
    assert first.tolist() == second.tolist() == expected.tolist()
    with pytest.raises(RuntimeError, match="a second time"):
        y.backward()


def test_second_derivatives_through_a_checkpoint() -> None:
    x = torch.tensor([0.3, -0.7], dtype=torch.float64, requires_grad=True)

    def f(x: Any) -> Any:
        return checkpoint(lambda x: x.sin() * x.exp(), x, use_reentrant=False)

    assert torch.autograd.gradcheck(f, (x,))
    assert torch.autograd.gradgradcheck(f, (x,))


@pytest.mark.parametrize("stop", [True, False])
def test_early_stop(stop: bool) -> None:
    runs: list[str] = []

    def f(x: Any) -> Any:
        y = x.exp()
        runs.append("kept")
        z = y + 1
        runs.append("end")
        return z

    x = torch.ones(2, requires_grad=True)
    with set_checkpoint_early_stop(stop):
        y = checkpoint(f, x, use_reentrant=False)
    y.sum().backward()
    assert runs == ["kept", "end"] + ([] if stop else ["kept", "end"])


def test_inputs_in_other_forms() -> None:
    x = torch.ones(2, requires_grad=True)
    w = torch.full((2,), 3.0, requires_grad=True)

    def f(flag: str, x: Any, *, scale: Any) -> dict[str, Any]:
        assert flag == "yes"
        return {"result": (x * w).exp() * scale}

    y = checkpoint(f, "yes", x, use_reentrant=False, scale=w)["result"]
    y.sum().backward()
    z = (x * w).exp() * w
    expected = torch.autograd.grad(z.sum(), [x, w])
    assert [x.grad.tolist(), w.grad.tolist()] == [g.tolist() for g in expected]
    with torch.no_grad():
        assert not checkpoint(torch.exp, x, use_reentrant=False).requires_grad


def test_context_fn() -> None:
    seen: list[str] = []

    @contextlib.contextmanager
    def note(name: str) -> Any:
        seen.append(name)
        yield

    x = torch.ones(2, requires_grad=True)
    y = checkpoint(
        torch.exp, x, use_reentrant=False, context_fn=lambda: (note("first"), note("second"))
    )
    assert seen == ["first"]
    y.sum().backward()
    assert seen == ["first", "second"]


@pytest.mark.parametrize("reentrant", [True, False])
def test_the_second_run_has_the_autocast_of_the_first(reentrant: bool) -> None:
    x = torch.randn(3, 3, requires_grad=True)
    seen: list[Any] = []

    def product(x: Any) -> Any:
        y = x @ x
        seen.append(y.dtype)
        return (y @ y).exp()

    with torch.autocast("cpu", torch.float16):
        y = checkpoint(product, x, use_reentrant=reentrant)
    y.float().sum().backward()
    assert seen == [torch.float16] * 2 and x.grad.dtype == torch.float32


def differing(change: Any) -> tuple[Any, Any]:
    """A function that does something else when it runs again."""
    runs = []

    def f(x: Any) -> Any:
        runs.append(1)
        return change(x) if len(runs) > 1 else x.exp().sin()

    return f, torch.ones(2, requires_grad=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.exp() + 1, "A different number of tensors was saved"),
        (lambda x: x[:1].exp().sin(), "different metadata than during the forward pass"),
    ],
)
def test_a_second_run_that_differs_is_an_error(change: Any, message: str) -> None:
    f, x = differing(change)
    with pytest.raises(CheckpointError, match=message):
        checkpoint(f, x, use_reentrant=False).sum().backward()


def test_more_tensors_than_before_and_no_check() -> None:
    f, x = differing(lambda x: x.exp().sin().cos())
    with pytest.raises(CheckpointError, match="trying to save more tensors"):
        checkpoint(f, x, use_reentrant=False, early_stop=False).sum().backward()
    f, x = differing(lambda x: x.double().exp().sin().float())
    checkpoint(f, x, use_reentrant=False, determinism_check="none").sum().backward()
    assert x.grad is not None


def test_an_input_that_was_written_to_is_an_error() -> None:
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    z = checkpoint(torch.exp, y, use_reentrant=False)
    with torch.no_grad():
        y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_wrong_use() -> None:
    x = torch.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match="use_reentrant parameter should be passed"):
        checkpoint(torch.exp, x)
    with pytest.raises(ValueError, match="Unexpected keyword arguments: scale"):
        checkpoint(torch.exp, x, use_reentrant=True, scale=2)
    with pytest.raises(ValueError, match="determinism_check should be one of"):
        checkpoint(torch.exp, x, use_reentrant=False, determinism_check="strict")
    y = checkpoint(torch.exp, x, use_reentrant=True)
    with pytest.raises(RuntimeError, match="incompatible with"):
        torch.autograd.grad(y.sum(), x)
    with pytest.warns(UserWarning, match="None of the inputs have requires_grad=True"):
        checkpoint(torch.exp, x.detach(), use_reentrant=True)
