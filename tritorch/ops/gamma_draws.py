"""Gamma variables: their logarithms are drawn, so shapes near 0 do not underflow.

`tritorch.distributions.gamma` makes gamma, beta, Dirichlet, Student and further variables of them.
"""

# `_gamma_slope` is written in the scalar language, whose operands have no annotations.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

from tritorch import dtypes
from tritorch.autograd import Function
from tritorch.autograd.function import once_differentiable
from tritorch.kernels import random as kernels
from tritorch.kernels import scalar as s
from tritorch.layout import Layout
from tritorch.ops.declare import pointwise, takes
from tritorch.ops.dispatch import Plans
from tritorch.ops.memory import contiguous
from tritorch.ops.random import default_generator
from tritorch.tensor import Tensor, empty


def _plan(layout: Layout) -> Any:
    computes = [dtypes.float64, dtypes.int64, dtypes.int64]  # words of 32 bits fit into float64
    return kernels.gamma.plan(
        [layout, int, int], computes, [layout.dtype], out_layouts=[layout]
    ).launch


_plans = Plans(_plan)


@pointwise(
    promote="floating", method=False, differentiable=False, numpy=None, low=0.2, high=6.0,
    out=False,
)  # fmt: skip
def _gamma_slope(shape, logarithm):
    """How the logarithm of a gamma variable follows its shape, where the mass below it stays."""
    return s.gamma_slope(shape, logarithm, s.digamma(shape + 1.0))


class _Draw(Function):
    @staticmethod
    def forward(ctx: Any, shape: Tensor, generator: Any) -> Tensor:
        given = contiguous(shape)
        layout = Layout.contiguous(given.dtype, tuple(given.shape), given.device)
        drawn = empty(layout)
        where = (generator or default_generator).reserve(layout.numel)
        _plans[layout](drawn._address, given._address, *where)
        ctx.save_for_backward(shape, drawn)
        return drawn

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * _gamma_slope(*ctx.saved_tensors), None


@takes("floating")
def log_gamma_sample(shape: Tensor, generator: Any = None) -> Tensor:
    """Logarithms of gamma variables of these shapes (not below 0) and scale 1.

    The gradient is that of the variable as a function of its shape at a fixed mass below it. It
    has no derivative of its own.
    Source: Figurnov et al., Implicit reparameterization gradients (2018).
    """
    if not shape.is_floating_point():
        raise RuntimeError(
            f'"log_gamma_sample" not implemented for {shape.dtype}. Use a floating-point dtype.'
        )
    result: Tensor = _Draw.apply(shape, generator)
    return result
