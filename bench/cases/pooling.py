"""Pooling and batch normalization."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.cases.case import Case, Run, array, op

SHAPE = (32, 64, 56, 56)
_BYTES = 4 * 32 * 64 * 56 * 56


def _forward(function: Callable[[Any, Any], Any], shape: tuple[int, ...]) -> Callable[[Any], Run]:
    def program(torch: Any) -> Run:
        x = torch.from_numpy(array(*shape)).requires_grad_()
        return lambda: function(torch, x)

    return program


def _backward(function: Callable[[Any, Any], Any], shape: tuple[int, ...]) -> Callable[[Any], Run]:
    def program(torch: Any) -> Run:
        x = torch.from_numpy(array(*shape)).requires_grad_()
        y = function(torch, x)
        g = torch.from_numpy(array(*y.shape, seed=1))
        return lambda: torch.autograd.grad(y, x, g, retain_graph=True)

    return program


def _both(
    name: str, function: Callable[[Any, Any], Any], out: float, bar: float = 1.0
) -> list[Case]:
    """Rows of both directions; `out`: elements of the output for one of the input."""
    moved = int(_BYTES * (1 + out))
    return [
        op(f"{name} forward", _forward(function, SHAPE), moved=moved, bar=bar),
        op(f"{name} backward", _backward(function, SHAPE), moved=moved, bar=bar),
    ]


def _norm(torch: Any, training: bool) -> tuple[Any, Any]:
    layer = torch.nn.BatchNorm2d(SHAPE[1])
    layer.train(training)
    return layer, torch.from_numpy(array(*SHAPE)).requires_grad_()


def _norm_forward(training: bool) -> Callable[[Any], Run]:
    def program(torch: Any) -> Run:
        layer, x = _norm(torch, training)
        return lambda: layer(x)

    return program


def _norm_backward(training: bool) -> Callable[[Any], Run]:
    def program(torch: Any) -> Run:
        layer, x = _norm(torch, training)
        y = layer(x)
        g = torch.from_numpy(array(*SHAPE, seed=1))
        inputs = [x, layer.weight, layer.bias]
        return lambda: torch.autograd.grad(y, inputs, g, retain_graph=True)

    return program


ROWS: list[Case] = [
    *_both("max pool 2x2", lambda torch, x: torch.nn.functional.max_pool2d(x, 2, 2), 1 / 4),
    *_both("max pool 3x3 stride 2", lambda t, x: t.nn.functional.max_pool2d(x, 3, 2), 1 / 4),
    *_both(
        "max pool 3x3 stride 2 padded", lambda t, x: t.nn.functional.max_pool2d(x, 3, 2, 1), 1 / 4
    ),
    *_both("average pool 2x2", lambda t, x: t.nn.functional.avg_pool2d(x, 2, 2), 1 / 4),
    *_both(
        "average pool 3x3 stride 2 padded",
        lambda t, x: t.nn.functional.avg_pool2d(x, 3, 2, 1),
        1 / 4,
    ),
    *_both("adaptive average 1", lambda t, x: t.nn.functional.adaptive_avg_pool2d(x, 1), 0),
    *_both("adaptive average 7", lambda t, x: t.nn.functional.adaptive_avg_pool2d(x, 7), 1 / 64),
    op("batch norm forward", _norm_forward(True), moved=2 * _BYTES, bar=1.0),
    op("batch norm backward", _norm_backward(True), moved=3 * _BYTES, bar=1.0),
    op("batch norm evaluation", _norm_forward(False), moved=2 * _BYTES, bar=1.0),
]
