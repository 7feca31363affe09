"""Small programs whose results were taken from PyTorch: each gets the module, ours or PyTorch's.

`python tests/autograd/programs.py` prints PyTorch's results where it is installed; they are kept in
`expected.json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Program = Callable[[Any], Any]
PROGRAMS: dict[str, Program] = {}


def program(function: Program) -> Program:
    """List a program."""
    PROGRAMS[function.__name__] = function
    return function


def error(function: Callable[[], Any]) -> str:
    """Class and text of the error it raises."""
    try:
        function()
    except Exception as raised:
        return f"{type(raised).__name__}: {raised}"
    return "no error"


def values(tensor: Any) -> Any:
    """A tensor's elements rounded, so that the last bits do not count; None for none."""
    if tensor is None:
        return None
    found = tensor.detach().tolist()

    def rounded(value: Any) -> Any:
        if isinstance(value, list):
            return [rounded(each) for each in value]
        return round(value, 5) if isinstance(value, float) else value

    return rounded(found)


def name(tensor: Any) -> str | None:
    """The name of its grad_fn."""
    return None if tensor.grad_fn is None else plain(tensor.grad_fn)


def plain(node: Any) -> str:
    """Its name without PyTorch's namespace."""
    return node.name().split("::")[-1]


def leaf(t: Any, *numbers: float) -> Any:
    """A leaf of a few elements."""
    return t.tensor(list(numbers), requires_grad=True)


@program
def chain_rule(t: Any) -> Any:
    x, y = leaf(t, 0.1, 0.2, 0.3), leaf(t, 4.0, 5.0, 6.0)
    z = ((x * y).exp() + x / y - y.log()).sum()
    z.backward()
    return [values(z), values(x.grad), values(y.grad), z.requires_grad, z.is_leaf, x.is_leaf]


@program
def broadcasting(t: Any) -> Any:
    x = t.tensor([[1.0], [2.0]], requires_grad=True)
    y = t.tensor([3.0, 4.0, 5.0], requires_grad=True)
    (x * y).sum().backward()
    return [values(x.grad), values(y.grad)]


@program
def matmul_and_reductions(t: Any) -> Any:
    a = t.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    b = t.tensor([[5.0, 6.0], [7.0, 8.0]], requires_grad=True)
    loss = (a @ b).mean() + (a * a).sum(dim=0).max()
    loss.backward()
    return [values(loss), values(a.grad), values(b.grad)]


@program
def higher_derivatives(t: Any) -> Any:
    x = leaf(t, 0.5, 1.5)
    y = (x**3 * x.sin()).sum()
    result = []
    for _ in range(3):
        (y,) = t.autograd.grad(y.sum(), x, create_graph=True)
        result.append(values(y))
    return result


@program
def calls_that_are_errors(t: Any) -> Any:
    x = leaf(t, 1.0, 2.0)
    c = t.tensor([1.0, 2.0])
    freed = (x * x).sum()
    freed.backward()
    return [
        error(lambda: c.sum().backward()),
        error(lambda: (x * 2).backward()),
        error(lambda: (x * 2).backward(t.ones(3))),
        error(lambda: t.autograd.grad((x * 2).sum(), c)),
        error(lambda: t.autograd.grad((x * 2).sum(), leaf(t, 1.0))),
        error(lambda: (x * 2).sum().backward(inputs=[])),
        error(lambda: t.autograd.backward([x.sum(), x.sum()], [None])),
        error(lambda: t.autograd.grad((x * 2).sum(), [])),
        error(lambda: (x * 2).sum().backward(t.ones(1))),
        error(lambda: freed.backward()),
        error(lambda: (x * 2).requires_grad_(False)),
        error(lambda: c.register_hook(lambda g: g)),
        error(lambda: c.retain_grad()),
        error(lambda: (x * 2).register_post_accumulate_grad_hook(print)),
        error(lambda: x.numpy()),
    ]


@program
def in_place_errors(t: Any) -> Any:
    x = leaf(t, 1.0, 2.0, 3.0, 4.0)
    result = [error(lambda: x.add_(1)), error(lambda: x[:2].add_(1))]
    y = x.clone()
    z = y * y
    y.add_(1)
    result.append(error(lambda: z.sum().backward()))
    y = x.exp()
    y.add_(1)
    result.append(error(lambda: y.sum().backward()))
    result.append(error(lambda: x.clone().split(2)[0].add_(1)))
    y = x.clone()
    _, second = y.split(2)
    y.add_(1)
    result.append(error(lambda: second * 2).partition("of Split")[2])
    with t.no_grad():
        v = y[:2]
    result.append(error(lambda: v.add_(1)))
    return result


@program
def in_place_history(t: Any) -> Any:
    x = leaf(t, 1.0, 2.0, 3.0)
    y = x * 2
    y.add_(x).mul_(3)
    y[1:] *= x[:2]
    names = [name(y), y._version]
    y.sum().backward()
    return [names, values(y), values(x.grad)]


