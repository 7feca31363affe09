"""`@once`: what a process makes one of, whichever threads ask for it first.

`functools.cache` lets two threads that come at the same time both run the function: with a module
of machine code that would be two pools, one of them never told how to start its workers.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

Made = TypeVar("Made")

_locks: list[Any] = []


def once(function: Callable[[], Made]) -> Callable[[], Made]:
    """A function without arguments that runs a single time and gives the same result ever after.

    One that raises is run again by the next call.
    """
    made: list[Made] = []
    holder = [threading.RLock()]
    _locks.append(holder)

    @wraps(function)
    def only() -> Made:
        if made:
            return made[0]
        with holder[0]:
            if not made:
                made.append(function())
            return made[0]

    return only


def _renew() -> None:
    # In the child of a fork nobody holds what another thread of the parent held.
    for holder in _locks:
        holder[0] = threading.RLock()


os.register_at_fork(after_in_child=_renew)
