"""What is no tensor where one is needed: a TypeError that names operation, argument and type.
What else Python objects to in an operation's arguments is said with the operation and the values.

Operations do not ask what they are given: they take `x._layout`, and a list has none. `refuse`
lets them catch what follows from that. It costs a call nothing: a handler is appended to the
function's code, where the interpreter comes only when an exception leaves the function. (A
wrapper with `try` would cost every call a second frame.) Its instructions are those that Python's
own compiler makes of `except: handler(); raise`.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterable, Mapping
from functools import cache
from inspect import CO_GENERATOR, CO_VARARGS
from opcode import opmap
from types import CodeType, FrameType, FunctionType
from typing import Any, NamedTuple

from tritorch.errors import DtypeError, OperandError, ShapeError
from tritorch.tensor import Tensor

#: functions of these modules are operations
ROOMS = ("tritorch.ops.", "tritorch.nn.", "tritorch.linalg", "tritorch.special")
#: what else a parameter may be by its annotation, and how to get one
_WORDS: dict[str, str] = {
    "Dtype": "torch.dtype, as torch.float32 is",
    "Generator": "torch.Generator",
    "str": "str",
}


#: what may follow from a value that behaves like a tensor for a while
_CONSEQUENCES = {TypeError, ValueError, RuntimeError, IndexError, ShapeError, DtypeError}
#: what Python itself says of a value of the wrong kind, which names neither operation nor argument
_BARE = re.compile(
    "is not iterable|unsupported operand type|must be real number|index out of range"
    "|could not convert string|invalid literal for|values to unpack|not supported between"
    "|is not subscriptable|interpreted as an integer|has no len|bad operand type"
)
#: annotations of what is several tensors
_SEVERAL = ("Sequence[Tensor]", "list[Tensor]", "tuple[Tensor, ...]")


class _Entry(NamedTuple):
    """A row of a code object's table of exceptions, in units of two bytes."""

    start: int
    length: int
    target: int
    depth: int


def _entries(table: bytes) -> list[_Entry]:
    """The rows of a table: four numbers each, six bits a byte, bit 6 says that more follow."""
    numbers: list[int] = []
    value = 0
    for byte in table:
        value = value << 6 | byte & 63
        if not byte & 64:
            numbers.append(value)
            value = 0
    return [_Entry(*numbers[i : i + 4]) for i in range(0, len(numbers), 4)]


def _table(entries: Iterable[tuple[int, ...]]) -> bytes:
    """The inverse of `_entries`."""
    return b"".join(
        [_marked(row[0]) + b"".join([_digits(value) for value in row[1:]]) for row in entries]
    )


@cache
def _digits(value: int) -> bytes:
    high, low = value >> 6, bytes((value & 63,))
    return bytes(digit | 64 for digit in _digits(high)) + low if high else low


@cache
def _marked(value: int) -> bytes:
    """The first number of a row: bit 7 of its first byte says so."""
    first, *more = _digits(value)
    return bytes((first | 128, *more))


class _Handler(NamedTuple):
    """Instructions that stand for themselves, but for the constant that they call.

    Attributes:
        before, after: around the number of the constant.
        entries: the table's rows, with places counted from the first instruction.
        stack: how many places of the stack it takes.
    """

    before: bytes
    after: bytes
    entries: list[_Entry]
    stack: int


@cache
def _handler() -> _Handler:
    """Made by the compiler, so that it suits this version of Python."""
    mark = "the handler"
    text = f"def f():\n try:\n  f\n except:\n  {mark!r}()\n  raise\n"
    names: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # 'str' object is not callable
        exec(compile(text, "<tritorch refusal>", "exec"), names)
    code: CodeType = names["f"].__code__
    own = _entries(code.co_exceptiontable)
    start = own[0].target
    body = code.co_code[2 * start :]
    number = code.co_consts.index(mark)
    load = opmap["LOAD_CONST"]
    at = next(i for i in range(0, len(body), 2) if body[i] == load and body[i + 1] == number)
    entries = [
        _Entry(e.start - start, e.length, e.target - start, e.depth)
        for e in own
        if e.start >= start
    ]
    return _Handler(body[: at + 1], body[at + 2 :], entries, code.co_stacksize)


