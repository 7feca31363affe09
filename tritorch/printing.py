"""How tensors print: PyTorch's format, computed on the host from a NumPy view of the data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass
class PrintOptions:
    """See `set_printoptions`."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


options = PrintOptions()

_PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Change how tensors print.

    Args:
        precision: digits after the point (default 4).
        threshold: above so many elements a tensor is summarised (default 1000).
        edgeitems: elements shown at each end of a summarised dimension (default 3).
        linewidth: characters a line (default 80).
        profile: `default`, `short` or `full`; the other arguments override it.
        sci_mode: True or False forces scientific notation on or off; None decides by the values.
    """
    chosen: dict[str, Any] = {}
    if profile is not None:
        if profile not in _PROFILES:
            raise ValueError(
                f"set_printoptions: profile must be one of {', '.join(_PROFILES)}; got {profile!r}."
            )
        chosen.update(_PROFILES[profile])
    given = {
        "precision": precision, "threshold": threshold, "edgeitems": edgeitems,
        "linewidth": linewidth,
    }  # fmt: skip
    chosen.update({name: value for name, value in given.items() if value is not None})
    for name, value in chosen.items():
        setattr(options, name, value)
    options.sci_mode = sci_mode


def get_printoptions() -> dict[str, Any]:
    """The options in force, as keyword arguments of `set_printoptions`."""
    return asdict(options)


@contextmanager
def printoptions(**overrides: Any) -> Iterator[None]:
    """Options that hold until the block ends."""
    saved = get_printoptions()
    set_printoptions(**overrides)
    try:
        yield
    finally:
        set_printoptions(**saved)


class _Formatter:
    """One width and one notation for all elements of a tensor."""

    def __init__(self, values: Array, floating: bool) -> None:
        self.floating = floating
        self.whole = True
        self.scientific = False
        self.width = 1
        flat = values.reshape(-1)
        if not floating:
            self.width = max((len(str(value)) for value in flat.tolist()), default=1)
            return
        finite = flat[np.isfinite(flat) & (flat != 0)].astype(np.float64)
        if finite.size == 0:
            return
        magnitudes = np.abs(finite)
        low, high = float(magnitudes.min()), float(magnitudes.max())
        self.whole = bool((finite == np.ceil(finite)).all())
        if options.sci_mode is None:
            self.scientific = high / low > 1000.0 or high > 1.0e8 or low < 1.0e-4
        else:
            self.scientific = options.sci_mode
        self.width = max(1, *(len(self._text(value)) for value in finite.tolist()))

    def _text(self, value: Any) -> str:
        if not self.floating:
            return str(value)
        if self.scientific:
            return f"{value:.{options.precision}e}"
        if self.whole:
            return f"{value:.0f}" + ("." if math.isfinite(value) else "")
        return f"{value:.{options.precision}f}"

    def __call__(self, value: Any) -> str:
        return self._text(value).rjust(self.width)


def _edges(values: Array) -> Array:
    """The elements that a summary shows, as one smaller array."""
    count = options.edgeitems
    for axis, size in enumerate(values.shape):
        if size > 2 * count:
            values = np.take(values, np.r_[0:count, size - count : size], axis=axis)
    return values


def _nested(values: Array, cut: Sequence[bool], indent: int, formatter: _Formatter) -> str:
    """Brackets around `values`; where `cut[axis]`, the middle of that axis was left out."""
    count = options.edgeitems
    if values.ndim == 0:
        return formatter(values.item())
    if values.ndim == 1:
        texts = [formatter(value) for value in values.tolist()]
        if cut[0]:
            texts.insert(count, " ..." if count else "...")
        per_line = max(1, math.floor((options.linewidth - indent) / (formatter.width + 2)))
        lines = [", ".join(texts[i : i + per_line]) for i in range(0, len(texts), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
    parts = [_nested(row, cut[1:], indent + 1, formatter) for row in values]
    if cut[0]:
        parts.insert(count, "...")
    return "[" + ("," + "\n" * (values.ndim - 1) + " " * (indent + 1)).join(parts) + "]"


def format_values(values: Array, indent: int = 0) -> str:
    """The nested brackets of an array, continued lines indented by `indent` characters."""
    if values.size == 0:
        return "[]"
    summarize = values.size > options.threshold
    cut = [summarize and size > 2 * options.edgeitems for size in values.shape]
    if summarize:
        values = _edges(values)
    floating = values.dtype.kind not in "iub"
    if floating and values.dtype.itemsize < 4:  # Python cannot format ml_dtypes' scalars
        values = values.astype(np.float32)
    return _nested(values, cut, indent, _Formatter(values, floating))


def format_tensor(prefix: str, values: Array, suffixes: Sequence[str]) -> str:
    """`prefix(values, suffix, ...)`, suffixes on a new line where the line is full."""
    indent = len(prefix)
    parts = [prefix + format_values(values, indent)]
    last_line = len(parts[0]) - parts[0].rfind("\n") + 1
    for suffix in suffixes:
        if last_line + len(suffix) + 2 > options.linewidth:
            parts.append(",\n" + " " * indent + suffix)
            last_line = indent + len(suffix)
        else:
            parts.append(", " + suffix)
            last_line += len(suffix) + 2
    return "".join(parts) + ")"
