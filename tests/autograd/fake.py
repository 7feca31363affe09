"""A small strided tensor on NumPy that follows the protocol, to test the graph alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tritorch import dtypes
from tritorch.autograd import inplace
from tritorch.autograd.edges import attach, edge, grad_fn
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.autograd.protocol import operations
from tritorch.autograd.views import DEFAULT, as_view
from tritorch.layout import Layout, contiguous_strides


class Storage:
    """Memory and its version."""

    __slots__ = ("memory", "version")

    def __init__(self, memory: np.ndarray) -> None:
        self.memory = memory
        self.version = 0


class Fake:
    """A float tensor."""

    __slots__ = (
        "__weakref__", "_grad_fn", "_hooks", "_layout", "_offset", "_output_nr", "_requires_grad",
        "_storage", "_view", "grad",
    )  # fmt: skip

    def __init__(self, storage: Storage, layout: Layout, offset: int = 0) -> None:
        self._storage = storage
        self._layout = layout
        self._offset = offset
        self._requires_grad: Any = False
        self._grad_fn: Node | None = None
        self._output_nr = 0
        self._view: Any = None
        self._hooks: Any = None
        self.grad: Fake | None = None

    # ---- what tests look at
    @property
    def shape(self) -> tuple[int, ...]:
        return self._layout.shape

    @property
    def requires_grad(self) -> bool:
        return bool(self._requires_grad)

    @property
    def grad_fn(self) -> Node | None:
        return grad_fn(self)

    @property
    def array(self) -> np.ndarray:
        """A NumPy view."""
        memory, layout = self._storage.memory, self._layout
        step = memory.itemsize
        return np.lib.stride_tricks.as_strided(
            memory[self._offset :], layout.shape, [s * step for s in layout.strides]
        )

    def tolist(self) -> Any:
        return self.array.tolist()

    def storage_offset(self) -> int:
        return self._offset

    def detach(self) -> Fake:
        return Fake(self._storage, self._layout, self._offset)

    # ---- operations
    def __add__(self, other: Fake) -> Fake:
        return recorded(AddBackward0, made(self.array + other.array), self, other)

    def __mul__(self, other: Any) -> Fake:
        if not isinstance(other, Fake):
            other = tensor(np.full(self.shape, other))
        result = recorded(MulBackward0, made(self.array * other.array), self, other)
        if result._grad_fn is not None:
            result._grad_fn.save(self, other)
        return result

    def exp(self) -> Fake:
        result = recorded(ExpBackward0, made(np.exp(self.array)), self)
        if result._grad_fn is not None:
            result._grad_fn.save_outputs(result)
        return result

    def sum(self) -> Fake:
        return recorded(SumBackward0, made(self.array.sum()), self)

    def expand(self, *shape: int) -> Fake:
        return recorded(ExpandBackward0, made(np.broadcast_to(self.array, shape)), self)

    def clone(self) -> Fake:
        return recorded(CloneBackward0, made(self.array.copy()), self)

    def __getitem__(self, index: Any) -> Fake:
        """Basic indexing of the first dimension."""
        if isinstance(index, int):
            stride = self._layout.strides[0]
            at = self._offset + index * stride
            return as_strided(self, self.shape[1:], self._layout.strides[1:], at)
        start, stop, step = index.indices(self.shape[0])
        stride = self._layout.strides[0]
        shape = (len(range(start, stop, step)), *self.shape[1:])
        strides = (stride * step, *self._layout.strides[1:])
        return as_strided(self, shape, strides, self._offset + start * stride)

    def split2(self) -> tuple[Fake, Fake]:
        """Two halves, as views from one call."""
        half = self.shape[0] // 2
        views = []
        node = None
        if self._requires_grad and mode.enabled:
            layout = Layout.of(self._layout.dtype, (half,), self._layout.strides)
            node = SplitBackward0((edge(self),), (layout, layout))
        for number in (0, 1):
            layout = Layout.of(self._layout.dtype, (half,), self._layout.strides)
            view = Fake(self._storage, layout, self._offset + number * half)
            if node is not None:
                attach(view, node, number)
            views.append(as_view(view, self, 2))
        return views[0], views[1]

    def exp_(self) -> Fake:
        with writing(self) as node_of:
            node = node_of(ExpBackward0)
            np.exp(self.array, out=self.array)
        if node is not None:
            inplace.rebase_history(self, node)
            node.save_outputs(self)
        return self

    def mul_(self, other: Any) -> Fake:
        if not isinstance(other, Fake):
            other = tensor(np.full(self.shape, other))
        with writing(self, other) as node_of:
            node = node_of(MulBackward0)
            if node is not None:
                node.save(self.clone() if other._requires_grad else None, other)
            self.array[...] *= other.array
        if node is not None:
            inplace.rebase_history(self, node)
        return self

    def copy_(self, source: Fake) -> Fake:
        with writing(self, source) as node_of:
            node = node_of(CopyBackward0)
            self.array[...] = source.array
        if node is not None:
            inplace.rebase_history(self, node)
        return self


@contextmanager
def writing(target: Fake, *others: Fake) -> Iterator[Any]:
    """Checks before and counts the version after an in-place operation."""
    inplace.check_inplace(target, any(other._requires_grad for other in others))
    wanted = mode.enabled and any(t._requires_grad for t in (target, *others))
    edges = tuple(edge(t) for t in (target, *others))
    yield lambda kind: kind(edges, (target._layout,)) if wanted else None
    target._storage.version += 1


def made(array: Any) -> Fake:
    """A fresh tensor with a copy of an array."""
    array = np.array(array)
    kind = dtypes.BY_NAME[array.dtype.name]
    return Fake(Storage(array.reshape(-1).copy()), Layout.contiguous(kind, array.shape))


def tensor(data: Any, requires_grad: bool = False, dtype: Any = np.float64) -> Fake:
    """A leaf."""
    result = made(np.asarray(data, dtype))
    result._requires_grad = requires_grad
    return result


def recorded(kind: type[Node], result: Fake, *inputs: Fake) -> Fake:
    """The result, attached to a node where a gradient is wanted."""
    if mode.enabled and any(t._requires_grad for t in inputs):
        attach(result, kind(tuple(edge(t) for t in inputs), (result._layout,)))
    return result


def as_strided(source: Fake, shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> Fake:
    """A view."""
    view = Fake(source._storage, Layout.of(source._layout.dtype, shape, strides), offset)
    if mode.enabled and source._requires_grad:
        node = AsStridedBackward0((edge(source),), (view._layout,))
        node.geometry = (source._layout, source._offset, view._layout, offset)
        attach(view, node)
    return as_view(view, source, DEFAULT)


class AddBackward0(Node):
    __slots__ = ()

    def apply(self, grads: Any) -> Any:
        return grads[0], grads[0]


class MulBackward0(Node):
    __slots__ = ()

    def apply(self, grads: Any) -> Any:
        x, y = self.unpack()
        g = grads[0]
        return g * y if self.needs(0) else None, g * x if self.needs(1) else None


class ExpBackward0(Node):
    __slots__ = ()

    def apply(self, grads: Any) -> Any:
        (y,) = self.unpack()
        return (grads[0] * y,)


class SumBackward0(Node):
    __slots__ = ()

    def apply(self, grads: Any) -> Any:
        (following, number) = self.next_functions[0]
        assert following is not None
        return (grads[0].expand(*following.output_layouts[number].shape),)


class ExpandBackward0(Node):
    """The engine sums to the input's shape."""

    __slots__ = ()

    def apply(self, grads: Any) -> Any:
        return (grads[0],)


