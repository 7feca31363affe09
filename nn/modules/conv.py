"""Convolutional layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import tritorch
from tritorch.nn import functional, init
from tritorch.nn.modules.module import Module
from tritorch.nn.parameter import Parameter
from tritorch.tensor import Tensor

Size = int | Sequence[int]
_MODES: Final = ("zeros", "reflect", "replicate", "circular")


def _tuple(value: Size, rank: int) -> tuple[int, ...]:
    """A number per dimension."""
    return tuple(value) if not isinstance(value, int) else (value,) * rank


class _ConvNd(Module):
    """What all convolutional layers have; `rank` is their number of spatial dimensions."""

    rank: int
    transposed = False
    bias: Parameter | None
    stride: tuple[int, ...]
    padding: tuple[int, ...] | str

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size,
        padding: Size | str,
        output_padding: Size,
        dilation: Size,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        rank = self.rank
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = _tuple(kernel_size, rank)
        self.stride = _tuple(stride, rank)
        self.padding = padding if isinstance(padding, str) else _tuple(padding, rank)
        self.dilation = _tuple(dilation, rank)
        self.output_padding = _tuple(output_padding, rank)
        self.groups = groups
        self.padding_mode = padding_mode
        self._check()
        self._reversed_padding_repeated_twice = self._amounts()  # what PyTorch saves, too
        first, second = in_channels, out_channels
        if not self.transposed:
            first, second = second, first
        self.weight = Parameter(
            tritorch.empty(first, second // groups, *self.kernel_size, device=device, dtype=dtype)
        )
        if bias:
            self.bias = Parameter(tritorch.empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _check(self) -> None:
        if self.groups <= 0:
            raise ValueError(f"groups must be a positive integer, got {self.groups}")
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                raise ValueError(
                    f"{name} must be divisible by groups: {getattr(self, name)} is not by "
                    f"{self.groups}"
                )
        if isinstance(self.padding, str):
            if self.padding not in ("same", "valid"):
                raise ValueError(
                    f"Invalid padding string {self.padding!r}, should be one of 'valid', 'same'"
                )
            if self.padding == "same" and any(s != 1 for s in self.stride):
                raise ValueError("padding='same' is not supported for strided convolutions")
        if self.padding_mode not in _MODES:
            raise ValueError(
                f"padding_mode must be one of {list(_MODES)}, but got "
                f"padding_mode='{self.padding_mode}'"
            )

    def _amounts(self) -> list[int]:
        """What `functional.pad` takes for this layer's padding, the last dimension first."""
        if self.padding == "valid":
            return [0] * (2 * self.rank)
        amounts: list[int] = []
        for d in reversed(range(self.rank)):
            if isinstance(self.padding, str):
                total = self.dilation[d] * (self.kernel_size[d] - 1)
                amounts += [total // 2, total - total // 2]
            else:
                amounts += [self.padding[d]] * 2
        return amounts

    def reset_parameters(self) -> None:
        """Uniform on ±1 / sqrt(fan_in), weight and bias alike."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in = self.weight.shape[1] * math.prod(self.kernel_size)
            if fan_in:
                bound = 1 / math.sqrt(fan_in)
                init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        )
        if self.padding != (0,) * self.rank:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * self.rank:
            text += f", dilation={self.dilation}"
        if self.output_padding != (0,) * self.rank:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class _Direct(_ConvNd):
    """Conv1d to Conv3d."""

    function: Callable[..., Tensor]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, 0, dilation, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        function = type(self).function
        if self.padding_mode == "zeros":
            return function(
                input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
            )
        framed = functional.pad(input, self._reversed_padding_repeated_twice, self.padding_mode)
        return function(framed, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class Conv1d(_Direct):
    """A convolution over one dimension; arguments as `Conv2d`."""

    rank = 1
    function = staticmethod(functional.conv1d)


class Conv2d(_Direct):
    """A convolution over two dimensions.

    Args:
        in_channels, out_channels: channels of input and result.
        kernel_size, stride, dilation: a number, or one per dimension.
        padding: of the input on each side; "same" keeps its size, "valid" is none.
        groups: channels are split into so many parts that do not meet.
        bias: whether a number per channel is added.
        padding_mode: `zeros`, `reflect`, `replicate` or `circular`.
    Shape:
        (batch, in_channels, height, width) or without batch; `weight` is (out_channels, in_channels
        / groups, *kernel_size).
    Source: the initialisation is PyTorch's, uniform on ±1 / sqrt(inputs of a result).
    """

    rank = 2
    function = staticmethod(functional.conv2d)


class Conv3d(_Direct):
    """A convolution over three dimensions; arguments as `Conv2d`."""

    rank = 3
    function = staticmethod(functional.conv3d)


class _ConvTransposeNd(_ConvNd):
    """ConvTranspose1d to ConvTranspose3d."""

    transposed = True
    function: Callable[..., Tensor]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(
                f'Only "zeros" padding mode is supported for {type(self).__name__}, got '
                f"{padding_mode!r}"
            )
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, output_padding, dilation,
            groups, bias, padding_mode, device, dtype,
        )  # fmt: skip

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        extra = self.output_padding
        if output_size is not None:
            extra = self._extra(input, list(output_size))
        function = type(self).function
        return function(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups,
            self.dilation,
        )  # fmt: skip

    def _extra(self, input: Tensor, wanted: list[int]) -> tuple[int, ...]:
        """The output padding that gives a size."""
        rank = self.rank
        sizes = wanted[-rank:] if len(wanted) == input.dim() else wanted
        if len(sizes) != rank:
            raise ValueError(
                f"{type(self).__name__}: for {input.dim()}D input, output_size must have {rank} or "
                f"{input.dim()} elements (got {len(wanted)})"
            )
        assert not isinstance(self.padding, str)
        least = [
            (i - 1) * s - 2 * p + d * (k - 1) + 1
            for i, s, p, d, k in zip(
                input.shape[-rank:], self.stride, self.padding, self.dilation, self.kernel_size
            )
        ]
        most = [n + s - 1 for n, s in zip(least, self.stride)]
        if any(not low <= n <= high for n, low, high in zip(sizes, least, most)):
            raise ValueError(
                f"requested an output size of {sizes}, but valid sizes range from {least} to "
                f"{most} (for an input of {tuple(input.shape[2:])})"
            )
        return tuple(n - low for n, low in zip(sizes, least))


class ConvTranspose1d(_ConvTransposeNd):
    """The transpose of a convolution over one dimension; arguments as `ConvTranspose2d`."""

    rank = 1
    function = staticmethod(functional.conv_transpose1d)


class ConvTranspose2d(_ConvTransposeNd):
    """The transpose of a convolution over two dimensions: the gradient of its input as a layer.

    Args:
        output_padding: further rows and columns of the result; `forward(input, output_size)`
            chooses it.
        others: as of `Conv2d`.
    Shape:
        (batch, in_channels, height, width) or without batch; `weight` is (in_channels, out_channels
        / groups, *kernel_size).
    """

    rank = 2
    function = staticmethod(functional.conv_transpose2d)


class ConvTranspose3d(_ConvTransposeNd):
    """The transpose of a convolution over three dimensions; arguments as `ConvTranspose2d`."""

    rank = 3
    function = staticmethod(functional.conv_transpose3d)
