"""`tritorch run`: an unmodified PyTorch program, with tritorch as its torch."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from tritorch.cli import output


def register(app: typer.Typer) -> None:
    """Add the command; what follows the script is the script's, `--help` and `--json` too."""
    settings = {
        "allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False,
    }  # fmt: skip
    app.command("run", context_settings=settings)(run)


def run(
    context: typer.Context,
    script: Annotated[
        Path, typer.Argument(metavar="SCRIPT.py", exists=True, dir_okay=False, readable=True)
    ],
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print how it went as JSON, and what the program prints on standard error.",
        ),
    ] = False,
) -> None:
    """Run a PyTorch program unmodified: its `import torch` gives tritorch.

    What follows the script is given to it. A name that tritorch lacks is an ImportError or an
    AttributeError that says which. The exit code is the program's.

    Example: tritorch run train.py --epochs 3
    """
    from tritorch import as_torch

    if not json:
        as_torch.run(str(script), context.args)
        return
    with _output_to_standard_error():
        report = _reported(script, context.args)
    output.as_json(report)
    raise typer.Exit(report["exit_code"])


def _reported(script: Path, arguments: list[str]) -> dict[str, Any]:
    """How a run went: exit code, error, seconds, kernels."""
    from tritorch import as_torch
    from tritorch.runtime import statistics

    before, start = statistics.snapshot(), time.perf_counter()
    code, wrong = 0, None
    try:
        as_torch.run(str(script), arguments)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as error:
        traceback.print_exc()
        code, wrong = 1, {"type": type(error).__name__, "message": str(error)}
    did = statistics.snapshot() - before
    return {
        "script": str(script),
        "arguments": arguments,
        "exit_code": code,
        "error": wrong,
        "seconds": round(time.perf_counter() - start, 4),
        "kernels": {
            "compiled": did.generated,
            "loaded": did.loaded,
            "compile_seconds": round(did.compile_seconds, 4),
            "launches": did.launches,
            "launches_by_kernel": did.launches_by_kernel,
        },
    }


@contextmanager
def _output_to_standard_error() -> Iterator[None]:
    """Let standard output be the report's alone, also where processes of the program write."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
