"""Compositions that rearrange, against NumPy, and their gradients of both orders."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch.autograd.gradcheck import gradcheck, gradgradcheck

X = np.random.default_rng(0).standard_normal((3, 4))


def leaf(values: Any = X) -> Any:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def same(actual: Any, expected: Any) -> None:
    assert tuple(actual.shape) == np.shape(expected)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-12)


def test_vander() -> None:
    for columns, increasing in itertools.product((None, 0, 1, 5), (False, True)):
        wanted = np.vander(X[0], columns, increasing)
        same(torch.vander(torch.tensor(X[0]), columns, increasing), wanted)
    assert torch.vander(torch.tensor([1, 2])).dtype is torch.int64


@pytest.mark.parametrize("colours", [2, 3, 15, 16])
def test_short_rows(colours: int) -> None:
    """Copies and sums whose last dimension is short are done along another one."""
    planes = np.arange(2 * colours * 5 * 33, dtype=np.float32).reshape(2, colours, 5, 33)
    pixels = torch.tensor(planes).permute(0, 2, 3, 1)
    same(pixels.contiguous(), planes.transpose(0, 2, 3, 1))
    together = torch.tensor(planes.reshape(-1, colours)) + torch.arange(colours)
    same(together, planes.reshape(-1, colours) + np.arange(colours))


@pytest.mark.parametrize("shape", [(17, 40), (3, 17, 40), (17, 2, 3, 20)])
def test_index_select_along_every_dimension(shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    x, order = torch.tensor(values), list(range(len(shape)))[::-1]
    for dim, size in enumerate(shape):
        places = np.arange(20) * 7 % size
        same(x.index_select(dim, torch.tensor(places)), values.take(places, dim))
        turned = x.permute(order).index_select(len(shape) - 1 - dim, torch.tensor(places))
        same(turned, values.take(places, dim).transpose(order))
        with pytest.raises(IndexError):
            x.index_select(dim, torch.tensor([*places, size]))


@pytest.mark.parametrize("with_replacement", [False, True])
@pytest.mark.parametrize("r", [1, 2, 3, 5])
def test_combinations(r: int, with_replacement: bool) -> None:
    chosen = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    wanted = np.array(list(chosen(X[0], r))).reshape(-1, r)
    same(torch.combinations(torch.tensor(X[0]), r, with_replacement), wanted)


def test_unravel_index() -> None:
    places = np.arange(24).reshape(4, 6)
    for a, b in zip(
        torch.unravel_index(torch.tensor(places), (2, 3, 4)), np.unravel_index(places, (2, 3, 4))
    ):
        same(a, b)


def test_splits() -> None:
    x = np.arange(48).reshape(4, 6, 2)
    for name in ("hsplit", "vsplit", "dsplit"):
        for cuts in (2, [1]):
            for a, b in zip(
                getattr(torch, name)(torch.tensor(x), cuts), getattr(np, name)(x, cuts)
            ):
                same(a, b)
    with pytest.raises(RuntimeError, match="not divisible"):
        torch.hsplit(torch.tensor(x), 4)


def test_copies_share_no_memory() -> None:
    x = torch.tensor(X)
    for copy in (
        torch.view_copy(x, (12,)), torch.expand_copy(x, (3, 4)), torch.t_copy(x),
        torch.permute_copy(x, (1, 0)), torch.squeeze_copy(x), torch.select_copy(x, 0, 1),
        *torch.unbind_copy(x),
    ):  # fmt: skip
        assert copy.is_contiguous()
        copy.zero_()
    same(x, X)


def test_scatters_into_views() -> None:
    x, y = torch.tensor(X), torch.tensor(X + 10)
    wanted = X.copy()
    wanted[:, 0:4:2] = X[:, :2] + 10
    same(torch.slice_scatter(x, y[:, :2], 1, 0, None, 2), wanted)
    wanted = X.copy()
    wanted[[0, 1, 2], [1, 2, 3]] = X[0, :3] + 10
    same(torch.diagonal_scatter(x, y[0, :3], 1), wanted)
    wanted = X.copy()
    wanted[:, -1] = X[:, 0] + 10
    same(torch.select_scatter(x, y[:, 0], 1, -1), wanted)
    same(x, X)
    with pytest.raises(RuntimeError, match="slice size"):
        torch.select_scatter(x, y, 0, 1)


def test_put() -> None:
    places = np.array([[0, 5], [-1, 5]])
    values = np.array([[1.0, 2.0], [3.0, 4.0]])
    for transposed in (False, True):
        given = torch.tensor(X).t() if transposed else torch.tensor(X)
        wanted = (X.T if transposed else X).copy()
        np.add.at(wanted.reshape(-1) if not transposed else wanted.ravel(), places, 0)
        flat = wanted.flatten()
        np.add.at(flat, places, values)
        made = given.clone().put_(torch.tensor(places), torch.tensor(values), accumulate=True)
        same(made, flat.reshape(wanted.shape))
    with pytest.raises(IndexError):
        torch.tensor(X).put(torch.tensor([12]), torch.tensor([0.0], dtype=torch.float64))


def test_fill_diagonal_wraps_as_numpy() -> None:
    for shape in ((7, 3), (3, 7), (4, 4)):
        wanted = np.zeros(shape)
        np.fill_diagonal(wanted, 2, wrap=True)
        same(torch.zeros(*shape).fill_diagonal_(2, wrap=True), wanted)


def test_einsum_of_lists() -> None:
    x, y = torch.tensor(X), torch.tensor(X + 1)
    same(torch.einsum(x, [0, 1], y, [2, 1], [2, 0]), np.einsum(X, [0, 1], X + 1, [2, 1], [2, 0]))
    same(torch.einsum(x, [..., 1], y, [..., 1]), np.einsum(X, [..., 1], X + 1, [..., 1]))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.kron(x, x[:2, :2]),
        lambda x: torch.vander(x[0], 3),
        lambda x: torch.slice_scatter(x, x[1:] * x[:2], 0, 1),
        lambda x: torch.diagonal_scatter(x * x, x[0, :3]),
        lambda x: (x * x).put(torch.tensor([1, 2]), x[0, :2] * x[1, :2], True),
        lambda x: x[:, ::2].unfold(0, 2, 1) ** 2,
        lambda x: x.t().unfold(1, 2, 1) ** 2,
        lambda x: torch.combinations(x[0]).prod(1),
    ],
)
def test_gradients(function: Any) -> None:
    assert gradcheck(function, (leaf(),))
    assert gradgradcheck(function, (leaf(),))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_triangles(dtype: Any) -> None:
    whole = torch.arange(1, 2 * 5 * 7 + 1).reshape(2, 5, 7).to(dtype)
    views = (whole, whole.mT, whole[0], whole[..., ::2], whole[:, :1, :1], whole[:, :, 3:4])
    for view in views:
        for diagonal in (0, 2, -3, 2**40, -(2**40)):
            near = max(-9, min(9, diagonal))
            for function, expected in ((torch.tril, np.tril), (torch.triu, np.triu)):
                found = function(view, diagonal)
                assert found.dtype is dtype and found.is_contiguous()
                np.testing.assert_array_equal(found.numpy(), expected(view.numpy(), near))
