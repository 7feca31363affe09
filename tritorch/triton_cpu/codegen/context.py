"""Where a tensor is read: an index per lane and dimension, the walk over a shape, the loop that
asks.

A strip of `lanes` elements is not a range of one dimension but a set of constant offsets in each
of them. So a strip may span several short dimensions, and permuting, reshaping or splitting a
tensor only rewrites the index. Sizes are powers of two, and the offsets of the lanes never overlap
the bits of the bases: reshaping is shifting and masking.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tritorch.triton_cpu.codegen.builder import Vec
from tritorch.triton_cpu.ir import Value

#: An integer known now, or the register that holds it.
Base = int | str


class Lanes:
    """The offsets of the lanes along one dimension; `stride` when they are 0, s, 2s, ..."""

    __slots__ = ("offsets", "stride")

    def __init__(self, offsets: tuple[int, ...]) -> None:
        self.offsets = offsets
        step = offsets[1] - offsets[0]
        regular = all(offset == number * step for number, offset in enumerate(offsets))
        self.stride = step if regular else None


_LANES: dict[tuple[int, ...], Lanes] = {}


def lanes_of(offsets: tuple[int, ...]) -> Lanes | None:
    """The one Lanes object with these offsets (so that they hash fast); None when all are zero."""
    found = _LANES.get(offsets)
    if found is None:
        if not any(offsets):
            return None
        found = _LANES[offsets] = Lanes(offsets)
    return found


#: One (base, offsets of the lanes) per dimension. Offsets are None in a dimension where all lanes
#: agree.
Index = tuple[tuple[Base, Lanes | None], ...]


def lane_count(index: Index) -> int:
    """How many different lanes the index has; 1 when it is uniform."""
    for _, lanes in index:
        if lanes is not None:
            return len(lanes.offsets)
    return 1


@dataclass(frozen=True, slots=True)
class Walk:
    """How a loop nest visits a shape: loops outermost first as (dimension, step), and the lanes of
    a strip.

    The innermost loop is the last one; a shape that one strip covers has a single loop of one
    iteration over dimension -1.
    """

    shape: tuple[int, ...]
    loops: tuple[tuple[int, int], ...]
    lanes: tuple[Lanes | None, ...]
    count: int
    #: the dimensions from the slowest to the fastest in a strip; None is row major
    order: tuple[int, ...] | None = None

    @property
    def inner(self) -> int:
        return self.loops[-1][0]

    @property
    def step(self) -> int:
        return self.loops[-1][1]

    @property
    def extent(self) -> int:
        """The range of the innermost loop."""
        return self.shape[self.inner] if self.inner >= 0 else 1

    def reach(self, dimension: int) -> int:
        """The largest offset of a lane in this dimension."""
        lanes = self.lanes[dimension]
        return max(lanes.offsets) if lanes is not None else 0


def plan_walk(
    shape: tuple[int, ...],
    lanes: int,
    order: tuple[int, ...] | None = None,
    innermost: int | None = None,
) -> Walk:
    """Cover `shape` with strips of at most `lanes` elements.

    Args:
        order: the dimensions as they lie in a strip, the fastest last; row major by default.
        innermost: the dimension to make the innermost loop if it is not part of the strip (a
        reduced one).
    """
    given = order
    order = order or tuple(range(len(shape)))
    step = dict.fromkeys(order, 1)
    count = 1
    for dimension in reversed(order):
        room = lanes // count
        step[dimension] = min(shape[dimension], room)
        count *= step[dimension]
        if step[dimension] < shape[dimension]:
            break
    pattern: list[Lanes | None] = [None] * len(shape)
    below = 1
    for dimension in reversed(order):
        if step[dimension] > 1:
            size = step[dimension]
            pattern[dimension] = lanes_of(tuple((lane // below) % size for lane in range(count)))
            below *= size
    loops = [(d, step[d]) for d in order if step[d] < shape[d]]
    if innermost is not None:
        loops.sort(key=lambda loop: loop[0] == innermost)
    return Walk(shape, tuple(loops) or ((-1, 1),), tuple(pattern), count, given)


@dataclass(slots=True)
class Loop:
    """The strip that is being emitted: what is known in it, and what was computed already."""

    walk: Walk
    index: Index
    #: In an unmasked strip, the masks known to be true in every lane; None elsewhere.
    true_masks: frozenset[Value] | None = None
    memo: dict[tuple[Value, Index], Vec] = field(default_factory=dict)
    #: Values that this loop writes to scratch, with the shape of the walk.
    spills: frozenset[Value] = frozenset()
    #: the lanes that are stored, where strips overlap (a vector of i1); None: all
    storing: str | None = None
    #: memo of the loops around: values that do not change in this one
    outer: Loop | None = None

    def lookup(self, key: tuple[Value, Index]) -> Vec | None:
        loop: Loop | None = self
        while loop is not None:
            found = loop.memo.get(key)
            if found is not None:
                return found
            loop = loop.outer
        return None


def linear_lanes(strides: tuple[int, ...], index: Index) -> tuple[int, ...] | None:
    """The sum of stride x offset for each lane; None when all lanes agree."""
    total: list[int] | None = None
    for stride, (_, lanes) in zip(strides, index):
        if lanes is None or stride == 0:
            continue
        if total is None:
            total = [stride * offset for offset in lanes.offsets]
        else:
            total = [old + stride * offset for old, offset in zip(total, lanes.offsets)]
    if total is None or not any(total):
        return None
    return tuple(total)


def lanes_up(count: int) -> int:
    """The next power of two."""
    return 1 << (count - 1).bit_length()
