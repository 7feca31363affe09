"""Every public operation with something that is no tensor: a TypeError that says which and what."""

from __future__ import annotations

import re
import traceback
import warnings
from collections.abc import Iterator
from inspect import Parameter, signature
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tests.test_bad_operands import REFUSALS, Call, calls
from tritorch.errors import OperandError
from tritorch.ops.anatomy import unwrapped
from tritorch.ops.refusal import refusing
from tritorch.ops.table import public_functions

FUNCTIONS = public_functions()
WRONG = {
    "list": [1.0, 2.0],
    "NoneType": None,
    "ndarray": np.ones(2),
    "str": "abc",
    "object": object(),
    "float": 2.5,
}
SAID = re.compile(r"^(\w+)\(\): argument '(\w+)' \(position (\d+)\) must be (.*), not (.*)\. ")
#: what takes more than tensors: (name, kinds); None: anything
TAKEN: dict[str, tuple[str, ...] | None] = {
    "Tensor.is_pinned": None,  # without a GPU nothing is
    "Tensor.to": None,  # what is there already is given back
    "Tensor.to_device": None,
    "Tensor.cuda": None,
    "Tensor.set_": None,
    "Tensor.new_tensor": ("ndarray",),  # only asks for its dtype
    "broadcast_shapes": None,
    "is_storage": None,
    "is_tensor": None,
    "isin": ("list", "float", "ndarray", "NoneType", "str"),
    "bucketize": None,
    "from_dlpack": ("ndarray",),
    "result_type": ("float",),
    "linalg.vecdot": ("ndarray",),  # what consists of operators takes arrays, as they do
}
#: what fills the parameters after the first where the cross-check has no call of an operation
NUMBERS = {
    "dim", "dims", "size", "shape", "k", "n", "dim0", "dim1", "axis0", "axis1", "repeats", "source",
    "destination", "start", "length", "chunks", "sections", "kernel_size", "output_size", "dtype",
    "stride", "num_classes", "normalized_shape", "upscale_factor", "downscale_factor", "groups",
}  # fmt: skip


def _takes_tensors(function: Any) -> bool:
    """Whether the first parameter is for tensors."""
    parameters = list(signature(function).parameters.values())
    annotation = str(parameters[0].annotation) if parameters else "nothing"
    return annotation in ("Tensor", "Sequence[Tensor]") or hasattr(function, "operation")


