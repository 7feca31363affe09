"""The parent's side of worker processes: tasks go out, batches come back in order."""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy.random  # noqa: F401 - workers seed it; here it is imported once, not in each of them

from tritorch.utils.data import worker as worker_side
from tritorch.utils.data.fetch import FetcherOptions
from tritorch.utils.data.received import ReceivedBlocks
from tritorch.utils.data.transport import (
    BATCH,
    BLOCK,
    DISCARD,
    ENDED,
    FAILED,
    RESTART,
    TASK,
    Channel,
)

#: Workers whose death closes no socket (their own children hold it) are looked for so often (s).
_LOOK_SECONDS = 1.0
#: Workers get so long to end by themselves, and then so long after SIGTERM (s).
_GRACE_SECONDS, _TERMINATE_SECONDS = 1.0, 1.0
#: A worker that has closed its socket is waited for so long to learn how it ended (s): a process
#: closes its files before it is known to have ended, and the machine may be busy.
_END_SECONDS = 20.0

_open_channels: weakref.WeakSet[Channel] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for channel in list(_open_channels):  # a copy would keep workers from seeing the parent's end
        channel.socket.close()


os.register_at_fork(after_in_child=_after_fork_in_child)


class Worker:
    """A worker process as its parent knows it."""

    def __init__(
        self, number: int, count: int, context: Any, options: FetcherOptions, base_seed: int,
        init: Any,
    ) -> None:  # fmt: skip
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel = Channel(ours)
        _open_channels.add(self.channel)
        self.blocks = ReceivedBlocks()
        self.outstanding = 0
        self.ended = False
        here = threading.current_thread() is threading.main_thread()
        forks = context.get_start_method() != "forkserver"
        with theirs:
            self.process = context.Process(
                target=worker_side.run,
                args=(
                    number,
                    count,
                    theirs,
                    options,
                    base_seed,
                    init,
                    (os.getpid() if forks else None, here),
                ),
                daemon=True,
            )
            # Until the worker has said what Ctrl-C means to it, it is not to be interrupted.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                self.process.start()
            except BaseException:
                self.channel.close()
                raise
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def assign(self, epoch: int, index: int, indices: Any) -> None:
        """Ask for a batch, and give back the blocks that nobody here uses any more."""
        self.outstanding += 1
        content = pickle.dumps((self.blocks.take_released(), indices))
        self.channel.post(TASK, epoch, index, content)

    def death(self) -> RuntimeError:
        """What to say about a worker that has ended without being asked."""
        self.process.join(_END_SECONDS)
        code = self.process.exitcode
        who = f"DataLoader worker (pid {self.process.pid})"
        if code is not None and code < 0:
            name = signal.strsignal(-code) or f"signal {-code}"
            if -code == signal.SIGINT:
                time.sleep(0.1)  # Ctrl-C: the parent's own KeyboardInterrupt comes first
            hint = ""
            if -code in (signal.SIGKILL, signal.SIGBUS):
                hint = " Perhaps memory ran out: use fewer workers or smaller batches."
            return RuntimeError(
                f"{who} is killed by signal: {signal.Signals(-code).name} ({name}).{hint}"
            )
        return RuntimeError(f"{who} exited unexpectedly with exit code {code}.")


def _stop(workers: list[Worker], grace: float) -> None:
    """End the processes: by closing their sockets, then by force."""
    for worker in workers:
        _open_channels.discard(worker.channel)
        worker.channel.close()
    for seconds, force in ((grace, "terminate"), (_TERMINATE_SECONDS, "kill"), (None, "")):
        limit = None if seconds is None else time.monotonic() + seconds
        for worker in workers:
            worker.process.join(None if limit is None else max(0.0, limit - time.monotonic()))
        alive = [worker for worker in workers if worker.process.is_alive()]
        if not alive:
            break
        for worker in alive:
            getattr(worker.process, force)()
    for worker in workers:
        worker.process.close()
    workers.clear()


