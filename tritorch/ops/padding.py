"""Padding: a frame of one value, or of the tensor's own elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tritorch.devices import device as Device
from tritorch.kernels.strides import dense_in_format
from tritorch.ops.declare import operation, takes
from tritorch.ops.joining import cat, flip
from tritorch.ops.memory import contiguous, dense, formatted
from tritorch.ops.selection import index_select
from tritorch.ops.view_nodes import PlaceBackward0, node_class, place
from tritorch.ops.views import expand, slice_dim
from tritorch.tensor import Tensor, from_array

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


def _reflected(size: int, before: int, after: int) -> Any:
    if before >= size or after >= size:
        raise RuntimeError(
            "Padding size should be less than the corresponding input dimension, but got: padding "
            f"({before}, {after}) at a dimension of size {size}."
        )
    positions = np.abs(np.arange(-before, size + after))
    return np.where(positions >= size, 2 * (size - 1) - positions, positions)


def _replicated(size: int, before: int, after: int) -> Any:
    return np.clip(np.arange(-before, size + after), 0, size - 1)


def _circular(size: int, before: int, after: int) -> Any:
    if before > size or after > size:
        raise RuntimeError(
            "Padding value causes wrapping around more than once: padding "
            f"({before}, {after}) at a dimension of size {size}."
        )
    return np.arange(-before, size + after) % size


#: which element stands where, by mode
_POSITIONS: dict[str, Callable[[int, int, int], Any]] = {
    "reflect": _reflected,
    "replicate": _replicated,
    "circular": _circular,
}


def _beside(input: Tensor, mode: str, dim: int, before: int, after: int) -> list[Tensor]:
    """What stands before and after the elements: slices, which are copied without an index."""
    size = input._layout.shape[dim]
    if mode == "circular":
        return [slice_dim(input, dim, size - before, before), slice_dim(input, dim, 0, after)]
    if mode == "reflect":
        parts = slice_dim(input, dim, 1, before), slice_dim(input, dim, size - 1 - after, after)
        return [flip(part, dim) if n > 1 else part for part, n in zip(parts, (before, after))]
    shape = list(input._layout.shape)
    ends = []
    for end, count in ((0, before), (size - 1, after)):
        shape[dim] = count
        ends.append(expand(slice_dim(input, dim, end, 1), *shape))
    return ends


def _framed(input: Tensor, mode: str, dim: int, before: int, after: int) -> Tensor:
    """The tensor with its own elements before and after those of one dimension."""
    size = input._layout.shape[dim]
    found = _POSITIONS[mode](size, before, after)
    if before < 0 or after < 0 or not size:
        return index_select(input, dim, _positions(found, input._layout.device))
    front, back = _beside(input, mode, dim, before, after)
    return cat([*[front] * (before > 0), input, *[back] * (after > 0)], dim)


def _positions(found: Any, device: Device) -> Tensor:
    return from_array(np.ascontiguousarray(found, dtype=np.int64), device)


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
    if mode not in _POSITIONS:
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
    padded = input
    for dim in reversed(range(len(pairs))):
        if any(pairs[dim]):
            padded = _framed(padded, mode, dim, *pairs[dim])
    return contiguous(padded) if mode == "circular" else formatted(padded, input)
