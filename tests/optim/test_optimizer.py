"""What optimizers have in common: hooks, groups, names, copies, launches, steps with history."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import tritorch as torch
from tritorch.optim import optimizer as base
from tritorch.runtime.statistics import snapshot

NAMES = [
    "ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Muon", "NAdam", "RAdam",
    "RMSprop", "Rprop", "SGD", "SparseAdam",
]  # fmt: skip
#: what a step launches where that is not one kernel: Adafactor's sums wait for each other; Muon
#: takes one for the momentum of all, and 19 for a shape (20 if upright ones are turned)
LAUNCHES = {"Adafactor": 4, "Muon": 1 + 20 + 19}


def ready(*shapes: tuple[int, ...]) -> list[Any]:
    """Parameters with gradients."""
    made = [torch.nn.Parameter(torch.ones(shape)) for shape in shapes]
    for p in made:
        p.grad = torch.full_like(p, 0.5)
    return made


@pytest.mark.parametrize("name", NAMES)
def test_launches_of_a_step(name: str) -> None:
    """However many parameters: a step's launches depend on none but Muon's number of shapes."""
    parameters = ready((3, 2), (2, 5), (3, 2), (2, 5))
    optimizer = getattr(torch.optim, name)(parameters)
    for _ in range(3):
        optimizer.step()
    before = snapshot().launches
    optimizer.step()
    launches = snapshot().launches - before
    assert launches == LAUNCHES.get(name, 1)


@pytest.mark.parametrize("name", NAMES)
def test_options_that_are_accepted(name: str) -> None:
    """The ways to launch that PyTorch knows change nothing; two at once are refused as there."""
    kind = getattr(torch.optim, name)
    known = kind.__init__.__code__.co_varnames
    for option in ("foreach", "fused", "capturable"):
        if option in known:
            (p,), (q,) = ready((3, 2)), ready((3, 2))
            optimizer = kind([p], **{option: True})
            assert optimizer.param_groups[0][option] is True
            optimizer.step()
            kind([q]).step()
            assert p.tolist() == q.tolist()
    if "fused" in known:
        with pytest.raises(RuntimeError, match="cannot be `True` together"):
            kind(ready((2,)), fused=True, foreach=True)
        with pytest.raises(RuntimeError, match="`fused` does not support `differentiable`"):
            kind(ready((2,)), fused=True, differentiable=True)


DIFFERENTIABLE: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("Adam", {"weight_decay": 0.1}),
    ("AdamW", {"amsgrad": True}),
    ("Adamax", {}),
    ("NAdam", {"weight_decay": 0.1}),
    ("RAdam", {"betas": (0.5, 0.5)}),
    ("RMSprop", {"centered": True, "momentum": 0.5}),
    ("Adagrad", {"lr_decay": 0.1}),
    ("Adadelta", {}),
    ("Rprop", {}),
    ("ASGD", {"t0": 0}),
]


@pytest.mark.parametrize(("name", "options"), DIFFERENTIABLE, ids=lambda v: str(v))
def test_steps_with_history(name: str, options: dict[str, Any]) -> None:
    """Two steps as a function of the start, of both gradients and of the rate: finite differences.

    And the same values as without history.
    """
    double = torch.float64
    start = torch.tensor([0.3, -0.8, 1.2], dtype=double, requires_grad=True)
    first = torch.tensor([0.5, -0.2, 0.7], dtype=double, requires_grad=True)
    second = torch.tensor([0.4, 0.3, 0.6], dtype=double, requires_grad=True)
    rate = torch.tensor(0.1, dtype=double, requires_grad=True)

    def steps(start: Any, first: Any, second: Any, rate: Any, recorded: bool = True) -> Any:
        p = start.clone()
        used = {"lr": rate, "differentiable": True} if recorded else {"lr": float(rate)}
        p = p if recorded else p.detach()
        optimizer = getattr(torch.optim, name)([p], **options, **used)
        for gradient in (first, second):
            p.grad = gradient
            optimizer.step()
        return p

    if name in ("Rprop", "ASGD"):  # the rate is where a state starts: a number, as in PyTorch
        rate = torch.tensor(0.1, dtype=double)
    given = (start, first, second, rate)
    result = steps(*given)
    assert result.requires_grad
    assert result.tolist() == pytest.approx(steps(*given, recorded=False).tolist(), rel=1e-12)
    assert torch.autograd.gradcheck(steps, given)


def test_rates_may_be_tensors() -> None:
    (p,), (q,) = ready((2,)), ready((2,))
    rate = torch.tensor(0.25)
    for kind in (torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop):
        one, two = kind([p], lr=rate), kind([q], lr=0.25)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(one, 0.5)
        one.step()
        two.step()
        assert p.tolist() == q.tolist()
        scheduler.step()
        assert one.param_groups[0]["lr"] is rate and rate.item() == 0.125
        assert scheduler.get_last_lr()[0].item() == 0.125
        rate.fill_(0.25)
    with pytest.raises(ValueError, match="Tensor learning rate must be 1-element"):
        torch.optim.Adam([p], lr=torch.ones(2))


def test_step_hooks() -> None:
    (p,) = ready((2,))
    optimizer = torch.optim.SGD([p], lr=1.0)
    seen: list[str] = []
    handles = [
        optimizer.register_step_pre_hook(lambda o, a, k: seen.append("pre")),
        optimizer.register_step_post_hook(lambda o, a, k: seen.append("post")),
        base.register_optimizer_step_pre_hook(lambda o, a, k: seen.append("all pre")),
        base.register_optimizer_step_post_hook(lambda o, a, k: seen.append("all post")),
    ]
    optimizer.step()
    assert seen == ["all pre", "pre", "post", "all post"]
    for handle in handles:
        handle.remove()
    seen.clear()
    optimizer.step()
    assert not seen
    optimizer.register_step_pre_hook(lambda o, a, k: ((lambda: 7,), k))
    assert optimizer.step() == 7
    optimizer.register_step_pre_hook(lambda o, a, k: 3)
    with pytest.raises(RuntimeError, match="must return None or a tuple"):
        optimizer.step()


def test_hooks_of_an_optimizer_with_a_step_of_its_own() -> None:
    class Twice(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            super().step(closure)
            return super().step(closure)

    (p,) = ready((1,))
    optimizer = Twice([p], lr=1.0)
    seen: list[Any] = []
    optimizer.register_step_post_hook(lambda o, a, k: seen.append(p.item()))
    optimizer.step()
    assert seen == [0.0]


def test_hooks_of_state_dictionaries() -> None:
    (p,) = ready((2,))
    optimizer = torch.optim.Adam([p])
    optimizer.step()
    seen: list[str] = []
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("second"))
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("first"), prepend=True)
    optimizer.register_state_dict_post_hook(lambda o, state: {**state, "note": 1})
    saved = optimizer.state_dict()
    assert seen == ["first", "second"] and saved["note"] == 1
    other = torch.optim.Adam([p])
    other.register_load_state_dict_pre_hook(lambda o, state: {**state, "state": {}})
    other.register_load_state_dict_post_hook(lambda o: seen.append("loaded"))
    other.load_state_dict(saved)
    assert not other.state and seen[-1] == "loaded" and saved["state"]


def test_named_parameters() -> None:
    layer = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(layer.named_parameters(), lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
    with pytest.raises(ValueError, match="cannot add param group without names"):
        optimizer.add_param_group({"params": ready((1,))})
    with pytest.raises(ValueError, match="Some param names are missing"):
        torch.optim.SGD([("a", ready((1,))[0]), *ready((1,))])
    plain = torch.optim.SGD(layer.parameters(), lr=0.2)
    optimizer.load_state_dict(plain.state_dict())
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert optimizer.param_groups[0]["lr"] == 0.2


def test_text_of_groups() -> None:
    parameters = [{"params": [torch.ones(1)]}, {"params": [torch.ones(1)], "lr": 0.5}]
    text = repr(torch.optim.Rprop(parameters, lr=0.25))
    groups = text.removeprefix("Rprop (\n").removesuffix("\n)").split("\n\n")
    assert [group.splitlines()[0] for group in groups] == ["Parameter Group 0", "Parameter Group 1"]
    assert "    lr: 0.25" in groups[0] and "    lr: 0.5" in groups[1]


def test_groups_that_are_refused() -> None:
    (p,) = ready((2,))
    optimizer = torch.optim.SGD([p])
    with pytest.raises(TypeError, match="param_group must be a dict"):
        optimizer.add_param_group([p])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="need to be organized in ordered collections"):
        optimizer.add_param_group({"params": {p}})
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": p})
    with pytest.raises(ValueError, match="can't optimize a non-leaf Tensor"):
        optimizer.add_param_group({"params": p * 2})
    kept = p * 2
    kept.retain_grad()
    optimizer.add_param_group({"params": kept})
    with pytest.raises(ValueError, match="required optimization parameter lr"):
        base.Optimizer([p], {"lr": base.required})
    with pytest.raises(ValueError, match="empty parameter list"):
        torch.optim.SGD([])
    with pytest.raises(TypeError, match="can only optimize Tensors"):
        torch.optim.SGD([3])


@pytest.mark.parametrize("name", [*NAMES, "LBFGS"])
def test_copies(name: str) -> None:
    """Pickled and deep copied optimizers go on as the first, on tensors of their own."""
    (p,) = ready((3, 2))
    kind = getattr(torch.optim, name)
    options: dict[str, Any] = {"momentum": 0.9} if name == "SGD" else {}
    optimizer = kind([p], **options)

    def step(optimizer: Any) -> Any:
        (tensor,) = optimizer.param_groups[0]["params"]
        tensor.grad = tensor.detach() * 0.5
        optimizer.step(lambda: torch.ones(()))
        return tensor.tolist()

    step(optimizer)
    others = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    expected = step(optimizer)
    assert [step(other) for other in others] == [expected] * 2
    assert all(other.param_groups[0]["params"][0] is not p for other in others)


def test_muon_takes_matrices_of_one_shape_together() -> None:
    """As each alone, whatever their order in memory; the launches do not grow with their number."""
    torch.manual_seed(0)
    starts = [torch.randn(3, 5), torch.randn(5, 3), torch.randn(3, 5), torch.randn(5, 3).t()]
    gradients = [torch.randn(*start.shape) for start in starts]

    def run(chosen: list[int]) -> list[Any]:
        parameters = [torch.nn.Parameter(starts[i].clone()) for i in chosen]
        optimizer = torch.optim.Muon(parameters, lr=0.1)
        for _ in range(3):
            for p, i in zip(parameters, chosen):
                p.grad = gradients[i]
            before = snapshot().launches
            optimizer.step()
            counts.append(snapshot().launches - before)
        return [p.tolist() for p in parameters]

    counts: list[int] = []
    together = run([0, 1, 2, 3])
    alone = [run([i])[0] for i in range(4)]
    for one, other in zip(together, alone):
        assert torch.allclose(torch.tensor(one), torch.tensor(other), rtol=1e-5, atol=1e-6)
    counts.clear()
    run([0])
    single = counts[-1]
    run([0, 2])
    assert counts[-1] == single


def test_sparse_adam_leaves_other_rows_alone() -> None:
    table = torch.nn.Parameter(torch.ones(4, 2))
    optimizer = torch.optim.SparseAdam([table], lr=0.5)
    for rows in ([0, 2], [0]):
        optimizer.zero_grad()
        torch.nn.functional.embedding(torch.tensor(rows), table).sum().backward()
        optimizer.step()
    assert table[1].tolist() == table[3].tolist() == [1.0, 1.0]
    assert table[2, 0].item() == pytest.approx(0.5, abs=1e-6)
    assert table[0, 0].item() == pytest.approx(0.0, abs=1e-6)
    state = optimizer.state_dict()["state"][0]
    assert state["step"] == 2 and state["exp_avg"][1].tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="Invalid epsilon value: 0"):
        torch.optim.SparseAdam([table], eps=0)


@pytest.mark.parametrize("kind", [torch.nn.Embedding, torch.nn.EmbeddingBag])
def test_a_program_with_sparse_gradients_trains_with_dense_ones(kind: Any) -> None:
    from tritorch.ops.normalization import _warn_of_dense_gradients

    def train(sparse: bool, optimizer: Any) -> list[Any]:
        table = kind(5, 3, _weight=torch.arange(15.0).view(5, 3), sparse=sparse)
        steps = optimizer(table.parameters())
        for rows in ([[0, 2]], [[2, 2]], [[4, 0]]):
            steps.zero_grad()
            table(torch.tensor(rows)).square().sum().backward()
            steps.step()
        return table.weight.tolist()

    for optimizer in (
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.5),
        lambda p: torch.optim.SparseAdam(p, lr=0.1),
        lambda p: torch.optim.Adagrad(p, lr=0.1),
    ):
        _warn_of_dense_gradients.cache_clear()
        with pytest.warns(UserWarning, match="sparse=True gives a dense gradient") as seen:
            given = train(True, optimizer)
        assert len(seen) == 1
        assert given == train(False, optimizer)
        assert given[1] == [3.0, 4.0, 5.0]
    _warn_of_dense_gradients.cache_clear()
    with torch.no_grad():
        kind(5, 3, sparse=True)(torch.tensor([[1]]))  # no gradient, no warning
