"""What a program reports while it learns: a curve, and figures with the bars they must reach."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Figure:
    """A figure of a program and its bar, a least or a greatest value."""

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def reached(self) -> bool:
        """Whether the bar is reached; nan reaches none."""
        high_enough = self.at_least is None or self.value >= self.at_least
        return high_enough and (self.at_most is None or self.value <= self.at_most)

    @property
    def bar(self) -> str:
        """The bar as users read it."""
        bounds = ("at least", self.at_least), ("at most", self.at_most)
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)

    def __str__(self) -> str:
        return f"{self.name}: {self.value:.4g}, must be {self.bar}"


class Learning:
    """The record of one run.

    Args:
        quiet: whether no progress bar is drawn.
    """

    def __init__(self, quiet: bool = True) -> None:
        self.quiet = quiet
        self.curve: list[tuple[int, float]] = []
        self.measure = ""
        self.figures: list[Figure] = []

    def steps(self, what: Iterable[T], total: int, measure: str) -> Iterator[T]:
        """The items of `what`, with a progress bar that shows the last value of `measure`."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeElapsedColumn as Elapsed

        self.measure = measure
        last = TextColumn(measure + " {task.fields[last]}")
        columns = (MofNCompleteColumn(), BarColumn(), last, Elapsed())
        with Progress(*columns, disable=self.quiet) as progress:
            task = progress.add_task("", total=total, last="")
            for item in what:
                yield item
                shown = f"{self.curve[-1][1]:.4g}" if self.curve else ""
                progress.update(task, advance=1, last=shown)

    def point(self, step: int, value: float) -> None:
        """A point of the learning curve."""
        self.curve.append((step, float(value)))

    def figure(
        self,
        name: str,
        value: float,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> None:
        """A figure, with its bar."""
        self.figures.append(Figure(name, float(value), at_least, at_most))

    def missed(self) -> list[str]:
        """The figures that miss their bars."""
        return [str(figure) for figure in self.figures if not figure.reached]


Program = Callable[[Learning, int], None]


def run(program: Program, description: str | None) -> None:
    """The program as a script: its curve and its figures; status 1 if a bar is missed."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seed", type=int, default=0, help="of weights and order (default 0)")
    learning, start = Learning(quiet=False), time.perf_counter()
    program(learning, parser.parse_args().seed)
    seconds = time.perf_counter() - start
    console = Console()
    table = Table("step", learning.measure, "", box=None)
    values = [value for _, value in learning.curve]
    low, high = min(0.0, *values), max(values)
    for step, value in learning.curve:
        table.add_row(str(step), f"{value:.4g}", "█" * round(40 * (value - low) / (high - low)))
    console.print(table)
    for figure in learning.figures:
        mark = "[green]✓[/]" if figure.reached else "[red]✗[/]"
        console.print(f"{mark} {figure.name} {figure.value:.4g} ({figure.bar})")
    console.print(f"{seconds:.1f} s")
    sys.exit(bool(learning.missed()))
