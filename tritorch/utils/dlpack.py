"""DLPack's capsules as functions, under the names of torch.utils.dlpack."""

from __future__ import annotations

from typing import Any

from tritorch.ops.interchange import from_dlpack
from tritorch.tensor import Tensor


def to_dlpack(tensor: Tensor) -> Any:
    """A DLPack capsule on the memory of a tensor, which one consumer may take."""
    return tensor.__dlpack__()


__all__ = ["from_dlpack", "to_dlpack"]
