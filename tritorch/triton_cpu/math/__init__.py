"""Vector mathematics for the CPU target, emitted as LLVM IR text: own polynomials, no llvm.exp.

`emit` and `emit_typed` emit a function by name; `FUNCTIONS` lists the names; `lookup` knows the
symbols of libdevice (`__nv_tanhf`). Importing this package declares the functions: each module
holds one family.
"""

from __future__ import annotations

from tritorch.triton_cpu.math import (  # noqa: F401  (each declares its functions)
    bessel,
    bits,
    conversions,
    error_function,
    exponential,
    gamma,
    hyperbolic,
    integers,
    inverse_trigonometric,
    logarithm,
    power,
    roots,
    rounding,
    trigonometric,
)
from tritorch.triton_cpu.math.libdevice import lookup
from tritorch.triton_cpu.math.registry import FUNCTIONS, emit, emit_typed

__all__ = ["FUNCTIONS", "emit", "emit_typed", "lookup"]
