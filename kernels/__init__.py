"""Kernels: the scalar language, generators, templates and launch plans. Knows buffers, never tensors."""

from tritorch.kernels.expression import Expr, trace, variable
from tritorch.kernels.plan import Plan
from tritorch.kernels.pointwise import PointwiseKernel
from tritorch.kernels.reduction import ReductionKernel

__all__ = ["Expr", "Plan", "PointwiseKernel", "ReductionKernel", "trace", "variable"]
