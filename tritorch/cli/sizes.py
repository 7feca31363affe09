"""Sizes as the command line takes them: `M=1024,N=512` or a file of such lines.

A value is a whole number (`64`, `4k`, `1m`), a flag (`true`, `false`) or a name (`operation=sum`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tritorch.errors import TuneError

_FLAGS = {"true": True, "false": False}


def parse(text: str) -> dict[str, int | bool | str]:
    """`M=1024,N=512,causal=true` as a dictionary; suffixes k and m (1024, 1024 * 1024) are known.

    Raises:
        TuneError: it is not of this form.
    """
    found: dict[str, int | bool | str] = {}
    for part in text.replace(" ", "").split(","):
        name, separator, value = part.partition("=")
        number = _number(value)
        if number is None and value.isidentifier():
            number = value
        if not separator or not name.isidentifier() or number is None:
            raise TuneError(
                f"tune: cannot read the shape {text!r} at {part!r}. Write M=1024,N=1024,K=64."
            )
        if name in found:
            raise TuneError(f"tune: the shape {text!r} gives {name} twice.")
        found[name] = number
    return found


def _number(text: str) -> int | bool | str | None:
    flag = _FLAGS.get(text.lower())
    if flag is not None:
        return flag
    factor = {"k": 1024, "m": 1024 * 1024}.get(text[-1:].lower(), 1)
    digits = text if factor == 1 else text[:-1]
    negative = digits.removeprefix("-")
    if not negative.isascii() or not negative.isdigit() or len(negative) > 18:
        return None
    return int(digits) * factor


def read(path: Path) -> list[dict[str, int | bool | str]]:
    """A file's shapes, one a line; empty lines and what follows # do not count."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise TuneError(f"tune: cannot read {path}: {why}.") from error
    texts = [line.partition("#")[0].strip() for line in lines]
    found = [parse(text) for text in texts if text]
    if not found:
        raise TuneError(f"tune: {path} names no shapes. Write one a line, as M=1024,N=1024.")
    return found


def text(sizes: dict[str, object] | Sequence[tuple[str, object]]) -> str:
    """Sizes for people."""
    pairs = sizes.items() if isinstance(sizes, dict) else sizes
    return " ".join(f"{name}={value}" for name, value in pairs)
