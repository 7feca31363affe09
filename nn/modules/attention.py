"""Multi-head attention: projections around `scaled_dot_product_attention`."""

from __future__ import annotations

from typing import Any

import tritorch
from tritorch.nn import init
from tritorch.nn.modules.linear import Linear
from tritorch.nn.modules.module import Module
from tritorch.nn.multi_head_attention import attend
from tritorch.nn.parameter import Parameter
from tritorch.tensor import Tensor

__all__ = ["MultiheadAttention", "NonDynamicallyQuantizableLinear"]


class NonDynamicallyQuantizableLinear(Linear):
    """A Linear; PyTorch's name of the layer after the heads."""


class MultiheadAttention(Module):
    """Attention of several heads, each on its own projection of query, key and value.

    Args:
        embed_dim: features of the query and the result.
        num_heads: heads; each has embed_dim // num_heads features.
        dropout: share of the weights that are dropped in training.
        bias: whether the projections have a bias.
        add_bias_kv: one more key and value, which are learned.
        add_zero_attn: one more key and value, which are zero.
        kdim, vdim: features of key and value; embed_dim unless given.
        batch_first: (batch, length, features) rather than (length, batch, features).
    Source: Vaswani et al., Attention Is All You Need, 2017; the initialisation is PyTorch's.
    """

    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                "embed_dim and num_heads must be greater than 0, got "
                f"embed_dim={embed_dim} and num_heads={num_heads} instead"
            )
        super().__init__()
        self.embed_dim = embed_dim
        self.kdim = kdim if kdim is not None else embed_dim
        self.vdim = vdim if vdim is not None else embed_dim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        if self.head_dim * num_heads != embed_dim:
            raise AssertionError(
                f"embed_dim must be divisible by num_heads, got {embed_dim} and {num_heads}"
            )

        def parameter(*shape: int) -> Parameter:
            return Parameter(tritorch.empty(shape, device=device, dtype=dtype))

        names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
        if self._qkv_same_embed_dim:
            self.in_proj_weight = parameter(3 * embed_dim, embed_dim)
            for name in names:
                self.register_parameter(name, None)
        else:
            for name, size in zip(names, (embed_dim, self.kdim, self.vdim)):
                self.register_parameter(name, parameter(embed_dim, size))
            self.register_parameter("in_proj_weight", None)
        self.register_parameter("in_proj_bias", parameter(3 * embed_dim) if bias else None)
        self.out_proj = NonDynamicallyQuantizableLinear(
            embed_dim, embed_dim, bias=bias, device=device, dtype=dtype
        )
        self.bias_k = self.bias_v = None
        if add_bias_kv:
            self.bias_k, self.bias_v = parameter(1, 1, embed_dim), parameter(1, 1, embed_dim)
        self.add_zero_attn = add_zero_attn
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            weight = getattr(self, name)
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            assert self.out_proj.bias is not None
            init.zeros_(self.out_proj.bias)
        for learned in (self.bias_k, self.bias_v):
            if learned is not None:
                init.xavier_normal_(learned)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The result, and the weights if they are wanted.

        Args:
            key_padding_mask: (batch, keys): true where a key is to be ignored, or numbers that are
                added to the scores.
            need_weights: whether weights are returned; without, they are never stored.
            attn_mask: (queries, keys) or (batch * num_heads, queries, keys), likewise.
            average_attn_weights: whether the weights are the mean over the heads.
            is_causal: says that attn_mask is the causal one, which then need not be read.
        Shape: query (queries, batch, embed_dim), key (keys, batch, kdim), value (keys, batch,
            vdim), or with batch first, or without batch. The result is as the query, the weights
            (batch[, num_heads], queries, keys).
        """
        return attend(
            query, key, value, self.num_heads,
            self.in_proj_weight if self._qkv_same_embed_dim else None,
            (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight),
            self.in_proj_bias, self.bias_k, self.bias_v, self.add_zero_attn,
            self.dropout if self.training else 0.0, self.out_proj.weight, self.out_proj.bias,
            key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal,
            self.batch_first and query.dim() == 3,
        )  # fmt: skip
