"""`python -m tests.triton_cpu.report [PATTERN]`: cases of Triton's language passed of tried.

Options: --level x86-64 | avx2 | native; --verbose lists what failed in full.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections import Counter

from tests.triton_cpu import suite
from tests.triton_cpu.language import every
from tests.triton_cpu.language.harness import run
from tests.triton_cpu.running import LEVELS, target_of


def _short(failure: str) -> str:
    """The first line, and the last, which has the reason where Triton's frontend refused."""
    lines = failure.splitlines()
    return lines[0][:250] + (f" ... {lines[-1].strip()[:200]}" if lines[1:] else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pattern", nargs="?", default="", help="part of a group's name")
    parser.add_argument("--level", default="native", choices=LEVELS)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # Triton's, of what it deprecates
    target, start = target_of(options.level), time.perf_counter()
    passed: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    failures: list[str] = []
    for group in every.GROUPS:
        if options.pattern not in str(group):
            continue
        for result in run(group.build(), target):
            tried[group.area] += 1
            passed[group.area] += not result.message
            if result.message:
                failures.append(f"{group}: {result.case.name}: {result.message}")
    for case in suite.CASES:
        if options.pattern not in f"kernels-{case.name}":
            continue
        tried["kernels"] += 1
        try:
            suite.check(case, target)
            passed["kernels"] += 1
        except Exception as error:
            failures.append(f"kernels-{case.name}: {type(error).__name__}: {error}")
    print(f"{'area':<16}{'passed':>8}{'tried':>8}")
    for area in tried:
        print(f"{area:<16}{passed[area]:>8}{tried[area]:>8}")
    print(
        f"{'all':<16}{passed.total():>8}{tried.total():>8}   {options.level}, "
        f"{time.perf_counter() - start:.0f} s"
    )
    for failure in failures:
        print(failure if options.verbose else _short(failure))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
