"""Streams: queues of work in order; events: marks in them.

Streams that are made here do not wait for the default stream, nor it for them (CUDA calls them
non-blocking, as PyTorch's are): `wait_stream` orders them.
"""

from __future__ import annotations

import threading
from typing import Any, NoReturn

from tritorch.cuda.devices import index_of, target
from tritorch.devices import device as Device
from tritorch.runtime.cuda import driver as cu


class Event:
    """A mark in a stream.

    Args:
        enable_timing: `elapsed_time` may be asked.
        blocking: who waits for it sleeps, instead of asking all the time.
        interprocess: not supported.
        external: not supported.
    """

    def __init__(
        self,
        enable_timing: bool = False,
        blocking: bool = False,
        interprocess: bool = False,
        external: bool = False,
    ) -> None:
        for name, given in (("interprocess", interprocess), ("external", external)):
            if given:
                raise NotImplementedError(f"Event: {name}=True is not supported. Leave it out.")
        self.enable_timing = enable_timing
        self._flags = (0 if enable_timing else cu.EVENT_DISABLE_TIMING) | (
            cu.EVENT_BLOCKING_SYNC if blocking else 0
        )
        self._target = target()
        self._event = 0
        self._device = -1  # that of the stream it was first recorded on

    @property
    def device(self) -> Device | None:
        """Where it was recorded; None before."""
        return Device("cuda", self._device) if self._event else None

    @property
    def cuda_event(self) -> int:
        """The driver's handle; 0 before it was first recorded."""
        return self._event

    def record(self, stream: Stream | None = None) -> None:
        """Put the mark behind what was asked of a stream (None: the current one) so far.

        Raises:
            RuntimeError: it was recorded on another device before.
        """
        here = self._target.current.thread
        device = here.device if stream is None else stream.device_index
        if self._event and device != self._device:
            raise RuntimeError(
                f"Event device {self._device} does not match recording stream's device {device}. "
                "Make an event for each device."
            )
        with self._target.on(device), self._target.calling() as driver:
            if not self._event:
                self._event, self._device = driver.create_event(self._flags), device
            driver.record_event(self._event, here.stream if stream is None else stream.cuda_stream)

    def wait(self, stream: Stream | None = None) -> None:
        """Work that is asked of a stream from now on waits for the mark; the host does not."""
        if self._event:
            here = self._target.current.thread
            device = here.device if stream is None else stream.device_index
            handle = here.stream if stream is None else stream.cuda_stream
            with self._target.on(device), self._target.calling() as driver:
                driver.stream_waits(handle, self._event)

    def query(self) -> bool:
        """Whether everything before the mark is done."""
        if not self._event:
            return True
        with self._target.on(self._device), self._target.calling() as driver:
            return driver.event_is_done(self._event)

    def synchronize(self) -> None:
        """Wait until everything before the mark is done."""
        if self._event:
            with self._target.on(self._device):
                self._target.synchronize_event(self._event)

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this mark to another one.

        Raises:
            ValueError: either was made without `enable_timing`, or never recorded.
        """
        if not (self.enable_timing and end_event.enable_timing):
            raise ValueError("Both events must be created with argument 'enable_timing=True'.")
        if not (self._event and end_event._event):
            raise ValueError("Both events must be recorded before calculating elapsed time.")
        with self._target.on(self._device), self._target.calling() as driver:
            return driver.elapsed_ms(self._event, end_event._event)

    def ipc_handle(self) -> NoReturn:
        """Not supported: events stay in their process."""
        raise NotImplementedError(
            "Event: events cannot be shared between processes. Synchronize, then tell the other."
        )

    @classmethod
    def from_ipc_handle(cls, device: Any, handle: bytes) -> NoReturn:
        """Not supported: events stay in their process."""
        raise NotImplementedError(
            "Event: events cannot be shared between processes. Synchronize, then tell the other."
        )

    def __del__(self) -> None:
        if getattr(self, "_event", 0):
            self._target.discard("destroy_event", self._event)

    def __repr__(self) -> str:
        return (
            f"<torch.cuda.Event {self._event:#x}>"
            if self._event
            else "<torch.cuda.Event uninitialized>"
        )


class Stream:
    """A queue of work on a device; work of different streams may overlap.

    There are 32 for each device and priority, which are given out in turn.

    Args:
        device: None is the current one.
        priority: lower numbers go first; see `priority_range`.
    """

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        self._target = target()
        self._index = index_of(device)
        with self._target.on(self._index), self._target.calling() as driver:
            least, greatest = driver.stream_priorities()
            priority = max(min(priority, least), greatest)
            self.cuda_stream = self._target.current.take_stream(priority)
        self.priority = priority
        self._entered: dict[int, list[StreamContext]] = {}

    @classmethod
    def _of(cls, handle: int, index: int) -> Stream:
        made = cls.__new__(cls)
        made._target, made._index, made.cuda_stream = target(), index, handle
        made.priority, made._entered = 0, {}
        return made

    @staticmethod
    def priority_range() -> tuple[int, int]:
        """The least and the greatest priority (the smaller number)."""
        with target().calling() as driver:
            return driver.stream_priorities()

    @property
    def device(self) -> Device:
        """Where its work runs."""
        return Device("cuda", self._index)

    @property
    def device_index(self) -> int:
        """The number of that device."""
        return self._index

    def synchronize(self) -> None:
        """Wait until all its work is done."""
        with self._target.on(self._index):
            self._target.synchronize_stream(self.cuda_stream)

    def query(self) -> bool:
        """Whether all its work is done."""
        with self._target.on(self._index), self._target.calling() as driver:
            return driver.stream_is_done(self.cuda_stream)

    def wait_event(self, event: Event) -> None:
        """Work that is asked from now on waits for a mark."""
        event.wait(self)

    def wait_stream(self, stream: Stream) -> None:
        """Work that is asked from now on waits for what was asked of another stream so far."""
        self.wait_event(stream.record_event())

    def record_event(self, event: Event | None = None) -> Event:
        """Put a mark (None: a new one) behind what was asked so far."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def __enter__(self) -> Stream:
        context = StreamContext(self)
        context.__enter__()
        self._entered.setdefault(threading.get_ident(), []).append(context)
        return self

    def __exit__(self, *exception: Any) -> None:
        contexts = self._entered[threading.get_ident()]
        contexts.pop().__exit__(*exception)
        if not contexts:
            del self._entered[threading.get_ident()]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stream):
            return NotImplemented
        return (self.cuda_stream, self._index) == (other.cuda_stream, other._index)

    def __hash__(self) -> int:
        return hash((self.cuda_stream, self._index))

    def __cuda_stream__(self) -> tuple[int, int]:
        """CUDA's stream protocol for Python: (version, handle)."""
        return 0, self.cuda_stream

    def __repr__(self) -> str:
        return f"<torch.cuda.Stream device=cuda:{self._index} cuda_stream={self.cuda_stream:#x}>"


