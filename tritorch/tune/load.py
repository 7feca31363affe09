"""How busy the processors are with what is not ours, on Linux."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

#: so much of our processors used by others makes times doubtful
MUCH = 0.15


class Load:
    """Begins to count when it is made."""

    def __init__(self) -> None:
        self._ticks = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
        self._begun = time.monotonic()
        self._machine = _machine()
        self._ours = _own(())

    def share(self, workers: Iterable[int]) -> float | None:
        """How much of the processors that we may use was used by others since then: 0 to 1.

        Args:
            workers: processes of ours that live; those that have ended count by themselves.
        Returns:
            None where the system does not say, or it was too short to tell.
        """
        seconds = time.monotonic() - self._begun
        machine = _machine()
        if machine is None or self._machine is None or seconds < 0.2:
            return None
        busy, count = machine
        used = (busy - self._machine[0]) / self._ticks
        others = used - (_own(workers) - self._ours)
        return min(max(others / (seconds * count), 0.0), 1.0)


def _machine() -> tuple[int, int] | None:
    """Ticks that our processors have been busy, and how many they are."""
    try:
        ours = {f"cpu{i}" for i in os.sched_getaffinity(0)}
        with open("/proc/stat") as file:
            lines = [line.split() for line in file if line.split(" ", 1)[0] in ours]
        # user nice system (idle iowait) irq softirq steal; a guest's time is the user's already
        busy = [
            sum(int(fields[i]) for i in (1, 2, 3, 6, 7, 8)) for fields in lines if len(fields) > 8
        ]
    except (OSError, ValueError, AttributeError):
        return None
    return (sum(busy), len(busy)) if busy else None


def _own(workers: Iterable[int]) -> float:
    """Seconds of processor time of this process, its ended children and these processes."""
    times = os.times()
    total = times.user + times.system + times.children_user + times.children_system
    ticks = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
    for process in workers:
        try:
            with open(f"/proc/{process}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / ticks
        except (OSError, ValueError, IndexError):  # it has just ended
            continue
    return total
