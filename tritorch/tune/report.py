"""What the database says, for people: lines, a page of HTML, a roofline plot."""

from __future__ import annotations

import html
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritorch.errors import TuneError
from tritorch.kernels import tuning
from tritorch.runtime import get_target
from tritorch.tune.database import Database, Row

if TYPE_CHECKING:
    from tritorch.tune.session import Outcome


@cache
def current_digest(kernel: str) -> str | None:
    """Of a kernel's present text; None where the kernel cannot be found."""
    from tritorch.tune import problems  # the library's kernels register themselves

    if kernel not in tuning.TUNABLES and ":" in kernel:
        try:
            return problems.user_kernel(kernel).tunable.digest()
        except TuneError:
            return None
    found = tuning.TUNABLES.get(kernel)
    return found.digest() if found else None


@dataclass
class Line:
    """One kernel on operands of one kind, on this machine.

    Attributes:
        faster: the default's time over the best one's.
        share: of the roofline; None where bytes and operations are not known.
        history: (when, digest's beginning, how much faster than the default) per version.
    """

    kernel: str
    facts: dict[str, Any]
    config: dict[str, Any]
    seconds: float
    default_seconds: float
    faster: float
    moved: float
    operations: float
    share: float | None
    history: list[tuple[str, str, float]] = field(default_factory=list)

    @property
    def rate(self) -> str:
        """GFLOP/s where operations are known, else GB/s."""
        if self.operations:
            return f"{self.operations / self.seconds / 1e9:.1f} GFLOP/s"
        return f"{self.moved / self.seconds / 1e9:.1f} GB/s" if self.moved else ""


@dataclass(repr=False)
class Report:
    """All lines for one target; `peaks` are what the machine was measured to reach."""

    target: str
    peaks: dict[str, float]
    lines: list[Line]

    @property
    def mean(self) -> float:
        """Geometric mean of `faster`."""
        return geometric_mean([line.faster for line in self.lines])

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "target": self.target,
            "peaks": self.peaks,
            "geometric_mean": self.mean,
            "lines": [asdict(line) for line in self.lines],
        }

    def __repr__(self) -> str:
        return (
            f"<Report for {self.target}: {len(self.lines)} kinds, geometric mean {self.mean:.3f} "
            "times the default's speed>"
        )

    def _repr_html_(self) -> str:
        return _table(self)


def gather(
    kernel: str | None = None, database: Database | None = None, device: str = "cpu"
) -> Report:
    """What the rows for a device of this machine come to; kernels' present versions, with the
    earlier ones as history."""
    from tritorch.tune.roofline import peaks, share

    identity = get_target(device.partition(":")[0]).identity
    rows = (database or Database()).best(kernel, identity)
    peak = peaks(device=device)
    kinds: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        kinds.setdefault((row.kernel, str(sorted(row.facts.items()))), []).append(row)
    lines = []
    for versions in kinds.values():
        versions.sort(key=lambda row: row.measured)
        digest = current_digest(versions[0].kernel)
        fresh = [row for row in versions if digest in (None, row.digest)]
        if not fresh:
            continue
        row = fresh[-1]
        if not row.seconds or not row.ratio:
            continue
        lines.append(
            Line(
                kernel=row.kernel, facts=row.facts, config=row.config, seconds=row.seconds,
                default_seconds=row.seconds / row.ratio, faster=1 / row.ratio, moved=row.moved,
                operations=row.operations,
                share=share(row.moved, row.operations, row.seconds, peak, row.facts),
                history=[(r.measured, r.digest[:8], 1 / r.ratio) for r in versions if r.ratio],
            )
        )  # fmt: skip
    return Report(identity, peak, sorted(lines, key=lambda line: (line.kernel, str(line.facts))))


# ---- HTML


_STYLE = (
    "table{border-collapse:collapse;font:13px sans-serif}td,th{padding:2px 10px;text-align:left;"
    "border-bottom:1px solid #8884}td.n{text-align:right;font-variant-numeric:tabular-nums}"
)


def _pairs(values: dict[str, Any]) -> str:
    return html.escape(" ".join(f"{name}={value}" for name, value in values.items()))


