"""PyTorch's type promotion for operations on tensors and Python numbers, and the common device.

Operands are kinds: a Layout for a tensor, or `bool`, `int`, `float` for a Python number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tritorch import dtypes
from tritorch.devices import cpu
from tritorch.devices import device as Device
from tritorch.dtypes import dtype as Dtype
from tritorch.errors import DeviceError
from tritorch.layout import Layout

Kind = Layout | type

#: the Python classes that count as numbers in operations
NUMBERS = frozenset((bool, int, float))


def number_dtype(kind: type) -> Dtype:
    """The dtype that a Python number alone has."""
    if kind is float:
        return dtypes.get_default_dtype()
    return dtypes.int64 if kind is int else dtypes.bool


def common_dtype(kinds: Sequence[Kind]) -> Dtype:
    """The dtype in which operands meet.

    Tensors with dimensions decide; tensors without, then Python numbers, count only where they are
    of a
    higher category (bool < integer < floating point).
    """
    ranks: list[Dtype | None] = [None, None, None]
    for kind in kinds:
        if isinstance(kind, Layout):
            rank, dtype = (0 if kind.ndim else 1), kind.dtype
        else:
            rank, dtype = 2, number_dtype(kind)
        known = ranks[rank]
        ranks[rank] = dtype if known is None else dtypes.promote_types(known, dtype)
    result: Dtype | None = None
    for found in reversed(ranks):
        if found is not None and (result is None or found.category >= result.category):
            result = found
    if result is None:
        raise TypeError("result_type: needs at least one operand.")
    return result


def float_dtype(dtype: Dtype) -> Dtype:
    """Itself if floating, else the default dtype."""
    return dtype if dtype.is_floating_point else dtypes.get_default_dtype()


def can_cast(source: Dtype, target: Dtype) -> bool:
    """Whether values may be stored as `target` without losing their category."""
    return source.category <= target.category


def common_device(name: str, kinds: Sequence[Kind], mixes: bool = True) -> Device:
    """The device of all tensor operands; a DeviceError names those that differ.

    Args:
        mixes: whether tensors on the CPU without dimensions count as numbers elsewhere.
    """
    found: Device | None = None
    number: Device | None = None
    for kind in kinds:
        if isinstance(kind, Layout):
            if mixes and not kind.shape and kind.device is cpu:
                number = cpu
            elif found is None:
                found = kind.device
            elif found is not kind.device:
                raise DeviceError(
                    f"{name}: Expected all tensors to be on the same device, but found at least "
                    f"two devices, {found} and {kind.device}! Move one with .to(device)."
                )
    return found or number or cpu


def result_type(first: Any, second: Any) -> Dtype:
    """The dtype of an operation on two tensors or numbers."""
    return common_dtype([kind_of(first), kind_of(second)])


def kind_of(operand: Any) -> Kind:
    """The Layout of a tensor, the class of a number."""
    if operand.__class__ in NUMBERS:
        return operand.__class__
    return operand._layout