class CloneBackward0(ExpandBackward0):
    __slots__ = ()


class CopyBackward0(Node):
    __slots__ = ()

    def apply(self, grads: Any) -> Any:
        return made(np.zeros_like(grads[0].array)), grads[0]


class AsStridedBackward0(Node):
    __slots__ = ("geometry",)

    def apply(self, grads: Any) -> Any:
        base, base_offset, layout, offset = self.geometry
        result = made(np.zeros(base.shape))
        part = as_strided(
            result, layout.shape, layout.strides, offset - base_offset + result._offset
        )
        part.copy_(grads[0])
        return (result,)


class SplitBackward0(Node):
    __slots__ = ()

    def apply(self, grads: Any) -> Any:
        parts = [
            np.zeros(layout.shape) if g is None else g.array
            for g, layout in zip(grads, self.output_layouts)
        ]
        return (made(np.concatenate(parts)),)


def _accumulate(target: Fake, source: Fake) -> None:
    target.array[...] += source.array


def _restride(source: Fake, shape: tuple[int, ...], strides: tuple[int, ...]) -> Fake:
    result = Fake(
        Storage(np.zeros(max(source._layout.numel, 1), source.array.dtype)),
        Layout.of(source._layout.dtype, shape, strides),
    )
    result.array[...] = source.array
    return recorded(CloneBackward0, result, source)


class SumToSizeBackward0(SumBackward0):
    __slots__ = ()


def _sum_to_size(source: Fake, shape: tuple[int, ...]) -> Fake:
    array = source.array
    array = array.sum(tuple(range(array.ndim - len(shape)))) if array.ndim > len(shape) else array
    ones = tuple(d for d, size in enumerate(shape) if size == 1 and array.shape[d] != 1)
    return recorded(SumToSizeBackward0, made(array.sum(ones, keepdims=True)), source)


TABLE: dict[str, Any] = {
    "accumulate": _accumulate,
    "add": Fake.__add__,
    "as_strided": as_strided,
    "clone": Fake.clone,
    "copy_": Fake.copy_,
    "detach": Fake.detach,
    "has_nan": lambda t: bool(np.isnan(t.array).any()),
    "ones_like": lambda t: made(np.ones_like(t.array)),
    "restride": _restride,
    "stack": lambda ts: made(np.stack([t.array for t in ts])),
    "sum_to_size": _sum_to_size,
    "tensor_type": Fake,
    "to_device": lambda tensor, device: tensor,  # there is only one
    "to_dtype": lambda t, kind: recorded(CloneBackward0, made(t.array.astype(kind.numpy)), t),
    "zeros": lambda layout: made(np.zeros(layout.shape, layout.dtype.numpy)),
}
assert set(TABLE) == set(type(operations).__slots__)
assert contiguous_strides((2, 3)) == (3, 1)


@contextmanager
def fake_operations() -> Iterator[None]:
    """The graph works on Fake tensors inside."""
    before = {name: getattr(operations, name) for name in TABLE if hasattr(operations, name)}
    operations.register(**TABLE)
    try:
        yield
    finally:
        for name in TABLE:
            if name in before:
                setattr(operations, name, before[name])
            else:
                delattr(operations, name)
