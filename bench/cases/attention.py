"""Attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.cases.case import Case, Run, op

BATCH, HEADS, ROWS_OF_HEAD, DEPTH = 4, 8, 512, 64
#: operations of the visible half of Q Kᵀ
_PRODUCT = BATCH * HEADS * ROWS_OF_HEAD * ROWS_OF_HEAD * DEPTH


def _operands(torch: Any, *shape: int, grad: bool = False) -> list[Any]:
    return [torch.randn(*shape).requires_grad_(grad) for _ in range(3)]


def _forward(*shape: int, **options: Any) -> Callable[[Any], Run]:
    def program(torch: Any) -> Run:
        attend = torch.nn.functional.scaled_dot_product_attention
        q, k, v = _operands(torch, *shape)
        return lambda: attend(q, k, v, **options)

    return program


def _backward(*shape: int, **options: Any) -> Callable[[Any], Run]:
    def program(torch: Any) -> Run:
        attend = torch.nn.functional.scaled_dot_product_attention
        q, k, v = _operands(torch, *shape, grad=True)
        o, g = attend(q, k, v, **options), torch.randn(*shape)
        return lambda: torch.autograd.grad(o, (q, k, v), g, retain_graph=True)

    return program


def _packed(torch: Any) -> Run:
    """Forward and backward of heads that are views of one projection, as in a GPT."""
    attend = torch.nn.functional.scaled_dot_product_attention
    batch, rows, heads, depth = 16, 128, 4, 32
    x = torch.randn(batch, rows, 3 * heads * depth).requires_grad_()
    g = torch.randn(batch, rows, heads * depth)

    def run() -> Any:
        parts = x.split(heads * depth, dim=2)
        q, k, v = (p.view(batch, rows, heads, depth).transpose(1, 2) for p in parts)
        o = attend(q, k, v, is_causal=True).transpose(1, 2).contiguous().view(g.shape)
        return torch.autograd.grad(o, x, g)

    return run


_SHAPE = (BATCH, HEADS, ROWS_OF_HEAD, DEPTH)

ROWS: list[Case] = [
    op(
        "attention causal 4x8x512x64",
        _forward(*_SHAPE, is_causal=True),
        operations=2 * _PRODUCT,
        bar=1.3,
    ),
    op(
        "attention causal 4x8x512x64 backward",
        _backward(*_SHAPE, is_causal=True),
        operations=5 * _PRODUCT,
        bar=1.1,
    ),
    op("attention 2x4x1024x64", _forward(2, 4, 1024, 64), operations=4 * 8 * 1024 * 1024 * 64),
    op("attention causal of a packed projection 16x128x4x32, both ways", _packed),
]
