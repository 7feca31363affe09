"""Python and NumPy data to arrays, and back: the boundary where NumPy touches elements."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from tritorch import dtypes
from tritorch.dtypes import dtype as Dtype

Array = np.ndarray[Any, Any]


def array_from_data(data: Any, dtype: Dtype | None = None) -> Array:
    """A fresh C-ordered array of nested sequences, numbers, or anything that exports an array.

    Args:
        data: a number, nested sequences of numbers, or an object with `__array__`.
        dtype: of the result; None infers it as PyTorch does (Python floats: the default dtype).
    Raises:
        ValueError: the nesting is ragged, or an integer does not fit 64 bits.
        TypeError: elements are no numbers.
    """
    if isinstance(data, np.ndarray | np.generic) or hasattr(data, "__array__"):
        array = np.asarray(data)
        kind = dtype or dtypes.from_numpy(array.dtype)
    else:
        _check_rectangular(data, (), _shape_of(data))
        try:
            array = np.array(data)
        except (ValueError, TypeError) as error:
            raise TypeError(f"tensor: cannot convert {data!r:.80}: {error}.") from None
        kind = dtype or _inferred(data, array)
        if array.dtype == object:
            if array.size and all(isinstance(value, int) for value in array.flat):
                raise ValueError(
                    "tensor: Overflow when unpacking long: an integer exceeds 64 bits."
                )
            if any(value is None for value in array.flat):
                raise RuntimeError(
                    f"tensor: Could not infer dtype of NoneType; elements must be numbers, got "
                    f"{data!r:.80}."
                )
            raise TypeError(f"tensor: elements must be numbers, got {data!r:.80}.")
    if array.dtype.kind in "iuf" and kind.category == 1 and not isinstance(data, np.ndarray):
        _check_fits(array, kind)
    return np.array(array, dtype=kind.numpy, order="C", copy=True)


def _is_sequence(data: Any) -> bool:
    return isinstance(data, Sequence) and not isinstance(data, str | bytes)


def _shape_of(data: Any) -> tuple[int, ...]:
    """The shape that the first elements promise."""
    shape = []
    while _is_sequence(data):
        shape.append(len(data))
        if not shape[-1]:
            break
        data = data[0]
    return tuple(shape)


def _check_rectangular(data: Any, path: tuple[int, ...], shape: tuple[int, ...]) -> None:
    if not shape:
        if isinstance(data, str | bytes):
            raise TypeError(f"tensor: new(): invalid data type {type(data).__name__!r}.")
        if data is None or isinstance(data, set | dict) or callable(getattr(data, "keys", None)):
            raise RuntimeError(f"tensor: Could not infer dtype of {type(data).__name__}.")
        if _is_sequence(data):
            raise ValueError(
                f"tensor: expected a number at index {path}, got a sequence of length {len(data)}."
            )
        return
    if not _is_sequence(data):
        if hasattr(data, "__array__"):
            return
        raise TypeError(
            f"tensor: {type(data).__name__!r} object at index {path} where a sequence of length "
            f"{shape[0]} was expected. All rows must have the same length."
        )
    if len(data) != shape[0]:
        raise ValueError(
            f"tensor: expected sequence of length {shape[0]} at dim {len(path)} (got {len(data)}). "
            "All rows must have the same length."
        )
    if len(shape) > 1 or (data and not isinstance(data[0], int | float)):
        for index, item in enumerate(data):
            _check_rectangular(item, (*path, index), shape[1:])


def _inferred(data: Any, array: Array) -> Dtype:
    leaf = data
    while _is_sequence(leaf) and len(leaf):
        leaf = leaf[0]
    if array.dtype == object:
        return dtypes.int64
    if isinstance(leaf, np.ndarray | np.generic) or hasattr(leaf, "__array__"):
        return dtypes.from_numpy(array.dtype)
    if array.dtype.kind == "f":
        return dtypes.get_default_dtype()
    if array.dtype.kind == "u":
        raise ValueError("tensor: Overflow when unpacking long: an integer exceeds 64 bits.")
    return dtypes.from_numpy(array.dtype)


def _check_fits(array: Array, kind: Dtype) -> None:
    if not array.size or array.dtype.kind == "f":
        return
    limits = np.iinfo(kind.numpy)
    low, high = int(array.min()), int(array.max())
    least = limits.min or -int(limits.max)  # without sign -1 is the greatest number, as in C
    if low < least or high > limits.max:
        value = low if low < least else high
        raise RuntimeError(
            f"tensor: value {value} cannot be converted to type {kind.name} without overflow."
        )


class Exported:
    """What NumPy sees of a buffer: keeps `owner` alive as the base of every array made from it."""

    __slots__ = ("__array_interface__", "owner")

    def __init__(
        self,
        owner: Any,
        address: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        kind: Dtype,
    ) -> None:
        self.owner = owner
        # ml_dtypes' types travel as bytes and are viewed on arrival.
        code = kind.numpy.str if kind.numpy.isbuiltin == 1 else f"|V{kind.itemsize}"
        self.__array_interface__ = {
            "version": 3,
            "data": (address, False),
            "shape": shape,
            "strides": tuple(stride * kind.itemsize for stride in strides),
            "typestr": code,
        }


#: what reads an element at an address of the host's memory, by dtype: an array takes 3 us to make.
number_at: dict[Dtype, Any] = {
    dtypes.float32: ctypes.c_float.from_address, dtypes.float64: ctypes.c_double.from_address,
    dtypes.int8: ctypes.c_int8.from_address, dtypes.int16: ctypes.c_int16.from_address,
    dtypes.int32: ctypes.c_int32.from_address, dtypes.int64: ctypes.c_int64.from_address,
    dtypes.uint8: ctypes.c_uint8.from_address, dtypes.uint16: ctypes.c_uint16.from_address,
    dtypes.uint32: ctypes.c_uint32.from_address, dtypes.uint64: ctypes.c_uint64.from_address,
    dtypes.bool: ctypes.c_bool.from_address,
}  # fmt: skip


def array_of_memory(
    owner: Any, address: int, shape: tuple[int, ...], strides: tuple[int, ...], kind: Dtype
) -> Array:
    """An array on host memory without a copy; strides in elements."""
    if 0 in shape:
        return np.empty(shape, kind.numpy)
    array = np.asarray(Exported(owner, address, shape, strides, kind))
    return array if array.dtype == kind.numpy else array.view(kind.numpy)


#: Finding a common byte is hard in general; views in practice take a few steps.
_MAX_WORK = 100_000


def memory_is_shared(first: Array, second: Array) -> bool:
    """Whether some byte belongs to elements of both; True where finding out would take too long.

    Only the addresses count, so the memory may be a device's.
    """
    try:
        # NumPy annotates two special values only.
        shares: Any = np.shares_memory
        return bool(shares(first, second, max_work=_MAX_WORK))
    except np.exceptions.TooHardError:
        return True
