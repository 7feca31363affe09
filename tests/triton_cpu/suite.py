"""Kernels that together use every operation of Triton's IR that we know, with NumPy references.

`CASES` lists them; `check(case)` compiles and runs one.
"""

from __future__ import annotations

from tests.triton_cpu import (
    suite_kernels,
    suite_pointwise,
    suite_products,
    suite_programs,
    suite_tensors,
)
from tests.triton_cpu.cases import Case, check

__all__ = ["CASES", "Case", "check"]

CASES: list[Case] = [
    *suite_pointwise.CASES,
    *suite_tensors.CASES,
    *suite_products.CASES,
    *suite_programs.CASES,
    *suite_kernels.CASES,
]
