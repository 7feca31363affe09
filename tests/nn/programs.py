"""Small programs about modules that run on either library and return what they saw.

`expected.json` holds what PyTorch returns. `python -m tests.nn.programs` writes it anew, where
PyTorch is installed.
"""

from __future__ import annotations

import copy
import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

Program = Callable[[Any], Any]
EXPECTED = Path(__file__).with_name("expected.json")


def linear(torch: Any, inputs: int = 2, outputs: int = 3, bias: bool = True) -> Any:
    """A layer of known weights."""
    layer = torch.nn.Linear(inputs, outputs, bias)
    with torch.no_grad():
        count = inputs * outputs
        layer.weight.copy_((torch.arange(count) - 2.0).reshape(outputs, inputs) / 4)
        if bias:
            layer.bias.copy_(torch.arange(outputs) / 8)
    return layer


def shown(value: Any) -> Any:
    """Tensors as rounded numbers, everything else as JSON can hold it."""
    if hasattr(value, "detach"):
        return [list(value.shape), [round(float(x), 4) + 0.0 for x in value.detach().reshape(-1)]]
    if isinstance(value, dict):
        return {str(k): shown(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [shown(v) for v in value]
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)


def error(call: Callable[[], Any]) -> str:
    """The class of what a call raises: the first that is Python's own."""
    try:
        call()
    except Exception as raised:
        return next(c.__name__ for c in type(raised).__mro__ if c.__module__ == "builtins")
    return "nothing raised"


def forward_hooks(torch: Any) -> Any:
    seen: list[Any] = []
    net = linear(torch)
    net.register_forward_pre_hook(lambda m, a: seen.append(("first", a)))
    net.register_forward_pre_hook(lambda m, a: seen.append("before") or (a[0] + 1,), prepend=True)
    net.register_forward_pre_hook(
        lambda m, a, k: seen.append(sorted(k)) or (a, {}), with_kwargs=True
    )
    net.register_forward_hook(lambda m, a, o: seen.append(("after", o)) or o * 2)
    net.register_forward_hook(
        lambda m, a, k, o: seen.append(("kwargs", sorted(k))), with_kwargs=True
    )
    handle = net.register_forward_hook(lambda m, a, o: seen.append("prepended"), prepend=True)
    seen.append(net(torch.ones(1, 2)))
    handle.remove()
    handle.remove()
    seen.append(net(torch.ones(1, 2)))
    return [*seen, len(net._forward_hooks)]


def hooks_called_always(torch: Any) -> Any:
    seen: list[Any] = []
    net = torch.nn.Sequential(linear(torch))
    net.register_forward_hook(lambda m, a, o: seen.append(("own", o)), always_call=True)
    net.register_forward_hook(lambda m, a, o: seen.append("not called"))
    everywhere = torch.nn.modules.module.register_module_forward_hook
    with everywhere(lambda m, a, o: seen.append((m._get_name(), o)), always_call=True):
        seen.append(error(lambda: net(torch.ones(1, 5))))
    seen.append(net(torch.ones(1, 2)))
    return seen


def hooks_of_all_modules(torch: Any) -> Any:
    module = torch.nn.modules.module
    seen: list[Any] = []
    net = torch.nn.Sequential(linear(torch), torch.nn.ReLU())
    x = torch.ones(1, 2, requires_grad=True)
    with (
        module.register_module_forward_pre_hook(lambda m, a: seen.append(f"pre {m._get_name()}")),
        module.register_module_forward_hook(lambda m, a, o: seen.append(f"post {m._get_name()}")),
        module.register_module_full_backward_pre_hook(
            lambda m, g: seen.append((f"grad pre {m._get_name()}", g))
        ),
        module.register_module_full_backward_hook(
            lambda m, gi, go: seen.append((f"grad {m._get_name()}", gi, go))
        ),
    ):
        net(x).sum().backward()
    seen.append(x.grad)
    net(x)
    return seen


def registration_hooks(torch: Any) -> Any:
    module = torch.nn.modules.module
    seen: list[Any] = []
    with (
        module.register_module_parameter_registration_hook(
            lambda m, n, p: seen.append(
                ("parameter", m._get_name(), n, None if p is None else list(p.shape))
            )
        ),
        module.register_module_buffer_registration_hook(
            lambda m, n, b: seen.append(("buffer", n, b))
        ),
        module.register_module_module_registration_hook(
            lambda m, n, c: seen.append(("module", m._get_name(), n))
        ),
    ):
        net = torch.nn.Sequential(torch.nn.Linear(2, 3, bias=False))
        net.register_buffer("extra", torch.ones(1))
        net.name = torch.nn.ReLU()
        net.other = torch.nn.Buffer(torch.zeros(2), persistent=False)
    return [seen, list(net.state_dict())]


def gradient_hooks(torch: Any) -> Any:
    seen: list[Any] = []
    net = linear(torch)
    net.register_full_backward_pre_hook(lambda m, g: seen.append(("pre", g)) or (g[0] * 2,))
    net.register_full_backward_hook(lambda m, gi, go: seen.append(("full", gi, go)))
    net.register_full_backward_hook(lambda m, gi, go: (gi[0] + 1,), prepend=True)
    x = torch.ones(1, 2, requires_grad=True)
    (net(x) * torch.tensor([[1.0, 2.0, 3.0]])).sum().backward()
    return [seen, x.grad, net.weight.grad]


def gradient_hooks_of_several_tensors(torch: Any) -> Any:
    class Several(torch.nn.Module):
        def forward(self, a: Any, n: Any, b: Any) -> Any:
            return a * b, a + n, n

    seen: list[Any] = []
    net = Several()
    net.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go)))
    a, b = torch.ones(2, requires_grad=True), torch.full((2,), 3.0, requires_grad=True)
    out = net(a, 5, b)
    (out[0] * 2 + out[1]).sum().backward()
    return [seen, a.grad, b.grad, error(lambda: net(a, 5, b)[0].sum().backward())]


