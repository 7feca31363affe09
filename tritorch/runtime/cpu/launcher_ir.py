"""The launcher's machine code, as LLVM text: one C-level Python builtin for every kernel.

A bound launch is `PyCFunction(tritorch_launch, self=bytes)`. The bytes are a *header* (the class
`Header`), then the *template* of the kernel's arguments (grid and slots, constants filled in), then
one *parameter* for each dynamic argument. A launch copies the template to the stack, converts the
Python arguments into their slots, counts, and runs the programs.

Whether a launch goes to the pool is its header's `mode`: SERIAL runs with the GIL held; PARALLEL
releases the GIL and offers the programs to the pool; MEASURE times the first programs of a few
launches, judges each by that, and settles on one of the other two.
"""

from __future__ import annotations

import ctypes

from tritorch.runtime import arguments_ir

SERIAL, PARALLEL, MEASURE = 0, 1, 2
#: Launches that MEASURE looks at before it settles; the least of them counts (the first is cold).
SAMPLES = 3
#: A job longer than this is offered to the pool; from pool_ir.WAKE_NS on it also wakes threads.
PARALLEL_NS = 10_000
#: Chunks are at least this long, so that claiming them does not show.
CHUNK_NS = 4_000


class Header(ctypes.Structure):
    """The head of a bound launch's bytes (`%Header` below)."""

    _fields_ = (
        ("entry", ctypes.c_void_p),
        ("programs", ctypes.c_int64),
        ("grain", ctypes.c_int64),  # programs a chunk has at least
        ("counter", ctypes.c_void_p),  # of the kernel's launches; written with the GIL held
        ("name", ctypes.c_void_p),  # of the kernel, for errors
        ("template_bytes", ctypes.c_int64),  # a multiple of 16
        ("dynamic", ctypes.c_int64),  # number of dynamic arguments
        ("mode", ctypes.c_int32),
        ("samples", ctypes.c_int32),
        ("work", ctypes.c_int64),  # nanoseconds of all programs on one thread, the least measured
    )


_ASSERTION = "%s: device_assert failed: %s. Look at the values the kernel was given."

