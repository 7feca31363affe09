"""Pieces of work that processes share in turn, and what became of each, in files of a folder.

Whoever is first to make a piece's file has it; the pieces come in one order for all, so what counts
most is done first, however many processes there are and whichever of them die. A process writes
when it begins a piece and when it is done with it: who dies or hangs in between has told at what.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: exit codes of a process that did what was left to do: pytest's, too (1: tests failed; 5: none)
DONE = (0, 1, 5)
#: what a process ends with that cannot use its GPU any more, and said so of its last piece
LOST = 33
#: of the error after which a process cannot use its GPU any more
LOST_WORDS = "cannot be used by this process any more"
#: seconds between a word of warning and the end
_PATIENCE = 5.0


class Turns:
    """One process's view of the folder; `worker` is its number among them."""

    def __init__(self, folder: Path, worker: int = 0) -> None:
        self.folder = folder
        self.worker = worker
        (folder / "taken").mkdir(parents=True, exist_ok=True)

    @classmethod
    def parsed(cls, text: str) -> Turns:
        """From `FOLDER:WORKER`."""
        folder, _, worker = text.rpartition(":")
        return cls(Path(folder), int(worker))

    def __str__(self) -> str:
        return f"{self.folder}:{self.worker}"

    def _claim(self, name: str) -> bool:
        place = self.folder / "taken" / hashlib.sha256(name.encode()).hexdigest()[:32]
        try:
            os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
        return True

    def take(self, name: str) -> bool:
        """Whether this process is the first to ask for the piece; it is at it from now on."""
        if (self.folder / "closed").exists() or not self._claim(name):
            return False
        self._write({"begun": name})
        return True

    def close(self) -> None:
        """Nobody takes any more."""
        (self.folder / "closed").touch()

    def leave_out(self, names: Iterable[str]) -> None:
        """Nobody takes these."""
        for name in names:
            self._claim(name)

    def finish(self, name: str, outcome: str, words: str = "") -> None:
        """What became of a piece; more than one word about it is kept only where it failed."""
        self._write({"name": name, "outcome": outcome, **({"words": words} if words else {})})

    def _write(self, line: dict[str, Any]) -> None:
        with self.log.open("a") as file:
            file.write(json.dumps(line) + "\n")

    @property
    def log(self) -> Path:
        """This process's own file."""
        return self.folder / f"worker-{self.worker}"

    def lines(self) -> list[dict[str, Any]]:
        """Of this worker; a line that is being written does not count."""
        try:
            text = self.log.read_text()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines(True) if line.endswith("\n")]

    def current(self) -> str | None:
        """What this worker began and did not finish."""
        lines = self.lines()
        return lines[-1]["begun"] if lines and "begun" in lines[-1] else None

    def name_all(self, names: Sequence[str]) -> None:
        """Say which pieces there are; the first who says it is heard."""
        if self._claim("\0all"):
            part = self.folder / "all.part"
            part.write_text(json.dumps(list(names)))
            part.replace(self.folder / "all")

    def all(self) -> list[str]:
        """The pieces in their order; none before anybody named them."""
        path = self.folder / "all"
        return list(json.loads(path.read_text())) if path.exists() else []

    def results(self) -> dict[str, dict[str, Any]]:
        """What is finished, by name."""
        found = {}
        for path in sorted(self.folder.glob("worker-*")):
            for line in Turns(self.folder, int(path.name.partition("-")[2])).lines():
                if "name" in line:
                    found[line["name"]] = line
        return found


@dataclass
class _Worker:
    turns: Turns
    command: Sequence[str]
    process: subprocess.Popen[bytes]
    seen: int
    since: float


def share(
    commands: Sequence[Sequence[str]],
    folder: Path,
    seconds: float,
    patience: float,
    *,
    grace: float = 0.0,
    settings: dict[str, str] | None = None,
    cwd: Path | None = None,
    stop: threading.Event | None = None,
) -> list[str]:
    """Let processes take turns until nothing is left or the time is over.

    A process that dies costs the piece that it was at, and is started again; one that writes
    nothing for `patience` seconds counts as dead. Each writes to `output-N` in the folder.

    Args:
        grace: of the seconds, how many before the end the last pieces are taken: who has none
            left ends by itself, and says what it says at its end.
        commands: one for each process; number N is told `--turns FOLDER:N`.
        settings: environment variables for them.
        stop: the time is over when it is set.
    Returns:
        what kept processes from working at all.
    """
    env = {**os.environ, **(settings or {})}
    end = time.monotonic() + seconds
    troubles: list[str] = []

    def started(number: int, command: Sequence[str]) -> _Worker:
        turns = Turns(folder, number)
        with (folder / f"output-{number}").open("ab") as output:
            process = subprocess.Popen(
                [*command, "--turns", str(turns)], stdout=output, stderr=subprocess.STDOUT,
                cwd=cwd, env=env, process_group=0,
            )  # fmt: skip
        return _Worker(turns, command, process, _size(turns.log), time.monotonic())

    folder.mkdir(parents=True, exist_ok=True)
    active = [started(number, command) for number, command in enumerate(commands)]
    try:
        while active and time.monotonic() < end and not (stop and stop.is_set()):
            time.sleep(0.1)
            if time.monotonic() > end - grace:
                Turns(folder).close()
            for worker in list(active):
                word = _ended(worker, patience)
                if word is None:
                    continue
                active.remove(worker)
                if not word:
                    if not worker.turns.all():
                        troubles.append(f"found nothing to do: {_tail(worker.turns)}")
                    continue
                at = worker.turns.current()
                if at is not None:
                    worker.turns.finish(at, "failed", f"{word}: {_tail(worker.turns)}")
                elif worker.process.returncode != LOST:
                    troubles.append(f"{word} at no piece: {_tail(worker.turns)}")
                    continue
                active.append(started(worker.turns.worker, worker.command))
    finally:
        _end([worker.process for worker in active])
    return troubles


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _ended(worker: _Worker, patience: float) -> str | None:
    """None: it works. Else how it ended, in words; none where it did all that was left."""
    code = worker.process.poll()
    if code is not None:
        return "" if code in DONE else f"ended its process ({code})"
    now, size = time.monotonic(), _size(worker.turns.log)
    if size != worker.seen:
        worker.seen, worker.since = size, now
    if now - worker.since <= patience:
        return None
    _signal(worker.process, signal.SIGKILL)
    worker.process.wait()
    return "hangs"


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """All of them, and what they started."""
    for process in processes:
        _signal(process, signal.SIGTERM)
    late = time.monotonic() + _PATIENCE
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(late - time.monotonic(), 0.1))
        _signal(process, signal.SIGKILL)
        process.wait()


def _tail(turns: Turns, characters: int = 500) -> str:
    path = turns.folder / f"output-{turns.worker}"
    text = path.read_text(errors="replace") if path.exists() else ""
    return text[-characters:].strip()
