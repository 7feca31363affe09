"""A process that measures candidates, and the handle on it: what hangs or crashes there is lost
there, and costs its deadline only.

Requests and answers are lines of JSON on the process's standard input and output. It ends when its
input does, or when this process dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import IO, Any

from tritorch.config import config
from tritorch.errors import TuneError

_SERVE = "from tritorch.tune.worker import serve; serve()"


class Late(Exception):
    """No answer within the deadline; the process was ended."""


class Died(Exception):
    """The process ended without an answer."""


class Worker:
    """A process that measures one kernel's candidates.

    Args:
        kernel, sizes, dtype, device: as in `Measure`.
    """

    def __init__(
        self, kernel: str, sizes: Mapping[str, Any], dtype: str | None, device: str = "cpu"
    ) -> None:
        self._problem = {
            "do": "open", "kernel": kernel, "sizes": dict(sizes), "dtype": dtype, "device": device,
        }  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self._said: Any = None  # a file of what the process printed
        self._rest = b""
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  what the process says; no name

    def start(self, deadline: float) -> dict[str, Any]:
        """Begin (anew, where it was ended) and build the workload; what `describe()` says."""
        self.end()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as the process)
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=os.environ | config.environment() | {"PYTHONPATH": path, "TRITORCH_TUNE": "off"},
            process_group=0,  # Ctrl-C is for the session
        )
        self._rest = b""
        found = self._request(self._problem, deadline)
        assert isinstance(found, dict)
        return found

    def check(
        self, candidate: Mapping[str, Any], deadline: float, *, thorough: bool = False
    ) -> Any:
        """Verify a candidate; {"status": ..., "message": ...}."""
        request = {"do": "check", "candidate": dict(candidate), "thorough": thorough}
        return self._request(request, deadline)

    def time(self, candidate: Mapping[str, Any], deadline: float) -> float:
        """One sample: seconds of a call."""
        found = self._request({"do": "time", "candidate": dict(candidate)}, deadline)
        return float(found)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def process(self) -> int | None:
        """Its number, while it lives."""
        return self._process.pid if self._process is not None and self.alive else None

    def _request(self, request: Mapping[str, Any], deadline: float) -> Any:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            answer = json.loads(self._line(process.stdout, deadline))
        except (BrokenPipeError, EOFError) as error:
            code = process.wait()
            if code < 0:
                raise Died(f"its process ended with signal {-code}") from error
            raise Died(f"its process ended: {self._last_line()}") from error
        if "error" in answer:
            raise TuneError(answer["error"])
        return answer["result"]

    def _line(self, pipe: IO[bytes], deadline: float) -> bytes:
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                left = deadline - time.monotonic()
                if left <= 0 or not selector.select(left):
                    self.end()
                    raise Late
                data = os.read(pipe.fileno(), 1 << 16)
                if not data:
                    raise EOFError
                self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _last_line(self) -> str:
        """Of what the process printed."""
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "without a word")

    def end(self) -> None:
        """End the process at once."""
        if self._said is not None:
            self._said.close()
        process = self._process
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not flushed goes nowhere
                    pipe.close()


# ---- inside the process


def serve() -> None:
    """Answer requests until the input ends."""
    _die_with_parent()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what kernels or a user's module print must not mix with the answers
    from tritorch.errors import TritorchError

    measure: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "open":
                from tritorch.tune.measure import Measure

                measure = Measure(
                    request["kernel"], request["sizes"], request["dtype"], request["device"]
                )
                answer: dict[str, Any] = {"result": measure.describe()}
                _be_quiet()
            elif request["do"] == "check":
                answer = {"result": _check(measure, request["candidate"], request["thorough"])}
            else:
                answer = {"result": measure.time(request["candidate"])}
        except TritorchError as error:
            answer = {"error": str(error)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def _be_quiet() -> None:
    """What candidates print goes nowhere, however much it is."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _check(measure: Any, candidate: dict[str, Any], thorough: bool) -> dict[str, Any]:
    from tritorch.tune.measure import Wrong

    try:
        if thorough:
            measure.scrutinise(candidate)
        else:
            measure.check(candidate)
    except Wrong as error:
        return {"status": "wrong", "message": str(error)}
    except Exception as error:
        lines = str(error).splitlines() or [""]
        said = lines[0] if len(lines) == 1 else f"{lines[0]} ... {lines[-1]}"
        return {"status": "failed", "message": f"{type(error).__name__}: {said}"}
    return {"status": "ok", "message": ""}


def _die_with_parent() -> None:
    """Ask Linux to end this process when its parent does, even while a kernel hangs."""
    if sys.platform == "linux":
        import ctypes
        import signal

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
