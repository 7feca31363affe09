"""Python's `multiprocessing` under PyTorch's name, with `spawn`.

Tensors that are sent to another process are copied; to share memory with processes that are forked
call `share_memory_()` before they start.
"""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import *  # noqa: F403 - its names are this module's
from multiprocessing import get_context
from multiprocessing.connection import wait
from typing import Any

_STRATEGIES = {"file_descriptor", "file_system"}
_strategy = ["file_descriptor"]


def get_all_sharing_strategies() -> set[str]:
    """The strategies' names, which choose nothing here."""
    return set(_STRATEGIES)


def get_sharing_strategy() -> str:
    """What was set last."""
    return _strategy[0]


def set_sharing_strategy(new_strategy: str) -> None:
    """Note a strategy; batches of a DataLoader travel as anonymous memory whatever it is.

    Raises:
        ValueError: there is no such strategy.
    """
    if new_strategy not in _STRATEGIES:
        raise ValueError(
            f"set_sharing_strategy: one of {', '.join(sorted(_STRATEGIES))}, got {new_strategy!r}."
        )
    _strategy[0] = new_strategy


def spawn(
    fn: Callable[..., None], args: tuple[Any, ...] = (), nprocs: int = 1, join: bool = True,
    daemon: bool = False, start_method: str = "spawn",
) -> list[Any] | None:  # fmt: skip
    """Run `fn(i, *args)` in `nprocs` processes.

    Returns:
        None after all have ended, or the processes where `join` is False.
    Raises:
        RuntimeError: one of them failed; the others are ended.
    """
    context: Any = get_context(start_method)
    processes = [
        context.Process(target=fn, args=(index, *args), daemon=daemon) for index in range(nprocs)
    ]
    for process in processes:
        process.start()
    if not join:
        return processes
    waiting = {process.sentinel: index for index, process in enumerate(processes)}
    while waiting:  # whichever ends first: the others may wait for one that failed
        for sentinel in wait(list(waiting)):
            index = waiting.pop(sentinel)
            processes[index].join()
            if code := processes[index].exitcode:
                for other in processes:
                    other.terminate()
                    other.join()
                raise RuntimeError(f"process {index} terminated with exit code {code}")
    return None
