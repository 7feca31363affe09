"""Forward-mode derivatives by dual numbers, as `torch.autograd.forward_ad`.

A dual tensor is a place in the graph that knows its tangent. What is computed from it is recorded
as usual, and `unpack_dual` asks for J v, the transpose of the map u ↦ Jᵀ u: reverse mode
twice. So a tangent costs about two backward passes, not one forward pass; everything that is
differentiable twice has one, and it can be differentiated further. Stands above Tensor: uses its
public interface.

Example:
    >>> import tritorch as torch
    >>> import tritorch.autograd.forward_ad as fwAD
    >>> with fwAD.dual_level():
    ...     x = fwAD.make_dual(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.0]))
    ...     print(fwAD.unpack_dual(x * x).tangent.detach())
    tensor([2., 0.])
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from tritorch.autograd.differentiate import grad
from tritorch.autograd.grad_mode import enable_grad
from tritorch.autograd.protocol import TensorLike


class UnpackedDualTensor(NamedTuple):
    """A tensor and its tangent; None where it depends on no dual tensor."""

    primal: Any
    tangent: Any


class _Level(threading.local):
    """The dual tensors of the level that a thread has entered."""

    pairs: list[tuple[TensorLike, TensorLike]] | None = None


_level = _Level()


def enter_dual_level() -> int:
    """Begin a level; see `dual_level`.

    Raises:
        RuntimeError: there is one already.
    """
    if _level.pairs is not None:
        raise RuntimeError(
            "Nested forward mode AD is not supported at the moment. Use tritorch.func.jvp, which "
            "nests."
        )
    _level.pairs = []
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """End the level: its dual tensors are ordinary tensors again.

    Raises:
        RuntimeError: there is none.
    """
    if _level.pairs is None:
        raise RuntimeError("Trying to exit a forward AD level but no level was entered.")
    _level.pairs = None


@contextmanager
def dual_level() -> Iterator[int]:
    """A block in which tensors can carry tangents."""
    level = enter_dual_level()
    try:
        yield level
    finally:
        exit_dual_level()


def make_dual(tensor: Any, tangent: Any, *, level: int | None = None) -> Any:
    """The tensor with a tangent; a view, so that a gradient still reaches the tensor.

    Raises:
        RuntimeError: no level was entered, or the tangent has another shape.
        ValueError: one of both is not of floating point.
    """
    if _level.pairs is None:
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to "
            "enter_dual_level() first."
        )
    for name, value in (("primal", tensor), ("tangent", tangent)):
        if not value.is_floating_point():
            raise ValueError(f"Expected {name} to be floating point, but got: {value.dtype}")
    if tuple(tensor.shape) != tuple(tangent.shape):
        raise RuntimeError(
            f"make_dual: the tensor has shape {tuple(tensor.shape)}, its tangent "
            f"{tuple(tangent.shape)}. They must be equal."
        )
    with enable_grad():
        dual = tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()
    _level.pairs.append((dual, tangent))
    return dual


def unpack_dual(tensor: Any, *, level: int | None = None) -> UnpackedDualTensor:
    """The tensor, and the derivative of what it was computed from along the tangents.

    Outside any level the tangent is None.
    """
    pairs = _level.pairs
    if not pairs or not tensor.requires_grad:
        return UnpackedDualTensor(tensor, None)
    duals = [dual for dual, _ in pairs]
    with enable_grad():
        start = tensor.new_zeros(tensor.shape).requires_grad_()
        found = grad(
            [tensor], duals, [start], create_graph=True, retain_graph=True, allow_unused=True
        )
        used = [(g, v) for g, (_, v) in zip(found, pairs) if g is not None and g.requires_grad]
        if not used:
            depends = any(g is not None for g in found)
            return UnpackedDualTensor(tensor, tensor.new_zeros(tensor.shape) if depends else None)
        (tangent,) = grad(
            [g for g, _ in used], [start], [v for _, v in used],
            create_graph=True, retain_graph=True, allow_unused=True,
        )  # fmt: skip
    if tangent is None:
        tangent = tensor.new_zeros(tensor.shape)
    return UnpackedDualTensor(tensor, tangent)
