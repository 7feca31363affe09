"""Loop nests over tensor shapes: strips without masks where all lanes are active, masked strips around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tritorch.triton_cpu.analysis.masks import Constraint, DimensionMap, operand_maps, translate
from tritorch.triton_cpu.analysis.shapes import is_tensor
from tritorch.triton_cpu.analysis.sinks import is_virtual
from tritorch.triton_cpu.analysis.stability import Stability
from tritorch.triton_cpu.codegen import evaluate
from tritorch.triton_cpu.codegen.context import Base, Index, Loop, Walk
from tritorch.triton_cpu.ir import Operation, Value

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.generator import Generator

#: A value carried around a loop: (register, LLVM type).
Carried = tuple[str, str]


# ---- counted loops


def counted_loop(
    g: Generator,
    begin: Base,
    end: Base,
    step: int,
    carried: list[Carried],
    body: Callable[[Base, list[str]], list[str]],
    stop: Callable[[str, list[str], list[str]], str] | None = None,
    backwards: bool = False,
) -> list[str]:
    """`for i in range(begin, end, step): carried = body(i, carried)`; returns what is carried at the end.

    Args:
        stop: given (i, old carried, new carried), emits a condition to leave the loop early.
        backwards: visit the same values of i from the last to the first (end - begin is a multiple of step).
    """
    builder = g.builder
    if isinstance(begin, int) and isinstance(end, int) and begin >= end:
        return [register for register, _ in carried]
    if isinstance(begin, int) and isinstance(end, int) and begin + step >= end:
        return body(begin, [register for register, _ in carried])
    start, last = builder.label("loop"), builder.label("end")
    before = builder.block
    known = isinstance(begin, int) and isinstance(end, int)
    first = begin if not backwards else builder.integer("sub", end, step)
    if known:
        builder.emit(f"br label %{start}")
    else:
        enter = builder.define(f"icmp slt i64 {begin}, {end}")
        builder.emit(f"br i1 {enter}, label %{start}, label %{last}")
    with g.scratch.repeated():
        builder.start(start)
        counter = builder.register()
        place = builder.reserve()
        names = [builder.register() for _ in carried]
        places = [builder.reserve() for _ in carried]
        results = body(counter, names)
        following = builder.define(f"add nsw i64 {counter}, {-step if backwards else step}")
        if backwards:
            again = builder.define(f"icmp sge i64 {following}, {begin}")
        else:
            again = builder.define(f"icmp slt i64 {following}, {end}")
        if stop is not None:
            leave = stop(counter, names, results)
            stay = builder.define(f"xor i1 {leave}, true")
            again = builder.define(f"and i1 {again}, {stay}")
        latch = builder.block
        builder.emit(f"br i1 {again}, label %{start}, label %{last}")
    builder.lines[place] = f"  {counter} = phi i64 [{first}, %{before}], [{following}, %{latch}]"
    for at, name, (initial, kind), result in zip(places, names, carried, results):
        builder.lines[at] = f"  {name} = phi {kind} [{initial}, %{before}], [{result}, %{latch}]"
    builder.start(last)
    if known:
        return results
    return [
        builder.define(f"phi {kind} [{initial}, %{before}], [{result}, %{latch}]")
        for (initial, kind), result in zip(carried, results)
    ]


def _identical(g: Generator, kind: str, a: str, b: str) -> str:
    """Whether two registers of an LLVM type hold the same bits."""
    builder = g.builder
    lanes, scalar = 1, kind
    if kind[0] == "<":
        count, _, scalar = kind[1:-1].partition(" x ")
        lanes = int(count)
    bits = {"double": "i64", "float": "i32", "half": "i16", "bfloat": "i16"}.get(scalar, scalar)
    whole = bits if lanes == 1 else f"<{lanes} x {bits}>"
    if bits != scalar:
        a = builder.define(f"bitcast {kind} {a} to {whole}")
        b = builder.define(f"bitcast {kind} {b} to {whole}")
    differ = builder.define(f"icmp ne {whole} {a}, {b}")
    if lanes > 1:
        differ = builder.define(f"bitcast <{lanes} x i1> {differ} to i{lanes}")
        differ = builder.define(f"icmp ne i{lanes} {differ}, 0")
    return builder.define(f"xor i1 {differ}, true")


# ---- what a nest must know about the values it will evaluate


@dataclass(slots=True)
class Reach:
    """The virtual values under some roots, and how loop dimensions index each of them."""

    maps: dict[Value, dict[DimensionMap, None]]
    rank: int

    def is_direct(self, value: Value) -> bool:
        """Whether the loop reads the value at the loop's own index."""
        return tuple(range(self.rank)) in self.maps.get(value, ())


