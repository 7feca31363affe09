"""Module: registration, walking, modes, casting, saving, hooks, copying, printing."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict

import pytest

import tritorch as torch
from tritorch import nn


class Net(nn.Module):
    """Two layers, a buffer of each kind, a shared child."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.second = nn.Sequential(nn.ReLU(), nn.Linear(4, 2, bias=False))
        self.again = self.first
        self.register_buffer("kept", torch.zeros(2))
        self.register_buffer("dropped", torch.ones(2), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x)) + self.kept


def test_names_and_order() -> None:
    net = Net()
    assert [n for n, _ in net.named_parameters()] == [
        "first.weight", "first.bias", "second.1.weight",
    ]  # fmt: skip
    assert [n for n, _ in net.named_buffers()] == ["kept", "dropped"]
    assert [n for n, _ in net.named_modules()] == ["", "first", "second", "second.0", "second.1"]
    assert [n for n, _ in net.named_children()] == ["first", "second"]
    assert list(net.state_dict()) == [
        "kept", "first.weight", "first.bias", "second.1.weight", "again.weight", "again.bias",
    ]  # fmt: skip
    assert net.get_submodule("second.1") is net.second[1]
    assert net.get_parameter("first.bias") is net.first.bias
    assert net.get_buffer("kept") is net.kept


def test_assignment_moves_a_name_between_rooms() -> None:
    net = nn.Module()
    net.x = 1
    net.x = nn.Parameter(torch.ones(2))
    assert "x" in dict(net.named_parameters()) and "x" not in net.__dict__
    with pytest.raises(TypeError, match="cannot assign 'int' as parameter 'x'"):
        net.x = 3
    net.x = None
    assert net.x is None
    net.y = nn.ReLU()
    with pytest.raises(TypeError, match="as child module 'y'"):
        net.y = 3
    del net.y
    with pytest.raises(AttributeError, match="'Module' object has no attribute 'y'"):
        _ = net.y


def test_registration_errors() -> None:
    net = nn.Module()
    with pytest.raises(KeyError, match=r"can't be empty or contain '\.'"):
        net.register_parameter("a.b", None)
    with pytest.raises(TypeError, match="Parameter or None required"):
        net.register_parameter("a", torch.ones(1))
    with pytest.raises(KeyError, match="already exists"):
        net.register_buffer("forward", torch.ones(1))
    leaf = torch.ones(1, requires_grad=True)
    with pytest.raises(TypeError, match="not a Module subclass"):
        net.add_module("child", leaf)

    class Early(nn.Module):
        def __init__(self) -> None:
            self.weight = nn.Parameter(torch.ones(1))

    with pytest.raises(AttributeError, match=r"before Module.__init__\(\) call"):
        Early()


def test_modes_and_freezing() -> None:
    net = Net()
    assert net.eval() is net and not net.second[0].training
    net.train()
    assert net.second[1].training
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    with pytest.raises(ValueError, match="expected to be boolean"):
        net.train(1)  # type: ignore[arg-type]


def test_casting_keeps_identity_and_integer_buffers() -> None:
    net = Net()
    net.register_buffer("count", torch.zeros(1, dtype=torch.int64))
    weight = net.first.weight
    assert net.double() is net
    assert net.first.weight is weight and weight.dtype is torch.float64
    assert net.count.dtype is torch.int64 and net.kept.dtype is torch.float64
    net.to(torch.float32)
    assert weight.dtype is torch.float32
    with pytest.raises(TypeError, match="only accepts floating point"):
        net.to(torch.int32)


def test_load_state_dict_copies_and_reports() -> None:
    torch.manual_seed(0)
    source, target = Net(), Net()
    result = target.load_state_dict(source.state_dict())
    assert str(result) == "<All keys matched successfully>"
    assert torch.equal(target.first.weight, source.first.weight)
    assert target.first.weight is not source.first.weight
    state = source.state_dict()
    del state["kept"]
    state["other"] = torch.ones(1)
    with pytest.raises(RuntimeError, match=r'(?s)Missing key.*"kept".*Unexpected key.*"other"'):
        target.load_state_dict(state)
    missing, unexpected = target.load_state_dict(state, strict=False)
    assert missing == ["kept"] and unexpected == ["other"]


def test_load_state_dict_changes_nothing_when_a_shape_differs() -> None:
    net = Net()
    before = net.first.weight.tolist()
    state = {name: value + 1 for name, value in net.state_dict().items()}
    state["second.1.weight"] = torch.ones(7)
    with pytest.raises(RuntimeError, match=r"size mismatch for second\.1\.weight"):
        net.load_state_dict(state)
    assert net.first.weight.tolist() == before


