"""Matrix products: square, batched, skinny, narrow types, and a linear layer with its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.cases.case import Case, Program, Run, array, op


def _matmul(m: int, k: int, n: int, letters: str = "NN", dtype: str = "float32") -> Program:
    """(m, k) @ (k, n); T: the operand is a transposed view."""

    def program(torch: Any) -> Run:
        def operand(letter: str, rows: int, columns: int) -> Any:
            x = torch.randn(rows, columns) if letter == "N" else torch.randn(columns, rows).t()
            return x.to(getattr(torch, dtype))

        a, b = operand(letters[0], m, k), operand(letters[1], k, n)
        return lambda: torch.matmul(a, b)

    return program


def _int8(n: int) -> Program:
    def program(torch: Any) -> Run:
        a, b = (torch.randint(-128, 128, (n, n)).to(torch.int8) for _ in range(2))
        return lambda: torch._int_mm(a, b)

    return program


def _batched(batch: int, m: int, k: int, n: int) -> Program:
    def program(torch: Any) -> Run:
        a, b = torch.randn(batch, m, k), torch.randn(batch, k, n)
        return lambda: torch.bmm(a, b)

    return program


def _linear_gelu(rows: int, features: int, width: int, backward: bool) -> Program:
    def program(torch: Any) -> Run:
        x = torch.randn(rows, features)
        weight, bias = torch.randn(width, features) * 0.02, torch.randn(width)
        ones = torch.ones(rows, width)
        linear, gelu = torch.nn.functional.linear, torch.nn.functional.gelu

        def forward() -> object:
            return gelu(linear(x, weight, bias))

        def step() -> None:
            for leaf in (x, weight, bias):
                leaf.grad = None
            gelu(linear(x, weight, bias)).backward(ones)

        if not backward:
            return forward
        for leaf in (x, weight, bias):
            leaf.requires_grad_()
        return step

    return program


def _row(name: str, program: Program, m: int, k: int, n: int, bar: float | None) -> Case:
    moved = 4 * (m * k + k * n + m * n)
    return op(name, program, operations=2 * m * k * n, moved=moved, bar=bar)


def _numpy_matmul(n: int) -> Any:
    def program(_torch: Any) -> Run:
        a, b = array(n, n), array(n, n, seed=1)
        out = np.empty_like(a)
        return lambda: np.matmul(a, b, out=out)

    return program


_SQUARES = ((128, 0.8), (512, 0.9), (1024, 0.95), (2048, 0.95))
_SKINNY = ((1, 4096, 4096), (4096, 4096, 1), (4096, 64, 64))

ROWS = [
    *(
        _row(
            f"matmul {n}" + ("" if letters == "NN" else f" {letters}"),
            _matmul(n, n, n, letters), n, n, n, bar,
        )
        for n, bar in _SQUARES
        for letters in ("NN", "NT", "TN")
    ),
    op("bmm 64x128x64x128", _batched(64, 128, 64, 128), operations=2 * 64 * 128 * 64 * 128,
       bar=0.9),
    *(_row(f"matmul {m}x{k}x{n}", _matmul(m, k, n), m, k, n, 0.9) for m, k, n in _SKINNY),
    *(
        _row(f"matmul {n} bfloat16", _matmul(n, n, n, dtype="bfloat16"), n, n, n, 0.7)
        for n in (512, 1024)
    ),
    *(_row(f"int8 matmul {n}", _int8(n), n, n, n, 0.7) for n in (512, 1024)),
    _row("matmul 512 float64", _matmul(512, 512, 512, dtype="float64"), 512, 512, 512, None),
    op("linear gelu 512x768x3072", _linear_gelu(512, 768, 3072, False),
       operations=2 * 512 * 768 * 3072, bar=1.0),
    op("linear gelu 512x768x3072 forward and backward", _linear_gelu(512, 768, 3072, True),
       operations=6 * 512 * 768 * 3072, bar=1.0),
]  # fmt: skip

NUMPY = {f"matmul {n}": _numpy_matmul(n) for n in (512, 1024)}
