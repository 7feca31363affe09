"""All groups of the language suite; importing the modules fills the list."""

from __future__ import annotations

from importlib.util import find_spec

from tests.triton_cpu.language import (
    atomics,
    casts,
    control,
    memory,
    methods,
    pointwise,
    products,
    random_numbers,
    reductions,
    shapes,
)
from tests.triton_cpu.language.harness import GROUPS

if find_spec("scipy"):  # the references of libdevice's functions are SciPy's
    from tests.triton_cpu.language import library  # noqa: F401

__all__ = [
    "GROUPS",
    "atomics",
    "casts",
    "control",
    "memory",
    "methods",
    "pointwise",
    "products",
    "random_numbers",
    "reductions",
    "shapes",
]
