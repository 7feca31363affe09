"""Times of whole processes: `python -m bench.startup [--save FILE] [--repeat N]`.

Import, first operations with a cold and a warm kernel cache, the digits demo cold and warm, and its
kernels compiled ahead by one process and by two. A new process each; cold means an empty cache
directory of kernels. Python's own bytecode is cached, as an installer leaves it. The figure is the
median. Programs that print a number are timed by it (milliseconds within the process), others as
whole processes.
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

from bench.report import FOLDER, machine

AFTER_IMPORT = """
import time
import tritorch as torch
start = time.perf_counter()
{operation}
print((time.perf_counter() - start) * 1e3)
"""
IMPORT_ALONE = """
import time
import numpy
start = time.perf_counter()
import tritorch
print((time.perf_counter() - start) * 1e3)
"""
DEMO = "from tritorch.examples.digits import main; main(['--output', OUTPUT])"
#: lists the demo's kernels, then compiles them all with an empty cache
AHEAD = """
import json, pathlib, subprocess, sys, time
listing = pathlib.Path(OUTPUT) / "kernels.json"
if not listing.exists():
    code = "import json, tritorch as torch;" + DEMO + ";" + (
        "print(json.dumps(torch.kernels.needed()), file=open(sys.argv[1], 'w'))"
    )
    subprocess.run([sys.executable, "-c", "import sys;" + code, str(listing)],
                   check=True, stdout=subprocess.DEVNULL)
import tritorch as torch
torch.config.cache_dir = torch.config.cache_dir / "ahead"
kernels = json.loads(listing.read_text())
start = time.perf_counter()
torch.kernels.compile_all(kernels, PROCESSES)
print((time.perf_counter() - start) * 1e3)
"""

PROGRAMS = {
    "import tritorch": "import tritorch",
    "import tritorch, NumPy being there": IMPORT_ALONE,
    "first op after the import: randn(1000)": AFTER_IMPORT.format(operation="torch.randn(1000)"),
    "first ops after the import: (randn(1000) * 2 + 1).sum().item()": AFTER_IMPORT.format(
        operation="(torch.randn(1000) * 2 + 1).sum().item()"
    ),
    "first op: import and (randn(1000) * 2 + 1).sum().item()": (
        "import tritorch as torch; (torch.randn(1000) * 2 + 1).sum().item()"
    ),
    "digits demo": DEMO,
    "its kernels ahead, one process": AHEAD.replace("PROCESSES", "1"),
    "its kernels ahead, two processes": AHEAD.replace("PROCESSES", "2"),
}


def run(program: str, cache: Path, output: Path) -> float:
    """Seconds of a process that runs a program with that kernel cache: those it prints (in
    milliseconds, as its last line), or its own."""
    environment = os.environ | {
        "TRITORCH_CACHE_DIR": str(cache),
        "PYTHONPATH": str(FOLDER.parent),
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(output / "bytecode"),
    }
    text = program.replace("DEMO", repr(DEMO)).replace("OUTPUT", repr(str(output)))
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", text],
        env=environment,
        cwd=output,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds = time.perf_counter() - start
    return float(done.stdout.split()[-1]) / 1e3 if "print(" in program else seconds


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
        for program in PROGRAMS.values():  # leaves the bytecode of everything
            run(program, Path(folder) / "first", output)
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
