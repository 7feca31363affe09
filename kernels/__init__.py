"""Kernels: the scalar language, generators, templates and launch plans. Knows buffers, not
tensors.
"""

from tritorch.kernels import scalar
from tritorch.kernels.derivative import derivative, gradient
from tritorch.kernels.expression import Expr, constant, index, substitute, trace, variable
from tritorch.kernels.plan import Plan, Step
from tritorch.kernels.pointwise import PointwiseKernel
from tritorch.kernels.reduction import ReductionKernel
from tritorch.kernels.scan import ScanKernel
from tritorch.kernels.stats import launched, reset_stats, source, stats

__all__ = [
    "Expr",
    "Plan",
    "PointwiseKernel",
    "ReductionKernel",
    "ScanKernel",
    "Step",
    "constant",
    "derivative",
    "gradient",
    "index",
    "launched",
    "reset_stats",
    "scalar",
    "source",
    "stats",
    "substitute",
    "trace",
    "variable",
]
