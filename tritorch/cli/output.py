"""Printing: tables for people, JSON for programs, one line for an error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

#: the option that every command takes
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def console() -> Console:
    """Standard output; as wide as the terminal, or as the text where it is no terminal."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=200, soft_wrap=True)


def as_json(data: Any) -> None:
    """Print plain data as JSON."""
    print(json.dumps(data, indent=2, default=str))


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    title: str | None = None,
    right: Sequence[str] = (),
) -> None:
    """Print rows under headings; columns named in `right` are numbers."""
    from rich import box
    from rich.table import Table

    shown = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for column in columns:
        shown.add_column(column, justify="right" if column in right else "left")
    for row in rows:
        shown.add_row(*("" if value is None else str(value) for value in row))
    console().print(shown)


def pairs(data: Mapping[str, Any], *, title: str | None = None) -> None:
    """Print names and values, a line each."""
    from rich.table import Table

    shown = Table(title=title, box=None, show_header=False, title_justify="left")
    shown.add_column(style="bold")
    shown.add_column(overflow="fold")
    for name, value in data.items():
        shown.add_row(name, "" if value is None else str(value))
    console().print(shown)


def fail(message: str) -> None:
    """One line on standard error."""
    print(f"tritorch: {' '.join(message.split())}", file=sys.stderr)


def note(message: str) -> None:
    """A remark on standard error, which does not end the command."""
    print(f"tritorch: {' '.join(message.split())}", file=sys.stderr)