class ExternalStream(Stream):
    """A stream that another library made, by its handle; it must outlive this object."""

    def __init__(self, stream_ptr: int, device: Any = None) -> None:
        self._target, self._index = target(), index_of(device)
        self.cuda_stream, self.priority, self._entered = stream_ptr, 0, {}


def set_stream(stream: Stream | None) -> None:
    """Send this thread's work to a stream, and to its device; None changes nothing."""
    if stream is not None:
        here = target()
        here.set_device(stream.device_index)
        here.current.set_stream(stream.cuda_stream, stream)


def current_stream(device: Any = None) -> Stream:
    """The stream that this thread's work goes to, on a device."""
    index = index_of(device)
    handle, found = target().current.stream_of(index)
    return found if isinstance(found, Stream) else Stream._of(handle, index)


def get_stream_from_external(data_ptr: int, device: Any = None) -> Stream:
    """A stream that another library made, by its handle."""
    return ExternalStream(data_ptr, device)


def default_stream(device: Any = None) -> Stream:
    """The stream that work goes to unless another one is set."""
    return Stream._of(0, index_of(device))


class StreamContext:
    """Work of a block goes to a stream; device and stream before are restored."""

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream
        self._before: list[tuple[Stream, Stream]] = []

    def __enter__(self) -> None:
        if self.stream is not None:
            self._before.append((current_stream(), current_stream(self.stream.device_index)))
            set_stream(self.stream)

    def __exit__(self, *_exception: Any) -> None:
        if self.stream is not None:
            here, there = self._before.pop()
            set_stream(there)
            set_stream(here)


def stream(stream: Stream | None) -> StreamContext:
    """Work of a block goes to a stream; None changes nothing."""
    return StreamContext(stream)
