"""Matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.cases.case import Run, array, op


def _matmul(n: int) -> Any:
    def program(torch: Any) -> Run:
        a, b = torch.randn(n, n), torch.randn(n, n)
        return lambda: torch.matmul(a, b)

    return program


def _numpy_matmul(n: int) -> Any:
    def program(_torch: Any) -> Run:
        a, b = array(n, n), array(n, n, seed=1)
        out = np.empty_like(a)
        return lambda: np.matmul(a, b, out=out)

    return program


ROWS = [
    op(f"matmul {n}", _matmul(n), operations=2 * n**3, moved=12 * n * n, bar=bar)
    for n, bar in ((128, 0.8), (512, 0.9), (1024, 0.95), (2048, 0.95))
]

NUMPY = {f"matmul {n}": _numpy_matmul(n) for n in (512, 1024)}
