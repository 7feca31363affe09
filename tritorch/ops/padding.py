"""Padding: a frame of one value, or of the tensor's own elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.kernels.strides import dense_in_format
from tritorch.kernels.templates import frame as kernels
from tritorch.ops.declare import operation, takes
from tritorch.ops.dispatch import Plans
from tritorch.ops.memory import dense
from tritorch.ops.view_nodes import PlaceBackward0, node_class, place
from tritorch.ops.views import slice_dim
from tritorch.tensor import Tensor, empty

#: (elements before, elements after) of a dimension; negative ones are cut off
Pair = tuple[int, int]


def _pairs(input: Tensor, pad: Sequence[int]) -> list[Pair]:
    """The amounts for each dimension, first to last; `pad` counts from the last."""
    ndim = input._layout.ndim
    amounts = [int(amount) for amount in pad]
    if len(amounts) % 2:
        raise RuntimeError(f"Padding length must be divisible by 2, got {len(amounts)} numbers.")
    if len(amounts) // 2 > ndim:
        raise RuntimeError(
            f"Padding length should be less than or equal to two times the input dimension but got "
            f"padding length {len(amounts)} and input of dimension {ndim}."
        )
    pairs = list(zip(amounts[::2], amounts[1::2]))
    return [(0, 0)] * (ndim - len(pairs)) + pairs[::-1]


def _constant(input: Tensor, pairs: list[Pair], value: float) -> Tensor:
    part, shape, corner = input, [], []
    for dim, (before, after) in enumerate(pairs):
        size = input._layout.shape[dim]
        if size + before + after < 0:
            raise RuntimeError(
                f"The input size {size}, plus negative padding {before} and {after}, resulted in a "
                f"negative output size, which is invalid. Check dimension {dim} of your input."
            )
        if before < 0 or after < 0:
            length = max(size + min(before, 0) + min(after, 0), 0)
            part = slice_dim(part, dim, min(-min(before, 0), size), length)
        shape.append(size + before + after)
        corner.append(max(before, 0))
    kept = part._layout.shape

    def view(whole: Tensor) -> Tensor:
        for dim, (start, length) in enumerate(zip(corner, kept)):
            whole = slice_dim(whole, dim, start, length)
        return whole

    layout = dense_in_format(tuple(shape), input._layout.dtype, input._layout)
    if not any(amount > 0 for pair in pairs for amount in pair):
        layout = dense(part._layout)
    padded = place(part, layout, view, value, exactly=True)
    if padded._grad_fn is not None:
        padded._grad_fn.__class__ = node_class(PlaceBackward0, "ConstantPadNdBackward0")
    return padded


#: PyTorch's name of a mode's nodes, without their dimensions
_NODES = {"reflect": "ReflectionPad", "replicate": "ReplicationPad", "circular": "CircularPad"}

_frames = Plans(lambda key: kernels.plan(*key))
_gradients = Plans(lambda key: kernels.plan_gradient(*key))


class FrameBackward0(Node):
    """Backward of a frame: what each element collects from where it stands."""

    __slots__ = ("mode", "pairs", "shape")
    mode: str
    pairs: tuple[Pair, ...]
    shape: tuple[int, ...]

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient of the tensor inside."""
        return (_collected(grads[0], self.shape, self.pairs, self.mode),)


class FrameBackwardBackward0(Node):
    """Backward of the gradient, which is linear: the frame."""

    __slots__ = ("mode", "pairs")
    mode: str
    pairs: tuple[Pair, ...]

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient of the frame's gradient."""
        return (_framed(grads[0], self.pairs, self.mode),)


