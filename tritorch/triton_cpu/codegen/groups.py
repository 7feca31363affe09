"""Sinks that share one loop nest: stores, reductions, and values written to scratch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritorch.triton_cpu.analysis.masks import Constraint
from tritorch.triton_cpu.analysis.shapes import is_tensor
from tritorch.triton_cpu.analysis.sinks import EXPENSIVE, is_virtual
from tritorch.triton_cpu.codegen import evaluate, memory, order, reduce
from tritorch.triton_cpu.codegen.builder import BITS, Vec
from tritorch.triton_cpu.codegen.context import Loop, Walk, plan_walk
from tritorch.triton_cpu.codegen.elementwise import needs_float32
from tritorch.triton_cpu.codegen.loops import Accumulation, Nest, reach
from tritorch.triton_cpu.codegen.scratch import Buffer
from tritorch.triton_cpu.ir import Operation, Value

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.generator import Generator


def straighten(g: Generator, roots: list[Value], shape: tuple[int, ...]) -> None:
    """See `turn.straighten`."""
    from tritorch.triton_cpu.codegen import turn

    turn.straighten(g, roots, shape)


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
        order.protect_loads(g, sinks)
    roots = [operand for sink in sinks for operand in sink.operands if is_tensor(operand)]
    last = max(g.plan.position[sink] for sink in sinks)
    prepare(g, roots, shape, last)
    straighten(g, roots, shape)
    reduces = [sink for sink in sinks if sink.name == "tt.reduce"]
    axis = reduces[0].attributes["axis"] if reduces else None
    walk = choose_walk(g, roots, shape, axis)
    spills = spills_of(g, roots, shape, last)
    reductions = [reduce.Reduction(g, sink, walk) for sink in reduces]
    loads = early_loads(g, sinks) if len(sinks) > 1 else []

    def body(loop: Loop, carried: list[str] | None) -> list[str]:
        for value in loads:
            evaluate.value_at(g, value, loop.index, loop)
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

    nest = Nest(
        g,
        walk,
        roots,
        body,
        accumulation=_accumulation(reductions, walk),
        clip=[] if reduces or spills else common_clip(g, sinks, shape),
        spills=spills,
        may_stop=len(reduces) == len(sinks),
    )
    if spills and not _only_stored_within(g, spills, sinks, nest.stable_beyond):
        nest.stable_beyond = []
    nest.emit()
    g.publish(spills)
    for reduction in reductions:
        reduction.publish()


def _only_stored_within(
    g: Generator, spills: frozenset[Value], sinks: list[Operation], bounds: list[Constraint]
) -> bool:
    """Whether what is made of the spilled values only ever goes to stores masked by the one bound."""
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

    def finish(carried: list[str], index: object) -> None:
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
        evaluate.value_at(g, value, loop.index, loop)
        return []

    Nest(g, walk, [value], body, spills=frozenset(spills)).emit()
    g.publish(frozenset(spills))


def write_tensors(
    g: Generator, pairs: list[tuple[Value, Buffer]], clip: list[Constraint] | None = None
) -> None:
    """Evaluate values of one shape and write each to its buffer; all are read before any is written.

    Outside `clip` the buffers already hold what would be written.
    """
    values = [value for value, _ in pairs]
    shape = values[0].type.shape or ()
    last = 1 << 60
    prepare(g, values, shape, last)
    straighten(g, values, shape)
    walk = choose_walk(g, values, shape, None)

    def body(loop: Loop, carried: list[str] | None) -> list[str]:
        found = [evaluate.value_at(g, value, loop.index, loop) for value in values]
        for (_, buffer), vec in zip(pairs, found):
            memory.write_buffer(g, buffer, loop.index, vec)
        return []

    Nest(g, walk, values, body, clip=clip).emit()


# ---- what a nest needs before it starts


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
            if value in g.plan.spilled and _needed_after(g, value, last):
                reached = reach(g, roots, len(shape))
                if value in reached.maps and not reached.is_direct(value):
                    g.materialise(value)
            continue
        if value in g.plan.spilled and _needed_after(g, value, last):
            g.materialise(value)
        elif kind.numel < count and kind.numel > 1 and not _is_index_move(value):
            cost = g.plan.cost(value, lambda v: v in g.buffers)
            gathered = value.operation.name == "tt.load" and not g.affine.get(
                value.operation.operands[0]
            )
            if cost >= EXPENSIVE or gathered:
                g.materialise(value)


def _is_index_move(value: Value) -> bool:
    return value.operation is not None and value.operation.name in evaluate.INDEX_OPERATIONS


def _needed_after(g: Generator, value: Value, last: int) -> bool:
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
        and _needed_after(g, value, last)
    )


def in_order(g: Generator, values: set[Value]) -> list[Value]:
    """In program order, so that the emitted text does not depend on hashes."""
    return sorted(
        (v for v in values if v.operation is not None),
        key=g.plan.place,
    )


def early_loads(g: Generator, sinks: list[Operation]) -> list[Value]:
    """Loads that come before the group's first store in the program and must not be read after it."""
    shape = _shape(sinks[0])
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


