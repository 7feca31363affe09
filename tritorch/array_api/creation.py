"""New tensors, with the standard's arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from tritorch.dtypes import dtype as Dtype
from tritorch.ops import creation, interchange, joining
from tritorch.ops.placement import resolve_device
from tritorch.tensor import Tensor


def asarray(
    obj: Any, /, *, dtype: Dtype | None = None, device: Any = None, copy: bool | None = None
) -> Tensor:
    """A tensor of numbers, nested sequences, a tensor, or an object that exports an array.

    Args:
        copy: True: fresh memory; None: only where needed; False: ValueError where needed.
    """
    if copy:
        return creation.tensor(obj, dtype=dtype, device=device)
    if not isinstance(obj, Tensor | np.ndarray) and hasattr(obj, "__dlpack__"):
        try:
            obj = interchange.from_dlpack(obj, copy=copy)
        except BufferError as error:
            if copy is None:
                raise
            raise ValueError(f"asarray: {error}") from error
    result = creation.as_tensor(obj, dtype, device)
    if copy is False and _address(obj) != result.data_ptr():
        raise ValueError(
            f"asarray: a copy of this {type(obj).__name__} is needed for dtype={dtype}, "
            f"device={device}, and copy=False forbids it. Pass copy=None."
        )
    return result


def _address(obj: Any) -> int | None:
    if isinstance(obj, Tensor):
        return obj.data_ptr()
    return obj.ctypes.data if isinstance(obj, np.ndarray) else None


def arange(
    start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Dtype | None = None,
    device: Any = None,
) -> Tensor:  # fmt: skip
    """Numbers from `start` (0 if it is alone) to `stop`, which is excluded, in steps."""
    if stop is None:
        start, stop = 0, start
    if step != 0 and (stop - start) * step < 0:
        stop = start
    return creation.arange(start, stop, step, dtype=dtype, device=device)


def empty(shape: Any, *, dtype: Dtype | None = None, device: Any = None) -> Tensor:
    """An uninitialised tensor."""
    return creation.empty(shape, dtype=dtype, device=device)


def empty_like(x: Tensor, /, *, dtype: Dtype | None = None, device: Any = None) -> Tensor:
    """An uninitialised tensor of the same shape."""
    return creation.empty_like(x, dtype=dtype, device=device)


def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Dtype | None = None,
    device: Any = None,
) -> Tensor:  # fmt: skip
    """A matrix with ones on its k-th diagonal."""
    columns = n_rows if n_cols is None else n_cols
    result = creation.zeros(n_rows, columns, dtype=dtype, device=device)
    if -n_rows < k < columns:
        result.diagonal(k).fill_(1)
    return result


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor on the memory of an object with `__dlpack__`."""
    return interchange.from_dlpack(x, device=device, copy=copy)


def full(shape: Any, fill_value: Any, *, dtype: Dtype | None = None, device: Any = None) -> Tensor:
    """One number everywhere; the dtype is the number's unless given."""
    return creation.full(shape, fill_value, dtype=dtype, device=device)


def full_like(
    x: Tensor, /, fill_value: Any, *, dtype: Dtype | None = None, device: Any = None
) -> Tensor:
    """One number everywhere, in the shape of x."""
    return creation.full_like(x, fill_value, dtype=dtype, device=device)


def linspace(
    start: Any, stop: Any, /, num: int, *, dtype: Dtype | None = None, device: Any = None,
    endpoint: bool = True,
) -> Tensor:  # fmt: skip
    """`num` numbers at equal distances from `start` to `stop`, which `endpoint` includes."""
    if endpoint:
        return creation.linspace(start, stop, num, dtype=dtype, device=device)
    return creation.linspace(start, stop, num + 1, dtype=dtype, device=device)[:num]


def meshgrid(*arrays: Tensor, indexing: str = "xy") -> tuple[Tensor, ...]:
    """The coordinates of a grid from those of its axes."""
    return tuple(joining.meshgrid(*arrays, indexing=indexing))


def ones(shape: Any, *, dtype: Dtype | None = None, device: Any = None) -> Tensor:
    """Ones."""
    return creation.ones(shape, dtype=dtype, device=device)


def ones_like(x: Tensor, /, *, dtype: Dtype | None = None, device: Any = None) -> Tensor:
    """Ones in the shape of x."""
    return creation.ones_like(x, dtype=dtype, device=device)


def tril(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The elements on the k-th diagonal and below, zeros elsewhere."""
    return joining.tril(x, k)


def triu(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The elements on the k-th diagonal and above, zeros elsewhere."""
    return joining.triu(x, k)


def zeros(shape: Any, *, dtype: Dtype | None = None, device: Any = None) -> Tensor:
    """Zeros."""
    return creation.zeros(shape, dtype=dtype, device=device)


def zeros_like(x: Tensor, /, *, dtype: Dtype | None = None, device: Any = None) -> Tensor:
    """Zeros in the shape of x."""
    return creation.zeros_like(x, dtype=dtype, device=device)


def default_device() -> Any:
    """Where new tensors are."""
    return resolve_device(None)
