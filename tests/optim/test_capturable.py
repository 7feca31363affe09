"""`capturable=True`: the kernel counts the steps, with the results of counting on the host."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch.runtime import statistics

CASES: list[tuple[str, dict[str, Any]]] = [
    ("Adam", {"amsgrad": True, "weight_decay": 0.1}),
    ("AdamW", {"maximize": True}),
    ("Adamax", {}),
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"lr": 0.1}),
    ("RMSprop", {"centered": True, "momentum": 0.5}),
    ("Adadelta", {}),
    ("Rprop", {}),
    ("ASGD", {"t0": 3, "lambd": 0.1, "lr": 0.1}),
]
SHAPES = [(5, 7), (20_000,), (0,), ()]  # the second takes several programs


def parameters() -> list[Any]:
    generator = np.random.default_rng(3)
    return [
        torch.tensor(generator.normal(size=shape), dtype=torch.float32, requires_grad=True)
        for shape in SHAPES
    ]


def take_steps(optimizer: Any, first: int, behind: int) -> None:
    for number in range(first, behind):
        generator = np.random.default_rng(number)
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = torch.tensor(generator.normal(size=p.shape), dtype=torch.float32)
        optimizer.step()


def check(found: list[Any], expected: list[Any]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(
            one.detach().numpy(), other.detach().numpy(), rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize(("name", "options"), CASES, ids=[name for name, _ in CASES])
def test_as_the_host_counts(name: str, options: dict[str, Any]) -> None:
    make = getattr(torch.optim, name)
    plain, counting = parameters(), parameters()
    host, device = make(plain, **options), make(counting, **options, capturable=True)
    take_steps(host, 0, 8)
    before = statistics.snapshot()
    take_steps(device, 0, 8)
    launches = (statistics.snapshot() - before).launches_by_kernel
    scheduled = [count for kernel, count in launches.items() if kernel.endswith("_scheduled")]
    assert scheduled == [8]
    check(counting, plain)
    for p, other in zip(counting, plain):
        numbers, expected = device.state[p], host.state_dict()["state"]
        assert numbers["step"].item() == 8
        assert numbers["step"].dtype is torch.float32
        entry = expected[[id(q) for q in plain].index(id(other))]
        for key in {"mu_product", "eta", "mu"} & set(numbers):
            assert numbers[key].item() == pytest.approx(entry[key].item(), rel=1e-6)


def test_a_rate_in_memory_is_read_at_each_step() -> None:
    rate = torch.tensor(0.1)
    plain, counting = parameters(), parameters()
    host = torch.optim.Adam(plain, lr=0.1)
    device = torch.optim.Adam(counting, lr=rate, capturable=True)
    for optimizer in (host, device):
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
        for number in range(6):
            take_steps(optimizer, number, number + 1)
            scheduler.step()
    assert device.param_groups[0]["lr"] is rate
    assert rate.item() == pytest.approx(0.0125)
    check(counting, plain)


def test_a_schedule_in_replays() -> None:
    """Replays count steps, and read the rate that a scheduler wrote."""
    plain, counting = parameters()[:1], parameters()[:1]
    host = torch.optim.AdamW(plain, lr=0.1)
    device = torch.optim.AdamW(counting, lr=torch.tensor(0.1), capturable=True)
    gradient = torch.ones(5, 7)
    plain[0].grad = counting[0].grad = gradient
    graph = torch.accelerator.Graph()
    with graph:
        device.step()
    host.step()
    for number in range(1, 6):
        gradient.fill_(number)
        for optimizer in (host, device):
            rate = 0.1 / number
            if optimizer is host:
                optimizer.param_groups[0]["lr"] = rate
            else:
                optimizer.param_groups[0]["lr"].fill_(rate)
        host.step()
        graph.replay()
    assert device.state[counting[0]]["step"].item() == 6
    check(counting, plain)


def test_states_move_both_ways() -> None:
    """A state of the host's counting goes on in kernels, and the other way round."""
    expected = parameters()
    optimizer = torch.optim.NAdam(expected)
    take_steps(optimizer, 0, 6)
    found = parameters()
    optimizer = torch.optim.NAdam(found)
    take_steps(optimizer, 0, 2)
    state = copy.deepcopy(optimizer.state_dict())
    state["param_groups"][0]["capturable"] = True
    optimizer = torch.optim.NAdam(found)
    optimizer.load_state_dict(state)
    take_steps(optimizer, 2, 4)
    assert optimizer.state_dict()["state"][0]["step"].item() == 4
    optimizer.param_groups[0]["capturable"] = False
    take_steps(optimizer, 4, 6)
    check(found, expected)
