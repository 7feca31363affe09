"""Integers divided by 0 raise, wherever the 0 is, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import tritorch as torch
from tritorch.errors import IntegerDivisionError

DIVISIONS: dict[str, Callable[[Any, Any], Any]] = {
    "floor_divide": lambda x, y: x // y,
    "remainder": lambda x, y: x % y,
    "fmod": torch.fmod,
    "div, floor": lambda x, y: torch.div(x, y, rounding_mode="floor"),
    "div, trunc": lambda x, y: torch.div(x, y, rounding_mode="trunc"),
    "floor_divide_": lambda x, y: x.clone().floor_divide_(y),
    "remainder_": lambda x, y: x.clone().remainder_(y),
    "div_": lambda x, y: x.clone().div_(y, rounding_mode="trunc"),
    "out": lambda x, y: torch.remainder(x, y, out=torch.empty(3, dtype=torch.int64)),
}


@pytest.mark.parametrize("name", DIVISIONS)
def test_zero_raises_in_a_tensor_and_as_a_number(name: str) -> None:
    x, divide = torch.tensor([4, 5, 6]), DIVISIONS[name]
    good = divide(x, torch.tensor([2, 2, 2])).tolist()
    for zero in (torch.tensor([2, 0, 2]), torch.tensor(0), 0, False):
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            divide(x, zero)
        assert divide(x, torch.tensor([2, 2, 2])).tolist() == good  # the mark is wiped out
    assert divide(x, 2).tolist() == good


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64])
@pytest.mark.parametrize("shape", [(37,), (3, 5), (20, 33)])
def test_only_elements_of_the_divisor_count(shape: tuple[int, ...], kind: torch.dtype) -> None:
    """In every form of the kernels: a range, rows, tiles; nothing behind the last element."""
    ones = torch.ones(shape, dtype=kind)
    wide = torch.zeros([2 * size for size in shape], dtype=kind)
    inner = wide[tuple(slice(0, size) for size in shape)]  # zeros all around
    inner.fill_(1)
    turned = torch.ones(shape[::-1], dtype=kind).permute(*reversed(range(len(shape))))
    row = torch.ones(shape[-1], dtype=kind)
    for divisor in (ones, inner, turned, row, row[:1]):
        assert torch.equal(ones // divisor, ones)
        divisor[(-1,) * divisor.ndim] = 0
        with pytest.raises(IntegerDivisionError):
            ones // divisor
        divisor[...] = 1


def test_what_is_no_division_of_integers_goes_on() -> None:
    x, zero = torch.tensor([4, 5, 6]), torch.tensor([0, 1, 2])
    assert (5 // torch.tensor([2, 5])).tolist() == [2, 1]
    with pytest.raises(IntegerDivisionError, match="floor_divide"):
        5 // zero
    assert (x // 0.0).tolist() == [torch.inf] * 3
    assert (x // zero.float()).tolist() == [torch.inf, 5, 3]
    assert (x[:0] // 0).tolist() == (x[:0] % zero[:0]).tolist() == []
    assert torch.gcd(x, zero).tolist() == [4, 1, 2]
    with pytest.raises(ZeroDivisionError):
        x % 0
