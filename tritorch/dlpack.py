"""DLPack's structures and capsules: the memory of a tensor handed to another library, or taken.

Both forms exist: the first one (capsules named "dltensor") and the versioned one
("dltensor_versioned"), which has flags. Source: DLPack 1.1, include/dlpack/dlpack.h, and the Python
specification of dmlc.github.io/dlpack.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from ctypes import (
    POINTER,
    c_char_p,
    c_int,
    c_int32,
    c_int64,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
    py_object,
)
from typing import Any

from tritorch import dtypes
from tritorch.dtypes import dtype as Dtype
from tritorch.runtime import recording

VERSION = (1, 1)
READ_ONLY, COPIED = 1, 2
CPU, CUDA = 1, 2
#: kinds of devices whose memory the host reads: CPU, pinned and managed memory of CUDA
HOST_READABLE = (CPU, 3, 13)
_KINDS = {
    "int": 0, "uint": 1, "float": 2, "bfloat": 4, "bool": 6, "float8_e4m3fn": 10, "float8_e5m2": 12,
}  # fmt: skip


def _code(kind: Dtype) -> tuple[int, int]:
    """DLPack's type code and bits."""
    family = kind.name if kind.name in _KINDS else kind.name.rstrip("0123456789")
    return _KINDS[family], kind.itemsize * 8


_BY_CODE = {_code(kind): kind for kind in dtypes.ALL}


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", c_void_p),
        ("device_type", c_int32),
        ("device_id", c_int32),
        ("ndim", c_int32),
        ("code", c_uint8),
        ("bits", c_uint8),
        ("lanes", c_uint16),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("byte_offset", c_uint64),
    )


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _DLTensor), ("context", c_void_p), ("deleter", c_void_p))


class _ManagedVersioned(ctypes.Structure):
    _fields_ = (
        ("major", c_uint32),
        ("minor", c_uint32),
        ("context", c_void_p),
        ("deleter", c_void_p),
        ("flags", c_uint64),
        ("tensor", _DLTensor),
    )


_FORMS: dict[bytes, type[ctypes.Structure]] = {
    b"dltensor": _Managed,
    b"dltensor_versioned": _ManagedVersioned,
}
_Callback = ctypes.CFUNCTYPE(None, c_void_p)
# Pointers to capsules, not Python objects: a destructor sees one that is half gone.
_python = ctypes.pythonapi
_new_capsule = ctypes.PYFUNCTYPE(py_object, c_void_p, c_char_p, c_void_p)(
    ("PyCapsule_New", _python)
)
_pointer_of = ctypes.PYFUNCTYPE(c_void_p, c_void_p, c_char_p)(("PyCapsule_GetPointer", _python))
_is_valid = ctypes.PYFUNCTYPE(c_int, c_void_p, c_char_p)(("PyCapsule_IsValid", _python))
_set_name = ctypes.PYFUNCTYPE(c_int, py_object, c_char_p)(("PyCapsule_SetName", _python))

#: what others hold now: address of a structure -> all that it refers to
_lent: dict[int, tuple[Any, ...]] = {}
_USED = {b"dltensor": b"used_dltensor", b"dltensor_versioned": b"used_dltensor_versioned"}


@_Callback
def _give_back(address: int, lent: dict[int, tuple[Any, ...]] = _lent) -> None:
    lent.pop(address, None)


@_Callback
def _unused(capsule: int) -> None:
    """The destructor of a capsule: whoever took its contents renamed it."""
    for name in _FORMS:
        if _is_valid(capsule, name):
            _give_back(_pointer_of(capsule, name))


# Libraries may call these when the interpreter shuts down: they must outlive this module.
for _immortal in (_give_back, _unused):
    ctypes.pythonapi.Py_IncRef(py_object(_immortal))


