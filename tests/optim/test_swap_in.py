"""Other parameters in an optimizer, and tensors in each other's place."""

from __future__ import annotations

import weakref

import pytest

import tritorch as torch
from tritorch.optim import swap_in_optimizer_params_and_state
from tritorch.utils import swap_tensors


def trained(steps: int, **options: float) -> tuple[list[torch.Tensor], torch.optim.Optimizer]:
    """Two parameters in two groups after so many steps on the same gradients."""
    parameters = [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.full((2,), 2.0))]
    optimizer = torch.optim.Adam([{"params": [p]} for p in parameters], **options)
    for _ in range(steps):
        step(optimizer)
    return parameters, optimizer


def step(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.arange(parameter.numel()).float() + 0.5
    optimizer.step()


@pytest.mark.parametrize("capturable", [False, True])
def test_a_step_in_the_block_is_one_of_the_other_optimizer(capturable: bool) -> None:
    parameters, optimizer = trained(1, lr=0.1, capturable=capturable)
    others, other = trained(3, lr=0.01, capturable=capturable)
    expected, reference = trained(4, lr=0.01, capturable=capturable)
    state = other.state_dict()
    before = [p.detach().clone() for p in parameters]
    own_state, own_list = optimizer.state, optimizer.param_groups[0]["params"]
    with swap_in_optimizer_params_and_state(optimizer, dict(zip("ab", others, strict=True)), state):
        assert optimizer.param_groups[0]["lr"] == 0.01
        step(optimizer)
    assert all(p.equal(e) for p, e in zip(others, expected, strict=True))
    for number, entry in reference.state_dict()["state"].items():
        for name, value in entry.items():
            assert state["state"][number][name].equal(value), name
    assert all(p.equal(b) for p, b in zip(parameters, before, strict=True))
    assert optimizer.state is own_state
    assert optimizer.param_groups[0]["params"] is own_list
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert float(optimizer.state_dict()["state"][0]["step"]) == 1


def test_an_error_in_the_block_gives_the_optimizer_back() -> None:
    parameters, optimizer = trained(1)
    given = {str(i): torch.nn.Parameter(p.detach().clone()) for i, p in enumerate(parameters)}
    with (
        pytest.raises(KeyError),
        swap_in_optimizer_params_and_state(optimizer, given, optimizer.state_dict()),
    ):
        raise KeyError
    assert optimizer.param_groups[1]["params"][0] is parameters[1]


def test_what_does_not_fit_is_refused() -> None:
    parameters, optimizer = trained(1)
    given, state = dict(zip("ab", parameters, strict=True)), optimizer.state_dict()
    cases = [
        (trained(0)[1], given, state, "initialized"),
        (optimizer, {"a": parameters[0]}, state, "swapin_parameters 1 tensors"),
        (optimizer, given, {"state": {}}, "laid out as"),
        (optimizer, given, {**state, "state": {7: {}}}, r"extra keys \[7\]"),
    ]
    for one, tensors, wrong, message in cases:
        with (
            pytest.raises(RuntimeError, match=message),
            swap_in_optimizer_params_and_state(one, tensors, wrong),
        ):
            pass
    assert optimizer.param_groups[0]["params"] == [parameters[0]]


def test_swapped_tensors_are_in_each_others_place() -> None:
    module = torch.nn.Linear(2, 2)
    parameter = module.weight
    other = torch.arange(3.0, dtype=torch.float64)
    parameter.grad = torch.ones(2, 2)
    other.note = "mine"
    swap_tensors(parameter, other)
    assert module.weight is parameter and type(parameter) is torch.Tensor
    assert parameter.tolist() == [0, 1, 2] and parameter.dtype is torch.float64
    assert parameter.note == "mine" and parameter.grad is None
    assert not parameter.requires_grad
    assert isinstance(other, torch.nn.Parameter) and other.requires_grad
    assert other.grad.tolist() == [[1, 1], [1, 1]] and not hasattr(other, "note")
    blank = torch.nn.LazyLinear(3).weight
    swap_tensors(blank, other)
    assert blank.shape == (2, 2)
    assert torch.nn.parameter.is_lazy(other)


def test_tensors_that_others_count_on_are_not_swapped() -> None:
    a, b = torch.ones(2, requires_grad=True), torch.ones(2)
    reference = weakref.ref(b)
    with pytest.raises(RuntimeError, match="Cannot swap t2 because it has weakref"):
        swap_tensors(a, b)
    del reference
    loss = (a * 2).sum()
    with pytest.raises(RuntimeError, match="will put a gradient into t1"):
        swap_tensors(a, b)
    loss.backward()
    del loss
    swap_tensors(a, b)
    assert b.grad.tolist() == [2, 2]
