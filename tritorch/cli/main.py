"""The command `tritorch`: its groups of commands, and one line for each error.

Exit codes: 0 done; 1 it could not be done (the last line of standard error says why); 2 the
command line is wrong; 130 interrupted.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, TextIO

import typer

from tritorch.cli import output
from tritorch.errors import TritorchError

app = typer.Typer(
    name="tritorch",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from tritorch import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Look into tritorch, tune its kernels and run programs on it."""
    import tritorch

    _ = tritorch.Tensor  # loads all operations, which the package leaves to the command


#: modules with a function `register(app)`
_COMMANDS = (
    "environment",
    "operations",
    "kernels",
    "tuning",
    "benchmarks",
    "caches",
    "run",
)

for _name in _COMMANDS:
    import_module(f"tritorch.cli.{_name}").register(app)


def main(arguments: list[str] | None = None) -> None:
    """Run a command line (default: this process's) and exit."""
    sys.exit(run(arguments))


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """What tritorch itself warns of is printed as errors are; a program's warnings as ever."""
    usual = warnings.showwarning
    ours = str(Path(__file__).parent.parent)

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if filename.startswith(ours):
            output.note(str(message))
        else:
            usual(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = usual


def run(arguments: list[str] | None = None) -> int:
    """Run a command line and return its exit code; errors of ours become one line each."""
    try:
        with _warnings_in_one_line():
            app(arguments, standalone_mode=True)
    except SystemExit as end:
        if isinstance(getattr(end.__context__, "__cause__", None), KeyboardInterrupt):
            # typer makes an exit code of it, and no words
            output.fail("interrupted.")
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except TritorchError as error:
        output.fail(str(error))
        return 1
    except KeyboardInterrupt:
        output.fail("interrupted.")
        return 130
    except BrokenPipeError:  # the reader (`head`) has seen enough
        sys.stderr.close()
        return 0
    return 0
