"""Which device and dtype a new tensor gets when the caller says nothing, and what `device=` may
be.
"""

from __future__ import annotations

import threading
from typing import Any

from tritorch import devices, dtypes
from tritorch.devices import device as Device
from tritorch.dtypes import dtype as Dtype
from tritorch.errors import DeviceError
from tritorch.runtime import get_target


class _Default(threading.local):
    device: Device = devices.cpu

    def __init__(self) -> None:
        #: the defaults that hold again where the blocks under way end
        self.outer: list[Device] = []


_default = _Default()


def get_default_device() -> Device:
    """Where tensors are made that are given no `device=`."""
    return _default.device


def set_default_device(device: Any) -> None:
    """Make new tensors on this device from now on, in this thread; None is the CPU."""
    _default.device = devices.cpu if device is None else resolve_device(device)


def enter_default_device(device: Device) -> None:
    """Make new tensors on this device until `leave_default_device`, in this thread."""
    chosen = resolve_device(device)
    _default.outer.append(_default.device)
    _default.device = chosen


def leave_default_device() -> None:
    """Make them where they were made before the last `enter_default_device`."""
    _default.device = _default.outer.pop()


def set_default_tensor_type(t: Any) -> None:
    """The dtype and device of new tensors, from a class such as `FloatTensor` or its name.

    PyTorch has deprecated it; `set_default_dtype` and `set_default_device` are the names to use.

    Raises:
        TypeError: it is not the type of a floating point tensor.
    """
    name = t if isinstance(t, str) else t.__name__
    place, last = name.rpartition(".")[::2]
    place = place or getattr(t, "place", "")
    kind = next((kind for kind in dtypes.ALL if kind.legacy_name == last), None)
    if kind is None or not kind.is_floating_point:
        raise TypeError(
            f"set_default_tensor_type: only floating-point types are supported as the default "
            f"type, got {name!r}."
        )
    dtypes.set_default_dtype(kind)
    set_default_device("cuda" if place.endswith("cuda") else None)


def resolve_device(device: Any) -> Device:
    """The device of a `device=` argument; `cuda` means the current one, `cpu:0` means `cpu`.

    Raises:
        RuntimeError: there is no such device on this machine.
    """
    if device is None:
        return _default.device
    found = Device(device)
    if found is devices.cpu:
        return found
    if found.type == "cpu":
        return devices.cpu
    try:
        target: Any = get_target(found.type)
    except DeviceError as error:
        raise DeviceError(f"device={str(found)!r}: {error}") from None
    if found.index is None:
        return Device(found.type, target.current.thread.device)
    if found.index >= target.current.count:
        raise DeviceError(
            f"device={str(found)!r}: invalid device ordinal, there are {target.current.count}."
        )
    return found


def resolve_dtype(dtype: Any, name: str, fallback: Dtype | None = None) -> Dtype:
    """The dtype of a `dtype=` argument: the fallback (default dtype) for None; Python's classes
    work too.
    """
    if dtype is None:
        return fallback or dtypes.get_default_dtype()
    if isinstance(dtype, Dtype):
        return dtype
    if dtype in _PYTHON:
        return _PYTHON[dtype]
    raise TypeError(
        f"{name}(): argument 'dtype' must be torch.dtype, not {type(dtype).__name__}. Use one such "
        "as tritorch.float32."
    )


_PYTHON: dict[Any, Dtype] = {float: dtypes.float64, int: dtypes.int64, bool: dtypes.bool}


def shape_of(name: str, sizes: tuple[Any, ...]) -> tuple[int, ...]:
    """A shape from `f(2, 3)` or `f((2, 3))`.

    Raises:
        TypeError: a size is no whole number. RuntimeError: a size is negative.
    """
    if len(sizes) == 1:
        only: Any = sizes[0]
        if not hasattr(only, "__index__") or (hasattr(only, "shape") and only.shape):
            sizes = tuple(only)
    try:
        shape = tuple([size.__index__() for size in sizes])
    except AttributeError:
        raise TypeError(
            f"{name}(): sizes must be whole numbers or one tuple of them, got {sizes!r:.80}."
        ) from None
    for size in shape:
        if size < 0:
            raise RuntimeError(
                f"{name}: Dimension size must be non-negative, got {size} in {list(shape)}."
            )
    return shape
