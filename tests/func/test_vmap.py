"""What vmap promises: dimensions, randomness, writing in place, nesting, errors, one launch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest

import tritorch as torch
from tests.func.comparing import close, double
from tritorch.func import dispatch, vmap

F = torch.nn.functional


def loop(function: Callable[..., Any], *columns: torch.Tensor) -> torch.Tensor:
    return torch.stack([function(*row) for row in zip(*columns)])


def test_public_name() -> None:
    assert torch.vmap is vmap
    assert torch.func.vmap is vmap


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("out", [0, 1, -1])
def test_dimensions(dim: int, out: int) -> None:
    x = double(3, 3, 3)
    f = lambda y: y @ y.mT  # noqa: E731
    expected = loop(f, x.movedim(dim, 0)).movedim(0, out)
    close(vmap(f, in_dims=dim, out_dims=out)(x), expected)


def test_nested_dimensions() -> None:
    tree = {"a": double(3, 2), "b": (double(2, 3), 7)}
    f = lambda t, y: (t["a"] * t["b"][0] + t["b"][1], {"y": y})  # noqa: E731
    dims = ({"a": 0, "b": (1, None)}, None)
    first, second = vmap(f, in_dims=dims, out_dims=(1, None))(tree, double(5))
    close(first, (tree["a"].mT * tree["b"][0] + 7))
    assert second["y"].shape == (5,)
    first, second = vmap(f, in_dims=dims, out_dims=(0, 1))(tree, double(5))
    assert second["y"].shape == (5, 3)
    ordered = vmap(lambda d: OrderedDict((k, v * 2) for k, v in d.items()))
    assert list(ordered(OrderedDict(b=double(2), a=double(2)))) == ["b", "a"]


def test_options_are_shared() -> None:
    f = lambda x, *, scale: (x * scale).sum()  # noqa: E731
    x, scale = double(3, 2), double(2)
    close(vmap(f)(x, scale=scale), x @ scale)


def test_nested_vmap() -> None:
    a, b = double(3), double(4)
    table = vmap(vmap(torch.mul, (None, 0)), (0, None))(a, b)
    close(table, a[:, None] * b)
    x = double(2, 3, 4)
    found = vmap(vmap(lambda y: y.softmax(0)), in_dims=1, out_dims=1)(x)
    close(found, x.softmax(2))


@pytest.mark.parametrize("chunk", [1, 2, 3, 7])
def test_chunks(chunk: int) -> None:
    x = double(5, 2)
    sizes = []

    def f(y: torch.Tensor) -> Any:
        sizes.append(y._level.size)
        return y * 2, y.sum()

    first, second = vmap(f, out_dims=(1, 0), chunk_size=chunk)(x)
    close(first, x.mT * 2)
    close(second, x.sum(1))
    assert sum(sizes) == 5 and max(sizes) <= chunk


def test_linear_is_one_kernel() -> None:
    """A mapped layer is a product of matrices, not a loop; also with weights per sample."""
    x, w, b = torch.randn(16, 8), torch.randn(4, 8), torch.randn(4)
    many = torch.randn(16, 4, 8)
    for call, launches in (
        (lambda: F.linear(x, w, b), 1),
        (lambda: vmap(lambda y: F.linear(y, w, b))(x), 1),
        (lambda: vmap(lambda y, v: F.linear(y, v, b))(x, many), 1),
        (lambda: vmap(lambda y: w @ y)(x), 1),
        (lambda: vmap(torch.dot)(x, x), 1),
        (lambda: vmap(lambda y: y.sin() + b[0])(x), 2),
    ):
        assert len(torch.kernels.launched(call)) == launches


def test_outside_nothing_is_exchanged() -> None:
    """Inside vmap functions have other code; when it ends they have their own again."""
    functions = [torch.reshape, torch.matmul, torch.cat, torch.Tensor.__getitem__, F.linear]
    before = [f.__code__ for f in functions]
    inside = []
    vmap(lambda x: inside.extend(f.__code__ for f in functions) or x)(double(2))
    assert not any(a is b for a, b in zip(before, inside))
    assert [f.__code__ for f in functions] == before
    with pytest.raises(ZeroDivisionError):
        vmap(lambda x: 1 / 0)(double(2))
    assert [f.__code__ for f in functions] == before


def test_other_threads_are_not_concerned() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        x = double(3, 4)

        def f(y: torch.Tensor) -> torch.Tensor:
            other = pool.submit(lambda: torch.rand(2).reshape(1, 2).shape).result()
            assert other == (1, 2)
            return y.sum()

        close(vmap(f)(x), x.sum(1))


# ---- randomness


def test_randomness_is_an_error_by_default() -> None:
    for f in (lambda x: x + torch.rand(2), lambda x: F.dropout(x, 0.5), torch.rand_like):
        with pytest.raises(RuntimeError, match="randomness error mode"):
            vmap(f)(double(3, 2))
    close(vmap(lambda x: F.dropout(x, 0.5, False))(double(3)), double(3))


@pytest.mark.parametrize(
    "draw",
    [
        lambda x: torch.rand(50),
        lambda x: torch.randn(5, 10),
        lambda x: torch.randint(0, 1000, (50,)),
        lambda x: torch.randperm(50),
        torch.rand_like,
        lambda x: F.dropout(torch.ones_like(x), 0.5),
        lambda x: F.dropout(torch.ones(50), 0.5),
        lambda x: F.alpha_dropout(torch.ones_like(x), 0.5, True),
        lambda x: torch.bernoulli(x * 0 + 0.5),
        lambda x: torch.empty_like(x).normal_(),
        lambda x: x.clone().uniform_(),
        lambda x: F.gumbel_softmax(x * 0),
    ],
)
def test_same_and_different_numbers(draw: Callable[..., Any]) -> None:
    x = torch.ones(3, 50)
    same = vmap(draw, randomness="same")(x)
    different = vmap(draw, randomness="different")(x)
    assert same.shape == different.shape
    assert same.shape[0] == 3
    assert bool((same[0] == same[1]).all()) and bool((same[0] == same[2]).all())
    assert not bool((different[0] == different[1]).all())
    assert not bool((different[1] == different[2]).all())


def test_same_numbers_in_every_chunk() -> None:
    x = torch.ones(4, 5)
    found = vmap(lambda y: torch.rand(5) + y * 0, randomness="same", chunk_size=2)(x)
    assert bool((found == found[:1]).all())


def test_different_numbers_at_two_levels() -> None:
    f = vmap(lambda y: torch.rand(20) + y, randomness="different")
    found = vmap(f, randomness="different")(torch.zeros(2, 3))
    assert found.shape == (2, 3, 20)
    assert len({tuple(row) for row in found.reshape(6, 20).tolist()}) == 6
    g = vmap(lambda y: torch.rand(20) + y, randomness="same")
    found = vmap(g, randomness="different")(torch.zeros(2, 3))
    assert bool((found[:, 0] == found[:, 2]).all()) and not bool((found[0] == found[1]).all())


# ---- in place


def test_writing_to_a_batched_tensor() -> None:
    x = double(3, 4)
    y = x.clone()

    def f(row: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        row.add_(value)
        row[0] = 7
        row[1:3].mul_(2)
        row[row > 5] = 0
        return row

    expected = torch.stack([f(a.clone(), b) for a, b in zip(x, x[:, 0].clone())])
    found = vmap(f)(y, x[:, 0].clone())
    close(found, expected)
    close(y, expected)  # what was written is seen outside


def test_writing_through_views_has_gradients() -> None:
    x = double(3, 4).requires_grad_()

    def f(row: torch.Tensor) -> torch.Tensor:
        made = torch.zeros_like(row)
        made[1] = row[0] * 2
        made[[2, 3]] = row[1:3]
        return (made**2).sum()

    vmap(f)(x).sum().backward()
    expected = x.detach() * 2
    expected[:, 0] *= 4
    expected[:, 3] = 0
    close(x.grad, expected)


def test_a_shared_target_is_an_error() -> None:
    shared = torch.zeros(4)
    for write in (
        lambda x: shared.add_(x),
        lambda x: shared.copy_(x),
        lambda x: shared.__setitem__(0, x[0]),
        lambda x: shared.index_add_(0, torch.tensor([0]), x[:1]),
    ):
        with pytest.raises(RuntimeError, match="all samples share"):
            vmap(write)(torch.ones(3, 4))


# ---- what is refused


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: x if x.sum() > 0 else -x, "data-dependent control flow"),
        (lambda x: x.sum().item(), r"calling \.item\(\)"),
        (lambda x: x.tolist(), r"calling \.tolist\(\)"),
        (lambda x: x.numpy(), r"calling \.numpy\(\)"),
        (lambda x: float(x[0]), r"float\(\)"),
        (lambda x: x[x > 0], "dynamic shape"),
        (lambda x: torch.nonzero(x > 0), "dynamic shape"),
        (lambda x: x.sum().backward(), r"func\.grad"),
        (lambda x: x.requires_grad_(), r"func\.grad"),
        (lambda x: torch.autograd.grad(x.sum(), x), "does not require grad"),
    ],
)
def test_what_depends_on_values(call: Callable[..., Any], message: str) -> None:
    x = torch.tensor([[1.0, 2.0, -3.0], [1.0, -2.0, -3.0]])
    with pytest.raises(RuntimeError, match=message):
        vmap(call)(x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: vmap(torch.sin, in_dims=2)(x), "expected in_dim to satisfy"),
        (lambda x: vmap(torch.sin, in_dims=(None,))(x), "None for all"),
        (lambda x: vmap(torch.add)(x, x[:1]), "same size in the mapped dimension"),
        (lambda x: vmap(torch.add, in_dims=(0,))(x, x), "not compatible with the structure"),
        (lambda x: vmap(torch.add)(x, 3), "non-Tensor arguments"),
        (lambda x: vmap(torch.sin, in_dims="no")(x), "expected `in_dims` to be int"),
        (lambda x: vmap(torch.sin)(), "got no inputs"),
        (lambda x: vmap(lambda y: 3)(x), "must only return Tensors"),
        (lambda x: vmap(torch.sin, out_dims=None)(x), "can not return a BatchedTensor"),
        (lambda x: vmap(torch.sin, out_dims=(0, 0))(x), "not compatible with the structure"),
        (lambda x: vmap(torch.sin, chunk_size=0)(x), "chunk_size"),
    ],
)
def test_dimension_errors(call: Callable[..., Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(double(3, 2))


def test_unknown_randomness() -> None:
    with pytest.raises(RuntimeError, match="Only allowed values for randomness"):
        vmap(torch.sin, randomness="some")


def test_a_tensor_that_escapes() -> None:
    escaped: list[torch.Tensor] = []
    vmap(lambda x: escaped.append(x) or x)(double(3, 4))
    with pytest.raises(RuntimeError, match="return it from there"):
        escaped[0].reshape(2, 2)


def test_repr_inside() -> None:
    shown: list[str] = []
    vmap(lambda x: shown.append(repr(x)) or x)(torch.zeros(2))
    assert shown == ["BatchedTensor(lvl=1, bdim=0, value=\n    tensor([0., 0.])\n)"]


# ---- fallbacks


@pytest.mark.parametrize(
    "name",
    ["mse_loss", "smooth_l1_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"],
)
def test_gradients_of_losses_run_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name that a loss's node takes over from PyTorch is not asked of a batched tensor."""
    monkeypatch.setattr(dispatch, "_warned", warned := set[str]())
    loss = getattr(F, name)
    x, y = double(3, 4).sigmoid(), double(3, 4).sigmoid()
    found = vmap(torch.func.grad(loss))(x, y)
    assert not warned
    close(found, loop(torch.func.grad(loss), x, y))