def _framed(input: Tensor, pairs: tuple[Pair, ...], how: str) -> Tensor:
    """The tensor with its own elements around those of the last dimensions."""
    plan = _frames[input._layout, pairs, how]
    result = empty(plan.outputs[0])
    plan.launch(result._address, input._address)
    if input._requires_grad and mode.enabled:
        kind = node_class(FrameBackward0, f"{_NODES[how]}{len(pairs)}dBackward0")
        node = kind((edge(input),), plan.outputs)
        node.mode, node.pairs, node.shape = how, pairs, input._layout.shape
        result._grad_fn, result._requires_grad = node, True
    return result


def _collected(g: Tensor, shape: tuple[int, ...], pairs: tuple[Pair, ...], how: str) -> Tensor:
    """What each element of a tensor of this shape collects from where it stands in a frame."""
    plan = _gradients[g._layout, shape, pairs, how]
    result = empty(plan.outputs[0])
    plan.launch(result._address, g._address)
    if g._requires_grad and mode.enabled:
        node = FrameBackwardBackward0((edge(g),), plan.outputs)
        node.mode, node.pairs = how, pairs
        result._grad_fn, result._requires_grad = node, True
    return result


def _check(size: int, pair: Pair, how: str) -> None:
    """Refuse what has no elements of its own to stand there."""
    if how == "reflect" and max(pair) >= size:
        raise RuntimeError(
            "Padding size should be less than the corresponding input dimension, but got: padding "
            f"{pair} at a dimension of size {size}."
        )
    if how == "circular" and max(pair) > size:
        raise RuntimeError(
            f"Padding value causes wrapping around more than once: padding {pair} at a dimension "
            f"of size {size}."
        )
    if size + min(pair[0], 0) + min(pair[1], 0) < (1 if max(pair) > 0 else 0):
        raise RuntimeError(f"pad: {how} by {pair} leaves nothing of a dimension of size {size}.")


def _numpy_pad(x: Any, pad: Sequence[int], mode: str = "constant", value: float = 0.0) -> Any:
    pairs = [(0, 0)] * (x.ndim - len(pad) // 2) + list(zip(pad[::2], pad[1::2]))[::-1]
    names: dict[str, Any] = {
        "constant": "constant",
        "reflect": "reflect",
        "replicate": "edge",
        "circular": "wrap",
    }
    options: Any = {"constant_values": value} if mode == "constant" else {}
    return np.pad(x, pairs, names[mode], **options)


_CASES: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((5,), {"pad": (1, 2)}),
    ((3, 4), {"pad": (0, 2, 1, 0), "value": 3.0}),
    ((2, 3, 4), {"pad": (2, 1), "mode": "reflect"}),
    ((2, 3, 4, 5), {"pad": (2, 1, 1, 2), "mode": "replicate"}),
    ((2, 3, 4), {"pad": (2, 4), "mode": "circular"}),
]


@operation(
    "index", method=False, numpy=_numpy_pad,
    cases=[lambda make, n=n, o=o: ((make(*n),), o) for n, o in _CASES],
)  # fmt: skip
@takes("all")
def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """A frame around the last dimensions.

    Args:
        pad: (before, after) of the last dimension, then of the one before it, and so on; negative
            amounts cut off.
        mode: `constant` (of `value`), `reflect`, `replicate` or `circular`.
    """
    pairs = _pairs(input, pad)
    if mode == "constant":
        return _constant(input, pairs, 0 if value is None else value)
    if mode not in _NODES:
        raise NotImplementedError(
            f"Unrecognised padding mode {mode}. Use constant, reflect, replicate or circular."
        )
    if value:
        raise ValueError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if len(pad) // 2 not in (input._layout.ndim - 1, input._layout.ndim - 2):
        raise NotImplementedError(
            f"{mode} padding takes the last 1 to 3 dimensions of an input with one or two more; "
            f"got {len(pad)} amounts for a {input._layout.ndim}-dimensional input."
        )
    amounts = tuple(pairs[input._layout.ndim - len(pad) // 2 :])
    for size, pair in zip(input._layout.shape[-len(amounts) :], amounts):
        _check(size, pair, mode)
    return _framed(input, amounts, mode)
