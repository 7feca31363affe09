"""Scaled dot-product attention: one fused kernel, the matrix of weights is never stored.

The backward is fused too; under `create_graph=True` it is written in operations, which have
gradients. A mask that wants a gradient needs the weights: then products and a softmax compute it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tritorch import dtypes
from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.kernels.templates import attention as kernels
from tritorch.kernels.templates.attention import Attention
from tritorch.ops.comparison import masked_fill
from tritorch.ops.creation import ones
from tritorch.ops.declare import operation, takes
from tritorch.ops.dispatch import Plans
from tritorch.ops.linalg import matmul
from tritorch.ops.memory import alias, to_dtype
from tritorch.ops.normalization import softmax
from tritorch.ops.random import _dropped, default_generator
from tritorch.ops.reduction import sum
from tritorch.ops.side_by_side import are_parts, like_parts
from tritorch.ops.views import expand, reshape, transpose
from tritorch.tensor import Tensor, empty

_LOG2_E = math.log2(math.e)

# keys: what an Attention is made of, then whether sums are wanted, or the gradient's layout and
# whether the operands are parts of one tensor
_forwards = Plans(lambda key: kernels.plan(Attention(*key[:-1]), sums=key[-1]))
_backwards = Plans(lambda key: kernels.plan_backward(Attention(*key[:-2]), key[-2], parts=key[-1]))

Place = tuple[int, int]


class ScaledDotProductAttentionBackward0(Node):
    """dV = Pᵀ g, dS = P (g Vᵀ - sum(g O)), dQ = dS K, dK = dSᵀ Q, with P computed again."""

    __slots__ = ("key", "masked", "options", "scale")
    #: what the plan depends on, apart from the layout of the upstream gradient
    key: tuple[Any, ...]
    masked: bool
    #: (p, seed, offset) of dropout; empty without
    options: tuple[Any, ...]
    scale: float

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """Gradients of query, key and value."""
        query, key, value, *rest = self.unpack()
        (g,) = grads
        if mode.enabled:
            return self._written_out(g, query, key, value, rest[2] if self.masked else None)
        shape = self.output_layouts[0].shape
        if g._layout.shape != shape:
            g = expand(g, *shape)
        ours = (query, key, value)
        parts = query._layout.device.type != "cpu" and are_parts(self, ours)
        plan = _backwards[*self.key, g._layout, parts]
        results = like_parts(ours) if parts else [empty(layout) for layout in plan.outputs]
        operands = (g, *ours, *rest)
        plan.launch(
            *[t._address for t in results], *[t._address for t in operands],
            self.scale * _LOG2_E, *_numbers(self.options),
        )  # fmt: skip
        return tuple(results)

    def _written_out(
        self, g: Tensor, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
    ) -> tuple[Any, ...]:
        """The same in operations that have gradients."""
        *_, causal, grouped, _dropout = self.key
        heads = query._layout.shape[-3] // key._layout.shape[-3] if grouped else 1
        keys, values = _shared(key, heads), _shared(value, heads)
        weights = _weights(query, keys, mask, causal, self.scale)
        upstream = matmul(g, transpose(values, -2, -1))
        dropped = weights
        if self.options:
            dropped = _drop(weights, self.options)
            upstream = _drop(upstream, self.options)
        product = weights * upstream
        scores = (product - weights * sum(product, -1, True)) * self.scale
        return (
            matmul(scores, keys),
            _unshared(matmul(transpose(scores, -2, -1), query), heads),
            _unshared(matmul(transpose(dropped, -2, -1), g), heads),
        )


def _numbers(options: tuple[Any, ...]) -> tuple[Any, ...]:
    """What the kernels take of dropout: seed, offset, p, and the factor of what is left."""
    if not options:
        return ()
    p, *place = options
    return (*place, p, 1.0 / (1.0 - p) if p < 1.0 else 0.0)


def _drop(weights: Tensor, options: tuple[Any, ...]) -> Tensor:
    p, *place = options
    return _dropped(weights, p, tuple(place)) if p < 1.0 else weights * 0.0


def _shared(x: Tensor, heads: int) -> Tensor:
    """Every head of keys or values as often as there are heads of queries."""
    return x if heads == 1 else x.repeat_interleave(heads, -3)


def _unshared(gradient: Tensor, heads: int) -> Tensor:
    """The sum over the heads that shared one."""
    if heads == 1:
        return gradient
    *batch, count, rows, columns = gradient._layout.shape
    return sum(reshape(gradient, *batch, count // heads, heads, rows, columns), -3)


def _weights(query: Tensor, key: Tensor, mask: Tensor | None, causal: bool, scale: float) -> Tensor:
    """The weights as a matrix, in operations."""
    scores = matmul(query, transpose(key, -2, -1)) * scale
    hidden = None
    if causal:
        shape = scores._layout.shape[-2:]
        hidden = ~ones(*shape, dtype=dtypes.bool, device=query.device).tril()
    elif mask is not None:
        if mask._layout.dtype is dtypes.bool:
            hidden = ~mask
        else:
            scores = scores + to_dtype(mask, scores._layout.dtype)
            hidden = mask == -math.inf
    if hidden is None:
        return softmax(scores, -1)
    weights = softmax(masked_fill(scores, hidden, -math.inf), -1)
    return masked_fill(weights, hidden, 0.0)  # who may look at nothing has zeros, not nan


def _numpy_attention(
    q: Any, k: Any, v: Any, attn_mask: Any = None, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Any:  # fmt: skip
    if enable_gqa:
        k, v = (np.repeat(x, q.shape[-3] // k.shape[-3], -3) for x in (k, v))
    scores = q @ np.swapaxes(k, -1, -2) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if is_causal:
        attn_mask = np.tri(*scores.shape[-2:]) > 0
    if attn_mask is not None:
        mask = np.asarray(attn_mask)
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    top = scores.max(-1, keepdims=True)
    weights = np.exp(scores - np.where(np.isinf(top), 0.0, top))
    total = weights.sum(-1, keepdims=True)
    return weights / np.where(total == 0, 1.0, total) @ v


def _cases() -> list[Any]:
    """Shapes of query, key, value and of a mask, or the mask itself; options."""
    some = np.random.default_rng(5).random((5, 7)) < 0.6
    some[2] = False
    rows: list[Any] = [
        ([(2, 3, 5, 4)] * 3, {}),
        ([(2, 3, 5, 4)] * 3, {"is_causal": True}),
        ([(2, 5, 4), (2, 7, 4), (2, 7, 3)], {"scale": 0.3}),
        ([(5, 4), (7, 4), (7, 6), some], {}),
        ([(2, 4, 5, 3), (2, 2, 7, 3), (2, 2, 7, 3)], {"enable_gqa": True, "is_causal": True}),
        ([(3, 1, 5, 2), (1, 2, 7, 2), (2, 7, 2), some[:, :1]], {}),
        ([(2, 3, 4), (2, 3, 4), (2, 3, 5), (2, 1, 3)], {}),
        ([(2, 1, 70, 9), (2, 1, 130, 9), (2, 1, 130, 5)], {"is_causal": True}),
    ]
    return [
        lambda make, operands=operands, options=options: (
            tuple(make(*o) if isinstance(o, tuple) else o for o in operands),
            options,
        )
        for operands, options in rows
    ]


@operation("product", method=False, numpy=_numpy_attention, cases=_cases())
@takes("floating", "float8")
def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """softmax(query keyᵀ · scale + mask) value, without storing the weights.

    Args:
        query: (*batch, queries, depth). key: (*batch, keys, depth). value: (*batch, keys, depth');
            batches broadcast.
        attn_mask: true where a query may look at a key, or numbers that are added to the scores; it
            broadcasts to (*batch, queries, keys).
        dropout_p: share of the weights that are dropped, also outside of training.
        is_causal: query i looks at the keys 0..i only.
        scale: 1 / sqrt(depth) unless given.
        enable_gqa: each head of key and value serves several heads of the query.
    Shape: (*batch, queries, depth'); dimensions are ordered in memory as the query's.
    Raises:
        RuntimeError: a mask together with `is_causal`; operands that do not fit.
    Source: Vaswani et al., 2017; Dao, FlashAttention-2, 2023.
    """
    if attn_mask is not None:
        if is_causal:
            raise RuntimeError(
                "_scaled_dot_product_attention: Explicit attn_mask should not be set when "
                "is_causal=True. Give one of them."
            )
        if attn_mask._requires_grad and mode.enabled:
            return _composed(query, key, value, attn_mask, dropout_p, scale, enable_gqa)
    if scale is None:
        scale = 1.0 / math.sqrt(query._layout.shape[-1] or 1)
    elif scale < 0.0:  # the kernels look for the largest score before they scale
        query, scale = -query, -scale
    wanted = mode.enabled and bool(
        query._requires_grad or key._requires_grad or value._requires_grad
    )
    kinds = (
        query._layout, key._layout, value._layout, None if attn_mask is None else attn_mask._layout,
        is_causal, enable_gqa, dropout_p > 0.0,
    )  # fmt: skip
    plan = _forwards[*kinds, wanted]
    options: tuple[Any, ...] = ()
    if dropout_p:
        options = _draw(dropout_p, plan.outputs[0].shape[:-1], key)
    result = empty(plan.outputs[0])
    operands = (query, key, value) if attn_mask is None else (query, key, value, attn_mask)
    if not wanted:
        plan.launch(
            result._address, *[t._address for t in operands], scale * _LOG2_E, *_numbers(options)
        )
        return result
    sums = empty(plan.outputs[1])
    plan.launch(
        result._address, sums._address, *[t._address for t in operands],
        scale * _LOG2_E, *_numbers(options),
    )  # fmt: skip
    node = ScaledDotProductAttentionBackward0(
        (edge(query), edge(key), edge(value)), (result._layout,)
    )
    node.key, node.masked, node.options, node.scale = kinds, attn_mask is not None, options, scale
    node.save(query, key, value, alias(result), sums, *operands[3:])
    result._grad_fn = node
    result._requires_grad = True
    return result


def _draw(p: float, rows: tuple[int, ...], key: Tensor) -> tuple[Any, ...]:
    """(p, seed, offset): a random number for every weight."""
    if not 0.0 <= p <= 1.0:
        raise RuntimeError(
            f"scaled_dot_product_attention: dropout probability has to be between 0 and 1, but got "
            f"{p}."
        )
    count = math.prod(rows) * key._layout.shape[-2]
    return (float(p), *default_generator.reserve(count))


def _composed(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, p: float, scale: float | None,
    grouped: bool,
) -> Tensor:  # fmt: skip
    """Products and a softmax: with a gradient of the mask."""
    plan = Attention(query._layout, key._layout, value._layout, mask._layout, False, grouped)
    rows = kernels.rows_of(plan)
    heads = query._layout.shape[-3] // key._layout.shape[-3] if grouped else 1
    if scale is None:
        scale = 1.0 / math.sqrt(query._layout.shape[-1] or 1)
    weights = _weights(query, _shared(key, heads), mask, False, scale)
    if p:
        weights = _drop(weights, _draw(p, rows, key))
    return matmul(weights, _shared(value, heads))