def test_a_loop_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_warned", set())
    x = double(3, 6)
    f = lambda y: torch.histc(y, 4, -1, 1)  # noqa: E731
    with pytest.warns(UserWarning, match="no batching rule for histc"):
        found = vmap(f)(x)
    close(found, loop(f, x))
    vmap(f)(x)  # a second warning would be an error


def test_custom_functions_run_in_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:
            (x,) = ctx.saved_tensors
            return g * 3 * x**2

    monkeypatch.setattr(dispatch, "_warned", {"Function.apply"})
    x = double(3, 2).requires_grad_()
    vmap(Cube.apply)(x).sum().backward()
    close(x.grad, 3 * x.detach() ** 2)


def test_promotion_counts_a_samples_dimensions() -> None:
    """A sample of no dimensions weighs as a 0-d tensor, whatever is behind it."""
    wide, narrow = double(3), torch.ones(3, 2)
    assert vmap(torch.mul)(wide, narrow).dtype is torch.float32
    assert vmap(lambda a, b: a.sum() * b.sum())(wide, narrow).dtype is torch.float64
    assert vmap(lambda a: a + torch.tensor(1.0).double())(narrow).dtype is torch.float32
    assert vmap(lambda a: a[0] + torch.tensor(1.0).double())(narrow).dtype is torch.float64


