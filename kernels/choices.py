"""Configurations that were found by tuning, as kernels look them up: read once per process.

Three sources, the first that has one wins: the lock file (`TRITORCH_TUNE_LOCK`), the user's
database (`TRITORCH_TUNE_DB`, which `tritorch tune` fills), what ships with the package
(`kernels/defaults/*.json`, in the lock file's format). Each is for one target: CPU, vector width
and number of threads, or GPU.

A lock file is JSON: `{"format": 1, "choices": [{"kernel", "digest", "target", "facts", "config"},
...]}`.
"""

from __future__ import annotations

import json
import os
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritorch.config import config, watch
from tritorch.errors import ConfigError
from tritorch.kernels.tuning import Configuration, Facts, bucket, distance

if TYPE_CHECKING:
    from tritorch.kernels.tuning import Tunable

FORMAT = 1
#: where what ships with the package is
SHIPPED = Path(__file__).parent / "defaults"


@dataclass(frozen=True)
class Choice:
    """A configuration for a kernel of this text, on this target, for these facts."""

    kernel: str
    digest: str
    target: str
    facts: Facts
    config: Configuration

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "kernel": self.kernel,
            "digest": self.digest,
            "target": self.target,
            "facts": dict(self.facts),
            "config": self.config,
        }


class Source:
    """Choices of one origin for one target, found by kernel and bucket."""

    def __init__(self, origin: str, choices: Iterable[Choice], pinned: bool = False) -> None:
        self.origin = origin
        self._pinned = pinned
        self._said: set[str] = set()
        self._choices: dict[Any, list[Choice]] = {}
        for choice in choices:
            place = (choice.kernel, bucket(choice.facts))
            self._choices.setdefault(place, []).append(choice)

    def find(self, tunable: Tunable, facts: Facts) -> Configuration | None:
        """The nearest choice that is not stale."""
        held = self._choices.get((tunable.name, bucket(facts)))
        if not held:
            return None
        digest = tunable.digest()
        fresh = [choice for choice in held if choice.digest == digest]
        if not fresh:
            self._report(tunable.name)
            return None
        return dict(min(fresh, key=lambda choice: distance(facts, choice.facts)).config)

    def _report(self, kernel: str) -> None:
        if self._pinned and kernel not in self._said:
            self._said.add(kernel)
            warnings.warn(
                f"tune: {self.origin} pins {kernel} for another version of this kernel, so the "
                f"pin is not used. Run `tritorch tune run {kernel}` and export again.",
                RuntimeWarning,
                stacklevel=2,
            )


_lock = threading.Lock()
_sources: dict[str, list[Source]] = {}  # by the target's identity


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()  # a thread that is no more may have held it


os.register_at_fork(after_in_child=_after_fork_in_child)


def find(tunable: Tunable, target: str, facts: Facts) -> Configuration | None:
    """What was found for this kernel and these facts on a target type; None for nothing."""
    if config.tune_lock is None and not config.tune_db.exists() and not _shipped():
        return None
    from tritorch.runtime import get_target

    identity = get_target(target).identity
    sources = _sources.get(identity)
    if sources is None:
        with _lock:
            sources = _sources.get(identity)
            if sources is None:
                sources = _sources[identity] = list(_open(identity))
    for source in sources:
        found = source.find(tunable, facts)
        if found is not None:
            return found
    return None


def reload() -> None:
    """Read the sources again when next asked; plans that were made stay as they are."""
    with _lock:
        _sources.clear()


for _name in ("tune_lock", "tune_db"):
    watch(_name, reload)


def _open(identity: str) -> Iterator[Source]:
    if config.tune_lock is not None:
        pinned = [c for c in read(config.tune_lock) if c.target == identity]
        yield Source(str(config.tune_lock), pinned, pinned=True)
    if config.tune_db.exists():
        yield Source(str(config.tune_db), _from_database(config.tune_db, identity))
    for path in _shipped():
        shipped = [c for c in read(path) if c.target == identity]
        if shipped:
            yield Source(str(path), shipped)


@cache
def _shipped() -> tuple[Path, ...]:
    """Files of choices that came with the package."""
    return tuple(sorted(SHIPPED.glob("*.json")))


def read(path: Path) -> list[Choice]:
    """The choices of a lock file.

    Raises:
        ConfigError: no such file, or no lock file.
    """
    try:
        data = json.loads(path.read_text())
        if data["format"] != FORMAT:
            raise ConfigError(
                f"tune: {path} has format {data['format']}; this version reads {FORMAT}. "
                "Export it again."
            )
        return [_choice(entry) for entry in data["choices"]]
    except OSError as error:
        raise ConfigError(
            f"tune: cannot read the lock file {path}: {error.strerror}. "
            "Set TRITORCH_TUNE_LOCK to what `tritorch tune db export` wrote, or unset it."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"tune: {path} is no lock file ({type(error).__name__}: {error}). Export it again with "
            "`tritorch tune db export`."
        ) from error


def _choice(entry: Mapping[str, Any]) -> Choice:
    return Choice(
        str(entry["kernel"]),
        str(entry["digest"]),
        str(entry["target"]),
        dict(entry["facts"]),
        dict(entry["config"]),
    )


def _from_database(path: Path, identity: str) -> list[Choice]:
    """The best verified rows; a database that cannot be read is as good as none, and said."""
    import sqlite3

    try:
        # Not "ro": what a writer that was killed has half written must be rolled back by a reader.
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=30.0)
        try:
            rows = connection.execute(
                "SELECT kernel, digest, target, facts, config FROM best WHERE target = ?",
                (identity,),
            ).fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        warnings.warn(
            f"tune: cannot read {path}: {error}. Kernels run with their defaults; "
            "`tritorch tune db verify` moves a damaged file aside.",
            RuntimeWarning,
            stacklevel=2,
        )
        return []
    return [
        Choice(kernel, digest, target, json.loads(facts), json.loads(chosen))
        for kernel, digest, target, facts, chosen in rows
    ]
