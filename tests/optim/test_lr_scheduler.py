"""Learning rates over epochs; the expected ones are PyTorch 2.13's."""

from __future__ import annotations

from typing import Any

import pytest

import tritorch as torch
from tritorch.optim import lr_scheduler


def optimizer() -> torch.optim.SGD:
    return torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)


def rates(scheduler: Any, epochs: int = 5) -> list[float]:
    found = [scheduler.get_last_lr()[0]]
    for _ in range(epochs):
        scheduler.optimizer.step()
        scheduler.step()
        assert scheduler.get_last_lr() == [scheduler.optimizer.param_groups[0]["lr"]]
        found += scheduler.get_last_lr()
    return found


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda o: lr_scheduler.StepLR(o, 2, gamma=0.5), [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]),
        (
            lambda o: lr_scheduler.MultiStepLR(o, [1, 3, 3], gamma=0.5),
            [1.0, 0.5, 0.5, 0.125, 0.125, 0.125],
        ),
        (lambda o: lr_scheduler.ExponentialLR(o, 0.9), [1.0, 0.9, 0.81, 0.729, 0.6561, 0.59049]),
        (lambda o: lr_scheduler.LinearLR(o, 0.25, 1.0, 3), [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]),
        (lambda o: lr_scheduler.LinearLR(o, 1.0, 0.0, 2), [1.0, 0.5, 0.0, 0.0, 0.0, 0.0]),
        (lambda o: lr_scheduler.CosineAnnealingLR(o, 3), [1.0, 0.75, 0.25, 0.0, 0.25, 0.75]),
        (
            lambda o: lr_scheduler.CosineAnnealingLR(o, 2, eta_min=0.1),
            [1.0, 0.55, 0.1, 0.55, 1.0, 0.55],
        ),
        (
            lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
            [1.0, 0.5, 0.333333333, 0.25, 0.2, 0.166666667],
        ),
    ],
)
def test_rates(make: Any, expected: list[float]) -> None:
    assert rates(make(optimizer())) == pytest.approx(expected, rel=1e-8, abs=1e-12)


def test_chained_schedulers_multiply() -> None:
    o = optimizer()
    decay, halve = lr_scheduler.ExponentialLR(o, 0.5), lr_scheduler.StepLR(o, 1, gamma=0.5)
    o.step()
    decay.step()
    halve.step()
    assert o.param_groups[0]["lr"] == 0.25


def test_going_on_from_a_saved_state() -> None:
    first = lr_scheduler.StepLR(optimizer(), 2, gamma=0.5)
    rates(first, 3)
    o = optimizer()
    second = lr_scheduler.StepLR(o, 7)
    second.load_state_dict(first.state_dict())
    o.load_state_dict(first.optimizer.state_dict())
    assert rates(second, 1) == [0.5, 0.25]
    with pytest.raises(KeyError, match="'initial_lr' is not specified"):
        lr_scheduler.StepLR(optimizer(), 1, last_epoch=3)


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="int is not an Optimizer"):
        lr_scheduler.StepLR(3, 1)
    with pytest.raises(ValueError, match="Expected 1 lr_lambdas, but got 2"):
        lr_scheduler.LambdaLR(optimizer(), [abs, abs])
    with pytest.raises(ValueError, match="greater than 0 and less or equal to 1, got 0"):
        lr_scheduler.LinearLR(optimizer(), 0.0)
