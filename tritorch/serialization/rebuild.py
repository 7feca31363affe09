"""What the names of PyTorch in a checkpoint stand for: storages, dtypes and how tensors are made.

Nothing here takes more memory than the storages that the file holds: a tensor is a view of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from tritorch import dtypes
from tritorch.devices import device as Device
from tritorch.dtypes import dtype as Dtype
from tritorch.errors import DeviceError, LoadError
from tritorch.layout import Layout
from tritorch.ops.placement import resolve_device
from tritorch.runtime import get_target
from tritorch.runtime.storage import Storage
from tritorch.serialization.unpickler import BUILTINS
from tritorch.tensor import Size, Tensor, wrap

#: dtype -> PyTorch's class of storages; the storages of newer dtypes have none of their own
STORAGE_NAMES = {
    "float64": "DoubleStorage", "float32": "FloatStorage", "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage", "int64": "LongStorage", "int32": "IntStorage",
    "int16": "ShortStorage", "int8": "CharStorage", "uint8": "ByteStorage",
    "bool": "BoolStorage", "complex64": "ComplexFloatStorage", "complex128": "ComplexDoubleStorage",
}  # fmt: skip
_MAX_ELEMENTS = 1 << 62


@dataclass(frozen=True)
class StorageType:
    """A storage class of PyTorch; `dtype` None is UntypedStorage, counted in bytes."""

    name: str
    dtype: Dtype | None

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return 1 if self.dtype is None else self.dtype.itemsize


@dataclass(frozen=True)
class LoadedStorage:
    """A storage on its device, and the dtype that the file gave it."""

    storage: Storage
    dtype: Dtype | None
    device: Device
    swapped: bool = False  # its bytes are in the other order, which nobody could know yet


@dataclass(frozen=True)
class TensorType:
    """A class of tensors, which the file may name but not call."""

    kind: type[Tensor]


# ---- tensors


def _integers(name: str, values: Any) -> tuple[int, ...]:
    result = tuple(values)
    if not all(type(value) is int and 0 <= value < _MAX_ELEMENTS for value in result):
        raise LoadError(f"load: a tensor's {name} {result[:16]} are not all sizes.")
    return result


def rebuild(loaded: Any, offset: Any, shape: Any, strides: Any, dtype: Dtype | None) -> Tensor:
    """The tensor of these elements (offset and strides in elements) of a storage."""
    if not isinstance(loaded, LoadedStorage):
        raise LoadError(f"load: a tensor is made of a {type(loaded).__name__}, not a storage.")
    kind = dtype or loaded.dtype or dtypes.uint8
    if not isinstance(kind, Dtype):
        raise LoadError(f"load: a tensor's dtype is a {type(kind).__name__}.")
    if loaded.swapped and kind.itemsize > 1:
        raise LoadError(
            f"load: the file is of a machine of the other byte order, which does not say how the "
            f"{kind} in it are to be swapped. Save it again on a little-endian machine."
        )
    sizes, steps = _integers("sizes", shape), _integers("strides", strides)
    (first,) = _integers("offset", (offset,))
    if len(sizes) != len(steps) or len(sizes) > 64:
        raise LoadError(f"load: a tensor has {len(sizes)} sizes and {len(steps)} strides.")
    numel = 1
    for size in sizes:
        numel *= size
    extent = 1 + sum((size - 1) * step for size, step in zip(sizes, steps)) if numel else 0
    if numel > _MAX_ELEMENTS or (first + extent) * kind.itemsize > loaded.storage.nbytes:
        raise LoadError(
            f"load: a tensor of sizes {list(sizes)}, strides {list(steps)} and offset {first} "
            f"reaches beyond its storage of {loaded.storage.nbytes} bytes."
        )
    layout = Layout.of(kind, sizes, steps, loaded.device)
    return wrap(loaded.storage, layout, loaded.storage.address + first * kind.itemsize)


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> Tensor:
    return rebuild(storage, offset, shape, strides, None)


def _rebuild_tensor_v2(
    storage: Any, offset: Any, shape: Any, strides: Any, requires_grad: Any, hooks: Any,
    metadata: Any = None,
) -> Tensor:  # fmt: skip
    return _rebuild_tensor_v3(storage, offset, shape, strides, requires_grad, hooks, None, metadata)


def _rebuild_tensor_v3(
    storage: Any, offset: Any, shape: Any, strides: Any, requires_grad: Any, hooks: Any,
    dtype: Any, metadata: Any = None,
) -> Tensor:  # fmt: skip
    if metadata and any(metadata.values()):
        raise LoadError(f"load: a tensor with {sorted(metadata)} set is not supported. Resolve it.")
    tensor = rebuild(storage, offset, shape, strides, dtype)
    return tensor.requires_grad_() if requires_grad else tensor


def _rebuild_parameter(data: Any, requires_grad: Any, hooks: Any) -> Tensor:
    from tritorch.nn.parameter import Parameter

    return Parameter(data, bool(requires_grad))


def _rebuild_parameter_with_state(data: Any, requires_grad: Any, hooks: Any, state: Any) -> Tensor:
    return _with_state(_rebuild_parameter(data, requires_grad, hooks), state)


def _rebuild_from_type_v2(function: Any, kind: Any, arguments: Any, state: Any) -> Tensor:
    if function not in _TENSOR_FUNCTIONS:
        raise LoadError("load: a tensor is made by what makes no tensors.")
    made: Tensor = function(*arguments)
    wanted = kind.kind if isinstance(kind, TensorType) else kind
    if not (isinstance(wanted, type) and issubclass(wanted, Tensor)):
        raise LoadError(f"load: a tensor is to become a {type(kind).__name__}.")
    if type(made) is not wanted:
        made = made._as_subclass(wanted, made.requires_grad)
    return _with_state(made, state)


def _with_state(tensor: Tensor, state: Any) -> Tensor:
    """Attributes that a program had put on the tensor."""
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    if slots or not (attributes is None or isinstance(attributes, dict)):
        raise LoadError("load: a tensor has state that is not a dictionary of attributes.")
    tensor.__dict__.update(attributes or {})
    return tensor


_TENSOR_FUNCTIONS = {
    _rebuild_tensor, _rebuild_tensor_v2, _rebuild_tensor_v3, _rebuild_parameter,
    _rebuild_parameter_with_state,
}  # fmt: skip


def _size(sizes: Any = ()) -> Size:
    return Size(_integers("sizes", sizes))


def _layout(name: Any) -> str:
    if name != "torch.strided":
        raise LoadError(f"load: tensors of layout {str(name)[:40]} are not supported.")
    return "torch.strided"


@cache
def known_globals() -> Mapping[str, Any]:
    """ "module.name" as PyTorch writes it -> what it stands for here."""
    from tritorch.nn.parameter import Parameter

    known: dict[str, Any] = dict(BUILTINS)
    for function in (*_TENSOR_FUNCTIONS, _rebuild_from_type_v2):
        module = "torch._tensor" if function is _rebuild_from_type_v2 else "torch._utils"
        known[f"{module}.{function.__name__}"] = function
    known |= {f"torch.{kind.name}": kind for kind in dtypes.ALL}
    for name, storage in STORAGE_NAMES.items():
        if name in dtypes.BY_NAME:
            kind = StorageType(storage, dtypes.BY_NAME[name])
            known |= {f"torch.{storage}": kind, f"torch.cuda.{storage}": kind}
    untyped = StorageType("UntypedStorage", None)
    known |= dict.fromkeys(("torch.UntypedStorage", "torch.storage.UntypedStorage"), untyped)
    return known | {
        "torch.Size": _size,
        "torch.device": Device,
        "torch.Tensor": TensorType(Tensor),
        "torch._tensor.Tensor": TensorType(Tensor),
        "torch.nn.parameter.Parameter": _ParameterType(Parameter),
        "torch.serialization._get_layout": _layout,
    }


@dataclass(frozen=True)
class _ParameterType(TensorType):
    """Old files call the class itself."""

    def __call__(self, data: Any = None, requires_grad: Any = True) -> Tensor:
        return _rebuild_parameter(data, requires_grad, None)


# ---- devices

MapLocation = Callable[[Storage, str], Storage | None] | Mapping[str, str] | str | Device | None


def place(storage: Storage, location: str, map_location: Any) -> tuple[Storage, Device]:
    """A storage read to the host's memory, moved to where it was saved or is wanted.

    Args:
        location: where it was when it was saved, `cpu` or `cuda:N`.
        map_location: where it is wanted: a device, a dictionary from saved to wanted devices, or a
            function of storage and location that returns a storage or None.
    """
    if callable(map_location) and not isinstance(map_location, Device):
        mapped = map_location(storage, location)
        if mapped is not None:
            if not isinstance(mapped, Storage):
                raise TypeError(
                    f"load: map_location returned a {type(mapped).__name__}, expected a storage or "
                    "None."
                )
            return mapped, Device("cpu")
    elif isinstance(map_location, Mapping):
        location = str(map_location.get(location, location))
    elif map_location is not None:
        location = str(map_location)
    try:
        device = resolve_device(location)
        target = get_target(device)
    except (DeviceError, RuntimeError) as error:
        raise LoadError(
            f"load: a storage of this file belongs on {location!r}: {error} Give "
            "map_location='cpu' to have it in the host's memory."
        ) from None
    if device.type == "cpu":
        return storage, device
    moved = Storage(storage.nbytes, target)
    target.upload(moved.address, storage.address, storage.nbytes)
    return moved, device
