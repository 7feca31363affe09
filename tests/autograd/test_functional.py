"""Products with Jacobians and Hessians, and those matrices: against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch.autograd import functional

EPS = 1e-6


def vector(*values: float) -> Any:
    return torch.tensor(values, dtype=torch.float64)


X, Y = vector(0.3, -0.7, 1.1), vector(0.5, 0.2)

#: functions of X, or of X and Y; scalar ones have a Hessian
ONE: dict[str, Callable[..., Any]] = {
    "elementwise": lambda x: x.sin() * x.exp(),
    "matrix": lambda x: x[:, None] * x.cos(),
    "scalar": lambda x: (x.tanh() * x).sum() + x.prod(),
    "part": lambda x: x[1:] ** 3,
}
TWO: dict[str, Callable[..., Any]] = {
    "both": lambda x, y: x[:2] * y.exp(),
    "two outputs": lambda x, y: (x.sum() * y, (x * x).sum() * y.sum()),
    "one unused": lambda x, y: x.sin(),
}


def outputs_of(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def differences(f: Callable[..., Any], inputs: tuple[Any, ...]) -> list[list[np.ndarray]]:
    """For each output and input, the derivatives by central differences."""
    shapes = [out.shape for out in outputs_of(f(*inputs))]
    result: list[list[np.ndarray]] = [[] for _ in shapes]
    for place, tensor in enumerate(inputs):
        columns: list[list[np.ndarray]] = [[] for _ in shapes]
        for element in range(tensor.numel()):
            values = []
            for step in (EPS, -EPS):
                moved = [t.clone() for t in inputs]
                moved[place].view(-1)[element] += step
                values.append([o.detach().numpy().copy() for o in outputs_of(f(*moved))])
            for number, (up, down) in enumerate(zip(*values, strict=True)):
                columns[number].append((up - down) / (2 * EPS))
        for number, shape in enumerate(shapes):
            made = np.stack(columns[number], -1).reshape(*shape, *tensor.shape)
            result[number].append(made)
    return result


def nested(value: Any, outputs: int, inputs: int, tuples: tuple[bool, bool]) -> list[list[Any]]:
    """The result of `jacobian` as a list of lists whatever was a tuple."""
    rows = value if tuples[0] else (value,)
    assert len(rows) == outputs
    entries = [row if tuples[1] else (row,) for row in rows]
    assert all(len(row) == inputs for row in entries)
    return [list(row) for row in entries]


WAYS: list[dict[str, Any]] = [
    {}, {"create_graph": True}, {"vectorize": True},
    {"strategy": "forward-mode", "vectorize": True}, {"strategy": "forward-mode"},
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("name", [*ONE, *TWO])
def test_jacobian(name: str, way: dict[str, Any]) -> None:
    f = ONE.get(name) or TWO[name]
    inputs = (X,) if name in ONE else (X, Y)
    several = isinstance(f(*inputs), tuple)
    expected = differences(f, inputs)
    found = functional.jacobian(f, X if name in ONE else inputs, **way)
    found = nested(found, len(expected), len(inputs), (several, name in TWO))
    for mine, wanted in zip(found, expected, strict=True):
        for a, b in zip(mine, wanted, strict=True):
            np.testing.assert_allclose(a.detach().numpy(), b, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", [*ONE, *TWO])
def test_vjp_and_jvp_are_products_with_the_jacobian(name: str) -> None:
    f = ONE.get(name) or TWO[name]
    inputs = (X,) if name in ONE else (X, Y)
    value = outputs_of(f(*inputs))
    matrix = [[m.reshape(o.numel(), -1) for m in row]
              for row, o in zip(differences(f, inputs), value, strict=True)]  # fmt: skip
    random = np.random.default_rng(0)
    left = tuple(torch.tensor(random.standard_normal(o.shape)) for o in value)
    right = tuple(torch.tensor(random.standard_normal(i.shape)) for i in inputs)
    many = isinstance(f(*inputs), tuple)
    given = X if name in ONE else inputs
    out, pulled = functional.vjp(f, given, left if many else left[0])
    assert [o.tolist() for o in outputs_of(out)] == [o.tolist() for o in value]
    for place, product in enumerate(outputs_of(pulled)):
        wanted = sum(v.numpy().reshape(-1) @ row[place] for v, row in zip(left, matrix))
        np.testing.assert_allclose(product.numpy().reshape(-1), wanted, rtol=1e-6, atol=1e-8)
    _, pushed = functional.jvp(f, given, right[0] if name in ONE else right)
    for row, product in zip(matrix, outputs_of(pushed), strict=True):
        wanted = sum(m @ v.numpy().reshape(-1) for m, v in zip(row, right))
        np.testing.assert_allclose(product.numpy().reshape(-1), wanted, rtol=1e-6, atol=1e-8)


def scalar(x: Any, y: Any) -> Any:
    return (x.sin() * y.sum()).sum() + (y**3).prod() + (x[0] * x[1]).exp()


@pytest.mark.parametrize("way", [{}, {"vectorize": True},
                                 {"outer_jacobian_strategy": "forward-mode", "vectorize": True}],
                         ids=str)  # fmt: skip
def test_hessian(way: dict[str, Any]) -> None:
    def gradient(x: Any, y: Any) -> Any:
        x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
        return torch.autograd.grad(scalar(x, y), (x, y))

    expected = differences(gradient, (X, Y))
    found = functional.hessian(scalar, (X, Y), **way)
    for mine, wanted in zip(found, expected, strict=True):
        for a, b in zip(mine, wanted, strict=True):
            np.testing.assert_allclose(a.numpy(), b, rtol=1e-6, atol=1e-7)
    alone = functional.hessian(lambda x: scalar(x, Y), X, **way)
    np.testing.assert_allclose(alone.numpy(), expected[0][0], rtol=1e-6, atol=1e-7)
    v = (vector(1.0, -2.0, 0.5), vector(0.3, 0.7))
    for product in (functional.hvp, functional.vhp):
        value, parts = product(scalar, (X, Y), v)
        assert value.item() == scalar(X, Y).item()
        for row, part in zip(expected, parts, strict=True):
            wanted = sum(m @ each.numpy() for m, each in zip(row, v))
            np.testing.assert_allclose(part.numpy(), wanted, rtol=1e-6, atol=1e-7)


def test_results_can_be_differentiated() -> None:
    x = X.clone().requires_grad_()

    def f(x: Any) -> Any:
        return functional.jacobian(lambda x: x**3, x, create_graph=True).sum()

    def g(x: Any) -> Any:
        return functional.vjp(lambda x: x**3, x, torch.ones_like(x), create_graph=True)[1]

    def h(x: Any) -> Any:
        return functional.hvp(lambda x: (x**4).sum(), x, torch.ones_like(x), create_graph=True)[1]

    for function in (f, g, h):
        assert torch.autograd.gradcheck(function, (x,))
    assert not functional.jacobian(lambda x: x**2, x).requires_grad


def test_strict_and_wrong_use() -> None:
    constant = torch.ones(2, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="does not require gradients"):
        functional.jacobian(lambda x: constant, X, strict=True)
    with pytest.raises(RuntimeError, match="independent of input 1"):
        functional.vjp(lambda x, y: x.sum(), (X, Y), strict=True)
    assert functional.jacobian(lambda x: constant, X).tolist() == [[0.0] * 3] * 2
    with pytest.raises(ValueError, match="Expected strategy to be either"):
        functional.jacobian(lambda x: x, X, strategy="sideways")
    with pytest.raises(RuntimeError, match="v has invalid size"):
        functional.vjp(lambda x: x, X, Y)
    with pytest.raises(RuntimeError, match="can only be None if"):
        functional.jvp(lambda x: x, X)
    with pytest.raises(RuntimeError, match="should contain a single element"):
        functional.hessian(lambda x: x, X)
    with pytest.raises(TypeError, match="must be either a Tensor or a tuple of Tensors"):
        functional.vjp(lambda x: x, [X])
