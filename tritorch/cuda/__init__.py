"""What programs ask before they choose a device; the CUDA target itself is not there yet."""

from __future__ import annotations

from typing import Any


def is_available() -> bool:
    """Whether tensors can live on a GPU: not with this version."""
    return False


def device_count() -> int:
    """The number of usable GPUs: none with this version."""
    return 0


def synchronize(device: Any = None) -> None:
    """Wait for a GPU: an error here, since there is none."""
    from tritorch.runtime import get_target

    get_target("cuda")


def manual_seed_all(seed: int) -> None:
    """Seed every GPU's generator: there is none, so nothing happens, as in PyTorch."""


manual_seed = manual_seed_all


def empty_cache() -> None:
    """Release cached GPU memory: there is none."""


def __getattr__(name: str) -> Any:
    """`tritorch.cuda.amp` works without an import of its own."""
    if name == "amp":
        from importlib import import_module

        return import_module("tritorch.cuda.amp")
    raise AttributeError(f"module 'tritorch.cuda' has no attribute {name!r}")
