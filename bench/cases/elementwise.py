"""Pointwise functions, random numbers, fused updates."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from math import prod
from typing import Any

from bench.cases.case import Case, Run, op


def _small_add(gradient: bool) -> Any:
    def program(torch: Any) -> Run:
        a, b = torch.randn(16, requires_grad=gradient), torch.randn(16)
        return lambda: a + b

    return program


def _unary(name: str, n: int, dtype: str = "float32") -> Callable[[Any], Run]:
    def program(torch: Any) -> Run:
        x = torch.randn(n).to(getattr(torch, dtype))
        if name == "erfinv":
            x = torch.tanh(x)
        function = torch.nn.functional.gelu if name == "gelu" else getattr(torch, name)
        return lambda: function(x)

    return program


def _add(n: int) -> Any:
    def program(torch: Any) -> Run:
        x, y = torch.randn(n), torch.randn(n)
        return lambda: x + y

    return program


def _normal(n: int) -> Any:
    def program(torch: Any) -> Run:
        return lambda: torch.randn(n)

    return program


def _dropout(n: int) -> Any:
    def program(torch: Any) -> Run:
        x = torch.randn(n)
        return lambda: torch.nn.functional.dropout(x, 0.3, True)

    return program


def _optimizer(name: str, shapes: list[tuple[int, ...]], fused: bool) -> Case:
    """A step of all the parameters against what the peer does by default, which has the bar, or
    against its single kernel (`fused=True`): both read four tensors and write three, at the speed
    of memory.
    """

    def program(torch: Any) -> Run:
        parameters = [torch.randn(*shape).requires_grad_(True) for shape in shapes]
        for p in parameters:
            p.grad = torch.randn(*p.shape)
        kind = getattr(torch.optim, name)
        # Ours is always one launch and takes no such option.
        options = {"fused": True} if fused and "fused" in signature(kind).parameters else {}
        optimizer = kind(parameters, lr=1e-3, **options)
        return optimizer.step

    count = sum(prod(shape) for shape in shapes)
    row = f"{name} step, {count / 1e6:.3g}M in {len(shapes)} tensor{'s' * (len(shapes) > 1)}"
    if fused:
        return op(f"{row}, peer with fused=True", program, moved=28 * count)
    return op(f"{row}, peer by default", program, moved=28 * count, bar=1.5)


SIZES = {"64k": (1 << 16, 0.9), "1M": (1 << 20, 1.0), "16M": (1 << 24, 1.8)}
#: the parameters of eight blocks of a transformer, and of an embedding
_MANY = [
    *([(320, 1280), (1280, 320), (960, 320), (320, 320), (1280,), (320,), (960,), (320,)] * 8),
    (320, 2800),
]

ROWS = [
    op("add of 16 elements", _small_add(False), threads=(1,), at_most_us=4),
    op("add of 16 elements, with gradient", _small_add(True), threads=(1,), at_most_us=6),
    *(op(f"x + y, {k}", _add(n), moved=12 * n, bar=bar) for k, (n, bar) in SIZES.items()),
    *(
        op(f"{name}, {k}", _unary(name, n), moved=8 * n, bar=bar)
        for name in ("exp", "gelu")
        for k, (n, bar) in SIZES.items()
    ),
    *(
        op(f"{name}, 1M", _unary(name, 1 << 20), moved=8 << 20)
        for name in ("tanh", "sigmoid", "log", "erf", "erfc", "tan", "sin", "erfinv")
    ),
    *(
        op(f"{name}, 1M float64", _unary(name, 1 << 20, "float64"), moved=16 << 20)
        for name in ("exp", "erf")
    ),
    *(
        op(f"gelu, 1M {dtype}", _unary("gelu", 1 << 20, dtype), moved=4 << 20)
        for dtype in ("float16", "bfloat16")
    ),
    op("randn, 1M", _normal(1 << 20), moved=4 << 20, bar=2.0),
    op("dropout, 1M", _dropout(1 << 20), moved=8 << 20, bar=2.0),
    *(
        _optimizer(name, shapes, fused)
        for name in ("Adam", "AdamW")
        for shapes in ([(10_000_000,)], _MANY)
        for fused in (True, False)
    ),
]
