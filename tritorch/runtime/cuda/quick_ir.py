"""The short way of small blocks as machine code, as LLVM text: what every small result costs.

A list of free blocks is two Python builtins, `pop` and `append`, whose `self` holds the address of
a `List`; requests whose blocks have the same size share these. Taking and giving back is a few
instructions: the device's figures are counted exactly, and no lock is needed, since the GIL is
held. What is not that simple goes the long way: `pop` raises IndexError where nothing is there, the
thread's stream is not the default one, or blocks wait to be freed; `append` calls Python where a
block may be in use on another stream.

`Figures` are 27 counters of three numbers: quantities x pools x (current, peak, allocated).
"""

from __future__ import annotations

import ctypes

from tritorch.runtime.arguments_ir import BYTES_OFFSET

#: order of the quantities in the array of figures
QUANTITIES = (
    "allocation", "segment", "active", "inactive_split", "allocated_bytes", "reserved_bytes",
    "active_bytes", "inactive_split_bytes", "requested_bytes",
)  # fmt: skip


class State(ctypes.Structure):
    """What all lists of an allocator share (`%State` below)."""

    _fields_ = (
        ("figures", ctypes.c_void_p),
        ("waiting", ctypes.c_int64),  # blocks were freed that nobody has taken back yet
        ("recorded", ctypes.c_int64),  # blocks in use on another stream than their own
        ("stream_key", ctypes.c_uint32),
        ("unused", ctypes.c_uint32),
    )


class Kept(ctypes.Structure):
    """Free blocks of one size (`%Kept` below)."""

    _fields_ = (
        ("count", ctypes.c_int64),
        ("capacity", ctypes.c_int64),
        ("addresses", ctypes.c_void_p),
    )


class List(ctypes.Structure):
    """What serves requests of one number of bytes (`%List` below)."""

    _fields_ = (
        ("state", ctypes.c_void_p),
        ("kept", ctypes.c_void_p),
        ("size", ctypes.c_int64),  # of a block
        ("requested", ctypes.c_int64),
        ("free", ctypes.c_void_p),  # the Python callable for the long way
    )


