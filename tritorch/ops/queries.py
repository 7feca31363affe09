"""Questions about tensors as functions, and PyTorch's legacy tensor types."""

from __future__ import annotations

from typing import Any

from tritorch import dtypes
from tritorch.dtypes import dtype as Dtype
from tritorch.runtime.storage import Storage
from tritorch.tensor import Tensor


def is_tensor(obj: Any) -> bool:
    """Whether it is a tensor."""
    return isinstance(obj, Tensor)


def is_storage(obj: Any) -> bool:
    """Whether it is a piece of memory."""
    return isinstance(obj, Storage)


def typename(obj: Any) -> str:
    """The legacy name of a tensor's type, as `torch.FloatTensor`; of others module and name."""
    if isinstance(obj, Tensor):
        return str(obj.type())
    named = obj if hasattr(obj, "__qualname__") else type(obj)
    module = getattr(named, "__module__", None) or "builtins"
    return named.__qualname__ if module == "builtins" else f"{module}.{named.__qualname__}"


def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is a floating-point one."""
    return input.is_floating_point()


def is_complex(input: Tensor) -> bool:
    """False: there are no complex dtypes."""
    return input.is_complex()


def is_signed(input: Tensor) -> bool:
    """Whether the dtype has negative values."""
    return input.is_signed()


def is_nonzero(input: Tensor) -> bool:
    """Whether the only element is not zero."""
    return bool(input.detach())


def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether the shapes are equal."""
    return input._layout.shape == other._layout.shape


def numel(input: Tensor) -> int:
    """The number of elements."""
    return input.numel()


def detach(input: Tensor) -> Tensor:
    """The same memory without history."""
    return input.detach()


class _LegacyMeta(type):
    """`isinstance(x, FloatTensor)` asks for the dtype and the kind of device."""

    dtype: Dtype
    place: str

    def __instancecheck__(cls, instance: Any) -> bool:
        return (
            isinstance(instance, Tensor)
            and instance.dtype is cls.dtype
            and instance._layout.device.type == cls.place
        )

    def __call__(cls, *args: Any, **options: Any) -> Any:
        from tritorch.ops.creation import legacy_constructor

        if cls.place != "cpu":
            options.setdefault("device", cls.place)
        return legacy_constructor(*args, dtype=cls.dtype, **options)


def legacy_type(kind: Dtype, place: str = "cpu") -> Any:
    """The class of tensors of a dtype on a kind of device."""
    return _LegacyMeta(
        kind.legacy_name,
        (),
        {"dtype": kind, "place": place, "__doc__": f"Makes and recognises {kind.name} tensors."},
    )


FloatTensor = legacy_type(dtypes.float32)
DoubleTensor = legacy_type(dtypes.float64)
HalfTensor = legacy_type(dtypes.float16)
BFloat16Tensor = legacy_type(dtypes.bfloat16)
ByteTensor = legacy_type(dtypes.uint8)
CharTensor = legacy_type(dtypes.int8)
ShortTensor = legacy_type(dtypes.int16)
IntTensor = legacy_type(dtypes.int32)
LongTensor = legacy_type(dtypes.int64)
BoolTensor = legacy_type(dtypes.bool)
