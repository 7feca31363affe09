"""The derivative of a function at a place, as a linear map: `Pullback`, and its transpose."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from tritorch.autograd.differentiate import GradientEdge
from tritorch.autograd.differentiate import grad as autograd_grad
from tritorch.autograd.edges import attach, edge
from tritorch.autograd.grad_mode import inference_mode, is_grad_enabled
from tritorch.autograd.node import NO_EDGE, AccumulateGrad, Node
from tritorch.func.batched import BatchedTensor, state
from tritorch.func.interception import gradients
from tritorch.func.levels import Levels, hidden, innermost_value, shown
from tritorch.func.trees import flatten, mapped, unflatten
from tritorch.ops import creation
from tritorch.tensor import Tensor, check_requires_grad

Function = Callable[..., Any]


class FuncInput(Node):
    """Where an input of a differentiated function enters the graph."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient itself: it goes on to what the input was made of."""
        return (grads[0],)


def _input(x: Tensor, linked: bool) -> tuple[Tensor, FuncInput]:
    """The same elements at a fresh place in the graph."""
    check_requires_grad(x)
    tracked = x.detach()
    node = FuncInput((edge(x) if linked else NO_EDGE,), (x._layout,))
    attach(tracked, node)
    return tracked, node


class _Enclosing(threading.local):
    #: the inputs of the derivatives whose functions are running in this thread
    places: frozenset[Node] = frozenset()


_enclosing = _Enclosing()


def _leads_out(tensors: Sequence[Tensor]) -> bool:
    """Whether their history has a leaf, or the input of a derivative further out."""
    known = set()
    stack: list[Any] = [edge(innermost_value(x))[0] for x in tensors if x._requires_grad]
    while stack:
        node = stack.pop()
        if node is None or node in known:
            continue
        known.add(node)
        if isinstance(node, AccumulateGrad) or node in _enclosing.places:
            return True
        stack += [following for following, _ in node.next_functions]
    return False


def _backward(
    outputs: list[Tensor], inputs: list[GradientEdge], vectors: list[Tensor], **options: Any
) -> Sequence[Any]:
    """`autograd.grad`, also of vectors that are batched where the graph is not."""
    if not any(isinstance(vector, BatchedTensor) for vector in vectors):
        return autograd_grad(outputs, inputs, vectors, **options)
    with gradients:
        return autograd_grad(outputs, inputs, vectors, **options)


class Pullback:
    """The derivative of some outputs by some inputs, as a linear map from right to left.

    Args:
        func: the function of the inputs; called once, here.
        inputs: tensors. has_aux: the function returns (outputs, further results).
        check: called on the outputs before anything else is done with them.
    """

    def __init__(
        self, func: Function, inputs: Sequence[Tensor], has_aux: bool,
        check: Callable[[Any], None] | None = None, name: str = "vjp",
    ) -> None:  # fmt: skip
        self.levels: Levels = state.levels
        self.recording = is_grad_enabled()
        tracked = [_input(shown(x, self.levels), self.recording) for x in inputs]
        self.inputs = [x for x, _ in tracked]
        self.places = [node for _, node in tracked]
        with inference_mode(False):  # its derivatives are wanted whatever the mode outside
            around = _enclosing.places
            _enclosing.places = around.union(self.places)
            try:
                result = func(*(hidden(x, self.levels) for x in self.inputs))
            finally:
                _enclosing.places = around
            aux = None
            if has_aux:
                if not (isinstance(result, tuple) and len(result) == 2):
                    raise RuntimeError(
                        f"{name}(f)(*args): output of function f should be a tuple: (output, aux) "
                        f"if has_aux is True, got {type(result).__name__}"
                    )
                result, aux = result
            if check is not None:
                check(result)
            leaves, self.structure = flatten(result)
            for leaf in leaves:
                if not isinstance(leaf, Tensor):
                    raise RuntimeError(
                        f"{name}(f, *primals): Expected f(*primals) to return only tensors, got "
                        f"unsupported type {type(leaf)}"
                    )
            self.outputs = [shown(leaf, self.levels) for leaf in leaves]
        extra = [leaf for leaf in flatten(aux)[0] if isinstance(leaf, Tensor)]
        self.leads_out = self.recording and _leads_out([*self.outputs, *extra])
        self.aux = mapped(self.released, aux) if has_aux else None
        self.result = unflatten([self.released(leaf) for leaf in leaves], self.structure)

    def released(self, value: Any) -> Any:
        """A result as others may see it: with history only where that leads out of here."""
        if self.leads_out or not isinstance(value, Tensor) or not value._requires_grad:
            return value
        return value.detach()

    def __call__(
        self, cotangents: Sequence[Tensor], *, retain: bool = True, create: bool | None = None
    ) -> list[Tensor]:
        """The gradients of the inputs, with the samples of all levels shown."""
        if create is None:
            create = is_grad_enabled() and (
                self.leads_out or any(c._requires_grad for c in cotangents)
            )
        pairs = [(o, c) for o, c in zip(self.outputs, cotangents) if o._requires_grad]
        found: Sequence[Any] = [None] * len(self.inputs)
        if pairs:
            found = _backward(
                [output for output, _ in pairs],
                [GradientEdge(node, 0) for node in self.places],
                [cotangent for _, cotangent in pairs],
                retain_graph=retain,
                create_graph=create,
                allow_unused=True,
            )
        return [
            zeros_of(x) if gradient is None else gradient for x, gradient in zip(self.inputs, found)
        ]


def zeros_of(x: Tensor) -> Tensor:
    """Zeros of the shape, dtype and device of a tensor."""
    layout = x._layout
    return creation.zeros(layout.shape, dtype=layout.dtype, device=layout.device)


class Pushforward:
    """v ↦ J v: the pullback's own pullback, taken at any vectors since the pullback is linear."""

    def __init__(self, pull: Pullback) -> None:
        self.pull = pull
        with inference_mode(False):
            pairs = [_input(zeros_of(output), False) for output in pull.outputs]
            self.gradients = pull([x for x, _ in pairs], create=True)
        self.vectors = [x for x, _ in pairs]
        self.places = [node for _, node in pairs]

    def __call__(self, tangents: Sequence[Any]) -> Any:
        pull = self.pull
        if len(tangents) != len(pull.inputs):
            raise RuntimeError(
                f"jvp: Expected {len(pull.inputs)} tangents, one for each primal, got "
                f"{len(tangents)}."
            )
        given = []
        for tangent, x in zip(tangents, pull.inputs):
            if not isinstance(tangent, Tensor):
                raise RuntimeError(f"jvp: Expected tensors as tangents, got {type(tangent)}.")
            vector = shown(tangent, pull.levels)
            if vector._layout.shape != x._layout.shape:
                raise RuntimeError(
                    "jvp: Expected tangents of the primals' shapes, got "
                    f"{list(tangent._layout.shape)} for "
                    f"{list(x._layout.shape[len(pull.levels) :])}."
                )
            given.append(vector)
        create = is_grad_enabled() and (pull.leads_out or any(v._requires_grad for v in given))
        used = [(g, v) for g, v in zip(self.gradients, given) if g._requires_grad]
        found: Sequence[Any] = [None] * len(self.vectors)
        if used:
            found = _backward(
                [g for g, _ in used],
                [GradientEdge(node, 0) for node in self.places],
                [v for _, v in used],
                retain_graph=True,
                create_graph=create,
                allow_unused=True,
            )
        leaves = [
            hidden(zeros_of(u) if v is None else v, pull.levels)
            for u, v in zip(self.vectors, found)
        ]
        return unflatten(leaves, pull.structure)
