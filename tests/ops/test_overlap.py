"""Operations that write into what they read: the result is as if the input had been copied, or the
operation refuses.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import tritorch as torch

Tensor = torch.Tensor
N = 4099
#: views of a [N] vector: (written, read)
VECTORS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    "shifted up": lambda x: (x[1:], x[:-1]),
    "shifted down": lambda x: (x[:-1], x[1:]),
    "shifted far": lambda x: (x[1000:], x[:-1000]),
    "reversed by indices of a matrix": lambda x: (x[:4096].view(64, 64), x[:4096].view(64, 64).t()),
    "a row onto all": lambda x: (x[:4096].view(64, 64), x[64:128]),
    "a column onto all": lambda x: (x[:4096].view(64, 64), x[:4096].view(64, 64)[:, 5:6]),
    "windows": lambda x: (x[:4000], x.as_strided((4000,), (1,), 7)),
    "every second on all": lambda x: (x[:2000], x[:4000:2]),
}
#: views that share no element although their ranges cross: these must work
DISJOINT: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    "even and odd": lambda x: (x[: 4096 : 2], x[1 : 4096 : 2]),
    "left and right columns": lambda x: x[:4096].view(64, 64).split(32, 1),
    "two columns": lambda x: (x[:4096].view(64, 64)[:, 3], x[:4096].view(64, 64)[:, 4]),
    "halves": lambda x: (x[:2000], x[2000:4000]),
    "rows and rows": lambda x: (x[:4096].view(64, 64)[::2], x[:4096].view(64, 64)[1::2]),
    "quarters": lambda x: (
        x[:4096].view(64, 64)[:32, 32:],
        x[:4096].view(64, 64)[32:, :32],
    ),
}  # fmt: skip
IN_PLACE: dict[str, Callable[[Tensor, Tensor], object]] = {
    "add_": lambda a, b: a.add_(b),
    "mul_": lambda a, b: a.mul_(b),
    "lerp_": lambda a, b: a.lerp_(b, 0.25),
    "copy_": lambda a, b: a.copy_(b),
    "add, out": lambda a, b: torch.add(b.expand_as(a), 1, out=a),
    "maximum, out": lambda a, b: torch.maximum(a, b, out=a),
    "where, out": lambda a, b: torch.where(b > 0, b, a, out=a),
    "assignment": lambda a, b: a.__setitem__(slice(None), b),
    "addcmul_": lambda a, b: a.addcmul_(b, b),
}


def _vector() -> Tensor:
    return torch.from_numpy(np.random.default_rng(3).standard_normal(N).astype(np.float32))


def _as_if_copied(
    views: Callable[[Tensor], tuple[Tensor, Tensor]], operation: Callable[[Tensor, Tensor], object]
) -> np.ndarray:
    x = _vector()
    written, read = views(x)
    operation(written, read.clone())
    return np.asarray(x.numpy())


@pytest.mark.parametrize("views", VECTORS)
@pytest.mark.parametrize("operation", IN_PLACE)
def test_overlapping(operation: str, views: str) -> None:
    x = _vector()
    written, read = VECTORS[views](x)
    try:
        IN_PLACE[operation](written, read)
    except RuntimeError as error:
        assert "single memory location" in str(error)
        assert (x.numpy() == _vector().numpy()).all()  # nothing was written
        return
    want = _as_if_copied(VECTORS[views], IN_PLACE[operation])
    np.testing.assert_array_equal(x.numpy(), want)


@pytest.mark.parametrize("views", DISJOINT)
@pytest.mark.parametrize("operation", IN_PLACE)
def test_crossing_ranges_without_a_common_element(operation: str, views: str) -> None:
    x = _vector()
    IN_PLACE[operation](*DISJOINT[views](x))
    want = _as_if_copied(DISJOINT[views], IN_PLACE[operation])
    np.testing.assert_array_equal(x.numpy(), want)


BY_INDEX: dict[str, Callable[[Tensor, Tensor, Tensor], object]] = {
    "scatter_": lambda x, i, source: x.scatter_(0, i, source),
    "scatter_add_": lambda x, i, source: x.scatter_add_(0, i, source),
    "index_add_": lambda x, i, source: x.index_add_(0, i, source),
    "index_copy_": lambda x, i, source: x.index_copy_(0, i, source),
    "x[i] =": lambda x, i, source: x.__setitem__(i, source),
    "index_put_": lambda x, i, source: x.index_put_((i,), source, accumulate=True),
    "masked_scatter_": lambda x, i, source: x.masked_scatter_(i % 2 == 0, source),
    "take_along": lambda x, i, source: x.copy_(torch.gather(source, 0, i)),
}


@pytest.mark.parametrize("operation", BY_INDEX)
def test_indexed_writes_of_the_tensor_itself(operation: str) -> None:
    i = torch.arange(N - 1, -1, -1)
    for views in (lambda x: (x, x), lambda x: (x, x.view(N, 1).view(N)), lambda x: (x, x[:N])):
        x, y = _vector(), _vector()
        BY_INDEX[operation](views(x)[0], i, views(x)[1])
        BY_INDEX[operation](y, i, y.clone())
        np.testing.assert_array_equal(x.numpy(), y.numpy())


def test_indices_that_are_overwritten() -> None:
    """x[x] = 0 reads its indices while it writes them."""
    start = np.random.default_rng(5).permutation(N)
    for operation in (
        lambda x, i: x.__setitem__(i, 0),
        lambda x, i: x.scatter_(0, i, i * 2),
        lambda x, i: x.index_add_(0, i, i),
        lambda x, i: x.index_fill_(0, i, 7),
    ):
        x, y = torch.from_numpy(start.copy()), torch.from_numpy(start.copy())
        operation(x, x)
        operation(y, y.clone())
        np.testing.assert_array_equal(x.numpy(), y.numpy())


def test_matrix_products_into_an_operand() -> None:
    rng = np.random.default_rng(4)
    a, b = (rng.standard_normal((70, 70)).astype(np.float32) for _ in range(2))
    for into_first in (True, False):
        x, y = torch.from_numpy(a.copy()), torch.from_numpy(b.copy())
        want = torch.matmul(x, y).numpy().copy()
        torch.matmul(x, y, out=x if into_first else y)
        np.testing.assert_array_equal((x if into_first else y).numpy(), want)
    x = torch.from_numpy(a.copy())
    want = torch.cumsum(x.clone(), 0).numpy()
    torch.cumsum(x, 0, out=x)
    np.testing.assert_array_equal(x.numpy(), want)


def test_expanded_tensors_are_not_written() -> None:
    x = torch.zeros(5)
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        x.expand(3, 5).add_(1)
