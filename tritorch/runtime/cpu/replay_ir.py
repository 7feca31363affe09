"""Machine code, as LLVM text, that records launches and replays them: no Python for each launch.

A launch pays one load and a branch for it: `@tritorch_recorder` is null unless somebody records,
else the callable that is told of every launch (its `bytes`, its filled arguments) before it runs.

A recording is a `bytes` object like a bound launch's: a *head* (class `Head`), one *node* for each
launch (class `Node`: a copy of the launch's header, then its arguments), and one `Draw` for each
launch that draws random numbers. `tritorch_replay` writes the places of those, releases the GIL
once, walks the nodes, each alone or on the pool as its header says, and counts them.

It stops where an eager program would: behind a failed assertion or a wrong index.
"""

from __future__ import annotations

import ctypes

from tritorch.runtime import arguments_ir
from tritorch.runtime.cpu.launcher_ir import Header

#: what an index cell holds when no index was wrong (as `kernels.templates.bounds` has it)
NO_ERROR = -(2**63)


class Head(ctypes.Structure):
    """The beginning of a recording (`%Head` below)."""

    _fields_ = (
        ("nodes_bytes", ctypes.c_int64),
        ("draws", ctypes.c_int64),
        ("pool", ctypes.c_int64),  # whether a node may go to the pool
        ("_pad", ctypes.c_int64),
    )


class Node(ctypes.Structure):
    """One launch; its arguments (`header.template_bytes`) follow."""

    _fields_ = (
        ("header", Header),
        ("cell", ctypes.c_void_p),  # where the kernel leaves a wrong index, or null
    )


class Draw(ctypes.Structure):
    """A launch that draws random numbers (`%Draw` below)."""

    _fields_ = (
        ("seed", ctypes.c_int64),  # where the seed is, in bytes from the head
        ("offset", ctypes.c_int64),  # where the offset is
        ("relative", ctypes.c_int64),  # how much its generator had drawn since the beginning
        ("generator", ctypes.c_int64),  # its number among the recording's
    )


