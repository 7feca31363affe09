"""Runs plans on NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tritorch import dtypes
from tritorch.kernels import Plan
from tritorch.layout import Layout


def layout_of(array: np.ndarray) -> Layout:
    strides = tuple(s // array.itemsize for s in array.strides)
    return Layout.of(dtypes.from_numpy(array.dtype), array.shape, strides)


def kinds_of(operands: Sequence[Any]) -> list[Any]:
    """What `plan` takes: a Layout for an array, the type of a number."""
    return [layout_of(o) if isinstance(o, np.ndarray) else type(o) for o in operands]


def empty_array(layout: Layout) -> np.ndarray:
    """An array of this layout, filled with a pattern that no kernel should leave there."""
    buffer = np.full(max(layout.extent, 1), 77).astype(layout.dtype.numpy)
    strides = [s * layout.dtype.itemsize for s in layout.strides]
    return np.ndarray(layout.shape, buffer.dtype, buffer, strides=strides)


def launch(plan: Plan, operands: Sequence[Any]) -> list[np.ndarray]:
    """The outputs of a plan for arrays and numbers in operand order."""
    outputs = [empty_array(layout) for layout in plan.outputs]
    arrays = [o for o in operands if isinstance(o, np.ndarray)]
    numbers = [o for o in operands if not isinstance(o, np.ndarray)]
    plan.launch(*(a.ctypes.data for a in (*outputs, *arrays)), *numbers)
    return outputs
