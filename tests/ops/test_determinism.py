"""`use_deterministic_algorithms`, and sums that do not depend on the number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tritorch as torch


@pytest.fixture(autouse=True)
def restore() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def test_modes() -> None:
    assert not torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.get_deterministic_debug_mode() == 1
    torch.set_deterministic_debug_mode("error")
    assert torch.get_deterministic_debug_mode() == 2
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_deterministic_debug_mode(0)
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(TypeError, match="argument 'mode' must be bool, not int"):
        torch.use_deterministic_algorithms(1)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="invalid value of debug_mode"):
        torch.set_deterministic_debug_mode("loud")


def results(threads: int) -> list[Any]:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    n = 100_000
    index, source = torch.randint(0, 50, (n,)), torch.randn(n)
    table = torch.randn(50, 8).requires_grad_()
    torch.nn.functional.embedding(index[:5000], table).square().sum().backward()
    found = [
        torch.zeros(50).index_add_(0, index, source),
        torch.zeros(50).scatter_add_(0, index, source),
        torch.zeros(5, 50).scatter_add_(1, index.reshape(5, -1), source.reshape(5, -1)),
        torch.zeros(50, 20).index_add_(0, index[:5000], source.reshape(5000, 20)),
        torch.zeros(50, 50).index_put_((index, index.flip(0)), source, accumulate=True),
        table.grad,
    ]
    return [x.numpy() for x in found]


def test_sums_do_not_depend_on_the_threads() -> None:
    torch.use_deterministic_algorithms(True)
    for one, two in zip(results(1), results(2)):
        np.testing.assert_array_equal(one, two)


def test_sums_in_parts_are_right() -> None:
    rng = np.random.default_rng(0)
    index, source = rng.integers(0, 50, 100_000), rng.integers(-9, 9, 100_000).astype(np.float32)
    expected = np.bincount(index, source, minlength=50) + 1
    for kind in (torch.float32, torch.float64, torch.float16, torch.int64):
        x = torch.ones(50, dtype=kind)
        x.index_add_(0, torch.tensor(index), torch.tensor(source).to(kind))
        assert x.dtype is kind
        if kind is not torch.float16:
            np.testing.assert_array_equal(x.numpy(), expected)
        else:
            np.testing.assert_allclose(x.numpy(), expected, rtol=1e-3)
