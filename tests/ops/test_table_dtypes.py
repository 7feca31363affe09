"""The dtypes in the table of operations are those that operations take, and no others.

Of each operation the first program of the cross-check that has operands of any dtype is run.
"""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Iterator
from functools import cache

import tritorch as torch
from tests.oracle.compare import WORD, table
from tests.oracle.inputs import FLOATS, Variant, namespace
from tritorch import dtypes
from tritorch.errors import IntegerDivisionError
from tritorch.ops.table import Row, rows

TABLE = rows()
#: of as many operations one is tried with a dtype that it does not take, which must be refused
STEP = 4
_PREFIX = {"linalg.": "torch.linalg.", "special.": "torch.special.", "nn.functional.": "F."}
#: their programs compute the operand by what takes fewer dtypes, turn it into another, leave it,
#: or hold numbers that not every dtype has
INDIRECT = {
    "Tensor.float", "alpha_dropout", "cholesky", "cholesky_inverse", "clip", "dropout", "eye",
    "feature_alpha_dropout", "feature_dropout", "linalg.cholesky", "linalg.cholesky_ex",
    "linalg.eigh", "linalg.eigvalsh", "matrix_power", "multinomial", "nn.functional.dropout1d",
    "nn.functional.dropout2d", "nn.functional.dropout3d", "nn.functional.hardsigmoid", "rand",
    "randn",
}  # fmt: skip


@cache
def programs() -> tuple[str, ...]:
    """Those of the cross-check with inputs whose dtype varies."""
    return tuple(
        expression
        for expressions in table().values()
        for expression in expressions
        if any(word in FLOATS for word in WORD.findall(expression))
    )


def spellings(row: Row) -> Iterator[str]:
    """How programs call an operation: the function first, then the method."""
    names = (row.name, *row.aliases)
    for name in names:
        place = next((p for p in _PREFIX if name.startswith(p)), "")
        if not name.startswith("Tensor."):
            yield f"{_PREFIX.get(place, 'torch.')}{name.removeprefix(place)}("
    for name in names:
        if "." not in name or name.startswith("Tensor."):
            yield f".{name.removeprefix('Tensor.')}("


def run(program: str, kind: str) -> None:
    """With all inputs of one dtype."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        eval(program, namespace(torch, set(WORD.findall(program)), Variant(kind, kind)))


def refusal(program: str, kind: str) -> Exception | None:
    """Why it cannot be run with a dtype; that samples of integers hold zeros is no reason."""
    try:
        run(program, kind)
    except IntegerDivisionError:
        return None
    except Exception as error:
        return error
    return None


@cache
def program(row: Row) -> str | None:
    """The first that works in float32, or with whole numbers."""
    for spelling in spellings(row):
        before = "" if spelling[0] == "." else r"(?<![\w.])"
        called = re.compile(before + re.escape(spelling))
        for text in programs():
            if called.search(text) and refusal(text, _usual(row)) is None:
                return text
    return None


def _usual(row: Row) -> str:
    known = row.dtypes or ()
    return next(kind for kind in ("float32", "int64", "bool", *known) if kind in known)


def pick(row: Row, kinds: list[str]) -> str:
    """One of them, another for another operation, always the same for one."""
    return kinds[zlib.crc32(row.name.encode()) % len(kinds)]


def test_every_operation_has_dtypes() -> None:
    """None is without, and none takes nothing."""
    assert not [row.name for row in TABLE if not row.dtypes]


def test_declared_dtypes_are_taken() -> None:
    """One declared dtype of each operation."""
    wrong, tried = [], 0
    for row in TABLE:
        text = program(row)
        if text is None or row.name in INDIRECT:
            continue
        kind = pick(row, list(row.dtypes or ()))
        error = refusal(text, kind)
        tried += 1
        if error is not None:
            wrong.append(f"{row.name} of {kind}: {text}: {type(error).__name__}: {error}"[:200])
    assert not wrong, "\n".join(wrong)
    assert tried > 350


def test_other_dtypes_are_refused() -> None:
    """One dtype that is not declared, for some of the operations that do not take all."""
    wrong, tried = [], 0
    for number, row in enumerate(TABLE):
        others = [kind.name for kind in dtypes.ALL if kind.name not in (row.dtypes or ())]
        if number % STEP or not others or row.name in INDIRECT or program(row) is None:
            continue
        kind = pick(row, others)
        tried += 1
        if not isinstance(refusal(str(program(row)), kind), RuntimeError | TypeError):
            wrong.append(f"{row.name} of {kind}: {program(row)}")
    assert not wrong, "\n".join(wrong)
    assert tried > 40