def reach(g: Generator, roots: list[Value], rank: int) -> Reach:
    """Follow operands from the roots (tensors of the loop's shape) down to stored values and affine forms."""
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


def _minimum(g: Generator, a: Base, b: Base) -> Base:
    if isinstance(a, int) and isinstance(b, int):
        return min(a, b)
    return g.builder.intrinsic("smin", "i64", 1, str(a), str(b))


def _maximum(g: Generator, a: Base, b: Base) -> Base:
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
class _Interval:
    """Where on the innermost dimension some constraints hold: [low, high) if `condition`."""

    low: Base
    high: Base
    condition: str | None


def _interval(
    g: Generator, constraints: list[Constraint], walk: Walk, outer: dict[int, Base], every: bool
) -> _Interval:
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
            high = _minimum(g, high, builder.integer("sub", 0, total))
        elif coefficient == -1:  # position > total
            low = _maximum(g, low, builder.integer("add", total, 1))
        elif isinstance(total, int):
            if total >= 0:
                condition = "false"
        else:
            holds = builder.define(f"icmp slt i64 {total}, 0")
            condition = (
                holds if condition is None else builder.define(f"and i1 {condition}, {holds}")
            )
    return _Interval(low, high, condition)


def ranges(
    g: Generator, bounds: Bounds, clip: list[Constraint], walk: Walk, outer: dict[int, Base]
) -> Ranges:
    """Split the innermost loop. `clip` are constraints without which a strip has no effect at all."""
    step, extent = walk.step, walk.extent
    begin: Base = 0
    end: Base = extent
    if clip:
        part = _interval(g, clip, walk, outer, every=False)
        end = _maximum(g, _minimum(g, part.high, extent), 0)
        end = _choose(g, part.condition, end, 0)
        begin = _aligned_down(g, _maximum(g, part.low, 0), step)
    if not bounds.constraints:
        return Ranges(begin, begin, end, end)
    full = _interval(g, bounds.constraints, walk, outer, every=True)
    high = _aligned_down(g, _maximum(g, _minimum(g, full.high, extent), 0), step)
    high = _choose(g, full.condition, high, 0)
    low = begin
    if full.low != 0:
        low = _maximum(g, begin, _aligned_up(g, _maximum(g, full.low, 0), step))
        low = _minimum(g, low, _aligned_up(g, end, step))
    high = _maximum(g, high, low)
    return Ranges(begin, low, high, end)


def whole_tile(
    g: Generator, constraints: list[Constraint], shape: tuple[int, ...], outer: dict[int, Base]
) -> str | None:
    """A condition that the constraints hold for a whole tensor (at `outer` in those dimensions); None if always."""
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


def two_ways(g: Generator, full: str | None, emit: Callable[[bool], None]) -> None:
    """`emit(True)` where the condition holds, `emit(False)` elsewhere; only the first if it is None."""
    builder = g.builder
    if full is None:
        emit(True)
        return
    labels = [builder.label("full"), builder.label("masked")]
    after = builder.label("joined")
    builder.emit(f"br i1 {full}, label %{labels[0]}, label %{labels[1]}")
    for label, is_full in zip(labels, (True, False)):
        builder.start(label)
        emit(is_full)
        builder.emit(f"br label %{after}")
    builder.start(after)


# ---- the nest


#: Nests over more values than this evaluate them in program order.
DEEP = 100

