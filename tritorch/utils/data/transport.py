"""How batches travel from a worker to the parent: large arrays lie in memory that both map.

A block is an anonymous file (memfd). Its descriptor is sent once over the socket, and closed as
soon as both sides have mapped it; it never has a name, so nothing can be left behind, however the
processes end. The worker makes its batches in such blocks, the parent's tensors borrow them, and
when a tensor is collected its block is used again: in the long run no page is touched anew.
"""

from __future__ import annotations

import os
import resource
import socket
import struct
from array import array
from collections import deque

from tritorch.errors import OutOfMemoryError
from tritorch.runtime.cpu.system_memory import map_shared, unmap_pages

#: A longer message is put into a file of its own (bytes); a socket takes about 200 KiB.
_LONGEST_MESSAGE = 48 << 10
_KIND = struct.Struct("<BQQ")

# kinds of messages
TASK, RESTART, BLOCK, DISCARD, BATCH, ENDED, FAILED = range(7)


class Block:
    """Memory that two processes map."""

    __slots__ = ("__weakref__", "address", "nbytes", "number")

    def __init__(self, number: int, handle: int, nbytes: int) -> None:
        address = map_shared(handle, nbytes)
        if address is None:
            raise OutOfMemoryError(
                f"DataLoader: {nbytes} bytes of shared memory cannot be mapped. Use smaller "
                "batches, fewer workers or a smaller prefetch_factor."
            )
        self.address = address
        self.nbytes = nbytes
        self.number = number

    def __del__(self) -> None:
        try:
            address = self.address
        except AttributeError:  # it was not mapped
            return
        unmap_pages(address, self.nbytes)


def anonymous_file(nbytes: int) -> int:
    """The descriptor of a file without a name, whose memory is there.

    Raises:
        OutOfMemoryError: the system has not so much.
    """
    handle = os.memfd_create("tritorch", os.MFD_CLOEXEC)
    try:
        os.posix_fallocate(handle, 0, nbytes)
    except OSError as error:
        os.close(handle)
        raise OutOfMemoryError(
            f"DataLoader: no shared memory for {nbytes} bytes ({error.strerror}). Use smaller "
            "batches, fewer workers or a smaller prefetch_factor."
        ) from error
    return handle


class Channel:
    """One end of a socket that carries messages: a kind, two numbers and bytes."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self._waiting: deque[tuple[bytes, list[int]]] = deque()

    def send(self, kind: int, first: int = 0, second: int = 0, content: bytes = b"") -> None:
        """Send a message, waiting until there is room."""
        message, handles = _packed(kind, first, second, content)
        try:
            _send(self.socket, message, handles)
        finally:
            for handle in handles:
                os.close(handle)

    def send_block(self, number: int, handle: int, nbytes: int) -> None:
        """Tell the other side of a block; its descriptor stays with the caller."""
        _send(self.socket, _KIND.pack(BLOCK, number, nbytes), [handle])

    def post(self, kind: int, first: int = 0, second: int = 0, content: bytes = b"") -> None:
        """Send a message now if there is room, else with a later `flush`."""
        self._waiting.append(_packed(kind, first, second, content))
        self.flush()

    def flush(self) -> bool:
        """Send what waits, as far as there is room; whether all was sent."""
        while self._waiting:
            message, handles = self._waiting[0]
            try:
                _send(self.socket, message, handles, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            except (BrokenPipeError, ConnectionResetError):  # it is gone: receiving tells
                pass
            self._waiting.popleft()
            for handle in handles:
                os.close(handle)
        return True

    def receive(self) -> tuple[int, int, int, bytes, int | None] | None:
        """Kind, two numbers, content and a descriptor; None where the other side is gone.

        Raises:
            RuntimeError: a descriptor came that this process may not open: it has too many.
        """
        try:
            message, handles, flags, _ = socket.recv_fds(
                self.socket, _LONGEST_MESSAGE + _KIND.size, 1, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            return None
        if not message:
            return None
        kind, first, second = _KIND.unpack_from(message)
        content = message[_KIND.size :]
        if flags & socket.MSG_CTRUNC:
            for handle in handles:
                os.close(handle)
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            raise RuntimeError(
                f"DataLoader: a batch did not arrive, since this process has as many files open as "
                f"it may ({limit}). Close some, or raise the limit (ulimit -n)."
            )
        if kind == BLOCK or not handles:
            return kind, first, second, content, handles[0] if handles else None
        with open(handles[0], "rb") as file:
            return kind, first, second, file.read(), None

    def close(self) -> None:
        """Nothing is sent any more; the other side reads the end."""
        self.socket.close()
        for _, handles in self._waiting:
            for handle in handles:
                os.close(handle)
        self._waiting.clear()


def _send(end: socket.socket, message: bytes, handles: list[int], flags: int = 0) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", handles))] if handles else []
    end.sendmsg([message], rights, flags)


def _packed(kind: int, first: int, second: int, content: bytes) -> tuple[bytes, list[int]]:
    head = _KIND.pack(kind, first, second)
    if len(content) <= _LONGEST_MESSAGE:
        return head + content, []
    handle = os.memfd_create("tritorch", os.MFD_CLOEXEC)
    with open(handle, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(handle, 0, os.SEEK_SET)
    return head, [handle]