def export(
    owner: Any,
    address: int,
    shape: Sequence[int],
    strides: Sequence[int],
    kind: Dtype,
    device: tuple[int, int],
    versioned: bool,
    copied: bool = False,
) -> Any:
    """A capsule on memory that `owner` keeps alive; strides in elements."""
    recording.refuse("DLPack", "Lend memory before the recording, or after a replay.")
    managed = _FORMS[b"dltensor_versioned" if versioned else b"dltensor"]()
    sizes = (c_int64 * len(shape))(*shape)
    steps = (c_int64 * len(shape))(*strides)
    code, bits = _code(kind)
    data = c_void_p(None if 0 in shape else address)
    managed.tensor = _DLTensor(data, *device, len(shape), code, bits, 1, sizes, steps, 0)
    managed.deleter = ctypes.cast(_give_back, c_void_p)
    if versioned:
        managed.major, managed.minor = VERSION
        managed.flags = COPIED if copied else 0
    place = ctypes.addressof(managed)
    _lent[place] = (managed, sizes, steps, owner)
    name = b"dltensor_versioned" if versioned else b"dltensor"
    return _new_capsule(place, _name_address(name), ctypes.cast(_unused, c_void_p))


def _name_address(name: bytes) -> bytes:
    """The very object of this module: a capsule keeps a pointer to the characters."""
    return next(kept for kept in (*_FORMS, *_USED.values()) if kept == name)


class Imported:
    """Memory of another library; it is given back when this object is collected.

    Attributes: `address`, `shape`, `strides` (elements), `dtype`, `device` (DLPack's kind and
    number), `read_only`.
    """

    def __init__(self, capsule: Any) -> None:
        """Take the contents of a capsule.

        Raises:
            BufferError: it was taken before, or has what no tensor can have.
            TypeError: it is no capsule of DLPack's.
        """
        self._managed: Any = None
        name = next((n for n in reversed(_FORMS) if _is_valid(id(capsule), n)), None)
        if name is None:
            raise TypeError(
                f"from_dlpack: expected a DLPack capsule that nobody has used before, got "
                f"{capsule!r:.80}. Call __dlpack__() of the source again."
            )
        managed: Any = _FORMS[name].from_address(_pointer_of(id(capsule), name))
        versioned = name == b"dltensor_versioned"
        if versioned and managed.major > VERSION[0]:
            raise BufferError(
                f"from_dlpack: the source speaks DLPack {managed.major}.{managed.minor}; at most "
                f"{VERSION[0]}.x can be read. Ask it for max_version={VERSION}."
            )
        tensor = managed.tensor
        self.read_only = versioned and bool(managed.flags & READ_ONLY)
        self.shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
        kind = _BY_CODE.get((tensor.code, tensor.bits))
        if kind is None or tensor.lanes != 1:
            raise BufferError(
                f"from_dlpack: no dtype for elements of DLPack's type code {tensor.code} with "
                f"{tensor.bits} bits and {tensor.lanes} lanes (complex numbers are not supported). "
                "Convert them in the source."
            )
        self.dtype = kind
        if tensor.strides:
            self.strides = tuple(tensor.strides[i] for i in range(tensor.ndim))
        else:
            self.strides = tuple(math.prod(self.shape[i + 1 :]) for i in range(tensor.ndim))
        if any(step < 0 for step, size in zip(self.strides, self.shape) if size > 1):
            raise BufferError(
                f"from_dlpack: strides {self.strides} are negative, and tensors with negative "
                "strides are not supported. Copy in the source first."
            )
        self.strides = tuple(max(step, 0) for step in self.strides)
        self.device = (tensor.device_type, tensor.device_id)
        self.address = (tensor.data or 0) + tensor.byte_offset
        # Nothing can go wrong from here on: now it is ours.
        _set_name(capsule, _USED[name])
        self._managed = managed

    def __del__(self, callback: Any = _Callback, address_of: Any = ctypes.addressof) -> None:
        managed = self._managed
        if managed is not None and managed.deleter:
            self._managed = None
            callback(managed.deleter)(address_of(managed))


__all__ = ["COPIED", "CPU", "CUDA", "HOST_READABLE", "READ_ONLY", "VERSION", "Imported", "export"]
