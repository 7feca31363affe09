"""Recurrent layers: a step of training, and a sequence without gradients."""

from __future__ import annotations

from typing import Any

from bench.cases.case import Program, Run, op


def _step(kind: str, steps: int, batch: int, features: int, width: int, **options: Any) -> Program:
    """A sequence forward, and the gradients of everything."""

    def program(torch: Any) -> Run:
        layer = getattr(torch.nn, kind)(features, width, **options)
        x = torch.randn(steps, batch, features, requires_grad=True)

        def run() -> None:
            output, _ = layer(x)
            output.sum().backward()
            layer.zero_grad()
            x.grad = None

        return run

    return program


def _forward(kind: str, steps: int, batch: int, features: int, width: int) -> Program:
    """A sequence without gradients."""

    def program(torch: Any) -> Run:
        layer = getattr(torch.nn, kind)(features, width)
        x = torch.randn(steps, batch, features)

        def run() -> Any:
            with torch.no_grad():
                return layer(x)

        return run

    return program


ROWS = [
    op("LSTM 64 steps of 32x128, 128 wide, forward", _forward("LSTM", 64, 32, 128, 128)),
    op("LSTM 64 steps of 32x128, 128 wide, with gradients", _step("LSTM", 64, 32, 128, 128)),
    op("LSTM 32 steps of 8x32, 64 wide, with gradients", _step("LSTM", 32, 8, 32, 64)),
    op(
        "LSTM 64 steps of 16x64, 64 wide, 2 layers, both ways, with gradients",
        _step("LSTM", 64, 16, 64, 64, num_layers=2, bidirectional=True),
    ),
    op("GRU 64 steps of 32x128, 128 wide, with gradients", _step("GRU", 64, 32, 128, 128)),
]
