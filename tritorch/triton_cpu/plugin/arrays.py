"""NumPy arrays and scalars as arguments of `kernel[grid](...)`.

Triton asks a C function for the type of each argument; it knows objects with `dtype` and
`data_ptr()` and refuses arrays. For kernels of our backend a Python function answers for arrays and
passes on all else.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from tritorch.once import once
from tritorch.triton_api import wrap_argument_specializer

_TRITON_NAMES = {
    "bool": "i1",
    "float16": "fp16",
    "float32": "fp32",
    "float64": "fp64",
    "bfloat16": "bf16",
    "float8_e4m3fn": "fp8e4nv",
    "float8_e5m2": "fp8e5",
    **{f"int{bits}": f"i{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"u{bits}" for bits in (8, 16, 32, 64)},
}
#: NumPy dtype -> (specialization of a pointer, of a pointer to constants)
_SPECIALIZATIONS = {
    np.dtype(getattr(ml_dtypes, name, name)): ((f"*{kind}", ""), (f"*k{kind}", ""))
    for name, kind in _TRITON_NAMES.items()
}


def accept_arrays() -> None:
    """Let Triton's launch code accept arrays for our backend (others see no difference)."""
    wrap_argument_specializer(_with_arrays)


def _with_arrays(native: Callable[..., Any]) -> Callable[..., Any]:
    array, generic = np.ndarray, np.generic

    def specialize(
        backend: Any, argument: Any, is_const: bool, specialize_value: bool, align: bool
    ) -> Any:
        if type(argument) is array and backend.binary_ext == "obj":
            try:
                return _SPECIALIZATIONS[argument.dtype][is_const]
            except KeyError:
                raise TypeError(
                    f"kernel launch: arrays of {argument.dtype} have no Triton type. "
                    f"Use one of {', '.join(_TRITON_NAMES)}."
                ) from None
        if isinstance(argument, generic):
            # Not specialized by value: Triton would take the NumPy object itself as the constant 1.
            return native(backend, argument.item(), is_const, False, align)
        return native(backend, argument, is_const, specialize_value, align)

    return specialize


#: An array becomes its address, anything else stays what it is. The address is the first field of
#: NumPy's array object (its C ABI since 1.0); asking in Python takes 20 times as long.
_ADDRESS_TEXT = """
@tritorch_array_type = external global i8
declare ptr @PyLong_FromVoidPtr(ptr)
declare void @Py_IncRef(ptr)
define ptr @tritorch_array_address(ptr %module, ptr %object) {
  %type_slot = getelementptr i8, ptr %object, i64 8
  %type = load ptr, ptr %type_slot, align 8
  %is_array = icmp eq ptr %type, @tritorch_array_type
  br i1 %is_array, label %array, label %other
array:
  %slot = getelementptr i8, ptr %object, i64 16
  %address = load ptr, ptr %slot, align 8
  %number = call ptr @PyLong_FromVoidPtr(ptr %address)
  ret ptr %number
other:
  call void @Py_IncRef(ptr %object)
  ret ptr %object
}
"""
_METH_O = 0x8


class _MethodDefinition(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


def _slow_address(value: Any) -> Any:
    return value.__array_interface__["data"][0] if isinstance(value, np.ndarray) else value


@once
def array_address() -> Callable[[Any], Any]:
    """A function from an array to its address, and from anything else to itself."""
    from tritorch.triton_cpu import llvm
    from tritorch.triton_cpu.target import host

    if (
        object.__basicsize__ != 16
    ):  # debug and free-threaded builds of Python lay objects out otherwise
        return _slow_address
    python = ctypes.pythonapi
    symbols = {
        "tritorch_array_type": id(np.ndarray),
        **{
            name: ctypes.cast(getattr(python, name), ctypes.c_void_p).value or 0
            for name in ("PyLong_FromVoidPtr", "Py_IncRef")
        },
    }
    llvm.supply_symbols(symbols)
    code = llvm.compile_object(_ADDRESS_TEXT, host(), name="array_address")
    entry = llvm.load_object(code, ["tritorch_array_address"])["tritorch_array_address"]
    definition = _MethodDefinition(b"array_address", entry, _METH_O, None)
    make = ctypes.PYFUNCTYPE(
        ctypes.py_object, ctypes.POINTER(_MethodDefinition), ctypes.c_void_p, ctypes.c_void_p
    )(ctypes.cast(python.PyCFunction_NewEx, ctypes.c_void_p).value or 0)
    _DEFINITIONS.append(definition)  # the builtin points to it
    address: Callable[[Any], Any] = make(ctypes.byref(definition), None, None)
    probe = np.arange(3)
    return address if address(probe) == _slow_address(probe) else _slow_address


_DEFINITIONS: list[_MethodDefinition] = []
