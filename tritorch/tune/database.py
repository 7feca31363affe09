"""Measured configurations in SQLite: a row each, so that editing a kernel's space loses nothing.

A row is written as soon as it is measured, in a transaction of its own: killing the process at any
moment keeps all that was written before. Several processes may write at once. A file that is no
database any more is moved aside, and that is said.
"""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import re
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tritorch.config import config
from tritorch.errors import TuneError
from tritorch.kernels.choices import FORMAT, SHIPPED, Choice, read

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS configurations (
    kernel TEXT NOT NULL,
    digest TEXT NOT NULL,
    target TEXT NOT NULL,
    facts TEXT NOT NULL,
    config TEXT NOT NULL,
    status TEXT NOT NULL,
    message TEXT NOT NULL,
    seconds REAL,
    spread REAL,
    ratio REAL,
    samples INTEGER NOT NULL,
    sizes TEXT NOT NULL,
    moved REAL NOT NULL,
    operations REAL NOT NULL,
    versions TEXT NOT NULL,
    measured TEXT NOT NULL,
    PRIMARY KEY (kernel, digest, target, facts, config)
) WITHOUT ROWID;
CREATE VIEW IF NOT EXISTS best AS
    SELECT * FROM (
        SELECT *, row_number() OVER (
            PARTITION BY kernel, digest, target, facts ORDER BY ratio, config
        ) AS place
        FROM configurations WHERE status = 'ok'
    ) WHERE place = 1;
"""
#: what a candidate can come to
STATUSES = ("ok", "timed", "slow", "wrong", "failed", "timeout")


@dataclass(frozen=True)
class Row:
    """One configuration of a kernel, measured.

    Attributes:
        status: ok: verified, and faster than the default beyond noise (or the default itself);
            timed: verified and timed; slow: verified, given up early; wrong: its results differ;
            failed: it does not compile or run; timeout: it did not end within its deadline.
        seconds, spread: median of a call, and the median distance from it.
        ratio: seconds over those of the default, measured in turn with it. Below 1 is faster.
        sizes: what the user asked for. moved, operations: bytes and operations of a call.
    """

    kernel: str
    digest: str
    target: str
    facts: dict[str, Any]
    config: dict[str, Any]
    status: str
    message: str = ""
    seconds: float | None = None
    spread: float | None = None
    ratio: float | None = None
    samples: int = 0
    sizes: dict[str, Any] = field(default_factory=dict)
    moved: float = 0.0
    operations: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    measured: str = ""

    def choice(self) -> Choice:
        """What a lock file says of it."""
        return Choice(self.kernel, self.digest, self.target, self.facts, self.config)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


_COLUMNS = tuple(Row.__dataclass_fields__)
_JSON = ("facts", "config", "sizes", "versions")


def now() -> str:
    """The time as rows keep it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


