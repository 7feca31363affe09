"""Copies between the host's memory and a device's.

Page-locked memory is copied by the device itself, in the order of the stream. Ordinary memory goes
through two page-locked pieces in turn: while the device copies one, the processor fills or empties
the other. Small uploads have a block of their own, so that nobody waits. The driver would do as
much, but not where the memory is page-locked by another library, or where the device reads
ordinary memory itself: then the source would still be read when the call returns.
"""

from __future__ import annotations

import ctypes
import threading

from tritorch.runtime.cuda.driver import EVENT_DISABLE_TIMING, Driver
from tritorch.runtime.cuda.pinned import PinnedBlock, PinnedMemory

#: up to here a copy is one piece
SMALL_BYTES = 64 << 10
PIECE_BYTES = 4 << 20


class _Piece:
    """Page-locked memory, and the event of its last copy."""

    def __init__(self, driver: Driver, memory: PinnedMemory) -> None:
        self._driver = driver
        self.address = memory.allocate(PIECE_BYTES)
        self._event = driver.create_event(EVENT_DISABLE_TIMING)

    def record(self, stream: int) -> None:
        self._driver.record_event(self._event, stream)

    def wait(self) -> None:
        self._driver.synchronize_event(self._event)


class Staging:
    """Copies into and out of one device; its context must be current in the calling thread."""

    def __init__(self, driver: Driver, memory: PinnedMemory, device: int) -> None:
        self._driver = driver
        self._memory = memory
        self._device = device
        self._lock = threading.Lock()
        self._pieces: list[_Piece] = []

    def _both(self) -> list[_Piece]:
        while len(self._pieces) < 2:
            self._pieces.append(_Piece(self._driver, self._memory))
        return self._pieces

    def upload(
        self, destination: int, source: int, nbytes: int, stream: int, non_blocking: bool
    ) -> None:
        """Host to device. The source may be changed when this returns, unless it is page-locked
        and `non_blocking`.
        """
        if self._memory.contains(source):
            self._driver.copy(destination, source, nbytes, stream)
            self._memory.record_use(source, self._device, stream)
            if not non_blocking:
                self._driver.synchronize_stream(stream)
            return
        if nbytes <= SMALL_BYTES:
            block = PinnedBlock(self._memory, nbytes)
            ctypes.memmove(block.address, source, nbytes)
            self._driver.copy(destination, block.address, nbytes, stream)
            self._memory.record_use(block.address, self._device, stream)
            return
        with self._lock:
            pieces = self._both()
            for turn, start in enumerate(range(0, nbytes, PIECE_BYTES)):
                piece, size = pieces[turn % 2], min(PIECE_BYTES, nbytes - start)
                piece.wait()
                ctypes.memmove(piece.address, source + start, size)
                self._driver.copy(destination + start, piece.address, size, stream)
                piece.record(stream)

    def download(
        self, destination: int, source: int, nbytes: int, stream: int, non_blocking: bool
    ) -> None:
        """Device to host. The elements are there when this returns, unless the destination is
        page-locked and `non_blocking`.
        """
        if self._memory.contains(destination):
            self._driver.copy(destination, source, nbytes, stream)
            self._memory.record_use(destination, self._device, stream)
            if not non_blocking:
                self._driver.synchronize_stream(stream)
            return
        if nbytes <= SMALL_BYTES:
            self._driver.copy(destination, source, nbytes, stream)
            self._driver.synchronize_stream(stream)
            return
        with self._lock:
            pieces = self._both()
            for piece in pieces:
                piece.wait()
            under_way: list[tuple[_Piece, int, int]] = []
            for turn, start in enumerate(range(0, nbytes, PIECE_BYTES)):
                if len(under_way) == 2:
                    self._arrive(destination, *under_way.pop(0))
                piece, size = pieces[turn % 2], min(PIECE_BYTES, nbytes - start)
                self._driver.copy(piece.address, source + start, size, stream)
                piece.record(stream)
                under_way.append((piece, start, size))
            for pending in under_way:
                self._arrive(destination, *pending)

    @staticmethod
    def _arrive(destination: int, piece: _Piece, start: int, size: int) -> None:
        piece.wait()
        ctypes.memmove(destination + start, piece.address, size)
