"""Compiling several kernels at once, in processes that fill the cache.

Triton's frontend holds Python's lock and LLVM's binding one of its own, so threads gain nothing.
The processes live as long as one call of `compile_many`; this one works too. They are told to end
by the end of their input, so they end with us whatever happens, and are out of Ctrl-C's reach.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import IO, Any

from tritorch.config import config
from tritorch.errors import CompileError
from tritorch.kernel_source import KernelSource
from tritorch.triton_cpu import cache
from tritorch.triton_cpu.compile import compile_kernel
from tritorch.triton_cpu.target import host

#: A process takes as long to start as so many kernels to compile (0.5 s and 0.07 s).
_WORTH_A_PROCESS = 8
#: While Triton seems to be half imported, as when it looks for its backends, importing the package
#: does not load its names.
_SERVE = """
import sys
sys.modules["triton"] = None
import tritorch
del sys.modules["triton"]
from tritorch.triton_cpu.workers import serve
serve()
"""


@dataclass(frozen=True)
class Request:
    """What `compile_kernel` takes, of a kernel that is text."""

    source: KernelSource
    signature: Mapping[str, str]
    constants: Mapping[str, Any]
    options: Mapping[str, Any]

    def compile(self) -> None:
        """Compile the kernel here; the cache keeps the result."""
        compile_kernel(self.source, self.signature, self.constants, self.options)

    def key(self) -> str:
        """Of its entry in the cache."""
        return cache.entry_key(
            self.source.digest, self.signature, self.constants, self.options, host().fingerprint
        )


def compile_many(requests: Iterable[Request], processes: int | None = None) -> int:
    """Compile what the cache lacks; gives the number of kernels that were compiled.

    Args:
        processes: how many work, this one included; by default one for each thread of the pool, but
            no more than pay for their start.

    Raises:
        CompileError: a kernel is wrong (the others are compiled all the same), or there is no cache
            to keep them.
    """
    store = cache.object_cache()
    if store is None:
        raise CompileError("compile_many: the cache is off. Set TRITORCH_CACHE=on.")
    missing = {request.key(): request for request in requests}
    queue = deque(r for key, r in missing.items() if store.load(key) is None)
    count = len(queue)
    if processes is None:
        processes = min(config.num_threads, 1 + count // _WORTH_A_PROCESS)
    work = _Work(queue)
    helpers = [_Helper(work) for _ in range(min(processes, count) - 1)]
    try:
        work.run()
        for helper in helpers:
            helper.thread.join()
        work.run()  # what helpers that died gave back
    finally:
        for helper in helpers:
            helper.end()
    if work.errors:
        raise work.errors[0]
    return count


class _Work:
    """What is left to do, and what went wrong."""

    def __init__(self, queue: deque[Request]) -> None:
        self._queue = queue
        self.errors: list[BaseException] = []

    def take(self) -> Request | None:
        try:
            return self._queue.popleft()
        except IndexError:
            return None

    def give_back(self, request: Request) -> None:
        self._queue.append(request)

    def run(self) -> None:
        while (request := self.take()) is not None:
            try:
                request.compile()
            except CompileError as error:
                self.errors.append(error)


class _Helper:
    """A process that compiles, and the thread that hands it requests."""

    def __init__(self, work: _Work) -> None:
        self._work = work
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | config.environment() | {"PYTHONPATH": path},
            process_group=0,  # Ctrl-C is for us
        )
        self.thread = threading.Thread(target=self._feed, name="tritorch-compile", daemon=True)
        self.thread.start()

    def _feed(self) -> None:
        """Where the process dies, its kernel is left to this one."""
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        while (request := self._work.take()) is not None:
            try:
                pickle.dump(request, process.stdin)
                process.stdin.flush()
                error = pickle.load(process.stdout)
            except (OSError, EOFError, pickle.PickleError, AttributeError, TypeError):
                self._work.give_back(request)
                return
            if error is not None:
                self._work.errors.append(CompileError(error))

    def end(self) -> None:
        process = self._process
        process.kill()
        process.wait()
        self.thread.join()
        for stream in (process.stdin, process.stdout):
            try:
                if stream is not None:
                    stream.close()
            except OSError:  # it had no reader for what was left to write
                pass


def serve() -> None:
    """The life of a helper: compile what arrives, answer None or what went wrong."""
    incoming: IO[bytes] = sys.stdin.buffer
    outgoing = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a compiler prints is no answer
    while True:
        try:
            request = pickle.load(incoming)
        except EOFError:
            return
        error = None
        try:
            request.compile()
        except Exception as caught:
            error = str(caught)
        try:
            pickle.dump(error, outgoing)
            outgoing.flush()
        except BrokenPipeError:
            os._exit(1)  # nobody is left to answer, nor to read what Python would say of that
