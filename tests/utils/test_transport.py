"""The blocks that workers and parent share, both ends in one process."""

from __future__ import annotations

import gc
import io
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tritorch as torch
from tritorch.errors import OutOfMemoryError
from tritorch.utils.data import blocks, transport
from tritorch.utils.data.blocks import SMALL, BatchPickler, BlockPool
from tritorch.utils.data.received import ReceivedBlocks
from tritorch.utils.data.transport import BATCH, BLOCK, DISCARD, Channel


class Ends:
    """A worker's and a parent's end."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.parent, self.worker = Channel(ours), Channel(theirs)
        self.pool, self.received = BlockPool(self.worker), ReceivedBlocks()

    def pass_on(self, batch: Any) -> Any:
        """A batch from the worker to the parent, which has given back what it does not use."""
        self.pool.release(self.received.take_released())
        buffer = io.BytesIO()
        BatchPickler(buffer, self.pool).dump(batch)
        self.worker.send(BATCH, content=buffer.getvalue())
        while True:
            message = self.parent.receive()
            assert message is not None
            kind, first, second, content, handle = message
            if kind == BLOCK:
                assert handle is not None
                self.received.add(first, handle, second)
            elif kind == DISCARD:
                self.received.discard(first)
            else:
                return self.received.read(content)


@contextmanager
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    """This process's allocator stays as it is."""
    with monkeypatch.context() as patch:
        patch.setattr(BlockPool, "share_later", lambda *_: None)
        made = Ends()
        try:
            yield made
        finally:
            made.parent.close()
            made.worker.close()


def unchanged(kept: list[tuple[int, Any]]) -> bool:
    """Whether every array still has its number everywhere."""
    return all((np.asarray(content) == value).all() for value, content in kept)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 5 * SMALL), st.booleans(), st.integers(0, 3)),
        min_size=1, max_size=40,
    )
)  # fmt: skip
def test_what_the_parent_keeps_is_never_overwritten(steps: list[tuple[int, bool, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch, ends(patch) as both:
        kept: list[tuple[int, Any]] = []
        for number, (nbytes, as_array, drop) in enumerate(steps):
            sent: Any = np.full(nbytes, number % 251, np.uint8)
            if not as_array:
                sent = torch.from_numpy(sent)
            kept.append((number % 251, both.pass_on(sent)))
            del kept[:drop]
            assert unchanged(kept)
        kept.clear()
        gc.collect()
        both.pool.release(both.received.take_released())
        assert not any(both.pool._lent.values())


def test_many_sizes_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with ends(monkeypatch) as both:
        for step in range(100):
            both.pass_on(np.zeros(SMALL * (step + 1), np.uint8))
        assert len(both.received._blocks) <= blocks._MAX_FREE_BLOCKS + 1


def test_long_messages_and_full_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    with ends(monkeypatch) as both:
        assert both.pass_on(["x" * 1_000_000]) == ["x" * 1_000_000]
        for number in range(300):
            both.parent.post(transport.TASK, number, content=b"y" * 10_000)
        assert not both.parent.flush()
        for number in range(300):
            message = both.worker.receive()
            assert message is not None and message[:2] == (transport.TASK, number)
            assert message[3] == b"y" * 10_000
            both.parent.flush()
        both.parent.post(transport.TASK, content=b"z" * 1_000_000)
        message = both.worker.receive()
        assert message is not None and message[3] == b"z" * 1_000_000
        both.worker.close()
        assert both.parent.receive() is None
        both.parent.post(transport.TASK)  # nobody listens: no error
        assert both.parent.flush()


def test_no_memory_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with ends(monkeypatch) as both:
        handles = len(os.listdir("/proc/self/fd"))
        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(OutOfMemoryError, match=r"no shared memory for \d+ bytes"):
            both.pass_on(np.zeros(2 * SMALL, np.uint8))
        assert len(os.listdir("/proc/self/fd")) == handles


def test_a_descriptor_that_cannot_be_opened_is_an_error() -> None:
    """The kernel leaves it out of the message where the limit of open files is reached."""
    ends = Ends()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    ends.worker.send(BATCH, content=b"x" * (1 << 20))
    highest = max(map(int, os.listdir("/proc/self/fd")))
    opened = [os.open("/dev/null", os.O_RDONLY)]
    try:
        while opened[-1] < highest:  # one for each number that is free
            opened.append(os.open("/dev/null", os.O_RDONLY))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
        with pytest.raises(RuntimeError, match=f"as many files open as it may .{highest + 1}."):
            ends.parent.receive()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for handle in opened:
            os.close(handle)
    ends.worker.send(BATCH, content=b"y" * (1 << 20))
    assert ends.parent.receive() == (BATCH, 0, 0, b"y" * (1 << 20), None)
    ends.worker.close()
    ends.parent.close()
