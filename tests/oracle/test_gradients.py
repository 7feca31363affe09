"""gradcheck and gradgradcheck of every differentiable name of the tables, without PyTorch.

The first program of a name that has a gradient is differentiated twice and held against differences
of its values; `tests.ops` has more of the declared operations, with what is special about each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tritorch
from tests.oracle.compare import WORD, outcome, table
from tests.oracle.inputs import FLOATS, VARIANTS, namespace
from tritorch import Tensor
from tritorch.autograd.gradcheck import gradcheck, gradgradcheck

#: names that draw random numbers, or test what is no function of the inputs
LEFT_OUT = {
    "F.dropout", "F.alpha_dropout", "F.gumbel_softmax", "F.rrelu", "retain_grad", "empty_like",
    "in_place_errors", "data", "pickle",
    # one of several elements that are written to one place stays
    "scatter",
    # in bfloat16 only, whose steps are wider than the differences'
    "F.grouped_mm",
    # no gradient in the first operand, as in PyTorch
    "special.gammainc", "special.gamma", "special.zeta",
}  # fmt: skip
#: what a step of the differences would move over a jump: their gradients are tested in tests.ops
JUMPS = {"remainder", "fmod", "floor_divide", "__mod__", "__floordiv__", "remainder_", "fmod_"}
JUMPS |= {f"logical_{word}_" for word in ("not", "and", "or", "xor")}


def differentiable(value: Any) -> list[Tensor]:
    """The floating-point tensors of a result that have a gradient."""
    if isinstance(value, (tuple, list)):
        return [found for item in value for found in differentiable(item)]
    return [value] if isinstance(value, Tensor) and value.requires_grad else []


def finite(plain: Any) -> bool:
    """Whether there are numbers, all of them finite, so that differences mean something."""
    if isinstance(plain, list):
        return all(map(finite, plain))
    return isinstance(plain, str) or bool(plain[2].size and np.all(np.isfinite(plain[2])))


def program(expressions: list[str]) -> tuple[str, list[str]] | None:
    """(expression, names of its inputs) of the first with finite values and gradients."""
    for expression in expressions:
        words = sorted(word for word in set(WORD.findall(expression)) if word in FLOATS)
        found = outcome(tritorch, expression, VARIANTS[0]) if words else {}
        if "first" in found and finite(found["value"]) and finite(found["first"]):
            return expression, words
    return None


def function_of(expression: str, words: list[str]) -> Callable[..., Any]:
    """The program as a function of its inputs."""
    names = namespace(tritorch, set(WORD.findall(expression)), VARIANTS[0])

    def run(*values: Tensor) -> Any:
        found = differentiable(eval(expression, names | dict(zip(words, values, strict=True))))
        return tuple(found)

    return run


@pytest.mark.parametrize("name", [n for n in table() if n not in LEFT_OUT | JUMPS])
def test_second_gradients(name: str) -> None:
    found = program(table()[name])
    if found is None:
        pytest.skip("no gradient")
    expression, words = found
    run = function_of(expression, words)
    made = namespace(tritorch, set(words), VARIANTS[0])
    inputs = [made[word] for word in words]
    assert gradcheck(run, inputs, fast_mode=True), expression
    assert gradgradcheck(run, inputs, fast_mode=True, atol=1e-4), expression
