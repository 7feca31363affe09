"""Functions of data types, and how operands of two types meet.

The standard promotes unsigned integers of all sizes, and a tensor without dimensions as any other;
PyTorch does neither, so what takes two operands converts them here first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tritorch import dtypes
from tritorch.dtypes import dtype as Dtype
from tritorch.ops.creation import full
from tritorch.ops.joining import broadcast_shapes as _broadcast_shapes
from tritorch.ops.memory import to
from tritorch.ops.placement import resolve_device
from tritorch.ops.views import broadcast_tensors
from tritorch.ops.views import broadcast_to as _broadcast_to
from tritorch.tensor import Tensor

#: the standard's names of kinds; there are no complex dtypes
KINDS: dict[str, tuple[Dtype, ...]] = {
    "bool": (dtypes.bool,),
    "signed integer": (dtypes.int8, dtypes.int16, dtypes.int32, dtypes.int64),
    "unsigned integer": (dtypes.uint8, dtypes.uint16, dtypes.uint32, dtypes.uint64),
    "real floating": (dtypes.float32, dtypes.float64),
    "complex floating": (),
}
KINDS["integral"] = KINDS["signed integer"] + KINDS["unsigned integer"]
KINDS["numeric"] = KINDS["integral"] + KINDS["real floating"]
_SIGNED = {kind.itemsize: kind for kind in KINDS["signed integer"]}
#: floating-point dtypes that the standard does not name count as such, too
_LOW_PRECISION = (dtypes.float16, dtypes.bfloat16, dtypes.float8_e4m3fn, dtypes.float8_e5m2)


def _promoted(a: Dtype, b: Dtype) -> Dtype:
    if a.category != 1 or b.category != 1 or a.is_signed == b.is_signed:
        return dtypes.promote_types(a, b)
    signed, unsigned = (a, b) if a.is_signed else (b, a)
    size = max(signed.itemsize, 2 * unsigned.itemsize)
    if size > 8:
        raise TypeError(
            f"result_type: no integer dtype holds both {a} and {b}. Convert one with astype()."
        )
    return _SIGNED[size]


def _with_number(kind: Dtype, number: Any) -> Dtype:
    category = 0 if isinstance(number, bool) else 1 if isinstance(number, int) else 2
    if category <= kind.category:
        return kind
    return dtypes.int64 if category == 1 else dtypes.get_default_dtype()


def result_type(*arrays_and_dtypes: Any) -> Dtype:
    """The dtype in which tensors, dtypes and Python numbers meet."""
    found: Dtype | None = None
    for entry in arrays_and_dtypes:
        kind = entry.dtype if isinstance(entry, Tensor) else entry
        if isinstance(kind, Dtype):
            found = kind if found is None else _promoted(found, kind)
        elif not isinstance(entry, bool | int | float):
            raise TypeError(
                f"result_type: expected tensors, dtypes and real numbers, got {entry!r:.80}."
            )
    if found is None:
        raise ValueError(
            "result_type: at least one tensor or dtype is needed, got "
            f"{arrays_and_dtypes!r:.80}. Pass one along."
        )
    for entry in arrays_and_dtypes:
        if isinstance(entry, bool | int | float):
            found = _with_number(found, entry)
    return found


def operands(name: str, *values: Any) -> list[Tensor]:
    """Tensors and numbers as tensors of one dtype, on the device of the first tensor."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    if not tensors:
        raise TypeError(
            f"{name}: at least one operand must be a tensor, got {values!r:.80}. Make one with "
            "asarray()."
        )
    kind = result_type(*values)
    device = tensors[0].device
    return [
        to(value, None, kind)
        if isinstance(value, Tensor)
        else full((), value, dtype=kind, device=device)
        for value in values
    ]


def astype(x: Tensor, dtype: Dtype, /, *, copy: bool = True, device: Any = None) -> Tensor:
    """The elements as another dtype; with `copy=False` the tensor itself where nothing changes."""
    result = to(x, None if device is None else resolve_device(device), dtype)
    return result.clone() if copy and result is x else result


def broadcast_arrays(*arrays: Tensor) -> tuple[Tensor, ...]:
    """Views of one common shape."""
    return tuple(broadcast_tensors(*arrays))


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that tensors of these shapes have together."""
    return tuple(_broadcast_shapes(*shapes))


def broadcast_to(x: Tensor, /, shape: tuple[int, ...]) -> Tensor:
    """A view of this shape."""
    return _broadcast_to(x, shape)


def can_cast(from_: Any, to: Dtype, /) -> bool:
    """Whether promotion leads from a dtype (or a tensor's) to another."""
    try:
        return result_type(from_, to) is to
    except TypeError:
        if isinstance(from_, Dtype | Tensor) and isinstance(to, Dtype):
            return False
        raise


@dataclass(frozen=True)
class FloatLimits:
    """What `finfo` gives."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: Dtype


@dataclass(frozen=True)
class IntegerLimits:
    """What `iinfo` gives."""

    bits: int
    max: int
    min: int
    dtype: Dtype


def finfo(type: Any, /) -> FloatLimits:
    """Limits of a floating-point dtype, or of a tensor's."""
    kind = type.dtype if isinstance(type, Tensor) else type
    found = dtypes.finfo(kind)
    return FloatLimits(found.bits, found.eps, found.max, found.min, found.smallest_normal, kind)


def iinfo(type: Any, /) -> IntegerLimits:
    """Limits of an integer dtype, or of a tensor's."""
    kind = type.dtype if isinstance(type, Tensor) else type
    found = dtypes.iinfo(kind)
    return IntegerLimits(found.bits, found.max, found.min, kind)


def isdtype(dtype: Dtype, kind: Any) -> bool:
    """Whether a dtype is another one, of a kind by name ("integral", ...), or any of a tuple."""
    if not isinstance(dtype, Dtype):
        raise TypeError(f"isdtype: expected a dtype, got {dtype!r}.")
    if isinstance(kind, tuple):
        return any(isdtype(dtype, one) for one in kind)
    if isinstance(kind, Dtype):
        return dtype is kind
    known = KINDS.get(kind)
    if known is None:
        raise ValueError(
            f"isdtype: unknown kind {kind!r}. Use a dtype, one of {', '.join(KINDS)}, or a tuple."
        )
    return dtype in known or (kind in ("real floating", "numeric") and dtype in _LOW_PRECISION)
