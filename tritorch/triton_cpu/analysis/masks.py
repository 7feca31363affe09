"""Masks as conjunctions of affine inequalities: what turns `index < bound` into the bounds of a
loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tritorch.triton_cpu.analysis.affine import Affine, AffineAnalysis, stays_narrow
from tritorch.triton_cpu.analysis.reshape import reshape_groups, squeeze_map
from tritorch.triton_cpu.codegen.builder import Builder
from tritorch.triton_cpu.ir import Operation, Value

Base = int | str

_LESS = {2: "slt", 3: "sle", 4: "sgt", 5: "sge"}  # arith.cmpi's signed predicates


@dataclass(frozen=True, slots=True)
class Constraint:
    """`base + sum of coefficient x index < 0`, base an i64."""

    base: Base
    coefficients: tuple[int, ...]

    def coefficient(self, dimension: int) -> int:
        """The coefficient of one dimension; 0 for dimension -1, the loop over nothing."""
        return self.coefficients[dimension] if dimension >= 0 else 0


class MaskAnalysis:
    """`self.get(mask)` is its tuple of constraints (all must hold), or None for any other mask."""

    def __init__(
        self, builder: Builder, scalars: Mapping[Value, str], affine: AffineAnalysis
    ) -> None:
        self._builder = builder
        self._scalars = scalars
        self._affine = affine
        self._masks: dict[Value, tuple[Constraint, ...]] = {}

    def get(self, value: Value) -> tuple[Constraint, ...] | None:
        return self._masks.get(value)

    def visit(self, operation: Operation) -> None:
        """Find the constraints of a boolean tensor operation."""
        result = operation.results[0]
        if result.type.element != "i1":
            return
        found = self._constraints(operation)
        if found is not None:
            self._masks[result] = found

    def _constraints(self, operation: Operation) -> tuple[Constraint, ...] | None:
        name = operation.name
        if name == "arith.cmpi":
            return self._comparison(operation)
        if name == "tt.splat":
            condition = self._scalars[operation.operands[0]]
            rank = len(operation.results[0].type.shape or ())
            if condition in ("0", "1"):
                return (Constraint(-int(condition), (0,) * rank),)
            base = self._builder.define(f"sext i1 {condition} to i64")  # true is -1
            return (Constraint(base, (0,) * rank),)
        if name == "arith.constant" and operation.attributes["value"] is True:
            return ()
        if not operation.operands:
            return None
        first = self._masks.get(operation.operands[0])
        if first is None:
            return None
        if name == "arith.andi":
            second = self._masks.get(operation.operands[1])
            return None if second is None else tuple(dict.fromkeys(first + second))
        if name == "tt.broadcast":
            return first
        if name == "tt.expand_dims":
            axis = operation.attributes["axis"]
            return tuple(
                Constraint(c.base, (*c.coefficients[:axis], 0, *c.coefficients[axis:]))
                for c in first
            )
        if name == "tt.trans":
            order = operation.attributes["order"]
            return tuple(Constraint(c.base, tuple(c.coefficients[d] for d in order)) for c in first)
        if name == "tt.reshape":
            mapping = squeeze_map(
                operation.operands[0].type.shape or (), operation.results[0].type.shape or ()
            )
            if mapping is None:
                return None
            return tuple(
                Constraint(c.base, tuple(0 if d is None else c.coefficients[d] for d in mapping))
                for c in first
            )
        return None

    def _comparison(self, operation: Operation) -> tuple[Constraint, ...] | None:
        relation = _LESS.get(operation.attributes["predicate"])
        a = self._affine.get(operation.operands[0])
        b = self._affine.get(operation.operands[1])
        if relation is None or a is None or b is None:
            return None
        shape = operation.operands[0].type.shape or ()
        if not (stays_narrow(a, shape) and stays_narrow(b, shape)):
            return None
        if relation in ("sgt", "sge"):
            a, b = b, a
        coefficients = _difference(a, b)
        if coefficients is None:
            return None
        builder = self._builder
        base = builder.integer(
            "sub", builder.extend(a.base, a.element), builder.extend(b.base, b.element)
        )
        if relation in ("sle", "sge"):
            base = builder.integer("add", base, -1)
        return (Constraint(base, coefficients),)


def _difference(a: Affine, b: Affine) -> tuple[int, ...] | None:
    """Strides of a - b where they are known numbers."""
    result = []
    for x, y in zip(a.strides, b.strides):
        if x == y:
            result.append(0)
        elif isinstance(x, int) and isinstance(y, int):
            result.append(x - y)
        else:
            return None
    return tuple(result)


#: For each dimension of a value: the loop's dimension that indexes it, -1 where the index is
#: constant 0, None where it is anything else.
DimensionMap = tuple[int | None, ...]


def operand_maps(operation: Operation, mapping: DimensionMap) -> list[DimensionMap]:
    """The maps of a virtual operation's operands, given the map of its result."""
    name = operation.name
    if name == "tt.expand_dims":
        axis = operation.attributes["axis"]
        return [mapping[:axis] + mapping[axis + 1 :]]
    if name == "tt.broadcast":
        shape = operation.operands[0].type.shape or ()
        return [tuple(d if size > 1 else -1 for d, size in zip(mapping, shape))]
    if name == "tt.trans":
        order = operation.attributes["order"]
        result: list[int | None] = [None] * len(order)
        for position, dimension in enumerate(order):
            result[dimension] = mapping[position]
        return [tuple(result)]
    if name == "tt.reshape":
        source = operation.operands[0].type.shape or ()
        target = operation.results[0].type.shape or ()
        before: list[int | None] = [-1 if size == 1 else None for size in source]
        for left, right in reshape_groups(source, target):
            wide_left = [d for d in left if source[d] > 1]
            wide_right = [d for d in right if target[d] > 1]
            if len(wide_left) == 1 and len(wide_right) == 1:
                before[wide_left[0]] = mapping[wide_right[0]]
        return [tuple(before)]
    maps: list[DimensionMap] = []
    for operand in operation.operands:
        operand_shape = operand.type.shape
        if operand_shape is None:
            maps.append(())
        elif operand_shape == operation.results[0].type.shape:
            maps.append(mapping)
        else:  # join, split, cat, gather: only the untouched positions would correspond
            maps.append((None,) * len(operand_shape))
    return maps


def translate(constraint: Constraint, mapping: DimensionMap, rank: int) -> Constraint | None:
    """The constraint over the dimensions of a loop of this rank; None if it cannot be said
    there.
    """
    coefficients = [0] * rank
    for coefficient, dimension in zip(constraint.coefficients, mapping):
        if coefficient == 0 or dimension == -1:
            continue
        if dimension is None:
            return None
        coefficients[dimension] += coefficient
    return Constraint(constraint.base, tuple(coefficients))