def fill(g: Generator, buffer: Buffer, literal: str) -> None:
    """Set all elements of a buffer."""
    walk = plan_walk(buffer.shape, max(1, g.target.strip_bytes * 8 // BITS[buffer.element]))

    def body(loop: Loop, carried: list[str] | None) -> list[str]:
        memory.write_buffer(g, buffer, loop.index, Vec(literal, 1, buffer.element))
        return []

    Nest(g, walk, [], body).emit()


# ---- how the nest walks


def choose_walk(g: Generator, roots: list[Value], shape: tuple[int, ...], axis: int | None) -> Walk:
    """Strips along the dimension that memory is contiguous in, and across several if it is in all of them."""
    lanes = strip_lanes(g, roots)
    best = contiguous_dimension(g, roots, shape)
    dims = tuple(d for d in range(len(shape)) if d != best)
    if best is not None:
        dims = (*dims, best)
    run = _contiguous_run(g, roots, shape, dims)
    if run >= SHORTEST_RUN:
        lanes = min(lanes, run)
    return plan_walk(shape, lanes, dims if best is not None else None, axis)


#: Strips are kept inside a contiguous run of at least so many elements; shorter ones are gathered together.
SHORTEST_RUN = 4


def _contiguous_run(
    g: Generator, roots: list[Value], shape: tuple[int, ...], dims: tuple[int, ...]
) -> int:
    """How many elements of a strip are neighbours in memory, whatever is addressed."""
    wide = [d for d in dims if shape[d] > 1]
    total = 1
    for size in shape:
        total *= size
    if len(wide) < 2:
        return total
    longest = total
    reached = reach(g, roots, len(shape))
    for value, mappings in reached.maps.items():
        operation = value.operation
        if value.type.element != "ptr" or value in g.buffers or operation is None:
            continue
        if not any(user.name in ("tt.load", "tt.store") for user in value.uses):
            continue
        form = g.affine.get(value)
        for mapping in mappings:
            strides: dict[int, object] = dict.fromkeys(wide, 0)
            if form is not None:
                for stride, dimension in zip(form.strides, mapping):
                    if dimension in strides:
                        strides[dimension] = stride
            run = shape[wide[-1]]
            for outer, inner in zip(reversed(wide[:-1]), reversed(wide[1:])):
                step = strides[inner]
                if form is None or not isinstance(step, int) or step == 0:
                    break
                if strides[outer] != step * shape[inner]:
                    break
                run *= shape[outer]
            longest = min(longest, run)
    return longest


def strip_lanes(g: Generator, roots: list[Value]) -> int:
    """Elements per strip: the widest element computed with fills the virtual vector."""
    width = 16
    for value in order.closure(g, roots) | {r for r in roots if is_tensor(r)}:
        element = value.type.element
        if element in ("i1", "ptr") or g.affine.get(value) is not None:
            continue
        width = max(width, 32 if needs_float32(g, element) else BITS[element])
    return max(1, g.target.strip_bytes * 8 // width)


def contiguous_dimension(g: Generator, roots: list[Value], shape: tuple[int, ...]) -> int | None:
    """The dimension in which most addresses go in steps of one, if it is not the last anyway."""
    wide = [d for d, size in enumerate(shape) if size > 1]
    if len(wide) < 2:
        return None
    votes = dict.fromkeys(wide, 0)
    reached = reach(g, roots, len(shape))
    for value, mappings in reached.maps.items():
        if value in g.buffers:
            for mapping in mappings:
                if votes.keys() <= set(mapping):
                    for stride, dimension in zip(g.buffers[value].strides, mapping):
                        if stride == 1 and dimension in votes:
                            votes[dimension] += 1
            continue
        form = g.affine.get(value)
        if value.type.element != "ptr" or form is None:
            continue
        if value.operation is None or value.operation.name in ("tt.splat", "tt.broadcast"):
            continue
        for mapping in mappings:
            if not votes.keys() <= set(mapping):
                continue  # the same for many elements: no reason to follow it
            for stride, dimension in zip(form.strides, mapping):
                if stride == 1 and dimension in votes:
                    votes[dimension] += 2 if value in roots else 1
    best = max(wide, key=lambda d: (votes[d], d))
    return best if best != wide[-1] else None