#: the kind of a row of the table of lines that says a line and no columns
_LINE_ONLY = 13


@cache
def _lines(change: int, units: int) -> bytes:
    """Rows of the table of lines, of up to eight units each, from the line that so many are added
    to: a byte of mark, kind and length, then the change (its sign in the lowest bit), six bits a
    byte, the lowest first."""
    number = -change << 1 | 1 if change < 0 else change << 1
    digits = [number & 63]
    while number := number >> 6:
        digits[-1] |= 64
        digits.append(number & 63)
    lengths = [min(8, units - done) - 1 for done in range(0, units, 8)]
    heads = [0x80 | _LINE_ONLY << 3 | length for length in lengths]
    return bytes((heads[0], *digits)) + b"".join(bytes((head, 0)) for head in heads[1:])


def _last_line(code: CodeType) -> int:
    """The line that the last row of its table of lines is about."""
    found = code.co_firstlineno
    for _, _, line in code.co_lines():
        found = found if line is None else line
    return found


def refusing(code: CodeType, name: str = "") -> CodeType:
    """The same code, with a call of `translate` before an exception leaves it.

    Args:
        code: of a function that is no generator.
        name: what `translate` calls the operation, its own name unless given.
    """
    number = len(code.co_consts)
    if number > 255 or code.co_flags & CO_GENERATOR or code.co_consts[-1:] == (translate,):
        return code
    handler = _handler()
    instructions = code.co_code
    units = (len(handler.before) + 1 + len(handler.after)) // 2
    return code.replace(
        co_code=b"".join((instructions, handler.before, bytes((number,)), handler.after)),
        co_consts=(*code.co_consts, translate),
        co_exceptiontable=_extended(code.co_exceptiontable, len(instructions) // 2),
        co_linetable=code.co_linetable + _lines(code.co_firstlineno - _last_line(code), units),
        co_stacksize=max(code.co_stacksize, handler.stack),
        co_name=name or code.co_name,
    )


@cache
def _extended(table: bytes, end: int) -> bytes:
    """The table of code of so many units with the handler behind it, for what has none so far."""
    rows: list[tuple[int, ...]] = []
    place = 0
    for entry in _entries(table):
        if entry.start > place:
            rows.append((place, entry.start - place, end, 0))
        rows.append(entry)
        place = entry.start + entry.length
    rows.append((place, end - place, end, 0))
    for start, length, target, depth in _handler().entries:
        rows.append((start + end, length, target + end, depth))
    return _table(rows)


def _innermost(function: FunctionType) -> FunctionType:
    """What decorators have wrapped."""
    while "__wrapped__" in function.__dict__:
        function = function.__dict__["__wrapped__"]
    return function


def refuse(named: Mapping[str, Any]) -> None:
    """Let these functions refuse what is no tensor, by these names; what is no operation is left.

    Of several names the first one counts. It is the code's name from then on, in tracebacks too.
    """
    for name, function in list(named.items()):
        if function.__class__ is FunctionType and (name[0] != "_" or name[:2] == "__"):
            function = _innermost(function)
            if function.__module__.startswith(ROOMS):
                function.__code__ = refusing(function.__code__, name)


# ---- when an exception leaves an operation
def translate() -> None:
    """Raise what users can read in place of the exception under way, if it is about an operand."""
    error = sys.exception()
    frame = sys._getframe(1)
    kind = type(error)
    if kind is OperandError:
        given = _given(frame)
        place = _place(frame, given, error.operand) or _no_tensor(frame, given, Tensor)  # type: ignore[union-attr]
    elif kind is AttributeError:
        if error.name is None or isinstance(error.obj, Tensor):  # type: ignore[union-attr]
            return
        given = _given(frame)
        place = _place(frame, given, error.obj) or _no_tensor(frame, given)  # type: ignore[union-attr]
    elif kind in _CONSEQUENCES:
        given = _given(frame)
        place = _no_tensor(frame, given)
    else:
        return
    if place is not None:
        raise _said(frame, place) from None
    if kind in (TypeError, ValueError, IndexError) and _BARE.search(text := str(error)):
        cause = error.__cause__  # type: ignore[union-attr]
        if cause is None:  # else an operation that it called has said it
            raise kind(_told(frame, text, given)) from error


def _told(frame: FrameType, text: str, given: list[tuple[str, Any]]) -> str:
    """What Python said, with operation and values."""
    values = ", ".join([f"{name}={_shown(value)}" for name, value in given if value is not None])
    name = frame.f_code.co_name
    return f"{name}(): {text}. It was given {values}. See help of {name} for what these may be."


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"Tensor of shape {list(value._layout.shape)}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value[:4]))}{', ...' if len(value) > 4 else ''}]"
    return f"{value!r:.60}"


class _Place(NamedTuple):
    """An argument that is not what it should be.

    Attributes:
        position: from 1. name: of the parameter.
        wrong: the value. among: whether it is one of several that are the argument.
    """

    position: int
    name: str
    wrong: Any
    among: bool


def _given(frame: FrameType) -> list[tuple[str, Any]]:
    """Names and values of a call's parameters, in the order in which they are given."""
    code = frame.f_code
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    if several := _variadic(code):
        names = (*names[: code.co_argcount], several, *names[code.co_argcount :])
    values = frame.f_locals
    return [(name, values[name]) for name in names if name in values]


def _place(frame: FrameType, given: list[tuple[str, Any]], wrong: Any) -> _Place | None:
    """Where a value was given: of several places (a small number is one object) a tensor's."""
    same = [(i, name) for i, (name, value) in enumerate(given, 1) if value is wrong]
    if len(same) > 1:
        same.sort(key=lambda place: "Tensor" not in _annotation(frame, place[1]))
    if same:
        return _Place(*same[0], wrong, False)
    for position, (name, value) in enumerate(given, 1):
        if _holds(value, wrong):
            return _Place(position, name, wrong, True)
    return None


def _holds(value: Any, wrong: Any, depth: int = 2) -> bool:
    return isinstance(value, list | tuple) and any(
        item is wrong or (depth > 1 and _holds(item, wrong, depth - 1)) for item in value
    )


def _no_tensor(
    frame: FrameType, given: list[tuple[str, Any]], taken: Any = Tensor | int | float
) -> _Place | None:
    """An argument that is no tensor where the function says that it takes nothing else.

    Args:
        taken: kinds that cannot be what is wrong: mostly numbers too, which operations that the
            function calls may take.
    """
    for position, (name, value) in enumerate(given, 1):
        annotation = _annotation(frame, name)
        if annotation in _SEVERAL or (annotation == "Tensor" and name == _variadic(frame.f_code)):
            if not isinstance(value, list | tuple):
                return _Place(position, name, value, True)
            for item in value:
                if not isinstance(item, Tensor):
                    return _Place(position, name, item, True)
        elif annotation == "Tensor" and not isinstance(value, taken):
            return _Place(position, name, value, False)
    return None


def _variadic(code: CodeType) -> str:
    """The name of `*tensors`; empty where there is none."""
    count = code.co_argcount + code.co_kwonlyargcount
    return code.co_varnames[count] if code.co_flags & CO_VARARGS else ""


def _said(frame: FrameType, place: _Place) -> OperandError:
    annotation = _annotation(frame, place.name)
    kind = next((said for word, said in _WORDS.items() if word in annotation), "")
    advice = ""
    if not kind or "Tensor" in annotation:
        kind = "tuple of Tensors" if place.among else "Tensor"
        advice = " Convert it with tritorch.tensor."
    among = "an element of type " if place.among and _is_inside(frame, place) else ""
    return OperandError(
        f"{frame.f_code.co_name}(): argument {place.name!r} (position {place.position}) must be "
        f"{kind}, not {among}{type(place.wrong).__name__}.{advice}",
        place.wrong,
    )


def _is_inside(frame: FrameType, place: _Place) -> bool:
    return isinstance(frame.f_locals.get(place.name), list | tuple)


def _annotation(frame: FrameType, name: str) -> str:
    """What the function says of a parameter; a frame does not know its function."""
    code = frame.f_code
    for value in (*frame.f_globals.values(), *vars(Tensor).values()):
        if isinstance(value, FunctionType):
            function = _innermost(value)
            if function.__code__ is code:
                return str(function.__annotations__.get(name, ""))
    return ""


__all__ = ["refuse", "refusing", "translate"]
