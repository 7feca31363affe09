"""Checks of every access to memory, for `compile_kernel`'s option `check_bounds`.

The kernel gets one argument more, a table (see `TABLE`). Before a load, a store or an atomic
operation, the addresses of its active elements are compared with the range of memory that the
argument they derive from belongs to, or with all known ranges if they derive from no argument. The
first violation is written into the table, and the programs of this call end there: the access is
not made.
"""

from __future__ import annotations

from tritorch.triton_cpu.analysis.shapes import is_tensor, root_pointer
from tritorch.triton_cpu.codegen.address import address, pointer_vector
from tritorch.triton_cpu.codegen.builder import BITS, Builder, Vec
from tritorch.triton_cpu.codegen.context import Loop, plan_walk
from tritorch.triton_cpu.codegen.generator import Generator
from tritorch.triton_cpu.codegen.lane_loop import Column, call_per_lane
from tritorch.triton_cpu.codegen.nest import Nest
from tritorch.triton_cpu.codegen.prepare import prepare
from tritorch.triton_cpu.codegen.walks import strip_lanes
from tritorch.triton_cpu.ir import Operation, Value

#: Words of the table: whether there was a violation, its argument (-1: of none), its address, the
#: bytes of an element, the place of its operation's name in ACCESSES, and the number of ranges
#: known in all. Then (begin, end) for each parameter, 0 and 2^64 - 1 where nothing is known, then
#: (begin, end) of all ranges.
FAILED, ARGUMENT, ADDRESS, SIZE, ACCESS, COUNT, HEAD = range(7)
ACCESSES = ("tt.load", "tt.store", "tt.atomic_rmw", "tt.atomic_cas")
#: the register of the table in every function
TABLE = "%bounds"


class CheckedGenerator(Generator):
    """Emits a check before each access."""

    #: where a function goes on after a violation
    ended_label = "finish"

    def _lower(self, operation: Operation) -> None:
        if operation.name in ACCESSES:
            self.flush()
            self.position = self.plan.position[operation]
            check_access(self, operation)
        super()._lower(operation)
        if operation.name == "tt.call":
            _end_if_failed(self)


def _mask_of(operation: Operation) -> Value | None:
    operands = operation.operands
    place = {"tt.load": 1, "tt.store": 2, "tt.atomic_rmw": 2}.get(operation.name)
    return operands[place] if place is not None and len(operands) > place else None


