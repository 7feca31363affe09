"""What a case of the kernel suite is, and how one is checked.

A case knows its arguments (made afresh from a seed), grid, constants, the expected contents of the
arrays it writes, and how far off they may be. `check(case)` compiles and runs it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.triton_cpu.plain_launcher import Launcher
from tritorch.triton_cpu.compile import compile_kernel
from tritorch.triton_cpu.target import CPUTarget

Arguments = dict[str, Any]

TRITON_TYPES = {
    "float64": "fp64",
    "float32": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "float8_e5m2": "fp8e5",
    "float8_e4m3fn": "fp8e4nv",
    "bool": "i1",
    **{f"int{bits}": f"i{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"u{bits}" for bits in (8, 16, 32, 64)},
}

#: |got - expected| <= tolerance * (1 + |expected|), by dtype, unless the case says otherwise
TOLERANCES = {"float64": 1e-14, "float32": 2e-6, "float16": 2e-3, "bfloat16": 1.6e-2}


@dataclass(frozen=True)
class Case:
    """One kernel with one set of arguments."""

    name: str
    kernel: Any
    grid: tuple[int, ...]
    arguments: Callable[[np.random.Generator], Arguments]
    #: from copies of the arguments: name -> expected contents of the arrays that the kernel writes
    reference: Callable[..., Mapping[str, Any]]
    constants: Mapping[str, Any] = field(default_factory=dict)
    #: types that do not follow from the arguments
    types: Mapping[str, str] = field(default_factory=dict)
    tolerance: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def signature(self, arguments: Arguments) -> dict[str, str]:
        return {
            name: self.types.get(name) or triton_type(value) for name, value in arguments.items()
        }


def triton_type(value: Any) -> str:
    """The Triton type of an argument: arrays are pointers, int is i32, float is fp32."""
    if isinstance(value, np.ndarray):
        return "*" + TRITON_TYPES[value.dtype.name]
    if hasattr(value, "block_shape"):
        block = ",".join(map(str, value.block_shape))
        return f"tensordesc<{TRITON_TYPES[value.base.dtype.name]}[{block}]>"
    return "fp32" if isinstance(value, float) else "i32"


def check(case: Case, target: CPUTarget | None = None) -> None:
    """Compile, run and compare dtype by dtype; raises AssertionError with the worst element."""
    arguments = case.arguments(np.random.default_rng(7))
    originals = {
        name: value.copy() if isinstance(value, np.ndarray) else value
        for name, value in arguments.items()
    }
    kernel = compile_kernel(
        case.kernel, case.signature(arguments), case.constants, case.options, target
    )
    Launcher(kernel)(case.grid, *arguments.values())
    expected = case.reference(**originals)
    for name, want in expected.items():
        value = arguments[name]
        compare(f"{case.name}.{name}", getattr(value, "base", None) if hasattr(value, "block_shape")
                else value, np.asarray(want), case.tolerance)  # fmt: skip


def compare(name: str, got: Any, want: np.ndarray, tolerance: float | None) -> None:
    assert got.shape == want.shape, f"{name}: shape {got.shape}, expected {want.shape}"
    if got.dtype.kind in "iub":
        wrong = np.nonzero(got != want)
        assert not len(wrong[0]), (
            f"{name}: {len(wrong[0])} of {got.size} differ, first at {[int(i[0]) for i in wrong]}: "
            f"{got[wrong][0]}, expected {want[wrong][0]}"
        )
        return
    limit = TOLERANCES.get(got.dtype.name, 0.0) if tolerance is None else tolerance
    actual, exact = got.astype(np.float64), want.astype(np.float64)
    same = (actual == exact) | (np.isnan(actual) & np.isnan(exact))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0.0, np.abs(actual - exact) / (1 + np.abs(exact)))
    error = np.where(np.isnan(error), np.inf, error)
    worst = np.unravel_index(int(error.argmax()), error.shape) if error.size else ()
    assert error.size == 0 or error[worst] <= limit, (
        f"{name}: off by {error[worst]:.3g} (limit {limit:.3g}) at {tuple(map(int, worst))}: "
        f"{actual[worst]!r}, expected {exact[worst]!r}"
    )


def case(cases: list[Case], name: str, kernel: Any, grid: tuple[int, ...], arguments: Any,
         reference: Any, types: Mapping[str, str] | None = None, tolerance: float | None = None,
         options: Mapping[str, Any] | None = None, **constants: Any) -> None:  # fmt: skip
    """Add a case to a list; keyword arguments are the kernel's constants."""
    cases.append(
        Case(
            name,
            kernel,
            grid,
            arguments,
            reference,
            constants,
            types or {},
            tolerance,
            options or {},
        )
    )


def floats(rng: np.random.Generator, *shape: int, dtype: Any = np.float32) -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


def zeros(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


def wide(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float64)


erf = np.vectorize(math.erf, otypes=[np.float64])
