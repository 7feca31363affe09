"""Helpers that programs are built from: `utils.data`, `utils.checkpoint`, `utils.swap_tensors`."""

from typing import TYPE_CHECKING, Any

from tritorch import Tensor as _Tensor  # noqa: F401 - loads the names that are used below

if TYPE_CHECKING:
    from tritorch.utils import checkpoint, data, dlpack
    from tritorch.utils.swapping import swap_tensors


def __getattr__(name: str) -> Any:
    """`tritorch.utils.data` works without an import of its own, as in PyTorch."""
    if name == "swap_tensors":
        from tritorch.utils.swapping import swap_tensors

        return swap_tensors
    if name in __all__:
        from importlib import import_module

        return import_module(f"tritorch.utils.{name}")
    raise AttributeError(f"module 'tritorch.utils' has no attribute {name!r}")


__all__ = ["checkpoint", "data", "dlpack", "swap_tensors"]
