"""Reductions of consecutive segments of a dimension."""

from __future__ import annotations

import math

from tritorch.ops.creation import arange, full
from tritorch.ops.declare import method
from tritorch.ops.joining import repeat_interleave
from tritorch.ops.scatter_reduction import index_reduce
from tritorch.ops.selection import index_add
from tritorch.ops.views import reshape
from tritorch.tensor import Tensor

_START = {"sum": 0.0, "mean": 0.0, "max": -math.inf, "min": math.inf, "prod": 1.0}
_MEET = {"max": "amax", "min": "amin", "prod": "prod"}


def _lengths(data: Tensor, lengths: Tensor | None, offsets: Tensor | None, unsafe: bool) -> Tensor:
    if lengths is None:
        if offsets is None:
            raise RuntimeError("segment_reduce(): Either lengths or offsets must be defined.")
        lengths = offsets[1:] - offsets[:-1]
    if lengths.ndim != 1:
        raise RuntimeError("segment_reduce(): lengths and offsets must have one dimension.")
    if not unsafe and (bool((lengths < 0).any()) or int(lengths.sum()) != data.shape[0]):
        raise RuntimeError(
            "segment_reduce(): Expected all rows of lengths along axis to sum to "
            f"data.size(0) = {data.shape[0]}, got {lengths.tolist()}."
        )
    return lengths


@method("segment_reduce")
def segment_reduce(
    data: Tensor, reduce: str, *, lengths: Tensor | None = None, indices: Tensor | None = None,
    offsets: Tensor | None = None, axis: int = 0, unsafe: bool = False,
    initial: float | None = None,
) -> Tensor:  # fmt: skip
    """The sum, mean, max, min or prod of consecutive rows of the first dimension.

    Args:
        lengths: rows of each segment, or offsets: where they begin, and the end of the last.
        unsafe: do not check that they are all of the rows.
        initial: what the reduction begins with, and an empty segment gives.
    Raises:
        NotImplementedError: for `indices`, or another axis than 0.
    """
    if reduce not in _START:
        raise RuntimeError(f"segment_reduce(): reduce must be one of {list(_START)}, got {reduce}.")
    if indices is not None or axis != 0:
        raise NotImplementedError(
            "segment_reduce: only axis 0 and no indices. Permute the data first."
        )
    lengths = _lengths(data, lengths, offsets, unsafe)
    count = lengths.numel()
    segments = repeat_interleave(arange(count, device=data.device), lengths)
    start = _START[reduce] if initial is None else float(initial)
    into = full((count, *data.shape[1:]), start, dtype=data.dtype, device=data.device)
    if reduce in _MEET:
        return index_reduce(into, 0, segments, data, _MEET[reduce])
    total: Tensor = index_add(into, 0, segments, data)
    if reduce == "sum":
        return total
    sizes = reshape(lengths.to(data.dtype), -1, *[1] * (data.ndim - 1))
    # An empty segment has no mean, unless there is something to begin with.
    return total / (sizes if initial is None else sizes.clamp(min=1))
