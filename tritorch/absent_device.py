"""What programs ask of a kind of device that is never there (`torch.mps`, `torch.xpu`)."""

from __future__ import annotations

__all__ = ["device_count", "empty_cache", "is_available", "manual_seed", "synchronize"]


def is_available() -> bool:
    """Whether there is one: never."""
    return False


def device_count() -> int:
    """How many there are: none."""
    return 0


def manual_seed(seed: int) -> None:
    """Seed their generators: there are none."""


def empty_cache() -> None:
    """Give unused memory back: there is none."""


def synchronize(device: object = None) -> None:
    """Wait for their work: there is none."""
