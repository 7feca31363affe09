"""All groups of the language suite; importing the modules fills the list."""

from __future__ import annotations

from tests.triton_cpu.language import casts, memory, pointwise, reductions
from tests.triton_cpu.language.harness import GROUPS

__all__ = ["GROUPS", "casts", "memory", "pointwise", "reductions"]
