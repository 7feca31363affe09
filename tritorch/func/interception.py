"""How operations come to ask for batching rules, without a check on any call outside `vmap`.

While a `vmap` is under way (in any thread), the code of the public functions is exchanged for one
that looks for batched operands; when the last one ends, their own code is back. Pointwise
operations need no exchange: they notice by themselves that an operand shows no memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import CodeType, FunctionType
from typing import Any

from tritorch import linalg, namespace
from tritorch.autograd import engine
from tritorch.autograd.function import Function
from tritorch.autograd.node import Node
from tritorch.func.batched import state
from tritorch.func.dispatch import Operation, Randomness
from tritorch.nn import functional
from tritorch.ops import (
    convolution,
    joining,
    memory,
    random,
    scan,
    selection,
    subscript,
    view_nodes,
    views,
)
from tritorch.tensor import Tensor

#: functions that are not public, but where a rule is to be applied or an attempt may be repeated
_INNER: tuple[Any, ...] = (
    engine._accumulate,
    memory.to_dtype,
    memory.alias,
    memory.restride,
    view_nodes.place,
    views.slice_dim,
    subscript._view,
    joining.constant_pad_nd,
    scan._cumsum,
    scan._logcumsumexp,
    convolution._convolve,
    convolution._transpose,
    convolution._weight_gradient,
    selection.index,
    selection._put,
    selection._put_,
    selection.scattered,
    selection._scattered_,
)
_PLAIN_TENSOR_MODULE = Tensor.__module__
_POINTWISE = "<tritorch operation>"


@cache
def _template(free: tuple[str, ...]) -> CodeType:
    """Code of a function with these variables from outside, which it must have but does not use."""
    text = (
        f"def outer({', '.join(free)}):\n"
        "    def function(*args, **options):\n"
        "        operation = 'the operation'\n"
        "        return operation(args, options)\n"
        f"        {', '.join(free)}\n"
        "    return function\n"
    )
    names: dict[str, Any] = {}
    exec(compile(text, "<tritorch batching>", "exec"), names)
    code: CodeType = names["outer"](*free).__code__
    assert code.co_freevars == free
    return code


def _asking(operation: Callable[..., Any], like: CodeType) -> CodeType:
    """Code that hands all arguments to `operation`, fit for a function with that code."""
    template = _template(like.co_freevars)
    return template.replace(
        co_consts=tuple(
            operation if constant == "the operation" else constant
            for constant in template.co_consts
        ),
        co_name=like.co_name,
        co_qualname=like.co_qualname,
    )


def _copied(function: FunctionType) -> FunctionType:
    """The same function, which keeps its code."""
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


class _Exchange:
    """A function, and the two codes that it may have."""

    __slots__ = ("asking", "function", "own")

    def __init__(self, function: FunctionType, handler: Callable[..., Any]) -> None:
        self.function = function
        self.own = function.__code__
        self.asking = _asking(handler, self.own)


class _Drawing:
    """Handler of the generator's method by which all random numbers are drawn."""

    def __init__(self, original: Callable[..., Any]) -> None:
        self.original = original

    def __call__(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if state.levels:
            raise Randomness
        return self.original(*args, **options)


def _public() -> Iterator[FunctionType]:
    from tritorch import special

    places: list[dict[str, Any]] = [
        dict(vars(module)) for module in (namespace, functional, linalg, special)
    ]
    places.append(dict(vars(Tensor)))
    for place in places:
        for found in place.values():
            if (
                isinstance(found, FunctionType)
                and found.__module__ is not None
                and found.__module__.startswith(("tritorch.ops.", "tritorch.nn."))
                and found.__code__.co_filename != _POINTWISE
            ):
                yield found


def _nodes(kind: type[Node]) -> Iterator[type[Node]]:
    yield kind
    for derived in kind.__subclasses__():
        yield from _nodes(derived)


class Interception:
    """The exchange of codes, counted over all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._exchanges: dict[FunctionType, _Exchange] = {}
        self._known_nodes: set[type[Node]] = set()
        #: public functions by themselves, for reports and tests
        self.operations: dict[FunctionType, Operation] = {}

    def __enter__(self) -> None:
        with self._lock:
            self._count += 1
            if self._count > 1:
                return
            self._collect()
            for exchange in self._exchanges.values():
                exchange.function.__code__ = exchange.asking

    def __exit__(self, *exception: Any) -> None:
        with self._lock:
            self._count -= 1
            if not self._count:
                for exchange in self._exchanges.values():
                    exchange.function.__code__ = exchange.own

    def _add(self, function: FunctionType, name: str) -> None:
        if function not in self._exchanges:
            operation = Operation(function, _copied(function), name)
            self.operations[function] = operation
            self._exchanges[function] = _Exchange(function, operation)

    def _collect(self) -> None:
        """What is to be exchanged; classes of nodes come into being as programs run."""
        if not self._exchanges:
            for function in (*_public(), *_INNER):
                self._add(function, function.__name__)
            self._add(vars(Function)["apply"].__func__, "Function.apply")
            reserve: Any = random.Generator.reserve
            self._exchanges[reserve] = _Exchange(reserve, _Drawing(_copied(reserve)))
        for kind in _nodes(Node):
            if kind not in self._known_nodes:
                self._known_nodes.add(kind)
                apply = vars(kind).get("apply")
                if isinstance(apply, FunctionType):
                    self._add(apply, kind.__name__)


interception = Interception()


@contextmanager
def intercepted(enabled: bool = True) -> Iterator[None]:
    """Have operations ask for batching rules inside."""
    if enabled:
        with interception:
            yield
    else:
        yield
