"""Layers that put a frame around the last one to three dimensions."""

from __future__ import annotations

from collections.abc import Sequence

from tritorch.nn import functional
from tritorch.nn.modules.module import Module
from tritorch.tensor import Tensor

Size = int | Sequence[int]


class _Frame(Module):
    """A frame of elements.

    Args:
        padding: how wide on all sides, or (before, after) of the last dimension, then of the one
            before it, and so on; elements.
    """

    count = 0
    mode = "constant"
    padding: tuple[int, ...]

    def __init__(self, padding: Size) -> None:
        super().__init__()
        sides = 2 * self.count
        self.padding = (padding,) * sides if isinstance(padding, int) else tuple(padding)
        if len(self.padding) != sides:
            raise ValueError(
                f"{type(self).__name__}: padding must be a number or {sides} of them, got "
                f"{padding!r}."
            )

    def forward(self, input: Tensor) -> Tensor:
        return functional.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPadNd(_Frame):
    """A frame of one value.

    Args:
        padding: how wide on all sides, or (before, after) of the last dimension, then of the one
            before it, and so on; elements.
        value: of the frame.
    """

    value: float

    def __init__(self, padding: Size, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return functional.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPadNd):
    __doc__ = _ConstantPadNd.__doc__
    count = 1


class ConstantPad2d(_ConstantPadNd):
    __doc__ = _ConstantPadNd.__doc__
    count = 2


class ConstantPad3d(_ConstantPadNd):
    __doc__ = _ConstantPadNd.__doc__
    count = 3


class ZeroPad1d(ConstantPad1d):
    """A frame of zeros around one dimension; `padding` as of `ConstantPad1d`."""

    def __init__(self, padding: Size) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad2d(ConstantPad2d):
    """A frame of zeros around two dimensions; `padding` as of `ConstantPad2d`."""

    def __init__(self, padding: Size) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad3d(ConstantPad3d):
    """A frame of zeros around three dimensions; `padding` as of `ConstantPad3d`."""

    def __init__(self, padding: Size) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ReflectionPadNd(_Frame):
    __doc__ = _Frame.__doc__
    mode = "reflect"


class ReflectionPad1d(_ReflectionPadNd):
    """The elements mirrored at the first and last one; `padding` as of `ConstantPad1d`."""

    count = 1


class ReflectionPad2d(_ReflectionPadNd):
    """The elements mirrored at the first and last one; `padding` as of `ConstantPad2d`."""

    count = 2


class ReflectionPad3d(_ReflectionPadNd):
    """The elements mirrored at the first and last one; `padding` as of `ConstantPad3d`."""

    count = 3


class _ReplicationPadNd(_Frame):
    __doc__ = _Frame.__doc__
    mode = "replicate"


class ReplicationPad1d(_ReplicationPadNd):
    """The first and last element again and again; `padding` as of `ConstantPad1d`."""

    count = 1


class ReplicationPad2d(_ReplicationPadNd):
    """The first and last element again and again; `padding` as of `ConstantPad2d`."""

    count = 2


class ReplicationPad3d(_ReplicationPadNd):
    """The first and last element again and again; `padding` as of `ConstantPad3d`."""

    count = 3


class _CircularPadNd(_Frame):
    __doc__ = _Frame.__doc__
    mode = "circular"

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() not in (self.count + 1, self.count + 2):
            wanted = f"{self.count + 1}D or {self.count + 2}D"
            raise ValueError(f"expected {wanted} input (got {input.dim()}D input)")
        return super().forward(input)


class CircularPad1d(_CircularPadNd):
    """The elements from the other end; `padding` as of `ConstantPad1d`."""

    count = 1


class CircularPad2d(_CircularPadNd):
    """The elements from the other end; `padding` as of `ConstantPad2d`."""

    count = 2


class CircularPad3d(_CircularPadNd):
    """The elements from the other end; `padding` as of `ConstantPad3d`."""

    count = 3