_TEXT = r"""
%State = type { ptr, i64, i64, i32, i32 }
%Kept = type { i64, i64, ptr }
%List = type { ptr, ptr, i64, i64, ptr }
@PyExc_IndexError = external global ptr
@_Py_NoneStruct = external global i8
declare void @PyErr_SetNone(ptr)
declare ptr @PyLong_FromUnsignedLongLong(i64)
declare i64 @PyLong_AsUnsignedLongLong(ptr)
declare ptr @PyObject_CallOneArg(ptr, ptr)
declare void @Py_IncRef(ptr)
declare ptr @pthread_getspecific(i32)

define internal void @add_one(ptr %figures, i64 %quantity, i64 %pool, i64 %amount) alwaysinline {
  %row = mul i64 %quantity, 3
  %counter = add i64 %row, %pool
  %cell = getelementptr [3 x i64], ptr %figures, i64 %counter
  %current = load i64, ptr %cell, align 8
  %now = add i64 %current, %amount
  store i64 %now, ptr %cell, align 8
  %peak_cell = getelementptr i64, ptr %cell, i64 1
  %peak = load i64, ptr %peak_cell, align 8
  %higher = icmp sgt i64 %now, %peak
  %highest = select i1 %higher, i64 %now, i64 %peak
  store i64 %highest, ptr %peak_cell, align 8
  %sum_cell = getelementptr i64, ptr %cell, i64 2
  %sum = load i64, ptr %sum_cell, align 8
  %sum_now = add i64 %sum, %amount
  store i64 %sum_now, ptr %sum_cell, align 8
  ret void
}

define internal void @subtract_one(ptr %figures, i64 %quantity, i64 %pool,
                                   i64 %amount) alwaysinline {
  %row = mul i64 %quantity, 3
  %counter = add i64 %row, %pool
  %cell = getelementptr [3 x i64], ptr %figures, i64 %counter
  %current = load i64, ptr %cell, align 8
  %now = sub i64 %current, %amount
  store i64 %now, ptr %cell, align 8
  ret void
}

define internal void @count_out(ptr %figures, i64 %pool, i64 %size, i64 %requested) {
ADDED
  ret void
}

define internal void @count_back(ptr %figures, i64 %pool, i64 %size, i64 %requested) {
TAKEN
  ret void
}

define internal void @count_free(ptr %figures, i64 %pool, i64 %size) {
RELEASED
  ret void
}

define internal void @count_piece(ptr %figures, i64 %pool, i64 %size) {
CUT
  ret void
}

define internal void @count_no_piece(ptr %figures, i64 %pool, i64 %size) {
GROWN
  ret void
}

define internal ptr @none() alwaysinline {
  call void @Py_IncRef(ptr @_Py_NoneStruct)
  ret ptr @_Py_NoneStruct
}

; METH_FASTCALL (pool, size, requested): the allocator hands out a block, or takes it back, or it is
; free for others, or is a free piece of a segment, or is that no more.
COUNTERS

; METH_FASTCALL (): a free address that was counted as handed out.
define ptr @tritorch_quick_pop(ptr %self, ptr %arguments, i64 %given) {
entry:
  %payload = getelementptr i8, ptr %self, i64 BYTES_OFFSET
  %list = load ptr, ptr %payload, align 8
  %state = load ptr, ptr %list, align 8
  %kept_field = getelementptr %List, ptr %list, i64 0, i32 1
  %kept = load ptr, ptr %kept_field, align 8
  %waiting_field = getelementptr %State, ptr %state, i64 0, i32 1
  %waiting = load i64, ptr %waiting_field, align 8
  %count = load i64, ptr %kept, align 8
  %some = icmp ne i64 %count, 0
  %calm = icmp eq i64 %waiting, 0
  %may = and i1 %some, %calm
  br i1 %may, label %look, label %empty
look:
  %key_field = getelementptr %State, ptr %state, i64 0, i32 3
  %key = load i32, ptr %key_field, align 8
  %stream = call ptr @pthread_getspecific(i32 %key)
  %ours = icmp eq ptr %stream, null
  br i1 %ours, label %take, label %empty
take:
  %left = sub i64 %count, 1
  store i64 %left, ptr %kept, align 8
  %addresses_field = getelementptr %Kept, ptr %kept, i64 0, i32 2
  %addresses = load ptr, ptr %addresses_field, align 8
  %cell = getelementptr i64, ptr %addresses, i64 %left
  %address = load i64, ptr %cell, align 8
  %figures = load ptr, ptr %state, align 8
  %size_field = getelementptr %List, ptr %list, i64 0, i32 2
  %size = load i64, ptr %size_field, align 8
  %requested_field = getelementptr %List, ptr %list, i64 0, i32 3
  %requested = load i64, ptr %requested_field, align 8
  call void @count_out(ptr %figures, i64 1, i64 %size, i64 %requested)
  %result = call ptr @PyLong_FromUnsignedLongLong(i64 %address)
  ret ptr %result
empty:
  %index_error = load ptr, ptr @PyExc_IndexError, align 8
  call void @PyErr_SetNone(ptr %index_error)
  ret ptr null
}

; METH_FASTCALL (address): give a block back.
define ptr @tritorch_quick_append(ptr %self, ptr %arguments, i64 %given) {
entry:
  %payload = getelementptr i8, ptr %self, i64 BYTES_OFFSET
  %list = load ptr, ptr %payload, align 8
  %state = load ptr, ptr %list, align 8
  %kept_field = getelementptr %List, ptr %list, i64 0, i32 1
  %kept = load ptr, ptr %kept_field, align 8
  %object = load ptr, ptr %arguments, align 8
  %recorded_field = getelementptr %State, ptr %state, i64 0, i32 2
  %recorded = load i64, ptr %recorded_field, align 8
  %count = load i64, ptr %kept, align 8
  %capacity_field = getelementptr %Kept, ptr %kept, i64 0, i32 1
  %capacity = load i64, ptr %capacity_field, align 8
  %room = icmp slt i64 %count, %capacity
  %calm = icmp eq i64 %recorded, 0
  %may = and i1 %room, %calm
  br i1 %may, label %convert, label %long
convert:
  %address = call i64 @PyLong_AsUnsignedLongLong(ptr %object)
  %doubt = icmp eq i64 %address, -1
  br i1 %doubt, label %failed, label %put
put:
  %addresses_field = getelementptr %Kept, ptr %kept, i64 0, i32 2
  %addresses = load ptr, ptr %addresses_field, align 8
  %cell = getelementptr i64, ptr %addresses, i64 %count
  store i64 %address, ptr %cell, align 8
  %now = add i64 %count, 1
  store i64 %now, ptr %kept, align 8
  %figures = load ptr, ptr %state, align 8
  %size_field = getelementptr %List, ptr %list, i64 0, i32 2
  %size = load i64, ptr %size_field, align 8
  %requested_field = getelementptr %List, ptr %list, i64 0, i32 3
  %requested = load i64, ptr %requested_field, align 8
  call void @count_back(ptr %figures, i64 1, i64 %size, i64 %requested)
  call void @count_free(ptr %figures, i64 1, i64 %size)
  %nothing = call ptr @none()
  ret ptr %nothing
long:
  %free_field = getelementptr %List, ptr %list, i64 0, i32 4
  %free = load ptr, ptr %free_field, align 8
  %answer = call ptr @PyObject_CallOneArg(ptr %free, ptr %object)
  ret ptr %answer
failed:
  ret ptr null
}

; METH_FASTCALL (address): keep a block that was counted as free; whether there was room.
define ptr @tritorch_quick_park(ptr %self, ptr %arguments, i64 %given) {
entry:
  %payload = getelementptr i8, ptr %self, i64 BYTES_OFFSET
  %kept = load ptr, ptr %payload, align 8
  %object = load ptr, ptr %arguments, align 8
  %address = call i64 @PyLong_AsUnsignedLongLong(ptr %object)
  %count = load i64, ptr %kept, align 8
  %capacity_field = getelementptr %Kept, ptr %kept, i64 0, i32 1
  %capacity = load i64, ptr %capacity_field, align 8
  %room = icmp slt i64 %count, %capacity
  br i1 %room, label %put, label %full
put:
  %addresses_field = getelementptr %Kept, ptr %kept, i64 0, i32 2
  %addresses = load ptr, ptr %addresses_field, align 8
  %cell = getelementptr i64, ptr %addresses, i64 %count
  store i64 %address, ptr %cell, align 8
  %now = add i64 %count, 1
  store i64 %now, ptr %kept, align 8
  %one = call ptr @PyLong_FromUnsignedLongLong(i64 1)
  ret ptr %one
full:
  %zero = call ptr @PyLong_FromUnsignedLongLong(i64 0)
  ret ptr %zero
}

; METH_FASTCALL (): an address out of the list, without counting; 0 where there is none.
define ptr @tritorch_quick_take(ptr %self, ptr %arguments, i64 %given) {
entry:
  %payload = getelementptr i8, ptr %self, i64 BYTES_OFFSET
  %kept = load ptr, ptr %payload, align 8
  %count = load i64, ptr %kept, align 8
  %some = icmp ne i64 %count, 0
  br i1 %some, label %take, label %empty
take:
  %left = sub i64 %count, 1
  store i64 %left, ptr %kept, align 8
  %addresses_field = getelementptr %Kept, ptr %kept, i64 0, i32 2
  %addresses = load ptr, ptr %addresses_field, align 8
  %cell = getelementptr i64, ptr %addresses, i64 %left
  %address = load i64, ptr %cell, align 8
  br label %done
empty:
  br label %done
done:
  %found = phi i64 [ %address, %take ], [ 0, %empty ]
  %result = call ptr @PyLong_FromUnsignedLongLong(i64 %found)
  ret ptr %result
}
"""

