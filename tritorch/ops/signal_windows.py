"""Windows that weight the samples of a signal before its spectrum is taken."""

from __future__ import annotations

import math
from typing import Any

from tritorch import dtypes
from tritorch.ops.creation import arange
from tritorch.ops.placement import resolve_dtype
from tritorch.ops.special import i0
from tritorch.tensor import Tensor


def _positions(name: str, length: int, periodic: bool, dtype: Any, device: Any) -> tuple[Any, int]:
    """0, 1, ... in float64 and the period, which is 0 where there is nothing to divide by."""
    if length < 0:
        raise RuntimeError(f"{name} requires non-negative window_length, got {length}.")
    if not resolve_dtype(dtype, name).is_floating_point:
        raise RuntimeError(f"{name} expects floating point dtypes, got: {dtype}.")
    return arange(length, dtype=dtypes.float64, device=device), length - (not periodic)


def _finished(window: Tensor, dtype: Any, requires_grad: bool) -> Tensor:
    result: Tensor = window.to(resolve_dtype(dtype, "window"))
    return result.requires_grad_(requires_grad) if requires_grad else result


def _cosines(
    name: str, weights: tuple[float, ...], length: int, periodic: bool, dtype: Any, device: Any,
    requires_grad: bool,
) -> Tensor:  # fmt: skip
    """w0 - w1 cos(t) + w2 cos(2t), t going once around."""
    at, period = _positions(name, length, periodic, dtype, device)
    if length == 1:
        return _finished(at + 1.0, dtype, requires_grad)
    angle = at * (2 * math.pi / max(period, 1))
    window = weights[0] - weights[1] * angle.cos()
    if len(weights) > 2:
        window = window + weights[2] * (angle * 2).cos()
    return _finished(window, dtype, requires_grad)


def hann_window(
    window_length: int, periodic: bool = True, *, dtype: Any = None, layout: Any = None,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """sin²(pi n / N), N being the length, or the length less 1 where it is not periodic.

    Raises:
        RuntimeError: the length is negative or the dtype not floating.
    """
    weights = (0.5, 0.5)
    return _cosines("hann_window", weights, window_length, periodic, dtype, device, requires_grad)


def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *,
    dtype: Any = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """alpha - beta cos(2 pi n / N); see `hann_window`."""
    weights = (alpha, beta)
    return _cosines(
        "hamming_window", weights, window_length, periodic, dtype, device, requires_grad
    )


def blackman_window(
    window_length: int, periodic: bool = True, *, dtype: Any = None, layout: Any = None,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """0.42 - 0.5 cos(2 pi n / N) + 0.08 cos(4 pi n / N); see `hann_window`."""
    weights = (0.42, 0.5, 0.08)
    return _cosines(
        "blackman_window", weights, window_length, periodic, dtype, device, requires_grad
    )


def bartlett_window(
    window_length: int, periodic: bool = True, *, dtype: Any = None, layout: Any = None,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """1 - |2n / N - 1|; see `hann_window`."""
    at, period = _positions("bartlett_window", window_length, periodic, dtype, device)
    if window_length == 1:
        return _finished(at + 1.0, dtype, requires_grad)
    return _finished(1.0 - (at * (2 / max(period, 1)) - 1.0).abs(), dtype, requires_grad)


def kaiser_window(
    window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: Any = None,
    layout: Any = None, device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """I0(beta sqrt(1 - (2n / N - 1)²)) / I0(beta); see `hann_window`."""
    at, period = _positions("kaiser_window", window_length, periodic, dtype, device)
    if window_length == 1:
        return _finished(at + 1.0, dtype, requires_grad)
    across = at * (2 / max(period, 1)) - 1.0
    inside = (1.0 - across * across).clamp(min=0.0).sqrt()
    return _finished(i0(inside * beta) / i0(at.new_full((), beta)), dtype, requires_grad)


__all__ = [
    "bartlett_window", "blackman_window", "hamming_window", "hann_window", "kaiser_window",
]  # fmt: skip
