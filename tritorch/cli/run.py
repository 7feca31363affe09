"""`tritorch run`: an unmodified PyTorch program, with tritorch as its torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
        run
    )


def run(
    context: typer.Context,
    script: Annotated[
        Path, typer.Argument(metavar="SCRIPT.py", exists=True, dir_okay=False, readable=True)
    ],
) -> None:
    """Run a PyTorch program unmodified: its `import torch` gives tritorch.

    What follows the script is given to it. A name that tritorch lacks is an ImportError or an
    AttributeError that says which.

    Example: tritorch run train.py --epochs 3
    """
    from tritorch import as_torch

    as_torch.run(str(script), context.args)
