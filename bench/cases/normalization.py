"""Layer and RMS normalization, cross entropy."""

from __future__ import annotations

from typing import Any

from bench.cases.case import Case, Run, op

SHAPES = [(4096, 256), (4096, 1024), (4096, 1000), (128, 50257), (64, 65536)]


def _norm(name: str, shape: tuple[int, int], dtype: str = "float32") -> list[Case]:
    """Forward, and backward for x and the parameters."""

    def setup(torch: Any) -> tuple[Any, Any]:
        kind = getattr(torch, dtype)
        columns = shape[1]
        x = torch.randn(*shape).to(kind).requires_grad_(True)
        weight = torch.randn(columns).to(kind).requires_grad_(True)
        if name == "rms norm":
            rms_norm = torch.nn.functional.rms_norm
            return [x, weight], lambda: rms_norm(x, (columns,), weight, 1e-5)
        bias = torch.randn(columns).to(kind).requires_grad_(True)
        layer_norm = torch.nn.functional.layer_norm
        return [x, weight, bias], lambda: layer_norm(x, (columns,), weight, bias, 1e-5)

    def forward(torch: Any) -> Run:
        def run() -> object:
            with torch.no_grad():
                return function()

        _, function = setup(torch)
        return run

    def backward(torch: Any) -> Run:
        inputs, function = setup(torch)
        y = function()
        g = torch.randn(*shape).to(y.dtype)
        return lambda: torch.autograd.grad(y, inputs, g, retain_graph=True)

    size = 4 if dtype == "float32" else 2
    count = shape[0] * shape[1] * size
    ending = f"{shape[0]}x{shape[1]}" + (f" {dtype}" if dtype != "float32" else "")
    return [
        op(f"{name} op, {ending}", forward, moved=2 * count, bar=1.0),
        op(f"{name} op backward, {ending}", backward, moved=3 * count, bar=1.0),
    ]


def _cross_entropy(rows: int, classes: int) -> Case:
    def program(torch: Any) -> Run:
        x = torch.randn(rows, classes).requires_grad_(True)
        target = torch.randint(0, classes, (rows,))

        def run() -> object:
            loss = torch.nn.functional.cross_entropy(x, target)
            return torch.autograd.grad(loss, x)

        return run

    name = f"cross entropy forward and backward, {rows}x{classes}"
    return op(name, program, moved=12 * rows * classes, bar=1.0)


ROWS = [
    *(row for name in ("layer norm", "rms norm") for shape in SHAPES for row in _norm(name, shape)),
    *_norm("layer norm", (4096, 1024), "float16"),
    *_norm("layer norm", (4096, 1024), "bfloat16"),
    _cross_entropy(2048, 8192),
    _cross_entropy(512, 50257),
    _cross_entropy(4096, 128),
]
