"""Batches in page-locked memory, for a DataLoader with `pin_memory=True`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tritorch.tensor import Tensor


def pinned(batch: Any) -> Any:
    """The same batch with its tensors in page-locked memory, whatever holds them.

    Tensors on a device stay where they are. An object of another kind that has a method
    `pin_memory` is asked for it; what cannot hold tensors is kept.
    """
    if isinstance(batch, Tensor):
        return batch if batch._layout.device.type != "cpu" else batch.pin_memory()
    if hasattr(batch, "pin_memory"):
        return batch.pin_memory()
    if isinstance(batch, (str, bytes)):
        return batch
    if isinstance(batch, Mapping):
        found = {key: pinned(value) for key, value in batch.items()}
        return _like(batch, found)
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*map(pinned, batch))
    if isinstance(batch, Sequence):
        return _like(batch, [pinned(value) for value in batch])
    return batch


def _like(batch: Any, content: Any) -> Any:
    """The content in a container of the batch's class, if that takes it."""
    try:
        return type(batch)(content)
    except TypeError:
        return content
