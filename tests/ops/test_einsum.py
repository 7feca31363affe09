"""Einstein summation against NumPy's, its gradients, the order of its products, its errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch.autograd import gradcheck, gradgradcheck

EQUATIONS: dict[str, tuple[tuple[int, ...], ...]] = {
    "ab,bc,cd,de->ae": ((3, 4), (4, 2), (2, 5), (5, 3)),
    "iij,...j->...i": ((3, 3, 4), (2, 4)),
    "a...,b...,c...->abc...": ((2, 4, 1), (3, 4, 5), (4, 4, 5)),
    "Aa,aB,BA": ((2, 3), (3, 4), (4, 2)),
    "i,i,i,i->i": ((3,), (3,), (3,), (3,)),
    ",i->i": ((), (3,)),
    "...,...": ((2, 3), (3,)),
    "ij...->...ji": ((2, 3, 4, 5),),
    "iijj->ij": ((2, 2, 3, 3),),
    "iii->": ((3, 3, 3),),
    "ab,cd,ef->": ((2, 3), (4, 2), (2, 2)),
    "abc,abd,cd->ab": ((2, 3, 4), (2, 3, 5), (4, 5)),
    "ij,jk,kl": ((0, 3), (3, 4), (4, 2)),
}


def operands(equation: str, grad: bool = False) -> tuple[list[Any], list[torch.Tensor]]:
    """Random arrays, and tensors of them."""
    random = np.random.default_rng(0)
    arrays = [random.standard_normal(shape) for shape in EQUATIONS[equation]]
    return arrays, [torch.tensor(a, requires_grad=grad) for a in arrays]


@pytest.mark.parametrize("equation", EQUATIONS)
@pytest.mark.parametrize("ordered", [True, False])
def test_values(equation: str, ordered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same numbers in opt_einsum's order and from left to right."""
    monkeypatch.setattr(torch.backends.opt_einsum, "enabled", ordered)
    arrays, tensors = operands(equation)
    got = torch.einsum(equation, *tensors).numpy()
    expected = np.einsum(equation, *arrays)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("equation", ["ab,bc,cd,de->ae", "iij,...j->...i", "Aa,aB,BA"])
def test_gradients(equation: str) -> None:
    """Of both orders."""
    _, tensors = operands(equation, grad=True)
    assert gradcheck(lambda *x: torch.einsum(equation, *x), tensors)
    assert gradgradcheck(lambda *x: torch.einsum(equation, *x), tensors)


def test_order_of_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tall matrix, a wide one and a vector: the vector goes first, nothing large is made."""
    tall, wide, vector = torch.ones(300, 2), torch.ones(2, 300), torch.ones(300)
    sizes = []
    matmul = torch.matmul

    def recorded(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        made = matmul(a, b)
        sizes.append(made.numel())
        return made

    monkeypatch.setattr("tritorch.ops.einsum.matmul", recorded)
    assert torch.einsum("ij,jk,k->i", tall, wide, vector).tolist() == [600.0] * 300
    assert max(sizes) == 300
    monkeypatch.setattr(torch.backends.opt_einsum, "enabled", False)
    torch.einsum("ij,jk,k->i", tall, wide, vector)
    assert max(sizes) == 300 * 300


def test_integers() -> None:
    """Integer tensors give exact integers."""
    x = torch.arange(4).reshape(2, 2)
    assert torch.einsum("ij,jk,kl->il", x, x, x).tolist() == [[6, 11], [22, 39]]


@pytest.mark.parametrize(
    ("equation", "shapes", "message"),
    [
        ("ij,jk->ik", [(2, 3)], "fewer operands were provided than specified"),
        ("ij->ij", [(2, 3), (2, 3)], "more operands were provided than specified"),
        ("i->i", [(2, 3)], r"number of subscripts in the equation \(1\).*dimensions \(2\)"),
        ("ijk...->i", [(2, 3)], r"number of subscripts in the equation \(3\).*dimensions \(2\)"),
        ("ij,jk->ik", [(2, 3), (4, 5)], "subscript j has size 4.*previously seen size 3"),
        ("ii->i", [(2, 3)], "subscript i is repeated.*3 != 2"),
        ("ij->ik", [(2, 3)], "output subscript k does not appear"),
        ("ij->ii", [(2, 3)], "output subscript i appears more than once"),
        ("i1->i", [(2, 3)], "invalid subscript '1'"),
        ("......->", [(2, 3)], "one ellipsis"),
    ],
)
def test_errors(equation: str, shapes: list[tuple[int, ...]], message: str) -> None:
    """PyTorch's, with the values."""
    with pytest.raises(RuntimeError, match=f"(?s)einsum.*{message}"):
        torch.einsum(equation, *[torch.ones(*shape) for shape in shapes])
