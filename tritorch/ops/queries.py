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
    """`isinstance(x, FloatTensor)` asks for the dtype."""

    dtype: Dtype

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor) and instance.dtype is cls.dtype

    def __call__(cls, *args: Any, **options: Any) -> Any:
        from tritorch.ops.creation import legacy_constructor

        return legacy_constructor(*args, dtype=cls.dtype, **options)


def _legacy(kind: Dtype) -> Any:
    return _LegacyMeta(
        kind.legacy_name,
        (),
        {"dtype": kind, "__doc__": f"Makes and recognises {kind.name} tensors."},
    )


FloatTensor = _legacy(dtypes.float32)
DoubleTensor = _legacy(dtypes.float64)
HalfTensor = _legacy(dtypes.float16)
BFloat16Tensor = _legacy(dtypes.bfloat16)
ByteTensor = _legacy(dtypes.uint8)
CharTensor = _legacy(dtypes.int8)
ShortTensor = _legacy(dtypes.int16)
IntTensor = _legacy(dtypes.int32)
LongTensor = _legacy(dtypes.int64)
BoolTensor = _legacy(dtypes.bool)
