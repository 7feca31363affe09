"""Pointwise functions, random numbers, fused updates."""

from __future__ import annotations

from typing import Any

from bench.cases.case import Run, op


def _small_add(gradient: bool) -> Any:
    def program(torch: Any) -> Run:
        a, b = torch.randn(16, requires_grad=gradient), torch.randn(16)
        return lambda: a + b

    return program


def _unary(name: str, n: int) -> Any:
    def program(torch: Any) -> Run:
        x = torch.randn(n)
        function = torch.nn.functional.gelu if name == "gelu" else getattr(torch, name)
        return lambda: function(x)

    return program


def _add(n: int) -> Any:
    def program(torch: Any) -> Run:
        x, y = torch.randn(n), torch.randn(n)
        return lambda: x + y

    return program


SIZES = {"64k": (1 << 16, 0.9), "1M": (1 << 20, 1.0), "16M": (1 << 24, 1.8)}

ROWS = [
    op("add of 16 elements", _small_add(False), threads=(1,), at_most_us=4),
    op("add of 16 elements, with gradient", _small_add(True), threads=(1,), at_most_us=6),
    *(op(f"x + y, {k}", _add(n), moved=12 * n, bar=bar) for k, (n, bar) in SIZES.items()),
    *(
        op(f"{name}, {k}", _unary(name, n), moved=8 * n, bar=bar)
        for name in ("exp", "gelu")
        for k, (n, bar) in SIZES.items()
    ),
]
