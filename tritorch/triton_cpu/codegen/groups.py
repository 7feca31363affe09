"""Sinks that share one loop nest: stores, reductions, and values written to scratch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritorch.triton_cpu.analysis.masks import Constraint
from tritorch.triton_cpu.analysis.shapes import is_tensor
from tritorch.triton_cpu.analysis.sinks import is_virtual
from tritorch.triton_cpu.codegen import memory, order, reduce, turn
from tritorch.triton_cpu.codegen.ahead import plan_ahead
from tritorch.triton_cpu.codegen.alignment import pointer_to_align
from tritorch.triton_cpu.codegen.bounds import reach
from tritorch.triton_cpu.codegen.buffers import write_buffer
from tritorch.triton_cpu.codegen.builder import BITS, Vec
from tritorch.triton_cpu.codegen.context import Index, Loop, Walk, plan_walk
from tritorch.triton_cpu.codegen.nest import Accumulation, Nest
from tritorch.triton_cpu.codegen.prepare import common_clip, early_loads, prepare, spills_of
from tritorch.triton_cpu.codegen.scratch import Buffer
from tritorch.triton_cpu.codegen.walks import choose_walk, strip_lanes
from tritorch.triton_cpu.ir import Operation, Value

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.generator import Generator


def is_groupable(operation: Operation) -> bool:
    """Whether the operation is a sink whose loop can be shared."""
    if operation.name == "tt.store":
        return is_tensor(operation.operands[0])
    return operation.name == "tt.reduce"  # a virtual one never gets here


def prepare_exchange(g: Generator, operation: Operation) -> None:
    """Store the operands of an exchange between strips, which would be computed twice."""
    shape = _shape(operation)
    walk = plan_walk(shape, strip_lanes(g, operation.operands))
    if walk.lanes[operation.attributes["axis"]] is None:
        for operand in operation.operands:
            g.flush()
            g.materialise(_through_bitcasts(operand))


def _through_bitcasts(value: Value) -> Value:
    while value.operation is not None and value.operation.name in ("tt.bitcast", "arith.bitcast"):
        value = value.operation.operands[0]
    return value


def _shape(operation: Operation) -> tuple[int, ...]:
    return operation.operands[0].type.shape or ()


def can_join(g: Generator, operation: Operation) -> bool:
    """Whether the sink can be emitted in the loop of those collected."""
    group = g.group
    if not group or not is_groupable(operation) or _shape(operation) != _shape(group[0]):
        return False
    axes = {m.attributes["axis"] for m in (*group, operation) if m.name == "tt.reduce"}
    if len(axes) > 1:
        return False
    results = {result for member in group for result in member.results}
    mine = order.closure(g, operation.operands)
    if mine & results:
        return False
    for value in mine:
        loaded = value.operation
        if loaded is None or loaded.name != "tt.load":
            continue
        if any(m.name == "tt.store" and order.conflicts(g, loaded, m) for m in group):
            return False
    if operation.name == "tt.store":
        theirs = order.closure(g, [operand for member in group for operand in member.operands])
        for value in theirs:
            loaded = value.operation
            is_load = loaded is not None and loaded.name == "tt.load"
            if loaded is not None and is_load and order.conflicts(g, loaded, operation):
                return False
        for member in group:
            if member.name == "tt.store" and order.conflicts(g, member, operation):
                return False
    return True


def emit_group(g: Generator, sinks: list[Operation]) -> None:
    """Emit one loop nest for sinks of one shape."""
    shape = _shape(sinks[0])
    if any(sink.name == "tt.store" for sink in sinks):
        order.protect_loads(g, sinks, one_loop=True)
    roots = [operand for sink in sinks for operand in sink.operands if is_tensor(operand)]
    last = max(g.plan.position[sink] for sink in sinks)
    prepare(g, roots, shape, last)
    turn.straighten(g, roots, shape)
    reduces = [sink for sink in sinks if sink.name == "tt.reduce"]
    axis = reduces[0].attributes["axis"] if reduces else None
    walk = choose_walk(g, roots, shape, axis)
    spills = spills_of(g, roots, shape, last)
    reductions = [reduce.Reduction(g, sink, walk) for sink in reduces]
    loads = early_loads(g, sinks) if len(sinks) > 1 else []

    def body(loop: Loop, carried: list[str] | None) -> list[str]:
        for value in loads:
            g.value_at(value, loop.index, loop)
        results: list[str] = []
        at = 0
        for sink in sinks:
            if sink.name == "tt.store":
                memory.store(g, sink, loop.index, loop)
                continue
            reduction = next(r for r in reductions if r.operation is sink)
            count = len(reduction.kinds)
            mine = None if carried is None else carried[at : at + count]
            results += reduction.strip(loop, mine)
            at += count
        return results

    reached = reach(g, roots, len(shape))
    nest = Nest(
        g,
        walk,
        roots,
        body,
        accumulation=_accumulation(reductions, walk),
        clip=[] if reduces or spills else common_clip(g, sinks, shape),
        spills=spills,
        may_stop=len(reduces) == len(sinks),
        align=None if spills else pointer_to_align(g, sinks, walk, reached),
    )
    nest.ahead = plan_ahead(g, sinks, walk, reached, nest.length)
    if spills and not _only_stored_within(g, spills, sinks, nest.stable_beyond):
        nest.stable_beyond = []
    nest.emit()
    g.publish(spills)
    for reduction in reductions:
        reduction.publish()


def _only_stored_within(
    g: Generator, spills: frozenset[Value], sinks: list[Operation], bounds: list[Constraint]
) -> bool:
    """Whether what is made of the spilled values only ever goes to stores masked by the one
    bound.
    """
    if len(bounds) != 1:
        return False
    shape = _shape(sinks[0])
    seen: set[Operation] = set(sinks)
    stack = [user for value in spills for user in value.uses]
    while stack:
        user = stack.pop()
        if user in seen:
            continue
        seen.add(user)
        if is_virtual(user):
            if any(result.type.shape != shape for result in user.results):
                return False
            stack.extend(later for result in user.results for later in result.uses)
            continue
        if user.name != "tt.store" or len(user.operands) < 3 or _shape(user) != shape:
            return False
        if bounds[0] not in (g.masks.get(user.operands[2]) or ()):
            return False
    return True


def _accumulation(reductions: list[reduce.Reduction], walk: Walk) -> Accumulation | None:
    if not reductions or not reductions[0].is_carried:
        return None
    initial: list[str] | None = []
    kinds: list[str] = []
    for reduction in reductions:
        kinds += reduction.kinds
        own = reduction.identity
        initial = None if own is None or initial is None else initial + own

    def finish(carried: list[str], index: Index) -> None:
        at = 0
        for reduction in reductions:
            count = len(reduction.kinds)
            reduction.finish(carried[at : at + count], index)
            at += count

    return Accumulation(initial, kinds, finish)


def emit_materialise(g: Generator, value: Value) -> None:
    """Store one virtual tensor in scratch."""
    shape = value.type.shape or ()
    last = g.plan.position[value.operation] if value.operation is not None else 0
    prepare(g, [value], shape, last, skip=value)
    spills = spills_of(g, [value], shape, last) | {value}
    walk = choose_walk(g, [value], shape, None)

    def body(loop: Loop, carried: list[str] | None) -> list[str]:
        g.value_at(value, loop.index, loop)
        return []

    Nest(g, walk, [value], body, spills=frozenset(spills)).emit()
    g.publish(frozenset(spills))


def write_tensors(
    g: Generator, pairs: list[tuple[Value, Buffer]], clip: list[Constraint] | None = None
) -> None:
    """Evaluate values of one shape and write each to its buffer; all are read before any is
    written.

    Outside `clip` the buffers already hold what would be written.
    """
    values = [value for value, _ in pairs]
    shape = values[0].type.shape or ()
    last = g.position
    prepare(g, values, shape, last)
    turn.straighten(g, values, shape)
    walk = choose_walk(g, values, shape, None)
    spills = spills_of(g, values, shape, last)

    def body(loop: Loop, carried: list[str] | None) -> list[str]:
        found = [g.value_at(value, loop.index, loop) for value in values]
        for (_, buffer), vec in zip(pairs, found):
            write_buffer(g, buffer, loop.index, vec)
        return []

    Nest(g, walk, values, body, clip=None if spills else clip, spills=spills).emit()
    g.publish(spills)


def write_each(
    g: Generator,
    pairs: list[tuple[Value, Buffer]],
    clips: dict[Value, tuple[Constraint, ...]] | None = None,
) -> None:
    """Write tensors to buffers, those of one shape in one loop.

    `clips` has constraints outside which a value is what its buffer holds already.
    """
    shapes: dict[tuple[int, ...], list[tuple[Value, Buffer]]] = {}
    for value, buffer in pairs:
        if g.buffers.get(value) is not buffer:
            shapes.setdefault(value.type.shape or (), []).append((value, buffer))
    for group in shapes.values():
        common = [(clips or {}).get(value, ()) for value, _ in group]
        clip = [c for c in common[0] if all(c in others for others in common[1:])]
        write_tensors(g, group, clip)


def fill(g: Generator, buffer: Buffer, literal: str) -> None:
    """Set all elements of a buffer."""
    walk = plan_walk(buffer.shape, max(1, g.target.strip_bytes * 8 // BITS[buffer.element]))

    def body(loop: Loop, carried: list[str] | None) -> list[str]:
        write_buffer(g, buffer, loop.index, Vec(literal, 1, buffer.element))
        return []

    Nest(g, walk, [], body).emit()