_TEXT = r"""
%Header = type { ptr, i64, i64, ptr, ptr, i64, i64, i32, i32, i64 }
; The callable that starts the pool; Python writes it here.
@tritorch_start_pool = global ptr null, align 8
; The callable that is told of every launch; null unless somebody records (see `replay_ir`).
@tritorch_recorder = global ptr null, align 8
@tritorch_assert_error = global ptr null, align 8
@_Py_NoneStruct = external global i8
declare ptr @PyObject_CallNoArgs(ptr)
declare ptr @PyObject_CallFunctionObjArgs(ptr, ...)
declare ptr @PyBytes_FromStringAndSize(ptr, i64)
declare void @Py_IncRef(ptr)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare i32 @clock_gettime(i32, ptr)
declare i64 @llvm.smax.i64(i64, i64)
declare i64 @llvm.smin.i64(i64, i64)
declare double @llvm.minnum.f64(double, double)
declare double @llvm.maxnum.f64(double, double)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

define internal i64 @nanoseconds() {
  %time = alloca [2 x i64], align 8
  %r = call i32 @clock_gettime(i32 1, ptr %time)
  %seconds = load i64, ptr %time, align 8
  %rest_field = getelementptr i64, ptr %time, i64 1
  %rest = load i64, ptr %rest_field, align 8
  %whole = mul i64 %seconds, 1000000000
  %sum = add i64 %whole, %rest
  ret i64 %sum
}

; Start the pool unless it is started; false with an exception.
define internal i1 @pool_ready() {
entry:
  %started = load atomic i32, ptr @started acquire, align 4
  %ready = icmp ne i32 %started, 0
  br i1 %ready, label %good, label %start
start:
  %callable = load ptr, ptr @tritorch_start_pool, align 8
  %result = call ptr @PyObject_CallNoArgs(ptr %callable)
  %none = icmp eq ptr %result, null
  br i1 %none, label %failed, label %started_now
started_now:
  call void @Py_DecRef(ptr %result)
  br label %good
good:
  ret i1 true
failed:
  ret i1 false
}

; Offer the programs from %from on to the pool, without the GIL; false with an exception.
define internal i1 @run_released(ptr %function, ptr %frame, i64 %from, i64 %end,
                                 i64 %grain, i64 %work) noinline {
entry:
  %ready = call i1 @pool_ready()
  br i1 %ready, label %run, label %failed
run:
  %state = call ptr @PyEval_SaveThread()
  call void @tritorch_pool_run(ptr %function, ptr %frame, i64 %from, i64 %end, i64 %grain,
                               i64 %work)
  call void @PyEval_RestoreThread(ptr %state)
  ret i1 true
failed:
  ret i1 false
}

; Time the first programs, judge the launch by it, and settle after some launches; the number of
; programs that ran.
define internal i64 @measure(ptr %header, ptr %frame) noinline {
entry:
  %programs_field = getelementptr %Header, ptr %header, i64 0, i32 1
  %grain_field = getelementptr %Header, ptr %header, i64 0, i32 2
  %mode_field = getelementptr %Header, ptr %header, i64 0, i32 7
  %samples_field = getelementptr %Header, ptr %header, i64 0, i32 8
  %work_field = getelementptr %Header, ptr %header, i64 0, i32 9
  %function = load ptr, ptr %header, align 8
  %programs = load i64, ptr %programs_field, align 8
  ; A 32nd of the programs, at most 64: one alone would be lost in the clock's own time.
  %share = lshr i64 %programs, 5
  %share_low = call i64 @llvm.smax.i64(i64 %share, i64 1)
  %some = call i64 @llvm.smin.i64(i64 %share_low, i64 64)
  %before = call i64 @nanoseconds()
  call void %function(ptr %frame, i64 0, i64 %some)
  %after = call i64 @nanoseconds()
  %took = sub i64 %after, %before
  %took_f = uitofp i64 %took to double
  %some_f = uitofp i64 %some to double
  %programs_f = uitofp i64 %programs to double
  %each = fdiv double %took_f, %some_f
  %all = fmul double %each, %programs_f
  %bounded = call double @llvm.minnum.f64(double %all, double 1.0e18)
  %estimate = fptoui double %bounded to i64
  %work0 = load i64, ptr %work_field, align 8
  %work = call i64 @llvm.smin.i64(i64 %work0, i64 %estimate)
  store i64 %work, ptr %work_field, align 8
  %work_f = uitofp i64 %work to double
  %share_of_chunk = fdiv double CHUNK_NS.0, %work_f
  %grain_f = fmul double %share_of_chunk, %programs_f
  %grain_high = call double @llvm.minnum.f64(double %grain_f, double 1.0e12)
  %grain_low = call double @llvm.maxnum.f64(double %grain_high, double 1.0)
  %grain = fptoui double %grain_low to i64
  store i64 %grain, ptr %grain_field, align 8
  %parallel = icmp ugt i64 %work, PARALLEL_NS
  %samples0 = load i32, ptr %samples_field, align 4
  %samples = sub i32 %samples0, 1
  store i32 %samples, ptr %samples_field, align 4
  %more = icmp sgt i32 %samples, 0
  %settled = zext i1 %parallel to i32
  %mode = select i1 %more, i32 2, i32 %settled
  store i32 %mode, ptr %mode_field, align 4
  ret i64 %some
}

; Measure, and run the rest as the measure says; false with an exception.
define internal i1 @run_measured(ptr %header, ptr %frame) noinline {
entry:
  %some = call i64 @measure(ptr %header, ptr %frame)
  %programs_field = getelementptr %Header, ptr %header, i64 0, i32 1
  %programs = load i64, ptr %programs_field, align 8
  %over = icmp eq i64 %programs, %some
  br i1 %over, label %good, label %rest
rest:
  %function = load ptr, ptr %header, align 8
  %grain_field = getelementptr %Header, ptr %header, i64 0, i32 2
  %work_field = getelementptr %Header, ptr %header, i64 0, i32 9
  %grain = load i64, ptr %grain_field, align 8
  %work = load i64, ptr %work_field, align 8
  %parallel = icmp ugt i64 %work, PARALLEL_NS
  br i1 %parallel, label %released, label %held
held:
  call void %function(ptr %frame, i64 %some, i64 %programs)
  br label %good
released:
  %ok = call i1 @run_released(ptr %function, ptr %frame, i64 %some, i64 %programs,
                               i64 %grain, i64 %work)
  ret i1 %ok
good:
  ret i1 true
}

; Tell the recorder of a launch: its bytes and its arguments; false with an exception.
define internal i1 @record(ptr %recorder, ptr %self, ptr %frame, i64 %bytes) noinline cold {
entry:
  %copy = call ptr @PyBytes_FromStringAndSize(ptr %frame, i64 %bytes)
  %no_copy = icmp eq ptr %copy, null
  br i1 %no_copy, label %failed, label %tell
tell:
  call void @Py_IncRef(ptr %recorder)
  %result = call ptr (ptr, ...) @PyObject_CallFunctionObjArgs(
      ptr %recorder, ptr %self, ptr %copy, ptr null)
  call void @Py_DecRef(ptr %recorder)
  call void @Py_DecRef(ptr %copy)
  %none = icmp eq ptr %result, null
  br i1 %none, label %failed, label %good
good:
  call void @Py_DecRef(ptr %result)
  ret i1 true
failed:
  ret i1 false
}

define internal ptr @raise_assertion(ptr %name) noinline {
  %message = atomicrmw xchg ptr @tritorch_assert_message, ptr null seq_cst
  %class = load ptr, ptr @tritorch_assert_error, align 8
  %r = call ptr (ptr, ptr, ...) @PyErr_Format(ptr %class, ptr @assertion, ptr %name, ptr %message)
  ret ptr null
}

define internal ptr @raise_count(ptr %name, i64 %expected, i64 %count) noinline {
  %type_error = load ptr, ptr @PyExc_TypeError, align 8
  %r = call ptr (ptr, ptr, ...) @PyErr_Format(ptr %type_error, ptr @wrong_count,
      ptr %name, i64 %expected, i64 %count)
  ret ptr null
}

; METH_FASTCALL
define ptr @tritorch_launch(ptr %self, ptr %arguments, i64 %count) {
entry:
  %header = getelementptr i8, ptr %self, i64 BYTES_OFFSET
  %name_field = getelementptr %Header, ptr %header, i64 0, i32 4
  %name = load ptr, ptr %name_field, align 8
  %dynamic_field = getelementptr %Header, ptr %header, i64 0, i32 6
  %dynamic = load i64, ptr %dynamic_field, align 8
  %right_count = icmp eq i64 %count, %dynamic
  br i1 %right_count, label %prepare, label %miscounted
miscounted:
  %mc = call ptr @raise_count(ptr %name, i64 %dynamic, i64 %count)
  ret ptr null

prepare:
  %template_bytes_field = getelementptr %Header, ptr %header, i64 0, i32 5
  %template_bytes = load i64, ptr %template_bytes_field, align 8
  %frame = alloca i8, i64 %template_bytes, align 16
  %template = getelementptr %Header, ptr %header, i64 1
  %parameters = getelementptr i8, ptr %template, i64 %template_bytes
  br label %copy
copy:
  %at = phi i64 [ 0, %prepare ], [ %at_next, %copy ]
  %source = getelementptr i8, ptr %template, i64 %at
  %target = getelementptr i8, ptr %frame, i64 %at
  %words = load <2 x i64>, ptr %source, align 8
  store <2 x i64> %words, ptr %target, align 16
  %at_next = add i64 %at, 16
  %copy_more = icmp ult i64 %at_next, %template_bytes
  br i1 %copy_more, label %copy, label %fill

fill:
  %filled = call i1 @fill_arguments(ptr %frame, ptr %parameters, ptr %arguments, i64 %count,
                                    ptr %name)
  br i1 %filled, label %listen, label %failed
failed:
  ret ptr null

listen:
  %recorder = load ptr, ptr @tritorch_recorder, align 8
  %unheard = icmp eq ptr %recorder, null
  br i1 %unheard, label %launch, label %tell
tell:
  %told = call i1 @record(ptr %recorder, ptr %self, ptr %frame, i64 %template_bytes)
  br i1 %told, label %launch, label %failed
launch:
  %counter_field = getelementptr %Header, ptr %header, i64 0, i32 3
  %counter = load ptr, ptr %counter_field, align 8
  %launches = load i64, ptr %counter, align 8
  %launches_now = add i64 %launches, 1
  store i64 %launches_now, ptr %counter, align 8
  %programs_field = getelementptr %Header, ptr %header, i64 0, i32 1
  %programs = load i64, ptr %programs_field, align 8
  %none = icmp eq i64 %programs, 0
  br i1 %none, label %done, label %run
run:
  %entry_field = getelementptr %Header, ptr %header, i64 0, i32 0
  %function = load ptr, ptr %entry_field, align 8
  %mode_field = getelementptr %Header, ptr %header, i64 0, i32 7
  %mode = load i32, ptr %mode_field, align 4
  switch i32 %mode, label %measured [ i32 0, label %serial
                                      i32 1, label %parallel ]
serial:
  call void %function(ptr %frame, i64 0, i64 %programs)
  br label %check
parallel:
  %grain_field = getelementptr %Header, ptr %header, i64 0, i32 2
  %grain = load i64, ptr %grain_field, align 8
  %work_field = getelementptr %Header, ptr %header, i64 0, i32 9
  %work = load i64, ptr %work_field, align 8
  %parallel_ok = call i1 @run_released(ptr %function, ptr %frame, i64 0, i64 %programs,
                                       i64 %grain, i64 %work)
  br i1 %parallel_ok, label %check, label %failed
measured:
  %measured_ok = call i1 @run_measured(ptr %header, ptr %frame)
  br i1 %measured_ok, label %check, label %failed
check:
  %asserted = load atomic ptr, ptr @tritorch_assert_message monotonic, align 8
  %fine = icmp eq ptr %asserted, null
  br i1 %fine, label %done, label %raise
raise:
  %ra = call ptr @raise_assertion(ptr %name)
  ret ptr null
done:
  call void @Py_IncRef(ptr @_Py_NoneStruct)
  ret ptr @_Py_NoneStruct
}
"""

NAMES = (
    *arguments_ir.NAMES,
    "tritorch_start_pool",
    "tritorch_recorder",
    "tritorch_assert_error",
    "tritorch_launch",
)

#: What the text takes from CPython: functions and data of its C API.
PYTHON_NAMES = (
    *arguments_ir.PYTHON_NAMES,
    "_Py_NoneStruct",
    "PyObject_CallNoArgs",
    "PyObject_CallFunctionObjArgs",
    "PyBytes_FromStringAndSize",
    "Py_IncRef",
    "PyEval_SaveThread",
    "PyEval_RestoreThread",
)


def launcher_text() -> str:
    """The module's text for this Python (the place of the payload in a `bytes` object)."""
    return (
        arguments_ir.TEXT
        + arguments_ir.message("assertion", _ASSERTION)
        + (
            _TEXT.replace("BYTES_OFFSET", str(arguments_ir.BYTES_OFFSET))
            .replace("PARALLEL_NS", str(PARALLEL_NS))
            .replace("CHUNK_NS", str(CHUNK_NS))
        )
    )
