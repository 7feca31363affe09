"""Loop nests over shapes: strips without masks where all lanes are active, masked ones around."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tritorch.triton_cpu.analysis.masks import Constraint
from tritorch.triton_cpu.analysis.shapes import is_tensor
from tritorch.triton_cpu.analysis.sinks import exchange_of, is_virtual
from tritorch.triton_cpu.analysis.stability import Stability
from tritorch.triton_cpu.codegen.ahead import Requests, ask
from tritorch.triton_cpu.codegen.alignment import elements_to_alignment
from tritorch.triton_cpu.codegen.bounds import (
    Ranges,
    interval,
    mask_bounds,
    maximum,
    minimum,
    ranges,
    reach,
)
from tritorch.triton_cpu.codegen.context import Base, Index, Loop, Walk
from tritorch.triton_cpu.codegen.indices import operand_index
from tritorch.triton_cpu.codegen.loops import counted_loop, identical
from tritorch.triton_cpu.ir import Operation, Value

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.generator import Generator

#: Nests over more values than this evaluate them in program order.
DEEP = 100

#: Emits one strip: (loop, carried registers; None for the first strip of a peeled loop) -> new
#: carried ones.
Body = Callable[[Loop, "list[str] | None"], list[str]]


@dataclass(slots=True)
class Accumulation:
    """What the innermost loop carries: initial values (None: the first strip gives them), types,
    and the finish.
    """

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
        align: Value | None = None,
    ) -> None:
        """`may_stop`: nobody reads what this nest spills beyond the bounds of its masks.

        `align`: addresses that full strips should reach at multiples of a cache line.
        """
        self.g = g
        self.walk = walk
        self.roots = roots
        self.body = body
        self.accumulation = accumulation
        self.clip = clip or []
        self.spills = spills
        self.backwards = backwards
        self.align = align
        #: what full strips ask for ahead of time
        self.ahead = Requests({})
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

    def length(self) -> Base:
        """How far the innermost loop goes before all masks are false."""
        part = interval(self.g, self.bounds.constraints, self.walk, {}, every=False)
        return minimum(self.g, part.high, self.walk.extent)

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
                        minimum(g, parts.low, first),
                        minimum(g, parts.high, first),
                        first,
                    )
                else:
                    parts = Ranges(
                        walk.step,
                        maximum(g, parts.low, walk.step),
                        maximum(g, parts.high, walk.step),
                        parts.end,
                    )
        if self.align is not None:
            self._aligned(parent, outer, parts)
            return
        sections = [
            (parts.begin, parts.low, False),
            (parts.low, parts.high, True),
            (parts.high, parts.end, False),
        ]
        if self.backwards:
            sections.reverse()
        limit = self._stop_limit(outer)
        for number, (start, stop_at, full) in enumerate(sections):
            if start == stop_at:
                continue

            def body(counter: Base, names: list[str], full: bool = full) -> list[str]:
                return self._strip(parent, outer, counter, names, full)

            stop = None
            if number == 2 and limit is not None:
                stop = partial(self._stop, limit, kinds)
            state = list(zip(carried, kinds))
            carried = counted_loop(g, start, stop_at, walk.step, state, body, stop, self.backwards)
        if self.accumulation is not None:
            self.accumulation.finish(carried, self.index(outer))

    def _aligned(self, parent: Loop, outer: dict[int, Base], parts: Ranges) -> None:
        """The nest with full strips at aligned addresses. Strips before and after them overlap
        them, and store what they do not.
        """
        assert self.align is not None
        g, builder, step = self.g, self.g.builder, self.walk.step
        low, high = parts.low, parts.high
        at_low = self.index({**outer, self.walk.inner: low})
        missing = elements_to_alignment(g, self.align, at_low, parent)
        room = builder.integer("sub", high, low)
        wide = builder.define(f"icmp sge i64 {room}, {2 * step}")
        missing = builder.define(f"select i1 {wide}, i64 {missing}, i64 0")
        start = builder.integer("add", low, missing)
        length = builder.define(f"and i64 {builder.integer('sub', high, start)}, {-step}")
        stop = builder.integer("add", start, length)
        is_apart = builder.define(f"icmp ne i64 {missing}, 0")
        head = builder.integer(
            "add", low, builder.define(f"select i1 {is_apart}, i64 {step}, i64 0")
        )
        tail = builder.define(f"and i64 {stop}, {-step}")

        def section(begin: Base, end: Base, full: bool, limit: tuple[str, Base] | None) -> None:
            def body(counter: Base, names: list[str]) -> list[str]:
                storing = None if limit is None else self._storing(counter, *limit)
                self._strip(parent, outer, counter, [], full, storing)
                return []

            counted_loop(g, begin, end, step, [], body)

        if parts.begin != low:
            section(parts.begin, low, False, None)
        section(low, head, True, ("slt", start))
        section(start, stop, True, None)
        section(tail, parts.end, False, ("sge", stop))

    def _storing(self, position: Base, comparison: str, limit: Base) -> str:
        """The lanes of a strip on one side of a limit."""
        builder, step = self.g.builder, self.walk.step
        kind = f"<{step} x i64>"
        limit = builder.integer("sub", limit, position)
        end = builder.splat(str(limit), "i64", step)
        numbers = builder.lane_numbers("i64", step)
        return builder.define(f"icmp {comparison} {kind} {numbers}, {end}")

    def _stop_limit(self, outer: dict[int, Base]) -> Base | None:
        """The first position at which every mask is false."""
        if not self.stable_beyond:
            return None
        limit: Base = 0
        for constraint in self.stable_beyond:
            part = interval(self.g, [constraint], self.walk, outer, every=False)
            limit = maximum(self.g, limit, part.high)
        return limit

    def _stop(
        self, limit: Base, kinds: list[str], position: str, old: list[str], new: list[str]
    ) -> str:
        """Whether this strip was beyond the limit and changed no accumulator, bit for bit."""
        builder = self.g.builder
        result = builder.define(f"icmp sge i64 {position}, {limit}")
        for kind, before, after in zip(kinds, old, new):
            same = identical(self.g, kind, before, after)
            result = builder.define(f"and i1 {result}, {same}")
        return result

    def _strip(
        self,
        parent: Loop,
        outer: dict[int, Base],
        base: Base,
        carried: list[str] | None,
        full: bool,
        storing: str | None = None,
    ) -> list[str]:
        self.g.new_strip()
        bases = {**outer, self.walk.inner: base}
        loop = Loop(
            self.walk,
            self.index(bases),
            true_masks=self.bounds.true_masks if full else None,
            spills=self.spills,
            storing=storing,
            outer=parent,
        )
        if full and storing is None:
            ask(self.g, self.ahead, loop.index, loop)
        for value in self.in_order:
            self.g.value_at(value, loop.index, loop)
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
                    g.value_at(value, index, parent)
                continue
            operation = value.operation
            if value in g.buffers or operation is None or not is_virtual(operation):
                continue
            operation = exchange_of(operation) or operation
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
            return operand_index(self.g, operation, index)
        if operation.name == "tt.reduce" or operand.type.shape == operation.results[0].type.shape:
            return index
        return None
