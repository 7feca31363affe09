"""`torch.distributed` of a build without it: one process, and programs that ask are told so.

`if dist.is_available() and dist.is_initialized()` works; what needs other processes is missing.
"""

from __future__ import annotations

from typing import NoReturn

__all__ = [
    "get_rank", "get_world_size", "init_process_group", "is_available", "is_initialized",
    "is_torchelastic_launched",
]  # fmt: skip


def is_available() -> bool:
    """Whether several processes can train together: not yet."""
    return False


def is_initialized() -> bool:
    """Whether this process belongs to a group: never."""
    return False


def is_torchelastic_launched() -> bool:
    """Whether `torchrun` started this process: never."""
    return False


def get_rank(group: object = None) -> int:
    """This process's number in the group.

    Raises:
        ValueError: there is none.
    """
    raise ValueError("Default process group has not been initialized: tritorch has none.")


def get_world_size(group: object = None) -> int:
    """The number of processes in the group.

    Raises:
        ValueError: there is none.
    """
    raise ValueError("Default process group has not been initialized: tritorch has none.")


def init_process_group(*args: object, **kwargs: object) -> NoReturn:
    """Join other processes.

    Raises:
        NotImplementedError: always. Train in one process.
    """
    raise NotImplementedError(
        "init_process_group: tritorch trains in one process. Run the program without it, or guard "
        "the call by `if torch.distributed.is_available()`."
    )
