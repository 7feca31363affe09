"""Max pooling over windows at pseudo-random places: fractional_max_pool2d and 3d.

Source: Graham, Fractional Max-Pooling, 2014; the places are PyTorch's for the same samples.
"""

from __future__ import annotations

from typing import Any

from tritorch import dtypes
from tritorch.ops.creation import arange
from tritorch.ops.declare import takes
from tritorch.ops.joining import cat
from tritorch.ops.pooling_arguments import numbers
from tritorch.ops.random import rand
from tritorch.ops.selection import gather
from tritorch.ops.views import flatten, reshape, unsqueeze
from tritorch.tensor import Tensor


def _starts(samples: Tensor, size: int, out: int, kernel: int) -> Tensor:
    """(N, C) samples -> (N, C, out) first elements of the windows along one dimension."""
    last = samples.new_full((*samples.shape, 1), size - kernel, dtype=dtypes.int64)
    if out == 1:
        return last
    step = (size - kernel) / (out - 1)
    places = unsqueeze(samples, -1) + arange(out - 1, dtype=samples.dtype, device=samples.device)
    first = (unsqueeze(samples, -1) * step).to(dtypes.int64)
    return cat([(places * step).to(dtypes.int64) - first, last], -1)


def _sizes(name: str, input: Tensor, count: int, output_size: Any, ratio: Any) -> tuple[int, ...]:
    if output_size is not None:
        return numbers(name, "output_size", output_size, count)
    if ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    ratios = (float(ratio),) * count if isinstance(ratio, float) else tuple(ratio)
    if len(ratios) > count:
        raise ValueError(f"{name} requires output_ratio to be one number or {count} of them.")
    sizes = input.shape[input.ndim - count :]
    return tuple([int(size * r) for size, r in zip(sizes, ratios, strict=True)])


def _fractional(
    count: int, input: Tensor, kernel_size: Any, output_size: Any, output_ratio: Any,
    return_indices: bool, samples: Tensor | None,
) -> Any:  # fmt: skip
    name = f"fractional_max_pool{count}d"
    out = _sizes(name, input, count, output_size, output_ratio)
    kernel = numbers(name, "kernel_size", kernel_size, count)
    if input.ndim not in (count + 1, count + 2) or 0 in input.shape[-count - 1 :]:
        raise RuntimeError(
            f"{name}(): Expected {count + 1}D or {count + 2}D tensor, but got: {list(input.shape)}"
        )
    if not input.is_floating_point():
        raise RuntimeError(f'"{name}" not implemented for {input.dtype}. Convert with .float().')
    x = unsqueeze(input, 0) if input.ndim == count + 1 else input
    sizes = x.shape[2:]
    for word, size, extent, o in zip(("time", "height", "width")[-count:], sizes, kernel, out):
        if o + extent - 1 > size or o < 1:
            raise RuntimeError(
                f"{name}(): pool {word} {extent} too large relative to input {word} {size}"
            )
    if samples is None:
        samples = rand(*x.shape[:2], count, dtype=x.dtype, device=x.device)
    elif tuple(samples.shape) != (*x.shape[:2], count):
        raise RuntimeError(
            f"{name}: Expect _random_samples to have the shape {[*x.shape[:2], count]}, got "
            f"{list(samples.shape)}."
        )
    # Samples of two dimensions come as (width, height), of three in order.
    order = (1, 0) if count == 2 else (0, 1, 2)
    # flat (N, C, *out, *kernel): where each tap of each window stands in its plane
    flat: Any = 0
    for axis in range(count):
        starts = _starts(samples[..., order[axis]], sizes[axis], out[axis], kernel[axis])
        taps = unsqueeze(starts, -1) + arange(kernel[axis], device=x.device)
        shape = [1] * (2 * count)
        shape[axis], shape[count + axis] = out[axis], kernel[axis]
        flat = flat * sizes[axis] + reshape(taps, *x.shape[:2], *shape)
    flat = reshape(flat, *x.shape[:2], -1)
    windows = reshape(gather(flatten(x, 2), 2, flat), *x.shape[:2], *out, -1)
    values, chosen = windows.max(-1)
    indices = gather(reshape(flat, *windows.shape), -1, unsqueeze(chosen, -1)).squeeze(-1)
    if input.ndim == count + 1:
        values, indices = values[0], indices[0]
    return (values, indices) if return_indices else values


@takes("floating")
def fractional_max_pool2d(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
    return_indices: bool = False, _random_samples: Tensor | None = None,
) -> Any:  # fmt: skip
    """The maximum over windows whose places are drawn so that the output has the wanted size.

    Args:
        kernel_size: of the windows. output_size: of the result, or
        output_ratio: of its size to the input's.
        return_indices: also where each maximum is in its plane.
        _random_samples: (N, C, 2) numbers of [0, 1) instead of drawn ones.
    Shape: (N, C, H, W) or (C, H, W).
    """
    return _fractional(
        2, input, kernel_size, output_size, output_ratio, return_indices, _random_samples
    )


@takes("floating")
def fractional_max_pool3d(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
    return_indices: bool = False, _random_samples: Tensor | None = None,
) -> Any:  # fmt: skip
    """`fractional_max_pool2d` for (N, C, D, H, W) or (C, D, H, W)."""
    return _fractional(
        3, input, kernel_size, output_size, output_ratio, return_indices, _random_samples
    )
