"""Sums, means and maxima of looked-up rows; limits of norms, gradients by frequency."""

# The decorated function is written in the scalar language, whose operands have no annotations.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import numpy as np

from tritorch.autograd.grad_mode import grad_mode_state, no_grad
from tritorch.kernels import scalar as s
from tritorch.kernels.templates import bags as kernels
from tritorch.ops.comparison import where
from tritorch.ops.creation import arange, zeros
from tritorch.ops.declare import operation, pointwise, takes
from tritorch.ops.dispatch import Plans
from tritorch.ops.extrema import vector_norm
from tritorch.ops.histograms import bincount
from tritorch.ops.memory import to_dtype
from tritorch.ops.normalization import embedding
from tritorch.ops.reduction import mean, sum
from tritorch.ops.scatter_reduction import index_reduce
from tritorch.ops.selection import index_add, index_copy_, index_select
from tritorch.ops.sorting import searchsorted, unique
from tritorch.ops.views import reshape, unsqueeze
from tritorch.tensor import Tensor, empty


@pointwise(method=False, numpy=None, grad=lambda g, input, factor: (g * factor, 0.0))
def _rescaled(input, factor):
    """The input; its gradient is multiplied by the factor."""
    return s.where(s.isnan(factor), factor, input)


def by_frequency(rows: Tensor, index: Tensor, count: int) -> Tensor:
    """Looked-up rows whose gradients are divided by how often their index occurs."""
    if not rows._layout.dtype.is_floating_point:
        return rows
    flat = reshape(index, -1)
    often = index_select(bincount(flat, minlength=count), 0, flat)
    factor = 1.0 / to_dtype(reshape(often, *index._layout.shape), rows._layout.dtype)
    return _rescaled(rows, unsqueeze(factor, -1))


def limit_norms(weight: Tensor, index: Tensor, max_norm: float, norm_type: float) -> None:
    """Scale the rows that are looked up to a norm of at most `max_norm`, in place."""
    with no_grad():
        chosen = unique(reshape(index, -1))
        rows = index_select(weight, 0, chosen)
        norms = vector_norm(rows, norm_type, -1, True)
        factors = where(norms > max_norm, max_norm / (norms + 1e-7), 1.0)
        index_copy_(weight, 0, chosen, rows * to_dtype(factors, weight._layout.dtype))


_MODES = ("sum", "mean", "max")


def _check(
    input: Tensor, weight: Tensor, offsets: Any, mode: str, per_sample_weights: Any, last: bool
) -> None:
    if mode not in _MODES:
        raise ValueError(f"embedding_bag: mode has to be one of {', '.join(_MODES)}, got {mode!r}.")
    if per_sample_weights is not None:
        if mode != "sum":
            raise NotImplementedError(
                "embedding_bag: per_sample_weights was not None. per_sample_weights is only "
                f"supported for mode='sum' (got mode='{mode}')."
            )
        if per_sample_weights._layout.shape != input._layout.shape:
            raise ValueError(
                "embedding_bag: If per_sample_weights is not None, then it must have the same "
                f"shape as the input, which is {list(input._layout.shape)}; it is "
                f"{list(per_sample_weights._layout.shape)}."
            )
    if input._layout.ndim == 2:
        if offsets is not None:
            raise ValueError(
                "embedding_bag: if input is 2D, then offsets has to be None, as input is treated "
                "as a mini-batch of fixed length sequences."
            )
        return
    if input._layout.ndim != 1:
        raise ValueError(f"embedding_bag: input has to be 1D or 2D, got {input._layout.ndim}D.")
    if offsets is None or offsets._layout.ndim != 1:
        raise ValueError("embedding_bag: offsets has to be a 1D Tensor for a 1D input.")
    if last and not offsets._layout.numel:
        raise ValueError("embedding_bag: include_last_offset needs at least one offset.")
    if offsets._layout.numel and int(offsets[0]):
        raise ValueError(
            "embedding_bag: offsets[0] has to be 0, i.e. the first sequence in the mini-batch has "
            f"to start from position 0. However, got {int(offsets[0])}."
        )
    if offsets._layout.numel and int(offsets[-1]) > input._layout.numel:
        raise ValueError(
            f"embedding_bag: offsets[-1] can not be greater than input's length "
            f"{input._layout.numel}, but got {int(offsets[-1])}."
        )


def _evenly(input: Tensor, weight: Tensor, mode: str, factors: Tensor | None) -> bool:
    """Whether bags of one length are summed, which needs no scattering."""
    shape = input._layout.shape
    kind = weight._layout.dtype
    alike = kind.is_floating_point and (factors is None or factors._layout.dtype is kind)
    return len(shape) == 2 and shape[1] > 0 and mode != "max" and alike


def _bags(input: Tensor, offsets: Any, last: bool) -> tuple[Tensor, int]:
    """The bag of each index of the flat input, and how many bags there are."""
    places = arange(input._layout.numel, device=input._layout.device)
    if input._layout.ndim == 2:
        bags, length = input._layout.shape
        return places // max(length, 1), bags
    starts = offsets[:-1] if last else offsets
    return searchsorted(starts, places, right=True) - 1, starts._layout.numel


