"""Softmax, reductions, scans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.cases.case import Case, Run, op

Shape = tuple[int, ...]


def _call(shape: Shape, function: Callable[[Any, Any], Any], dtype: str = "float32") -> Any:
    """`function(torch, x)` of a random x."""

    def program(torch: Any) -> Run:
        x = torch.randn(*shape).to(getattr(torch, dtype))
        return lambda: function(torch, x)

    return program


def backward(shape: Shape, function: Callable[[Any, Any], Any], dtype: str = "float32") -> Any:
    """The backward alone of `function(torch, x)`, from a random gradient."""

    def program(torch: Any) -> Run:
        x = torch.randn(*shape).to(getattr(torch, dtype)).requires_grad_(True)
        y = function(torch, x)
        g = torch.randn(*y.shape).to(y.dtype)
        return lambda: torch.autograd.grad(y, x, g, retain_graph=True)

    return program


def _name(what: str, shape: Shape, dtype: str) -> str:
    return f"{what}, {'x'.join(map(str, shape))}" + (f" {dtype}" if dtype != "float32" else "")


def _row(
    what: str,
    shape: Shape,
    function: Callable[[Any, Any], Any],
    per_element: int = 4,
    bar: float | None = 1.0,
    dtype: str = "float32",
) -> Case:
    count = 1
    for size in shape:
        count *= size
    program = _call(shape, function, dtype)
    return op(_name(what, shape, dtype), program, moved=per_element * count, bar=bar)


def _both(what: str, shape: Shape, function: Any, dtype: str = "float32") -> list[Case]:
    """Forward and backward of something that keeps its shape."""
    size = {"float32": 4, "float16": 2, "bfloat16": 2}[dtype]
    count = shape[0] * shape[1]
    forward = op(_name(what, shape, dtype), _call(shape, function, dtype), moved=2 * size * count,
                 bar=1.0)  # fmt: skip
    back = op(_name(f"{what} backward", shape, dtype), backward(shape, function, dtype),
              moved=3 * size * count, bar=1.0)  # fmt: skip
    return [forward, back]


LENGTHS: list[Shape] = [(4096, 256), (4096, 1024), (4096, 1000), (128, 50257), (64, 65536)]


def _softmax(torch: Any, x: Any) -> Any:
    return torch.softmax(x, 1)


def _log_softmax(torch: Any, x: Any) -> Any:
    return torch.log_softmax(x, 1)


_SUMS: list[tuple[Shape, tuple[int, ...]]] = [
    ((2048, 2048), (0, 1)), ((16384, 256), (0, 1)), ((256, 16384), (0, 1)),
]  # fmt: skip

ROWS = [
    *(row for shape in LENGTHS for row in _both("softmax op", shape, _softmax)),
    *(row for shape in LENGTHS for row in _both("log_softmax op", shape, _log_softmax)),
    *(_both("softmax op", (4096, 1024), _softmax, "float16")),
    *(_both("softmax op", (4096, 1024), _softmax, "bfloat16")),
    *(
        _row("logsumexp", shape, lambda torch, x: torch.logsumexp(x, 1))
        for shape in ((4096, 1024), (64, 65536))
    ),
    *(_row("sum of all", (n,), lambda torch, x: x.sum()) for n in (1 << 20, 1 << 24)),
    *(
        _row(f"sum dim {dim}", shape, lambda torch, x, dim=dim: x.sum(dim))
        for shape, dims in _SUMS
        for dim in dims
    ),
    *(_row(f"mean dim {dim}", (2048, 2048), lambda torch, x, dim=dim: x.mean(dim))
      for dim in (0, 1)),
    *(_row(f"max dim {dim}", (2048, 2048), lambda torch, x, dim=dim: x.max(dim)[0])
      for dim in (0, 1)),
    *(_row(f"argmax dim {dim}", (2048, 2048), lambda torch, x, dim=dim: x.argmax(dim))
      for dim in (0, 1)),
    _row("argmax of all", (1 << 20,), lambda torch, x: x.argmax()),
    *(_row(f"var dim {dim}", (2048, 2048), lambda torch, x, dim=dim: x.var(dim))
      for dim in (0, 1)),
    _row("var of all", (1 << 20,), lambda torch, x: x.var()),
    *(_row("norm of all", (n,), lambda torch, x: x.norm()) for n in (1 << 20, 1 << 24)),
    *(_row(f"norm dim {dim}", (2048, 2048), lambda torch, x, dim=dim: x.norm(dim=dim))
      for dim in (0, 1)),
    _row("cumsum op dim 1", (256, 1024), lambda torch, x: x.cumsum(1), 8),
    _row("cumsum op dim 0", (1024, 1024), lambda torch, x: x.cumsum(0), 8),
    _row("cumsum op dim 0", (1 << 20,), lambda torch, x: x.cumsum(0), 8),
    _row("cumsum op dim 0", (1 << 24,), lambda torch, x: x.cumsum(0), 8),
]  # fmt: skip
