"""What depends on an order: medians, quantiles, unique elements; and random orders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.cases.case import Case, Run, op


def _of(name: str, function: Callable[[Any, Any], Any], *shape: int) -> Case:
    def program(torch: Any) -> Run:
        x = torch.randn(*shape)
        return lambda: function(torch, x)

    return op(f"{name}, {'x'.join(map(str, shape))}", program)


def _permutation(n: int) -> Case:
    def program(torch: Any) -> Run:
        return lambda: torch.randperm(n)

    return op(f"randperm, {n}", program)


ROWS: list[Case] = [
    _of("median of all", lambda torch, x: torch.median(x), 1 << 20),
    *(_of(f"median dim {dim}", lambda torch, x, dim=dim: torch.median(x, dim), 1024, 1024)
      for dim in (0, 1)),
    _of("nanmedian dim 1", lambda torch, x: torch.nanmedian(x, 1), 1024, 1024),
    _of("median dim 1", lambda torch, x: torch.median(x, 1), 65536, 9),
    _of("kthvalue dim 1", lambda torch, x: torch.kthvalue(x, 10, 1), 1024, 1024),
    _of("quantile 0.9 of all", lambda torch, x: torch.quantile(x, 0.9), 1 << 20),
    _of("quantile 0.9 dim 1", lambda torch, x: torch.quantile(x, 0.9, 1), 1024, 1024),
    _permutation(1000),
    _permutation(1_000_000),
]  # fmt: skip
