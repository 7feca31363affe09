"""scatter_reduce and index_reduce against loops, and their gradients of both orders."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch.autograd import gradcheck, gradgradcheck

REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")


def expected(x: Any, dim: int, index: Any, src: Any, reduce: str, include_self: bool) -> Any:
    groups = {place: ([x[place]] if include_self else []) for place in np.ndindex(*x.shape)}
    for place in np.ndindex(*index.shape):
        to = (*place[:dim], int(index[place]), *place[dim + 1 :])
        groups[to].append(src[place])
    function = {"sum": np.sum, "prod": np.prod, "mean": np.mean, "amax": np.max, "amin": np.min}
    result = x.copy()
    for place, values in groups.items():
        if values:
            result[place] = function[reduce](values)
    return result


def sample(rng: Any, dim: int) -> tuple[Any, Any, Any]:
    x, src = rng.standard_normal((4, 5)), rng.standard_normal((4, 6) if dim else (6, 5))
    shape = (3, 6) if dim else (6, 4)
    return x, rng.integers(0, x.shape[dim] - 1, shape), src


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("dim", [0, 1])
def test_values(dim: int, reduce: str, include_self: bool) -> None:
    x, index, src = sample(np.random.default_rng(dim), dim)
    made = torch.scatter_reduce(
        torch.tensor(x), dim, torch.tensor(index), torch.tensor(src), reduce,
        include_self=include_self,
    )  # fmt: skip
    wanted = expected(x, dim, index, src[: index.shape[0], : index.shape[1]], reduce, include_self)
    np.testing.assert_allclose(made.numpy(), wanted, rtol=1e-12)
    changed = torch.tensor(x)
    changed.scatter_reduce_(
        dim, torch.tensor(index), torch.tensor(src), reduce, include_self=include_self
    )
    np.testing.assert_array_equal(changed.numpy(), made.numpy())


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_gradients(reduce: str, include_self: bool) -> None:
    x, index, src = sample(np.random.default_rng(5), 1)
    if reduce == "prod":
        src[0, 1] = src[2, 3] = 0.0  # a single 0 in its product
    x, src = (torch.tensor(a, requires_grad=True) for a in (x, src))

    def function(x: Any, src: Any) -> Any:
        return torch.scatter_reduce(
            x, 1, torch.tensor(index), src, reduce, include_self=include_self
        )

    assert gradcheck(function, (x, src))
    if reduce != "prod":
        assert gradgradcheck(function, (x, src))
    else:
        assert gradgradcheck(function, (x, (src + 3).detach().requires_grad_()))


def test_equal_extremes_share_the_gradient() -> None:
    x = torch.tensor([2.0, 0.0], requires_grad=True)
    src = torch.tensor([2.0, 1.0, 2.0], requires_grad=True)
    index = torch.tensor([0, 0, 0])
    torch.scatter_reduce(x, 0, index, src, "amax").sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [1 / 3, 1.0], rtol=1e-6)
    np.testing.assert_allclose(src.grad.numpy(), [1 / 3, 0, 1 / 3], rtol=1e-6)


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("reduce", REDUCTIONS[1:])
def test_index_reduce(reduce: str, include_self: bool) -> None:
    rng = np.random.default_rng(1)
    x, source = rng.standard_normal((4, 5)), rng.standard_normal((4, 7))
    index = rng.integers(0, 5, 7)
    made = torch.tensor(x).index_reduce(
        1, torch.tensor(index), torch.tensor(source), reduce, include_self=include_self
    )
    spread = np.broadcast_to(index, (4, 7))
    wanted = expected(x, 1, spread, source, reduce, include_self)
    np.testing.assert_allclose(made.numpy(), wanted, rtol=1e-12)


def test_integers_and_errors() -> None:
    x = torch.tensor([7, 8])
    made = x.scatter_reduce(0, torch.tensor([0, 0]), torch.tensor([1, 2]), "mean")
    assert made.tolist() == [3, 8]
    with pytest.raises(RuntimeError, match="either sum, prod, mean, amax or amin, got median"):
        x.scatter_reduce(0, torch.tensor([0]), torch.tensor([1]), "median")
    with pytest.raises(RuntimeError, match=r"Expected self\.dtype to be equal to src\.dtype"):
        x.scatter_reduce(0, torch.tensor([0]), torch.tensor([1.0]), "sum")
    with pytest.raises(RuntimeError, match="one of prod, mean, amax or amin but got sum"):
        x.index_reduce(0, torch.tensor([0]), torch.tensor([1]), "sum")
