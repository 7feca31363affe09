"""`tritorch bench`: the project's bench, with ratios against the peer in the same run."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from tritorch.cli import output
from tritorch.errors import TuneError

#: that all of the GPU's rows may take
_GPU_SECONDS = 260.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bench")(bench)


def bench(
    patterns: Annotated[
        list[str] | None, typer.Argument(help="Rows whose name contains one of these.")
    ] = None,
    versus: Annotated[str, typer.Option("--vs", help="The peer: torch, or none.")] = "torch",
    peer_python: Annotated[
        str, typer.Option(help="A Python that has torch; default: this one.")
    ] = sys.executable,
    device: Annotated[str, typer.Option(help="cpu, or cuda: the GPU's own rows.")] = "cpu",
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    seconds: Annotated[float, typer.Option(min=0.01, help="Of measuring, a round.")] = 0.1,
    threads: Annotated[list[int] | None, typer.Option(help="Only these counts.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only one subject's rows.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write the rows as JSON.")] = None,
    compare: Annotated[
        Path | None, typer.Option(help="Compare with rows that were saved before.")
    ] = None,
    as_json: output.Json = False,
) -> None:
    """Time operations here, in turn with PyTorch where it is installed.

    Example: tritorch bench softmax --vs torch --save now.json
    """
    from tritorch.cli.tuning import check_device

    check_device(device)
    if versus not in ("torch", "none"):
        raise TuneError(f"bench: no peer {versus!r}. Choose torch or none.")
    earlier = _earlier(compare) if compare is not None else {}
    report = _module("report")
    if device != "cpu":
        _on_gpu(patterns or [], versus, save, as_json)
        return
    if subject is not None and subject not in report.SUBJECTS:
        raise TuneError(f"bench: no subject {subject!r}. Choose from {', '.join(report.SUBJECTS)}.")
    cases = report.select(patterns or (), subject=subject, threads=threads)
    if not cases:
        raise TuneError(f"bench: no row's name contains any of {patterns}.")
    found = report.run(
        cases,
        peer_python=peer_python if versus == "torch" else None,
        rounds=rounds,
        seconds=seconds,
        say=(lambda line: None) if as_json else lambda line: print(line, flush=True),
    )
    if save is not None:
        report.save(found, save)
    for row in found["rows"]:
        before = earlier.get((row["case"], row["threads"], row.get("peer")))
        if before and "ours_us" in row:
            row["times_as_fast"] = before / row["ours_us"]
    if as_json:
        output.as_json(found)
    elif compare is not None:
        output.table(
            ["row", "threads", "us", "times as fast as before"],
            (
                [r["case"], r["threads"], f"{r['ours_us']:.2f}", f"{r['times_as_fast']:.2f}"]
                for r in found["rows"]
                if "times_as_fast" in r
            ),
            right=["threads", "us", "times as fast as before"],
        )
    if any("error" in row for row in found["rows"]):
        raise typer.Exit(1)


def _on_gpu(patterns: list[str], versus: str, save: Path | None, as_json: bool) -> None:
    """The rows of `bench.gpu_rows`; the peer must be in this Python: one process uses the GPU."""
    import tritorch

    gpu = _module("gpu")
    pattern = "|".join(map(re.escape, patterns))
    if not any(re.search(pattern, f"{row.group}: {row.name}") for row in gpu.ROWS):
        raise TuneError(f"bench: no row's name contains any of {patterns}.")
    libraries: dict[str, Any] = {"ours": tritorch}
    if versus == "torch" and importlib.util.find_spec("torch") is not None:
        libraries["torch"] = importlib.import_module("torch")
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        found = gpu.run_rows(libraries, _GPU_SECONDS, pattern)
    report = {"environment": gpu.environment(tritorch), "rows": found}
    if save is not None:
        _write(save, report)
    if as_json:
        output.as_json(report)
    if any("ours_error" in row for row in found):
        raise typer.Exit(1)


def _write(path: Path, report: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(report, indent=1) + "\n")
    except OSError as error:
        raise TuneError(f"bench: cannot write {path}: {error.strerror}.") from error


def _earlier(path: Path) -> dict[tuple[str, int, str | None], float]:
    try:
        rows = json.loads(path.read_text())["rows"]
        return {
            (r["case"], r["threads"], r.get("peer")): r["ours_us"] for r in rows if "ours_us" in r
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TuneError(
            f"bench: {path} holds no rows of an earlier run ({type(error).__name__}: {error})."
        ) from error


def _module(name: str) -> Any:
    """A module of the bench; in a wheel its package lies within ours."""
    import tritorch

    if "bench" not in sys.modules:
        for root in tritorch.__path__:
            init = Path(root, "bench", "__init__.py")
            if init.exists():
                spec = importlib.util.spec_from_file_location("bench", init)
                assert spec is not None and spec.loader is not None
                sys.modules["bench"] = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(sys.modules["bench"])
                break
        else:
            raise TuneError("bench: this installation has no benches. Install the whole wheel.")
    return importlib.import_module(f"bench.{name}")