def gradient_hooks_without_inputs(torch: Any) -> Any:
    seen: list[Any] = []
    net = linear(torch)
    net.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go)))
    net(torch.ones(1, 2)).sum().backward()
    return [seen, net.bias.grad]


def state_and_hooks(torch: Any) -> Any:
    seen: list[Any] = []
    net = torch.nn.Sequential(OrderedDict(a=linear(torch), b=torch.nn.BatchNorm1d(3)))
    net.a.register_state_dict_pre_hook(lambda m, p, k: seen.append(("pre", p, k)))
    net.a.register_state_dict_post_hook(lambda m, s, p, meta: s.update({p + "more": 1}))
    state = net.state_dict(prefix="x.")
    seen.append([list(state), shown(dict(state._metadata))])
    net = torch.nn.Sequential(OrderedDict(a=linear(torch), b=torch.nn.BatchNorm1d(3)))
    state = net.state_dict()
    net.a.register_load_state_dict_pre_hook(
        lambda m, s, p, *rest: s.update({p + "bias": s.pop(p + "old")})
    )
    net.register_load_state_dict_post_hook(
        lambda m, keys: seen.append((keys.missing_keys, keys.unexpected_keys))
    )
    state["a.old"] = state.pop("a.bias") + 1
    del state["b.num_batches_tracked"]
    seen.append(error(lambda: net.load_state_dict(state)))
    state._metadata.clear()
    seen.append(repr(net.load_state_dict(state)))
    seen.append(net.a.bias)
    state["c"] = torch.ones(1)
    seen.append(list(net.load_state_dict(state, strict=False)))
    return seen