@program
def in_place_through_views(t: Any) -> Any:
    x = leaf(t, 1.0, 2.0, 3.0, 4.0)
    base = x * 2
    view = base.view(2, 2)[1]
    late = base[2:]
    view.mul_(2)
    names = [name(base), name(view), name(late), view._base is base]
    (base.sum() + late.sum() + view.exp().sum() * 1e-10).backward()
    return [names, values(base), values(x.grad)]


@program
def assignment(t: Any) -> Any:
    w = leaf(t, 2.0, 3.0)
    table = t.zeros(3, 2)
    view = table[1]
    before = view.requires_grad
    for i in range(3):
        table[i] = w * i
    table[0, 1] = w[0]
    result = [before, view.requires_grad, table.requires_grad, name(table), values(table)]
    (table.sum() + view.sum()).backward()
    return [*result, values(w.grad)]


@program
def second_derivative_through_a_written_view(t: Any) -> Any:
    x = leaf(t, 2.0, 3.0, 4.0)
    base = x * x
    base[1:].mul_(x[1:])
    (first,) = t.autograd.grad(base.sum(), x, create_graph=True)
    (second,) = t.autograd.grad(first.sum(), x)
    return [values(first), values(second)]


@program
def views_and_no_grad(t: Any) -> Any:
    p = leaf(t, 1.0, 2.0, 3.0)
    with t.no_grad():
        v = p[:2]
    result = [v.requires_grad, v.is_leaf, v._base is p, name(v)]
    with t.no_grad():
        p.add_(1)
        inside = (p * 2).requires_grad
    result += [inside, values(v), error(lambda: v * 2), p._version]
    return result


@program
def detached(t: Any) -> Any:
    x = leaf(t, 1.0, 2.0)
    y = x * 2
    d = y.detach()
    d.add_(1)
    z = (y * d).sum()
    z.backward()
    e = (x * 2).detach_()
    return [d.requires_grad, d.is_leaf, values(x.grad), e.requires_grad, e.is_leaf, name(e)]


@program
def hooks_and_their_order(t: Any) -> Any:
    events = []
    x = leaf(t, 1.0)
    a = x * 2
    b = a * 3
    a.register_hook(lambda g: (events.append("a"), g * 10)[1])
    b.register_hook(lambda g: events.append("b"))
    x.register_hook(lambda g: events.append("x"))
    x.register_post_accumulate_grad_hook(lambda leaf: events.append(values(leaf.grad)))
    b.grad_fn.register_hook(lambda gi, go: events.append("node b"))
    b.grad_fn.register_prehook(lambda go: events.append("before node b"))
    a.retain_grad()
    b.retain_grad()
    (b * a).backward()
    return [events, values(x.grad), values(a.grad), values(b.grad), a.retains_grad, x.retains_grad]


@program
def hooks_and_in_place(t: Any) -> Any:
    events = []
    x = leaf(t, 1.0)
    y = x * 2
    y.register_hook(lambda g: events.append(["before", values(g)]))
    y.retain_grad()
    y.mul_(10)
    y.register_hook(lambda g: events.append(["after", values(g)]))
    (y * 3).backward()
    return [events, values(y.grad), values(x.grad)]


@program
def captured_after_hooks(t: Any) -> Any:
    x = leaf(t, 2.0)
    y = x * 3
    y.register_hook(lambda g: g * 10)
    (only,) = t.autograd.grad(y, [y], retain_graph=True)
    gx, gy = t.autograd.grad(y, [x, y])
    return [values(only), values(gx), values(gy)]


@program
def targets(t: Any) -> Any:
    x, y = leaf(t, 2.0), leaf(t, 3.0)
    a = x * y
    b = a * a
    b.backward(inputs=[a, x], retain_graph=True)
    result = [values(a.grad), values(x.grad), values(y.grad), x.grad_fn is None]
    unused = leaf(t, 1.0)
    result.append(
        [values(g) for g in t.autograd.grad(b, [x, unused], allow_unused=True, retain_graph=True)]
    )
    result.append([values(g) for g in t.autograd.grad(b, [x, unused], materialize_grads=True)])
    return result


@program
def several_roots(t: Any) -> Any:
    x = leaf(t, 1.0, 2.0)
    a = x * 2
    b = a * 3
    t.autograd.backward([a, b], [t.ones(2), t.tensor([1.0, 10.0])])
    return values(x.grad)


@program
def custom_function(t: Any) -> Any:
    class Cube(t.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, scale: float) -> Any:
            ctx.scale = scale
            y = x * x
            ctx.save_for_backward(x, y)
            return y * x * scale, y

        @staticmethod
        def backward(ctx: Any, g: Any, h: Any) -> Any:
            x, y = ctx.saved_tensors
            return 3 * ctx.scale * g * y + 2 * h * x, None

    x = leaf(t, 1.0, 2.0)
    cube, square = Cube.apply(x, 2.0)
    first = t.autograd.grad((cube * square).sum(), x, create_graph=True)[0]
    second = t.autograd.grad(first.sum(), x)[0]
    return [name(cube), cube.output_nr, square.output_nr, values(first), values(second)]


