"""The current device and stream of each thread, and the contexts they need."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tritorch.errors import DeviceError
from tritorch.once import once
from tritorch.runtime.cuda.driver import (
    PEER_ACCESS_ALREADY_ENABLED,
    STREAM_NON_BLOCKING,
    TOO_MANY_PEERS,
    Driver,
    DriverError,
)

#: streams of a device and priority
_STREAMS = 32


class CurrentStreams:
    """The current stream of every thread: a pthread key, which the launcher's code reads."""

    def __init__(self) -> None:
        process = ctypes.CDLL(None)
        key = ctypes.c_uint32()
        if process.pthread_key_create(ctypes.byref(key), None) != 0:
            raise DeviceError("cuda: the system has no thread-specific key left.")
        self.key = key.value
        self._set = process.pthread_setspecific
        self._set.argtypes = (ctypes.c_uint32, ctypes.c_void_p)

    def set(self, stream: int) -> None:
        """Launches of this thread go to `stream` from now on."""
        self._set(self.key, stream)


@once
def _streams() -> CurrentStreams:
    """One for the process: the system has few keys."""
    return CurrentStreams()


class _Thread(threading.local):
    device = 0
    stream = 0
    ready = False  # whether the device's context is current in this thread
    foreign = 0  # the context that another library made current before

    def __init__(self) -> None:
        #: device -> its current stream, and the object that stands for it
        self.streams: dict[int, tuple[int, object]] = {}


class Current:
    """Which device and stream a thread works on; makes the device's context current there."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._streams = _streams()
        self._streams.set(0)
        self._lock = threading.Lock()
        self._contexts: dict[int, int] = {}
        self._pools: dict[tuple[int, int], list[int]] = {}  # (device, priority) -> streams
        self._taken: dict[tuple[int, int], int] = {}
        #: `device` and `stream` may be read once `ready`
        self.thread = _Thread()
        self.count = driver.device_count()

    @property
    def stream_key(self) -> int:
        """The pthread key that machine code reads."""
        return self._streams.key

    @property
    def started(self) -> bool:
        """Whether any context exists."""
        return bool(self._contexts)

    def enter(self) -> None:
        """Make the current device's context current in this thread."""
        if not self.thread.ready:
            self._driver.set_context(self.context(self.thread.device))
            self.thread.ready = True

    def context(self, device: int) -> int:
        """The primary context of a device; devices that can reach each other's memory may."""
        found = self._contexts.get(device)
        if found is None:
            with self._lock:
                if device not in self._contexts:
                    made = self._driver.retain_context(device)
                    self._enable_peers(device, made)
                    self._contexts[device] = made
                found = self._contexts[device]
        return found

    def _enable_peers(self, device: int, context: int) -> None:
        for other, known in self._contexts.items():
            for (one, ours), (two, theirs) in (
                ((device, context), (other, known)),
                ((other, known), (device, context)),
            ):
                if not self._driver.can_access_peer(one, two):
                    continue
                self._driver.set_context(ours)
                try:
                    self._driver.enable_peer(theirs)
                except DriverError as error:  # another library did so; or the driver stages copies
                    if error.code not in (PEER_ACCESS_ALREADY_ENABLED, TOO_MANY_PEERS):
                        raise

    def set_device(self, device: int) -> None:
        """Work of this thread goes to another device, and to the stream it had there.

        Raises:
            DeviceError: there is no such device.
        """
        if not 0 <= device < self.count:
            raise DeviceError(
                f"cuda: invalid device ordinal {device}: there are {self.count} devices, counted "
                "from 0."
            )
        thread = self.thread
        if device != thread.device or not thread.ready:
            if not thread.ready:
                thread.foreign = self._driver.current_context()
            thread.device = device
            thread.ready = False
            self.enter()
            self.set_stream(*self.stream_of(device))

    def go_back(self, device: int, ready: bool) -> None:
        """To the device before `set_device`; where that had no context yet, it gets none now."""
        thread = self.thread
        if ready:
            self.set_device(device)
        elif thread.device != device:
            thread.device, thread.ready = device, False
            self._driver.set_context(thread.foreign)
            self.set_stream(*self.stream_of(device))

    def away(self) -> bool:
        """Whether another library made another device current in this thread, and left it so."""
        thread = self.thread
        return (
            self.count > 1
            and thread.ready
            and self._driver.current_context() != self._contexts[thread.device]
        )

    @contextmanager
    def in_context(self, device: int) -> Iterator[None]:
        """A device's context, for calls of the driver alone: what is current stays so."""
        thread = self.thread
        here = thread.device == device and thread.ready and not self.away()
        before = 0 if here else self._driver.current_context()
        if not here:
            self._driver.set_context(self.context(device))
        try:
            yield
        finally:
            if not here:
                self._driver.set_context(before)

    def set_stream(self, stream: int, shown: object = None) -> None:
        """Work of this thread on the current device goes to another stream of it.

        Args:
            shown: the object that stands for the stream.
        """
        self._put(self.thread.device, stream, shown)

    def _put(self, device: int, stream: int, shown: object) -> None:
        thread = self.thread
        thread.streams[device] = stream, shown
        if device == thread.device:
            thread.stream = stream
            self._streams.set(stream)

    @contextmanager
    def on_stream(self, device: int, stream: int) -> Iterator[None]:
        """Work of this thread on a device goes to a stream for the length of a block."""
        before = self.stream_of(device)
        self._put(device, stream, None)
        try:
            yield
        finally:
            self._put(device, *before)

    def take_stream(self, priority: int) -> int:
        """A stream of the current device: of 32 for each priority, in turn, which live for good.

        So a block of memory that waits for a stream never waits for one that is no more.
        """
        with self._lock:
            key = self.thread.device, priority
            pool, taken = self._pools.setdefault(key, []), self._taken.get(key, 0)
            if len(pool) < _STREAMS:
                pool.append(self._driver.create_stream(STREAM_NON_BLOCKING, priority))
            self._taken[key] = taken + 1
            return pool[taken % _STREAMS]

    def stream_of(self, device: int) -> tuple[int, object]:
        """This thread's current stream on a device, and the object that stands for it."""
        return self.thread.streams.get(device, (0, None))
