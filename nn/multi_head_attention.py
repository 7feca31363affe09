"""What `nn.MultiheadAttention` computes, as a function."""

from __future__ import annotations

import math
from typing import Any

from tritorch import dtypes
from tritorch.errors import ShapeError
from tritorch.ops.attention import scaled_dot_product_attention
from tritorch.ops.creation import zeros
from tritorch.ops.joining import cat
from tritorch.ops.linalg import linear
from tritorch.ops.padding import pad
from tritorch.ops.random import dropout
from tritorch.tensor import Tensor

__all__ = ["multi_head_attention_forward"]


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """`nn.MultiheadAttention.forward` with all that the layer has as arguments; see there."""
    if query.shape[-1] != embed_dim_to_check:
        raise ShapeError(
            "multi_head_attention_forward: was expecting embedding dimension of "
            f"{embed_dim_to_check}, but got {query.shape[-1]}"
        )
    return attend(
        query, key, value, num_heads, None if use_separate_proj_weight else in_proj_weight,
        (q_proj_weight, k_proj_weight, v_proj_weight), in_proj_bias, bias_k, bias_v, add_zero_attn,
        dropout_p if training else 0.0, out_proj_weight, out_proj_bias, key_padding_mask,
        need_weights, attn_mask, average_attn_weights, is_causal, False, static_k, static_v,
    )  # fmt: skip