class Database:
    """The store at `path` (default: the setting `tune_db`); made when it is first written.

    Args:
        foreign: it is another one's, and only read: what is no database is an error.
    """

    def __init__(self, path: Path | None = None, foreign: bool = False) -> None:
        self.path = path or config.tune_db
        self._foreign = foreign

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection whose transaction is committed, or rolled back on an error."""
        if self._foreign:
            with self._open_foreign() as connection:
                yield connection
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TuneError(
                f"tune: cannot make {self.path.parent}: {error.strerror}. "
                "Set TRITORCH_TUNE_DB to a file in a directory that can be written."
            ) from error
        try:
            with closing(self._connect()) as connection, connection:
                yield connection
        except sqlite3.OperationalError as error:
            raise TuneError(
                f"tune: cannot use {self.path}: {error}. "
                "Set TRITORCH_TUNE_DB to a file in a directory that can be written."
            ) from error

    @contextmanager
    def _open_foreign(self) -> Iterator[sqlite3.Connection]:
        """A connection that cannot write."""
        try:
            uri = f"{self.path.resolve().as_uri()}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True, timeout=30.0)) as connection:
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if version != _VERSION:
                    raise sqlite3.DatabaseError(f"format {version}, not {_VERSION}")
                yield connection
        except sqlite3.Error as error:
            raise TuneError(
                f"tune: {self.path} is no database of measured configurations ({error})."
            ) from error

    def _connect(self) -> sqlite3.Connection:
        try:
            return self._prepared()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) or not self.path.exists():
                raise
        with _alone_in(self.path.parent):
            try:
                return self._prepared()  # another process may have moved it aside meanwhile
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self._move_aside(str(error))
            return self._prepared()

    def _prepared(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=30.0)
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                raise sqlite3.DatabaseError(state)
            if version > _VERSION:
                raise TuneError(
                    f"tune: {self.path} was made by a newer tritorch (format {version}; this one "
                    f"knows {_VERSION}). Upgrade, or set TRITORCH_TUNE_DB to another file."
                )
            if version < _VERSION:
                connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA}")
                connection.execute(f"PRAGMA user_version = {_VERSION}")
                connection.commit()
        except BaseException:
            connection.close()
            raise
        return connection

    def _move_aside(self, reason: str) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
        os.replace(self.path, aside)
        warnings.warn(
            f"tune: {self.path} is damaged ({reason}). It is now {aside.name}, and a new one was "
            "begun.",
            RuntimeWarning,
            stacklevel=2,
        )

    # ---- writing

    def add(self, rows: Iterable[Row]) -> None:
        """Write rows; a configuration that was measured before is replaced."""
        values = [
            tuple(_text(getattr(r, c)) if c in _JSON else getattr(r, c) for c in _COLUMNS)
            for r in rows
        ]
        places = ", ".join("?" * len(_COLUMNS))
        with self._open() as connection:
            connection.executemany(
                f"INSERT OR REPLACE INTO configurations ({', '.join(_COLUMNS)}) VALUES ({places})",
                values,
            )

    def remove(self, unwanted: Callable[[Row], bool]) -> int:
        """Delete the rows for which `unwanted` is true; how many."""
        doomed = [row for row in self.rows() if unwanted(row)]
        with self._open() as connection:
            connection.executemany(
                "DELETE FROM configurations WHERE kernel = ? AND digest = ? AND target = ? "
                "AND facts = ? AND config = ?",
                [(r.kernel, r.digest, r.target, _text(r.facts), _text(r.config)) for r in doomed],
            )
        return len(doomed)

    def merge(self, other: Database) -> tuple[int, int]:
        """Take over another (foreign) database's rows; where both have one, the newer stays.

        Returns:
            how many rows were added, and how many replaced.
        """
        if not other.path.exists():
            raise TuneError(f"tune: no such database: {other.path}. Give the file's path.")
        mine = {_place(row): row for row in self.rows()}
        theirs = list(other.rows())
        added = [row for row in theirs if _place(row) not in mine]
        newer = [
            row
            for row in theirs
            if _place(row) in mine and row.measured > mine[_place(row)].measured
        ]
        self.add([*added, *newer])
        return len(added), len(newer)

    # ---- reading

    def rows(self, kernel: str | None = None, target: str | None = None) -> list[Row]:
        """All rows, or a kernel's, or a target's."""
        return self._select("configurations", kernel, target)

    def best(self, kernel: str | None = None, target: str | None = None) -> list[Row]:
        """The fastest verified row for each kernel, version, target and facts."""
        return self._select("best", kernel, target)

    def _select(self, source: str, kernel: str | None, target: str | None) -> list[Row]:
        if not self.path.exists():
            return []
        with self._open() as connection:
            found = connection.execute(
                f"SELECT {', '.join(_COLUMNS)} FROM {source} WHERE (? IS NULL OR kernel = ?) "
                "AND (? IS NULL OR target = ?) ORDER BY kernel, target, facts, ratio, config",
                (kernel, kernel, target, target),
            ).fetchall()
        return [_row(values) for values in found]

    def verify(self) -> list[str]:
        """What is wrong with the file: SQLite's own check, and rows that cannot be read."""
        if not self.path.exists():
            return []
        with self._open() as connection:
            found = [text for (text,) in connection.execute("PRAGMA integrity_check").fetchall()]
        problems = [text for text in found if text != "ok"]
        for row in self.rows():
            if row.status not in STATUSES:
                problems.append(f"{row.kernel}: unknown status {row.status!r}")
            if row.status == "ok" and not (row.seconds and row.ratio):
                problems.append(f"{row.kernel}: verified, but has no time")
        return problems


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """One process at a time."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _place(row: Row) -> tuple[str, ...]:
    return (row.kernel, row.digest, row.target, _text(row.facts), _text(row.config))


def _row(values: tuple[Any, ...]) -> Row:
    named = dict(zip(_COLUMNS, values))
    for name in _JSON:
        named[name] = json.loads(named[name])
    return Row(**named)


def export(rows: Iterable[Row], path: Path) -> int:
    """Write a lock file with these rows' choices, whole or not at all; how many."""
    choices = [{**row.as_json(), **row.choice().as_json()} for row in rows]
    _write(path, choices)
    return len(choices)


def _write(path: Path, choices: list[dict[str, Any]]) -> None:
    text = json.dumps({"format": FORMAT, "choices": choices}, indent=1, sort_keys=True) + "\n"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise TuneError(
            f"tune: cannot write {path}: {error.strerror}. Choose another file."
        ) from error


def ship(rows: Iterable[Row], folder: Path | None = None) -> dict[Path, int]:
    """Write what is faster than the rules as defaults of the package, a file for each target.

    What a file says of other kinds of operands stays, as far as it is for present kernels.

    Args:
        rows: of kernels' present versions, one for each kernel, target and facts.
        folder: `kernels/defaults` of this installation.
    Returns:
        how many choices each file that was written has now.
    """
    from tritorch.tune.report import current_digest

    found: dict[Path, dict[tuple[str, str], Choice]] = {}
    folder = folder or SHIPPED
    for row in rows:
        # a user's kernel does not ship
        if row.ratio is None or row.ratio >= 1.0 or ":" in row.kernel:
            continue
        path = folder / f"{re.sub('[^a-z0-9_]+', '-', row.target.lower())}.json"
        if path not in found:
            there = read(path) if path.exists() else []
            fresh = [c for c in there if c.digest == current_digest(c.kernel)]
            found[path] = {(c.kernel, _text(c.facts)): c for c in fresh}
        found[path][row.kernel, _text(row.facts)] = row.choice()
    if not found:
        raise TuneError("tune: nothing to ship: no kernel has a configuration that beats its rule.")
    for path, choices in found.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, [choices[place].as_json() for place in sorted(choices)])
    return {path: len(choices) for path, choices in found.items()}


def from_lock(path: Path) -> list[Row]:
    """The rows of a lock file that `export` wrote.

    Raises:
        ConfigError: no such file, or no lock file.
        TuneError: it has choices without measurements.
    """
    read(path)
    rows = []
    for entry in json.loads(path.read_text())["choices"]:
        try:
            row = Row(**entry)
        except TypeError as error:
            raise TuneError(
                f"tune: {path} has entries that are no measurements: {error}."
            ) from error
        if row.status not in STATUSES or not row.ratio or not row.seconds:
            raise TuneError(f"tune: {path}: the entry for {row.kernel} has no time.")
        rows.append(row)
    return rows