@program
def custom_function_in_place(t: Any) -> Any:
    class Double(t.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2

    x = leaf(t, 1.0, 2.0, 3.0)
    c = x.clone()
    d = c.clone()
    v = d[1:]
    same = Double.apply(c) is c, Double.apply(v) is v
    result = [list(same), name(c), name(d), name(v), error(lambda: Double.apply(x))]
    (c.sum() + d.sum()).backward()
    return [*result, values(x.grad)]


@program
def custom_function_that_returns_its_input(t: Any) -> Any:
    class Same(t.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 5

    x = leaf(t, 1.0)
    y = Same.apply(x)
    y.backward()
    return [y is x, y._base is x, name(y), values(x.grad), error(lambda: y.add_(1))]


@program
def functional(t: Any) -> Any:
    f = t.autograd.functional

    def two(x: Any, y: Any) -> Any:
        return x * y.sum(), (x * x).sum()

    x, y = t.tensor([1.0, 2.0]), t.tensor([3.0, 4.0, 5.0])
    ones = t.ones(2)
    result = []
    for found in (
        f.vjp(two, (x, y), (ones, t.tensor(2.0)))[1],
        f.jvp(two, (x, y), (ones, t.ones(3)))[1],
        *f.jacobian(two, (x, y)),
        f.jacobian(t.exp, x),
        *f.hessian(lambda x, y: (x.sin() * y.sum() * x).sum(), (x, y)),
        f.hvp(lambda x: (x**3).sum(), x, ones),
        f.vhp(lambda x, y: (x.sum() * y * y).sum(), (x, y), (ones, t.ones(3)))[1],
    ):
        result.append([values(e) for e in found] if isinstance(found, tuple) else values(found))
    return result


@program
def saved_tensor_hooks(t: Any) -> Any:
    events = []

    def pack(tensor: Any) -> Any:
        events.append(["pack", values(tensor)])
        return tensor * 2

    def unpack(packed: Any) -> Any:
        events.append(["unpack", values(packed)])
        return packed

    x = leaf(t, 1.0, 2.0)
    with t.autograd.graph.saved_tensors_hooks(pack, unpack):
        y = (x.exp() * x).sum()
    y.backward()
    return [sorted(map(str, events)), values(x.grad)]


@program
def modes(t: Any) -> Any:
    x = leaf(t, 1.0)
    result = []
    with t.no_grad():
        result.append((x * 2).requires_grad)
        with t.enable_grad():
            result.append((x * 2).requires_grad)
    with t.inference_mode():
        result.append((x * 2).requires_grad)
        result.append(t.is_inference_mode_enabled())
    with t.set_grad_enabled(False):
        result.append(t.is_grad_enabled())
    result.append((x * 2).requires_grad)
    return result


@program
def accumulation_keeps_the_object(t: Any) -> Any:
    x = leaf(t, 1.0, 2.0)
    (x * 2).sum().backward()
    first = x.grad
    (x * 3).sum().backward()
    kept = x.grad is first
    seed = t.ones(2)
    y = leaf(t, 1.0, 1.0)
    (x + y).backward(seed)
    (x * 5).sum().backward()
    return [kept, values(x.grad), values(y.grad), values(seed)]


@program
def shapes_of_gradients(t: Any) -> Any:
    x = t.ones(2, 3, 4).permute(2, 0, 1).requires_grad_()
    (x.sum(dim=1, keepdim=True) * 2).transpose(0, 2).reshape(-1).unsqueeze(0).sum().backward()
    y = t.tensor(3.0, requires_grad=True)
    y.expand(2, 2).sum().backward()
    z = t.ones(3, dtype=t.float64, requires_grad=True)
    (z.float() * 2).sum().backward()
    kinds = [list(x.grad.shape), list(x.grad.stride()), str(z.grad.dtype)]
    return [kinds, values(y.grad), values(z.grad)]


@program
def multi_grad_hooks(t: Any) -> Any:
    a, b, c = leaf(t, 1.0), leaf(t, 2.0), leaf(t, 3.0)
    events = []
    graph = t.autograd.graph
    handle = graph.register_multi_grad_hook(
        [a, b, c], lambda grads: events.append([values(g) for g in grads])
    )
    graph.register_multi_grad_hook([b, c], lambda g: events.append(values(g)), mode="any")
    (a * b * c).backward()
    (a * b).backward()
    handle.remove()
    (a * b).backward()
    return events


@program
def variables(t: Any) -> Any:
    x = t.ones(2)
    v = t.autograd.Variable(x, requires_grad=True)
    (v * v).sum().backward()
    return [isinstance(x, t.autograd.Variable), x.requires_grad, values(v.grad)]


@program
def next_functions(t: Any) -> Any:
    x = leaf(t, 1.0)
    y = x * 2 + x
    edges = y.grad_fn.next_functions
    return [
        [(plain(fn) if fn is not None else None, nr) for fn, nr in edges],
        edges[1][0].variable is x,
    ]


if __name__ == "__main__":
    import torch

    print(json.dumps({key: made(torch) for key, made in PROGRAMS.items()}, indent=1))