class WorkerIterator(Iterator[Any]):
    """Batches made by workers.

    `prefetch` batches for each worker are asked for ahead. Each task is answered exactly once: by a
    batch, a failure or the end of a worker's stream; so order and ends need no clock.
    """

    def __init__(self, loader: Any, base_seed: int) -> None:
        import multiprocessing

        self._loader = loader
        self._options: FetcherOptions = loader._options
        self._in_order = bool(loader.in_order)
        self._timeout = loader.timeout
        self._persistent = loader.persistent_workers
        context = loader.multiprocessing_context
        if context is None or isinstance(context, str):
            context = multiprocessing.get_context(context)
        count = loader.num_workers
        self._limit = loader.prefetch_factor * count
        self._workers: list[Worker] = []
        self._owner = os.getpid()
        self._epoch = 0
        try:
            for number in range(count):
                self._workers.append(
                    Worker(number, count, context, self._options, base_seed, loader.worker_init_fn)
                )
        except BaseException:
            self.close(0.0)
            raise
        self._begin()

    # ---- one pass over the data

    def _begin(self) -> None:
        self._indices: Iterator[Any] | None = self._loader._index_iterator()
        self._sent = self._given = 0
        self._ready: dict[int, tuple[int, Any]] = {}  # by index: kind and content
        self._turn = 0
        for worker in self._workers:
            worker.ended = False

    def restart(self) -> None:
        """Begin the next pass with the same workers; what is on its way is thrown away."""
        self._epoch += 1
        for worker in self._workers:
            worker.channel.post(RESTART, self._epoch)
        self._begin()

    @property
    def is_open(self) -> bool:
        """Whether there are workers."""
        return bool(self._workers)

    def __iter__(self) -> WorkerIterator:
        return self

    def __next__(self) -> Any:
        try:
            return self._loader._delivered(self._advance())
        except (KeyboardInterrupt, SystemExit):
            self.close(0.0)
            raise

    def _advance(self) -> Any:
        if not self._workers:
            raise StopIteration
        while True:
            self._assign()
            found = self._pop()
            if found is None:
                if self._given == self._sent:
                    if not self._persistent:
                        self.close(_GRACE_SECONDS)
                    raise StopIteration
                self._receive()
                continue
            kind, content = found
            if kind == BATCH:
                self._assign()
                return content
            if kind == FAILED:
                self._assign()
                raise content.exception()

    def _pop(self) -> tuple[int, Any] | None:
        """The next answer, if it is here."""
        index = self._given
        if not self._in_order and self._ready:
            index = next(iter(self._ready))
        if index not in self._ready:
            return None
        self._given += 1
        return self._ready.pop(index)

    def _assign(self) -> None:
        """Ask for batches as far ahead as is wanted."""
        while self._indices is not None and self._sent - self._given < self._limit:
            worker = self._next_worker()
            if worker is None:
                return
            try:
                indices = next(self._indices)
            except StopIteration:
                self._indices = None
                return
            worker.assign(self._epoch, self._sent, indices)
            self._sent += 1

    def _next_worker(self) -> Worker | None:
        """Whose turn it is; the least busy where order does not count."""
        active = [worker for worker in self._workers if not worker.ended]
        if not active:
            return None
        if not self._in_order:
            return min(active, key=lambda worker: worker.outstanding)
        while True:
            worker = self._workers[self._turn % len(self._workers)]
            self._turn += 1
            if not worker.ended:
                return worker

    # ---- messages

    def _receive(self) -> None:
        """Wait for messages and take in those that are there."""
        limit = time.monotonic() + self._timeout if self._timeout else None
        poll = select.poll()
        by_handle = {worker.channel.socket.fileno(): worker for worker in self._workers}
        while True:
            for handle, worker in by_handle.items():
                wanted = select.POLLIN if worker.channel.flush() else select.POLLIN | select.POLLOUT
                poll.register(handle, wanted)
            seconds = _LOOK_SECONDS
            if limit is not None:
                seconds = max(0.0, min(seconds, limit - time.monotonic()))
            events = poll.poll(seconds * 1000)
            answered = False
            for handle, event in events:
                if event & ~select.POLLOUT:
                    answered |= self._take(by_handle[handle])
            if answered:
                return
            if not events:
                self._look(limit)

    def _look(self, limit: float | None) -> None:
        for worker in self._workers:
            if not worker.process.is_alive():
                self._fail(worker.death())
        if limit is not None and time.monotonic() >= limit:
            self._fail(RuntimeError(f"DataLoader timed out after {self._timeout} seconds"))

    def _fail(self, error: RuntimeError) -> None:
        self.close(0.0)
        raise error

    def _take(self, worker: Worker) -> bool:
        """Take in a message; whether it answers a task of this pass."""
        message = worker.channel.receive()
        if message is None:
            self._fail(worker.death())
            return False
        kind, first, second, content, handle = message
        if kind == BLOCK:
            if handle is None:
                self._fail(
                    RuntimeError(
                        "DataLoader: this process has too many open files to receive a batch. "
                        "Close some, or raise the limit (ulimit -n)."
                    )
                )
            else:
                worker.blocks.add(first, handle, second)
            return False
        if kind == DISCARD:
            worker.blocks.discard(first)
            return False
        worker.outstanding -= 1
        batch: Any = None
        if kind == BATCH:
            batch = worker.blocks.read(content)  # also of an old pass: it gives its blocks back
        elif kind == FAILED:
            batch = pickle.loads(content)
        if first != self._epoch:
            return False
        if kind == ENDED:
            worker.ended = True
        self._ready[second] = (kind, batch)
        return True

    # ---- the end

    def close(self, grace: float = _GRACE_SECONDS) -> None:
        """End the workers; tensors that came from them stay."""
        if self._workers and os.getpid() == self._owner:
            _stop(self._workers, grace)

    def __del__(self) -> None:
        with suppress(AttributeError, TypeError, ImportError):  # the interpreter is going away
            self.close()
