"""`tritorch tune run` and `tritorch tune trace`: searching for configurations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tritorch.cli import output, sizes
from tritorch.errors import DeviceError, TuneError

if TYPE_CHECKING:
    from tritorch.tune.session import Outcome, Session

#: one search: kernel, sizes, dtype, and the facts that a trace saw
Job = tuple[str, dict[str, Any], str | None, dict[str, Any] | None]


def register(app: typer.Typer) -> None:
    """Add the group; `databases` and `reports` add their commands to it."""
    from tritorch.cli import databases, reports

    group = typer.Typer(
        no_args_is_help=True, help="Find the fastest configurations of kernels, and keep them."
    )
    group.command("run")(run)
    group.command(
        "trace", context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
    )(trace)
    databases.register(group)
    reports.register(group)
    app.add_typer(group, name="tune")


def run(
    kernel: Annotated[
        str | None,
        typer.Argument(help="A kernel of the library, module:name of your own, or all."),
    ] = None,
    shape: Annotated[
        list[str] | None, typer.Option(help="Sizes, as M=1024,N=1024,K=1024; may be repeated.")
    ] = None,
    shapes: Annotated[Path | None, typer.Option(help="A file with a shape a line.")] = None,
    from_trace: Annotated[
        Path | None, typer.Option(help="Tune what a trace says costs most.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16, ...")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")] = "cpu",
    strategy: Annotated[
        str, typer.Option(help="exhaustive, random, hill, anneal or tpe (needs optuna).")
    ] = "hill",
    budget: Annotated[str, typer.Option(help="Wall time in all, as 60s or 5m.")] = "60s",
    trials: Annotated[int | None, typer.Option(min=1, help="Most candidates a shape.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that compile and verify.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the strategy.")] = 0,
    deadline: Annotated[float, typer.Option(min=0.1, help="Seconds for one candidate.")] = 10.0,
    again: Annotated[bool, typer.Option(help="Measure anew what the database has.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be searched, measure nothing.")
    ] = False,
    as_json: output.Json = False,
) -> None:
    """Search for a kernel's fastest configuration; every result is verified and kept.

    Ctrl-C keeps what was measured; the next run goes on from there. The database is
    TRITORCH_TUNE_DB; programs use what it holds from their next start on.

    Example: tritorch tune run matmul_tile --shape M=512,N=512,K=512 --budget 20s
    """
    from tritorch.tune.session import Options

    check_device(device)
    seconds = duration(budget)
    jobs = list(_jobs(kernel, shape, shapes, from_trace, dtype, device))
    outcomes: list[Outcome] = []
    end = time.monotonic() + seconds
    for place, (name, given, kind, facts) in enumerate(jobs):
        if dry_run:
            _describe(name, given, kind, device, as_json)
            continue
        left = end - time.monotonic()
        if place and left < 2.0:
            output.note(f"{len(jobs) - place} of {len(jobs)} searches left out: out of time.")
            break
        options = Options(
            strategy, left / (len(jobs) - place), trials, workers, seed, deadline, again, device
        )
        try:
            outcomes.append(_search(name, given, kind, facts, options, as_json))
        except TuneError as error:
            if len(jobs) == 1:
                raise
            output.note(str(error))
            continue
        if outcomes[-1].stopped == "interrupted":
            break
    if dry_run:
        return
    if as_json:
        output.as_json([outcome.as_json() for outcome in outcomes])
    elif outcomes:
        _summary(outcomes)
    if any(outcome.stopped == "interrupted" for outcome in outcomes):
        raise typer.Exit(130)
    if not outcomes:
        raise TuneError("tune: no search could be run. See the lines above.")


def duration(text: str) -> float:
    """`60s`, `5m`, `1h`, or plain seconds.

    Raises:
        TuneError: anything else.
    """
    factor = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:])
    try:
        found = float(text if factor is None else text[:-1]) * (factor or 1.0)
    except ValueError:
        found = 0.0
    if not 1.0 <= found < 1e6:
        raise TuneError(f"tune: cannot read the budget {text!r}. Write 60s, 5m or 1h.")
    return found


def check_device(device: str) -> None:
    """One clear error where a device cannot be tuned for here."""
    if device == "cpu":
        return
    kind, separator, index = device.partition(":")
    if kind != "cuda" or (separator and not index.isdecimal()):
        raise DeviceError(f"tune: no device {device!r}. Use cpu, cuda or cuda:1.")
    import tritorch

    if not tritorch.cuda.is_available():
        raise DeviceError("tune: there is no CUDA device here. Use --device cpu.")
    if index and int(index) >= tritorch.cuda.device_count():
        raise DeviceError(
            f"tune: there is no {device}: the devices are cuda:0 to "
            f"cuda:{tritorch.cuda.device_count() - 1}."
        )


def _jobs(
    kernel: str | None,
    shape: list[str] | None,
    shapes: Path | None,
    from_trace: Path | None,
    dtype: str | None,
    device: str,
) -> Iterator[Job]:
    from tritorch.kernels.tuning import bucket
    from tritorch.tune import problems, trace

    if from_trace is not None:
        seen = set()
        for use in trace.read(from_trace):
            key = (use.kernel, bucket(use.facts))
            wanted = kernel in (None, "all", use.kernel)
            if not use.tunable or key in seen or not wanted:
                continue
            if use.kernel not in problems.PROBLEMS and ":" not in use.kernel:
                continue
            seen.add(key)
            given, kind = problems.from_facts(use.kernel, use.facts)
            yield use.kernel, given, kind, use.facts
        if not seen:
            raise TuneError(f"tune: {from_trace} names no kernel that can be tuned.")
        return
    if kernel is None:
        raise TuneError("tune: name a kernel, or give --from-trace. `tritorch kernels list` lists.")
    names = problems.names(device) if kernel == "all" else [kernel]
    given_sizes = [sizes.parse(text) for text in shape or []]
    if shapes is not None:
        given_sizes += sizes.read(shapes)
    for name in names:
        problem = problems.find(name)
        for given in given_sizes or [{}]:
            if kernel != "all":
                problems.complete(problem, given, dtype)
            yield name, dict(given), dtype, None


def _describe(
    name: str, given: dict[str, Any], dtype: str | None, device: str, as_json: bool
) -> None:
    """What a search would look at."""
    from tritorch.tune.measure import Measure

    found = Measure(name, given, dtype, device).describe()
    found["candidates"] = len(found["candidates"])
    if as_json:
        output.as_json({"kernel": name, **found})
        return
    output.pairs(
        {
            "kernel": name,
            "sizes": sizes.text(found["sizes"]),
            "facts": sizes.text(found["facts"]),
            "default": sizes.text(found["default"]),
            "candidates": found["candidates"],
            "target": found["target"],
        }
    )


def _search(
    name: str,
    given: dict[str, Any],
    dtype: str | None,
    facts: dict[str, Any] | None,
    options: Any,
    as_json: bool,
) -> Outcome:
    from tritorch.kernels.tuning import bucket
    from tritorch.tune.session import Session

    with _live(as_json) as progress:
        outcome = Session(name, given, dtype, options, progress=progress).run()
    if facts is not None and bucket(outcome.facts) != bucket(facts):
        output.note(
            f"{name}: the traced call has facts {sizes.text(facts)}; what could be run here has "
            f"{sizes.text(outcome.facts)}, so the choice does not apply to it."
        )
    for row in outcome.rejected:
        if row.status == "wrong":
            output.note(f"rejected {sizes.text(row.config)}: {row.message}")
    if outcome.disturbed:
        output.note(outcome.disturbed)
    return outcome


@contextmanager
def _live(as_json: bool) -> Iterator[Any]:
    """Something that shows a session as it goes: a live table on a terminal, nothing elsewhere."""
    import sys

    if as_json or not sys.stdout.isatty():
        yield lambda session: None
        return
    from rich.live import Live

    with Live(console=output.console(), refresh_per_second=4, transient=True) as live:
        yield lambda session: live.update(_progress(session))


def _progress(session: Session) -> Any:
    from rich.table import Table

    from tritorch.tune.roofline import peaks, share

    best = session.best
    seconds = best.seconds if best and best.seconds else session.default_seconds
    reached = None
    if session.options.device == "cpu":  # a GPU is not to be disturbed
        reached = share(session.moved, session.operations, seconds, peaks(), session.facts)
    faster = 1 / best.ratio if best and best.ratio else 1.0
    shown = Table.grid(padding=(0, 2))
    for name, value in (
        ("kernel", f"{session.kernel} {sizes.text(dict(session.sizes))}"),
        ("tried", f"{session.tried}+{session.resumed} of {len(session.candidates)}"),
        ("best so far", sizes.text(best.config if best else session.default)),
        ("", f"{seconds * 1e6:.0f} us, {faster:.2f} times the default's speed"),
        ("rate", rate(session.moved, session.operations, seconds)),
        ("of roofline", roof(reached)),
        ("left", f"{max(session.left, 0):.0f} s ({session.stage})"),
    ):
        shown.add_row(name, value)
    return shown


def rate(moved: float, operations: float, seconds: float) -> str:
    """GFLOP/s where operations are known, else GB/s."""
    if operations:
        return f"{operations / seconds / 1e9:.1f} GFLOP/s"
    return f"{moved / seconds / 1e9:.1f} GB/s" if moved else ""


def roof(share: float | None) -> str:
    """How much of the roofline is reached; what lies in the caches is not held up by memory."""
    if share is None:
        return ""
    return f"{share:.0%}" if share < 1.05 else "cached"


def _summary(outcomes: list[Outcome]) -> None:
    from tritorch.tune.report import geometric_mean

    rows = []
    for o in outcomes:
        # The default's time is that of the same rounds, so that times and ratio agree.
        seconds, ratio = o.best.seconds or o.default_seconds, o.best.ratio or 1.0
        rows.append(
            {
                "kernel": o.kernel,
                "sizes": sizes.text(o.sizes),
                "best": sizes.text(o.best.config),
                "default us": f"{seconds / ratio * 1e6:.0f}",
                "best us": f"{seconds * 1e6:.0f}",
                "faster": f"{1 / ratio:.2f}",
                "verdict": o.verdict,
                "rate": rate(o.best.moved, o.best.operations, seconds),
                "tried": f"{o.tried}+{o.resumed}/{o.space - 1}",
                "rejected": len(o.rejected),
                "stopped": o.stopped,
                "s": f"{o.seconds:.0f}",
            }
        )
    if len(rows) == 1:
        output.pairs(rows[0])
        return
    for row in rows:
        del row["verdict"]
    output.table(
        list(rows[0]),
        [list(row.values()) for row in rows],
        right=["default us", "best us", "faster", "tried", "rejected", "s"],
    )
    mean = geometric_mean([1 / (o.best.ratio or 1.0) for o in outcomes])
    print(f"geometric mean: {mean:.3f} times the default's speed")


def trace(
    context: typer.Context,
    script: Annotated[str, typer.Argument(metavar="SCRIPT.py", help="The program.")],
    to: Annotated[Path, typer.Option("--output", "-o", help="Where to write it.")] = Path(
        "tritorch.trace.json"
    ),
    as_torch: Annotated[
        bool, typer.Option("--as-torch", help="Its import torch gives tritorch.")
    ] = False,
    as_json: output.Json = False,
) -> None:
    """Run a program and record its kernels: for which facts, how often, how long in all.

    Options come before the script; what follows it is the program's.

    Example: tritorch tune trace --as-torch -o train.json train.py --epochs 1
    """
    from tritorch.tune import trace as tracing

    uses = tracing.run(script, context.args, as_torch=as_torch)
    tracing.save(to, uses, script)
    if as_json:
        output.as_json([use.__dict__ for use in uses])
        return
    total = sum(use.seconds for use in uses) or 1.0
    output.table(
        ["kernel", "facts", "launches", "ms", "share", "tuned"],
        (
            [
                use.kernel, sizes.text(use.facts), use.launches, f"{use.seconds * 1e3:.2f}",
                f"{use.seconds / total:.1%}", "can be" if use.tunable else "",
            ]
            for use in uses[:30]
        ),
        right=["launches", "ms", "share"],
    )  # fmt: skip
    print(f"{len(uses)} kernels and kinds, {total:.3f} s in kernels; written to {to}")