def extra_state(torch: Any) -> Any:
    class Counter(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.count = 3

        def get_extra_state(self) -> Any:
            return {"count": self.count}

        def set_extra_state(self, state: Any) -> None:
            self.count = state["count"] + 1

    net = torch.nn.Sequential(Counter())
    state = net.state_dict()
    net.load_state_dict(state)
    missing = torch.nn.Sequential(Counter()).load_state_dict({}, strict=False)
    return [shown(dict(state)), net[0].count, list(missing)]


def loading(torch: Any) -> Any:
    net = linear(torch)
    before = net.weight
    wrong = {"weight": torch.ones(3, 3), "bias": torch.ones(3)}
    seen: list[Any] = [
        error(lambda: net.load_state_dict(wrong)),
        error(lambda: net.load_state_dict(3)),
    ]
    taken = {"weight": torch.ones(3, 2), "bias": torch.nn.Parameter(torch.zeros(3))}
    net.requires_grad_(False)
    net.load_state_dict(taken, assign=True)
    seen += [net.weight is before, net.bias is taken["bias"], net.bias.requires_grad]
    seen += [net.weight.data_ptr() == taken["weight"].data_ptr(), type(net.weight).__name__]
    scalar = torch.nn.Module()
    scalar.register_buffer("n", torch.tensor(0.0))
    scalar.load_state_dict({"n": torch.ones(1)})
    return [*seen, scalar.n]


def submodules(torch: Any) -> Any:
    net = torch.nn.Sequential(OrderedDict(a=torch.nn.Sequential(linear(torch)), b=torch.nn.ReLU()))
    net.set_submodule("a.0", torch.nn.Tanh())
    net.set_submodule("a.new", torch.nn.ELU())
    return [
        repr(net),
        error(lambda: net.set_submodule("a.more", torch.nn.ELU(), strict=True)),
        error(lambda: net.set_submodule("", torch.nn.ELU())),
        error(lambda: net.set_submodule("a.0", 3)),
        error(lambda: net.get_submodule("a.x.y")),
        error(lambda: net.get_parameter("a.0.weight")),
        error(lambda: net.get_buffer("a")),
    ]


def buffers(torch: Any) -> Any:
    net = torch.nn.Module()
    net.a = torch.nn.Buffer(torch.ones(2))
    net.b = torch.nn.Buffer(torch.ones(1), persistent=False)
    net.c = torch.ones(1)
    seen = [list(dict(net.named_buffers())), list(net.state_dict()), type(net.a).__name__]
    seen.append([isinstance(net.a, torch.nn.Buffer), isinstance(net.c, torch.nn.Buffer)])
    net.a = torch.zeros(3)
    return [*seen, net.a, net.to(torch.float64).a.dtype == torch.float64]


def containers(torch: Any) -> Any:
    nn = torch.nn
    net = nn.Sequential(nn.ReLU(), nn.Tanh()) + nn.Sequential(nn.ELU())
    net *= 2
    net.extend([nn.GELU()]).insert(0, nn.Identity())
    net.pop(1)
    del net[-2:]
    listed = nn.ModuleList([nn.ReLU()]) + nn.ModuleList([nn.Tanh()])
    listed += [nn.ELU()]
    table = nn.ModuleDict([("x", nn.ReLU()), ("y", nn.ELU())])
    table.update({"z": nn.Tanh()})
    table.pop("y")
    kept = nn.ParameterDict({"b": torch.ones(2), "a": nn.Parameter(torch.zeros(1)), "n": 3})
    kept |= {"c": torch.ones(1)}
    kept.setdefault("d", torch.ones(3))
    params = nn.ParameterList([torch.ones(2), nn.Parameter(torch.zeros(1))])
    params += [torch.ones(3)]
    return [
        repr(net), repr(listed), repr(table), repr(net[1:3]), repr(2 * net[:1]),
        repr(kept).replace("torch.cuda.", "torch."), list(kept.state_dict()), kept.popitem()[0],
        list(kept.keys()), repr(params), list(params.state_dict()), repr(params[1:]),
        error(lambda: params()), error(lambda: kept["missing"]), error(lambda: nn.ModuleDict(3)),
        error(lambda: kept.update([1])), error(lambda: kept.update([("a", 1, 2)])),
    ]  # fmt: skip


def copies(torch: Any) -> Any:
    net = torch.nn.Sequential(linear(torch), torch.nn.BatchNorm1d(3))
    tied = torch.nn.ModuleList([net[0], net[0]])
    other = copy.deepcopy(tied)
    other[0].weight.data.zero_()
    lazy = copy.deepcopy(torch.nn.LazyLinear(4))
    lazy(torch.ones(1, 3))
    return [other[0] is other[1], net[0].weight, repr(lazy), list(lazy.state_dict())]


def lazy_layers(torch: Any) -> Any:
    nn = torch.nn
    net = nn.Sequential(nn.LazyConv2d(2, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2))
    seen = [repr(net), repr(net[0].weight), net[0].has_uninitialized_params()]
    seen.append([error(lambda: net[0].weight.shape), error(lambda: net[0].weight + 1)])
    net.double()
    net(torch.ones(1, 1, 5, 5, dtype=torch.float64))
    seen.append([repr(net), list(net.state_dict()), net[3].weight.dtype == torch.float64])
    target = nn.Sequential(
        nn.LazyConv2d(2, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2)
    )
    target.load_state_dict(net.state_dict())
    seen.append(
        [list(target[3].weight.shape), torch.equal(target[3].weight, net[3].weight.float())]
    )
    return [*seen, error(lambda: nn.LazyConv1d(2, 3)(torch.ones(5)))]


def functional_calls(torch: Any) -> Any:
    call = torch.nn.utils.stateless.functional_call if "tri" in torch.__name__ else (
        torch.func.functional_call
    )  # fmt: skip
    net = torch.nn.Sequential(linear(torch), torch.nn.BatchNorm1d(3))
    values = {k: v.detach() * 2 for k, v in net.state_dict().items()}
    x = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
    seen = [call(net, values, x), values["1.num_batches_tracked"], net[1].num_batches_tracked]
    seen.append(call(net, ({"0.weight": values["0.weight"]}, {"0.bias": values["0.bias"]}), (x,)))
    tied = torch.nn.Sequential(linear(torch, 2, 2), torch.nn.ReLU())
    tied.append(tied[0])
    seen.append(call(tied, {"0.weight": torch.ones(2, 2)}, x))
    both = {"0.weight": torch.ones(2, 2), "2.weight": torch.zeros(2, 2)}
    seen.append(error(lambda: call(tied, both, x)))
    seen.append(call(tied, both, x, tie_weights=False))
    seen.append(error(lambda: call(net, {"0.weight": x}, x, strict=True)))
    return [*seen, net[0].weight]


def parametrized(torch: Any) -> Any:
    parametrize = torch.nn.utils.parametrize

    class Symmetric(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x.triu() + x.triu(1).T

        def right_inverse(self, a: Any) -> Any:
            return a.triu()

    class Split(torch.nn.Module):
        def forward(self, a: Any, b: Any) -> Any:
            return a + b

        def right_inverse(self, x: Any) -> Any:
            return x / 4, x * 3 / 4

    class Twice(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x * 2

    net = linear(torch, 3, 3)
    weight = net.weight
    parametrize.register_parametrization(net, "weight", Symmetric())
    seen = [repr(net), net.weight, list(net.state_dict())]
    seen.append(net.parametrizations.weight.original is weight)
    net.weight = torch.ones(3, 3)
    seen.append(net.parametrizations.weight.original)
    parametrize.register_parametrization(net, "weight", Twice())
    seen += [net.weight, error(lambda: setattr(net, "weight", torch.ones(3, 3)))]
    net(torch.ones(1, 3)).sum().backward()
    seen.append(weight.grad)
    with parametrize.cached():
        seen.append(net.weight is net.weight)
    seen.append([parametrize.is_parametrized(net), parametrize.is_parametrized(net, "bias")])
    seen.append(parametrize.type_before_parametrizations(net).__name__)
    other = copy.deepcopy(net)
    parametrize.remove_parametrizations(net, "weight")
    seen += [repr(net), net.weight, net.weight is weight, list(net.state_dict())]
    parametrize.register_parametrization(net, "bias", Split())
    seen += [list(net.state_dict()), net.bias]
    seen.append(error(lambda: parametrize.remove_parametrizations(net, "bias", False)))
    parametrize.remove_parametrizations(net, "bias")
    seen += [list(net.state_dict()), type(net).__name__]
    last = linear(torch, 3, 3)
    parametrize.transfer_parametrizations_and_params(other, last)
    seen += [
        last.weight,
        last.parametrizations.weight.original is other.parametrizations.weight.original,
    ]
    seen.append(error(lambda: parametrize.register_parametrization(net, "none", Twice())))
    seen.append(error(lambda: parametrize.remove_parametrizations(net, "weight")))
    return seen


def normalised_weights(torch: Any) -> Any:
    nn = torch.nn
    old = nn.utils.weight_norm(linear(torch), dim=1)
    new = nn.utils.parametrizations.weight_norm(linear(torch), dim=1)
    seen = [list(old.state_dict()), list(new.state_dict()), repr(new)]
    state = {k: v * 2 for k, v in old.state_dict().items()}
    new.load_state_dict(state)
    x = torch.ones(1, 2)
    seen += [new.weight, new(x), new.parametrizations.weight.original0]
    old.weight_g.data.mul_(3)
    seen += [old(x), error(lambda: nn.utils.weight_norm(old))]
    nn.utils.remove_weight_norm(old)
    seen += [old.weight, list(old.state_dict()), error(lambda: nn.utils.remove_weight_norm(old))]
    spectral = nn.utils.spectral_norm(linear(torch))
    for _ in range(12):
        spectral(x)
    seen += [list(spectral.state_dict()), spectral.weight]
    nn.utils.remove_spectral_norm(spectral)
    return [*seen, list(spectral.state_dict())]


def pruning(torch: Any) -> Any:
    import importlib

    prune = importlib.import_module(f"{torch.__name__}.nn.utils.prune")
    net = linear(torch, 4, 4)
    with torch.no_grad():
        net.weight.add_(torch.arange(16.0).reshape(4, 4) ** 2 / 64 - 0.9)
    prune.l1_unstructured(net, "weight", 0.25)
    seen = [net.weight_mask, list(net.state_dict()), prune.is_pruned(net)]
    prune.ln_structured(net, "weight", 1, 2, 0)
    prune.l1_unstructured(net, "weight", 2)
    seen += [net.weight_mask, len(net._forward_pre_hooks), net(torch.ones(1, 4))]
    net(torch.ones(1, 4)).sum().backward()
    seen.append(net.weight_orig.grad)
    prune.remove(net, "weight")
    seen += [net.weight, list(net.state_dict()), prune.is_pruned(net)]
    a, b = linear(torch, 3, 3), linear(torch, 3, 2)
    prune.global_unstructured([(a, "weight"), (b, "weight")], prune.L1Unstructured, amount=0.4)
    seen += [a.weight_mask, b.weight_mask]
    prune.custom_from_mask(a, "bias", torch.tensor([1, 0, 1]))
    prune.identity(b, "bias")
    seen += [a.bias, b.bias_mask]
    prune.random_unstructured(b, "bias", 1)
    prune.random_structured(b, "weight", 1, 1)
    seen += [b.bias_mask.sum(), error(lambda: prune.remove(net, "weight"))]
    seen.append(error(lambda: prune.l1_unstructured(net, "weight", 1.5)))
    seen.append(error(lambda: prune.l1_unstructured(net, "weight", 99)))
    seen.append(error(lambda: prune.ln_structured(net, "bias", 1, 2, 0)))
    return seen


def clipping(torch: Any) -> Any:
    utils = torch.nn.utils
    seen: list[Any] = []
    for norm in (2.0, 1.0, 3.0, float("inf"), 0.5):
        net = torch.nn.Sequential(linear(torch), linear(torch, 3, 2))
        net(torch.ones(1, 2)).sum().backward()
        gradients = [p.grad for p in net.parameters()]
        seen.append(utils.get_total_norm(gradients, norm))
        seen.append(utils.clip_grad_norm_(net.parameters(), 0.5, norm))
        seen += gradients
    net = linear(torch)
    net(torch.ones(1, 2)).sum().backward()
    total = utils.get_total_norm([p.grad for p in net.parameters()])
    utils.clip_grads_with_norm_(net.parameters(), 1.0, total)
    seen += [net.weight.grad, net.bias.grad]
    utils.clip_grad_value_(net.parameters(), 0.3)
    half = torch.nn.Linear(2, 2).double()
    half.weight.grad, net.weight.grad = torch.ones(2, 2, dtype=torch.float64), torch.ones(3, 2)
    seen.append(utils.clip_grad_norm_([*half.parameters(), net.weight], 1.0))
    seen += [half.weight.grad, net.weight.grad]
    net.weight.grad = torch.full((3, 2), float("inf"))
    seen.append(error(lambda: utils.clip_grad_norm_(net.weight, 1, error_if_nonfinite=True)))
    return seen


def fusing(torch: Any) -> Any:
    nn = torch.nn
    conv = nn.ConvTranspose1d(2, 2, 2, bias=False).eval()
    bn = nn.BatchNorm1d(2).eval()
    with torch.no_grad():
        conv.weight.copy_(torch.arange(8.0).reshape(2, 2, 2))
        bn.running_mean.copy_(torch.tensor([1.0, -1.0]))
        bn.running_var.copy_(torch.tensor([0.5, 4.0]))
        bn.weight.copy_(torch.tensor([2.0, 0.5]))
    fused = nn.utils.fuse_conv_bn_eval(conv, bn, transpose=True)
    x = torch.ones(1, 2, 3)
    seen = [fused(x), bn(conv(x)), repr(fused)]
    layer = linear(torch, 2, 2).eval()
    seen += [nn.utils.fuse_linear_bn_eval(layer, bn)(x[:, :, 0]), bn(layer(x[:, :, 0]))]
    made = nn.utils.skip_init(nn.Linear, 2, 3, dtype=torch.float64)
    seen += [repr(made), str(made.weight.dtype)]
    return [*seen, error(lambda: nn.utils.fuse_conv_bn_eval(conv.train(), bn))]


def initialisation(torch: Any) -> Any:
    init = torch.nn.init
    seen: list[Any] = []
    for shape, groups in (((4, 2, 3), 2), ((3, 3, 2, 3), 1), ((2, 3, 2, 2, 2), 1)):
        seen.append(init.dirac_(torch.empty(shape), groups))
    for shape in ((3, 5), (5, 3), (4, 4), (3, 2, 2)):
        flat = init.orthogonal_(torch.empty(shape), 2.0).flatten(1)
        small = flat if flat.shape[0] <= flat.shape[1] else flat.T
        seen.append(small @ small.T)
    seen.append((init.sparse_(torch.empty(10, 3), 0.31) == 0).sum(0))
    seen.append(init.eye_(torch.empty(2, 3)))
    seen += [init.calculate_gain(n) for n in ("relu", "tanh", "selu", "linear", "conv_transpose2d")]
    seen.append(init.calculate_gain("leaky_relu", 0.2))
    x = init.trunc_normal_(torch.empty(1000), 0.0, 1.0, -0.5, 0.7)
    seen.append([bool(x.min() >= -0.5), bool(x.max() <= 0.7)])
    seen += [error(lambda: init.calculate_gain("none")), error(lambda: init.dirac_(torch.ones(2)))]
    return [*seen, error(lambda: init.orthogonal_(torch.ones(2)))]


PROGRAMS: dict[str, Program] = {
    f.__name__: f
    for f in (
        forward_hooks, hooks_called_always, hooks_of_all_modules, registration_hooks,
        gradient_hooks, gradient_hooks_of_several_tensors, gradient_hooks_without_inputs,
        state_and_hooks, extra_state, loading, submodules, buffers, containers, copies,
        lazy_layers, functional_calls, parametrized, normalised_weights, pruning, clipping,
        fusing, initialisation,
    )
}  # fmt: skip


def main() -> None:
    """Write what the installed PyTorch returns."""
    import torch

    found = {name: shown(program(torch)) for name, program in PROGRAMS.items()}
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in found.items()]
    EXPECTED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
