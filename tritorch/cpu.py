"""`torch.cpu`: the processor by the names that `torch.cuda` has, for programs that take either.

Its work has finished when an operation returns, so streams and events order nothing.
"""

from __future__ import annotations

from typing import Any


def is_available() -> bool:
    """Whether there is a processor."""
    return True


def is_initialized() -> bool:
    """Whether it can be used."""
    return True


def device_count() -> int:
    """There is one device, `cpu`."""
    return 1


def current_device() -> str:
    """Its name."""
    return "cpu"


def set_device(device: Any) -> None:
    """There is nothing to choose."""


def synchronize(device: Any = None) -> None:
    """There is nothing to wait for."""


class Stream:
    """The only stream."""

    def __init__(self, priority: int = -1) -> None: ...

    def wait_stream(self, stream: Any) -> None:
        """There is nothing to wait for."""

    def record_event(self) -> None:
        """There is nothing to mark."""

    def wait_event(self, event: Any) -> None:
        """There is nothing to wait for."""


class Event:
    """A place in the only stream: it has passed."""

    def query(self) -> bool:
        """Whether it has passed."""
        return True

    def record(self, stream: Any = None) -> None:
        """There is nothing to mark."""

    def synchronize(self) -> None:
        """There is nothing to wait for."""

    def wait(self, stream: Any = None) -> None:
        """There is nothing to wait for."""


class StreamContext:
    """A block whose work goes to a stream: the only one."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __enter__(self) -> None: ...

    def __exit__(self, *exception: Any) -> None: ...


_stream = Stream()


def current_stream(device: Any = None) -> Stream:
    """The only stream."""
    return _stream


def stream(stream: Any) -> StreamContext:
    """A block whose work goes to a stream."""
    return StreamContext(stream)
