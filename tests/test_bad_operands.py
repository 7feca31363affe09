"""Every operation of the cross-check with operands that do not fit: an error of its own, in time.

The programs of `tests.oracle` are run with one argument exchanged: tensors of other shapes, no
tensors, dimensions that are not there, targets (`out=`) that cannot be written. What does not fit
must be refused with an exception that PyTorch's users catch, and leave every operand as it was.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any

import pytest

import tritorch as torch
from tests.oracle.compare import WORD, table
from tests.oracle.inputs import FLOATS, OTHERS, Variant, namespace
from tritorch.ops.anatomy import unwrapped
from tritorch.ops.table import public_functions

FUNCTIONS = public_functions()
#: what programs catch; anything else is an accident inside
REFUSALS = (RuntimeError, TypeError, ValueError, IndexError)
#: `out=` of these is made without the operands' history: they have no gradient
NO_HISTORY = {"bernoulli", "histc", "histogram"}
#: parameters called dims that hold something else, or more than one thing at once
OTHER_DIMS = {"tile", "roll", "linalg.matrix_norm"}


@dataclass
class Call:
    """A program of the cross-check in parts."""

    name: str
    function: Any
    arguments: list[Any]
    options: dict[str, Any]
    result: Any

    @property
    def results(self) -> tuple[Any, ...]:
        return self.result if isinstance(self.result, tuple) else (self.result,)

    def run(self, **more: Any) -> Any:
        return self.function(*self.arguments, **self.options | more)

    def out(self, make: Callable[[Any], Any]) -> Any:
        """A target for each result."""
        made = tuple(make(result) for result in self.results)
        return made if isinstance(self.result, tuple) else made[0]


def parsed(name: str, expression: str) -> Call | None:
    """The call, if the program is one call of a function on inputs that works."""
    words = {word for word in WORD.findall(expression) if word in FLOATS or word in OTHERS}
    node = ast.parse(expression, mode="eval").body
    if not words or not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    if ast.unparse(node.func.value) not in ("torch", "F", "torch.linalg", "torch.special"):
        return None
    scope = namespace(torch, words, Variant("float64", "float64"))

    def value(part: ast.AST) -> Any:
        return eval(ast.unparse(part), scope)

    try:
        arguments: list[Any] = []
        for part in node.args:
            arguments += value(part.value) if isinstance(part, ast.Starred) else [value(part)]
        options = {str(entry.arg): value(entry.value) for entry in node.keywords}
        function = value(node.func)
        return Call(name, function, arguments, options, function(*arguments, **options))
    except Exception:  # some programs are to fail
        return None


def calls() -> Iterator[Call]:
    """One of each operation."""
    for name, expressions in table().items():
        if name.replace("F.", "nn.functional.") in FUNCTIONS:
            found = next(filter(None, (parsed(name, text) for text in expressions)), None)
            if found is not None:
                yield found


@pytest.fixture(scope="module")
def every() -> list[Call]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = list(calls())
    assert len(found) > 300
    return found


def tensors(values: Any) -> list[Any]:
    found = []
    for value in values:
        if isinstance(value, list | tuple):
            found += tensors(value)
        elif isinstance(value, torch.Tensor):
            found.append(value)
    return found


def complaint(run: Callable[[], Any], operands: Any, kinds: Any = REFUSALS) -> str | None:
    """What is wrong with how something is refused; None where it is as it should be."""
    held = tensors(operands)
    before = [(x._version, x.shape, x.tolist()) for x in held]
    try:
        run()
    except kinds as error:
        if len(str(error)) < 20:
            return f"says too little: {error!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    else:
        return "accepted"
    after = [(x._version, x.shape, x.tolist()) for x in held]
    # nan differs from itself, its text does not
    return None if str(before) == str(after) else "refused, but an operand has changed"


def test_other_shapes(every: list[Call]) -> None:
    """The first tensor as one of three dimensions, of none, and without elements."""
    wrong, refused = [], 0
    for call in every:
        place = next((i for i, a in enumerate(call.arguments) if isinstance(a, torch.Tensor)), None)
        if place is None:
            continue
        kind = call.arguments[place].dtype
        for shape in ((7, 11, 13), (), (0,)):
            arguments = list(call.arguments)
            arguments[place] = torch.ones(shape, dtype=kind)
            found = complaint(lambda: call.function(*arguments, **call.options), arguments)  # noqa: B023
            refused += found is None
            if found not in (None, "accepted"):
                wrong.append(f"{call.name} of shape {shape}: {found}")
    assert not wrong, "\n".join(wrong)
    assert refused > 200


def test_dimensions(every: list[Call]) -> None:
    """`dim` out of range is an IndexError, and what is no whole number a TypeError."""
    wrong, tried = [], 0
    for call in every:
        if call.name in OTHER_DIMS:
            continue
        names = signature(unwrapped(call.function)[-1]).parameters
        for name in ("dim", "dim0", "dim1"):
            if name not in names:
                continue
            place = list(names).index(name)
            for value, kind in (
                (99, IndexError),
                (-99, IndexError),
                ("q", TypeError),
                (1.5, TypeError),
            ):
                arguments, options = list(call.arguments), dict(call.options)
                keyword = names[name].kind is Parameter.KEYWORD_ONLY
                if place < len(arguments) and not keyword:
                    arguments[place] = value
                else:
                    options[name] = value
                tried += 1
                found = complaint(lambda: call.function(*arguments, **options), arguments, kind)  # noqa: B023
                if found is not None:
                    wrong.append(f"{call.name}, {name}={value!r}: {found}")
    assert not wrong, "\n".join(wrong)
    assert tried > 300


def writers(every: list[Call]) -> list[Call]:
    """The operations that take `out=`."""
    found = []
    for call in every:
        if all(isinstance(result, torch.Tensor) for result in call.results):
            try:
                call.run(out=call.out(lambda result: torch.empty(0, dtype=result.dtype)))
            except TypeError:
                continue
            found.append(call)
    return found


def test_targets(every: list[Call]) -> None:
    """`out=` of a dtype that cannot hold the result, with history, with elements that share
    memory, or no tensor at all.
    """
    wrong = []
    found = writers(every)
    assert len(found) > 250
    for call in found:
        floating = all(result.dtype.is_floating_point for result in call.results)

        def check(what: str, make: Callable[[Any], Any], kind: Any = RuntimeError) -> None:
            target = call.out(make)  # noqa: B023
            operands = [*call.arguments, target]  # noqa: B023
            said = complaint(lambda: call.run(out=target), operands, kind)  # noqa: B023
            if said is not None:
                wrong.append(f"{call.name}, {what}: {said}")  # noqa: B023

        check("out='abc'", lambda _: "abc", TypeError)
        if floating:
            check("an integer target", lambda r: torch.zeros(r.shape, dtype=torch.int64))
            check("a leaf", lambda r: torch.zeros(r.shape, dtype=r.dtype).requires_grad_())
        if call.results[0].numel() > 1:
            check("an expanded target", lambda r: torch.zeros((), dtype=r.dtype).expand(r.shape))
    assert not wrong, "\n".join(wrong)


def test_targets_without_history(every: list[Call]) -> None:
    """No gradient is lost in `out=`."""
    wrong = []
    for call in writers(every):
        places = [
            i
            for i, a in enumerate(call.arguments)
            if isinstance(a, torch.Tensor) and a.dtype.is_floating_point
        ]
        floating = all(result.dtype.is_floating_point for result in call.results)
        if not places or not floating or call.name in NO_HISTORY:
            continue
        arguments = list(call.arguments)
        arguments[places[0]] = arguments[places[0]].clone().requires_grad_()
        target = call.out(lambda result: torch.zeros(result.shape, dtype=result.dtype))
        said = complaint(
            lambda: call.function(*arguments, **call.options, out=target),  # noqa: B023
            [*arguments, target],
            RuntimeError,
        )
        if said is not None:
            wrong.append(f"{call.name}: {said}")
    assert not wrong, "\n".join(wrong)


def test_targets_that_overlap(every: list[Call]) -> None:
    """A target shifted by one element against the operand: refused, or written as if apart."""
    wrong, tried = [], 0
    for call in writers(every):
        place = next((i for i, a in enumerate(call.arguments) if isinstance(a, torch.Tensor)), None)
        if place is None or len(call.results) > 1:
            continue
        operand = call.arguments[place]
        if operand.dtype is not call.result.dtype or operand.shape != call.result.shape:
            continue
        if operand.numel() < 2:
            continue
        tried += 1
        memory = torch.zeros(operand.numel() + 1, dtype=operand.dtype)
        memory[:-1].copy_(operand.reshape(-1))
        arguments = list(call.arguments)
        arguments[place] = memory[:-1].view(operand.shape)
        target = memory[1:].view(operand.shape)
        try:
            call.function(*arguments, **call.options, out=target)
        except RuntimeError as error:
            if "memory location" not in str(error):
                wrong.append(f"{call.name}: {error}")
        else:
            if str(target.tolist()) != str(call.result.tolist()):
                wrong.append(f"{call.name}: reads what it has written")
    assert not wrong, "\n".join(wrong)
    assert tried > 100
