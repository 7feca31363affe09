"""What a worker process does: it makes the batches it is asked for until nobody asks any more."""

from __future__ import annotations

import ctypes
import io
import os
import pickle
import random
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tritorch.utils.data.fetch import Fetcher, FetcherOptions
from tritorch.utils.data.transport import BATCH, ENDED, FAILED, RESTART, TASK, Channel

#: A worker looks for its parent so often (seconds), in case it is busy when the parent is killed.
_WATCH_SECONDS = 0.5
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class WorkerInfo:
    """What a worker knows of itself: `id` from 0, `num_workers`, `seed`, and its own `dataset`."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """Id, number of workers, seed and dataset in a worker process; None in the main process."""
    return _info


class KeyErrorMessage(str):
    """Text that a KeyError shows as it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Failure:
    """An exception on its way to the parent, as its class and text."""

    kind: type[BaseException]
    text: str

    @classmethod
    def of(cls, error: BaseException, where: str) -> Failure:
        """The exception that is being handled."""
        trace = "".join(traceback.format_exception(error))
        text = f"Caught {type(error).__name__} {where}.\nOriginal {trace}"
        try:
            pickle.loads(pickle.dumps(type(error)))
        except Exception:  # a class that only this process has
            return cls(RuntimeError, text)
        return cls(type(error), text)

    def exception(self) -> BaseException:
        """The exception again, with the worker's traceback in its text."""
        text = KeyErrorMessage(self.text) if issubclass(self.kind, KeyError) else self.text
        try:
            return self.kind(text)
        except Exception:  # its constructor wants something else
            return RuntimeError(text)


def _follow_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _end_with_parent(parent: int | None, by_main_thread: bool) -> None:
    """End this process when the parent has: a busy worker would not notice its closed socket.

    The kernel sees to it even while C code holds the GIL, but it counts the end of the thread that
    started this process; so it is asked only where that is the main thread.
    """
    if by_main_thread:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    follow = threading.Thread(target=_follow_parent, args=(parent or os.getppid(),), daemon=True)
    follow.start()


def _seed_everything(seed: int, base_seed: int, number: int) -> None:
    import numpy as np

    import tritorch

    random.seed(seed)
    tritorch.manual_seed(seed)
    np.random.seed(np.random.SeedSequence([base_seed, number]).generate_state(4))


def run(
    number: int,
    count: int,
    end: socket.socket,
    options: FetcherOptions,
    base_seed: int,
    init: Callable[[int], None] | None,
    parent: tuple[int | None, bool],
) -> None:
    """The life of worker `number` of `count`.

    Args:
        number, count: which of how many.
        end: the worker's end of the socket.
        options: what to fetch from.
        base_seed: worker seeds are this plus the number.
        init: called with the number first.
        parent: the process that starts this one, if known, and whether its main thread does.
    """
    global _info
    # Ctrl-C reaches every process of the terminal: the parent answers it, workers just end.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _end_with_parent(*parent)

    import tritorch
    from tritorch.utils.data.blocks import BlockPool

    tritorch.set_num_threads(1)
    seed = base_seed + number
    _seed_everything(seed, base_seed, number)
    _info = WorkerInfo(number, count, seed, options.dataset)
    channel = Channel(end)
    worker = _Worker(number, channel, BlockPool(channel), options, init)
    try:
        worker.serve()
    except (BrokenPipeError, ConnectionResetError):  # the parent wants no more
        pass
    finally:
        channel.close()
        sys.stdout.flush()


class _Worker:
    def __init__(
        self,
        number: int,
        channel: Channel,
        pool: Any,
        options: FetcherOptions,
        init: Callable[[int], None] | None,
    ) -> None:
        self._where = f"in DataLoader worker process {number}"
        self._channel = channel
        self._pool = pool
        self._options = options
        self._fetcher: Fetcher | None = None
        self._failure: Failure | None = None  # of init: there is nothing else to say then
        if init is not None:
            try:
                init(number)
            except Exception as error:
                self._failure = Failure.of(error, self._where)

    def serve(self) -> None:
        """Answer every task with one message, until the socket ends."""
        while (message := self._channel.receive()) is not None:
            kind, epoch, index, content, _ = message
            if kind == RESTART:
                self._fetcher = None
            elif kind == TASK:
                released, indices = pickle.loads(content)
                self._pool.release(released)
                self._channel.send(*self._answer(epoch, index, indices))

    def _answer(self, epoch: int, index: int, indices: Any) -> tuple[int, int, int, bytes]:
        try:
            if self._failure is None:
                if self._fetcher is None:
                    self._fetcher = self._options.make()
                return self._batch(epoch, index, indices)
            failure = self._failure
        except Exception as error:
            failure = Failure.of(error, self._where)
        return FAILED, epoch, index, pickle.dumps(failure)

    def _batch(self, epoch: int, index: int, indices: Any) -> tuple[int, int, int, bytes]:
        assert self._fetcher is not None
        try:
            batch = self._fetcher.fetch(indices)
        except StopIteration:
            if self._options.streams:
                return ENDED, epoch, index, b""
            raise
        return BATCH, epoch, index, self._described(batch)

    def _described(self, batch: Any) -> bytes:
        from tritorch.utils.data.blocks import BatchPickler

        buffer = io.BytesIO()
        BatchPickler(buffer, self._pool).dump(batch)
        return buffer.getvalue()
