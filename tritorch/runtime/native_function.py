"""C-level Python builtins whose code is ours: one machine-code entry, many bound payloads."""

from __future__ import annotations

import ctypes
from typing import Any

from tritorch.runtime.target import Launch

_METH_FASTCALL = 0x80


class _MethodDef(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


class NativeFunction:
    """A method definition for a METH_FASTCALL function at `entry`."""

    def __init__(self, name: bytes, entry: int, doc: bytes) -> None:
        self._method = _MethodDef(name, entry, _METH_FASTCALL, doc)
        new = ctypes.pythonapi.PyCFunction_NewEx
        prototype = ctypes.PYFUNCTYPE(
            ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.py_object
        )
        self._new = prototype(ctypes.cast(new, ctypes.c_void_p).value or 0)

    def bound(self, payload: bytes, module: Any) -> Launch:
        """The builtin whose `self` is the payload; it keeps `module` alive as its `__module__`."""
        return self._new(ctypes.addressof(self._method), payload, module)