_COUNTER = r"""
define ptr @tritorch_NAME(ptr %self, ptr %arguments, i64 %given) {
  %payload = getelementptr i8, ptr %self, i64 BYTES_OFFSET
  %figures = load ptr, ptr %payload, align 8
  %pool_object = load ptr, ptr %arguments, align 8
  %pool = call i64 @PyLong_AsUnsignedLongLong(ptr %pool_object)
  %size_slot = getelementptr ptr, ptr %arguments, i64 1
  %size_object = load ptr, ptr %size_slot, align 8
  %size = call i64 @PyLong_AsUnsignedLongLong(ptr %size_object)
REQUESTED
  CALL
  %nothing = call ptr @none()
  ret ptr %nothing
}
"""
_REQUESTED = """\
  %requested_slot = getelementptr ptr, ptr %arguments, i64 2
  %requested_object = load ptr, ptr %requested_slot, align 8
  %requested = call i64 @PyLong_AsUnsignedLongLong(ptr %requested_object)
"""

NAMES = tuple(
    f"tritorch_{name}"
    for name in (
        "count_out", "count_back", "count_free", "count_piece", "count_no_piece",
        "quick_pop", "quick_append", "quick_park", "quick_take",
    )
)  # fmt: skip

#: What the text takes from CPython.
PYTHON_NAMES = (
    "PyErr_SetNone",
    "PyExc_IndexError",
    "PyLong_AsUnsignedLongLong",
    "PyLong_FromUnsignedLongLong",
    "PyObject_CallOneArg",
    "Py_IncRef",
    "_Py_NoneStruct",
)


def _changes(function: str, amounts: dict[str, str]) -> str:
    """Calls that change quantities, of all memory and of the pool."""
    return "\n".join(
        f"  call void @{function}(ptr %figures, i64 {QUANTITIES.index(name)}, i64 {pool}, "
        f"i64 {amount})"
        for name, amount in amounts.items()
        for pool in ("0", "%pool")
    )


def _counter(name: str, requested: bool) -> str:
    call = f"call void @{name}(ptr %figures, i64 %pool, i64 %size"
    call += ", i64 %requested)" if requested else ")"
    text = _COUNTER.replace("NAME", name).replace("CALL", call)
    return text.replace("REQUESTED\n", _REQUESTED if requested else "")


def quick_text() -> str:
    """The module's text for this Python."""
    held = {"allocation": "1", "allocated_bytes": "%size", "requested_bytes": "%requested"}
    used = {"active": "1", "active_bytes": "%size"}
    text = _TEXT.replace("ADDED", _changes("add_one", held | used))
    text = text.replace("TAKEN", _changes("subtract_one", held))
    text = text.replace("RELEASED", _changes("subtract_one", used))
    pieces = {"inactive_split": "1", "inactive_split_bytes": "%size"}
    text = text.replace("CUT", _changes("add_one", pieces))
    text = text.replace("GROWN", _changes("subtract_one", pieces))
    counters = [("count_out", True), ("count_back", True), ("count_free", False)]
    counters += [("count_piece", False), ("count_no_piece", False)]
    text = text.replace("COUNTERS", "".join(_counter(*each) for each in counters))
    return text.replace("BYTES_OFFSET", str(BYTES_OFFSET))
