"""What CUDA allows while streams capture, as its programming guide tells ("CUDA Graphs").

A `Captures` knows which streams capture, which others joined them through events, and who waited
for whom. It refuses what the driver refuses, with the same codes, and what is refused spoils the
capture: its end is an error, too.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from tritorch.runtime.cuda import driver as cu

UNSUPPORTED, INVALIDATED, UNMATCHED, UNJOINED = 900, 901, 903, 904
ISOLATION, CAPTURED_EVENT, WRONG_THREAD, ILLEGAL_STATE = 905, 907, 908, 401


class CaptureError(Exception):
    """A CUresult."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class Capture:
    """One that is under way.

    Attributes:
        seen: stream -> how much work of which stream it is ordered behind.
    """

    origin: int
    mode: int
    thread: int
    nodes: list[Any] = field(default_factory=list)
    seen: dict[int, dict[int, int]] = field(default_factory=dict)
    spoilt: bool = False


@dataclass
class Mark:
    """An event that was recorded in a capture."""

    capture: Capture
    seen: dict[int, int]


class Captures:
    """All captures of a process."""

    def __init__(self) -> None:
        self.under_way: list[Capture] = []
        self._thread = threading.local()

    def of(self, stream: int) -> Capture | None:
        """The one that a stream takes part in."""
        return next((one for one in self.under_way if stream in one.seen), None)

    def begin(self, stream: int, mode: int) -> None:
        if not stream:
            raise CaptureError(UNSUPPORTED)
        if self.of(stream):
            raise CaptureError(ILLEGAL_STATE)
        made = Capture(stream, mode, threading.get_ident())
        made.seen[stream] = {stream: 0}
        self.under_way.append(made)

    def end(self, stream: int) -> list[Any]:
        found = self.of(stream)
        if found is None:
            raise CaptureError(cu.INVALID_VALUE)
        if found.origin != stream:
            raise CaptureError(UNMATCHED)
        if found.mode != cu.CAPTURE_RELAXED and found.thread != threading.get_ident():
            raise CaptureError(WRONG_THREAD)
        self.under_way.remove(found)
        if found.spoilt:
            raise CaptureError(INVALIDATED)
        joined = found.seen[stream]
        if any(joined.get(other, -1) < own[other] for other, own in found.seen.items()):
            raise CaptureError(UNJOINED)
        return found.nodes

    def add(self, stream: int, work: Any) -> bool:
        """Whether this work is recorded instead of done."""
        found = self.of(stream)
        if found is None:
            return False
        if found.spoilt:
            raise CaptureError(INVALIDATED)
        found.nodes.append(work)
        found.seen[stream][stream] += 1
        return True

    # ---- events
    def mark(self, stream: int) -> Mark | None:
        """What an event stands for that is recorded on a stream now."""
        found = self.of(stream)
        return None if found is None else Mark(found, dict(found.seen[stream]))

    def wait(self, stream: int, mark: Mark | None) -> bool:
        """Whether a stream's wait for an event is part of a capture."""
        here = self.of(stream)
        if mark is None:
            if here is not None:
                self._refuse(here, ISOLATION)
            return False
        if mark.capture not in self.under_way or here not in (None, mark.capture):
            raise CaptureError(cu.INVALID_VALUE)
        if here is None and not stream:
            self._refuse(mark.capture, UNSUPPORTED)
        known = mark.capture.seen.setdefault(stream, {stream: 0})
        for other, count in mark.seen.items():
            known[other] = max(known.get(other, 0), count)
        return True

    # ---- what is refused
    def _refuse(self, capture: Capture, code: int) -> None:
        capture.spoilt = True
        raise CaptureError(code)

    def host_waits(self, stream: int | None) -> None:
        """Somebody waits for a stream or asks how far it is; None: a whole device."""
        for one in self.under_way:
            if stream is None or stream in one.seen:
                self._refuse(one, UNSUPPORTED)

    def unsafe(self) -> None:
        """A call that might wait for the device: memory, code, questions about events."""
        mode = self.mode()
        for one in self.under_way:
            ours = one.thread == threading.get_ident() and one.mode != cu.CAPTURE_RELAXED
            others = one.mode == cu.CAPTURE_GLOBAL and mode == cu.CAPTURE_GLOBAL
            if mode != cu.CAPTURE_RELAXED and (ours or others):
                self._refuse(one, UNSUPPORTED)

    def mode(self) -> int:
        return int(getattr(self._thread, "mode", cu.CAPTURE_GLOBAL))

    def exchange(self, mode: int) -> int:
        before, self._thread.mode = self.mode(), mode
        return before
