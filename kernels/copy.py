"""Kernels without arithmetic worth the name: copy and cast, fill, arange, linspace.

All are pointwise kernels, so they take any strides on both sides; a transposed copy is done in
square tiles.
"""

from __future__ import annotations

from tritorch.kernels.expression import trace
from tritorch.kernels.pointwise import PointwiseKernel
from tritorch.kernels.scalar import Expr, index, where

#: out = x, converted to the output's dtype on store
copy = PointwiseKernel("copy", ["x"], trace(lambda x: x, ["x"]))

#: out = value, a scalar operand
fill = PointwiseKernel("fill", ["value"], trace(lambda value: value, ["value"]))


def _arange(start: Expr, step: Expr) -> Expr:
    return start + index() * step


def _linspace(start: Expr, end: Expr, step: Expr, half: Expr, last: Expr) -> Expr:
    # From both ends, as PyTorch does, so that the last value is `end` exactly.
    return where(index() < half, start + index() * step, end - (last - index()) * step)


#: out[i] = start + i * step; compute in int64 for integers and float64 for floats, as PyTorch does
arange = PointwiseKernel("arange", ["start", "step"], trace(_arange, ["start", "step"]))

#: out[i] of steps values from start to end: operands start, end, step, steps // 2, steps - 1
linspace = PointwiseKernel(
    "linspace",
    ["start", "end", "step", "half", "last"],
    trace(_linspace, ["start", "end", "step", "half", "last"]),
)
