"""Kernels: the scalar language, generators, templates and launch plans. Knows buffers, never tensors."""

from tritorch.kernels.expression import Expr, trace, variable
from tritorch.kernels.plan import Plan
from tritorch.kernels.pointwise import PointwiseKernel

__all__ = ["Expr", "Plan", "PointwiseKernel", "trace", "variable"]
