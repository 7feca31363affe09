"""Einstein summation: operands are joined pair by pair, each by one batched product, or by `mul`
where nothing is summed.

The order of the pairs, where there are three operands or more, is opt_einsum's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from string import ascii_letters
from typing import Any

import numpy as np

from tritorch.ops.arithmetic import mul
from tritorch.ops.declare import operation, takes
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
                sizes = tensor._layout.shape[first], tensor._layout.shape[second]
                if sizes[0] != sizes[1]:
                    raise RuntimeError(
                        f"einsum(): subscript {label} is repeated for one operand but the sizes "
                        f"don't match, {sizes[1]} != {sizes[0]}."
                    )
                tensor = diagonal(tensor, 0, first, second)
                labels = labels[:first] + labels[first + 1 : second] + labels[second + 1 :] + label
        return _Labelled(tensor, labels)

    def summed(self, keep: set[str]) -> _Labelled:
        """Summed over labels that nobody needs."""
        left = "".join(label for label in self.labels if label in keep)
        if left == self.labels:
            return self
        shape = self.tensor._layout.shape
        dims = tuple(
            d for d, label in enumerate(self.labels) if label not in keep and shape[d] != 1
        )
        tensor = sum(self.tensor, dims, True) if dims else self.tensor
        return _Labelled(reshape(tensor, *[self.sizes[label] for label in left]), left)

    def ordered(self, labels: str) -> Tensor:
        """Dimensions in this order; labels that are missing get size 1."""
        present = [label for label in labels if label in self.labels]
        tensor = permute(self.tensor, *[self.labels.index(label) for label in present])
        for position, label in enumerate(labels):
            if label not in self.labels:
                tensor = unsqueeze(tensor, position)
        return tensor


def _pair(a: _Labelled, b: _Labelled, keep: set[str]) -> _Labelled:
    a_sizes, b_sizes = a.sizes, b.sizes
    # A label of size 1 in one operand is summed in the other alone.
    both = {k for k in a_sizes if k in b_sizes and a_sizes[k] != 1 and b_sizes[k] != 1}
    a, b = a.summed(keep | both), b.summed(keep | both)
    shared = [label for label in a.labels if label in b.labels]
    batch = [label for label in shared if label in keep]
    inner = [label for label in shared if label not in keep]
    left = [label for label in a.labels if label not in shared]
    right = [label for label in b.labels if label not in shared]
    if not inner:  # nothing is summed: no product of matrices, which autocast would make narrow
        labels = "".join(batch + left + right)
        return _Labelled(mul(a.ordered(labels), b.ordered(labels)), labels)
    sizes = a.sizes
    # A size of 1 (from an ellipsis) broadcasts against the other operand's.
    for label, size in b.sizes.items():
        sizes[label] = size if sizes.get(label, 1) == 1 else sizes[label]

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


_GREEK = "".join(chr(code) for code in range(0x391, 0x3D0) if chr(code).isalpha())


def _term(text: str, name: str) -> tuple[str, bool]:
    """The letters of one operand or of the result, with an asterisk for an ellipsis."""
    short = text.replace("...", "*")
    if short.count("*") > 1 or "*" in text:
        raise RuntimeError(
            f"einsum(): found {text!r} for {name}, where one ellipsis '...' is allowed at most."
        )
    for letter in short:
        if letter != "*" and letter not in ascii_letters:
            raise RuntimeError(
                f"einsum(): invalid subscript {letter!r} given for {name} in {text!r}. Subscripts "
                "must be in [a-zA-Z]."
            )
    return short, "*" in short


@lru_cache(maxsize=1024)
def _parsed(equation: str, ndims: tuple[int, ...]) -> tuple[tuple[str, ...], str]:
    """A label string per operand and one for the result; Greek letters stand for ellipses."""
    equation = equation.replace(" ", "")
    inputs, arrow, output = equation.partition("->")
    texts = inputs.split(",")
    if len(texts) != len(ndims):
        fewer = "fewer" if len(ndims) < len(texts) else "more"
        raise RuntimeError(
            f"einsum(): {fewer} operands were provided than specified in the equation: "
            f"{len(ndims)} for {equation!r}, which names {len(texts)}."
        )
    terms = [_term(text, f"operand {position}") for position, text in enumerate(texts)]
    widest = 0
    for (letters, dotted), ndim in zip(terms, ndims):
        if dotted:
            widest = max(widest, ndim - len(letters) + 1)
    dots = _GREEK[:widest]
    labels = []
    for position, ((letters, dotted), ndim) in enumerate(zip(terms, ndims)):
        extra = ndim - len(letters) + dotted
        if extra < 0 or (extra and not dotted):
            raise RuntimeError(
                f"einsum(): the number of subscripts in the equation ({len(letters) - dotted}) "
                f"does not match the number of dimensions ({ndim}) for operand {position}"
                f"{'' if dotted else ' and no ellipsis was given'}, in {equation!r}."
            )
        labels.append(letters.replace("*", dots[widest - extra :] if extra else ""))
    everything = "".join(labels)
    if not arrow:
        return tuple(labels), dots + "".join(
            sorted(k for k in set(everything) - set(dots) if everything.count(k) == 1)
        )
    result = _term(output, "the output")[0].replace("*", dots)
    for label in result:
        if result.count(label) > 1:
            raise RuntimeError(
                f"einsum(): output subscript {label} appears more than once in the output."
            )
        if label not in everything:
            raise RuntimeError(
                f"einsum(): output subscript {label} does not appear in the equation for any input "
                "operand."
            )
    return tuple(labels), result


@lru_cache(maxsize=1024)
def _order(
    labels: tuple[str, ...], output: str, shapes: tuple[tuple[int, ...], ...], strategy: str
) -> tuple[tuple[int, ...], ...]:
    """Which operands to join in each step; what a step makes is put behind the others."""
    from opt_einsum import contract_path

    equation = ",".join(labels) + "->" + output
    return tuple(map(tuple, contract_path(equation, *shapes, shapes=True, optimize=strategy)[0]))


def _joined(parts: list[_Labelled], output: str) -> _Labelled:
    """All operands in one, over labels of the result and perhaps more."""
    if len(parts) < 3:
        steps: tuple[tuple[int, ...], ...] = ((0, 1),) * (len(parts) - 1)
    else:
        from tritorch.backends import opt_einsum

        labels = tuple(part.labels for part in parts)
        shapes = tuple(part.tensor._layout.shape for part in parts)
        if opt_einsum.enabled:
            steps = _order(labels, output, shapes, opt_einsum.strategy or "auto")
        else:  # from left to right
            steps = ((0, 1), *((0, len(parts) - i) for i in range(2, len(parts))))
    for step in steps:
        taken = [parts[position] for position in step]
        parts = [part for position, part in enumerate(parts) if position not in step]
        for other in taken[1:]:
            keep = set(output).union(*(part.labels for part in (*parts, *taken[2:])))
            taken[0] = _pair(taken[0], other, keep)
        parts.append(taken[0])
    return parts[0]


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
            known[label] = size if before == 1 else before


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
        ("ab,bc,cd,de->ae", (3, 4), (4, 2), (2, 5), (5, 3)),
        ("iij,...j->...i", (3, 3, 4), (2, 4)),
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
@takes("floating", "integers")
def einsum(equation: str, *operands: Any) -> Tensor:
    """Sums of products by the labels of dimensions, such as "bij,bjk->bik"; "..." broadcasts.

    Also `einsum(operand, [0, 1], operand, [1, 2], [0, 2])`: lists of numbers (and Ellipsis) behind
    the operands, and one for the result. With three operands or more, opt_einsum finds the order
    of products with the fewest operations (`tritorch.backends.opt_einsum`: `enabled`, `strategy`).

    Example:
        >>> x = torch.arange(6.0).reshape(2, 3)
        >>> torch.einsum("ij,kj->ik", x, x)
        tensor([[ 5., 14.],
                [14., 50.]])

    Source: Smith and Gray, opt_einsum, J. Open Source Software 3(26), 753, 2018.
    """
    if isinstance(equation, Tensor):
        equation, operands = _from_lists(equation, *operands)
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    if not operands:
        raise RuntimeError("einsum(): must provide at least one operand.")
    labels, output = _parsed(equation, tuple(x._layout.ndim for x in operands))
    parts = [_Labelled(x, k).without_repeats() for x, k in zip(operands, labels)]
    _check_sizes(parts)
    return _joined(parts, output).summed(set(output)).ordered(output)