def cases() -> Iterator[tuple[str, Call]]:
    """(name, a call whose first argument is a tensor) of each operation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known = {call.name.replace("F.", "nn.functional."): call for call in calls()}
    for name, function in FUNCTIONS.items():
        if not (_takes_tensors(unwrapped(function)[-1]) or _takes_tensors(function)):
            continue
        call = known.get(name) if "dropout" not in name else None  # which may do nothing
        if call is None:
            x = torch.ones(2, 2)
            more = [
                1 if entry.name in NUMBERS else x
                for entry in list(signature(function).parameters.values())[1:]
                if entry.default is Parameter.empty
                and entry.kind is Parameter.POSITIONAL_OR_KEYWORD
            ]
            call = Call(name, function, [x, *more], {}, None)
        yield name, call


def test_the_first_operand() -> None:
    wrong, tried = [], 0
    for name, call in cases():
        if name in TAKEN and TAKEN[name] is None:
            continue
        for kind, value in WRONG.items():
            if kind in (TAKEN.get(name) or ()):
                continue
            tried += 1
            try:
                call.function(value, *call.arguments[1:], **call.options)
            except OperandError as error:
                if kind == "float" and "which cannot be written to" in str(error):
                    continue
                found = SAID.match(str(error))
                names = {n.rsplit(".", 1)[-1] for n, f in FUNCTIONS.items() if f is call.function}
                if not found or found[3] != "1" or "Tensor" not in found[4]:
                    wrong.append(f"{name} of {kind}: {error}")
                elif found[1] not in names | {unwrapped(call.function)[-1].__name__}:
                    wrong.append(f"{name} of {kind} is called something else: {error}")
                elif found[5].removeprefix("an element of type ") not in (kind, "float", "str"):
                    wrong.append(f"{name} of {kind}: another type: {error}")
            except REFUSALS as error:
                if kind == "float" and len(str(error)) > 20:
                    continue  # taken for a tensor of no dimensions
                wrong.append(f"{name} of {kind}: {type(error).__name__}: {error}")
            except Exception as error:
                wrong.append(f"{name} of {kind}: {type(error).__name__}: {error}")
            else:
                if kind != "float":  # operands of pointwise operations may be numbers
                    wrong.append(f"{name} of {kind}: accepted")
    assert not wrong, f"{len(wrong)}\n" + "\n".join(wrong)
    assert tried > 2500


def test_other_operands_and_options() -> None:
    x = torch.ones(2, 2)
    for attempt, said in (
        (lambda: torch.kron(x, [1]), "kron(): argument 'other' (position 2) must be Tensor, not"),
        (lambda: x.mm(None), "mm(): argument 'mat2' (position 2) must be Tensor, not NoneType"),  # type: ignore[arg-type]
        (
            lambda: torch.cat([x, 1]),  # type: ignore[list-item]
            "cat(): argument 'tensors' (position 1) must be tuple of Tensors, not an element of",
        ),
        (
            lambda: torch.block_diag(x, 3),  # type: ignore[arg-type]
            "block_diag(): argument 'tensors' (position 1) must be tuple of Tensors, not an elem",
        ),
        (
            lambda: torch.nn.functional.cross_entropy(x, target=[1, 2]),
            "cross_entropy(): argument 'target' (position 2) must be Tensor, not list",
        ),
        (  # the same number stands for a dimension, where it is right
            lambda: x.index_add_(1, torch.tensor([0]), 1),  # type: ignore[arg-type]
            "index_add_(): argument 'source' (position 4) must be Tensor, not int",
        ),
        (
            lambda: torch.randn(2, generator=3),
            "randn(): argument 'generator' (position 2) must be torch.Generator, not int",
        ),
    ):
        with pytest.raises(OperandError) as caught:
            attempt()
        assert str(caught.value).startswith(said)


def test_errors_about_something_else_stay_as_they_are() -> None:
    x = torch.ones(2, 3)
    with pytest.raises(RuntimeError, match="invalid for input of size 6") as caught:
        torch.reshape(x, (4,))
    lines = [line for line in traceback.extract_tb(caught.tb) if line.name == "reshape"]
    assert [bool(line.lineno) for line in lines] == [True]
    with pytest.raises(IndexError):
        torch.flatten(x, 0, 7)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        x.nothing  # type: ignore[attr-defined]  # noqa: B018


def _plain(x: Any) -> Any:
    return x.shape


def _catching(x: Any) -> Any:
    try:
        return x._layout
    except AttributeError:
        return "caught"
    finally:
        x = None


def _long(x: Any) -> Any:
    for _ in range(2):
        with warnings.catch_warnings():
            try:
                x = x.add(1)
            except KeyError as error:
                raise ValueError from error
    return x.shape


@pytest.mark.parametrize("function", [_plain, _catching, _long])
def test_the_code_does_what_it_did(function: Any) -> None:
    """Also where it has handlers of its own; those come first."""
    x = torch.ones(2)
    expected = [function(x), *(["caught"] if function is _catching else [])]
    instructions = function.__code__.co_code
    function.__code__ = refusing(function.__code__, "named")
    assert function.__code__.co_code.startswith(instructions)
    assert refusing(function.__code__) is function.__code__
    found = [function(x), *([function(3)] if function is _catching else [])]
    assert found == expected
    if function is not _catching:
        with pytest.raises(TypeError, match=r"^named\(\): argument 'x' \(position 1\) must be "):
            function([])


def test_tracebacks_name_the_line_of_the_operation():
    with pytest.raises(OperandError) as caught:
        torch.reshape([1, 2], (2,))
    lines = [entry.lineno for entry in traceback.extract_tb(caught.tb) if entry.name == "reshape"]
    assert lines == [torch.reshape.__code__.co_firstlineno]
    with pytest.raises(RuntimeError) as caught:
        torch.reshape(torch.ones(3), (2,))
    (entry,) = (e for e in traceback.extract_tb(caught.tb) if e.name == "reshape")
    assert entry.lineno > torch.reshape.__code__.co_firstlineno
