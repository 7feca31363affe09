"""Einstein summation: operands are joined from left to right, each pair by one batched product."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters
from typing import Any

import numpy as np

from tritorch.ops.declare import operation
from tritorch.ops.linalg import matmul
from tritorch.ops.reduction import sum
from tritorch.ops.views import diagonal, expand, permute, reshape, unsqueeze
from tritorch.tensor import Tensor


class _Labelled:
    """A tensor with a label per dimension."""

    def __init__(self, tensor: Tensor, labels: str) -> None:
        self.tensor = tensor
        self.labels = labels

    @property
    def sizes(self) -> dict[str, int]:
        return dict(zip(self.labels, self.tensor._layout.shape))

    def without_repeats(self) -> _Labelled:
        """Repeated labels become diagonals."""
        tensor, labels = self.tensor, self.labels
        for label in dict.fromkeys(labels):
            while labels.count(label) > 1:
                first = labels.index(label)
                second = labels.index(label, first + 1)
                tensor = diagonal(tensor, 0, first, second)
                labels = labels[:first] + labels[first + 1 : second] + labels[second + 1 :] + label
        return _Labelled(tensor, labels)

    def summed(self, keep: set[str]) -> _Labelled:
        """Summed over labels that nobody needs."""
        dims = tuple(d for d, label in enumerate(self.labels) if label not in keep)
        if not dims:
            return self
        return _Labelled(sum(self.tensor, dims), "".join(k for k in self.labels if k in keep))

    def ordered(self, labels: str) -> Tensor:
        """Dimensions in this order; labels that are missing get size 1."""
        present = [label for label in labels if label in self.labels]
        tensor = permute(self.tensor, *[self.labels.index(label) for label in present])
        for position, label in enumerate(labels):
            if label not in self.labels:
                tensor = unsqueeze(tensor, position)
        return tensor


def _pair(a: _Labelled, b: _Labelled, keep: set[str]) -> _Labelled:
    a = a.summed(keep | set(b.labels))
    b = b.summed(keep | set(a.labels))
    shared = [label for label in a.labels if label in b.labels]
    batch = [label for label in shared if label in keep]
    inner = [label for label in shared if label not in keep]
    left = [label for label in a.labels if label not in shared]
    right = [label for label in b.labels if label not in shared]
    sizes = a.sizes
    # A size of 1 (from an ellipsis) broadcasts against the other operand's.
    for label, size in b.sizes.items():
        sizes[label] = max(size, sizes.get(label, 1))

    def count(labels: list[str]) -> int:
        total = 1
        for label in labels:
            total *= sizes[label]
        return total

    def arranged(x: _Labelled, order: list[str], shape: list[int]) -> Tensor:
        tensor = x.ordered("".join(order))
        tensor = expand(tensor, *[sizes[label] for label in order])
        return reshape(tensor, *shape)

    rows = arranged(a, batch + left + inner, [count(batch), count(left), count(inner)])
    columns = arranged(b, batch + inner + right, [count(batch), count(inner), count(right)])
    product = reshape(matmul(rows, columns), *[sizes[k] for k in batch + left + right])
    return _Labelled(product, "".join(batch + left + right))


def _parsed(equation: str, operands: tuple[Tensor, ...]) -> tuple[list[str], str]:
    """A label string per operand and one for the result, ellipses replaced by upper-case labels."""
    equation = equation.replace(" ", "")
    inputs, arrow, output = equation.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(operands):
        raise RuntimeError(
            f"einsum(): {len(operands)} operands were given, but the equation {equation!r} names "
            f"{len(terms)}."
        )
    spare = [chr(code) for code in range(0x391, 0x3D0)]  # Greek letters stand for ellipses
    widest = 0
    for term, operand in zip(terms, operands):
        if "..." in term:
            widest = max(widest, operand._layout.ndim - len(term.replace("...", "")))
    dots = "".join(spare[:widest])
    result = []
    for term, operand in zip(terms, operands):
        extra = operand._layout.ndim - len(term.replace("...", ""))
        labels = term.replace("...", dots[widest - extra :] if "..." in term and extra > 0 else "")
        if len(labels) != operand._layout.ndim:
            raise RuntimeError(
                f"einsum(): the number of subscripts in the equation ({len(labels)}) does not "
                "match "
                f"the number of dimensions ({operand._layout.ndim}) for operand {term!r}."
            )
        result.append(labels)
    if arrow:
        output = output.replace("...", dots)
    else:
        everything = "".join(result)
        output = dots + "".join(
            sorted(k for k in set(everything) - set(dots) if everything.count(k) == 1)
        )
    for label in output:
        if not any(label in labels for labels in result):
            raise RuntimeError(
                f"einsum(): output subscript {label} does not appear in the equation for any input "
                "operand"
            )
    return result, output


def _check_sizes(parts: list[_Labelled]) -> None:
    known: dict[str, int] = {}
    for part in parts:
        for label, size in zip(part.labels, part.tensor._layout.shape):
            before = known.setdefault(label, size)
            if 1 not in (before, size) and before != size:
                raise RuntimeError(
                    f"einsum(): subscript {label} has size {size} for one operand which does not "
                    f"broadcast with previously seen size {before}."
                )
            known[label] = max(before, size)


def _cases() -> list[Any]:
    table = [
        ("ij,jk->ik", (3, 4), (4, 5)),
        ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
        ("ij->ji", (3, 4)),
        ("ii->i", (4, 4)),
        ("ij->", (3, 4)),
        ("i,j->ij", (3,), (4,)),
        ("...ij,...jk", (2, 3, 4), (4, 5)),
        ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
        ("ij,ij->i", (3, 4), (3, 4)),
        ("i,ij,j->", (3,), (3, 4), (4,)),
    ]
    return [
        lambda make, e=e, shapes=shapes: ((e, *[make(*x) for x in shapes]), {})
        for e, *shapes in table
    ]


def _from_lists(*given: Any) -> tuple[str, tuple[Any, ...]]:
    """The equation, with letters for numbers, and the operands."""

    def letters(labels: Sequence[Any]) -> str:
        text = ""
        for label in labels:
            if label is not ... and not 0 <= label < 52:
                raise RuntimeError(
                    f"einsum(): subscripts must be within the valid range [0, 52), got {label}."
                )
            # Capitals first, as they are sorted.
            text += "..." if label is ... else ascii_letters[(label + 26) % 52]
        return text

    equation = ",".join(letters(labels) for labels in given[1::2])
    if len(given) % 2:
        equation += "->" + letters(given[-1])
    return equation, given[: len(given) - len(given) % 2 : 2]


@operation("product", method=False, numpy=np.einsum, cases=_cases())
def einsum(equation: str, *operands: Any) -> Tensor:
    """Sums of products by the labels of dimensions, such as "bij,bjk->bik"; "..." broadcasts.

    Also `einsum(operand, [0, 1], operand, [1, 2], [0, 2])`: lists of numbers (and Ellipsis) behind
    the operands, and one for the result.
    """
    if isinstance(equation, Tensor):
        equation, operands = _from_lists(equation, *operands)
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    labels, output = _parsed(equation, operands)
    parts = [_Labelled(x, k).without_repeats() for x, k in zip(operands, labels)]
    _check_sizes(parts)
    joined = parts[0]
    for position in range(1, len(parts)):
        keep = set(output).union(*(part.labels for part in parts[position + 1 :]))
        joined = _pair(joined, parts[position], keep)
    return joined.summed(set(output)).ordered(output)
