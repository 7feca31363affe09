"""What is measured, by subject. A case gives a callable for each side.

`plain_kernels` launches Triton kernels of bench/kernels.py on raw memory; the
other modules run the same PyTorch-style program on both libraries.
"""

from __future__ import annotations

from bench.cases import (
    attention,
    convolution,
    elementwise,
    images,
    indexing,
    linear_algebra,
    normalization,
    ordering,
    plain_kernels,
    pooling,
    products,
    recurrent,
    rows,
    steps,
)
from bench.cases.case import Case, Run

MODULES = (
    elementwise,
    rows,
    normalization,
    indexing,
    products,
    recurrent,
    convolution,
    pooling,
    attention,
    images,
    ordering,
    linear_algebra,
    steps,
    plain_kernels,
)

SUBJECTS = {module.__name__.rpartition(".")[2]: module.ROWS for module in MODULES}
CASES = {case.name: case for module in MODULES for case in module.ROWS}

# Peers of another library than PyTorch; the worker that runs them has no torch.
NUMPY = products.NUMPY

__all__ = ["CASES", "NUMPY", "SUBJECTS", "Case", "Run"]
