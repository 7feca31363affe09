"""The launch as machine code, as LLVM text: one C-level Python builtin for every kernel.

A bound launch is `PyCFunction(tritorch_cuda_launch, self=bytes)`. The bytes are a `Header`, the
launch attributes (72 bytes each), the *template* of the arguments, the offset of each argument in
it (32 bits), one `Parameter` for each dynamic argument, and the offsets of the addresses that the
kernel takes to be multiples of 16: where one is not, the launch `otherwise` is called instead, with
the same arguments. A launch copies the template to its
stack, converts the Python arguments into their slots, counts, notes the kernel among the last ones,
takes the thread's current stream, and calls `cuLaunchKernelEx` without the GIL.

The current stream of a thread is the value of a pthread key (0, the default stream, where none was
set): reading it costs 2 ns and no Python. If the driver refuses the launch, a Python function is
called with the code; where it returns True (the thread had no context yet, now it has), the launch
is tried again.

Source of the structures: cuda.h, CUlaunchConfig and CUlaunchAttribute.
"""

from __future__ import annotations

import ctypes

from tritorch.runtime import arguments_ir

#: how many launches back an error can name kernels
RECENT = 32
ATTRIBUTE_BYTES = 72


class State(ctypes.Structure):
    """What all launches of a target share (`%State` below)."""

    _fields_ = (
        ("launch", ctypes.c_void_p),  # cuLaunchKernelEx
        ("refused", ctypes.c_void_p),  # the Python callable for errors
        ("count", ctypes.c_int64),  # launches so far
        ("stream_key", ctypes.c_uint32),  # pthread key of the current stream
        ("unused", ctypes.c_uint32),
        ("recent", ctypes.c_void_p * RECENT),  # names of the last kernels, at count % RECENT
    )


class Header(ctypes.Structure):
    """The head of a bound launch's bytes (`%Header` below)."""

    _fields_ = (
        ("state", ctypes.c_void_p),
        ("function", ctypes.c_void_p),
        ("counter", ctypes.c_void_p),  # of the kernel's launches; written with the GIL held
        ("name", ctypes.c_void_p),
        ("template_bytes", ctypes.c_int64),  # a multiple of 16
        ("slots", ctypes.c_int64),  # number of arguments
        ("dynamic", ctypes.c_int64),  # number of dynamic ones among them
        ("attributes", ctypes.c_int32),
        ("grid", ctypes.c_uint32 * 3),
        ("block", ctypes.c_uint32 * 3),
        ("shared_bytes", ctypes.c_uint32),
        ("otherwise", ctypes.c_void_p),  # the Python callable for addresses that are not aligned
        ("aligned", ctypes.c_int64),  # number of addresses that must be
    )


_WRONG_COUNT = "%s: the launch takes %zd dynamic arguments, got %zd."

