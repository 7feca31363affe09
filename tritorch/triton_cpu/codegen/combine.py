"""Combine regions of reductions and scans, on vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritorch.triton_cpu.codegen.builder import BITS
from tritorch.triton_cpu.codegen.constants import FLOATS, literal
from tritorch.triton_cpu.codegen.elementwise import emit_elementwise
from tritorch.triton_cpu.ir import Operation, Value

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.generator import Generator

_ZERO = {"arith.addi", "arith.ori", "arith.xori", "arith.maxui"}


def combine(
    g: Generator, operation: Operation, a: list[str], b: list[str], lanes: int
) -> list[str]:
    """Emit the combine region of a reduction or scan on vectors."""
    block = operation.regions[0][0]
    known: dict[Value, str] = dict(zip(block.arguments, [*a, *b]))

    def operand(value: Value) -> str:
        found = known.get(value)
        if found is None:  # a scalar from outside
            found = g.builder.splat(g.scalars[value], value.type.element, lanes)
        return found

    for inner in block.operations:
        registers = [operand(value) for value in inner.operands]
        if inner.name.endswith(".return"):
            return registers
        result = inner.results[0]
        known[result] = emit_elementwise(g, inner, registers, lanes, result.type.element)
    raise AssertionError("a combine region ends with a return")


def identity_of(operation: Operation, element: str) -> str | None:
    """The neutral element of a region that is one instruction; None for any other region."""
    block = operation.regions[0][0]
    if len(block.operations) != 2:
        return None
    inner = block.operations[0]
    if set(inner.operands) != set(block.arguments) or block.operations[1].operands != inner.results:
        return None
    name = inner.name
    if name in _ZERO:
        return "0" if element != "i1" else "false"
    if element in FLOATS:
        value = {
            "arith.addf": -0.0,
            "arith.mulf": 1.0,
            "arith.maxnumf": float("nan"),
            "arith.minnumf": float("nan"),
            "arith.maximumf": float("-inf"),
            "arith.minimumf": float("inf"),
        }.get(name)
        return None if value is None else literal(value, element)
    if element == "i1":
        return {"arith.andi": "true", "arith.muli": "true", "arith.minui": "true"}.get(name)
    bits = BITS[element]
    number = {
        "arith.andi": -1,
        "arith.muli": 1,
        "arith.minui": -1,
        "arith.maxsi": -(1 << (bits - 1)),
        "arith.minsi": (1 << (bits - 1)) - 1,
    }.get(name)
    return None if number is None else str(number)
