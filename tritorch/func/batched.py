"""`BatchedTensor`: a tensor seen by a function that `vmap` runs for all samples at once.

It shows the shape of one sample; behind it is a tensor with one more dimension. Whatever asks for
its memory gets `NotBatchable`, so an operation that was not written for batches can never compute
on one sample by mistake.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from tritorch.layout import Layout
from tritorch.tensor import Tensor

_new = object.__new__


class NotBatchable(AttributeError, RuntimeError):
    """An operation asked for the memory of a batched tensor: it needs a rule, or a loop."""


class DataDependent(RuntimeError):
    """A Python value was asked of a batched tensor, which has a different one for each sample."""


class UnbatchedTarget(RuntimeError):
    """A batched value would have to be written to a tensor that all samples share."""


class UnbatchedDraw(UnbatchedTarget):
    """Random numbers of each sample would have to be written to a tensor that all share."""


class Level:
    """One `vmap` that is under way.

    Attributes:
        number: 1 for the outermost. size: how many samples.
        randomness: "error", "different" or "same".
    """

    __slots__ = ("number", "randomness", "size")

    def __init__(self, number: int, size: int, randomness: str) -> None:
        self.number = number
        self.size = size
        self.randomness = randomness


class _State(threading.local):
    #: the levels under way in this thread, outermost first
    levels: tuple[Level, ...] = ()


state = _State()


@contextmanager
def levels(chosen: tuple[Level, ...]) -> Iterator[None]:
    """Let exactly these levels be under way."""
    previous, state.levels = state.levels, chosen
    try:
        yield
    finally:
        state.levels = previous


def _memory(self: BatchedTensor) -> NoReturn:
    raise NotBatchable(
        "vmap: the memory of a batched tensor was asked for. If the tensor has left the function "
        "given to vmap, return it from there instead."
    )


def _graph(self: BatchedTensor) -> Any:
    if self._value._requires_grad:
        raise NotBatchable(
            "vmap: the graph of gradients of a batched tensor was asked for: it belongs to the "
            "tensor behind it. Take gradients inside vmap by tritorch.func.grad."
        )
    return None


def _refuse(self: BatchedTensor, value: Any) -> None:
    _memory(self)


def _python_value(what: str) -> Callable[..., Any]:
    def method(self: BatchedTensor, *args: Any, **options: Any) -> NoReturn:
        raise DataDependent(
            f"vmap: It looks like you're calling {what} on a Tensor. We don't support vmap over "
            f"calling {what} on a Tensor: each sample has its own value. Please try to rewrite "
            "what you're doing with other operations."
        )

    return method


def _truth(self: BatchedTensor) -> NoReturn:
    raise DataDependent(
        "vmap: It looks like you're attempting to use a Tensor in some data-dependent control "
        "flow. We don't support that: the condition differs between samples. Use where()."
    )


class BatchedTensor(Tensor):
    """All samples of a tensor at one level; made by `batched`.

    Attributes:
        _value: the tensor behind it, which may be batched at a level further out.
        _dim: its dimension that runs over the samples. _level: whose samples these are.
    """

    __slots__ = ("_dim", "_level", "_value")
    _value: Tensor
    _dim: int
    _level: Level

    # What operations read of a tensor beside its layout
    _address: Any = property(_memory, _refuse)
    _storage: Any = property(_memory, _refuse)
    # true, but not `True`, which would say that it has a place of its own in the graph
    _requires_grad: Any = property(lambda self: int(bool(self._value._requires_grad)), _refuse)
    _grad_fn: Any = property(_graph, _refuse)
    _view: Any = property(lambda self: None, _refuse)
    _hooks: Any = property(lambda self: None, _refuse)
    _output_nr: Any = property(lambda self: 0, _refuse)
    grad: Any = property(lambda self: None, _refuse)
    _version = property(lambda self: self._value._version)

    item = _python_value(".item()")
    tolist = _python_value(".tolist()")
    numpy = _python_value(".numpy()")
    __array__ = _python_value(".numpy()")
    _array = _python_value(".numpy()")
    __float__ = _python_value("float()")
    __int__ = _python_value("int()")
    __index__ = _python_value("int()")
    __contains__ = _python_value("`in`")
    __bool__ = _truth

    def detach(self) -> Tensor:
        """The same samples without history."""
        return batched(self._value.detach(), self._dim, self._level)

    data: Any = property(lambda self: batched(self._value.data, self._dim, self._level))

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """An error: a gradient inside vmap is taken by `func.grad`."""
        raise RuntimeError(
            "vmap: requires_grad_() inside a function given to vmap is not supported. Use "
            "tritorch.func.grad for gradients of each sample."
        )

    def backward(self, *args: Any, **options: Any) -> None:
        """An error: a gradient inside vmap is taken by `func.grad`."""
        raise RuntimeError(
            "vmap: backward() inside a function given to vmap is not supported. Use "
            "tritorch.func.grad for gradients of each sample."
        )

    def __repr__(self, **options: Any) -> str:  # type: ignore[override]
        return (
            f"BatchedTensor(lvl={self._level.number}, bdim={self._dim}, value=\n"
            f"    {self._value!r}\n)"
        )

    # ---- what the declared operations call for operands whose memory they do not get
    @staticmethod
    def _pointwise(function: Callable[..., Any], values: Sequence[Any], count: int) -> Any:
        from tritorch.func.rules.pointwise import pointwise

        return pointwise(function, values, count)


def batched(value: Tensor, dim: int, level: Level) -> Tensor:
    """The samples along a dimension of `value` as one tensor of a sample's shape."""
    layout = value._layout
    shape, strides = layout.shape, layout.strides
    made = _new(BatchedTensor)
    made._value = value
    made._dim = dim
    made._level = level
    made._layout = Layout.of(
        layout.dtype,
        shape[:dim] + shape[dim + 1 :],
        strides[:dim] + strides[dim + 1 :],
        layout.device,
    )
    return made


def tensors_in(values: Any) -> Iterator[Tensor]:
    """The tensors among arguments, and in the lists, tuples and dictionaries among them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from tensors_in(value)
        elif isinstance(value, slice):
            yield from tensors_in((value.start, value.stop, value.step))
        elif isinstance(value, dict):
            yield from tensors_in(value.values())


def innermost(values: Any) -> Level | None:
    """The innermost level at which one of these is batched."""
    found: Level | None = None
    for tensor in tensors_in(values):
        if tensor.__class__ is BatchedTensor and (
            found is None or tensor._level.number > found.number
        ):
            found = tensor._level
    return found


def substituted(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """A value with the tensors in it (see `tensors_in`) changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple):
        parts = [substituted(part, change) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else _sequence(value, parts)
    if isinstance(value, list):
        return [substituted(part, change) for part in value]
    if isinstance(value, slice):
        return slice(*(substituted(p, change) for p in (value.start, value.stop, value.step)))
    if isinstance(value, dict):
        return {key: substituted(part, change) for key, part in value.items()}
    return value


def _sequence(like: tuple[Any, ...], parts: list[Any]) -> Any:
    """A tuple of the same class; structured results are made of one sequence."""
    return tuple(parts) if type(like) is tuple else type(like)(parts)