def _table(report: Report) -> str:
    head = ("kernel", "facts", "best", "default us", "best us", "faster", "rate", "of roofline",
            "history")  # fmt: skip
    body = []
    for line in report.lines:
        share = f"{line.share:.0%}" if line.share else ""
        history = ", ".join(f"{when[:10]} {digest} {f:.2f}" for when, digest, f in line.history)
        body.append(
            f"<tr><td>{html.escape(line.kernel)}</td><td>{_pairs(line.facts)}</td>"
            f"<td>{_pairs(line.config)}</td><td class=n>{line.default_seconds * 1e6:.1f}</td>"
            f"<td class=n>{line.seconds * 1e6:.1f}</td><td class=n>{line.faster:.2f}</td>"
            f"<td class=n>{line.rate}</td><td class=n>{share}</td><td>{history}</td></tr>"
        )
    titles = "".join(f"<th>{title}</th>" for title in head)
    return (
        f"<style>{_STYLE}</style><p>{html.escape(report.target)}: copies "
        f"{report.peaks['gb_per_s']:.1f} GB/s, multiplies and adds "
        f"{report.peaks['gflop_per_s']:.0f} GFLOP/s; geometric mean {report.mean:.3f} times the "
        f"default's speed</p><table><tr>{titles}</tr>{''.join(body)}</table>"
    )


def outcome_html(outcome: Outcome) -> str:
    """A search's result, for notebooks."""
    best = outcome.best
    seconds = best.seconds or outcome.default_seconds
    rows = {
        "kernel": html.escape(outcome.kernel),
        "sizes": _pairs(outcome.sizes),
        "best": _pairs(best.config),
        "time": f"{seconds * 1e6:.1f} us, {1 / (best.ratio or 1.0):.2f} times the default's speed",
        "tried": f"{outcome.tried} now, {outcome.resumed} before, of {outcome.space - 1}; "
        f"{len(outcome.rejected)} rejected",
        "ended": f"{outcome.stopped}, after {outcome.seconds:.1f} s",
    }
    body = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows.items())
    return f"<style>{_STYLE}</style><table>{body}</table>"


def write_html(report: Report, path: Path) -> None:
    """One page, without scripts; with the plot where matplotlib is installed."""
    try:
        picture = _svg(report)
    except TuneError:
        picture = ""
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8><title>tritorch: tuned kernels</title>"
        f"<body>{picture}{_table(report)}</body></html>\n"
    )
    try:
        path.write_text(page)
    except OSError as error:
        raise TuneError(f"tune: cannot write {path}: {error.strerror}.") from error


# ---- the plot


def draw(report: Report, path: Path | io.BytesIO, kind: str | None = None) -> None:
    """The roofline: operations a second over operations a byte, defaults and best ones.

    Raises:
        TuneError: matplotlib is not installed, or the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise TuneError("tune: the plot needs matplotlib. Run pip install matplotlib.") from error
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    bandwidth, arithmetic = report.peaks["gb_per_s"], report.peaks["gflop_per_s"]
    xs = sorted([2.0**-5, arithmetic / bandwidth, 2.0**10])
    axes.plot(xs, [min(x * bandwidth, arithmetic) for x in xs], color="black", linewidth=1)
    for line in report.lines:
        point = _point(line)
        if point is not None:
            x, best = point
            axes.plot([x, x], [best / line.faster, best], color="tab:gray", linewidth=1)
            axes.plot([x], [best / line.faster], "o", color="tab:gray", markersize=4)
            axes.plot([x], [best], "o", color="tab:blue", markersize=5)
            axes.annotate(line.kernel, (x, best), fontsize=7, xytext=(4, 3),
                          textcoords="offset points")  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("operations per byte")
    axes.set_ylabel("GFLOP/s")
    axes.set_title(f"{report.target}: default (grey) and tuned (blue)", fontsize=9)
    try:
        figure.savefig(path, format=kind)
    except (OSError, ValueError) as error:
        raise TuneError(f"tune: cannot write {path}: {error}.") from error


def _point(line: Line) -> tuple[float, float] | None:
    """Operations per byte and GFLOP/s; a kernel that only moves counts one operation an element."""
    if not line.moved:
        return None
    operations = line.operations or line.moved / 8
    return operations / line.moved, operations / line.seconds / 1e9


def _svg(report: Report) -> str:
    buffer = io.BytesIO()
    draw(report, buffer, "svg")
    text = buffer.getvalue().decode()
    return text[text.index("<svg") :]


def geometric_mean(values: Sequence[float]) -> float:
    """The mean of ratios."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else 1.0
