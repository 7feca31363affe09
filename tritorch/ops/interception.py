"""Calls of chosen functions go to a handler for a while; at all other times they cost nothing more.

The functions behind operations are plain Python functions, which modules import by name and which
are methods too. Giving such a function other code for the time reaches all of them at once, and
leaves nothing behind: no flag is asked for when an operation is called in a program without one.

Several interceptions may be under way at once. Each has a place in their order: the uppermost one
gets a call first, and what it is given to go on with is the next one below.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from threading import Lock
from types import CodeType, FunctionType
from typing import Any
from weakref import WeakSet

from tritorch.ops.dispatch import completed

#: called with all positional and all named arguments of a call
Handler = Callable[[tuple[Any, ...], dict[str, Any]], Any]

#: places in the order
BATCHING, AUTOCASTING, PROFILING = 0, 1, 2

_HANDLER = "the handler"


@cache
def _template(free: tuple[str, ...]) -> CodeType:
    """Code of a function with these variables from outside, which it must have but does not use."""
    text = (
        f"def outer({', '.join(free)}):\n"
        "    def function(*args, **options):\n"
        f"        handler = {_HANDLER!r}\n"
        "        return handler(args, options)\n"
        f"        {', '.join(free)}\n"
        "    return function\n"
    )
    names: dict[str, Any] = {}
    exec(compile(text, "<tritorch interception>", "exec"), names)
    code: CodeType = names["outer"](*free).__code__
    assert code.co_freevars == free
    return code


def _calling(handler: Handler, like: CodeType) -> CodeType:
    """Code that hands all arguments to the handler, fit for a function with that code."""
    template = _template(like.co_freevars)
    return template.replace(
        co_consts=tuple([handler if c == _HANDLER else c for c in template.co_consts]),
        co_name=like.co_name,
        co_qualname=like.co_qualname,
    )


def _twin(function: FunctionType) -> FunctionType:
    """The same function with a code of its own."""
    made = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    made.__kwdefaults__ = function.__kwdefaults__
    made.__dict__.update(function.__dict__)
    return made


class _Layer:
    """One interception of one function: its code, and the function as it is below."""

    __slots__ = ("below", "code", "owner")

    def __init__(self, owner: Interception, below: FunctionType, code: CodeType) -> None:
        self.owner = owner
        self.below = below
        self.code = code


class _Point:
    """A function with the interceptions that know it, lowest first."""

    __slots__ = ("function", "layers", "own")

    def __init__(self, function: FunctionType) -> None:
        self.function = function
        self.own = completed(function).__code__
        self.layers: list[_Layer] = []

    def apply(self) -> None:
        """Give the function the code of the uppermost interception that is under way."""
        code = self.own
        for layer in self.layers:
            if layer.owner.active:
                if layer.below.__code__ is not code:
                    layer.below.__code__ = code
                code = layer.code
        if self.function.__code__ is not code:
            self.function.__code__ = code


_points: dict[FunctionType, _Point] = {}
_interceptions: WeakSet[Interception] = WeakSet()
_lock = Lock()
#: how many functions were added to any interception so far
_additions = 0


def own_code(function: FunctionType) -> CodeType:
    """The code that a function has when nothing intercepts it."""
    point = _points.get(function)
    return function.__code__ if point is None else point.own


class Interception:
    """Functions whose calls can be sent to handlers; a context manager, counted over all threads.

    Args:
        place: in the order of interceptions.
    """

    def __init__(self, place: int) -> None:
        self.place = place
        self.active = False
        self._known: dict[FunctionType, tuple[_Point, _Layer]] = {}
        self._users = 0
        #: functions were added since it was last switched on
        self._is_behind = False
        #: (function, its own code, ours) where nobody else intercepts; the other points
        self._alone: list[tuple[FunctionType, CodeType, CodeType]] = []
        self._shared: list[_Point] = []
        self._sorted_at = 0
        _interceptions.add(self)

    def __contains__(self, function: FunctionType) -> bool:
        return function in self._known

    def add(self, function: FunctionType, handler_of: Callable[[FunctionType], Handler]) -> None:
        """Intercept this function too, from the next `start` on.

        Args:
            function: to intercept.
            handler_of: makes the handler; it is given the function as it is below this one.
        """
        with _lock:
            point = _points.get(function)
            if point is None:
                point = _points[function] = _Point(function)
        below = _twin(function)
        below.__code__ = point.own
        layer = _Layer(self, below, _calling(handler_of(below), point.own))
        global _additions
        with _lock:
            point.layers.append(layer)
            point.layers.sort(key=lambda each: each.owner.place)
            self._known[function] = point, layer
            _additions += 1
            self._is_behind = True

    def start(self) -> None:
        """Send calls of all threads to the handlers, until `stop` was called as often."""
        with _lock:
            self._users += 1
            if self._users == 1 or self._is_behind:
                self._switch(True)

    def stop(self) -> None:
        """The end of one `start`."""
        with _lock:
            self._users -= 1
            if self._users == 0:
                self._switch(False)

    def _switch(self, active: bool) -> None:
        self.active = active
        self._is_behind &= not active
        if self._sorted_at != _additions:
            self._sort()
        for function, own, code in self._alone:
            function.__code__ = code if active else own
        for point in self._shared:
            point.apply()

    def _sort(self) -> None:
        """Tell functions that only this one intercepts from the others: those take less time."""
        self._alone, self._shared = [], []
        for point, layer in self._known.values():
            if len(point.layers) == 1:
                self._alone.append((point.function, point.own, layer.code))
            else:
                self._shared.append(point)
        self._sorted_at = _additions

    def __enter__(self) -> Interception:
        self.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.stop()


def _after_fork_in_child() -> None:
    """A thread that is no more may have held the lock, and left half a change behind."""
    global _lock
    _lock = Lock()
    for point in _points.values():
        known = [owner._known.get(point.function) for owner in _interceptions]
        point.layers = sorted(
            (found[1] for found in known if found is not None), key=lambda each: each.owner.place
        )
    for owner in _interceptions:
        owner.active = owner._users > 0
        owner._sorted_at = -1
    for point in _points.values():
        point.apply()


os.register_at_fork(after_in_child=_after_fork_in_child)
