"""Atomic additions to places that data choose: combined in a table before they go to memory.

A locked addition takes 7 ns when nobody competes and several times that when two threads do, and a
histogram makes one for every element. So each run of programs keeps a table of sums, one entry for
each of the last places met, finds an element's entry by its address, and adds there without a lock.
An entry that another place needs goes to memory by one atomic addition; at the end all do.

This is right where nothing in the kernel can see the memory in between: only such additions have
its pointer, and no result of theirs is used. It helps where places recur. So the first additions
are made directly; a table too small for the places grows once; and where they do not recur at all,
additions are direct for good.
"""

from __future__ import annotations

from collections.abc import Iterator

from tritorch.triton_cpu.analysis.shapes import is_tensor, root_pointer
from tritorch.triton_cpu.codegen.builder import BITS, LLVM_TYPE, Vec
from tritorch.triton_cpu.codegen.generator import Generator
from tritorch.triton_cpu.codegen.lane_loop import lane_array
from tritorch.triton_cpu.codegen.scratch import Buffer
from tritorch.triton_cpu.ir import Block, Operation, Value

#: entries of a table, before and after it grows: a tag (the address; 0: free) and a sum
ENTRIES, MORE_ENTRIES = 2048, 32768
ENTRY_BYTES = 16
#: bytes before the entries: the mode, lanes seen, entries (re)filled, number of entries - 1
HEAD = 64
#: lanes added directly before a table is worth its clearing
PATIENCE = 128
#: lanes after which a table is judged, the small and the large one
TRIAL, LONG_TRIAL = 4096, 8192
#: modes of a table
COUNTING, TABLE, DIRECT = range(3)

_ELEMENTS = {"fadd": ("f32", "f64"), "add": ("i32", "i64")}


def can_combine(g: Generator, operation: Operation, kind: str) -> bool:
    """Whether the additions of an operation may wait until the programs are done."""
    pointer, value = operation.operands[:2]
    entry = next(iter(g.module.functions.values()))
    arguments = entry.regions[0][0].arguments
    root = root_pointer(pointer)
    return (
        value.type.element in _ELEMENTS.get(kind, ())
        and is_tensor(pointer)
        and g.affine.get(pointer) is None
        and root in arguments
        and all(_leaves_alone(other, root, operation) for other in _all_operations(entry))
    )


def _leaves_alone(other: Operation, root: Value, addition: Operation) -> bool:
    """Whether an operation cannot see what is behind the root, or is such an addition."""
    if other.name in ("tt.call", "tt.atomic_cas", "tt.extern_elementwise", "tt.int_to_ptr"):
        return False
    if other.name == "tt.atomic_rmw":
        if other.results[0].uses:
            return False
        same = other.attributes["atomic_rmw_op"] == addition.attributes["atomic_rmw_op"]
        return root_pointer(other.operands[0]) is not root or (
            same and is_tensor(other.operands[0])
        )
    if other.name in _ADDRESS_ARITHMETIC:
        return True
    roots = [root_pointer(o) for o in other.operands if o.type.element == "ptr"]
    return all(r is not root and r.operation is None for r in roots)


#: operations through which an address goes on to others
_ADDRESS_ARITHMETIC = frozenset(
    {
        "tt.addptr", "tt.splat", "tt.broadcast", "tt.expand_dims", "tt.trans", "tt.reshape",
        "tt.bitcast", "tt.unsplat",
    }
)  # fmt: skip


def _all_operations(operation: Operation) -> Iterator[Operation]:
    for region in operation.regions:
        for block in region:
            for inner in block.operations:
                yield inner
                yield from _all_operations(inner)


