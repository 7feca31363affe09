"""`python -m tests.oracle.usage FILE`: which of the names that programs use there are.

FILE has a line for each name, most used first: `torch.x.y<TAB>programs<TAB>calls`.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

#: first words behind `torch.` that are not operations or methods
OTHER_ROOMS = (
    "amp", "autocast", "autograd", "backends", "compile", "compiler", "cuda", "data", "distributed",
    "distributions", "func", "fx", "hub", "jit", "library", "mps", "mtia", "multiprocessing", "nn",
    "numa", "ops", "optim", "profiler", "serialization", "utils", "xpu", "classes", "futures",
)  # fmt: skip


def resolves(name: str) -> bool:
    """Whether `torch.a.b` is found in tritorch, as an attribute or as a module."""
    found: Any = import_module("tritorch")
    path = "tritorch"
    for part in name.split(".")[1:]:
        path = f"{path}.{part}"
        if hasattr(found, part):
            found = getattr(found, part)
            continue
        try:
            found = import_module(path)
        except ImportError:
            return False
    return True


def is_operation(name: str) -> bool:
    """Whether a name is a function of tensors or a method, rather than of another room."""
    first, *rest = name.split(".")[1:]
    if first == "nn":
        return rest[:1] == ["functional"]
    return first not in OTHER_ROOMS


def main() -> None:
    """Count the names of a file, and print those that are missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.usage", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--all", action="store_true", help="print missing names of all rooms")
    options = parser.parse_args()
    rows = [line.split("\t") for line in options.file.read_text().splitlines()[1:]]
    missing = [row for row in rows if not resolves(row[0])]
    for name, programs, *_ in missing:
        if options.all or is_operation(name):
            print(f"{name}: {programs} programs")
    operations = [row for row in rows if is_operation(row[0])]
    absent = [row for row in missing if is_operation(row[0])]
    uses = sum(int(row[1]) for row in rows)
    unmet = sum(int(row[1]) for row in missing)
    print(
        f"names: {len(rows) - len(missing)} of {len(rows)} resolve ({uses - unmet} of {uses} uses);"
        f" operations and methods: {len(operations) - len(absent)} of {len(operations)}"
    )


if __name__ == "__main__":
    main()
