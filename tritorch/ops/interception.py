"""Calls of chosen functions go to a handler for a while; at all other times they cost nothing more.

The functions behind operations are plain Python functions, which modules import by name and which
are methods too. Giving such a function other code for the time reaches all of them at once, and
leaves nothing behind: no flag is asked for when an operation is called in a program without one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from threading import Lock
from types import CodeType, FunctionType
from typing import Any, Protocol

from tritorch.ops.dispatch import completed


class Handler(Protocol):
    """What is called in place of a function."""

    def handle(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """The result of the call."""


_HANDLER = "the handler"


@cache
def _template() -> CodeType:
    # A method of a constant: the compiler would warn of a constant that is called.
    text = f"def function(*args, **options): return {_HANDLER!r}.handle(args, options)"
    module = compile(text, "<tritorch interception>", "exec")
    return next(value for value in module.co_consts if isinstance(value, CodeType))


def _calling(handler: Handler, original: CodeType) -> CodeType:
    """Code that hands its arguments to the handler, in place of `original`."""
    code = _template()
    constants = tuple([handler if value == _HANDLER else value for value in code.co_consts])
    return code.replace(
        co_consts=constants,
        co_name=original.co_name,
        co_qualname=original.co_qualname,
        co_freevars=original.co_freevars,
    )


def twin(function: FunctionType) -> FunctionType:
    """A function of its own that does what this one does now."""
    copy = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


class Interception:
    """Functions whose calls can be sent to handlers.

    Args:
        functions: the functions.
        handler_of: makes the handler of each; it is given the function's twin, which does what the
            function does without interception.
    """

    def __init__(
        self,
        functions: Iterable[FunctionType],
        handler_of: Callable[[FunctionType, FunctionType], Handler],
    ) -> None:
        self._codes: list[tuple[FunctionType, CodeType, CodeType]] = []
        self._lock = Lock()
        self._users = 0
        for function in functions:
            original = completed(function).__code__
            handler = handler_of(function, twin(function))
            self._codes.append((function, original, _calling(handler, original)))

    def start(self) -> None:
        """Send calls of all threads to the handlers, until `stop` was called as often."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                for function, _, other in self._codes:
                    function.__code__ = other

    def stop(self) -> None:
        """The end of one `start`."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                for function, original, _ in self._codes:
                    function.__code__ = original
