"""Rows of `bench.gpu` in a process of their own, which may hang or lose the GPU: another goes on.

A kernel that reads where it must not costs its process the device, and one that waits for ever
costs it everything; neither may cost the other rows. The process adds a line of JSON to a file
after each row; whoever watches it knows from the lines which row was next.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

#: what a process ends with where the device is lost, but its last row is written
LOST = 3
#: seconds without a new row (kernels are compiled in them, too)
PATIENCE = 75.0
#: seconds that the last row may take when the time is over
_LAST = 20.0


def written(path: Path) -> list[dict[str, Any]]:
    """The rows so far; a line that is being written does not count."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(True) if line.endswith("\n")]


def write(path: Path, row: dict[str, Any]) -> None:
    """Add a row."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def rows_of(
    command: Sequence[str],
    names: Sequence[str],
    path: Path,
    seconds: float,
    patience: float = PATIENCE,
    folder: Path | None = None,
    heard: Callable[[list[dict[str, Any]]], None] | None = None,
) -> list[dict[str, Any]]:
    """Rows that processes of a command write, started anew after each that fails.

    Args:
        command: measures what is not in the file at `path` yet, in the order of `names`; it gets
            the seconds that are left as its last argument.
        patience: seconds without a new row after which the process is killed.
        heard: gets the rows so far whenever there is a new one.
    """
    end = time.monotonic() + seconds
    path.touch()
    while True:
        left = max(end - time.monotonic(), 0.0)
        process = subprocess.Popen([*command, f"{left:.0f}"], cwd=folder, env=os.environ)
        code = _watched(process, path, patience, end + min(patience, _LAST), heard)
        if code == 0:
            return written(path)
        known = {row["name"] for row in written(path)}
        missing = [name for name in names if name not in known]
        if code != LOST and missing:
            word = "hangs" if code is None else f"ends its process ({code})"
            print(f"{missing[0]:36} {word}", file=sys.stderr, flush=True)
            write(path, {"name": missing[0], "ours_error": word})
            del missing[0]
        if not missing or time.monotonic() > end:
            return written(path)


def _watched(
    process: subprocess.Popen[bytes],
    path: Path,
    patience: float,
    end: float,
    heard: Callable[[list[dict[str, Any]]], None] | None,
) -> int | None:
    """The exit code; None where it was killed."""
    seen, since = path.stat().st_size, time.monotonic()
    while process.poll() is None:
        time.sleep(0.1)
        now, size = time.monotonic(), path.stat().st_size
        if size != seen:
            seen, since = size, now
            if heard is not None:
                heard(written(path))
        if now - since > patience or now > end:
            process.kill()
            process.wait()
            return None
    return process.returncode
