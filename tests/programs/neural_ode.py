"""A neural ordinary differential equation: gradients by the adjoint method, a custom Function.

Source: Chen et al., 2018.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.datasets import load_digits

import tritorch as torch
from tests.programs.learning import Learning, run

nn, functional = torch.nn, torch.nn.functional

EPOCHS = 12
STEPS = 6  # of the solver, over the time from 0 to 1
STATE = 32

State = tuple[torch.Tensor, ...]
Derivative = Callable[[float, State], State]


def solve(derivative: Derivative, state: State, start: float, end: float) -> State:
    """The state at the end, by the method of Runge and Kutta of fourth order."""
    step = (end - start) / STEPS

    def moved(by: float, rates: State) -> State:
        return tuple(x + by * rate for x, rate in zip(state, rates, strict=True))

    for number in range(STEPS):
        time = start + number * step
        first = derivative(time, state)
        second = derivative(time + step / 2, moved(step / 2, first))
        third = derivative(time + step / 2, moved(step / 2, second))
        fourth = derivative(time + step, moved(step, third))
        parts = zip(first, second, third, fourth, strict=True)
        state = moved(step / 6, tuple(a + 2 * b + 2 * c + d for a, b, c, d in parts))
    return state


class Adjoint(torch.autograd.Function):
    """Keeps the last state only; the way back solves for state, adjoint and gradients."""

    @staticmethod
    def forward(ctx: Any, field: nn.Module, start: torch.Tensor, *weights: torch.Tensor) -> Any:
        (end,) = solve(lambda time, state: (field(time, state[0]),), (start,), 0.0, 1.0)
        ctx.field = field
        ctx.save_for_backward(end, *weights)
        return end

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        end, *weights = ctx.saved_tensors

        def derivative(time: float, state: State) -> State:
            with torch.enable_grad():
                x = state[0].detach().requires_grad_()
                rate = ctx.field(time, x)
            found = torch.autograd.grad(rate, (x, *weights), grad_outputs=-state[1])
            return rate.detach(), *found

        zeros = tuple(torch.zeros_like(weight) for weight in weights)
        _, adjoint, *gradients = solve(derivative, (end, upstream, *zeros), 1.0, 0.0)
        return None, adjoint, *gradients


class Field(nn.Module):
    """The rate of change of a state (N, STATE) at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(STATE + 1, 64)
        self.second = nn.Linear(64, STATE)

    def forward(self, time: float, state: torch.Tensor) -> torch.Tensor:
        times = torch.full_like(state[:, :1], time)
        return self.second(torch.tanh(self.first(torch.cat([state, times], dim=1))))


class Network(nn.Module):
    """Images (N, 64) to logits (N, 10), through the flow of a field."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.field, self.after = nn.Linear(64, STATE), Field(), nn.Linear(STATE, 10)

    def forward(self, images: torch.Tensor, adjoint: bool = True) -> torch.Tensor:
        start = torch.tanh(self.before(images))
        if adjoint:
            end = Adjoint.apply(self.field, start, *self.field.parameters())
        else:
            (end,) = solve(lambda time, state: (self.field(time, state[0]),), (start,), 0.0, 1.0)
        return self.after(end)


def program(learning: Learning, seed: int = 0) -> None:
    """Digits through a flow; its gradients are those of the solver's own steps."""
    torch.manual_seed(seed)
    data, raw = torch.utils.data, load_digits()
    images, labels = torch.from_numpy(raw.data).float() / 8 - 1, torch.from_numpy(raw.target)
    train, test = data.random_split(data.TensorDataset(images, labels), [1440, 357])
    loader = data.DataLoader(train, batch_size=48, shuffle=True)
    test_images, test_labels = test[:]
    model = Network()
    optimizer = torch.optim.NAdam(model.parameters(), lr=4e-3)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.85)

    def accuracy() -> float:
        with torch.no_grad():
            return (model(test_images).argmax(dim=1) == test_labels).float().mean().item()

    learning.point(0, accuracy())
    for epoch in learning.steps(range(EPOCHS), EPOCHS, "test accuracy"):
        for batch, wanted in loader:
            optimizer.zero_grad()
            functional.cross_entropy(model(batch), wanted).backward()
            optimizer.step()
        scheduler.step()
        learning.point(epoch + 1, accuracy())
    learning.figure("test accuracy", accuracy(), at_least=0.95)

    gradients = []
    for adjoint in (True, False):
        model.zero_grad()
        functional.cross_entropy(model(test_images, adjoint), test_labels).backward()
        gradients.append(nn.utils.parameters_to_vector(p.grad for p in model.parameters()))
    off = torch.linalg.vector_norm(gradients[0] - gradients[1]) / gradients[1].norm()
    learning.figure("adjoint gradients off by", off.item(), at_most=1e-2)


if __name__ == "__main__":
    run(program, __doc__)
