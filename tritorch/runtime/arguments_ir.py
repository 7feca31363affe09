"""Machine code, as LLVM text, that turns Python's objects into the slots of a kernel's arguments.

The launchers of all targets contain it. A *frame* holds the slots; `fill_arguments` converts the
values of the dynamic arguments, each described by a `Parameter`, and checks their ranges.
"""

from __future__ import annotations

import ctypes

#: Kinds of dynamic arguments.
ADDRESS, INTEGER, UNSIGNED64, BOOLEAN, FLOAT64, FLOAT32, FLOAT16, BFLOAT16 = range(8)

#: where the payload of a `bytes` object begins
BYTES_OFFSET = bytes.__basicsize__ - 1


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
}


def message(name: str, text: str) -> str:
    """A constant of the module that holds a C string."""
    return f'@{name} = internal constant [{len(text) + 1} x i8] c"{text}\\00"\n'


_TEXT = r"""
%Parameter = type { i32, i32, i64, i64 }
; The str "data_ptr"; Python writes it here.
@tritorch_data_ptr_name = global ptr null, align 8
@PyExc_TypeError = external global ptr
@PyExc_OverflowError = external global ptr
@PyExc_AttributeError = external global ptr
@PyLong_Type = external global i8
declare i64 @PyLong_AsLong(ptr)
declare i64 @PyLong_AsUnsignedLongLong(ptr)
declare double @PyFloat_AsDouble(ptr)
declare i32 @PyFloat_Pack2(double, ptr, i32)
declare i32 @PyObject_IsTrue(ptr)
declare ptr @PyObject_VectorcallMethod(ptr, ptr, i64, ptr)
declare ptr @PyErr_Occurred()
declare ptr @PyErr_Format(ptr, ptr, ...)
declare i32 @PyErr_ExceptionMatches(ptr)
declare void @PyErr_Clear()
declare void @Py_DecRef(ptr)

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

; Convert the values of the dynamic arguments into their slots; false with an exception.
define internal i1 @fill_arguments(ptr %frame, ptr %parameters, ptr %arguments, i64 %count,
                                   ptr %name) alwaysinline {
entry:
  br label %arguments_loop
arguments_loop:
  %i = phi i64 [ 0, %entry ], [ %i_next, %stored ]
  %remaining = icmp slt i64 %i, %count
  br i1 %remaining, label %convert, label %filled
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
  ret i1 false
filled:
  ret i1 true
}
"""

#: the module's text
TEXT = "".join(message(name, text) for name, text in _MESSAGES.items()) + _TEXT

NAMES = ("tritorch_data_ptr_name",)

#: What the text takes from CPython: functions and data of its C API.
PYTHON_NAMES = (
    "PyExc_TypeError",
    "PyExc_OverflowError",
    "PyExc_AttributeError",
    "PyLong_Type",
    "PyLong_AsLong",
    "PyLong_AsUnsignedLongLong",
    "PyFloat_AsDouble",
    "PyFloat_Pack2",
    "PyObject_IsTrue",
    "PyObject_VectorcallMethod",
    "PyErr_Occurred",
    "PyErr_Format",
    "PyErr_ExceptionMatches",
    "PyErr_Clear",
    "Py_DecRef",
)
