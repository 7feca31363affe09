"""Gives the graph of gradients the operations that it needs."""

from __future__ import annotations

from typing import Any

from tritorch.autograd.protocol import operations
from tritorch.devices import device as Device
from tritorch.layout import Layout
from tritorch.ops.arithmetic import _add
from tritorch.ops.joining import stack
from tritorch.ops.memory import alias, clone, copy_, fill, restride, to_dtype
from tritorch.ops.reduction import sum_to_size
from tritorch.ops.strided import as_strided
from tritorch.tensor import Tensor, empty

_accumulate = _add.operation.inplace_plans


def accumulate(target: Tensor, other: Tensor) -> None:
    """target += other, without history or checks."""
    _accumulate[target._layout, other._layout](target._address, target._address, other._address)


def zeros(layout: Layout) -> Tensor:
    """Dense zeros."""
    result = empty(Layout.contiguous(layout.dtype, layout.shape, layout.device))
    fill(result, 0)
    return result


def ones_like(tensor: Tensor) -> Tensor:
    """Dense ones."""
    layout = tensor._layout
    result = empty(
        layout if layout.is_dense else Layout.contiguous(layout.dtype, layout.shape, layout.device)
    )
    fill(result, 1)
    return result


def has_nan(tensor: Tensor) -> bool:
    """Whether an element is nan."""
    from tritorch.ops.elementary import isnan

    return bool(isnan(tensor).any())


def _to_device(tensor: Tensor, device: Device) -> Tensor:
    from tritorch.ops.transfer import moved

    return moved(tensor, device, False)


def register() -> None:
    """Fill the table."""
    table: dict[str, Any] = {
        "add": _add,
        "accumulate": accumulate,
        "clone": clone,
        "detach": alias,
        "ones_like": ones_like,
        "zeros": zeros,
        "sum_to_size": sum_to_size,
        "to_dtype": to_dtype,
        "to_device": _to_device,
        "as_strided": as_strided,
        "restride": restride,
        "stack": stack,
        "copy_": copy_,
        "has_nan": has_nan,
        "tensor_type": Tensor,
    }
    operations.register(**table)
