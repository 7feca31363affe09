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

SERIAL, PARALLEL, MEASURE = 0, 1, 2
#: Launches that MEASURE looks at before it settles; the least of them counts (the first is cold).
SAMPLES = 3
#: A job longer than this is offered to the pool; from pool_ir.WAKE_NS on it also wakes threads.
PARALLEL_NS = 10_000
#: Chunks are at least this long, so that claiming them does not show.
CHUNK_NS = 4_000

#: Kinds of dynamic arguments.
ADDRESS, INTEGER, UNSIGNED64, BOOLEAN, FLOAT64, FLOAT32, FLOAT16, BFLOAT16 = range(8)


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


class Parameter(ctypes.Structure):
    """One dynamic argument (`%Parameter` below); low and high are for INTEGER."""

    _fields_ = (
        ("kind", ctypes.c_int32),
        ("offset", ctypes.c_int32),  # of its slot in the template
        ("low", ctypes.c_int64),
        ("high", ctypes.c_int64),
    )


#: Formats of PyErr_Format.
_MESSAGES = {
    "wrong_count": "%s: the launch takes %zd dynamic arguments, got %zd.",
    "wrong_address": (
        "%s: argument %zd must be an address (int) or an object with data_ptr(), got a %.100s."
    ),
    "wrong_range": "%s: argument %zd is %lld, which is not within its type (%lld..%lld).",
    "assertion": "%s: device_assert failed: %s. Look at the values the kernel was given.",
}

