"""What a masked strip computes beyond every bound: the same in each of them, or nothing at all.

Blocks are powers of two, so a row of 50257 elements leaves 15279 masked ones. Once a strip lies
wholly outside the masks and leaves every accumulator as it was, all later strips will: the loop
may end.
"""

from __future__ import annotations

from collections.abc import Callable

from tritorch.triton_cpu.analysis.affine import AffineAnalysis
from tritorch.triton_cpu.analysis.masks import (
    Constraint,
    DimensionMap,
    MaskAnalysis,
    operand_maps,
    translate,
)
from tritorch.triton_cpu.analysis.shapes import is_tensor
from tritorch.triton_cpu.analysis.sinks import is_virtual
from tritorch.triton_cpu.ir import Operation, Value

_ZERO_KEEPING = frozenset({"arith.extf", "arith.truncf", "arith.negf", "arith.sitofp", "math.absf"})


class Stability:
    """Answers for one loop nest of rank `rank` whose innermost loop runs over dimension `inner`."""

    def __init__(
        self,
        affine: AffineAnalysis,
        masks: MaskAnalysis,
        is_stored: Callable[[Value], bool],
        rank: int,
        inner: int,
    ) -> None:
        self._affine = affine
        self._masks = masks
        self._is_stored = is_stored
        self._rank = rank
        self._inner = inner
        self._known: dict[tuple[Value, DimensionMap], bool] = {}
        #: upper bounds (of the innermost dimension) beyond which masks were taken to be false
        self.bounds: dict[Constraint, None] = {}

    def is_stable(self, value: Value, mapping: DimensionMap | None = None) -> bool:
        """Whether the value is the same in every strip beyond the bounds."""
        mapping = tuple(range(self._rank)) if mapping is None else mapping
        if not is_tensor(value) or not any(d is None or d == self._inner for d in mapping):
            return True
        key = (value, mapping)
        found = self._known.get(key)
        if found is None:
            self._known[key] = False
            found = self._known[key] = self._compute(value, mapping)
        return found

    def _compute(self, value: Value, mapping: DimensionMap) -> bool:
        if self._is_stored(value):
            return False
        form = self._affine.get(value)
        if form is not None:
            return all(
                s == 0 or d not in (None, self._inner) for s, d in zip(form.strides, mapping)
            )
        if self._masks.get(value) is not None:
            return self._is_false(value, mapping)
        operation = value.operation
        if operation is None or not is_virtual(operation) or operation.regions:
            return False
        maps = operand_maps(operation, mapping)
        name = operation.name
        if name == "tt.load":
            if len(operation.operands) < 2 or not self._is_false(operation.operands[1], maps[1]):
                return False
            return len(operation.operands) < 3 or self.is_stable(operation.operands[2], maps[2])
        if name == "arith.select" and self._is_false(operation.operands[0], maps[0]):
            return self.is_stable(operation.operands[2], maps[2])
        return all(self.is_stable(o, m) for o, m in zip(operation.operands, maps))

    def _is_false(self, mask: Value, mapping: DimensionMap) -> bool:
        """Whether the mask is false beyond some bound, which is noted."""
        for constraint in self._masks.get(mask) or ():
            moved = translate(constraint, mapping, self._rank)
            if moved is not None and moved.coefficient(self._inner) == 1:
                self.bounds[moved] = None
                return True
        return False


def zero_outside(masks: MaskAnalysis, value: Value) -> tuple[Constraint, ...]:
    """Constraints such that the value is zero wherever one of them fails; over its own
    dimensions.
    """
    operation = value.operation
    if operation is None:
        return ()
    name, operands = operation.name, operation.operands
    if name == "tt.load" and len(operands) > 1:
        if len(operands) > 2 and not is_zero(operands[2]):
            return ()
        return masks.get(operands[1]) or ()
    if name == "arith.select" and is_zero(operands[2]):
        return masks.get(operands[0]) or ()
    if name in _ZERO_KEEPING:
        return zero_outside(masks, operands[0])
    if name == "arith.mulf":
        first = zero_outside(masks, operands[0])
        second = zero_outside(masks, operands[1])
        return tuple(c for c in first if c in second)
    return ()


def is_zero(value: Value) -> bool:
    """Whether every element is the constant zero."""
    operation = value.operation
    while operation is not None and operation.name in (
        "tt.splat",
        "tt.broadcast",
        "tt.expand_dims",
    ):
        operation = operation.operands[0].operation
    return (
        operation is not None
        and operation.name == "arith.constant"
        and not isinstance(operation.attributes["value"], list)
        and operation.attributes["value"] == 0
    )


def adds_zero_outside(masks: MaskAnalysis, value: Value, argument: Value) -> tuple[Constraint, ...]:
    """Constraints outside which `value` is `argument`: it is `argument + x` with x zero there."""
    operation: Operation | None = value.operation
    if operation is None or operation.name not in ("arith.addf", "arith.addi"):
        return ()
    first, second = operation.operands
    if first is argument:
        return zero_outside(masks, second)
    return zero_outside(masks, first) if second is argument else ()
