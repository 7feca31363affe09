"""What a loop nest knows before it starts: the values it will read, and where their masks hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tritorch.triton_cpu.analysis.masks import Constraint, DimensionMap, operand_maps, translate
from tritorch.triton_cpu.analysis.shapes import is_tensor
from tritorch.triton_cpu.analysis.sinks import is_virtual
from tritorch.triton_cpu.codegen.context import Base, Walk
from tritorch.triton_cpu.ir import Value

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.generator import Generator


@dataclass(slots=True)
class Reach:
    """The virtual values under some roots, and how loop dimensions index each of them."""

    maps: dict[Value, dict[DimensionMap, None]]
    rank: int

    def is_direct(self, value: Value) -> bool:
        """Whether the loop reads the value at the loop's own index."""
        return tuple(range(self.rank)) in self.maps.get(value, ())


def reach(g: Generator, roots: list[Value], rank: int) -> Reach:
    """Follow operands from the roots (tensors of the loop's shape) down to stored values and
    affine forms.
    """
    maps: dict[Value, dict[DimensionMap, None]] = {}
    identity: DimensionMap = tuple(range(rank))
    stack = [(root, identity) for root in reversed(roots) if is_tensor(root)]
    while stack:
        value, mapping = stack.pop()
        known = maps.setdefault(value, {})
        if mapping in known:
            continue
        known[mapping] = None
        if value in g.buffers or g.masks.get(value) is not None:
            continue
        if g.affine.get(value) is not None:
            continue
        operation = value.operation
        if operation is None or not is_virtual(operation):
            continue
        if operation.name == "tt.split":
            mapping = (*mapping, -1)
        for operand, operand_map in zip(operation.operands, operand_maps(operation, mapping)):
            if is_tensor(operand):
                stack.append((operand, operand_map))
    return Reach(maps, rank)


@dataclass(slots=True)
class Bounds:
    """The masks of a nest as inequalities over its dimensions."""

    constraints: list[Constraint]
    true_masks: frozenset[Value]


def mask_bounds(g: Generator, reached: Reach, walk: Walk) -> Bounds:
    """The masks that an unmasked strip can rely on, and what must hold there."""
    found: dict[Constraint, None] = {}
    masks = set()
    for value, mappings in reached.maps.items():
        constraints = g.masks.get(value)
        if constraints is None or value in g.buffers:
            continue
        translated = [
            translate(constraint, mapping, reached.rank)
            for mapping in mappings
            for constraint in constraints
        ]
        usable = [
            c for c in translated if c is not None and c.coefficient(walk.inner) in (-1, 0, 1)
        ]
        if len(usable) < len(translated):
            continue
        masks.add(value)
        found.update(dict.fromkeys(usable))
    return Bounds(list(found), frozenset(masks))


@dataclass(slots=True)
class Ranges:
    """Parts of the innermost loop: [begin, low) masked, [low, high) full, [high, end) masked."""

    begin: Base
    low: Base
    high: Base
    end: Base


def minimum(g: Generator, a: Base, b: Base) -> Base:
    if isinstance(a, int) and isinstance(b, int):
        return min(a, b)
    return g.builder.intrinsic("smin", "i64", 1, str(a), str(b))


def maximum(g: Generator, a: Base, b: Base) -> Base:
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b)
    return g.builder.intrinsic("smax", "i64", 1, str(a), str(b))


def _aligned_down(g: Generator, value: Base, step: int) -> Base:
    if step == 1:
        return value
    if isinstance(value, int):
        return value // step * step
    return g.builder.define(f"and i64 {value}, {-step}")


def _aligned_up(g: Generator, value: Base, step: int) -> Base:
    return _aligned_down(g, g.builder.integer("add", value, step - 1), step)


def _choose(g: Generator, condition: str | None, a: Base, b: Base) -> Base:
    if condition is None:
        return a
    return g.builder.define(f"select i1 {condition}, i64 {a}, i64 {b}")


@dataclass(slots=True)
class Interval:
    """Where on the innermost dimension some constraints hold: [low, high) if `condition`."""

    low: Base
    high: Base
    condition: str | None


def interval(
    g: Generator, constraints: list[Constraint], walk: Walk, outer: dict[int, Base], every: bool
) -> Interval:
    """Positions of the innermost loop at which the constraints hold for every lane (or for any)."""
    builder = g.builder
    inner, extent = walk.inner, walk.extent
    low: Base = 0
    high: Base = extent
    condition: str | None = None
    for constraint in constraints:
        total = constraint.base
        coefficient = constraint.coefficient(inner)
        for dimension, factor in enumerate(constraint.coefficients):
            if dimension == inner or factor == 0:
                continue
            spread = factor * walk.reach(dimension)
            total = builder.integer("add", total, max(spread, 0) if every else min(spread, 0))
            if dimension in outer:
                total = builder.integer(
                    "add", total, builder.integer("mul", outer[dimension], factor)
                )
        if coefficient == 1:  # position < -total
            high = minimum(g, high, builder.integer("sub", 0, total))
        elif coefficient == -1:  # position > total
            low = maximum(g, low, builder.integer("add", total, 1))
        elif isinstance(total, int):
            if total >= 0:
                condition = "false"
        else:
            holds = builder.define(f"icmp slt i64 {total}, 0")
            condition = (
                holds if condition is None else builder.define(f"and i1 {condition}, {holds}")
            )
    return Interval(low, high, condition)


def ranges(
    g: Generator, bounds: Bounds, clip: list[Constraint], walk: Walk, outer: dict[int, Base]
) -> Ranges:
    """Split the innermost loop. `clip` are constraints without which a strip has no effect at
    all.
    """
    step, extent = walk.step, walk.extent
    begin: Base = 0
    end: Base = extent
    if clip:
        part = interval(g, clip, walk, outer, every=False)
        end = maximum(g, minimum(g, part.high, extent), 0)
        end = _choose(g, part.condition, end, 0)
        begin = _aligned_down(g, maximum(g, part.low, 0), step)
    if not bounds.constraints:
        return Ranges(begin, begin, end, end)
    full = interval(g, bounds.constraints, walk, outer, every=True)
    high = _aligned_down(g, maximum(g, minimum(g, full.high, extent), 0), step)
    high = _choose(g, full.condition, high, 0)
    low = begin
    if full.low != 0:
        low = maximum(g, begin, _aligned_up(g, maximum(g, full.low, 0), step))
        low = minimum(g, low, _aligned_up(g, end, step))
    high = maximum(g, high, low)
    return Ranges(begin, low, high, end)


def whole_tile(
    g: Generator, constraints: list[Constraint], shape: tuple[int, ...], outer: dict[int, Base]
) -> str | None:
    """A condition that the constraints hold for a whole tensor (at `outer` in those dimensions);
    None if always.
    """
    builder = g.builder
    result: str | None = None
    for constraint in constraints:
        total = constraint.base
        for dimension, coefficient in enumerate(constraint.coefficients):
            at: Base = max(0, coefficient * (shape[dimension] - 1))
            if dimension in outer:
                at = builder.integer("mul", outer[dimension], coefficient)
            total = builder.integer("add", total, at)
        holds = builder.define(f"icmp slt i64 {total}, 0")
        result = holds if result is None else builder.define(f"and i1 {result}, {holds}")
    return result
