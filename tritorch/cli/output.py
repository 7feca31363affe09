"""Printing: tables for people, JSON for programs, one line for an error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

#: columns of what is no terminal: a table there is as wide as its cells
_UNBOUNDED = 100_000
#: a table may be so many times as wide as the terminal, and have its cells folded
_FOLDED = 1.3
#: the option that every command takes
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def console() -> Console:
    """Standard output; as wide as the terminal, or as the text where it is no terminal."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=_UNBOUNDED, soft_wrap=True)


def show(renderable: Any) -> None:
    """Print a table; where it is read by a program, without what fills its lines up."""
    if sys.stdout.isatty():
        console().print(renderable)
        return
    found = console()
    with found.capture() as captured:
        found.print(renderable)
    for line in captured.get().splitlines():
        print(line.rstrip())


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
    """Print rows under headings; columns named in `right` are numbers.

    On a terminal that is far too narrow a row is a paragraph: nothing is cut off.
    """
    from rich import box
    from rich.table import Table

    cells = [["" if value is None else str(value) for value in row] for row in rows]
    lengths = [max(map(len, column)) for column in zip(columns, *cells)]
    if sys.stdout.isatty() and sum(lengths) + 3 * len(lengths) > _FOLDED * console().width:
        _paragraphs(columns, cells, title, right)
        return
    shown = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for i, column in enumerate(columns):
        shown.add_column(
            column,
            justify="right" if column in right else "left",
            overflow="fold",
            no_wrap=i == 0 or column in right,
        )
    for row in cells:
        shown.add_row(*row)
    show(shown)


def _paragraphs(
    columns: Sequence[str], cells: list[list[str]], title: str | None, right: Sequence[str]
) -> None:
    """Each row: its name, a line for each text, and one for all its numbers."""
    from rich.table import Table

    if title:
        console().print(title, style="italic", highlight=False)
    for row in cells:
        console().print(row[0], style="bold", highlight=False, markup=False)
        shown = Table(box=None, show_header=False, padding=(0, 1, 0, 2))
        shown.add_column(no_wrap=True)
        shown.add_column(overflow="fold")
        found = [(c, v) for c, v in list(zip(columns, row))[1:] if v]
        for column, value in found:
            if column not in right:
                shown.add_row(column, value)
        numbers = ", ".join(f"{column} {value}" for column, value in found if column in right)
        if numbers:
            shown.add_row("", numbers)
        console().print(shown)


def pairs(data: Mapping[str, Any], *, title: str | None = None) -> None:
    """Print names and values, a line each."""
    from rich.table import Table

    shown = Table(title=title, box=None, show_header=False, title_justify="left")
    shown.add_column(style="bold")
    shown.add_column(overflow="fold")
    for name, value in data.items():
        shown.add_row(name, "" if value is None else str(value))
    show(shown)


def counted(count: int, noun: str) -> str:
    """Such as "1 row" and "2 rows"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def fail(message: str) -> None:
    """One line on standard error."""
    print(f"tritorch: {' '.join(message.split())}", file=sys.stderr)


def note(message: str) -> None:
    """A remark on standard error, which does not end the command."""
    print(f"tritorch: {' '.join(message.split())}", file=sys.stderr)
