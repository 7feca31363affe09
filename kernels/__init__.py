"""Kernels: the scalar language, generators, templates and launch plans. Knows buffers, not
tensors.
"""

from tritorch.kernels import scalar
from tritorch.kernels.ahead import compile_all, needed
from tritorch.kernels.derivative import derivative, gradient
from tritorch.kernels.expression import Expr, constant, index, substitute, trace, variable
from tritorch.kernels.plan import Plan, Step
from tritorch.kernels.pointwise import PointwiseKernel
from tritorch.kernels.reduction import ReductionKernel
from tritorch.kernels.scan import ScanKernel
from tritorch.kernels.stats import launched, reset_stats, source, stats
from tritorch.kernels.user import UserKernel, kernel

__all__ = [
    "Expr",
    "Plan",
    "PointwiseKernel",
    "ReductionKernel",
    "ScanKernel",
    "Step",
    "UserKernel",
    "compile_all",
    "constant",
    "derivative",
    "gradient",
    "index",
    "kernel",
    "launched",
    "needed",
    "reset_stats",
    "scalar",
    "source",
    "stats",
    "substitute",
    "trace",
    "variable",
]
