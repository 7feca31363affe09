"""Times of whole processes: `python -m bench.startup [--save FILE] [--repeat N]`.

Import, first operation with a cold and a warm kernel cache, the digits demo cold and warm. A new
process
each; cold means an empty cache directory. The figure is the median.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.report import ROOT, machine

PROGRAMS = {
    "import tritorch": "import tritorch",
    "first op: import and (randn(1000) * 2 + 1).sum().item()": (
        "import tritorch as torch; (torch.randn(1000) * 2 + 1).sum().item()"
    ),
    "digits demo": "from tritorch.examples.digits import main; main(['--output', OUTPUT])",
}


def run(program: str, cache: Path, output: Path) -> float:
    """Wall seconds of a process that runs a program with that kernel cache."""
    environment = os.environ | {"TRITORCH_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT)}
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", program.replace("OUTPUT", repr(str(output)))],
        env=environment,
        cwd=output,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def main() -> None:
    """Run all programs cold and warm, print, save."""
    parser = argparse.ArgumentParser(prog="python -m bench.startup", description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--save", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        output.mkdir()
        empty = run("pass", Path(folder), output)
        for name, program in PROGRAMS.items():
            cold, warm = [], []
            for attempt in range(options.repeat):
                cache = Path(folder) / f"{len(rows)}-{attempt}"
                cold.append(run(program, cache, output))
                warm.append(run(program, cache, output))
            row = {
                "program": name,
                "cold_s": statistics.median(cold),
                "warm_s": statistics.median(warm),
            }
            rows.append(row)
            print(f"{name:58} cold {row['cold_s']:7.3f} s  warm {row['warm_s']:7.3f} s", flush=True)
    report = machine() | {
        "command": "python -m bench.startup",
        "python_alone_s": empty,
        "rows": rows,
    }
    print(f"{'python -c pass':58}      {empty:7.3f} s")
    if options.save:
        options.save.parent.mkdir(parents=True, exist_ok=True)
        options.save.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
