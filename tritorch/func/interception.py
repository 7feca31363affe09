"""Which functions ask for batching rules while a `vmap` is under way.

Pointwise operations are not among them: they notice by themselves that an operand shows no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from types import FunctionType
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
from tritorch.ops.interception import BATCHING, Interception, own_code
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
                and own_code(found).co_filename != _POINTWISE
            ):
                yield found


def _nodes(kind: type[Node]) -> Iterator[type[Node]]:
    yield kind
    for derived in kind.__subclasses__():
        yield from _nodes(derived)


class _Batching(Interception):
    """An interception that asks what is to be intercepted when it begins.

    Args:
        wanted: gives pairs of a function, and what makes its handler of the function below it;
            functions that were not given before.
    """

    def __init__(
        self, wanted: Callable[[], Iterator[tuple[FunctionType, Callable[[FunctionType], Any]]]]
    ) -> None:
        super().__init__(BATCHING)
        self._wanted = wanted

    def __enter__(self) -> Interception:
        for function, handler_of in self._wanted():
            if function not in self:
                self.add(function, handler_of)
        return super().__enter__()


def _operation(function: FunctionType, name: str) -> Callable[[FunctionType], Operation]:
    return lambda below: Operation(function, below, name)


@cache
def _functions() -> tuple[tuple[FunctionType, Callable[[FunctionType], Any]], ...]:
    apply = vars(Function)["apply"].__func__
    names = {function: function.__name__ for function in (*_public(), *_INNER)}
    reserve: Any = random.Generator.reserve
    return (
        *((function, _operation(function, name)) for function, name in names.items()),
        (apply, _operation(apply, "Function.apply")),
        (reserve, _Drawing),
    )


def _operations() -> Iterator[tuple[FunctionType, Callable[[FunctionType], Any]]]:
    if vars(Function)["apply"].__func__ not in interception:
        yield from _functions()


_known_nodes: set[type[Node]] = set()


def _gradients() -> Iterator[tuple[FunctionType, Callable[[FunctionType], Any]]]:
    """Classes of nodes come into being as programs run."""
    for kind in _nodes(Node):
        if kind not in _known_nodes:
            _known_nodes.add(kind)
            apply = vars(kind).get("apply")
            if isinstance(apply, FunctionType):
                yield apply, _operation(apply, kind.__name__)


#: what a `vmap` needs; and what a backward pass of batched gradients needs besides
interception = _Batching(_operations)
gradients = _Batching(_gradients)
