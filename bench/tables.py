"""Write docs/figures.md from saved results: `python -m bench.tables REPORT.json STARTUP.json`.

`--gpu-host GPU-HOST.json` adds what the host does for a GPU.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from bench.report import FOLDER

INTRODUCTION = """# Figures

Measured, not promised: machines differ and are shared. Each comparison runs both sides in turn, in
processes of their own; the ratio is the peer's time over ours (above 1: we are faster), the median
over rounds; the bar is what the project asks of the row. Shares of the machine above 100 % are rows
that fit into a cache. The last rows, plain Triton kernels (`bench/kernels.py`), measure the CPU
target alone; the others run the same PyTorch program on both libraries.
"""


def header(report: dict[str, Any]) -> str:
    """When, where and with what."""
    versions = ", ".join(
        f"{name} {report[name]}"
        for name in ("python", "triton", "llvmlite", "numpy", "torch")
        if report.get(name)
    )
    return (
        f"`{report['command']}`, {report['date'][:10]}, {report['cpu']}, {report['cores']} cores, "
        f"vectors of {report['vector_bytes']} bytes; {versions}.\n"
        + "".join(
            f"With {threads} thread(s) this machine copies {peak['gb_per_s']:.1f} GB/s and does"
            f" {peak['gflop_per_s']:.0f} GFLOP/s of float32 multiply-adds; the last column's share"
            " is of that.\n"
            for threads, peak in report.get("peaks", {}).items()
        )
    )


def comparison(report: dict[str, Any]) -> str:
    """One table a peer: a row a case, two columns of ratios."""
    lines = []
    for peer in sorted({row["peer"] for row in report["rows"]}, reverse=True):
        lines += [
            f"\n### Against {'PyTorch' if peer == 'torch' else 'NumPy'}\n",
            "| row | threads | ours | peer | ratio | range of ratios | bar | |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for row in report["rows"]:
            if row["peer"] != peer:
                continue
            if "error" in row:
                lines.append(f"| {row['case']} | {row['threads']} | | | | | | {row['error']} |")
                continue
            speed = ""
            if "gflop_per_s" in row:
                speed = f"{row['gflop_per_s']:.0f} GFLOP/s, {row['of_peak']:.0%}"
            elif "gb_per_s" in row:
                speed = f"{row['gb_per_s']:.1f} GB/s, {row['of_peak']:.0%}"
            bar = ""
            if "met" in row:
                bar = f"{row['bar']:.2g}" if "bar" in row else f"{row['at_most_us']:g} µs"
                bar += "" if row["met"] else " missed"
            low, high = row["ratio_range"]
            times = f"{duration(row['ours_us'])} | {duration(row['peer_us'])}"
            ratios = f"**{row['ratio']:.2f}** | {low:.2f}–{high:.2f}"
            lines.append(
                f"| {row['case']} | {row['threads']} | {times} | {ratios} | {bar} | {speed} |"
            )
    return "\n".join(lines) + "\n"


def duration(microseconds: float) -> str:
    """Three digits and a unit."""
    if microseconds < 1000:
        return f"{microseconds:.3g} µs"
    return f"{microseconds / 1000:.3g} ms"


def startup(report: dict[str, Any]) -> str:
    """Whole processes, cold and warm."""
    lines = ["| process | cold cache | warm cache |", "|---|---|---|"]
    lines += [
        f"| {row['program']} | {_duration(row['cold_s'])} | {_duration(row['warm_s'])} |"
        for row in report["rows"]
    ]
    return "\n".join(lines) + f"\n\nPython alone starts in {report['python_alone_s']:.2f} s.\n"


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.2 else f"{seconds * 1e3:.1f} ms"


def gpu_host(report: dict[str, Any]) -> str:
    """The host's times, and predictions, which say that they are."""
    predicted = report["predicted"]
    ours, theirs = (predicted[side]["totals"] for side in ("ours", "torch"))
    lines = [
        f"`python -m bench.gpu_host`, {report['date'][:10]}, python {report['python']}. Programs "
        "on a GPU that takes no time: what the host does, but for the driver's part of a launch.\n",
        "| program | host | launches |",
        "|---|---|---|",
        *(
            f"| {row['name']} | {duration(row['host_us'])} | {row['launches']:.0f} |"
            for row in report["host"]
        ),
        "\nThe launches of the GPT-2 step (124M, T 1024, batch 16, bfloat16's autocast), ours as "
        "planned and PyTorch's from its known decomposition. **Times are predictions**, of a "
        f"roofline at {predicted['bytes_per_second'] / 1e12:.1f} TB/s and "
        f"{predicted['operations_per_second'] / 1e12:.0f} TFLOP/s; nothing was measured on a GPU. "
        f"Planned memory: {report['memory']['peak']:.1f} GiB at the peak.\n",
        "| class | ours: launches | GB | predicted | PyTorch: launches | GB | predicted |",
        "|---|---|---|---|---|---|---|",
    ]
    nothing = {"launches": 0, "gigabytes": 0.0, "predicted_ms": 0.0}
    for kind in dict.fromkeys([*ours, *theirs]):
        cells = [
            f"{cell['launches']:.0f} | {cell['gigabytes']:.1f} | {cell['predicted_ms']:.2f} ms"
            for cell in (ours.get(kind, nothing), theirs.get(kind, nothing))
        ]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the files, write the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.tables", description=__doc__)
    parser.add_argument("speeds", type=Path, help="what bench.report saved")
    parser.add_argument("starts", type=Path, help="what bench.startup saved")
    parser.add_argument("--gpu-host", type=Path, help="what bench.gpu_host saved")
    given = parser.parse_args()
    speeds, starts = (json.loads(path.read_text()) for path in (given.speeds, given.starts))
    page = (
        f"{INTRODUCTION}\n## Speed\n\n{header(speeds)}{comparison(speeds)}\n## Starting\n\n"
        f"{header(starts)}\n{startup(starts)}"
    )
    if given.gpu_host is not None:
        page += f"\n## For a GPU, without one\n\n{gpu_host(json.loads(given.gpu_host.read_text()))}"
    (FOLDER.parent / "docs" / "figures.md").write_text(page)


if __name__ == "__main__":
    main()
