"""Max unpooling: values go back to the places that max pooling took them from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tritorch import dtypes
from tritorch.layout import numel
from tritorch.ops.creation import zeros
from tritorch.ops.declare import operation, takes
from tritorch.ops.extrema import aminmax
from tritorch.ops.memory import formatted
from tritorch.ops.pooling_arguments import numbers
from tritorch.ops.selection import scatter
from tritorch.ops.views import reshape
from tritorch.tensor import Tensor


def _sizes(
    name: str, sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int],
    padding: Sequence[int], wanted: Sequence[int] | None,
) -> tuple[int, ...]:  # fmt: skip
    """Of the result: what pooling to these sizes usually starts from, or what is wanted."""
    usual = tuple([(n - 1) * s + k - 2 * p for n, k, s, p in zip(sizes, kernel, stride, padding)])
    if wanted is None:
        return usual
    given = tuple(wanted)
    if len(given) == len(kernel) + 2:
        given = given[2:]
    if len(given) != len(kernel):
        raise ValueError(
            f"output_size should be a sequence containing {len(kernel)} or {len(kernel) + 2} "
            f"elements, but it has a length of '{len(given)}'"
        )
    for dim, (size, default, step) in enumerate(zip(given, usual, stride)):
        if not default - step < size < default + step:
            raise ValueError(
                f'invalid output_size "{given}" (dim {dim} must be between {default - step} and '
                f"{default + step})"
            )
    return given


def _unpool(
    count: int, input: Tensor, indices: Tensor, kernel_size: Any, stride: Any, padding: Any,
    output_size: Any,
) -> Tensor:  # fmt: skip
    name = f"max_unpool{count}d"
    shape = input._layout.shape
    lead = shape[: len(shape) - count]
    if len(lead) not in (1, 2) or 0 in shape[len(lead) - 1 :]:
        raise RuntimeError(
            f"{name}: Expected {count + 1}D or {count + 2}D tensor with non-zero sizes, but got "
            f"{list(shape)}"
        )
    if indices._layout.dtype is not dtypes.int64:
        raise RuntimeError(
            f"elements in indices should be type int64 but got: {indices._layout.dtype}"
        )
    if indices._layout.shape != shape:
        raise RuntimeError(
            "Expected shape of indices to be same as that of the input tensor "
            f"({list(shape)}) but got indices tensor with shape: {list(indices._layout.shape)}"
        )
    kernel = numbers(name, "kernel_size", kernel_size, count)
    steps = kernel if stride is None else numbers(name, "stride", stride, count)
    pads = numbers(name, "padding", padding, count)
    sizes = _sizes(name, shape[len(lead) :], kernel, steps, pads, output_size)
    places = numel(sizes)
    if input._layout.numel:
        low, high = (int(bound) for bound in aminmax(indices))
        if low < 0 or high >= places:
            volumes = "x".join(map(str, sizes))
            wrong = low if low < 0 else high
            raise RuntimeError(
                f"Found an invalid max index: {wrong} (output volumes are of size {volumes}"
            )
    empty = zeros(*lead, places, dtype=input._layout.dtype, device=input._layout.device)
    flat = scatter(empty, -1, reshape(indices, *lead, -1), reshape(input, *lead, -1))
    result: Tensor = reshape(flat, *lead, *sizes)
    return result


def _numpy_unpool(
    x: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Any:  # fmt: skip
    count = x.ndim - 2
    kernel = (kernel_size,) * count if isinstance(kernel_size, int) else kernel_size
    steps = kernel if stride is None else (stride,) * count
    sizes = _sizes("", x.shape[2:], kernel, steps, (padding,) * count, output_size)
    result = np.zeros((*x.shape[:2], numel(sizes)))
    np.put_along_axis(
        result, indices.reshape(*x.shape[:2], -1), x.reshape(*x.shape[:2], -1), axis=-1
    )
    return result.reshape(*x.shape[:2], *sizes)


def _unpool_cases(count: int) -> list[Any]:
    def case(options: dict[str, Any], places: int) -> Any:
        def make_case(make: Any) -> Any:
            shape = (2, 2, *(3, 2, 2)[:count])
            size = numel(shape[2:])
            order = np.stack([(np.arange(size) * 5 + i) % places for i in range(4)])
            return (make(*shape), order.reshape(shape)), options

        return make_case

    usual = numel(2 * n for n in (3, 2, 2)[:count])
    larger = (7, 5, 5)[:count]
    return [
        case({"kernel_size": 2}, usual),
        case({"kernel_size": 2, "output_size": larger}, numel(larger)),
        case({"kernel_size": 3, "stride": 2, "padding": 1}, usual // 2**count),
    ]


@operation("pooling", method=False, operands=2, numpy=_numpy_unpool, cases=_unpool_cases(1))
@takes("floating", "float8", "integers")
def max_unpool1d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Tensor:  # fmt: skip
    """Zeros, with the input's values at the indices that `max_pool1d` returned.

    Args:
        output_size: of what was pooled, where several sizes give the same result.
    """
    return _unpool(1, input, indices, kernel_size, stride, padding, output_size)


@operation("pooling", method=False, operands=2, numpy=_numpy_unpool, cases=_unpool_cases(2))
@takes("floating", "float8", "integers")
def max_unpool2d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Tensor:  # fmt: skip
    """See `max_unpool1d`; the counterpart of `max_pool2d`."""
    result = _unpool(2, input, indices, kernel_size, stride, padding, output_size)
    return formatted(result, input)


@operation("pooling", method=False, operands=2, numpy=_numpy_unpool, cases=_unpool_cases(3))
@takes("floating", "float8", "integers")
def max_unpool3d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Tensor:  # fmt: skip
    """See `max_unpool1d`; the counterpart of `max_pool3d`."""
    return _unpool(3, input, indices, kernel_size, stride, padding, output_size)