#: Emits one strip: (loop, carried registers; None for the first strip of a peeled loop) -> new carried ones.
Body = Callable[[Loop, "list[str] | None"], list[str]]


@dataclass(slots=True)
class Accumulation:
    """What the innermost loop carries: initial values (None: the first strip gives them), types, and the finish."""

    initial: list[str] | None
    kinds: list[str]
    finish: Callable[[list[str], Index], None]


class Nest:
    """One loop nest over `walk`, evaluating `roots` in every strip."""

    def __init__(
        self,
        g: Generator,
        walk: Walk,
        roots: list[Value],
        body: Body,
        *,
        accumulation: Accumulation | None = None,
        clip: list[Constraint] | None = None,
        spills: frozenset[Value] = frozenset(),
        backwards: bool = False,
        may_stop: bool = False,
    ) -> None:
        """`may_stop`: nobody reads what this nest spills beyond the bounds of its masks."""
        self.g = g
        self.walk = walk
        self.roots = roots
        self.body = body
        self.accumulation = accumulation
        self.clip = clip or []
        self.spills = spills
        self.backwards = backwards
        self.reached = reach(g, roots, len(walk.shape))
        self.bounds = mask_bounds(g, self.reached, walk)
        #: evaluated first, in program order, where recursion from the roots would go too deep
        self.in_order: list[Value] = []
        if len(self.reached.maps) > DEEP:
            self.in_order = self._direct_values()
        self.stable_beyond = self._stable_beyond() if may_stop and accumulation else []

    def _direct_values(self) -> list[Value]:
        g, shape = self.g, self.walk.shape
        direct = [
            value
            for value in self.reached.maps
            if value.operation is not None
            and value not in g.buffers
            and value.type.shape == shape
            and value.type.element != "ptr"
            and g.affine.get(value) is None
            and g.masks.get(value) is None
            and self.reached.is_direct(value)
        ]
        return sorted(direct, key=g.plan.place)

    def _stable_beyond(self) -> list[Constraint]:
        """Bounds beyond which all strips compute the same; empty if they do not."""
        g = self.g
        stability = Stability(
            g.affine, g.masks, g.buffers.__contains__, len(self.walk.shape), self.walk.inner
        )
        if self.walk.inner < 0 or not all(stability.is_stable(root) for root in self.roots):
            return []
        return list(stability.bounds)

    def emit(self) -> None:
        for value in sorted(self.spills, key=lambda v: self.g.plan.place(v)):
            self.g.pending_buffer(value, self.walk.order)
        self._outer(0, {})
        self.g.new_strip()

    def _outer(self, level: int, bases: dict[int, Base]) -> None:
        loops = self.walk.loops
        if level == len(loops) - 1:
            self._inner(bases)
            return
        dimension, step = loops[level]

        def body(counter: Base, carried: list[str]) -> list[str]:
            self._outer(level + 1, {**bases, dimension: counter})
            return []

        counted_loop(
            self.g, 0, self.walk.shape[dimension], step, [], body, backwards=self.backwards
        )

    def index(self, bases: dict[int, Base]) -> Index:
        return tuple(
            (bases.get(dimension, 0), lanes) for dimension, lanes in enumerate(self.walk.lanes)
        )

    def _inner(self, outer: dict[int, Base]) -> None:
        g, walk = self.g, self.walk
        g.new_strip()
        parent = Loop(walk, self.index(outer))
        if walk.inner >= 0:
            self._hoist(parent, outer)
        parts = ranges(g, self.bounds, self.clip, walk, outer)
        carried: list[str] = []
        kinds: list[str] = []
        if self.accumulation is not None:
            kinds = self.accumulation.kinds
            if self.accumulation.initial is not None:
                carried = self.accumulation.initial
            else:
                first = walk.extent - walk.step if self.backwards else 0
                carried = self._strip(parent, outer, first, None, full=False)
                if self.backwards:
                    parts = Ranges(
                        parts.begin,
                        _minimum(g, parts.low, first),
                        _minimum(g, parts.high, first),
                        first,
                    )
                else:
                    parts = Ranges(
                        walk.step,
                        _maximum(g, parts.low, walk.step),
                        _maximum(g, parts.high, walk.step),
                        parts.end,
                    )
        sections = [
            (parts.begin, parts.low, False),
            (parts.low, parts.high, True),
            (parts.high, parts.end, False),
        ]
        if self.backwards:
            sections.reverse()
        limit = self._stop_limit(outer)
        for number, (first, last, full) in enumerate(sections):
            if first == last:
                continue

            def body(counter: Base, names: list[str], full: bool = full) -> list[str]:
                return self._strip(parent, outer, counter, names, full)

            stop = None
            if number == 2 and limit is not None:
                stop = partial(self._stop, limit, kinds)
            state = list(zip(carried, kinds))
            carried = counted_loop(g, first, last, walk.step, state, body, stop, self.backwards)
        if self.accumulation is not None:
            self.accumulation.finish(carried, self.index(outer))

    def _stop_limit(self, outer: dict[int, Base]) -> Base | None:
        """The first position at which every mask is false."""
        if not self.stable_beyond:
            return None
        limit: Base = 0
        for constraint in self.stable_beyond:
            part = _interval(self.g, [constraint], self.walk, outer, every=False)
            limit = _maximum(self.g, limit, part.high)
        return limit

    def _stop(
        self, limit: Base, kinds: list[str], position: str, old: list[str], new: list[str]
    ) -> str:
        """Whether this strip was beyond the limit and changed no accumulator, bit for bit."""
        builder = self.g.builder
        result = builder.define(f"icmp sge i64 {position}, {limit}")
        for kind, before, after in zip(kinds, old, new):
            same = _identical(self.g, kind, before, after)
            result = builder.define(f"and i1 {result}, {same}")
        return result

    def _strip(
        self,
        parent: Loop,
        outer: dict[int, Base],
        base: Base,
        carried: list[str] | None,
        full: bool,
    ) -> list[str]:
        self.g.new_strip()
        bases = {**outer, self.walk.inner: base}
        loop = Loop(
            self.walk,
            self.index(bases),
            true_masks=self.bounds.true_masks if full else None,
            spills=self.spills,
            outer=parent,
        )
        for value in self.in_order:
            evaluate.value_at(self.g, value, loop.index, loop)
        result = self.body(loop, carried)
        self.g.new_strip()
        return result

    def _hoist(self, parent: Loop, outer: dict[int, Base]) -> None:
        """Evaluate before the innermost loop what does not change in it."""
        g, inner = self.g, self.walk.inner
        marker = "%inner"
        seen: set[tuple[Value, Index]] = set()
        stack = [(root, self.index({**outer, inner: marker})) for root in reversed(self.roots)]
        while stack:
            value, index = stack.pop()
            if not is_tensor(value) or (value, index) in seen:
                continue
            seen.add((value, index))
            if g.affine.get(value) is not None:
                continue
            if value not in g.buffers and g.masks.get(value) is not None:
                continue
            if not any(base == marker for base, _ in index):
                if self._independent(index):
                    evaluate.value_at(g, value, index, parent)
                continue
            operation = value.operation
            if value in g.buffers or operation is None or not is_virtual(operation):
                continue
            operation = evaluate.exchange_of(operation) or operation
            for operand in operation.operands:
                moved = self._operand_index(operand, operation, index)
                if moved is not None:
                    stack.append((operand, moved))

    def _independent(self, index: Index) -> bool:
        """Whether no lane offset comes from the innermost dimension."""
        lanes = self.walk.lanes[self.walk.inner]
        return lanes is None or all(found is not lanes for _, found in index)

    def _operand_index(self, operand: Value, operation: Operation, index: Index) -> Index | None:
        if operation.name in ("tt.expand_dims", "tt.broadcast", "tt.trans"):
            return evaluate.operand_index(self.g, operation, index)
        if operation.name == "tt.reduce" or operand.type.shape == operation.results[0].type.shape:
            return index
        return None