_TEXT = r"""
%Header = type { ptr, i64, i64, ptr, ptr, i64, i64, i32, i32, i64 }
%Parameter = type { i32, i32, i64, i64 }
; Python objects that Python writes here: the callable that starts the pool, and "data_ptr".
@tritorch_start_pool = global ptr null, align 8
@tritorch_data_ptr_name = global ptr null, align 8
@PyExc_TypeError = external global ptr
@PyExc_OverflowError = external global ptr
@tritorch_assert_error = global ptr null, align 8
@PyLong_Type = external global i8
@_Py_NoneStruct = external global i8
declare i64 @PyLong_AsLong(ptr)
declare i64 @PyLong_AsUnsignedLongLong(ptr)
declare double @PyFloat_AsDouble(ptr)
declare i32 @PyFloat_Pack2(double, ptr, i32)
declare i32 @PyObject_IsTrue(ptr)
declare ptr @PyObject_VectorcallMethod(ptr, ptr, i64, ptr)
declare ptr @PyObject_CallNoArgs(ptr)
declare ptr @PyErr_Occurred()
declare ptr @PyErr_Format(ptr, ptr, ...)
declare i32 @PyErr_ExceptionMatches(ptr)
declare void @PyErr_Clear()
declare void @Py_IncRef(ptr)
declare void @Py_DecRef(ptr)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
@PyExc_AttributeError = external global ptr
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

; The address in a Python int, or what data_ptr() of another object gives; false with an exception.
define internal i1 @address_of(ptr %object, ptr %slot, ptr %name, i64 %index) noinline {
entry:
  %stack = alloca [2 x ptr], align 8
  %self_slot = getelementptr ptr, ptr %stack, i64 1
  store ptr %object, ptr %self_slot, align 8
  %method = load ptr, ptr @tritorch_data_ptr_name, align 8
  %result = call ptr @PyObject_VectorcallMethod(
      ptr %method, ptr %self_slot, i64 -9223372036854775807, ptr null)
  %none = icmp eq ptr %result, null
  br i1 %none, label %failed, label %convert
convert:
  %value = call i64 @PyLong_AsLong(ptr %result)
  call void @Py_DecRef(ptr %result)
  store i64 %value, ptr %slot, align 8
  %minus = icmp eq i64 %value, -1
  br i1 %minus, label %doubt, label %good
doubt:
  %error = call ptr @PyErr_Occurred()
  %clean = icmp eq ptr %error, null
  ret i1 %clean
good:
  ret i1 true
failed:
  %attribute_error = load ptr, ptr @PyExc_AttributeError, align 8
  %matches = call i32 @PyErr_ExceptionMatches(ptr %attribute_error)
  %replace = icmp ne i32 %matches, 0
  br i1 %replace, label %name_type, label %keep
name_type:
  call void @PyErr_Clear()
  %type_field = getelementptr ptr, ptr %object, i64 1
  %type = load ptr, ptr %type_field, align 8
  %type_name_field = getelementptr ptr, ptr %type, i64 3
  %type_name = load ptr, ptr %type_name_field, align 8
  %type_error = load ptr, ptr @PyExc_TypeError, align 8
  %position = add i64 %index, 1
  %r = call ptr (ptr, ptr, ...) @PyErr_Format(ptr %type_error, ptr @wrong_address,
      ptr %name, i64 %position, ptr %type_name)
  br label %keep
keep:
  ret i1 false
}

; The kinds that are not addresses and integers; false with an exception.
define internal i1 @convert_rare(ptr %object, ptr %slot, i32 %kind) noinline {
entry:
  switch i32 %kind, label %floating [ i32 2, label %unsigned
                                      i32 3, label %boolean ]
unsigned:
  %u = call i64 @PyLong_AsUnsignedLongLong(ptr %object)
  store i64 %u, ptr %slot, align 8
  %u_doubt = icmp eq i64 %u, -1
  br i1 %u_doubt, label %doubt, label %good
boolean:
  %truth = call i32 @PyObject_IsTrue(ptr %object)
  %wide_truth = sext i32 %truth to i64
  store i64 %wide_truth, ptr %slot, align 8
  %b_doubt = icmp slt i32 %truth, 0
  br i1 %b_doubt, label %bad, label %good
floating:
  %d = call double @PyFloat_AsDouble(ptr %object)
  %is_minus = fcmp oeq double %d, -1.0
  br i1 %is_minus, label %d_doubt, label %narrow
d_doubt:
  %d_error = call ptr @PyErr_Occurred()
  %d_clean = icmp eq ptr %d_error, null
  br i1 %d_clean, label %narrow, label %bad
narrow:
  %f = fptrunc double %d to float
  switch i32 %kind, label %bad [ i32 4, label %f64
                                 i32 5, label %f32
                                 i32 6, label %f16
                                 i32 7, label %bf16 ]
f64:
  store double %d, ptr %slot, align 8
  ret i1 true
f32:
  store float %f, ptr %slot, align 8
  ret i1 true
f16:
  %packed = call i32 @PyFloat_Pack2(double %d, ptr %slot, i32 1)
  %f16_good = icmp eq i32 %packed, 0
  ret i1 %f16_good
bf16:
  %bits = bitcast float %f to i32
  %upper = lshr i32 %bits, 16
  %odd = and i32 %upper, 1
  %half = add i32 %odd, 32767
  %raised = add i32 %bits, %half
  %is_nan = fcmp uno float %f, 0.0
  %nan = or i32 %bits, 4194304
  %rounded = select i1 %is_nan, i32 %nan, i32 %raised
  %high = lshr i32 %rounded, 16
  %bf = trunc i32 %high to i16
  store i16 %bf, ptr %slot, align 8
  ret i1 true
doubt:
  %error = call ptr @PyErr_Occurred()
  %clean = icmp eq ptr %error, null
  ret i1 %clean
good:
  ret i1 true
bad:
  ret i1 false
}

; Offer the programs from %from on to the pool, without the GIL; false with an exception.
define internal i1 @run_released(ptr %function, ptr %frame, i64 %from, i64 %end,
                                 i64 %grain, i64 %work) noinline {
entry:
  %started = load atomic i32, ptr @started acquire, align 4
  %ready = icmp ne i32 %started, 0
  br i1 %ready, label %run, label %start
start:
  %callable = load ptr, ptr @tritorch_start_pool, align 8
  %result = call ptr @PyObject_CallNoArgs(ptr %callable)
  %none = icmp eq ptr %result, null
  br i1 %none, label %failed, label %started_now
started_now:
  call void @Py_DecRef(ptr %result)
  br label %run
run:
  %state = call ptr @PyEval_SaveThread()
  call void @tritorch_pool_run(ptr %function, ptr %frame, i64 %from, i64 %end, i64 %grain,
                               i64 %work)
  call void @PyEval_RestoreThread(ptr %state)
  ret i1 true
failed:
  ret i1 false
}

; Time the first programs, judge the launch by it, run the rest, and settle after some launches.
define internal i1 @run_measured(ptr %header, ptr %frame) noinline {
entry:
  %entry_field = getelementptr %Header, ptr %header, i64 0, i32 0
  %programs_field = getelementptr %Header, ptr %header, i64 0, i32 1
  %grain_field = getelementptr %Header, ptr %header, i64 0, i32 2
  %mode_field = getelementptr %Header, ptr %header, i64 0, i32 7
  %samples_field = getelementptr %Header, ptr %header, i64 0, i32 8
  %work_field = getelementptr %Header, ptr %header, i64 0, i32 9
  %function = load ptr, ptr %entry_field, align 8
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
  %over = icmp eq i64 %programs, %some
  br i1 %over, label %good, label %rest
rest:
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
  br i1 %copy_more, label %copy, label %arguments_loop

arguments_loop:
  %i = phi i64 [ 0, %copy ], [ %i_next, %stored ]
  %remaining = icmp slt i64 %i, %count
  br i1 %remaining, label %convert, label %launch
convert:
  %object_field = getelementptr ptr, ptr %arguments, i64 %i
  %object = load ptr, ptr %object_field, align 8
  %parameter = getelementptr %Parameter, ptr %parameters, i64 %i
  %kind = load i32, ptr %parameter, align 4
  %offset_field = getelementptr %Parameter, ptr %parameter, i64 0, i32 1
  %offset32 = load i32, ptr %offset_field, align 4
  %offset = zext i32 %offset32 to i64
  %slot = getelementptr i8, ptr %frame, i64 %offset
  %i_next = add i64 %i, 1
  switch i32 %kind, label %rare [ i32 0, label %address
                                  i32 1, label %integer ]
address:
  %type_field = getelementptr ptr, ptr %object, i64 1
  %type = load ptr, ptr %type_field, align 8
  %is_int = icmp eq ptr %type, @PyLong_Type
  br i1 %is_int, label %plain_address, label %other_address
other_address:
  %found = call i1 @address_of(ptr %object, ptr %slot, ptr %name, i64 %i)
  br i1 %found, label %stored, label %failed
plain_address:
  %address_value = call i64 @PyLong_AsLong(ptr %object)
  store i64 %address_value, ptr %slot, align 8
  %address_minus = icmp eq i64 %address_value, -1
  br i1 %address_minus, label %doubt, label %stored
integer:
  %value = call i64 @PyLong_AsLong(ptr %object)
  store i64 %value, ptr %slot, align 8
  %low_field = getelementptr %Parameter, ptr %parameter, i64 0, i32 2
  %high_field = getelementptr %Parameter, ptr %parameter, i64 0, i32 3
  %low = load i64, ptr %low_field, align 8
  %high = load i64, ptr %high_field, align 8
  %below = icmp slt i64 %value, %low
  %above = icmp sgt i64 %value, %high
  %outside = or i1 %below, %above
  %minus = icmp eq i64 %value, -1
  %suspect = or i1 %outside, %minus
  br i1 %suspect, label %integer_doubt, label %stored
integer_doubt:
  %integer_error = call ptr @PyErr_Occurred()
  %integer_clean = icmp eq ptr %integer_error, null
  br i1 %integer_clean, label %integer_range, label %failed
integer_range:
  br i1 %outside, label %raise_range, label %stored
raise_range:
  %overflow = load ptr, ptr @PyExc_OverflowError, align 8
  %r1 = call ptr (ptr, ptr, ...) @PyErr_Format(ptr %overflow, ptr @wrong_range,
      ptr %name, i64 %i_next, i64 %value, i64 %low, i64 %high)
  br label %failed
rare:
  %converted = call i1 @convert_rare(ptr %object, ptr %slot, i32 %kind)
  br i1 %converted, label %stored, label %failed
doubt:
  %error = call ptr @PyErr_Occurred()
  %clean = icmp eq ptr %error, null
  br i1 %clean, label %stored, label %failed
stored:
  br label %arguments_loop
failed:
  ret ptr null

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
    "tritorch_start_pool",
    "tritorch_data_ptr_name",
    "tritorch_assert_error",
    "tritorch_launch",
)

#: What the text takes from CPython: functions and data of its C API.
PYTHON_NAMES = (
    "PyExc_TypeError",
    "PyExc_OverflowError",
    "PyExc_AttributeError",
    "PyLong_Type",
    "_Py_NoneStruct",
    "PyLong_AsLong",
    "PyLong_AsUnsignedLongLong",
    "PyFloat_AsDouble",
    "PyFloat_Pack2",
    "PyObject_IsTrue",
    "PyObject_VectorcallMethod",
    "PyObject_CallNoArgs",
    "PyErr_Occurred",
    "PyErr_Format",
    "PyErr_ExceptionMatches",
    "PyErr_Clear",
    "Py_IncRef",
    "Py_DecRef",
    "PyEval_SaveThread",
    "PyEval_RestoreThread",
)


def launcher_text() -> str:
    """The module's text for this Python (the place of the payload in a `bytes` object)."""
    messages = "".join(
        f'@{name} = internal constant [{len(text) + 1} x i8] c"{text}\\00"\n'
        for name, text in _MESSAGES.items()
    )
    return messages + (
        _TEXT.replace("BYTES_OFFSET", str(bytes.__basicsize__ - 1))
        .replace("PARALLEL_NS", str(PARALLEL_NS))
        .replace("CHUNK_NS", str(CHUNK_NS))
    )
