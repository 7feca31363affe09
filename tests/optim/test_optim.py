"""Optimizers against the textbook update in float64, option by option, and their state."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch import nn

STEPS = 5
SGD_OPTIONS = [
    {"lr": 0.1},
    {"lr": 0.1, "momentum": 0.9},
    {"lr": 0.1, "momentum": 0.9, "dampening": 0.3},
    {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.05, "maximize": True},
]
ADAM_OPTIONS = [
    {"lr": 0.01, "weight_decay": decay, "amsgrad": amsgrad, "maximize": maximize, "eps": eps}
    for decay, amsgrad, maximize, eps in itertools.product(
        (0.0, 0.1), (False, True), (False, True), (1e-8, 1e-3)
    )
]


def sgd_reference(p: np.ndarray, gradients: list[np.ndarray], **o: Any) -> np.ndarray:
    """PyTorch's documented recurrence."""
    buffer = None
    for g in gradients:
        g = -g if o.get("maximize") else g
        g = g + o.get("weight_decay", 0) * p
        if o.get("momentum"):
            buffer = (
                g if buffer is None else o["momentum"] * buffer + (1 - o.get("dampening", 0)) * g
            )
            g = g + o["momentum"] * buffer if o.get("nesterov") else buffer
        p = p - o["lr"] * g
    return p


def adam_reference(
    p: np.ndarray, gradients: list[np.ndarray], decoupled: bool, **o: Any
) -> np.ndarray:
    """Kingma and Ba, algorithm 1; Loshchilov and Hutter, algorithm 2."""
    beta1, beta2 = o.get("betas", (0.9, 0.999))
    m = v = top = np.zeros_like(p)
    for t, g in enumerate(gradients, start=1):
        g = -g if o["maximize"] else g
        if decoupled:
            p = p - o["lr"] * o["weight_decay"] * p
        else:
            g = g + o["weight_decay"] * p
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        top = np.maximum(top, v)
        used = top if o["amsgrad"] else v
        p = p - o["lr"] / (1 - beta1**t) * m / (np.sqrt(used) / math.sqrt(1 - beta2**t) + o["eps"])
    return p


def run(optimizer_type: Any, dtype: Any, **options: Any) -> list[tuple[Any, Any, Any]]:
    """Some steps on parameters of odd shapes; (result, start, gradients) of each."""
    rng = np.random.default_rng(0)
    shapes = [(3,), (17, 5), (), (1, 40_000)]
    starts = [rng.standard_normal(s) for s in shapes]
    gradients = [[rng.standard_normal(s) for _ in range(STEPS)] for s in shapes]
    parameters = [nn.Parameter(torch.tensor(s, dtype=dtype)) for s in starts]
    optimizer = optimizer_type(parameters, **options)
    for step in range(STEPS):
        for p, g in zip(parameters, gradients):
            p.grad = torch.tensor(g[step], dtype=dtype)
        optimizer.step()
    return [(p.detach().numpy(), s, g) for p, s, g in zip(parameters, starts, gradients)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", SGD_OPTIONS, ids=str)
def test_sgd(options: dict[str, Any], dtype: Any) -> None:
    for result, start, gradients in run(torch.optim.SGD, dtype, **options):
        expected = sgd_reference(start, gradients, **options)
        tolerance = 1e-12 if dtype is torch.float64 else 3e-6
        np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("options", ADAM_OPTIONS, ids=str)
def test_adam(options: dict[str, Any], decoupled: bool, dtype: Any) -> None:
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    for result, start, gradients in run(kind, dtype, **options):
        expected = adam_reference(start, gradients, decoupled, **options)
        tolerance = 1e-10 if dtype is torch.float64 else 5e-6
        np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)


def test_one_launch_for_all_parameters() -> None:
    parameters = [nn.Parameter(torch.randn(n, 3)) for n in range(1, 9)]
    optimizer = torch.optim.AdamW(parameters)
    for p in parameters:
        p.grad = torch.randn(*p.shape)
    optimizer.step()
    before = torch.kernels.stats().launches
    optimizer.step()
    assert torch.kernels.stats().launches - before == 1


def test_groups_closure_and_missing_gradients() -> None:
    a, b, c = (nn.Parameter(torch.ones(2)) for _ in range(3))
    optimizer = torch.optim.SGD([{"params": [a, c]}, {"params": b, "lr": 1.0}], lr=0.1)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (a * 2 + b * 3).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 10.0
    assert a.tolist() == pytest.approx([0.8, 0.8]) and b.tolist() == [-2.0, -2.0]
    assert c.tolist() == [1.0, 1.0]


def test_transposed_parameter_and_gradient() -> None:
    values = np.arange(6.0).reshape(2, 3)
    p = nn.Parameter(torch.tensor(values).t())
    p.grad = torch.tensor(values.T.copy())
    torch.optim.SGD([p], lr=0.5).step()
    assert p.tolist() == (values.T - 0.5 * values.T).tolist()
    with pytest.raises(ValueError, match="not dense"):
        q = nn.Parameter(torch.ones(4, 4)[:, ::2])
        q.grad = torch.ones(4, 2)
        torch.optim.SGD([q], lr=0.5).step()


def test_a_step_is_seen_by_saved_tensors() -> None:
    w = nn.Parameter(torch.ones(2))
    y = (w * w).sum()
    w.grad = torch.ones(2)
    torch.optim.SGD([w], lr=0.1).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_state_dict_resumes(kind: str) -> None:
    def make() -> tuple[Any, Any]:
        p = nn.Parameter(torch.ones(3))
        extra = {"momentum": 0.9} if kind == "SGD" else {"amsgrad": True}
        return p, getattr(torch.optim, kind)([p], lr=0.1, **extra)

    def step(p: Any, optimizer: Any, times: int) -> None:
        for _ in range(times):
            optimizer.zero_grad()
            (p * p).sum().backward()
            optimizer.step()

    p, optimizer = make()
    step(p, optimizer, 3)
    q, other = make()
    with torch.no_grad():
        q.copy_(p)
    other.load_state_dict(optimizer.state_dict())
    step(p, optimizer, 3)
    step(q, other, 3)
    assert torch.equal(p, q)


def test_errors() -> None:
    with pytest.raises(ValueError, match="empty parameter list"):
        torch.optim.SGD([], lr=0.1)
    with pytest.raises(TypeError, match="iterable of Tensors or dicts"):
        torch.optim.SGD(torch.ones(1), lr=0.1)
    with pytest.raises(ValueError, match="non-leaf"):
        torch.optim.SGD([torch.ones(1, requires_grad=True) * 2], lr=0.1)
    p = nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match="Invalid learning rate: -1"):
        torch.optim.SGD([p], lr=-1)
    with pytest.raises(ValueError, match="Invalid beta parameter at index 1"):
        torch.optim.Adam([p], betas=(0.9, 1.0))
    with pytest.raises(ValueError, match="Nesterov momentum requires"):
        torch.optim.SGD([p], nesterov=True)
    with pytest.raises(ValueError, match="twice"):
        torch.optim.SGD([p, p])
    with pytest.raises(ValueError, match="more than one parameter group"):
        torch.optim.SGD([{"params": p}, {"params": [p]}])
    optimizer = torch.optim.SGD([p])
    with pytest.raises(ValueError, match="different number of parameter groups"):
        optimizer.load_state_dict({"state": {}, "param_groups": []})
