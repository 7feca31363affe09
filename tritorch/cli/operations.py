"""`tritorch ops`: the table of operations."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from tritorch.cli import output
from tritorch.errors import TritorchError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ops")(operations)


def operations(
    names: Annotated[
        list[str] | None, typer.Argument(help="Only operations whose name contains one of these.")
    ] = None,
    as_json: output.Json = False,
) -> None:
    """Operations: where their kernels come from, dtypes, gradients, and how often they are tested.

    A checkout also counts the samples of the cross-check with PyTorch. A dash for dtypes: no rule
    is declared, the operation checks its operands itself.

    Example: tritorch ops softmax --json
    """
    from tritorch.ops.table import rows

    found = [
        row
        for row in rows(_cross_checked())
        if not names or any(part in known for part in names for known in (row.name, *row.aliases))
    ]
    if not found:
        raise TritorchError(f"ops: no operation's name contains {' or '.join(names or ())}.")
    if as_json:
        output.as_json([asdict(row) for row in found])
        return
    output.table(
        ["op", "kind", "kernel source", "dtypes", "gradient", "samples"],
        [
            (
                row.name,
                row.kind,
                ", ".join(source.removeprefix("kernels/") for source in row.sources) or "-",
                "-" if row.dtypes is None else _short(row.dtypes),
                row.gradient,
                row.samples,
            )
            for row in found
        ],
        title=f"{len(found)} operations, {sum(1 + len(row.aliases) for row in found)} names",
        right=("samples",),
    )


def _short(names: tuple[str, ...]) -> str:
    """The kinds of dtypes, or the dtypes where a kind is not complete."""
    from tritorch.ops.declare import GROUPS

    kinds = {word: [kind.name for kind in kinds] for word, kinds in GROUPS.items() if word != "all"}
    kinds["bool"] = ["bool"]
    complete = [kind for kind, members in kinds.items() if set(members) <= set(names)]
    covered = {name for kind in complete for name in kinds[kind]}
    parts = [*complete, *(name for name in names if name not in covered)]
    return "all" if len(complete) == len(kinds) else ", ".join(parts)


def _cross_checked() -> dict[str, int]:
    """Samples by operation of the cross-check, which only a checkout has."""
    try:
        from tests.oracle.counts import samples
    except ImportError:
        return {}
    return samples()
