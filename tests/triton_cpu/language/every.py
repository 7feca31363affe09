"""All groups of the language suite; importing the modules fills the list."""

from __future__ import annotations

from tests.triton_cpu.language import (
    atomics,
    casts,
    memory,
    pointwise,
    products,
    reductions,
    shapes,
)
from tests.triton_cpu.language.harness import GROUPS

__all__ = [
    "GROUPS",
    "atomics",
    "casts",
    "memory",
    "pointwise",
    "products",
    "reductions",
    "shapes",
]
