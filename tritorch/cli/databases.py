"""`tritorch tune db`: what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tritorch.cli import output, sizes

_Kernel = Annotated[str | None, typer.Argument(help="Only this kernel.")]
_File = Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False)]


def register(tune: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        no_args_is_help=True, help="The store of measured configurations (TRITORCH_TUNE_DB)."
    )
    for name, command in (
        ("list", list_), ("show", show), ("best", best), ("diff", diff), ("merge", merge),
        ("export", export), ("import", import_), ("prune", prune), ("verify", verify),
    ):  # fmt: skip
        group.command(name)(command)
    tune.add_typer(group, name="db")


def _database(path: Path | None = None) -> Any:
    """The user's own, or another one's to read."""
    from tritorch.tune.database import Database

    return Database(path, foreign=path is not None)


def list_(as_json: output.Json = False) -> None:
    """Kernels and targets in the store, with how many configurations were measured.

    Example: tritorch tune db list
    """
    from tritorch.tune.report import current_digest

    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in _database().rows():
        entry = found.setdefault(
            (row.kernel, row.target),
            {"kernel": row.kernel, "target": row.target, "rows": 0, "kinds": set(), "stale": 0},
        )
        entry["rows"] += 1
        entry["kinds"].add(str(sorted(row.facts.items())))
        entry["stale"] += current_digest(row.kernel) not in (None, row.digest)
    rows = [{**entry, "kinds": len(entry["kinds"])} for entry in found.values()]
    if as_json:
        output.as_json(rows)
        return
    output.table(
        ["kernel", "target", "kinds", "rows", "of other versions"],
        [[e["kernel"], e["target"], e["kinds"], e["rows"], e["stale"]] for e in rows],
        right=["kinds", "rows", "of other versions"],
    )


def show(kernel: _Kernel = None, as_json: output.Json = False) -> None:
    """Every measured configuration, fastest first, the rejected ones with their reasons.

    Example: tritorch tune db show matmul_tile
    """
    _print(_database().rows(kernel), as_json)


def best(kernel: _Kernel = None, as_json: output.Json = False) -> None:
    """The fastest verified configuration for each kernel, target and facts.

    Example: tritorch tune db best
    """
    _print(_database().best(kernel), as_json)


def _print(rows: list[Any], as_json: bool) -> None:
    if as_json:
        output.as_json([row.as_json() for row in rows])
        return
    output.table(
        ["kernel", "facts", "configuration", "status", "us", "+-", "faster", "target", "measured"],
        (
            [
                r.kernel, sizes.text(r.facts), sizes.text(r.config), r.status,
                f"{r.seconds * 1e6:.1f}" if r.seconds else "",
                f"{r.spread * 1e6:.1f}" if r.spread else "",
                f"{1 / r.ratio:.2f}" if r.ratio else r.message[:60], r.target, r.measured[:16],
            ]
            for r in rows
        ),
        right=["us", "+-", "faster"],
    )  # fmt: skip


def diff(
    other: _File,
    as_json: output.Json = False,
) -> None:
    """Where another database's best configurations differ from this one's.

    Example: tritorch tune db diff their.sqlite
    """
    from tritorch.errors import TuneError

    if not other.exists():
        raise TuneError(f"tune: no such database: {other}. Give the file's path.")

    def bests(path: Path | None) -> dict[Any, Any]:
        return {
            (r.kernel, r.target, r.digest, str(sorted(r.facts.items()))): r
            for r in _database(path).best()
        }

    mine, theirs = bests(None), bests(other)
    found = []
    for key in sorted({*mine, *theirs}):
        a, b = mine.get(key), theirs.get(key)
        if a is None or b is None or a.config != b.config:
            either: Any = a or b
            found.append(
                {
                    "kernel": either.kernel,
                    "target": either.target,
                    "facts": either.facts,
                    "mine": a.config if a else None,
                    "theirs": b.config if b else None,
                }
            )
    if as_json:
        output.as_json(found)
        return
    output.table(
        ["kernel", "target", "facts", "here", "there"],
        (
            [
                d["kernel"], d["target"], sizes.text(d["facts"]),
                sizes.text(d["mine"]) if d["mine"] else "-",
                sizes.text(d["theirs"]) if d["theirs"] else "-",
            ]
            for d in found
        ),
    )  # fmt: skip
    print(f"{len(found)} differ")


def merge(other: _File, as_json: output.Json = False) -> None:
    """Take over what another database has; targets stay apart, newer measurements win.

    Example: tritorch tune db merge their.sqlite
    """
    added, replaced = _database().merge(_database(other))
    if as_json:
        output.as_json({"added": added, "replaced": replaced})
    else:
        print(f"added {output.counted(added, 'row')}, replaced {replaced} by newer ones")


def export(
    to: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The file; with --defaults a folder. [tritorch.lock.json]"
        ),
    ] = None,
    kernel: Annotated[str | None, typer.Option(help="Only this kernel.")] = None,
    target: Annotated[str | None, typer.Option(help="Only this target.")] = None,
    defaults: Annotated[
        bool,
        typer.Option(
            "--defaults",
            help="Ship them with the package: what is faster than the rules, a file a target.",
        ),
    ] = False,
    as_json: output.Json = False,
) -> None:
    """Write the best configurations to a lock file.

    With TRITORCH_TUNE_LOCK naming it, every process runs with just these.

    Example: tritorch tune db export -o tritorch.lock.json
    """
    from tritorch.errors import TuneError
    from tritorch.tune.database import export as write
    from tritorch.tune.database import ship
    from tritorch.tune.report import current_digest

    rows = [
        row
        for row in _database().best(kernel, target)
        if current_digest(row.kernel) in (None, row.digest)
    ]
    if not rows:
        raise TuneError("tune: nothing to export. Run `tritorch tune run KERNEL` first.")
    if defaults:
        written = ship(rows, to)
        if as_json:
            output.as_json([{"choices": n, "file": str(file)} for file, n in written.items()])
        for file, n in () if as_json else written.items():
            print(f"wrote {output.counted(n, 'choice')} to {file}")
        return
    to = to or Path("tritorch.lock.json")
    count = write(rows, to)
    if as_json:
        output.as_json({"choices": count, "file": str(to)})
    else:
        wrote = output.counted(count, "choice")
        print(f"wrote {wrote} to {to}; set TRITORCH_TUNE_LOCK={to} to pin them")


def import_(source: _File, as_json: output.Json = False) -> None:
    """Take over a lock file's choices.

    Example: tritorch tune db import tritorch.lock.json
    """
    from tritorch.errors import TuneError
    from tritorch.tune.database import from_lock

    if not source.exists():
        raise TuneError(f"tune: no such file: {source}. Give one that `tune db export` wrote.")
    rows = from_lock(source)
    _database().add(rows)
    if as_json:
        output.as_json({"rows": len(rows)})
    else:
        print(f"added {output.counted(len(rows), 'row')}")


def prune(
    kernel: Annotated[str | None, typer.Option(help="Only rows of this kernel.")] = None,
    target: Annotated[str | None, typer.Option(help="Only rows of this target.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also rows of the kernels' present versions.")
    ] = False,
    as_json: output.Json = False,
) -> None:
    """Delete rows that were measured for other versions of their kernels.

    Example: tritorch tune db prune --kernel matmul_tile --all
    """
    from tritorch.tune.report import current_digest

    count = _database().remove(
        lambda row: (
            (kernel is None or row.kernel == kernel)
            and (target is None or row.target == target)
            and (everything or current_digest(row.kernel) not in (None, row.digest))
        )
    )
    if as_json:
        output.as_json({"deleted": count})
    else:
        print(f"deleted {output.counted(count, 'row')}")


def verify(as_json: output.Json = False) -> None:
    """Check the file; a damaged one is moved aside. Rows for other versions are counted.

    Example: tritorch tune db verify
    """
    import warnings

    from tritorch.tune.report import current_digest

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        database = _database()
        problems = database.verify()
        rows = database.rows()
    stale = sum(current_digest(row.kernel) not in (None, row.digest) for row in rows)
    problems += [str(w.message) for w in said]
    if as_json:
        output.as_json({"rows": len(rows), "stale": stale, "problems": problems})
    else:
        known = output.counted(len(rows), "row")
        print(f"{known}, {stale} for other versions of their kernels")
        for problem in problems:
            output.note(problem)
    if problems:
        raise typer.Exit(1)