def attend(
    query: Tensor, key: Tensor, value: Tensor, heads: int, packed: Tensor | None,
    weights: tuple[Tensor | None, ...], bias: Tensor | None, bias_k: Tensor | None,
    bias_v: Tensor | None, zero: bool, dropout_p: float, out_weight: Tensor,
    out_bias: Tensor | None, key_padding_mask: Tensor | None, need_weights: bool,
    attn_mask: Tensor | None, average: bool, is_causal: bool, batch_first: bool,
    static_k: Tensor | None = None, static_v: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Projected in the layout that the operands come in; heads are strided views of that."""
    _check(query, key, value, heads, key_padding_mask, attn_mask)
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. Pass the causal mask too."
        )
    batched = query.dim() == 3
    if not batched:
        same = key is query, value is key
        query = query.unsqueeze(1)
        key = query if same[0] else key.unsqueeze(1)
        value = key if same[1] else value.unsqueeze(1)
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
    along = 1 if batch_first else 0
    batch, length = query.shape[1 - along], query.shape[along]
    q, k, v = _projected(query, key, value, packed, weights, bias)
    if bias_k is not None and bias_v is not None:
        sizes = (batch, 1, 1) if batch_first else (1, batch, 1)
        k = cat([k, bias_k.repeat(sizes)], along)
        v = cat([v, bias_v.repeat(sizes)], along)
    q, k, v = (_heads(x, heads, batch_first) for x in (q, k, v))
    if static_k is not None:
        k = static_k.reshape(batch, heads, *static_k.shape[1:])
    if static_v is not None:
        v = static_v.reshape(batch, heads, *static_v.shape[1:])
    if zero:
        k, v = (cat([x, x.new_zeros((*x.shape[:2], 1, x.shape[3]))], 2) for x in (k, v))
    causal = is_causal and key_padding_mask is None and not need_weights
    causal = causal and k.shape[2] == key.shape[along]
    mask = None if causal else _mask(attn_mask, key_padding_mask, batch, heads, k.shape[2], q.dtype)
    shares = None
    if need_weights:
        scores = (q * (1.0 / math.sqrt(q.shape[-1]))) @ k.transpose(-2, -1)
        if mask is not None:
            hidden = mask.dtype is dtypes.bool
            scores = scores.masked_fill(~mask, -math.inf) if hidden else scores + mask
        shares = scores.softmax(-1)
        if dropout_p:
            shares = dropout(shares, dropout_p)
        found = shares @ v
        if average:
            shares = shares.mean(1)
        if not batched:
            shares = shares.squeeze(0)
    else:
        found = scaled_dot_product_attention(q, k, v, mask, dropout_p, causal)
    found = found.transpose(1, 2) if batch_first else found.permute(2, 0, 1, 3)
    lead = (batch, length) if batch_first else (length, batch)
    result = linear(found.reshape(*lead, -1), out_weight, out_bias)
    return (result if batched else result.squeeze(1)), shares


def _projected(
    query: Tensor, key: Tensor, value: Tensor, packed: Tensor | None,
    weights: tuple[Tensor | None, ...], bias: Tensor | None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Query, key and value after their linear layers: one product for what is the same tensor."""
    size = query.shape[-1]
    if packed is not None:
        if key is value and query is key:
            return tuple(linear(query, packed, bias).chunk(3, -1))
        if key is value:
            first, rest = packed.split([size, 2 * size])
            biases = (None, None) if bias is None else bias.split([size, 2 * size])
            both = linear(key, rest, biases[1]).chunk(2, -1)
            return (linear(query, first, biases[0]), *both)
        weights = packed.chunk(3)
    biases = (None, None, None) if bias is None else bias.chunk(3)
    found = []
    for x, weight, own in zip((query, key, value), weights, biases):
        if weight is None:
            raise AssertionError("use_separate_proj_weight is True but a projection is missing")
        found.append(linear(x, weight, own))
    return tuple(found)


def _heads(x: Tensor, heads: int, batch_first: bool) -> Tensor:
    """A view as (batch, heads, length, depth)."""
    split = x.unflatten(-1, (heads, -1))
    return split.transpose(1, 2) if batch_first else split.permute(1, 2, 0, 3)


def _mask(
    attn_mask: Tensor | None, padding: Tensor | None, batch: int, heads: int, keys: int, dtype: Any
) -> Tensor | None:
    """One mask as `scaled_dot_product_attention` takes it: true where visible, or added."""
    masks = []
    if attn_mask is not None:
        if attn_mask.dim() == 3:
            attn_mask = attn_mask.reshape(batch, heads, *attn_mask.shape[1:])
        masks.append(attn_mask)
    if padding is not None:
        masks.append(padding.reshape(batch, 1, 1, -1))
    if not masks:
        return None
    missing = keys - masks[0].shape[-1]
    if missing:  # learned and zero keys are always visible
        masks = [pad(mask, (0, missing)) for mask in masks]
    if all(mask.dtype is dtypes.bool for mask in masks):
        hidden = masks[0] if len(masks) == 1 else masks[0] | masks[1]
        return ~hidden
    total = None
    for mask in masks:
        if mask.dtype is dtypes.bool:
            nothing = zeros(mask.shape, dtype=dtype, device=mask.device)
            mask = nothing.masked_fill(mask, -math.inf)
        total = mask if total is None else total + mask
    return total


def _check(
    query: Tensor, key: Tensor, value: Tensor, heads: int, padding: Tensor | None,
    attn_mask: Tensor | None,
) -> None:  # fmt: skip
    if query.dim() not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2D or batched 3D tensor but received {query.dim()}-D query "
            "tensor"
        )
    if key.dim() != query.dim() or value.dim() != query.dim():
        raise AssertionError(
            f"For {'batched (3-D)' if query.dim() == 3 else 'unbatched (2-D)'} `query`, expected "
            f"`key` and `value` to be {query.dim()}-D but found {key.dim()}-D and {value.dim()}-D "
            "tensors respectively"
        )
    if query.shape[-1] % heads:
        raise AssertionError(f"embed_dim {query.shape[-1]} not divisible by num_heads {heads}")
    if key.shape[:-1] != value.shape[:-1]:
        raise AssertionError(
            f"key's sequence and batch dims {tuple(key.shape[:-1])} do not match value's "
            f"{tuple(value.shape[:-1])}"
        )
    if padding is not None and padding.dim() != query.dim() - 1:
        raise AssertionError(
            f"expected `key_padding_mask` to be None or {query.dim() - 1}-D but found "
            f"{padding.dim()}-D tensor instead"
        )
    if attn_mask is not None and attn_mask.dim() not in (2, 3):
        raise AssertionError(
            f"expected `attn_mask` to be None, 2-D or 3-D but found {attn_mask.dim()}-D tensor "
            "instead"
        )
    for name, mask in (("key_padding_mask", padding), ("attn_mask", attn_mask)):
        if mask is not None and not (mask.dtype is dtypes.bool or mask.dtype.is_floating_point):
            raise AssertionError(f"only bool and floating types of {name} are supported")