def check_access(g: CheckedGenerator, operation: Operation) -> None:
    """Emit the check of one operation."""
    pointer, mask = operation.operands[0], _mask_of(operation)
    size = max(1, BITS.get(pointer.type.pointee or "", 64) // 8)
    number = _argument_number(g, pointer)
    access = ACCESSES.index(operation.name)
    if not is_tensor(pointer):
        active = None if mask is None else Vec(g.scalars[mask], 1, "i1")
        _check(g, Vec(g.scalars[pointer], 1, "ptr"), active, number, size, access)
        return
    shape = pointer.type.shape or ()
    roots = [pointer] if mask is None else [pointer, mask]
    prepare(g, roots, shape, g.position)
    walk = plan_walk(shape, min(strip_lanes(g, roots), g.target.strip_bytes // 8))

    def body(loop: Loop, carried: list[str] | None) -> list[str]:
        active = None if mask is None else g.value_at(mask, loop.index, loop)
        where = pointer_vector(g, address(g, pointer, loop.index, loop), loop.index)
        _check(g, where, active, number, size, access)
        return []

    Nest(g, walk, roots, body).emit()


def _argument_number(g: Generator, pointer: Value) -> int:
    """The parameter that an address derives from; -1 if it is none of the kernel's."""
    entry = next(iter(g.module.functions.values()))
    arguments = entry.regions[0][0].arguments
    root = root_pointer(pointer)
    return arguments.index(root) if root in arguments else -1


def _check(
    g: CheckedGenerator, where: Vec, active: Vec | None, number: int, size: int, access: int
) -> None:
    """End the programs if an active lane is outside."""
    builder = g.builder
    lanes = max(where.lanes, 1 if active is None else active.lanes)
    known = number >= 0
    passed = builder.label("inside")
    if known:
        bad = _outside(g, where, active, lanes, number, size)
        report = builder.label("report")
        builder.emit(f"br i1 {bad}, label %{report}, label %{passed}")
        builder.start(report)
    columns = [
        Column(where),
        *(Column(Vec(str(v), 1, "i64"), True) for v in (number, size, access)),
        Column(Vec(TABLE, 1, "ptr"), True),
    ]
    name = "bounds_of_argument" if known else "bounds_of_any"
    call_per_lane(g, name, columns, active, lanes, None, _of_argument if known else _of_any)
    _end_if_failed(g)
    builder.emit(f"br label %{passed}")
    builder.start(passed)


def _end_if_failed(g: CheckedGenerator) -> None:
    """No program of this call goes on after a violation."""
    builder = g.builder
    flag = builder.define(f"load atomic i64, ptr {TABLE} monotonic, align 8")
    fine = builder.define(f"icmp eq i64 {flag}, 0")
    going_on = builder.label("fine")
    builder.emit(f"br i1 {fine}, label %{going_on}, label %{g.ended_label}")
    builder.start(going_on)


def _outside(
    g: Generator, where: Vec, active: Vec | None, lanes: int, number: int, size: int
) -> str:
    """Whether some active lane is outside of its argument's range."""
    builder = g.builder
    vector, kind = builder.type("ptr", lanes), builder.type("i64", lanes)
    places = builder.define(f"ptrtoint {vector} {builder.widen(where, lanes)} to {kind}")
    below_begin = _compare(builder, places, "ult", _word(builder, HEAD + 2 * number), lanes)
    end = _word(builder, HEAD + 2 * number + 1)
    last = builder.define(f"call i64 @llvm.usub.sat.i64(i64 {end}, i64 {size})")
    builder.declarations.add("declare i64 @llvm.usub.sat.i64(i64, i64)")
    above_end = _compare(builder, places, "ugt", last, lanes)
    flags = builder.type("i1", lanes)
    bad = builder.define(f"or {flags} {below_begin}, {above_end}")
    if active is not None and active.register not in ("true", "1"):
        bad = builder.define(f"and {flags} {bad}, {builder.widen(active, lanes)}")
    if lanes == 1:
        return bad
    return builder.call(f"llvm.vector.reduce.or.v{lanes}i1", "i1", (flags, bad))


def _compare(builder: Builder, places: str, predicate: str, limit: str, lanes: int) -> str:
    kind = builder.type("i64", lanes)
    return builder.define(f"icmp {predicate} {kind} {places}, {builder.splat(limit, 'i64', lanes)}")


def _word(builder: Builder, number: int | str, table: str = TABLE) -> str:
    place = builder.define(f"getelementptr i64, ptr {table}, i64 {number}")
    return builder.define(f"load i64, ptr {place}, align 8")


def _of_argument(builder: Builder, lane: list[str]) -> str:
    """Report one lane if it is outside of its argument's range."""
    pointer, number, size, access, table = lane
    place = builder.define(f"ptrtoint ptr {pointer} to i64")
    twice = builder.define(f"shl i64 {number}, 1")
    at = builder.define(f"add i64 {twice}, {HEAD}")
    after = builder.define(f"add i64 {at}, 1")
    inside = _is_inside(builder, place, size, at, after, table)
    _report_unless(builder, inside, place, number, size, access, table)
    return ""


def _of_any(builder: Builder, lane: list[str]) -> str:
    """Report one lane if it is in no known range; the ranges stand behind those of parameters."""
    pointer, number, size, access, table = lane
    place = builder.define(f"ptrtoint ptr {pointer} to i64")
    packed = _word(builder, COUNT, table)
    # the number of ranges, and in the upper half where they begin
    count = builder.define(f"and i64 {packed}, 4294967295")
    first = builder.define(f"lshr i64 {packed}, 32")
    before = builder.block
    look, found, done = (builder.label(hint) for hint in ("look", "again", "looked"))
    builder.emit(f"br label %{look}")
    builder.start(look)
    i, slot = builder.register(), builder.reserve()
    more = builder.define(f"icmp ult i64 {i}, {count}")
    builder.emit(f"br i1 {more}, label %{found}, label %{done}")
    builder.start(found)
    twice = builder.define(f"shl i64 {i}, 1")
    at = builder.define(f"add i64 {twice}, {first}")
    after = builder.define(f"add i64 {at}, 1")
    inside = _is_inside(builder, place, size, at, after, table)
    following = builder.define(f"add i64 {i}, 1")
    end = builder.block
    builder.emit(f"br i1 {inside}, label %{done}, label %{look}")
    builder.lines[slot] = f"  {i} = phi i64 [0, %{before}], [{following}, %{end}]"
    builder.start(done)
    known = builder.define(f"phi i1 [false, %{look}], [true, %{end}]")
    _report_unless(builder, known, place, number, size, access, table)
    return ""


def _is_inside(builder: Builder, place: str, size: str, begin: str, end: str, table: str) -> str:
    low = builder.define(f"icmp uge i64 {place}, {_word(builder, begin, table)}")
    last = builder.define(
        f"call i64 @llvm.usub.sat.i64(i64 {_word(builder, end, table)}, i64 {size})"
    )
    builder.declarations.add("declare i64 @llvm.usub.sat.i64(i64, i64)")
    high = builder.define(f"icmp ule i64 {place}, {last}")
    return builder.define(f"and i1 {low}, {high}")


def _report_unless(
    builder: Builder, holds: str, place: str, number: str, size: str, access: str, table: str
) -> None:
    """The first to report fills the table."""
    report, first, done = (builder.label(hint) for hint in ("report", "first", "checked"))
    builder.emit(f"br i1 {holds}, label %{done}, label %{report}")
    builder.start(report)
    pair = builder.define(f"cmpxchg ptr {table}, i64 0, i64 1 acq_rel monotonic")
    won = builder.define(f"extractvalue {{ i64, i1 }} {pair}, 1")
    builder.emit(f"br i1 {won}, label %{first}, label %{done}")
    builder.start(first)
    for field, value in ((ARGUMENT, number), (ADDRESS, place), (SIZE, size), (ACCESS, access)):
        at = builder.define(f"getelementptr i64, ptr {table}, i64 {field}")
        builder.emit(f"store i64 {value}, ptr {at}, align 8")
    builder.emit(f"br label %{done}")
    builder.start(done)
