"""The laws of func's derivatives: against finite differences, one another, and when nested."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tests.func.comparing import close, double
from tritorch.func import (
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    linearize,
    value_and_grad,
    vjp,
    vmap,
)

F = torch.nn.functional


def differences(function: Callable[..., Any], x: torch.Tensor, step: float = 1e-6) -> np.ndarray:
    """The Jacobian by central differences, (*output, *input)."""
    columns = []
    for place in range(x.numel()):
        moved = []
        for sign in (1, -1):
            y = x.detach().clone()
            y.view(-1)[place] += sign * step
            moved.append(function(y).detach().numpy().copy())
        columns.append((moved[0] - moved[1]) / (2 * step))
    made = np.stack(columns, -1)
    return made.reshape(*made.shape[:-1], *x.shape)


FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "tanh": (torch.tanh, (3,)),
    "product": (lambda x: x @ x.mT, (2, 3)),
    "index": (lambda x: x[[0, 2, 2]] * x[1], (4,)),
    "softmax": (lambda x: torch.softmax(x, 0), (4,)),
    "layer_norm": (lambda x: F.layer_norm(x, (4,)), (2, 4)),
    "convolution": (lambda x: F.conv1d(x[None] ** 2, double(2, 1, 2))[0], (1, 4)),
    "inverse": (torch.linalg.inv, (3, 3)),
    "cumulative": (lambda x: x.cumsum(0) * x.cumprod(0), (3,)),
    "sorted": (lambda x: x.sort(0).values ** 2, (4,)),
    "joined": (lambda x: torch.cat([x, x * x]).roll(1), (3,)),
    "attention": (lambda x: F.scaled_dot_product_attention(x, x, x), (1, 3, 4)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_jacobians(name: str) -> None:
    """Reverse and forward mode agree with finite differences; so does the Hessian."""
    function, shape = FUNCTIONS[name]
    x = double(*shape, seed=len(name))
    expected = differences(function, x)
    for jacobian in (jacrev(function)(x), jacrev(function, chunk_size=2)(x), jacfwd(function)(x)):
        assert not jacobian.requires_grad
        assert jacobian.shape == expected.shape
        np.testing.assert_allclose(jacobian.numpy(), expected, atol=1e-7)
    second = hessian(lambda y: (function(y) ** 2).sum())
    np.testing.assert_allclose(
        second(x).numpy(),
        differences(grad(lambda y: (function(y) ** 2).sum()), x),
        atol=1e-6,
    )


def test_second_derivatives_compose_in_every_order() -> None:
    x = double(3)
    f = lambda y: (y.sin() * y.cumsum(0)).sum()  # noqa: E731
    expected = hessian(f)(x)
    for outer in (jacrev, jacfwd):
        for inner in (jacrev, jacfwd):
            close(outer(inner(f))(x), expected)


def test_grad_and_its_kin() -> None:
    w, x = double(3), double(3, seed=1)
    f = lambda a, b: (a * b).sum() ** 2  # noqa: E731
    inner = (w * x).sum()
    close(grad(f)(w, x), 2 * inner * x)
    close(grad(f, argnums=-1)(w, x), 2 * inner * w)
    both = grad(f, argnums=(1, 0))(w, x)
    assert isinstance(both, tuple)
    close(both, (2 * inner * w, 2 * inner * x))
    gradient, value = grad_and_value(f)(w, x)
    close((gradient, value), (2 * inner * x, inner**2))
    value, gradient = value_and_grad(f)(w, x)
    close((gradient, value), (2 * inner * x, inner**2))
    gradient, aux = grad(lambda a: (a.sum(), {"doubled": a * 2}), has_aux=True)(w)
    close(aux["doubled"], w * 2)
    assert not aux["doubled"].requires_grad
    gradient, (value, aux) = grad_and_value(lambda a: (a.sum(), "anything"), has_aux=True)(w)
    assert aux == "anything" and value == w.sum()


def test_containers_in_and_out() -> None:
    tree = {"a": double(2), "b": [double(3), (double(1),)]}
    f = lambda t: (t["a"] ** 2).sum() + t["b"][0].sum() * t["b"][1][0].sum()  # noqa: E731
    found = grad(f)(tree)
    close(found["a"], tree["a"] * 2)
    assert isinstance(found["b"][1], tuple)
    close(found["b"][1][0], tree["b"][0].sum().reshape(1))
    _, pull = vjp(lambda t: {"x": t["a"] * 3, "y": t["b"][0].sum()}, tree)
    (back,) = pull({"x": torch.ones(2).double(), "y": torch.tensor(2.0).double()})
    close(back["a"], torch.full((2,), 3.0).double())
    close(back["b"][0], torch.full((3,), 2.0).double())
    assert back["b"][1][0].tolist() == [0.0]
    jacobian = jacrev(lambda a, b: (a * b, a.sum()), argnums=(0, 1))(double(2), double(2, seed=1))
    assert [[part.shape for part in row] for row in jacobian] == [[(2, 2)] * 2, [(2,)] * 2]


def test_products_with_the_jacobian() -> None:
    x, v = double(3), double(3, seed=1)
    f = lambda y: y.sin() * y.sum()  # noqa: E731
    matrix = jacrev(f)(x)
    value, product = jvp(f, (x,), (v,))
    close(product, matrix @ v)
    close(value, f(x))
    value, push = linearize(f, x)
    close(push(v), matrix @ v)
    value, pull = vjp(f, x)
    close(pull(v)[0], v @ matrix)
    close(pull(2 * v)[0], 2 * (v @ matrix))
    value, product, aux = jvp(lambda y: (f(y), y * 2), (x,), (v,), has_aux=True)
    close(aux, x * 2)


def test_levels() -> None:
    """Derivatives nest without confusing their variables."""
    x = torch.tensor(2.0).double()
    assert float(grad(grad(grad(lambda y: y**4)))(x)) == 48.0
    # d/dx (x * d/dy (x + y)) = 1: the inner derivative does not see the outer variable.
    assert float(grad(lambda a: a * grad(lambda b: a + b)(a))(x)) == 1.0
    assert float(grad(lambda a: a * grad(lambda b: a * b)(a))(x)) == 4.0


def test_outer_tensors_still_get_gradients() -> None:
    w = double(3).requires_grad_()
    x = double(3, seed=1)
    found = grad(lambda y: (w * y**2).sum())(x)
    assert found.requires_grad
    found.sum().backward()
    close(w.grad, 2 * x)
    leaf = double(3).requires_grad_()
    found = grad(lambda y: (y**3).sum())(leaf)
    found.sum().backward()
    close(leaf.grad, 6 * leaf.detach())
    assert not grad(lambda y: (y**3).sum())(x).requires_grad


def test_no_grad_inside_counts_and_outside_does_not() -> None:
    x = torch.tensor(3.0).double()

    def partly(y: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            c = y**2
        return y * c

    assert float(grad(partly)(x)) == 9.0
    w = torch.tensor(2.0).double().requires_grad_()
    with torch.no_grad():
        found = grad(lambda y: y**2 * w)(x)
        assert float(found) == 12.0
        assert not found.requires_grad
        assert float(grad(grad(lambda y: y**3))(x)) == 18.0
    with torch.inference_mode():
        found = grad(lambda y: y**2 * w)(x)
        assert float(found) == 12.0
        assert not found.requires_grad
        assert float(grad(grad(lambda y: y**3))(x)) == 18.0
        assert float(jvp(lambda y: y**3, (x,), (x,))[1]) == 81.0


def test_writing_in_place_inside() -> None:
    def f(y: torch.Tensor) -> torch.Tensor:
        z = y.clone()
        z[0] = z[1] * 2
        z.mul_(z)
        return z.sum()

    assert grad(f)(torch.tensor([1.0, 2.0, 3.0])).tolist() == [0.0, 20.0, 6.0]


def test_an_input_without_part_gets_zeros() -> None:
    a, b = double(2), double(2)
    assert grad(lambda x, y: y.sum())(a, b).tolist() == [0.0, 0.0]
    assert jacrev(lambda x: b)(a).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert jvp(lambda x: b, (a,), (a,))[1].tolist() == [0.0, 0.0]


def test_derivatives_inside_vmap() -> None:
    """Every derivative of each sample equals that of the sample alone."""
    xs, v = double(3, 4), double(4, seed=2)
    f = lambda y: y.tanh() * y.sum()  # noqa: E731
    for derivative in (
        grad(lambda y: f(y).sum()),
        jacrev(f),
        jacfwd(f),
        hessian(lambda y: f(y).sum()),
        lambda y: vjp(f, y)[1](v)[0],
        lambda y: jvp(f, (y,), (v,))[1],
    ):
        close(vmap(derivative)(xs), torch.stack([derivative(x) for x in xs]))


def test_gradient_of_vmap() -> None:
    xs = double(3, 4)
    f = lambda y: (y**3).sum()  # noqa: E731
    close(grad(lambda ys: vmap(f)(ys).sum())(xs), 3 * xs**2)
    leaf = double(3, 4).requires_grad_()
    vmap(f)(leaf).sum().backward()
    close(leaf.grad, 3 * leaf.detach() ** 2)


def test_shared_parameters_get_a_gradient_per_sample() -> None:
    w, xs = double(4), double(3, 4)
    f = lambda a, x: (a * x).sum() ** 2  # noqa: E731
    found = vmap(grad(f), in_dims=(None, 0))(w, xs)
    close(found, torch.stack([grad(f)(w, x) for x in xs]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: grad(lambda y: y * 2)(x), "scalar tensor, got tensor with 1 dims"),
        (lambda x: grad(lambda y: 3)(x), "to return a tensor"),
        (lambda x: grad(lambda y: y.sum(), argnums=1)(x), "only 1 positional inputs"),
        (lambda x: grad(lambda y: y.sum(), argnums=(0, 0))(x), "must be unique"),
        (lambda x: grad(lambda y: y)(3), "only tensors can be differentiated by"),
        (lambda x: grad(lambda y: y.sum())(x.long()), "floating point"),
        (lambda x: grad(lambda y: y.sum(), has_aux=True)(x), "should be a tuple"),
        (lambda x: vjp(lambda y: y, x)[1](x[:1]), "vector of shape"),
        (lambda x: vjp(lambda y: y, x)[1](x, x), "Expected 1 vectors"),
        (lambda x: jvp(lambda y: y, (x,), (x[:1],)), "tangents of the primals' shapes"),
        (lambda x: jvp(lambda y: y, x, x), "non-empty tuple"),
        (lambda x: vjp(lambda y: "text", x), "return only tensors"),
    ],
)
def test_errors(call: Callable[..., Any], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        call(double(3))


@pytest.mark.parametrize("order", [1, -1])
def test_a_leaf_among_the_outputs_keeps_its_gradient(order: int) -> None:
    w = torch.ones(2, requires_grad=True)
    outputs, pull = vjp(lambda x: (x * 2, w)[::order], torch.ones(2))
    assert [y is w for y in outputs] == [False, True][::order]
    (found,) = pull(tuple(torch.ones(2) for _ in outputs))
    assert found.tolist() == [2.0, 2.0]
