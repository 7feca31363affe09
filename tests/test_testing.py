"""`tritorch.testing.assert_close`: what is close, what is not, and what it says of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch.testing import assert_close

ONES = torch.ones(2)
NAN, INFINITE = math.nan, math.inf


@pytest.mark.parametrize(
    ("actual", "expected", "options"),
    [
        (torch.tensor([1.0, 2.0, 3.00001]), torch.tensor([1.0, 2.0, 3.0]), {}),
        (torch.tensor([INFINITE, -INFINITE]), torch.tensor([INFINITE, -INFINITE]), {}),
        (torch.tensor([1, 2]), torch.tensor([1.0, 2.0]), {"check_dtype": False}),
        (torch.tensor([NAN]), torch.tensor([NAN]), {"equal_nan": True}),
        (ONES, ONES + 1.5, {"rtol": 0.0, "atol": 1.5}),
        (ONES.bfloat16(), ONES.bfloat16() * 1.0078125, {}),
        (torch.zeros(2, 3), torch.zeros(3, 2).T, {}),
        (torch.zeros(0), torch.zeros(0), {}),
        (np.zeros(2), np.zeros(2), {}),
        ({"a": [1.0, None, (ONES, True)]}, {"a": [1.0, None, (ONES, True)]}, {}),
        (1, 1.0, {"check_dtype": False}),
    ],
)
def test_close(actual: Any, expected: Any, options: dict[str, Any]) -> None:
    assert_close(actual, expected, **options)


@pytest.mark.parametrize(
    ("actual", "expected", "options", "words"),
    [
        (
            torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 4.0]), {},
            "Tensor-likes are not close!\n\nMismatched elements: 1 / 3 (33.3%)\n"
            "Greatest absolute difference: 1.0 at index (2,) (up to 1e-05 allowed)\n"
            "Greatest relative difference: 0.25 at index (2,) (up to 1.3e-06 allowed)",
        ),
        (
            torch.tensor([[INFINITE, 1.0], [5.0, 0.0]]),
            torch.tensor([[INFINITE, 1.5], [4.0, 0.0]]), {},
            "Tensor-likes are not close!\n\nMismatched elements: 2 / 4 (50.0%)\n"
            "Greatest absolute difference: 1.0 at index (1, 0) (up to 1e-05 allowed)\n"
            "Greatest relative difference: 0.3333333333333333 at index (0, 1) (up to 1.3e-06 "
            "allowed)",
        ),
        (
            torch.tensor([1, 2]), torch.tensor([1, 4]), {},
            "Tensor-likes are not equal!\n\nMismatched elements: 1 / 2 (50.0%)\n"
            "Greatest absolute difference: 2 at index (1,)\n"
            "Greatest relative difference: 0.5 at index (1,)",
        ),
        (
            1, 2, {},
            "Scalars are not equal!\n\nExpected 2 but got 1.\n"
            "Absolute difference: 1\nRelative difference: 0.5",
        ),
        (torch.tensor([NAN]), torch.tensor([NAN]), {}, "Greatest absolute difference: nan"),
        (ONES.double(), ONES.double() * (1 + 1e-6), {}, "not close"),
        (ONES, ONES * 1.1, {"rtol": 0.0, "atol": 0.09}, "not close"),
        (ONES, ONES * 1.1, {"rtol": 0.09, "atol": 0.0}, "not close"),
        (True, False, {}, "Booleans mismatch: True is not False"),
        (1, 1.0, {}, "The (d)types do not match"),
        (torch.ones(2), torch.ones(3), {}, "'shape' do not match: torch.Size([2]) != torch.Size"),
        (torch.ones(2), torch.ones(2).double(), {}, "'dtype' do not match: torch.float32 != "),
        (
            torch.zeros(2, 3), torch.zeros(3, 2).T, {"check_stride": True},
            "'stride()' do not match: (3, 1) != (1, 2)",
        ),
        ([1.0], [1.0, 2.0], {}, "The length of the sequences mismatch: 1 != 2"),
        ({"a": 1.0}, {"b": 1.0}, {}, "Missing keys in the actual mapping: ['b']"),
        ({"a": [1.0, 2.0]}, {"a": [1.0, 3.0]}, {}, "The failure occurred for item ['a'][1]"),
        (1.0, 2.0, {"msg": "mine"}, "mine"),
        (1.0, 2.0, {"msg": lambda said: f"mine: {said[:7]}"}, "mine: Scalars"),
    ],
)  # fmt: skip
def test_not_close(actual: Any, expected: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(AssertionError) as caught:
        assert_close(actual, expected, **options)
    assert words in str(caught.value)


def test_what_cannot_be_compared() -> None:
    with pytest.raises(TypeError, match="got str"):
        assert_close("a", "a")
    with pytest.raises(TypeError, match="No comparison pair"):
        assert_close(ONES, [1.0, 1.0])
    with pytest.raises(TypeError, match="No comparison pair"):
        assert_close(ONES, torch.nn.Parameter(ONES), allow_subclasses=False)
    with pytest.raises(ValueError, match="no atol"):
        assert_close(ONES, ONES, rtol=0.1)
