"""Distinct slices, searches with a sorter, sorts of any length, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tritorch as torch


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("shape", [(20, 2), (3, 30), (4, 15, 2), (1, 1), (5, 0)])
def test_unique_slices(shape: Any, dim: int) -> None:
    x = np.random.default_rng(0).integers(-1, 2, shape)
    if not x.shape[dim]:
        assert torch.unique(torch.tensor(x), dim=dim).shape == shape
        return
    made = torch.unique(torch.tensor(x), return_inverse=True, return_counts=True, dim=dim)
    wanted = np.unique(x, return_inverse=True, return_counts=True, axis=dim)
    for a, b in zip(made, wanted):
        np.testing.assert_array_equal(a.numpy(), b.reshape(a.shape))


def test_runs_of_slices() -> None:
    x = torch.tensor([[1, 1, 1, 0, 0, 1], [2, 2, 3, 3, 3, 2]])
    values, inverse, counts = torch.unique_consecutive(
        x, return_inverse=True, return_counts=True, dim=1
    )
    assert values.tolist() == [[1, 1, 0, 1], [2, 3, 3, 2]]
    assert inverse.tolist() == [0, 0, 1, 2, 2, 3]
    assert counts.tolist() == [2, 1, 2, 1]


@pytest.mark.parametrize("side", ["left", "right"])
def test_searchsorted_with_a_sorter(side: str) -> None:
    rng = np.random.default_rng(3)
    x, values = rng.integers(0, 20, (3, 30)).astype(np.float32), rng.integers(-1, 22, (3, 8))
    sequence, wanted = torch.tensor(x), values.astype(np.float32)
    made = torch.searchsorted(
        sequence, torch.tensor(wanted), side=side, sorter=torch.argsort(sequence, 1), out_int32=True
    )
    assert made.dtype is torch.int32
    expected = [np.searchsorted(np.sort(row), found, side) for row, found in zip(x, wanted)]
    np.testing.assert_array_equal(made.numpy(), expected)


def test_searchsorted_errors() -> None:
    x = torch.arange(5.0)
    with pytest.raises(RuntimeError, match="side can only be 'left' or 'right' but got up"):
        torch.searchsorted(x, x, side="up")
    with pytest.raises(RuntimeError, match="side and right can't be set to opposites"):
        torch.searchsorted(x, x, side="left", right=True)
    with pytest.raises(RuntimeError, match="boundary and sorter must have the same size"):
        torch.searchsorted(x, x, sorter=torch.arange(4))
    with pytest.raises(RuntimeError, match="sorter must be a tensor of long dtype"):
        torch.searchsorted(x, x, sorter=x)


@pytest.mark.parametrize("size", [1, 63, 65, 1025, 70_001])
def test_stable_sorts_of_any_length(size: int) -> None:
    x = np.random.default_rng(size).integers(-9, 10, size).astype(np.float32)
    values, order = torch.sort(torch.tensor(x), stable=True)
    np.testing.assert_array_equal(order.numpy(), np.argsort(x, kind="stable"))
    np.testing.assert_array_equal(torch.msort(torch.tensor(x)).numpy(), values.numpy())
    _, backwards = torch.sort(torch.tensor(x), descending=True, stable=True)
    np.testing.assert_array_equal(backwards.numpy(), np.argsort(-x, kind="stable"))
    k = (size + 2) // 3
    found = torch.kthvalue(torch.tensor(x), k)
    assert found.values.item() == np.sort(x)[k - 1] == x[found.indices.item()]


def test_topk_has_a_gradient() -> None:
    x = torch.randn(3, 200, dtype=torch.float64).requires_grad_()
    values, indices = x.topk(4)
    (values * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    expected = np.zeros((3, 200))
    np.put_along_axis(expected, indices.numpy(), np.array([[1.0, 2.0, 3.0, 4.0]] * 3), 1)
    np.testing.assert_array_equal(x.grad.numpy(), expected)
