"""Pooling layers."""

from __future__ import annotations

from typing import Any

from tritorch.nn import functional
from tritorch.nn.modules.module import Module
from tritorch.tensor import Tensor


def _each(value: Any, count: int) -> tuple[Any, ...]:
    return (value,) * count if not isinstance(value, tuple | list) else tuple(value)


class _MaxPool(Module):
    """The maximum over windows.

    Args:
        kernel_size, stride, padding, dilation: of all dimensions or one each; the stride is the
            kernel size unless given.
        return_indices: give (values, indices), for `MaxUnpool`.
        ceil_mode: windows may reach beyond the end.
    """

    count = 0

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        return_indices: bool = False, ceil_mode: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Any:
        return getattr(functional, f"max_pool{self.count}d")(
            input, self.kernel_size, self.stride, self.padding, self.dilation,
            ceil_mode=self.ceil_mode, return_indices=self.return_indices,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    __doc__ = _MaxPool.__doc__
    count = 1


class MaxPool2d(_MaxPool):
    __doc__ = _MaxPool.__doc__
    count = 2


class MaxPool3d(_MaxPool):
    __doc__ = _MaxPool.__doc__
    count = 3


class _MaxUnpool(Module):
    """Values back at the indices that `MaxPool` with `return_indices=True` gave, zeros between."""

    count = 0

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        self.kernel_size = _each(kernel_size, self.count)
        self.stride = _each(stride if stride is not None else kernel_size, self.count)
        self.padding = _each(padding, self.count)

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        result: Tensor = getattr(functional, f"max_unpool{self.count}d")(
            input, indices, self.kernel_size, self.stride, self.padding, output_size
        )
        return result

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    __doc__ = _MaxUnpool.__doc__
    count = 1


class MaxUnpool2d(_MaxUnpool):
    __doc__ = _MaxUnpool.__doc__
    count = 2


class MaxUnpool3d(_MaxUnpool):
    __doc__ = _MaxUnpool.__doc__
    count = 3


class AvgPool1d(Module):
    """The average over windows of the last dimension.

    Args:
        kernel_size, stride, padding: elements; the stride is the kernel size unless given.
        ceil_mode: windows may reach beyond the end.
        count_include_pad: zeros of the padding count.
    """

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = _each(kernel_size, 1)
        self.stride = _each(stride if stride is not None else kernel_size, 1)
        self.padding = _each(padding, 1)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        return functional.avg_pool1d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _AvgPool(Module):
    """The average over windows.

    Args:
        kernel_size, stride, padding: of all dimensions or one each; the stride is the kernel size
            unless given.
        ceil_mode: windows may reach beyond the end.
        count_include_pad: zeros of the padding count.
        divisor_override: divides the sums instead of the count.
    """

    count = 0

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        result: Tensor = getattr(functional, f"avg_pool{self.count}d")(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad, self.divisor_override,
        )  # fmt: skip
        return result

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(_AvgPool):
    __doc__ = _AvgPool.__doc__
    count = 2


class AvgPool3d(_AvgPool):
    __doc__ = _AvgPool.__doc__
    count = 3


class _AdaptivePool(Module):
    """Pooling to a given size, whatever the input's.

    Args:
        output_size: of all dimensions or one each; None keeps a size.
    """

    function = ""

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Any:
        return getattr(functional, self.function)(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptivePool):
    __doc__ = _AdaptivePool.__doc__
    function = "adaptive_avg_pool1d"


class AdaptiveAvgPool2d(_AdaptivePool):
    __doc__ = _AdaptivePool.__doc__
    function = "adaptive_avg_pool2d"


class AdaptiveAvgPool3d(_AdaptivePool):
    __doc__ = _AdaptivePool.__doc__
    function = "adaptive_avg_pool3d"


class _AdaptiveMaxPool(_AdaptivePool):
    """The maximum over windows, as many as are wanted.

    Args:
        output_size: of all dimensions or one each; None keeps a size.
        return_indices: give (values, indices).
    """

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Any:
        return getattr(functional, self.function)(input, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    __doc__ = _AdaptiveMaxPool.__doc__
    function = "adaptive_max_pool1d"


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    __doc__ = _AdaptiveMaxPool.__doc__
    function = "adaptive_max_pool2d"


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    __doc__ = _AdaptiveMaxPool.__doc__
    function = "adaptive_max_pool3d"


class _LPPool(Module):
    """(sum of x ** p) ** (1 / p) over windows.

    Args:
        norm_type: p.
        kernel_size, stride: of all dimensions or one each; the stride is the kernel size unless
            given.
        ceil_mode: windows may reach beyond the end.
    """

    count = 0

    def __init__(
        self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        result: Tensor = getattr(functional, f"lp_pool{self.count}d")(
            input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode
        )
        return result

    def extra_repr(self) -> str:
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPool):
    __doc__ = _LPPool.__doc__
    count = 1


class LPPool2d(_LPPool):
    __doc__ = _LPPool.__doc__
    count = 2


class LPPool3d(_LPPool):
    __doc__ = _LPPool.__doc__
    count = 3