_TEXT = r"""
%Head = type { i64, i64, i64, i64 }
%Node = type { %Header, ptr }
%Draw = type { i64, i64, i64, i64 }
declare ptr @PyLong_FromLong(i64)
declare ptr @memmove(ptr, ptr, i64)

; What copies within the target's memory are recorded as: a kernel (destination, source, bytes).
define void @tritorch_copy(ptr %frame, i64 %begin, i64 %end) {
  %to_field = getelementptr i8, ptr %frame, i64 16
  %from_field = getelementptr i8, ptr %frame, i64 24
  %bytes_field = getelementptr i8, ptr %frame, i64 32
  %to = load ptr, ptr %to_field, align 8
  %from = load ptr, ptr %from_field, align 8
  %bytes = load i64, ptr %bytes_field, align 8
  %r = call ptr @memmove(ptr %to, ptr %from, i64 %bytes)
  ret void
}

; Write seeds and offsets into the arguments of the launches that draw.
define internal void @place_draws(ptr %head, ptr %draws, i64 %count, ptr %numbers) {
entry:
  br label %look
look:
  %i = phi i64 [ 0, %entry ], [ %next, %place ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %place, label %out
place:
  %draw = getelementptr %Draw, ptr %draws, i64 %i
  %offset_field = getelementptr %Draw, ptr %draw, i64 0, i32 1
  %relative_field = getelementptr %Draw, ptr %draw, i64 0, i32 2
  %generator_field = getelementptr %Draw, ptr %draw, i64 0, i32 3
  %seed_at = load i64, ptr %draw, align 8
  %offset_at = load i64, ptr %offset_field, align 8
  %relative = load i64, ptr %relative_field, align 8
  %generator = load i64, ptr %generator_field, align 8
  %first = shl i64 %generator, 1
  %seed_number = getelementptr i64, ptr %numbers, i64 %first
  %base_number = getelementptr i64, ptr %seed_number, i64 1
  %seed = load i64, ptr %seed_number, align 8
  %base = load i64, ptr %base_number, align 8
  %offset = add i64 %base, %relative
  %seed_place = getelementptr i8, ptr %head, i64 %seed_at
  %offset_place = getelementptr i8, ptr %head, i64 %offset_at
  store i64 %seed, ptr %seed_place, align 8
  store i64 %offset, ptr %offset_place, align 8
  %next = add i64 %i, 1
  br label %look
out:
  ret void
}

; Run the nodes of [%first, %end), without the GIL; the one that failed, or %end.
define internal ptr @run_nodes(ptr %first, ptr %end) {
entry:
  br label %look
look:
  %node = phi ptr [ %first, %entry ], [ %next, %fine ]
  %more = icmp ult ptr %node, %end
  br i1 %more, label %begin, label %out
begin:
  %programs_field = getelementptr %Header, ptr %node, i64 0, i32 1
  %grain_field = getelementptr %Header, ptr %node, i64 0, i32 2
  %bytes_field = getelementptr %Header, ptr %node, i64 0, i32 5
  %mode_field = getelementptr %Header, ptr %node, i64 0, i32 7
  %work_field = getelementptr %Header, ptr %node, i64 0, i32 9
  %cell_field = getelementptr %Node, ptr %node, i64 0, i32 1
  %frame = getelementptr %Node, ptr %node, i64 1
  %function = load ptr, ptr %node, align 8
  %programs = load i64, ptr %programs_field, align 8
  %bytes = load i64, ptr %bytes_field, align 8
  %next = getelementptr i8, ptr %frame, i64 %bytes
  %none = icmp eq i64 %programs, 0
  br i1 %none, label %fine, label %run
run:
  %mode = load i32, ptr %mode_field, align 4
  switch i32 %mode, label %measured [ i32 0, label %serial
                                      i32 1, label %parallel ]
measured:
  %some = call i64 @measure(ptr %node, ptr %frame)
  %over = icmp eq i64 %some, %programs
  br i1 %over, label %check, label %rest
rest:
  %measured_work = load i64, ptr %work_field, align 8
  %long = icmp sgt i64 %measured_work, PARALLEL_NS
  br i1 %long, label %parallel, label %serial
serial:
  %from0 = phi i64 [ 0, %run ], [ %some, %rest ]
  call void %function(ptr %frame, i64 %from0, i64 %programs)
  br label %check
parallel:
  %from1 = phi i64 [ 0, %run ], [ %some, %rest ]
  %grain = load i64, ptr %grain_field, align 8
  %work = load i64, ptr %work_field, align 8
  call void @tritorch_pool_run(ptr %function, ptr %frame, i64 %from1, i64 %programs, i64 %grain,
                               i64 %work)
  br label %check
check:
  %asserted = load atomic ptr, ptr @tritorch_assert_message monotonic, align 8
  %good = icmp eq ptr %asserted, null
  br i1 %good, label %check_index, label %failed
check_index:
  %cell = load ptr, ptr %cell_field, align 8
  %unchecked = icmp eq ptr %cell, null
  br i1 %unchecked, label %fine, label %read_cell
read_cell:
  %index = load i64, ptr %cell, align 8
  %right = icmp eq i64 %index, NO_ERROR
  br i1 %right, label %fine, label %failed
fine:
  br label %look
failed:
  ret ptr %node
out:
  ret ptr %end
}

; Count the launches of the nodes that ran; the GIL is held.
define internal void @count_nodes(ptr %first, ptr %stopped, ptr %end) {
entry:
  br label %look
look:
  %node = phi ptr [ %first, %entry ], [ %next, %count ]
  %before_end = icmp ult ptr %node, %end
  %ran = icmp ule ptr %node, %stopped
  %more = and i1 %before_end, %ran
  br i1 %more, label %count, label %out
count:
  %counter_field = getelementptr %Header, ptr %node, i64 0, i32 3
  %bytes_field = getelementptr %Header, ptr %node, i64 0, i32 5
  %counter = load ptr, ptr %counter_field, align 8
  %launches = load i64, ptr %counter, align 8
  %launches_now = add i64 %launches, 1
  store i64 %launches_now, ptr %counter, align 8
  %bytes = load i64, ptr %bytes_field, align 8
  %frame = getelementptr %Node, ptr %node, i64 1
  %next = getelementptr i8, ptr %frame, i64 %bytes
  br label %look
out:
  ret void
}

; METH_FASTCALL: (seed, offset) of each generator -> None, or the address of an index cell.
define ptr @tritorch_replay(ptr %self, ptr %arguments, i64 %count) {
entry:
  %head = getelementptr i8, ptr %self, i64 BYTES_OFFSET
  %numbers = alloca i64, i64 %count, align 8
  br label %look
look:
  %i = phi i64 [ 0, %entry ], [ %i_next, %number ], [ %i_next, %doubt ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %number, label %numbered
number:
  %object_field = getelementptr ptr, ptr %arguments, i64 %i
  %object = load ptr, ptr %object_field, align 8
  %value = call i64 @PyLong_AsLong(ptr %object)
  %place = getelementptr i64, ptr %numbers, i64 %i
  store i64 %value, ptr %place, align 8
  %i_next = add i64 %i, 1
  %minus = icmp eq i64 %value, -1
  br i1 %minus, label %doubt, label %look
doubt:
  %error = call ptr @PyErr_Occurred()
  %clean = icmp eq ptr %error, null
  br i1 %clean, label %look, label %failed
numbered:
  %nodes_bytes = load i64, ptr %head, align 8
  %draws_field = getelementptr %Head, ptr %head, i64 0, i32 1
  %draws_count = load i64, ptr %draws_field, align 8
  %first = getelementptr %Head, ptr %head, i64 1
  %end = getelementptr i8, ptr %first, i64 %nodes_bytes
  call void @place_draws(ptr %head, ptr %end, i64 %draws_count, ptr %numbers)
  %pool_field = getelementptr %Head, ptr %head, i64 0, i32 2
  %pool = load i64, ptr %pool_field, align 8
  %wants_pool = icmp ne i64 %pool, 0
  br i1 %wants_pool, label %started, label %run
started:
  %ready = call i1 @pool_ready()
  br i1 %ready, label %run, label %failed
run:
  %state = call ptr @PyEval_SaveThread()
  %stopped = call ptr @run_nodes(ptr %first, ptr %end)
  call void @PyEval_RestoreThread(ptr %state)
  call void @count_nodes(ptr %first, ptr %stopped, ptr %end)
  %whole = icmp eq ptr %stopped, %end
  br i1 %whole, label %done, label %find
find:
  %asserted = load atomic ptr, ptr @tritorch_assert_message monotonic, align 8
  %is_index = icmp eq ptr %asserted, null
  br i1 %is_index, label %wrong_index, label %raise
raise:
  %name_field = getelementptr %Header, ptr %stopped, i64 0, i32 4
  %name = load ptr, ptr %name_field, align 8
  %ra = call ptr @raise_assertion(ptr %name)
  ret ptr null
wrong_index:
  %cell_field = getelementptr %Node, ptr %stopped, i64 0, i32 1
  %cell = load i64, ptr %cell_field, align 8
  %address = call ptr @PyLong_FromLong(i64 %cell)
  ret ptr %address
failed:
  ret ptr null
done:
  call void @Py_IncRef(ptr @_Py_NoneStruct)
  ret ptr @_Py_NoneStruct
}
"""

NAMES = ("tritorch_copy", "tritorch_replay")

#: What the text takes from CPython beside the launcher's.
PYTHON_NAMES = ("PyLong_FromLong",)


def replay_text(parallel_ns: int) -> str:
    """The module's text for this Python; launches estimated above `parallel_ns` go to the pool."""
    return (
        _TEXT.replace("BYTES_OFFSET", str(arguments_ir.BYTES_OFFSET))
        .replace("PARALLEL_NS", str(parallel_ns))
        .replace("NO_ERROR", str(NO_ERROR))
    )
