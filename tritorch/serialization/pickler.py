"""The pickled part of a checkpoint, with PyTorch's names for what is ours."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from typing import Any, BinaryIO

from tritorch.devices import device as Device
from tritorch.dtypes import dtype as Dtype
from tritorch.runtime.storage import Storage
from tritorch.serialization.rebuild import STORAGE_NAMES
from tritorch.tensor import Size, Tensor


class GlobalName:
    """Stands for a class or function of PyTorch, which need not be installed."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name

    def __call__(self) -> None:
        """pickle wants what it writes as a call to be callable."""
        raise TypeError(f"{self.module}.{self.name} is only a name here.")


@cache
def _named(module: str, name: str) -> GlobalName:
    return GlobalName(module, name)


class _Reference:
    """A storage as a tensor refers to it: the class of storages goes with the tensor's dtype."""

    __slots__ = ("dtype", "location", "storage")

    def __init__(self, storage: Storage, dtype: Dtype | None, location: str) -> None:
        self.storage = storage
        self.dtype = dtype
        self.location = location


def _owner(storage: Storage) -> Storage:
    """`Tensor.data` borrows the memory of another storage."""
    while isinstance(storage.owner, Storage):
        storage = storage.owner
    return storage


#: the one written in Python, whose instructions can be chosen
_Pickler: Any = vars(pickle)["_Pickler"]


class CheckpointPickler(_Pickler):
    """Writes tensors as calls of PyTorch's functions, and storages by number.

    `storages` collects them: number -> storage and device.
    """

    dispatch: dict[type, Callable[..., None]] = _Pickler.dispatch.copy()

    def __init__(self, file: BinaryIO, protocol: int) -> None:
        super().__init__(file, protocol)
        self.storages: dict[str, tuple[Storage, Device]] = {}
        self._keys: dict[int, str] = {}

    def _write_name(self, module: str, name: str) -> None:
        if self.proto >= 4:
            self.save(module)
            self.save(name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())

    def save_name(self, obj: GlobalName) -> None:
        """The instruction that looks up a name."""
        self._write_name(obj.module, obj.name)
        self.memoize(obj)

    dispatch[GlobalName] = save_name

    def save_dtype(self, obj: Dtype) -> None:
        """A dtype is a name."""
        self._write_name("torch", obj.name)
        self.memoize(obj)

    dispatch[Dtype] = save_dtype

    def persistent_id(self, obj: Any) -> tuple[Any, ...] | None:
        """How a storage is referred to."""
        if isinstance(obj, Storage):
            obj = _Reference(obj, None, "cpu")
        if not isinstance(obj, _Reference):
            return None
        storage = _owner(obj.storage)
        key = self._keys.get(id(storage))
        if key is None:
            key = self._keys[id(storage)] = str(len(self._keys))
            self.storages[key] = (storage, Device(obj.location))
        name = "UntypedStorage" if obj.dtype is None else STORAGE_NAMES[obj.dtype.name]
        kind = _named("torch.storage" if obj.dtype is None else "torch", name)
        itemsize = 1 if obj.dtype is None else obj.dtype.itemsize
        return ("storage", kind, key, obj.location, storage.nbytes // itemsize)

    def reducer_override(self, obj: Any) -> Any:
        """Tensors, sizes, dtypes and devices; everything else as pickle does."""
        if isinstance(obj, Tensor):
            return self._reduced(obj)
        if isinstance(obj, Size):
            return _named("torch", "Size"), (tuple(obj),)
        if isinstance(obj, Device):
            return _named("torch", "device"), (
                (obj.type,) if obj.index is None else (obj.type, obj.index)
            )
        return NotImplemented

    def _reduced(self, tensor: Tensor) -> tuple[Any, ...]:
        from tritorch.nn.parameter import Parameter

        state = tensor.__dict__
        if type(tensor) is Parameter:
            data = tensor.detach()
            arguments: tuple[Any, ...] = (data, tensor.requires_grad, OrderedDict())
            if not state:
                return _named("torch._utils", "_rebuild_parameter"), arguments
            name = _named("torch._utils", "_rebuild_parameter_with_state")
            return name, (*arguments, dict(state))
        layout = tensor._layout
        typed = layout.dtype.name in STORAGE_NAMES
        location = str(layout.device)
        if location == "cuda":
            location = "cuda:0"
        offset = (tensor._address - _owner(tensor._storage).address) // layout.dtype.itemsize
        parts: tuple[Any, ...] = (
            _Reference(tensor._storage, layout.dtype if typed else None, _interned(location)),
            offset,
            (*layout.shape,),  # PyTorch's tuples are new each time, and are written each time
            (*layout.strides,),
            tensor.requires_grad,
            OrderedDict(),
        )
        if not typed:
            parts += (layout.dtype,)
        name = _named("torch._utils", f"_rebuild_tensor_v{2 if typed else 3}")
        if type(tensor) is Tensor and not state:
            return name, parts
        kind = _named("torch", "Tensor") if type(tensor) is Tensor else type(tensor)
        rebuild = _named("torch._tensor", "_rebuild_from_type_v2")
        return rebuild, (name, kind, parts, dict(state))


@cache
def _interned(location: str) -> str:
    """One object for each text, which pickle then writes once."""
    return location
