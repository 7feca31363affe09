"""`tritorch cache`: the compiled kernels on disk, and packs that warm another machine's cache."""

from __future__ import annotations

import time
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated

import typer

from tritorch.cli import output

_PackFile = Annotated[Path, typer.Argument(metavar="FILE", help="The pack.", dir_okay=False)]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        no_args_is_help=True, help="The compiled kernels on disk; packs that warm another machine."
    )
    for command in (info, show, clear, pack, unpack):
        group.command("list" if command is show else None)(command)
    app.add_typer(group, name="cache")


def _size(nbytes: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if nbytes < 1024:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1024
    return f"{nbytes:.1f} GiB"


def info(as_json: output.Json = False) -> None:
    """Where the cache is and what it holds.

    Example: tritorch cache info
    """
    from tritorch.config import config
    from tritorch.triton_cpu import packs

    found = list(packs.entries())
    current = [entry for entry in found if entry.current]
    data = {
        "directory": str(config.cache_dir),
        "kernels": len(found),
        "bytes": sum(entry.nbytes for entry in found),
        "current_kernels": len(current),
        "current_bytes": sum(entry.nbytes for entry in current),
    }
    if as_json:
        output.as_json(data)
        return
    output.pairs(
        {
            "directory": data["directory"],
            "kernels": f"{len(found)}, {_size(data['bytes'])}",  # type: ignore[arg-type]
            "of this version and CPU": f"{len(current)}, {_size(data['current_bytes'])}",  # type: ignore[arg-type]
        }
    )


def show(
    pattern: Annotated[str, typer.Argument(help="Names, * for any text.")] = "*",
    everything: Annotated[
        bool, typer.Option("--all", help="Also those of other versions or CPUs.")
    ] = False,
    as_json: output.Json = False,
) -> None:
    """The kernels in the cache: name, argument types, constants, size, age.

    Example: tritorch cache list 'matmul*'
    """
    from tritorch.triton_cpu import packs

    found = sorted(
        (
            entry
            for entry in packs.entries()
            if fnmatch(entry.name, pattern) and (everything or entry.current)
        ),
        key=lambda entry: (entry.name, entry.key),
    )
    if as_json:
        output.as_json([asdict(entry) for entry in found])
        return
    now = time.time()
    output.table(
        ["kernel", "arguments", "constants", "size", "age"],
        (
            [
                entry.name,
                " ".join(entry.signature),
                " ".join(f"{name}={value}" for name, value in entry.constants.items()),
                _size(entry.nbytes),
                f"{(now - entry.modified) / 3600:.1f} h",
            ]
            for entry in found
        ),
        right=["size", "age"],
    )


def clear(
    stale: Annotated[
        bool, typer.Option("--stale", help="Only what other versions or CPUs made.")
    ] = False,
    as_json: output.Json = False,
) -> None:
    """Delete compiled kernels; they are compiled again when they are next needed.

    Example: tritorch cache clear --stale
    """
    from tritorch.triton_cpu import packs

    count, nbytes = packs.clear(stale_only=stale)
    if as_json:
        output.as_json({"files": count, "bytes": nbytes})
    else:
        print(f"deleted {output.counted(count, 'file')}, {_size(nbytes)}")


def pack(path: _PackFile, as_json: output.Json = False) -> None:
    """Write this version's kernels for this CPU into one file.

    Example: tritorch cache pack kernels.pack
    """
    from tritorch.triton_cpu import packs

    count, nbytes = packs.pack(path)
    if as_json:
        output.as_json({"kernels": count, "bytes": nbytes, "file": str(path)})
    else:
        print(f"packed {output.counted(count, 'kernel')}, {_size(nbytes)}, into {path}")


def unpack(path: _PackFile, as_json: output.Json = False) -> None:
    """Put a pack's kernels into the cache: programs then compile nothing that it holds.

    A pack is machine code: use only those that you trust.

    Example: tritorch cache unpack kernels.pack
    """
    from tritorch.triton_cpu import packs

    added, there = packs.unpack(path)
    if as_json:
        output.as_json({"added": added, "present": there})
    else:
        print(f"added {output.counted(added, 'kernel')}; {there} were there")
