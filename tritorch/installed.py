"""Versions of installed packages, read from their source: importing them, or importlib.metadata,
takes many times as long, and a process that finds its machine code in the cache imports neither."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec


def assigned(package: str, file: str, name: str) -> str | None:
    """The text that a file of a package assigns to `name` in a line of its own.

    None where there is no such line, or no such file.
    """
    folder = folder_of(package)
    if folder is None:
        return None
    try:
        with open(os.path.join(folder, file), encoding="utf-8") as source:
            for line in source:
                if line.startswith(name):
                    left, equals, right = line.partition("=")
                    if equals and left.strip() == name:
                        return right.split("#")[0].strip().strip("'\"")
    except OSError:
        pass
    return None


def folder_of(package: str) -> str | None:
    """Where a package lies; None where it is not installed."""
    for place in sys.path:
        folder = os.path.join(place or os.getcwd(), package)
        if os.path.isfile(os.path.join(folder, "__init__.py")):
            return folder
    found = find_spec(package)  # editable installs, archives
    return os.path.dirname(found.origin) if found is not None and found.origin else None
