"""NumPy's arrays and numbers in files, which `load(weights_only=False)` makes.

Checkpoints hold them: the best accuracy so far, the state of a random generator. A pickle makes an
empty array by a call and then gives it shape, dtype and bytes; these are looked at before NumPy is
given them. Only booleans, numbers and text of fixed length are taken, with as many bytes as the
shape asks for, so a file runs nothing and takes no memory beyond its own size.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from tritorch.errors import LoadError

_PLAIN = re.compile(r"(b1|[iuf][1248]|[fc](8|16)|c32|[SU]\d{1,9})")


def _dtype(name: Any, align: Any = False, copy: Any = False) -> np.dtype[Any]:
    if type(name) is not str or not _PLAIN.fullmatch(name):
        raise LoadError(f"load: the pickle has an array of {str(name)[:40]!r}, not of numbers.")
    return np.dtype(name, False, True)


def _array(kind: Any, shape: Any, dtype: Any) -> np.ndarray[Any, Any]:
    return np.zeros(0, np.int8)


def _scalar(kind: Any, content: Any = b"") -> Any:
    if not isinstance(kind, np.dtype) or type(content) is not bytes:
        raise LoadError("load: the pickle makes a number of NumPy's of something else.")
    if not kind.itemsize or len(content) != kind.itemsize:
        raise LoadError(f"load: the pickle has {len(content)} bytes for a number of {kind}.")
    return np.frombuffer(content, kind)[0]


def is_array_part(target: Any) -> bool:
    """Whether `give_state` knows how to give it state."""
    return type(target) is np.ndarray or isinstance(target, np.dtype)


def give_state(target: Any, state: Any) -> None:
    """Give an empty array its content, or a dtype its byte order.

    Raises:
        LoadError: the parts do not belong together.
    """
    if isinstance(target, np.dtype):
        if state[1] not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise LoadError("load: the pickle has an array of records, not of numbers.")
        bounds = (target.itemsize, target.alignment) if target.kind in "SU" else (-1, -1)
        whole = (3, state[1], None, None, None, *bounds, 0)
        target.__setstate__(whole)  # type: ignore[attr-defined]
        return
    _, shape, kind, columns_first, content = state
    sizes = type(shape) is tuple and all(type(size) is int and size >= 0 for size in shape)
    if not sizes or not isinstance(kind, np.dtype) or type(content) is not bytes:
        raise LoadError("load: the pickle has an array without a shape, a dtype or bytes.")
    if len(content) != math.prod(shape) * kind.itemsize:
        raise LoadError(f"load: the pickle has {len(content)} bytes for an array of {shape}.")
    target.__setstate__((1, shape, kind, bool(columns_first), content))


#: what may be called, by the names of NumPy 1 and 2
ARRAYS: dict[str, Any] = {
    f"numpy{core}.multiarray.{name}": function
    for core in (".core", "._core")
    for name, function in (("_reconstruct", _array), ("scalar", _scalar))
} | {"numpy.dtype": _dtype}
