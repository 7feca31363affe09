"""`tritorch tune report`: what tuning brought."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tritorch.cli import output, sizes


def register(tune: typer.Typer) -> None:
    """Add the command."""
    tune.command("report")(report)


def report(
    kernel: Annotated[str | None, typer.Argument(help="Only this kernel.")] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page.")] = None,
    png: Annotated[
        Path | None, typer.Option(help="Also draw the roofline (needs matplotlib).")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")] = "cpu",
    as_json: output.Json = False,
) -> None:
    """Per kernel: the best configuration, its time against the default's, its share of the roof.

    Example: tritorch tune report --html report.html
    """
    from tritorch.cli.tuning import check_device, roof
    from tritorch.tune import report as reports

    check_device(device)
    found = reports.gather(kernel, device=device)
    if html is not None:
        reports.write_html(found, html)
    if png is not None:
        reports.draw(found, png)
    if as_json:
        output.as_json(found.as_json())
        return
    output.table(
        ["kernel", "facts", "best", "default us", "best us", "faster", "rate", "of roofline",
         "versions"],
        (
            [
                line.kernel, sizes.text(line.facts), sizes.text(line.config),
                f"{line.default_seconds * 1e6:.1f}", f"{line.seconds * 1e6:.1f}",
                f"{line.faster:.2f}", line.rate, roof(line.share),
                len(line.history),
            ]
            for line in found.lines
        ),
        right=["default us", "best us", "faster", "of roofline", "versions"],
    )  # fmt: skip
    if found.lines:
        print(
            f"{len(found.lines)} kinds; geometric mean {found.mean:.3f} times the default's speed"
        )
