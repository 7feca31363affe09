"""Host tensor descriptors as the kernel takes them: one value a slot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def flatten_descriptors(types: Sequence[str], values: Sequence[Any]) -> list[Any]:
    """Values with each host tensor descriptor replaced by the kernel's slots for it.

    These are: address, shape and strides as i64, flags (nan padding; Triton 3.9 adds rounding to
    TF32), shape as i32, strides as i64.
    """
    flat: list[Any] = []
    for value in values:
        if not hasattr(value, "block_shape"):
            flat.append(value)
            continue
        flat += [value.base, *value.shape, *value.strides]
        flat.append(value.padding == "nan")
        if types[len(flat)] == "i1":
            flat.append(value.round_f32_to_tf32)
        flat += [*value.shape, *value.strides]
    return flat
