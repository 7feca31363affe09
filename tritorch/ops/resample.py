"""Tables of resampling, which interpolation and averages share: a few weighted inputs for every
result, along one dimension.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tritorch.devices import device as Device
from tritorch.dtypes import dtype as Dtype
from tritorch.kernels.templates import resample as kernels
from tritorch.ops.creation import tensor
from tritorch.ops.dispatch import Plans
from tritorch.tensor import Tensor, empty


@dataclass(frozen=True, eq=False)
class Taps:
    """Indices and weights, taps x out, and those of the transposed map."""

    index: Tensor
    weight: Tensor
    back_index: Tensor
    back_weight: Tensor

    def turned(self) -> Taps:
        """The transposed map."""
        return Taps(self.back_index, self.back_weight, self.index, self.weight)

    @property
    def count(self) -> int:
        """Taps of a result."""
        return self.index._layout.shape[0]

    @property
    def out(self) -> int:
        """Results."""
        return self.index._layout.shape[1]

    @staticmethod
    def of(index: Any, weight: Any, size: int, dtype: Dtype, device: Device) -> Taps:
        """Of arrays; an index of -1 is no tap."""
        back, back_weight = _transposed(index, weight, size)
        return Taps(
            tensor(index.astype(np.int32), device=device),
            tensor(weight.astype(dtype.numpy), device=device),
            tensor(back.astype(np.int32), device=device),
            tensor(back_weight.astype(dtype.numpy), device=device),
        )


def _transposed(index: Any, weight: Any, size: int) -> tuple[Any, Any]:
    """For each input, the results that it goes to, padded with -1."""
    taps, outs = np.nonzero((index >= 0) & (weight != 0))
    inputs = index[taps, outs]
    order = np.lexsort((taps, outs, inputs))
    inputs, outs, weights = inputs[order], outs[order], weight[taps, outs][order]
    counts = np.bincount(inputs, minlength=size)
    places = np.arange(len(inputs)) - np.repeat(np.cumsum(counts) - counts, counts)
    longest = max(int(counts.max(initial=0)), 1)
    back, back_weights = np.full((longest, size), -1), np.zeros((longest, size))
    back[places, inputs], back_weights[places, inputs] = outs, weights
    return back, back_weights


_plans = Plans(lambda key: kernels.plan(*key))


def resampled(input: Tensor, axes: tuple[Taps, ...], spatial: int) -> Tensor:
    """The weighted sums along the last `spatial` dimensions (`axes` has three); no history."""
    depth, height, width = axes
    plan = _plans[
        input._layout, spatial, (depth.out, height.out, width.out),
        (depth.count, height.count, width.count),
    ]  # fmt: skip
    result = empty(plan.outputs[0])
    tables = [t._address for taps in axes for t in (taps.index, taps.weight)]
    plan.launch(result._address, input._address, *tables)
    return result
