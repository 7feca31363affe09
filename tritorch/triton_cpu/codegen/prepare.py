"""What a nest needs before it starts: values stored beforehand or on the way, and its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritorch.triton_cpu.analysis.masks import Constraint
from tritorch.triton_cpu.analysis.shapes import is_tensor
from tritorch.triton_cpu.analysis.sinks import EXPENSIVE, is_virtual
from tritorch.triton_cpu.codegen import order
from tritorch.triton_cpu.codegen.bounds import reach
from tritorch.triton_cpu.codegen.indices import INDEX_OPERATIONS
from tritorch.triton_cpu.ir import Operation, Value

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.generator import Generator


def prepare(
    g: Generator, roots: list[Value], shape: tuple[int, ...], last: int, skip: Value | None = None
) -> None:
    """Store beforehand what this nest would compute more often than once per element."""
    count = 1
    for size in shape:
        count *= size
    for value in in_order(g, order.closure(g, roots)):
        if value in g.buffers or value is skip or value.operation is None:
            continue
        if not is_virtual(value.operation) or g.affine.get(value) or g.masks.get(value) is not None:
            continue
        kind = value.type
        if kind.shape == shape:
            if value in g.plan.spilled and needed_after(g, value, last):
                reached = reach(g, roots, len(shape))
                if value in reached.maps and not reached.is_direct(value):
                    g.materialise(value)
            continue
        if value in g.plan.spilled and needed_after(g, value, last):
            g.materialise(value)
        elif kind.numel < count and kind.numel > 1 and not _is_index_move(value):
            cost = g.plan.cost(value, lambda v: v in g.buffers)
            gathered = value.operation.name == "tt.load" and not g.affine.get(
                value.operation.operands[0]
            )
            if cost >= EXPENSIVE or gathered:
                g.materialise(value)


def store_spilled(g: Generator, roots: list[Value], last: int) -> None:
    """Store now what a nest that stores nothing itself would leave for later ones."""
    for value in in_order(g, order.closure(g, roots)):
        if value in g.plan.spilled and value not in g.buffers and needed_after(g, value, last):
            g.materialise(value)


def _is_index_move(value: Value) -> bool:
    return value.operation is not None and value.operation.name in INDEX_OPERATIONS


def needed_after(g: Generator, value: Value, last: int) -> bool:
    return any(g.plan.position[need] > last for need in g.plan.needs.get(value, ()))


def spills_of(
    g: Generator, roots: list[Value], shape: tuple[int, ...], last: int
) -> frozenset[Value]:
    """Values that this nest computes and later ones want to read."""
    reached = reach(g, roots, len(shape))
    return frozenset(
        value
        for value in reached.maps
        if value in g.plan.spilled
        and value not in g.buffers
        and value.type.shape == shape
        and g.affine.get(value) is None
        and g.masks.get(value) is None
        and reached.is_direct(value)
        and needed_after(g, value, last)
    )


def in_order(g: Generator, values: set[Value]) -> list[Value]:
    """In program order, so that the emitted text does not depend on hashes."""
    return sorted(
        (v for v in values if v.operation is not None),
        key=g.plan.place,
    )


def early_loads(g: Generator, sinks: list[Operation]) -> list[Value]:
    """Loads that come before the group's first store in the program and must not be read after
    it.
    """
    shape = sinks[0].operands[0].type.shape or ()
    if not any(sink.name == "tt.store" for sink in sinks[:-1]):
        return []
    roots = [operand for sink in sinks for operand in sink.operands if is_tensor(operand)]
    reached = reach(g, roots, len(shape))
    return [
        value
        for value in in_order(g, set(reached.maps))
        if value.operation is not None
        and value.operation.name == "tt.load"
        and value not in g.buffers
        and value.type.shape == shape
        and reached.is_direct(value)
    ]


def common_clip(g: Generator, sinks: list[Operation], shape: tuple[int, ...]) -> list[Constraint]:
    """Constraints that every store of the group has: outside them nothing happens."""
    common: list[Constraint] | None = None
    for sink in sinks:
        mask = sink.operands[2] if len(sink.operands) > 2 else None
        found = list(g.masks.get(mask) or ()) if mask is not None else []
        common = found if common is None else [c for c in common if c in found]
    return common or []


def mask_clip(g: Generator, mask: Value | None) -> list[Constraint]:
    """The constraints of one sink's mask."""
    return [] if mask is None else list(g.masks.get(mask) or ())
