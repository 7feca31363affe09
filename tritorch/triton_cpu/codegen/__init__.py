"""Code generation: parsed Triton IR -> LLVM assembly text."""

from __future__ import annotations

from tritorch.triton_cpu.codegen.builder import Builder, Vec
from tritorch.triton_cpu.ir import Operation
from tritorch.triton_cpu.target import CPUTarget


def generate(
    functions: list[Operation], target: CPUTarget, name: str, check_bounds: bool = False
) -> str:
    """LLVM module text with `void NAME(ptr args, i64 begin, i64 end)`.

    Args:
        functions: the `tt.func` operations of the parsed module, the kernel first.
        target: the CPU to generate for.
        name: the name that the entry gets.
        check_bounds: check every access; the entry takes one argument more (`access_checks`).
    """
    from tritorch.triton_cpu.codegen.function import Module

    return Module(functions, target, name, check_bounds).text()


__all__ = ["Builder", "Vec", "generate"]
