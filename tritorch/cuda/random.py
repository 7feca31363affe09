"""Random numbers: one generator for all devices, whose numbers are the same on each of them.

So seeding the GPU seeds the CPU as well: both draw from the same sequence, which PyTorch's do not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tritorch.cuda.devices import device_count
from tritorch.ops.random import default_generator
from tritorch.tensor import Tensor


def manual_seed(seed: int) -> None:
    """Start the generator anew from a seed."""
    default_generator.manual_seed(seed)


manual_seed_all = manual_seed


def seed() -> None:
    """Start the generator anew from the clock."""
    default_generator.seed()


seed_all = seed


def initial_seed() -> int:
    """The seed it was started from."""
    return default_generator.initial_seed()


def get_rng_state(device: Any = None) -> Tensor:
    """The generator's state as a tensor of bytes."""
    return default_generator.get_state()


def get_rng_state_all() -> list[Tensor]:
    """The state for each device: one generator serves all of them."""
    return [get_rng_state() for _ in range(device_count())]


def set_rng_state_all(new_states: Iterable[Tensor]) -> None:
    """Continue from what `get_rng_state_all` gave."""
    for state in new_states:
        set_rng_state(state)


def set_rng_state(new_state: Tensor, device: Any = None) -> None:
    """Continue from a saved state."""
    default_generator.set_state(new_state)