_TEXT = r"""
%State = type { ptr, ptr, i64, i32, i32, [RECENT x ptr] }
%Header = type { ptr, ptr, ptr, ptr, i64, i64, i64, i32, [3 x i32], [3 x i32], i32, ptr, i64 }
%Config = type { [3 x i32], [3 x i32], i32, i32, ptr, ptr, i32, i32 }
@_Py_NoneStruct = external global i8
@_Py_TrueStruct = external global i8
@refused_format = internal constant [3 x i8] c"iK\00"
declare ptr @PyObject_CallFunction(ptr, ptr, ...)
declare ptr @PyObject_Vectorcall(ptr, ptr, i64, ptr)
declare void @Py_IncRef(ptr)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare ptr @pthread_getspecific(i32)

; What stands in for cuLaunchKernelEx after a fork: CUDA_ERROR_NOT_INITIALIZED.
define i32 @tritorch_cuda_unusable(ptr %config, ptr %function, ptr %values, ptr %extra) {
  ret i32 3
}

define internal ptr @raise_count(ptr %name, i64 %expected, i64 %count) noinline {
  %type_error = load ptr, ptr @PyExc_TypeError, align 8
  %r = call ptr (ptr, ptr, ...) @PyErr_Format(ptr %type_error, ptr @wrong_count_of_launch,
      ptr %name, i64 %expected, i64 %count)
  ret ptr null
}

; METH_FASTCALL
define ptr @tritorch_cuda_launch(ptr %self, ptr %arguments, i64 %count) {
entry:
  %header = getelementptr i8, ptr %self, i64 BYTES_OFFSET
  %name_field = getelementptr %Header, ptr %header, i64 0, i32 3
  %name = load ptr, ptr %name_field, align 8
  %dynamic_field = getelementptr %Header, ptr %header, i64 0, i32 6
  %dynamic = load i64, ptr %dynamic_field, align 8
  %right_count = icmp eq i64 %count, %dynamic
  br i1 %right_count, label %prepare, label %miscounted
miscounted:
  %mc = call ptr @raise_count(ptr %name, i64 %dynamic, i64 %count)
  ret ptr null

prepare:
  %template_bytes_field = getelementptr %Header, ptr %header, i64 0, i32 4
  %template_bytes = load i64, ptr %template_bytes_field, align 8
  %slots_field = getelementptr %Header, ptr %header, i64 0, i32 5
  %slots = load i64, ptr %slots_field, align 8
  %attributes_field = getelementptr %Header, ptr %header, i64 0, i32 7
  %attributes = load i32, ptr %attributes_field, align 8
  %attributes_wide = zext i32 %attributes to i64
  %attribute_bytes = mul i64 %attributes_wide, 72
  %attribute_list = getelementptr %Header, ptr %header, i64 1
  %template = getelementptr i8, ptr %attribute_list, i64 %attribute_bytes
  %offsets = getelementptr i8, ptr %template, i64 %template_bytes
  %offset_bytes = mul i64 %slots, 4
  %parameters = getelementptr i8, ptr %offsets, i64 %offset_bytes
  %frame = alloca i8, i64 %template_bytes, align 128
  %values = alloca ptr, i64 %slots, align 16
  %config = alloca %Config, align 16
  br label %copy
copy:
  %at = phi i64 [ 0, %prepare ], [ %at_next, %copy ]
  %source = getelementptr i8, ptr %template, i64 %at
  %target = getelementptr i8, ptr %frame, i64 %at
  %words = load <2 x i64>, ptr %source, align 1
  store <2 x i64> %words, ptr %target, align 16
  %at_next = add i64 %at, 16
  %copy_more = icmp ult i64 %at_next, %template_bytes
  br i1 %copy_more, label %copy, label %point
point:
  %i = phi i64 [ 0, %copy ], [ %i_next, %point ]
  %offset_field = getelementptr i32, ptr %offsets, i64 %i
  %offset32 = load i32, ptr %offset_field, align 1
  %offset = zext i32 %offset32 to i64
  %slot = getelementptr i8, ptr %frame, i64 %offset
  %value_field = getelementptr ptr, ptr %values, i64 %i
  store ptr %slot, ptr %value_field, align 8
  %i_next = add i64 %i, 1
  %point_more = icmp ult i64 %i_next, %slots
  br i1 %point_more, label %point, label %fill
fill:
  %filled = call i1 @fill_arguments(ptr %frame, ptr %parameters, ptr %arguments, i64 %count,
                                    ptr %name)
  %aligned_field = getelementptr %Header, ptr %header, i64 0, i32 12
  %aligned = load i64, ptr %aligned_field, align 8
  %parameter_bytes = mul i64 %dynamic, 24
  %places = getelementptr i8, ptr %parameters, i64 %parameter_bytes
  br i1 %filled, label %look, label %failed
look:
  %j = phi i64 [ 0, %fill ], [ %j_next, %next ]
  %bits = phi i64 [ 0, %fill ], [ %bits_now, %next ]
  %look_more = icmp ult i64 %j, %aligned
  br i1 %look_more, label %next, label %looked
next:
  %place_field = getelementptr i32, ptr %places, i64 %j
  %place32 = load i32, ptr %place_field, align 1
  %place_wide = zext i32 %place32 to i64
  %address_slot = getelementptr i8, ptr %frame, i64 %place_wide
  %address = load i64, ptr %address_slot, align 8
  %bits_now = or i64 %bits, %address
  %j_next = add i64 %j, 1
  br label %look
looked:
  %low_bits = and i64 %bits, 15
  %is_aligned = icmp eq i64 %low_bits, 0
  br i1 %is_aligned, label %note, label %misaligned
misaligned:
  %otherwise_field = getelementptr %Header, ptr %header, i64 0, i32 11
  %otherwise = load ptr, ptr %otherwise_field, align 8
  %launched = call ptr @PyObject_Vectorcall(ptr %otherwise, ptr %arguments, i64 %count, ptr null)
  ret ptr %launched

note:
  %counter_field = getelementptr %Header, ptr %header, i64 0, i32 2
  %counter = load ptr, ptr %counter_field, align 8
  %launches = load i64, ptr %counter, align 8
  %launches_now = add i64 %launches, 1
  store i64 %launches_now, ptr %counter, align 8
  %state = load ptr, ptr %header, align 8
  %all_field = getelementptr %State, ptr %state, i64 0, i32 2
  %all = load i64, ptr %all_field, align 8
  %all_now = add i64 %all, 1
  store i64 %all_now, ptr %all_field, align 8
  %place = urem i64 %all, RECENT
  %recent = getelementptr %State, ptr %state, i64 0, i32 5, i64 %place
  store ptr %name, ptr %recent, align 8
  %grid_field = getelementptr %Header, ptr %header, i64 0, i32 8
  %grid = load [3 x i32], ptr %grid_field, align 4
  %block_field = getelementptr %Header, ptr %header, i64 0, i32 9
  %block = load [3 x i32], ptr %block_field, align 4
  %shared_field = getelementptr %Header, ptr %header, i64 0, i32 10
  %shared = load i32, ptr %shared_field, align 4
  store [3 x i32] %grid, ptr %config, align 4
  %config_block = getelementptr %Config, ptr %config, i64 0, i32 1
  store [3 x i32] %block, ptr %config_block, align 4
  %config_shared = getelementptr %Config, ptr %config, i64 0, i32 2
  store i32 %shared, ptr %config_shared, align 4
  %config_attributes = getelementptr %Config, ptr %config, i64 0, i32 5
  store ptr %attribute_list, ptr %config_attributes, align 8
  %config_count = getelementptr %Config, ptr %config, i64 0, i32 6
  store i32 %attributes, ptr %config_count, align 8
  br label %launch
launch:
  %key_field = getelementptr %State, ptr %state, i64 0, i32 3
  %key = load i32, ptr %key_field, align 8
  %stream = call ptr @pthread_getspecific(i32 %key)
  %config_stream = getelementptr %Config, ptr %config, i64 0, i32 4
  store ptr %stream, ptr %config_stream, align 8
  %function_field = getelementptr %Header, ptr %header, i64 0, i32 1
  %function = load ptr, ptr %function_field, align 8
  %driver = load ptr, ptr %state, align 8
  %thread = call ptr @PyEval_SaveThread()
  %code = call i32 %driver(ptr %config, ptr %function, ptr %values, ptr null)
  call void @PyEval_RestoreThread(ptr %thread)
  %good = icmp eq i32 %code, 0
  br i1 %good, label %done, label %refused
refused:
  %callable_field = getelementptr %State, ptr %state, i64 0, i32 1
  %callable = load ptr, ptr %callable_field, align 8
  %answer = call ptr (ptr, ptr, ...) @PyObject_CallFunction(ptr %callable, ptr @refused_format,
      i32 %code, ptr %name)
  %raised = icmp eq ptr %answer, null
  br i1 %raised, label %failed, label %answered
answered:
  call void @Py_DecRef(ptr %answer)
  %again = icmp eq ptr %answer, @_Py_TrueStruct
  br i1 %again, label %launch, label %done
done:
  call void @Py_IncRef(ptr @_Py_NoneStruct)
  ret ptr @_Py_NoneStruct
failed:
  ret ptr null
}
"""

NAMES = (*arguments_ir.NAMES, "tritorch_cuda_launch", "tritorch_cuda_unusable")

#: What the text takes from CPython: functions and data of its C API.
PYTHON_NAMES = (
    *arguments_ir.PYTHON_NAMES,
    "_Py_NoneStruct",
    "_Py_TrueStruct",
    "PyObject_CallFunction",
    "PyObject_Vectorcall",
    "Py_IncRef",
    "PyEval_SaveThread",
    "PyEval_RestoreThread",
)


def launcher_text() -> str:
    """The module's text for this Python (the place of the payload in a `bytes` object)."""
    return (
        arguments_ir.TEXT
        + arguments_ir.message("wrong_count_of_launch", _WRONG_COUNT)
        + _TEXT.replace("BYTES_OFFSET", str(arguments_ir.BYTES_OFFSET)).replace(
            "RECENT", str(RECENT)
        )
    )
