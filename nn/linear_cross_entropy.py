"""Cross entropy of a linear layer's outputs, all logits at once or a few rows at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tritorch.ops.joining import cat
from tritorch.ops.linalg import linear
from tritorch.ops.loss import cross_entropy
from tritorch.tensor import Tensor

__all__ = ["LinearCrossEntropyOptions", "linear_cross_entropy"]


@dataclass(slots=True, frozen=True)
class LinearCrossEntropyOptions:
    """How `linear_cross_entropy` cuts a batch into chunks, whose logits are computed again in
    backward instead of being kept.

    Args:
        allow_retain_graph: kept for PyTorch's sake; backward may always run again here.
        batch_chunk_size: rows per chunk; None: as `chunking_method` says.
        chunking_method: `auto`; `aspect_ratio`: logits as large as the input; `aspect_ratio:n`: an
            n-th of that; None: one chunk unless there is a `batch_chunk_size`.
        acc_policy, acc_dtype: kept for PyTorch's sake; sums are always in float32 here.
    """

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: str = "auto"
    acc_dtype: Any = None

    def rows(self, batch: int, in_features: int, classes: int) -> int:
        """Rows per chunk."""
        if self.batch_chunk_size is not None:
            return max(self.batch_chunk_size, 1)
        if self.chunking_method is None:
            return max(batch, 1)
        method = "aspect_ratio:2" if self.chunking_method == "auto" else self.chunking_method
        name, _, divisor = method.partition(":")
        if name != "aspect_ratio" or not (divisor or "1").isdigit():
            raise ValueError(
                f"chunking_method must be auto, aspect_ratio, aspect_ratio:n or None, got "
                f"{self.chunking_method!r}."
            )
        chunks = math.ceil(classes / max(in_features, 1))
        rows = math.ceil(batch / max(chunks, 1))
        rounded = 1 << max(rows - 1, 0).bit_length()
        return max(rounded // int(divisor or 1), 1)


def linear_cross_entropy(
    input: Tensor, linear_weight: Tensor, target: Tensor, *, linear_bias: Tensor | None = None,
    weight: Tensor | None = None, reduction: str = "mean", ignore_index: int | None = None,
    label_smoothing: float = 0.0, options: LinearCrossEntropyOptions | None = None,
) -> Tensor:  # fmt: skip
    """`cross_entropy(linear(input, linear_weight, linear_bias), target, ...)`.

    Args:
        input: (in_features,) or (N, in_features).
        linear_weight: (C, *others, in_features).
        linear_bias: (C, *others).
        target: classes (N, *others), or probabilities (N, C, *others).
        weight, reduction, ignore_index, label_smoothing: as of `cross_entropy`.
        options: cut the batch into chunks; None: all logits at once.
    Raises:
        RuntimeError: shapes do not fit, or `ignore_index` with probabilities.
    """
    if input.dim() not in (1, 2):
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {input.dim()}")
    if linear_weight.dim() < 2:
        raise RuntimeError(
            f"expected linear_weight with dimensionality at least 2, got {linear_weight.dim()}"
        )
    if input.shape[-1] != linear_weight.shape[-1]:
        raise RuntimeError(
            "expected equal input and linear_weight last dimensions (in_features), got "
            f"{input.shape[-1]} and {linear_weight.shape[-1]}, respectively"
        )
    classes, *others = linear_weight.shape[:-1]
    if linear_bias is not None and tuple(linear_bias.shape) != (classes, *others):
        raise RuntimeError(
            f"expected linear_bias shape {(classes, *others)}, got {tuple(linear_bias.shape)}"
        )
    if others and input.dim() == 1:
        raise RuntimeError(
            "K-dimensional loss defined by linear_weight shape "
            f"{tuple(linear_weight.shape)} requires batched input, got {tuple(input.shape)}"
        )
    shares = tuple(target.shape) == (*input.shape[:-1], classes, *others)
    if shares and ignore_index is not None:
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    ignored = -100 if ignore_index is None else ignore_index
    matrix = linear_weight.reshape((-1, input.shape[-1]))
    offset = None if linear_bias is None else linear_bias.reshape((-1,))

    def loss(rows: Tensor, targets: Tensor, how: str) -> Tensor:
        logits = linear(rows, matrix, offset).reshape((*rows.shape[:-1], classes, *others))
        return cross_entropy(
            logits, targets, weight=weight, ignore_index=ignored, reduction=how,
            label_smoothing=label_smoothing,
        )  # fmt: skip

    if options is None or input.dim() == 1:
        return loss(input, target, reduction)
    size = options.rows(input.shape[0], input.shape[-1], matrix.shape[0])
    if size >= input.shape[0]:
        return loss(input, target, reduction)
    from tritorch.utils.checkpoint import checkpoint

    inner = "none" if reduction == "none" else "sum"
    parts = [
        checkpoint(loss, rows, targets, inner, use_reentrant=False)
        for rows, targets in zip(input.split(size), target.split(size), strict=True)
    ]
    if reduction == "none":
        return cat(parts)
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total if reduction == "sum" else total / _count(target, weight, ignored, shares, input)


def _count(target: Tensor, weight: Tensor | None, ignored: int, shares: bool, input: Tensor) -> Any:
    """What the mean of a cross entropy divides by."""
    if shares:
        return input.shape[0] * math.prod(target.shape[2:])
    known = target != ignored
    if weight is None:
        return known.sum()
    return (weight[target.clamp_min(0)] * known).sum()
