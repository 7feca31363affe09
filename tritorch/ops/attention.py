"""Scaled dot-product attention, composed of products and a softmax."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tritorch import dtypes
from tritorch.ops.comparison import masked_fill
from tritorch.ops.creation import ones
from tritorch.ops.declare import operation
from tritorch.ops.linalg import matmul
from tritorch.ops.memory import to_dtype
from tritorch.ops.normalization import softmax
from tritorch.ops.random import dropout
from tritorch.tensor import Tensor


def _numpy_attention(q: Any, k: Any, v: Any, is_causal: bool = False) -> Any:
    scores = q @ np.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1])
    if is_causal:
        scores = np.where(np.tri(*scores.shape[-2:]) > 0, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


def _case(make: Any, is_causal: bool) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    return tuple(make(2, 3, 5, 4) for _ in range(3)), {"is_causal": is_causal}


@operation(
    "product", method=False, numpy=_numpy_attention,
    cases=[lambda make: _case(make, False), lambda make: _case(make, True)],
)  # fmt: skip
def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """softmax(query keyᵀ · scale + mask) value. Source: Vaswani et al., 2017.

    Args:
        attn_mask: true where a query may look at a key, or numbers that are added to the scores.
        dropout_p: share of the weights that are dropped, also outside of training.
        is_causal: query i looks at the keys 0..i only.
        scale: 1 / sqrt(size of a query) unless given.
        enable_gqa: each head of key and value serves several heads of the query.
    Raises:
        RuntimeError: a mask together with `is_causal`; heads that do not divide.
    """
    if is_causal and attn_mask is not None:
        raise RuntimeError(
            "_scaled_dot_product_attention: Explicit attn_mask should not be set when "
            "is_causal=True. Give one of them."
        )
    if enable_gqa:
        heads, groups = query._layout.shape[-3], key._layout.shape[-3]
        if heads % groups or key._layout.shape[-3] != value._layout.shape[-3]:
            raise RuntimeError(
                f"scaled_dot_product_attention: {heads} heads of the query cannot be shared by "
                f"{groups} of the key and {value._layout.shape[-3]} of the value."
            )
        key = key.repeat_interleave(heads // groups, -3)
        value = value.repeat_interleave(heads // groups, -3)
    factor = 1.0 / math.sqrt(query._layout.shape[-1]) if scale is None else scale
    scores = matmul(query, key.transpose(-2, -1)) * factor
    hidden = None
    if is_causal:
        shape = scores._layout.shape[-2:]
        hidden = ~ones(*shape, dtype=dtypes.bool, device=query.device).tril()
    elif attn_mask is not None:
        if attn_mask._layout.dtype is dtypes.bool:
            hidden = ~attn_mask
        else:
            scores = scores + to_dtype(attn_mask, scores._layout.dtype)
            hidden = attn_mask == -math.inf
    if hidden is not None:
        scores = masked_fill(scores, hidden, -math.inf)
    weights = softmax(scores, -1)
    if hidden is not None:  # a query that may look at nothing gets zeros, not nan
        weights = masked_fill(weights, hidden, 0.0)
    if dropout_p:
        weights = dropout(weights, dropout_p, True)
    return matmul(weights, value)