def test_load_state_dict_assign_takes_the_tensors() -> None:
    net = nn.Linear(2, 2)
    state = {"weight": torch.ones(2, 2, dtype=torch.float64), "bias": torch.zeros(2)}
    net.load_state_dict(state, assign=True)
    assert net.weight.dtype is torch.float64 and isinstance(net.weight, nn.Parameter)
    assert net.weight.data_ptr() == state["weight"].data_ptr()


def test_hooks() -> None:
    net = nn.Linear(2, 2)
    seen: list[str] = []

    def before(module: nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        seen.append("before")
        return (args[0] * 2,)

    def after(module: nn.Module, args: object, output: torch.Tensor) -> torch.Tensor:
        seen.append("after")
        return output + 1

    x = torch.ones(1, 2)
    plain = net(x * 2) + 1
    with net.register_forward_pre_hook(before), net.register_forward_hook(after):
        assert torch.allclose(net(x), plain)
    assert seen == ["before", "after"]
    assert torch.allclose(net(x * 2) + 1, plain)


def test_full_backward_hook_gets_both_gradients() -> None:
    net = nn.Linear(2, 3, bias=False)
    got: list[object] = []
    net.register_full_backward_hook(lambda module, gi, go: got.append((gi[0], go[0])))
    x = torch.ones(1, 2, requires_grad=True)
    net(x).sum().backward()
    ((grad_input, grad_output),) = got
    assert grad_output.tolist() == [[1.0, 1.0, 1.0]]
    assert torch.allclose(grad_input, net.weight.sum(0, keepdim=True))


def test_zero_grad() -> None:
    net = nn.Linear(2, 1)
    net(torch.ones(1, 2)).sum().backward()
    net.zero_grad(set_to_none=False)
    assert net.weight.grad.tolist() == [[0.0, 0.0]]
    net.zero_grad()
    assert net.weight.grad is None


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_copies_share_nothing(way: str) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    other = copy.deepcopy(net) if way == "deepcopy" else pickle.loads(pickle.dumps(net))
    assert torch.equal(other[0].weight, net[0].weight)
    assert isinstance(other[0].weight, nn.Parameter)
    with torch.no_grad():
        other[0].weight.zero_()
    assert not torch.equal(other[0].weight, net[0].weight)


def test_repr_is_pytorchs() -> None:
    net = nn.Sequential(
        OrderedDict(
            flat=nn.Flatten(),
            inner=nn.Sequential(nn.Linear(4, 2), nn.GELU()),
            out=nn.Softmax(dim=1),
        )
    )
    assert repr(net) == (
        "Sequential(\n"
        "  (flat): Flatten(start_dim=1, end_dim=-1)\n"
        "  (inner): Sequential(\n"
        "    (0): Linear(in_features=4, out_features=2, bias=True)\n"
        "    (1): GELU(approximate='none')\n"
        "  )\n"
        "  (out): Softmax(dim=1)\n"
        ")"
    )
    assert repr(nn.Parameter(torch.ones(1))) == (
        "Parameter containing:\ntensor([1.], requires_grad=True)"
    )


def test_containers() -> None:
    layers = nn.ModuleList([nn.Linear(1, 1), nn.ReLU()])
    layers.append(nn.Tanh())
    layers.insert(1, nn.Sigmoid())
    assert [type(layer).__name__ for layer in layers] == ["Linear", "Sigmoid", "ReLU", "Tanh"]
    assert isinstance(layers[-1], nn.Tanh) and len(layers[1:3]) == 2
    del layers[0]
    assert list(layers._modules) == ["0", "1", "2"]
    with pytest.raises(IndexError, match="out of range"):
        layers[5]
    table = nn.ModuleDict({"a": nn.ReLU()})
    table["b"] = nn.Linear(1, 2)
    assert list(table) == ["a", "b"] and "a" in table
    assert [n for n, _ in table.named_parameters()] == ["b.weight", "b.bias"]
    values = nn.ParameterList([torch.ones(1), torch.zeros(2)])
    assert len(list(values.parameters())) == 2 and values[-1].tolist() == [0.0, 0.0]


def test_missing_forward_is_clear() -> None:
    with pytest.raises(NotImplementedError, match='missing the required "forward" function'):
        nn.Module()(1)
