"""`out=`: results that are written into tensors which exist.

Pointwise operations write there at once (`tritorch.ops.pointwise`); what is here serves the rest:
the result is computed and copied, so `out` may overlap with an operand.
"""

from __future__ import annotations

import warnings
from typing import Any

from tritorch.errors import DtypeError
from tritorch.ops.promotion import can_cast
from tritorch.tensor import Tensor


def finished(result: Any, out: Any, name: str = "") -> Any:
    """The result, written into `out=` if there is one: a tensor, or a tuple of as many as results.

    Raises:
        RuntimeError: a gradient would be lost. DtypeError: `out` cannot hold the result.
    """
    if out is None:
        return result
    if isinstance(result, Tensor):
        _check(result, out, name, name in _PLACES)
        return _written(result, out)
    if len(out) != len(result):
        raise RuntimeError(
            f"{name}: expected out to have {len(result)} tensors, got {len(out)}. Give one for "
            "each result."
        )
    fields = getattr(result, "_fields", ("",) * len(out))
    for r, target, field in zip(result, out, fields):  # all of them before the first is written
        _check(r, target, name, field == "indices")
    targets = [_written(r, target) for r, target in zip(result, out)]
    kind = type(result)
    return kind(*targets) if hasattr(kind, "_fields") else tuple(targets)


#: operations whose results say where something is
_PLACES = ("argmax", "argmin", "argsort")


def _check(result: Tensor, out: Any, name: str, exactly: bool) -> None:
    if not isinstance(out, Tensor):
        raise TypeError(f"{name}(): argument 'out' must be Tensor, not {type(out).__name__}.")
    if result._requires_grad or out._requires_grad:
        raise RuntimeError(
            f"{name}(): functions with out=... arguments don't support automatic "
            "differentiation, but one of the arguments requires grad."
        )
    kind, target = result._layout, out._layout
    if exactly and kind.dtype is not target.dtype:
        raise DtypeError(
            f"{name}: Expected out tensor to have dtype {kind.dtype}, but got {target.dtype} "
            "instead. Make one of that dtype."
        )
    if not can_cast(kind.dtype, target.dtype):
        raise DtypeError(
            f"{name}: result type {kind.dtype} can't be cast to the desired output type "
            f"{target.dtype}. Convert the target."
        )


def _written(result: Tensor, out: Tensor) -> Tensor:
    kind, target = result._layout, out._layout
    if kind.shape != target.shape:
        if target.numel:
            warnings.warn(
                "An output with one or more elements was resized since it had shape "
                f"{list(target.shape)}, which does not match the required output shape "
                f"{list(kind.shape)}. Give an out tensor with zero elements, or one of this shape.",
                UserWarning,
                stacklevel=4,
            )
        out.resize_(*kind.shape)
    return out.copy_(result)