def test_user_gradients_inside_are_refused() -> None:
    x = double(3, 2).requires_grad_()
    with pytest.raises(RuntimeError, match=r"func\.grad"):
        vmap(lambda y: torch.autograd.grad((y * y).sum(), y)[0])(x)


def test_autocast_around_and_inside() -> None:
    """Both change what functions do for a while; they nest in either order."""
    x, w = torch.randn(3, 4), torch.randn(5, 4)

    def inside(y: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return F.linear(y, w)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = F.linear(x, w)
        close(vmap(lambda y: F.linear(y, w))(x), expected)
    close(vmap(inside)(x), expected)
    gradient = torch.func.grad(lambda y: vmap(inside)(y).float().sum())(x)
    assert gradient.dtype is torch.float32
    assert F.linear(x, w).dtype is torch.float32


def test_second_order_gradcheck_through_vmap() -> None:
    x = double(3, 4).requires_grad_()
    f = lambda a: vmap(lambda b: b.softmax(0) * b.cumsum(0))(a)  # noqa: E731
    assert torch.autograd.gradcheck(f, (x,))
    assert torch.autograd.gradgradcheck(f, (x,))


def test_without_gradients() -> None:
    with torch.no_grad():
        assert not vmap(lambda y: y * 2)(double(3).requires_grad_()).requires_grad
