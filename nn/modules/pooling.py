"""Pooling layers."""

from __future__ import annotations

from typing import Any

from tritorch.nn import functional
from tritorch.nn.modules.module import Module
from tritorch.tensor import Tensor


def _each(value: Any, count: int) -> tuple[Any, ...]:
    return (value,) * count if not isinstance(value, tuple | list) else tuple(value)


class _MaxPoolNd(Module):
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


class MaxPool1d(_MaxPoolNd):
    __doc__ = _MaxPoolNd.__doc__
    count = 1


class MaxPool2d(_MaxPoolNd):
    __doc__ = _MaxPoolNd.__doc__
    count = 2


class MaxPool3d(_MaxPoolNd):
    __doc__ = _MaxPoolNd.__doc__
    count = 3


class _MaxUnpoolNd(Module):
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


class MaxUnpool1d(_MaxUnpoolNd):
    __doc__ = _MaxUnpoolNd.__doc__
    count = 1


class MaxUnpool2d(_MaxUnpoolNd):
    __doc__ = _MaxUnpoolNd.__doc__
    count = 2


class MaxUnpool3d(_MaxUnpoolNd):
    __doc__ = _MaxUnpoolNd.__doc__
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


class _AvgPoolNd(Module):
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


class AvgPool2d(_AvgPoolNd):
    __doc__ = _AvgPoolNd.__doc__
    count = 2


class AvgPool3d(_AvgPoolNd):
    __doc__ = _AvgPoolNd.__doc__
    count = 3


class _AdaptivePoolNd(Module):
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


class AdaptiveAvgPool1d(_AdaptivePoolNd):
    __doc__ = _AdaptivePoolNd.__doc__
    function = "adaptive_avg_pool1d"


class AdaptiveAvgPool2d(_AdaptivePoolNd):
    __doc__ = _AdaptivePoolNd.__doc__
    function = "adaptive_avg_pool2d"


class AdaptiveAvgPool3d(_AdaptivePoolNd):
    __doc__ = _AdaptivePoolNd.__doc__
    function = "adaptive_avg_pool3d"


class _AdaptiveMaxPoolNd(_AdaptivePoolNd):
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


class AdaptiveMaxPool1d(_AdaptiveMaxPoolNd):
    __doc__ = _AdaptiveMaxPoolNd.__doc__
    function = "adaptive_max_pool1d"


class AdaptiveMaxPool2d(_AdaptiveMaxPoolNd):
    __doc__ = _AdaptiveMaxPoolNd.__doc__
    function = "adaptive_max_pool2d"


class AdaptiveMaxPool3d(_AdaptiveMaxPoolNd):
    __doc__ = _AdaptiveMaxPoolNd.__doc__
    function = "adaptive_max_pool3d"


class _LPPoolNd(Module):
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


class LPPool1d(_LPPoolNd):
    __doc__ = _LPPoolNd.__doc__
    count = 1


class LPPool2d(_LPPoolNd):
    __doc__ = _LPPoolNd.__doc__
    count = 2


class LPPool3d(_LPPoolNd):
    __doc__ = _LPPoolNd.__doc__
    count = 3


class _FractionalMaxPoolNd(Module):
    """The maximum over windows of random places, whose number is any fraction of the input's size.

    Args:
        kernel_size: of all dimensions or one each.
        output_size, output_ratio: of the result, in elements or as a fraction of the input; one of
            the two, of all dimensions or one each.
        return_indices: give (values, indices).
    Source: Graham, Fractional Max-Pooling, 2015.
    """

    count = 0

    def __init__(
        self, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
        return_indices: bool = False, _random_samples: Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        name = type(self).__name__
        if (output_size is None) == (output_ratio is None):
            raise ValueError(
                f"{name} requires specifying either an output size, or a pooling ratio: "
                f"got output_size={output_size}, output_ratio={output_ratio}."
            )
        self.kernel_size = _each(kernel_size, self.count)
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = None if output_size is None else _each(output_size, self.count)
        self.output_ratio = None if output_ratio is None else _each(output_ratio, self.count)
        if self.output_ratio is not None and not all(0 < r < 1 for r in self.output_ratio):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")

    def forward(self, input: Tensor) -> Any:
        return getattr(functional, f"fractional_max_pool{self.count}d")(
            input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices,
            self._random_samples,
        )  # fmt: skip


class FractionalMaxPool2d(_FractionalMaxPoolNd):
    __doc__ = _FractionalMaxPoolNd.__doc__
    count = 2


class FractionalMaxPool3d(_FractionalMaxPoolNd):
    __doc__ = _FractionalMaxPoolNd.__doc__
    count = 3