def combine(
    g: Generator, operation: Operation, kind: str, where: Vec, value: Vec, mask: Vec | None,
    lanes: int, ordering: str,
) -> None:  # fmt: skip
    """Add the lanes of a strip to the table of their root pointer."""
    element = value.element
    is_masked = mask is not None and mask.register not in ("true", "1")
    name = f"combine_{kind}_{element}_{ordering}"
    entry = name + ("_masked" if is_masked else "")
    flush = f"{name}_flush"
    g.builder.helpers.setdefault(flush, _flush(flush, kind, element, ordering))
    g.builder.helpers.setdefault(entry, _add(entry, flush, kind, element, ordering, is_masked))
    g.builder.declarations.add("declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
    table = _table(g, operation, flush)
    arrays: list[Buffer] = []
    columns = [where, value, *([mask] if is_masked and mask is not None else [])]
    places = [f"ptr {lane_array(g, column, lanes, arrays)}" for column in columns]
    arguments = ", ".join([*places, f"ptr {table}", f"i64 {lanes}"])
    g.builder.emit(f"call void @{entry}({arguments})")
    for array in arrays:
        g.scratch.touch(array)


def _table(g: Generator, operation: Operation, flush: str) -> str:
    """The table of a root pointer; it lives as long as the call that runs some programs."""
    root = root_pointer(operation.operands[0])
    found = g.module.tables.get(root)
    if found is None:
        buffer = g.scratch.allocate(((HEAD + ENTRY_BYTES * MORE_ENTRIES) // 8,), "i64")
        buffer.first, buffer.last = -1, 1 << 60
        found = g.module.tables[root] = buffer.register
        mode = _first_mode(g, root, found)
        g.module.opening += [
            *mode,
            f"  %seen_{found[1:]} = getelementptr i8, ptr {found}, i64 8",
            f"  store <2 x i64> zeroinitializer, ptr %seen_{found[1:]}, align 8",
        ]
        g.module.closing.append(f"  call void @{flush}(ptr {found})")
    return found


def _first_mode(g: Generator, root: Value, table: str) -> list[str]:
    """Set the mode: DIRECT where another argument that is read points at the same memory."""
    assert isinstance(root.owner, Block)
    suffix, lines, mode = table[1:], [], str(COUNTING)
    for number, other in enumerate(root.owner.arguments):
        if other is root or other.type.element != "ptr":
            continue
        name = f"{suffix}_{number}"
        lines += [
            f"  %same_{name} = icmp eq ptr {g.scalars[other]}, {g.scalars[root]}",
            f"  %mode_{name} = select i1 %same_{name}, i64 {DIRECT}, i64 {mode}",
        ]
        mode = f"%mode_{name}"
    return [*lines, f"  store i64 {mode}, ptr {table}, align 8"]


def _loop(label: str, element: str, is_masked: bool, body: str) -> str:
    """A loop over the lanes; `body` has %p_LABEL and %v_LABEL and goes on at next_LABEL."""
    kind, size = LLVM_TYPE[element], BITS[element] // 8
    guard = f"br label %active_{label}"
    if is_masked:
        guard = f"""%at_{label} = getelementptr i8, ptr %mask, i64 %i_{label}
  %byte_{label} = load i8, ptr %at_{label}, align 1
  %on_{label} = icmp ne i8 %byte_{label}, 0
  br i1 %on_{label}, label %active_{label}, label %next_{label}"""
    return f"""{label}:
  br label %lane_{label}
lane_{label}:
  %i_{label} = phi i64 [0, %{label}], [%n_{label}, %next_{label}]
  {guard}
active_{label}:
  %pp_{label} = getelementptr ptr, ptr %pointers, i64 %i_{label}
  %p_{label} = load ptr, ptr %pp_{label}, align 8
  %vp_{label} = getelementptr {kind}, ptr %values, i64 %i_{label}
  %v_{label} = load {kind}, ptr %vp_{label}, align {size}
{body}
next_{label}:
  %n_{label} = add nuw nsw i64 %i_{label}, 1
  %again_{label} = icmp ult i64 %n_{label}, %lanes
  br i1 %again_{label}, label %lane_{label}, label %end_{label}
"""


def _add(
    name: str, flush: str, kind: str, element: str, ordering: str, is_masked: bool
) -> str:  # fmt: skip
    """void NAME(pointers, values, [mask,] table, lanes)."""
    number, size = LLVM_TYPE[element], BITS[element] // 8
    direct = f"""  %o = atomicrmw {kind} ptr %p_direct, {number} %v_direct {ordering}
  br label %next_direct"""
    combined = f"""  %key = ptrtoint ptr %p_table to i64
  %high = lshr i64 %key, {size.bit_length() - 1}
  %slot = and i64 %high, %last
  %place_of = getelementptr [16 x i8], ptr %entries, i64 %slot
  %sum_field = getelementptr i8, ptr %place_of, i64 8
  %tag = load i64, ptr %place_of, align 8
  %old = load {number}, ptr %sum_field, align 8
  %hit = icmp eq i64 %tag, %key
  br i1 %hit, label %add, label %miss
add:
  %new = {kind} {number} %old, %v_table
  store {number} %new, ptr %sum_field, align 8
  br label %next_table
miss:
  %filled = load i64, ptr %fills, align 8
  %filled_now = add i64 %filled, 1
  store i64 %filled_now, ptr %fills, align 8
  store i64 %key, ptr %place_of, align 8
  store {number} %v_table, ptr %sum_field, align 8
  %used = icmp ne i64 %tag, 0
  br i1 %used, label %evict, label %next_table
evict:
  %place = inttoptr i64 %tag to ptr
  %before = atomicrmw {kind} ptr %place, {number} %old {ordering}
  br label %next_table"""
    mask = "ptr %mask, " if is_masked else ""
    return f"""define internal void @{name}(
    ptr %pointers, ptr %values, {mask}ptr %state, i64 %lanes) noinline nounwind {{
entry:
  %seen_field = getelementptr i8, ptr %state, i64 8
  %fills = getelementptr i8, ptr %state, i64 16
  %last_field = getelementptr i8, ptr %state, i64 24
  %entries = getelementptr i8, ptr %state, i64 {HEAD}
  %seen = load i64, ptr %seen_field, align 8
  %seen_now = add i64 %seen, %lanes
  store i64 %seen_now, ptr %seen_field, align 8
  %mode = load i64, ptr %state, align 8
  switch i64 %mode, label %direct [ i64 {COUNTING}, label %counting
                                    i64 {TABLE}, label %use ]
counting:
  %enough = icmp ugt i64 %seen_now, {PATIENCE}
  br i1 %enough, label %begin, label %direct
begin:
  call void @llvm.memset.p0.i64(
      ptr align 64 %entries, i8 0, i64 {ENTRY_BYTES * ENTRIES}, i1 false)
  store i64 0, ptr %seen_field, align 8
  store i64 {ENTRIES - 1}, ptr %last_field, align 8
  store i64 {TABLE}, ptr %state, align 8
  br label %use
use:
  %last = load i64, ptr %last_field, align 8
  br label %table
{_loop("direct", element, is_masked, direct)}
end_direct:
  ret void
{_loop("table", element, is_masked, combined)}
end_table:
  %all_filled = load i64, ptr %fills, align 8
  %all_seen = load i64, ptr %seen_field, align 8
  %small = icmp eq i64 %last, {ENTRIES - 1}
  %trial = select i1 %small, i64 {TRIAL}, i64 {LONG_TRIAL}
  %over = icmp ugt i64 %all_seen, %trial
  br i1 %over, label %judge, label %out
judge:
  %eighth = lshr i64 %all_seen, 3
  %half = shl i64 %eighth, 2
  %most = sub i64 %all_seen, %eighth
  %limit = select i1 %small, i64 %half, i64 %most
  %useless = icmp ugt i64 %all_filled, %limit
  br i1 %useless, label %give_up, label %out
give_up:
  call void @{flush}(ptr %state)
  br i1 %small, label %grow, label %out
grow:
  call void @llvm.memset.p0.i64(
      ptr align 64 %entries, i8 0, i64 {ENTRY_BYTES * MORE_ENTRIES}, i1 false)
  store <2 x i64> zeroinitializer, ptr %seen_field, align 8
  store i64 {MORE_ENTRIES - 1}, ptr %last_field, align 8
  store i64 {TABLE}, ptr %state, align 8
  br label %out
out:
  ret void
}}
"""


def _flush(name: str, kind: str, element: str, ordering: str) -> str:
    """void NAME(table): all sums go to memory; from then on additions are direct."""
    number = LLVM_TYPE[element]
    return f"""define internal void @{name}(ptr %state) noinline nounwind {{
entry:
  %mode = load i64, ptr %state, align 8
  %full = icmp eq i64 %mode, {TABLE}
  br i1 %full, label %start, label %out
start:
  store i64 {DIRECT}, ptr %state, align 8
  %entries = getelementptr i8, ptr %state, i64 {HEAD}
  %last_field = getelementptr i8, ptr %state, i64 24
  %last = load i64, ptr %last_field, align 8
  br label %look
look:
  %i = phi i64 [0, %start], [%n, %next]
  %place_of = getelementptr [16 x i8], ptr %entries, i64 %i
  %tag = load i64, ptr %place_of, align 8
  %used = icmp ne i64 %tag, 0
  br i1 %used, label %write, label %next
write:
  %sum_field = getelementptr i8, ptr %place_of, i64 8
  %sum = load {number}, ptr %sum_field, align 8
  %place = inttoptr i64 %tag to ptr
  %before = atomicrmw {kind} ptr %place, {number} %sum {ordering}
  br label %next
next:
  %n = add nuw nsw i64 %i, 1
  %more = icmp ule i64 %n, %last
  br i1 %more, label %look, label %out
out:
  ret void
}}
"""
