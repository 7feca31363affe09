"""How often values occur: whole numbers, values between edges."""

from __future__ import annotations

import math
from typing import Any

from tritorch import dtypes
from tritorch.kernels.templates import count_gpu
from tritorch.kernels.templates.sort_gpu import value_range
from tritorch.ops import return_types
from tritorch.ops.comparison import where
from tritorch.ops.creation import full, linspace, zeros
from tritorch.ops.declare import method, takes, without_gradient, writes
from tritorch.ops.dispatch import Plans
from tritorch.ops.memory import to_dtype
from tritorch.ops.places import flat_nonzero
from tritorch.ops.reduction import Reduction
from tritorch.ops.selection import index_add_
from tritorch.ops.sorting import searchsorted
from tritorch.ops.views import reshape
from tritorch.tensor import Tensor, empty

_counts = Plans(lambda key: count_gpu.plan_counts(*key))
#: least and greatest in one pass, for GPUs
_range = Reduction(value_range, lambda dtype, _: (dtype, [dtype, dtype]))


@method("bincount")
@without_gradient
@takes("all")
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each whole number occurs (or the sum of its weights)."""
    if input._layout.ndim != 1 or input._layout.dtype.category != 1:
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    size = minlength
    there = input._layout.device.type != "cpu"
    if input._layout.numel:
        least, greatest = _range.run(input, (0,), False) if there else (input.min(), input.max())
        if int(least) < 0:
            raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
        size = max(size, int(greatest) + 1)
        if weights is None and there:
            plan = _counts[input._layout, size]
            counts = empty(plan.outputs[0])
            plan.launch(counts._address, input._address)
            return counts
    if weights is None:
        weights = full((input._layout.numel,), 1, device=input._layout.device)
    elif weights._layout.dtype is not dtypes.float32:
        weights = to_dtype(weights, dtypes.float64)
    weights = weights.detach()
    total = zeros(size, dtype=weights._layout.dtype, device=input._layout.device)
    return index_add_(total, 0, input, weights)


@method("histc")
@writes
@without_gradient
@takes("floating", "integers")
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many elements are in each of `bins` equal parts of [min, max]."""
    low, high = float(min), float(max)
    if bins <= 0:
        raise RuntimeError(f"histc: bins must be > 0, but got {bins}.")
    if low > high:
        raise RuntimeError(f"histc: max must be larger than min, but got {min} and {max}.")
    if low == high == 0 and input._layout.numel:
        low, high = float(input.min()), float(input.max())
    if low == high:
        low, high = low - 1, high + 1
    flat = reshape(input.detach(), -1)
    flat = flat[flat_nonzero((flat >= low) & (flat <= high))]
    places = ((flat - low) * (bins / (high - low))).long().clamp(max=bins - 1)
    return bincount(places, minlength=bins).to(input._layout.dtype)


@writes
@without_gradient
@takes("floating")
def histogram(
    input: Tensor, bins: Any, *, range: Any = None, weight: Tensor | None = None,
    density: bool = False,
) -> return_types.histogram:  # fmt: skip
    """How many elements (or what weight) are between neighbouring edges, and the edges.

    Args:
        bins: how many equal parts of the range, or the edges themselves.
        range: (least, greatest); those of the elements unless given.
        density: divided by the total and the bins' widths.
    """
    kind = input._layout.dtype
    if not kind.is_floating_point:
        raise RuntimeError(f'"histogram" not implemented for {kind}. Use a floating-point dtype.')
    if isinstance(bins, Tensor):
        edges = bins.detach()
    else:
        edges = linspace(*_span(input, range), int(bins) + 1, dtype=kind)
    values = reshape(input.detach(), -1)
    count = edges._layout.numel - 1
    # Behind equal edges, but what is on the last edge is in the last part.
    places = searchsorted(edges, values, right=True) - 1
    places = where(values == edges[-1], count - 1, places)
    inside = flat_nonzero((values >= edges[0]) & (values <= edges[-1]))
    if weight is None:
        weights = full((values._layout.numel,), 1.0, dtype=kind, device=values._layout.device)
    else:
        weights = reshape(weight.detach(), -1)
    total = zeros(count, dtype=kind, device=values._layout.device)
    total = index_add_(total, 0, places[inside], weights[inside])
    if density:
        total = total / (total.sum() * (edges[1:] - edges[:-1]))
    return return_types.histogram(total, edges)


def _span(input: Tensor, limits: Any) -> tuple[float, float]:
    if limits is not None:
        low, high = map(float, limits)
    elif input._layout.numel:
        low, high = float(input.min()), float(input.max())
    else:
        low, high = 0.0, 1.0
    if not (math.isfinite(low) and math.isfinite(high)):
        raise RuntimeError(f"histogram: range of [{low}, {high}] is not finite. Pass range=.")
    if low > high:
        raise RuntimeError(f"histogram: min ({low}) should not exceed max ({high}).")
    return (low - 0.5, high + 0.5) if low == high else (low, high)


method("histogram")(histogram)
