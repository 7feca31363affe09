"""The threads of the CPU pool: started at the first parallel launch, stopped around forks and exit.

A worker is a daemon thread that makes one ctypes call and stays in machine code (`pool_ir`) for its
whole life, without the GIL. Everything that happens for a launch happens there; this module only
starts and stops workers, and tells the machine code how many there are.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
import threading
import time
from pathlib import Path

from tritorch.config import config, watch
from tritorch.once import once
from tritorch.runtime.cpu.native import symbols
from tritorch.runtime.cpu.pool_ir import PoolState

#: An idle worker spins this long before it sleeps: it bridges the gap between two launches of a
#: training step, and waking it from sleep costs 5-20 us.
WORKER_SPIN_US = 50
#: The launching thread spins this long for chunks that others still run.
MASTER_SPIN_US = 100
#: A fork or an exit waits this long for a job of another thread.
STOP_WAIT_SECONDS = 2.0


class ThreadPool:
    """The process's pool; `pool()` gives the one there is."""

    def __init__(self) -> None:
        names = symbols()
        self.state = PoolState.from_address(names["tritorch_pool"])
        procedure = ctypes.PYFUNCTYPE(None)  # making a type takes longer than all the rest
        self._try_lock = ctypes.PYFUNCTYPE(ctypes.c_int)(names["tritorch_pool_try_lock"])
        self._unlock = procedure(names["tritorch_pool_unlock"])
        self._halt = procedure(names["tritorch_pool_halt"])
        self._pause = ctypes.CFUNCTYPE(None, ctypes.c_uint64)(names["tritorch_pool_pause"])
        self._worker = ctypes.CFUNCTYPE(None, ctypes.c_uint32)(names["tritorch_pool_worker"])
        self._forget_scratch = procedure(names["tritorch_scratch_after_fork"])
        self._assertion = ctypes.c_void_p.from_address(names["tritorch_assert_message"])
        self._workers: list[threading.Thread] = []
        self._lock = threading.RLock()
        self._starting = False
        self._closed = False
        self._may_borrow = True
        # Machine code calls this when a launch finds the pool not started; it lives with the pool.
        self._start_callable = self.start
        ctypes.c_void_p.from_address(names["tritorch_start_pool"]).value = id(self._start_callable)

        watch("num_threads", self._threads_changed)
        atexit.register(self.close)
        os.register_at_fork(
            before=self._before_fork,
            after_in_parent=self._after_fork_in_parent,
            after_in_child=self._after_fork_in_child,
        )

    def start(self) -> None:
        """Start the workers unless they run; where threads cannot be had, jobs run on fewer."""
        with self._lock:
            if self.state.started or self._starting:
                return
            self._starting = True
            try:
                wanted = 1 if self._closed else config.num_threads
                self.state.openmp = _openmp() if wanted > 1 and self._may_borrow else None
                if not self.state.openmp:
                    self._start_workers(wanted - 1)
                self.state.threads = wanted if self.state.openmp else 1 + len(self._workers)
                self.state.started = 1
            finally:
                self._starting = False

    def _start_workers(self, count: int) -> None:
        if count < 1:
            return
        per_microsecond = _pauses_per_microsecond(self._pause)
        self.state.worker_pauses = int(WORKER_SPIN_US * per_microsecond)
        self.state.master_pauses = int(MASTER_SPIN_US * per_microsecond)
        first = self.state.generation
        for number in range(1, count + 1):
            worker = threading.Thread(
                target=self._worker, args=(first,), name=f"tritorch-worker-{number}", daemon=True
            )
            try:
                worker.start()
            except RuntimeError:  # the process may have no more threads, or is exiting
                return
            self._workers.append(worker)

    def stop(self) -> None:
        """Stop the workers; the next parallel launch starts them again. Launches meanwhile run
        alone, each on its own thread."""
        with self._lock:
            if not self.state.started:
                return
            if not self._lock_jobs():
                return
            try:
                self.state.threads = 0
                if self._workers:
                    self._halt()
                    for worker in self._workers:
                        worker.join()
                self._workers.clear()
                self.state.stop = 0
                self.state.started = 0
                self.state.alone_ns = 0
            finally:
                self._unlock()

    def _lock_jobs(self) -> bool:
        """Take the lock of the running job, waiting for its end; false when that takes too long."""
        limit = time.monotonic() + STOP_WAIT_SECONDS
        while not self._try_lock():
            if time.monotonic() > limit:
                return False
            time.sleep(0.0001)
        return True

    def close(self) -> None:
        """Stop for good (at exit): launches from now on run on the thread that makes them."""
        with self._lock:
            self._closed = True
            self.stop()

    def _threads_changed(self) -> None:
        if self.state.started and self.state.threads != config.num_threads:
            self.stop()

    # A fork copies only the calling thread: the child must not inherit workers, a held lock or a
    # job half done. Without workers Python (3.12 and later) has nothing to warn about either.

    def _before_fork(self) -> None:
        self._lock.acquire()
        self.stop()

    def _after_fork_in_parent(self) -> None:
        self._lock.release()

    def _after_fork_in_child(self) -> None:
        self._lock = threading.RLock()
        self._workers.clear()
        self._starting = False
        self._may_borrow = False  # the OpenMP runtime's threads are gone, and it does not notice
        state = self.state
        state.started = state.threads = state.stop = state.busy = state.sleepers = 0
        state.master_sleeps = state.alone_ns = 0
        self._assertion.value = None
        self._forget_scratch()


def _pauses_per_microsecond(pause: object) -> float:
    """How long one pause of the spin loops is: 5 ns on some CPUs, 60 on others."""
    assert callable(pause)
    count = 200
    best = float("inf")
    for _ in range(3):
        before = time.perf_counter_ns()
        pause(count)
        best = min(best, time.perf_counter_ns() - before)
    return max(count * 1000 / max(best, 1.0), 1.0)


def _openmp() -> int | None:
    """Address of `GOMP_parallel` where PyTorch's OpenMP runtime is loaded in this process."""
    if "torch" not in sys.modules:  # it is what loads the runtime
        return None
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return None
    for line in maps.splitlines():
        path = line.partition("/")[2]
        name = path.rpartition("/")[2]
        if "torch" in path and name.startswith(("libgomp", "libiomp5", "libomp")):
            try:
                function = ctypes.CDLL(f"/{path}").GOMP_parallel
            except (OSError, AttributeError):
                continue
            return ctypes.cast(function, ctypes.c_void_p).value
    return None


@once
def pool() -> ThreadPool:
    """The process's pool (its threads start with the first parallel launch)."""
    return ThreadPool()


def set_num_threads(count: int) -> None:
    """Run CPU kernels on `count` threads from now on, the launching one included.

    Raises:
        ValueError: `count` is not a positive int.
    """
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ValueError(
            f"set_num_threads: expected a positive int, got {count!r}. Use 1 to run serially."
        )
    config.num_threads = count


def get_num_threads() -> int:
    """How many threads run one CPU kernel, the launching one included."""
    return int(config.num_threads)
