"""Declaring operations: what an import must not do, and what users see before the first call."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import tritorch as torch
from tritorch.kernels import scalar as s
from tritorch.ops.declare import OPS, pointwise
from tritorch.tensor import Tensor


@pytest.fixture
def traced() -> list[str]:
    return []


@pytest.fixture
def scaled(traced: list[str]) -> Iterator[Any]:
    count = len(OPS)

    @pointwise(promote="float", method=True, inplace=True, operators=["__matmul_test__"])
    def scaled_for_test(input, other, factor: float = 2.0):  # type: ignore[no-untyped-def]
        """input * other * factor."""
        traced.append("scaled")
        return s.mul(s.mul(input, other), factor)

    yield scaled_for_test
    del OPS[count:]
    for name in ("scaled_for_test", "scaled_for_test_", "__matmul_test__"):
        delattr(Tensor, name)


def test_the_body_is_read_when_the_function_is_first_called(scaled: Any, traced: list[str]) -> None:
    assert traced == []
    x = torch.tensor([1.0, 2.0])
    assert scaled(x, x).tolist() == [2.0, 8.0]
    assert scaled(x, 3.0, factor=-1.0).tolist() == [-3.0, -6.0]
    assert traced == ["scaled"]


def test_the_signature_is_there_from_the_start(scaled: Any) -> None:
    before = inspect.signature(scaled)
    assert str(before) == "(input, other, factor=2.0, *, out=None)"
    assert (scaled.__name__, scaled.__doc__) == ("scaled_for_test", "input * other * factor.")
    scaled(torch.ones(2), torch.ones(2))
    assert inspect.signature(scaled) == before


@pytest.mark.parametrize("attempt", range(3))
def test_many_threads_may_make_the_first_call(scaled: Any, attempt: int) -> None:
    x = torch.tensor([1.0, 2.0])
    barrier = threading.Barrier(8)
    results: list[Any] = []

    def work() -> None:
        barrier.wait()
        results.append(scaled(x, x).tolist())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[2.0, 8.0]] * 8


def test_methods_in_place_functions_and_operators_wait_too(scaled: Any, traced: list[str]) -> None:
    x = torch.tensor([1.0, 2.0])
    method: Any = x.scaled_for_test  # type: ignore[attr-defined]
    inplace: Any = x.scaled_for_test_  # type: ignore[attr-defined]
    operator: Any = x.__matmul_test__  # type: ignore[attr-defined]
    assert traced == []
    assert method(x).tolist() == operator(x).tolist() == [2.0, 8.0]
    assert inplace(x) is x and x.tolist() == [2.0, 8.0]
    out = torch.empty(2)
    assert scaled(x, 1.0, out=out) is out and out.tolist() == [4.0, 16.0]


def test_a_mistake_in_the_call_is_pythons_own(scaled: Any) -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'other'"):
        scaled(torch.ones(2))
    with pytest.raises(TypeError, match="unexpected keyword argument 'factr'"):
        scaled(torch.ones(2), 1.0, factr=1.0)
