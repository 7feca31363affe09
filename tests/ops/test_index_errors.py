"""An index out of range raises IndexError with the index, the dimension and its size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import tritorch as torch

X = torch.arange(30.0).reshape(5, 6)
ROWS, SOURCE = torch.tensor([1, 9]), torch.ones(2, 6)
PLACES, VALUES = torch.tensor([[1, 9]]), torch.ones(1, 2)
LONG = torch.arange(3000) % 5
LONG[2777] = 8

#: what is called, and the index, dimension and size in the message
CASES: dict[str, tuple[Callable[[], Any], int, int, int]] = {
    "gather": (lambda: X.gather(1, PLACES), 9, 1, 6),
    "gather long": (lambda: torch.zeros(5).gather(0, LONG), 8, 0, 5),
    "gather negative": (lambda: X.gather(1, torch.tensor([[0, -1]])), -1, 1, 6),
    "take_along_dim": (lambda: torch.take_along_dim(X, PLACES, 1), 9, 1, 6),
    "scatter": (lambda: X.scatter(0, PLACES, VALUES), 9, 0, 5),
    "scatter a number": (lambda: X.scatter(1, PLACES, 1.0), 9, 1, 6),
    "scatter negative": (lambda: X.scatter(1, torch.tensor([[0, -1]]), 1.0), -1, 1, 6),
    "scatter_add": (lambda: X.scatter_add(0, PLACES, VALUES), 9, 0, 5),
    "scatter_reduce": (lambda: X.scatter_reduce(0, PLACES, VALUES, "amax"), 9, 0, 5),
    "index_select": (lambda: X.index_select(0, ROWS), 9, 0, 5),
    "index_select columns": (lambda: X.index_select(1, ROWS), 9, 1, 6),
    "index_select negative": (lambda: X.index_select(0, torch.tensor([0, -1])), -1, 0, 5),
    "index_add": (lambda: X.index_add(0, ROWS, SOURCE), 9, 0, 5),
    "index_add long": (lambda: torch.zeros(5).index_add(0, LONG, torch.ones(3000)), 8, 0, 5),
    "index_add negative": (lambda: X.index_add(0, torch.tensor([0, -1]), SOURCE), -1, 0, 5),
    "index_copy": (lambda: X.index_copy(0, ROWS, SOURCE), 9, 0, 5),
    "index_fill": (lambda: X.index_fill(0, ROWS, 1.0), 9, 0, 5),
    "index_put": (lambda: X.index_put((ROWS,), SOURCE), 9, 0, 5),
    "index_put of two": (lambda: X.index_put((ROWS * 0, ROWS), torch.ones(2)), 9, 1, 6),
    "take": (lambda: X.take(torch.tensor([3, 99])), 99, 0, 30),
    "subscript": (lambda: X[ROWS], 9, 0, 5),
    "subscript long": (lambda: torch.zeros(5, 300)[LONG], 8, 0, 5),
    "subscript negative": (lambda: X[:, -ROWS], -9, 1, 6),
    "assignment": (lambda: X.clone().__setitem__(ROWS, 1.0), 9, 0, 5),
    "embedding": (lambda: torch.nn.functional.embedding(ROWS, X), 9, 0, 5),
}


@pytest.mark.parametrize("name", CASES)
def test_an_index_out_of_range_is_an_error(name: str) -> None:
    call, index, dim, size = CASES[name]
    for _ in range(2):  # the plan is there the second time, and reports again
        with pytest.raises(
            IndexError, match=f"index {index} is out of bounds for dimension {dim} with size {size}"
        ):
            call()


def test_negative_indices_count_from_the_end_where_they_do_in_pytorch() -> None:
    last = torch.tensor([-1])
    assert X[last].tolist() == [X[4].tolist()]
    assert X.take(last).tolist() == [29.0]
    assert X.index_put((last,), torch.zeros(6))[4].tolist() == [0.0] * 6
    assert X.index_fill(1, last, -3.0)[:, 5].tolist() == [-3.0] * 5