_sums = Plans(lambda key: kernels.plan(*key))


def _without_graph(input: Tensor, weight: Tensor, offsets: Any, factors: Tensor | None) -> bool:
    """Whether floats of plain memory are summed that need no gradient; samples under `vmap` are no
    plain memory, and their flag is an int.
    """
    kind = weight._layout.dtype
    if not kind.is_floating_point or (factors is not None and factors._layout.dtype is not kind):
        return False
    parts = [t for t in (input, weight, offsets, factors) if t is not None]
    plain = all(type(t._requires_grad) is not int for t in parts)
    return plain and not (grad_mode_state.enabled and any(t.requires_grad for t in parts))


def _summed(
    input: Tensor, weight: Tensor, offsets: Any, factors: Tensor | None, mode: str, last: bool
) -> Tensor:
    """Sums or means of bags, without a graph."""
    layout = None if factors is None else factors._layout
    plan = _sums[weight._layout, input._layout, offsets._layout, layout, mode == "mean", last]
    result = empty(plan.outputs[0])
    more = () if factors is None else (factors._address,)
    plan.launch(result._address, weight._address, input._address, offsets._address, *more)
    return result


def _numpy_bags(index: Any, weight: Any, offsets: Any = None, **options: Any) -> Any:
    reductions: dict[str, Any] = {"sum": np.sum, "mean": np.mean, "max": np.max}
    reduced = reductions[options.get("mode", "mean")]
    rows = weight[index]
    if offsets is None:
        return reduced(rows, 1)
    parts = np.split(rows, offsets[1:])
    return np.stack([reduced(p, 0) if len(p) else np.zeros(rows.shape[1:]) for p in parts])


def _cases() -> list[Any]:
    index, flat, offsets = (
        np.array([[0, 2, 1], [4, 3, 0]]),
        np.array([1, 0, 4]),
        np.array([0, 2, 2]),
    )
    return [
        lambda make, mode=mode, given=given: ((given[0], make(5, 3), *given[1:]), {"mode": mode})
        for mode in _MODES
        for given in ((index,), (flat, offsets))
    ]


@operation("lookup", method=False, numpy=_numpy_bags, cases=_cases())
@takes("floating", "integers", "bool")
def embedding_bag(
    input: Tensor, weight: Tensor, offsets: Tensor | None = None, max_norm: float | None = None,
    norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: str = "mean",
    sparse: bool = False, per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False, padding_idx: int | None = None,
) -> Tensor:  # fmt: skip
    """The sum, mean or maximum of rows of `weight` per bag of indices; 0 of an empty bag.

    Args:
        input: indices: a bag per row, or all in one dimension with the bags' `offsets`.
        per_sample_weights: factors of the rows, for sums.
        include_last_offset: the last offset is the end of the last bag.
        padding_idx: an index that does not count and gets no gradient.
    """
    _check(input, weight, offsets, mode, per_sample_weights, include_last_offset)
    if (
        max_norm is None
        and padding_idx is None
        and _evenly(input, weight, mode, per_sample_weights)
    ):
        rows = embedding(input, weight, scale_grad_by_freq=scale_grad_by_freq, sparse=sparse)
        if per_sample_weights is not None:
            rows = rows * unsqueeze(per_sample_weights, -1)
        return sum(rows, 1) if mode == "sum" else mean(rows, 1)
    kept = max_norm is None and padding_idx is None and mode != "max" and input._layout.ndim == 1
    if kept and _without_graph(input, weight, offsets, per_sample_weights):
        return _summed(input, weight, offsets, per_sample_weights, mode, include_last_offset)
    bags, count = _bags(input, offsets, include_last_offset)
    flat = reshape(input, -1)
    if max_norm is not None:
        limit_norms(weight, flat, max_norm, norm_type)
    if per_sample_weights is not None:
        per_sample_weights = reshape(per_sample_weights, -1)
    if padding_idx is not None:
        counts = (flat != padding_idx % weight._layout.shape[0]).nonzero().squeeze(1)
        flat, bags = index_select(flat, 0, counts), index_select(bags, 0, counts)
        if per_sample_weights is not None:
            per_sample_weights = index_select(per_sample_weights, 0, counts)
    rows = embedding(flat, weight, scale_grad_by_freq=scale_grad_by_freq, sparse=sparse)
    kind = weight._layout.dtype
    total = zeros(count, weight._layout.shape[1], dtype=kind, device=weight._layout.device)
    if mode == "max":
        return index_reduce(total, 0, bags, rows, "amax", include_self=False)
    if per_sample_weights is not None:
        rows = rows * unsqueeze(per_sample_weights, -1)
    summed = index_add(total, 0, bags, rows)
    if mode == "sum":
        return summed
    sizes = bincount(bags, minlength=count).clamp(min=1)
    return summed / unsqueeze(to_dtype(sizes, kind), -1)
